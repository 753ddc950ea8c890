"""Calendar expressions of systemd (`OnCalendar=`): weekdays, date, time of day; anything doubtful is refused.

What systemd.time(7) says holds: `Mon..Fri *-*-* 02:30:00`, lists with commas, ranges `a..b`, steps `a/n` and `a..b/n`,
`~` for days counted from the end of the month, `daily` and its kin, and parts that may be left out. A day counts if it
is among the weekdays *and* among the dates. Years are written from 1970 to 2199; `*` and steps without an end go on for
ever. The zone is said by `tz=`. Not read: parts of a second, and `@` with seconds since 1970.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import ClassVar, NamedTuple, TypeAlias

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule.civil import WEEKDAYS, bad
from safebackup.schedule.days import (
    ALL_MONTHS,
    ALL_WEEKDAYS,
    ORDINAL,
    Days,
    EveryDay,
    Grid,
    MonthDays,
    Times,
    bits,
    members,
)
from safebackup.schedule.recurrences import Civil
from safebackup.schedule.turns import FIRST

_SHORTHANDS = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "yearly": "*-01-01 00:00:00",
}
_SYNONYMS = {
    "annually": "yearly",
    "anually": "yearly",  # systemd reads it too
    "semi-annually": "semiannually",
    "biannually": "semiannually",
    "bi-annually": "semiannually",
}
_LONGEST = 2000
_ITEM = re.compile(r"(\d{1,20})(?:\.\.(\d{1,20}))?(?:/(\d{1,20}))?", re.ASCII)
_DATE = re.compile(r"(?:(?P<year>[^-~]*)-)?(?P<month>[^-~]*)(?P<sign>[-~])(?P<day>[^-~]*)")
_TIME = re.compile(r"(?P<hour>[^:]*):(?P<minute>[^:]*)(?::(?P<second>[^:]*))?")
_END_OF_YEARS = 9999
_FROM_MONDAY = (1, 2, 3, 4, 5, 6, 0)


class _Item(NamedTuple):
    """One item of a list: a value; with a step also what follows, up to `stop` or, where that is -1, without an end."""

    start: int
    stop: int = -1
    step: int = 0


_Chain: TypeAlias = tuple[_Item, ...]  # none: `*`


@attrs.frozen(eq=False)
class _Part:
    name: str
    low: int
    high: int
    width: int = 2
    from_end: bool = False

    def refused(self, value: str, why: str) -> ConfigurationError:
        allowed = f"*, {self.low} to {self.high}, ranges a..b, steps a/n and a..b/n, lists with commas"
        return bad(f"{self.name} {value!r}: {why}", f"Allowed in {self.name}: {allowed}.")


_YEAR = _Part("year", 1970, 2199, width=4)
_MONTH = _Part("month", 1, 12)
_DAY = _Part("day of the month", 1, 31)
_DAY_FROM_END = _Part("day counted from the end of the month", 1, 28, from_end=True)
_HOUR = _Part("hour", 0, 23)
_MINUTE = _Part("minute", 0, 59)
_SECOND = _Part("second", 0, 59)


@attrs.frozen
class DaysFromEnd(MonthDays):
    """As `MonthDays`, but `numbers` count from the end of the month: bit 1 is its last day."""

    def _by_number(self, length: int, first_weekday: int) -> int:
        return bits(*(length + 1 - number for number in members(self.numbers)))


@attrs.frozen
class DaysOfYears:
    """Some days, but only those of the years whose bits are set."""

    days: Days
    years: int = attrs.field(repr=False)

    def at_or_after(self, day: int) -> int | None:
        """The first one from `day` on."""
        found = self.days.at_or_after(day)
        while found is not None:
            year = date.fromordinal(found + ORDINAL).year
            later = self.years >> year
            if later & 1:
                return found
            if not later:
                return None
            found = self.days.at_or_after(_first_day(year + (later & -later).bit_length() - 1))
        return None

    def at_or_before(self, day: int) -> int | None:
        """The last one up to `day`."""
        found = self.days.at_or_before(day)
        while found is not None:
            year = date.fromordinal(found + ORDINAL).year
            earlier = self.years & ((2 << year) - 1)
            if earlier >> year:
                return found
            if not earlier:
                return None
            found = self.days.at_or_before(_first_day(earlier.bit_length()) - 1)
        return None


def _first_day(year: int) -> int:
    return date(year, 1, 1).toordinal() - ORDINAL


@attrs.frozen
class OnCalendar(Civil):
    """A calendar expression in the normal form that systemd prints; equal ones mean the same."""

    kind: ClassVar[str] = "on-calendar"
    expression: str
    days: Days = attrs.field(eq=False, repr=False, kw_only=True)
    times: Times = attrs.field(eq=False, repr=False, kw_only=True)

    def text(self) -> str:
        """The expression in quotes."""
        return f"on-calendar '{self.expression}'"

    def record(self) -> dict[str, object]:
        """The expression."""
        return {"expression": self.expression}


def parse_on_calendar(expression: str, tz: str = "") -> OnCalendar:
    """Read a calendar expression; a zone at its end is taken only if it is `tz`.

    Raises:
        ConfigurationError: it is malformed, doubtful, or never fires; the message names the part and the value.
    """
    if not isinstance(expression, str):
        raise bad(f"a calendar expression is a text, not {expression!r}", 'Write "Mon..Fri *-*-* 02:30".')
    if len(expression) > _LONGEST:
        raise bad(f"a calendar expression of {len(expression)} characters", f"Keep it under {_LONGEST}.")
    if not expression.isascii() or not expression.strip(" \t\r\n").replace("\t", " ").isprintable():
        raise bad(
            f"{expression!r} has characters beyond plain ASCII, or a line break",
            "One expression on one line; for several make a schedule of each and join them with |.",
        )
    return _parsed(" ".join(_words_without_zone(expression, tz)), expression)


def _words_without_zone(expression: str, tz: str) -> list[str]:
    words = expression.split()
    if not words:
        raise bad("the calendar expression is empty", 'Write "Mon..Fri *-*-* 02:30", for example.')
    shorthands = {**_SHORTHANDS, **_SYNONYMS}
    is_word = words[-1].lower() in shorthands or _weekday(words[-1].split(",")[0]) is not None
    if len(words) > 1 and words[-1][0].isalpha() and not is_word:
        named = words.pop()
        if named != tz and not (named.upper() == "UTC" == tz):
            given = f"tz= says {tz!r}" if tz else "the zone is said by tz="
            raise bad(f"{expression!r} ends in {named!r}, but {given}", f"Leave {named!r} out of the expression.")
    shorthand = next((word for word in words if word.lower() in shorthands), None)
    if shorthand is not None and len(words) > 1:
        raise bad(f"{expression!r}: {shorthand!r} stands alone", "Write weekdays, date and time in its place.")
    return words


@lru_cache(maxsize=1024)
def _parsed(text: str, expression: str) -> OnCalendar:
    lower = text.lower()
    words = _SHORTHANDS.get(_SYNONYMS.get(lower, lower), text).split(" ")
    weekdays = _weekdays(words.pop(0)) if words[0][0].isalpha() or words[0][0] == "," else ALL_WEEKDAYS
    year, month, sign, day = _date(words.pop(0)) if words and _is_date(words[0]) else ((), (), "-", ())
    midnight = (_Item(0),)
    hour, minute, second = _time(words.pop(0)) if words and ":" in words[0] else (midnight, midnight, midnight)
    if words:
        raise _out_of_place(words[0], expression)
    days = _days(weekdays, year, month, sign, day)
    if days.at_or_after(FIRST // 86_400) is None:
        raise ConfigurationError(
            f"{expression!r} never fires: there is no such day in any year",
            code=Code.NEVER_FIRES,
            hint="Look at the weekday, the day and the month: all of them must hold on one day.",
        )
    normal = [] if weekdays == ALL_WEEKDAYS else [_write_weekdays(weekdays)]
    normal.append(f"{_write(year, _YEAR)}-{_write(month, _MONTH)}{sign}{_write(day, _DAY)}")
    normal.append(f"{_write(hour, _HOUR)}:{_write(minute, _MINUTE)}:{_write(second, _SECOND)}")
    times = Grid(_bits(hour, _HOUR), _bits(minute, _MINUTE), _bits(second, _SECOND))
    return OnCalendar(" ".join(normal), days=days, times=times)


def _is_date(word: str) -> bool:
    return ":" not in word and ("-" in word or "~" in word)


def _out_of_place(word: str, expression: str) -> ConfigurationError:
    hint = 'Write weekdays, date, time: "Mon..Fri *-*-* 02:30". Each may be left out, but a date or a time has - or :.'
    if word[0] == "@":
        hint = "@ counts seconds since 1970, which is an instant and no calendar expression."
    elif re.fullmatch(r"\S+( \S+){4}", " ".join(expression.split())) and ":" not in expression:
        hint = "This looks like cron: read it with Schedule.cron."
    elif word[0].isalpha():
        hint = "Weekdays stand in front, joined by commas."
    return bad(f"{expression!r}: {word!r} is not understood where it stands", hint)


def _days(weekdays: int, year: _Chain, month: _Chain, sign: str, day: _Chain) -> Days:
    part = _DAY if sign == "-" else _DAY_FROM_END
    days: Days = EveryDay()
    if day or month or weekdays != ALL_WEEKDAYS:
        kind = MonthDays if sign == "-" else DaysFromEnd
        days = kind(_bits(month, _MONTH) & ALL_MONTHS, _bits(day, part), weekdays, both=True)
    return DaysOfYears(days, _bits(year, _YEAR)) if year else days


def _weekday(name: str) -> int | None:
    """The number of a weekday, 0 is Sunday, by its English name or the first three letters."""
    lower = name.lower()
    return next((number for number, full in enumerate(WEEKDAYS) if lower in (full, full[:3])), None)


def _weekdays(word: str) -> int:
    mask = 0
    for item in word.removesuffix(",").split(","):
        start_text, _, end_text = item.replace("..", "-").partition("-")
        start, end = _weekday(start_text), _weekday(end_text or start_text)
        if start is None or end is None or item.endswith((".", "-")):
            raise bad(
                f"weekday {item!r} in {word!r} is not understood",
                "Allowed are Mon or Monday to Sun or Sunday, ranges Mon..Fri, lists Mon,Thu, "
                f"or one of {', '.join(_SHORTHANDS)} alone.",
            )
        first, last = _FROM_MONDAY.index(start), _FROM_MONDAY.index(end)
        if last < first:
            raise bad(
                f"weekday {item!r}: the range runs backwards, weeks begin on Monday",
                f"If it is to wrap around, write {_wrapped(start, end)}.",
            )
        mask |= bits(*_FROM_MONDAY[first : last + 1])
    return mask


def _wrapped(start: int, end: int) -> str:
    to_sunday = "Sun" if start == 0 else f"{_short(start)}..Sun"
    return f"{to_sunday},Mon" + (f"..{_short(end)}" if end != 1 else "")


def _short(weekday: int) -> str:
    return WEEKDAYS[weekday][:3].capitalize()


def _write_weekdays(mask: int) -> str:
    runs: list[list[int]] = []
    for at, weekday in enumerate(_FROM_MONDAY):
        if mask >> weekday & 1:
            if runs and at and mask >> _FROM_MONDAY[at - 1] & 1:
                runs[-1].append(weekday)
            else:
                runs.append([weekday])
    return ",".join(
        f"{_short(run[0])}..{_short(run[-1])}" if len(run) > 2 else ",".join(map(_short, run)) for run in runs
    )


def _date(word: str) -> tuple[_Chain, _Chain, str, _Chain]:
    found = _DATE.fullmatch(word)
    if found is None:
        raise bad(f"date {word!r} is not understood", "Write year-month-day or month-day; month~1 is its last day.")
    sign = found["sign"]
    year = () if found["year"] is None else _chain(found["year"], _YEAR)
    day = _chain(found["day"], _DAY if sign == "-" else _DAY_FROM_END)
    return year, _chain(found["month"], _MONTH), sign if day else "-", day


def _time(word: str) -> tuple[_Chain, _Chain, _Chain]:
    found = _TIME.fullmatch(word)
    if found is None:
        raise bad(f"time {word!r} is not understood", "Write hour:minute or hour:minute:second.")
    second = (_Item(0),) if found["second"] is None else _chain(found["second"], _SECOND)
    if _Item(0, step=1) in second:
        second = ()  # as systemd has it: every second is `*`
    return _chain(found["hour"], _HOUR), _chain(found["minute"], _MINUTE), second


@lru_cache(maxsize=4096)
def _chain(text: str, part: _Part) -> _Chain:
    if text == "*":
        return ()
    return tuple(sorted({_item(item, part) for item in text.split(",")}))


def _item(text: str, part: _Part) -> _Item:
    found = _ITEM.fullmatch(text)
    if found is None:
        raise part.refused(text, _what_is_wrong(text, part))
    start, stop = _value(found[1], text, part), -1 if found[2] is None else _value(found[2], text, part)
    step = int(found[3] or (0 if found[2] is None else 1))
    if found[3] is not None and step == 0:
        raise part.refused(text, "a step counts from 1")
    if stop < 0:
        last = start - step if part.from_end else start + step
        if not part.low <= last <= part.high:
            raise part.refused(text, f"a step of {step} from {start} is never taken")
        return _Item(start, -1, step)
    if stop < start:
        wrapped = f"{start}..{part.high},{part.low}..{stop}"
        raise part.refused(text, f"the range runs backwards; if it is to wrap around, write {wrapped}")
    if found[3] is not None and start + step > stop:
        raise part.refused(text, f"a step of {step} from {start} goes beyond {stop}: it is never taken")
    stop -= (stop - start) % step
    return _Item(start, stop, step) if stop > start else _Item(start)


def _value(text: str, item: str, part: _Part) -> int:
    value = int(text)
    if part is _YEAR and value < 100:
        value += 2000 if value < 70 else 1900
    if not part.low <= value <= part.high:
        raise part.refused(item, f"{value} is not from {part.low} to {part.high}")
    return value


def _what_is_wrong(text: str, part: _Part) -> str:
    if not text:
        return "a value is missing"
    if re.fullmatch(r"[\d*]+-.*[Tt].*", text):
        return "date and time have a space between them"
    if text.startswith("*"):
        return f"* stands alone in its part; for a step write {part.low}/{text[2:] or 2}"
    if part is _SECOND and re.fullmatch(r"[\d./]*\d\.\d[\d./]*", text):
        return "runs are due at whole seconds"
    if re.fullmatch(r"\d+(?:[Zz]|[+]\d+)", text):
        return "the zone is said by tz=, not by an offset or a letter"
    if "-" in text:
        return "a range is written with two dots, as in 1..5"
    return "is not a number, a range or a step"


def _bits(chain: _Chain, part: _Part) -> int:
    if not chain:
        return bits(*range(part.low, part.high + 1)) if not part.from_end else (2 << part.high) - 2
    mask = 0
    for start, stop, step in chain:
        if step == 0:
            mask |= 1 << start
        elif stop >= 0:
            mask |= bits(*range(start, stop + 1, step))
        elif part.from_end:
            mask |= bits(*range(start, 0, -step))
        else:
            mask |= bits(*range(start, _END_OF_YEARS if part is _YEAR else part.high + 1, step))
    return mask


def _write(chain: _Chain, part: _Part) -> str:
    return ",".join(_write_item(item, part.width) for item in chain) or "*"


def _write_item(item: _Item, width: int) -> str:
    start, stop, step = item
    end = f"..{stop:0{width}}" if stop >= 0 else ""
    return f"{start:0{width}}{end}" + (f"/{step}" if step > 1 or (step == 1 and stop < 0) else "")
