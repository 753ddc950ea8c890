"""The text of a recurrence rule (RFC 5545, `RRULE`): read, checked, and written in one canonical way."""

from __future__ import annotations

import re
from typing import Any

import attrs

from safebackup.errors import ConfigurationError
from safebackup.schedule.civil import bad

FREQUENCIES = ("SECONDLY", "MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_LONGEST = 2000
_MOST_COUNTED = 10_000  # COUNT is resolved one by one when a rule is read
_NUMBER = re.compile(r"[+-]?\d{1,9}", re.ASCII)
_WEEKDAY = re.compile(r"([+-]?\d{1,2})?(SU|MO|TU|WE|TH|FR|SA)", re.ASCII)
_UNTIL = re.compile(r"\d{8}(?:T\d{6}Z?)?", re.ASCII)
_OTHER_PROPERTIES = {
    "DTSTART": "Give it as start=, an aware date-time, and the zone as tz=.",
    "EXDATE": "Leave dates out with schedule.without(dates={...}).",
    "EXRULE": "Leave dates out with schedule.without(dates={...}).",
    "RDATE": "Make a schedule of the other times and join the two with |.",
}
_OTHER_PARTS = {
    "DTSTART": _OTHER_PROPERTIES["DTSTART"],
    "TZID": "Give the zone as tz=.",
    "BYEASTER": "It is of one library and not in RFC 5545.",
    "RSCALE": "Other calendars than the Gregorian one are not read.",
    "SKIP": "Rules of RFC 7529 are not read; for short months use Schedule.monthly(short_months=...).",
}


@attrs.frozen
class _List:
    """A part that lists numbers: their limits, whether they may count from the end, and where they may stand."""

    field: str
    low: int
    high: int
    signed: bool = False
    not_with: tuple[str, ...] = ()


_LISTS = {
    "BYMONTH": _List("months", 1, 12),
    "BYWEEKNO": _List("weeks", 1, 53, True, FREQUENCIES[:-1]),
    "BYYEARDAY": _List("year_days", 1, 366, True, ("DAILY", "WEEKLY", "MONTHLY")),
    "BYMONTHDAY": _List("month_days", 1, 31, True, ("WEEKLY",)),
    "BYHOUR": _List("hours", 0, 23),
    "BYMINUTE": _List("minutes", 0, 59),
    "BYSECOND": _List("seconds", 0, 59),
    "BYSETPOS": _List("positions", 1, 366, True),
}
_KNOWN = ("FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "WKST", *_LISTS)


@attrs.frozen
class Parts:
    """The parts of a rule. Empty lists were not given; `days` are (which one, or 0 for each, weekday); 0 is Sunday."""

    frequency: str
    interval: int = 1
    count: int | None = None
    until: str = ""
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    days: tuple[tuple[int, int], ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 1

    def is_finer_than(self, frequency: str) -> bool:
        """Whether it recurs more often than that."""
        return FREQUENCIES.index(self.frequency) < FREQUENCIES.index(frequency)


def read_parts(text: object) -> Parts:
    """Read a rule, with or without `RRULE:` in front.

    Raises:
        ConfigurationError: it is malformed, or combines what RFC 5545 forbids; the message names the part.
    """
    values = _split(_bare_rule(text))
    if "FREQ" not in values:
        raise bad(f"{text!r} has no FREQ", f"Say how often: FREQ= one of {', '.join(FREQUENCIES)}.")
    frequency = values["FREQ"]
    if frequency not in FREQUENCIES:
        raise _refused("FREQ", frequency, "no such frequency", f"one of {', '.join(FREQUENCIES)}")
    found: dict[str, Any] = {"frequency": frequency}
    if "INTERVAL" in values:
        found["interval"] = _whole("INTERVAL", values["INTERVAL"], 999_999_999)
    if "COUNT" in values:
        found["count"] = _whole("COUNT", values["COUNT"], _MOST_COUNTED, " For more say UNTIL.")
    if "UNTIL" in values:
        found["until"] = _until(values["UNTIL"])
    if "WKST" in values:
        found["week_start"] = _week_start(values["WKST"])
    for name, kind in _LISTS.items():
        if name in values:
            found[kind.field] = _numbers(name, values[name], kind)
    if "BYDAY" in values:
        found["days"] = _days(values["BYDAY"])
    parts = Parts(**found)
    _check_together(parts)
    return parts


def write_parts(parts: Parts) -> str:
    """The canonical text, without UNTIL: the same for the same parts."""
    written = [f"FREQ={parts.frequency}"]
    if parts.interval > 1:
        written.append(f"INTERVAL={parts.interval}")
    if parts.count is not None:
        written.append(f"COUNT={parts.count}")
    for name, kind in _LISTS.items():
        if name == "BYHOUR" and parts.days:
            written.append("BYDAY=" + ",".join(f"{nth or ''}{_WEEKDAYS[weekday]}" for nth, weekday in parts.days))
        numbers = getattr(parts, kind.field)
        if numbers:
            written.append(f"{name}={','.join(map(str, numbers))}")
    weeks_count = parts.weeks or (parts.frequency == "WEEKLY" and (parts.interval > 1 or parts.positions))
    if weeks_count and parts.week_start != 1:
        written.append(f"WKST={_WEEKDAYS[parts.week_start]}")
    return ";".join(written)


def _refused(name: str, value: str, why: str, allowed: str) -> ConfigurationError:
    return bad(f"{name}={value}: {why}", f"Allowed in {name}: {allowed}.")


def _bare_rule(text: object) -> str:
    if not isinstance(text, str):
        raise bad(f"a recurrence rule is a text, not {text!r}", 'Write "FREQ=DAILY;INTERVAL=2".')
    if len(text) > _LONGEST:
        raise bad(f"a recurrence rule of {len(text)} characters", f"Keep it under {_LONGEST}.")
    if not text.isascii():
        raise bad(f"{text!r} has characters beyond plain ASCII", "Write digits and letters of plain ASCII.")
    lines = [line for line in text.strip().upper().splitlines() if line.strip()] or [""]
    for line in lines:
        name = re.split("[:;=]", line)[0].strip()
        if name in _OTHER_PROPERTIES:
            raise bad(f"{text!r} holds {name}, which is no part of the rule", _OTHER_PROPERTIES[name])
    if len(lines) > 1:
        raise bad(f"{text!r} has {len(lines)} lines", "Make a schedule of each rule and join them with |.")
    rule = lines[0].strip().removeprefix("RRULE:")
    if not rule.isprintable() or " " in rule:
        raise bad(f"{text!r} has spaces or control characters in it", "Write FREQ=DAILY;INTERVAL=2.")
    return rule


def _split(rule: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in rule.split(";"):
        if not part:
            raise bad(f"a part of {rule!r} is empty", "Write NAME=VALUE;NAME=VALUE, and no ; at the end.")
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise bad(
                f"{part!r} in {rule!r} is not a part of a rule", "Write NAME=VALUE;NAME=VALUE, with no ; at the end."
            )
        if name in values:
            raise bad(f"{name} stands twice in {rule!r}", "Give each part once, with a list: BYDAY=MO,TH.")
        if name not in _KNOWN:
            hint = _OTHER_PARTS.get(name, f"Known are {', '.join(sorted(_KNOWN))}.")
            raise bad(f"{name}={value}: no such part is read", hint)
        values[name] = value
    return values


def _whole(name: str, value: str, most: int, more: str = "") -> int:
    if not (value.isdigit() and len(value) <= 20 and 1 <= int(value) <= most):
        raise bad(f"{name}={value}: not a number from 1 to {most}", f"Write {name}=2, for example.{more}")
    return int(value)


def _until(value: str) -> str:
    if not _UNTIL.fullmatch(value):
        raise _refused("UNTIL", value, "is not a date-time", "a date-time in UTC such as 20261231T235959Z")
    return value


def _week_start(value: str) -> int:
    if value not in _WEEKDAYS:
        raise _refused("WKST", value, "is not a weekday", ", ".join(_WEEKDAYS))
    return _WEEKDAYS.index(value)


def _numbers(name: str, value: str, kind: _List) -> tuple[int, ...]:
    allowed = f"{kind.low} to {kind.high}" + (f", -{kind.high} to -{kind.low} from the end" if kind.signed else "")
    found = set()
    for item in value.split(","):
        if not _NUMBER.fullmatch(item) or (item[0] in "+-" and not kind.signed):
            raise _refused(name, value, f"{item!r} is not a number" if item else "a number is missing", allowed)
        number = int(item)
        if (name, number) == ("BYSECOND", 60):
            raise _refused(
                name, value, "second 60 exists in leap seconds only, which the clocks here do not show", allowed
            )
        if not kind.low <= (abs(number) if kind.signed else number) <= kind.high:
            raise _refused(name, value, f"{number} is out of range", allowed)
        found.add(number)
    return tuple(sorted(found))


def _days(value: str) -> tuple[tuple[int, int], ...]:
    allowed = f"{', '.join(_WEEKDAYS)}, with FREQ=MONTHLY or YEARLY also 1MO, -1FR"
    found = set()
    for item in value.split(","):
        read = _WEEKDAY.fullmatch(item)
        if read is None:
            raise _refused("BYDAY", value, f"{item!r} is not a weekday" if item else "a weekday is missing", allowed)
        if read[1] is not None and not 1 <= abs(int(read[1])) <= 53:
            raise _refused("BYDAY", value, f"{item!r} counts beyond 1 to 53", allowed)
        found.add((int(read[1] or 0), _WEEKDAYS.index(read[2])))
    return tuple(sorted(found, key=lambda day: (day[0], (day[1] - 1) % 7)))


def _check_together(parts: Parts) -> None:
    """What RFC 5545 forbids to combine."""
    if parts.count is not None and parts.until:
        raise bad("COUNT and UNTIL are both given", "A rule ends by one of them.")
    for name, kind in _LISTS.items():
        if getattr(parts, kind.field) and parts.frequency in kind.not_with:
            allowed = [frequency for frequency in FREQUENCIES if frequency not in kind.not_with]
            raise bad(f"{name} has no meaning with FREQ={parts.frequency}", f"It goes with FREQ={', '.join(allowed)}.")
    if parts.positions and not any((parts.days, *(getattr(parts, kind.field) for kind in list(_LISTS.values())[:-1]))):
        raise bad("BYSETPOS picks from a set that no other BY part makes", "Add one, such as BYDAY=MO,TU,WE,TH,FR.")
    if any(nth for nth, _ in parts.days):
        _check_ordinals(parts)


def _check_ordinals(parts: Parts) -> None:
    if parts.frequency not in ("MONTHLY", "YEARLY"):
        raise bad(
            f"BYDAY with a number has no meaning with FREQ={parts.frequency}", "It goes with FREQ=MONTHLY and YEARLY."
        )
    if parts.weeks:
        raise bad("BYDAY with a number has no meaning beside BYWEEKNO", "A week has each weekday once: leave it out.")
    in_month = parts.frequency == "MONTHLY" or parts.months
    beyond = [nth for nth, _ in parts.days if abs(nth) > 5]
    if in_month and beyond:
        raise bad(
            f"BYDAY counts to {beyond[0]}, but no month has more than five of a weekday", "Write 1 to 5, -5 to -1."
        )
