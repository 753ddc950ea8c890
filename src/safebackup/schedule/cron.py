"""Cron expressions, read as Debian's cron reads them, with a few words more; anything doubtful is refused.

Fields: minute, hour, day of the month, month, day of the week; with `seconds=True` a field of seconds before them.
A field is a list of `*`, numbers, names, ranges `a-b`, and steps `*/n` or `a-b/n`. Days of the week run from 0 to 6,
Sunday is 0 and also 7. Beyond Debian's cron: `L` the last day of the month, `LW` its last day from Monday to Friday,
`15W` the day from Monday to Friday nearest to the 15th, `5L` the last Friday and `5#2` the second Friday of the month.
Where neither day field starts with `*`, a day counts that fits either; otherwise it must fit both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import ClassVar, NoReturn

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.days import ALL_MONTHS, Days, EveryDay, Grid, MonthDays, Nth, Times, bits, members
from safebackup.schedule.recurrences import Civil

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LONGEST = 500


@attrs.frozen(eq=False)
class _Field:
    name: str
    low: int
    high: int
    names: dict[str, int]
    allowed: str

    def refused(self, value: str, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.name} {value!r}: {why}", code=Code.BAD_CRON, hint=f"Allowed in {self.name}: {self.allowed}."
        )


def _field(name: str, low: int, high: int, names: str = "", more: str = "") -> _Field:
    words = names.split()
    numbers = {word: low + at for at, word in enumerate(words)}
    called = f" or {words[0]} to {words[-1]}" if words else ""
    allowed = f"*, {low} to {high}{called}, ranges a-b, steps */n and a-b/n, lists with commas{more}"
    return _Field(name, low, high, numbers, allowed)


_SECOND = _field("second", 0, 59)
_MINUTE = _field("minute", 0, 59)
_HOUR = _field("hour", 0, 23)
_DAY = _field("day of the month", 1, 31, more="; L, LW, 15W")
_MONTH = _field("month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")
_WEEKDAY = _field("day of the week", 0, 7, "SUN MON TUE WED THU FRI SAT", more="; 5L, 5#2; 0 and 7 are Sunday")
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
# The numbers as people write them, looked up instead of checked: parsing is mostly this.
_NUMBERS = {text: number for number in range(60) for text in (str(number), f"{number:02}")}


@attrs.frozen
class Cron(Civil):
    """A cron expression in its canonical form; equal ones mean the same."""

    kind: ClassVar[str] = "cron"
    expression: str
    seconds: bool = False
    days: Days = attrs.field(eq=False, repr=False, kw_only=True)
    times: Times = attrs.field(eq=False, repr=False, kw_only=True)
    is_wild: bool = attrs.field(eq=False, repr=False, kw_only=True)  # whether minute or hour starts with `*`

    def text(self) -> str:
        """The expression in quotes."""
        return f"cron '{self.expression}'" + (" seconds" if self.seconds else "")

    def record(self) -> dict[str, object]:
        """The expression, and whether it has seconds."""
        return {"expression": self.expression, "seconds": self.seconds}


def parse_cron(expression: str, *, seconds: bool = False) -> Cron:
    """Read a cron expression.

    Raises:
        ConfigurationError: it is malformed, doubtful, or never fires; the message names the field and the value.
    """
    if not isinstance(expression, str):
        _refuse(f"a cron expression is a text, not {expression!r}", 'Write "30 1 * * *", for example.')
    parts = _split(expression, seconds)
    second = _numbers(parts[0], _SECOND) if seconds else 1
    minute_text, hour_text, day_text, month_text, weekday_text = parts[-5:]
    minutes, hours, months = (
        _numbers(minute_text, _MINUTE),
        _numbers(hour_text, _HOUR),
        _numbers(month_text, _MONTH),
    )
    return Cron(
        _canonical(parts),
        seconds,
        days=_days(day_text, months, weekday_text, expression),
        times=Grid(hours, minutes, second),
        is_wild=minute_text[0] == "*" or hour_text[0] == "*",
    )


def _split(expression: str, seconds: bool) -> list[str]:
    if len(expression) > _LONGEST:
        _refuse(f"a cron expression of {len(expression)} characters", f"Keep it under {_LONGEST}.")
    if not expression.isascii():
        _refuse_odd(expression, seconds)
    text = expression.strip(" \t\r\n")
    if text[:1] == "@":
        if text.lower().startswith(("@reboot", "@every")):
            _refuse(f"{text!r} names no time of the clock", "For elapsed time use Schedule.every(hours=…, start=…).")
        if text.lower() not in _ALIASES:
            if text.lower().partition(" ")[0] in _ALIASES:
                _refuse(f"{text!r} has more after its alias", "Leave the command out of the expression.")
            _refuse(f"{text!r} is unknown", f"Known are {', '.join(_ALIASES)}.")
        text = ("0 " if seconds else "") + _ALIASES[text.lower()]
    if not text.isprintable() and not text.replace("\t", " ").isprintable():
        _refuse(f"{expression!r} holds a line break or a control character", "Write the fields on one line.")
    parts = text.split()
    wanted = 6 if seconds else 5
    if len(parts) != wanted:
        _refuse_count(expression, len(parts), wanted)
    return parts


def _refuse_odd(expression: str, seconds: bool) -> NoReturn:
    """Refuse what is not ASCII, by the name of its field where the fields can be told."""
    odd = next(character for character in expression if not character.isascii())
    parts = expression.split()
    if len(parts) == (6 if seconds else 5):
        for part, field in zip(parts, _FIELDS[-len(parts) :], strict=True):
            if odd in part:
                raise field.refused(part, f"{odd!r} is not a digit or letter of plain ASCII")
    _refuse(f"{expression!r} has the character {odd!r}", "Write digits and letters of plain ASCII.")


def _refuse_count(expression: str, found: int, wanted: int) -> NoReturn:
    order = "minute, hour, day of the month, month, day of the week"
    hint = f"Write {'second, ' if wanted == 6 else ''}{order}."
    if expression.lstrip().startswith(("TZ=", "CRON_TZ=")):
        hint = "Name the zone with tz=, outside of the expression."
    elif found == 6 and wanted == 5:
        hint = (
            "If the first is seconds, say seconds=True. If the last is a year or a command, leave it out. "
            f"Five fields are {order}."
        )
    _refuse(f"{expression!r} has {found} field{'s' if found != 1 else ''} where {wanted} are needed", hint)


def _refuse(what: str, hint: str) -> NoReturn:
    raise ConfigurationError(what, code=Code.BAD_CRON, hint=hint)


@lru_cache(maxsize=4096)
def _numbers(text: str, field: _Field) -> int:
    """The bits of a field that holds nothing but numbers, names, ranges and steps."""
    mask = 0
    for item in _items(text, field):
        mask |= _item(item, field)
    return mask


def _items(text: str, field: _Field) -> list[str]:
    items = text.split(",")
    if "" in items:
        raise field.refused(text, "a comma stands where a value is missing")
    return items


def _item(item: str, field: _Field) -> int:
    base, slash, step_text = item.partition("/")
    step = _step(item, step_text, field) if slash else 1
    if base == "*":
        # Debian's users write */31 and */7 for a first day that must fit the other field of days too.
        if slash and field.low + step > field.high and field not in (_DAY, _WEEKDAY):
            raise field.refused(item, _beyond(step, field.low, field.high))
        return _bits_of(field.low, field.high, step)
    start_text, dash, end_text = base.partition("-")
    start = _number(start_text, item, field)
    if not dash:
        if slash:
            meant = str(start) if start + step > field.high else f"{start}-{field.high}/{step}"
            raise field.refused(item, f"a step needs a range; write {meant} or */{step}")
        return 1 << start
    end = _number(end_text, item, field)
    if end < start:
        wrapped = f"{start_text}-{field.high},{field.low}-{end_text}"
        if field is _WEEKDAY or slash:
            size = field.high - field.low + (field is not _WEEKDAY)
            around = range(0, (end - start) % size + 1, step)
            wrapped = ",".join(_ranges(bits(*((start - field.low + each) % size + field.low for each in around))))
        raise field.refused(item, f"the range runs backwards; if it is to wrap around, write {wrapped}")
    if field is _WEEKDAY and (start, end) == (0, 7):
        raise field.refused(item, "it counts Sunday twice; write 0-6, or * for every day")
    if slash and start + step > end:
        raise field.refused(item, _beyond(step, start, end))
    return _bits_of(start, end, step)


def _beyond(step: int, start: int, end: int) -> str:
    return f"a step of {step} from {start} goes beyond {end}: it would never be taken"


def _bits_of(low: int, high: int, step: int) -> int:
    return (2 << high) - (1 << low) if step == 1 else bits(*range(low, high + 1, step))


def _number(text: str, item: str, field: _Field) -> int:
    number = _NUMBERS.get(text)
    if number is None:
        number = field.names.get(text.upper())
    if number is not None:
        if not field.low <= number <= field.high:
            raise field.refused(item, f"{number} is not from {field.low} to {field.high}")
        return number
    if text == "?":
        raise field.refused(item, "? is of Quartz; write *")
    if "~" in text:
        raise field.refused(item, "~ picks at random; name the time, or give the schedule a jitter")
    if text.isdigit():
        why = (
            f"{text} has more digits than two"
            if int(text) <= field.high
            else f"{text} is not from {field.low} to {field.high}"
        )
        raise field.refused(item, why)
    special = re.fullmatch(r"\w*(L|W)|\w+#\w+|H|R", text, re.IGNORECASE)
    why = "has no meaning here" if special else "is not a number" + (" or a name" if field.names else "")
    raise field.refused(item, f"{text!r} {why}")


def _step(item: str, text: str, field: _Field) -> int:
    step = _NUMBERS.get(text)
    if step is None or step == 0:
        if text.isdigit() and int(text) > field.high:
            raise field.refused(item, f"a step of {int(text)} goes beyond {field.high}: it would never be taken")
        raise field.refused(item, f"the step {text!r} is not a number from 1 on")
    if step > field.high:
        raise field.refused(item, f"a step of {step} goes beyond {field.high}: it would never be taken")
    return step


@lru_cache(maxsize=4096)
def _day_field(text: str) -> MonthDays:
    """The day-of-the-month field."""
    mask = workdays = 0
    last = last_workday = False
    for item in _items(text, _DAY):
        if item.upper() == "L":
            last = True
        elif item.upper() == "LW":
            last_workday = True
        elif len(item) > 1 and item[-1] in "Ww" and item[:-1].isdigit():
            workdays |= 1 << _number(item[:-1], item, _DAY)
        else:
            mask |= _item(item, _DAY)
    return MonthDays(numbers=mask, workdays=workdays, last=last, last_workday=last_workday)


@lru_cache(maxsize=4096)
def _weekday_field(text: str) -> tuple[int, tuple[Nth, ...]]:
    """The day-of-the-week field: its plain days, and n-th or last ones."""
    mask = 0
    nths: set[Nth] = set()
    for item in _items(text, _WEEKDAY):
        day, hash_sign, nth = item.partition("#")
        if hash_sign:
            if nth not in ("1", "2", "3", "4", "5"):
                raise _WEEKDAY.refused(item, f"after # stands which one in the month, 1 to 5, not {nth!r}")
            nths.add(Nth(_number(day, item, _WEEKDAY) % 7, int(nth)))
        elif len(item) > 1 and item[-1] in "Ll" and (item[:-1] in _NUMBERS or item[:-1].upper() in _WEEKDAY.names):
            nths.add(Nth(_number(item[:-1], item, _WEEKDAY) % 7, -1))
        elif item.upper() == "L":
            raise _WEEKDAY.refused(
                item, "say which weekday is to be the last of its month, as 5L; for Saturday write 6"
            )
        else:
            mask |= _item(item, _WEEKDAY)
    return (mask | mask >> 7) & 0b111_1111, tuple(sorted(nths, key=lambda nth: (nth.weekday, nth.nth)))


@lru_cache(maxsize=4096)
def _combined(day_text: str, months: int, weekday_text: str) -> Days | None:
    """The days of three fields; None if there are none in any year."""
    if (day_text, weekday_text, months) == ("*", "*", ALL_MONTHS):
        return EveryDay()
    by_number, (weekdays, nths) = _day_field(day_text), _weekday_field(weekday_text)
    both = day_text[0] == "*" or weekday_text[0] == "*"
    days = attrs.evolve(by_number, months=months, weekdays=weekdays, nths=nths, both=both)
    return days if days.ever() else None


def _days(day_text: str, months: int, weekday_text: str, expression: str) -> Days:
    days = _combined(day_text, months, weekday_text)
    if days is None:
        raise ConfigurationError(
            f"{expression!r} never fires: no month of those named has such a day in any year",
            code=Code.NEVER_FIRES,
            hint="Look at the fields of days and months: February ends on the 28th or 29th; L is the last day.",
        )
    return days


def _canonical(parts: list[str]) -> str:
    """The same text for the same meaning: what starts with `*` keeps its star, which decides how days combine."""
    fields = _FIELDS[-len(parts) :]
    return " ".join([_canonical_field(text, field) for text, field in zip(parts, fields, strict=True)])


@lru_cache(maxsize=4096)
def _canonical_field(text: str, field: _Field) -> str:
    if text == "*":
        return text
    specials: list[str] = []
    if field is _WEEKDAY:
        mask, nths = _weekday_field(text)
        specials = [f"{nth.weekday}L" if nth.nth == -1 else f"{nth.weekday}#{nth.nth}" for nth in nths]
        highest = 6
    elif field is _DAY:
        days = _day_field(text)
        mask, highest = days.numbers, 31
        specials = [f"{number}W" for number in members(days.workdays)]
        specials += ["L"] * days.last + ["LW"] * days.last_workday
    else:
        mask, highest = _numbers(text, field), field.high
    star = _star_of(text, mask, field.low, highest)
    plain = [] if star is not None else _ranges(mask)
    return ",".join([*([star] if star else []), *plain, *specials])


def _star_of(text: str, mask: int, low: int, high: int) -> str | None:
    """Of a field that starts with `*`: that star and its step, and what else there is."""
    if text[0] != "*":
        return None
    first, more, _ = text.partition(",")
    step = int(first[2:] or 1)
    if step == 1 or not more:
        return "*" if step == 1 else f"*/{step}"
    rest = mask & ~_bits_of(low, high, step)
    return ",".join([f"*/{step}", *_ranges(rest)])


def _ranges(mask: int) -> list[str]:
    found: list[list[int]] = []
    for number in members(mask):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(low) if low == high else f"{low}-{high}" if high > low + 1 else f"{low},{high}" for low, high in found]
