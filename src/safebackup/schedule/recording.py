"""Schedules as plain data, and back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import composing, moments
from safebackup.schedule.civil import Daily, bad, hourly, monthly, read_times, weekly
from safebackup.schedule.cron import parse_cron
from safebackup.schedule.on_calendar import parse_on_calendar
from safebackup.schedule.policies import ONCE, chosen_policy
from safebackup.schedule.recurrences import AnyOf, Recurrence
from safebackup.schedule.rrule import recorded_rrule
from safebackup.schedule.rules import Elapsed, Rule
from safebackup.schedule.turns import turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.windows import read_window
from safebackup.schedule.zones import Zone, zone, zone_from_data

if TYPE_CHECKING:
    from safebackup.schedule.schedule import Schedule

# Raised when a rule of the same words would give other instants.
SEMANTICS = 1

Record: TypeAlias = Mapping[str, Any]


def to_dict(schedule: Schedule) -> dict[str, object]:
    """All of a schedule as plain data."""
    named = schedule.zone
    return {
        "semantics": SEMANTICS,
        "rule": _written(schedule.rule),
        "zone": {
            "name": named.key,
            "release": named.release,
            "source": named.source,
            "sha256": named.fingerprint,
            "data": base64.b64encode(named.data).decode("ascii"),
        },
        "forbid": [str(window) for window in schedule.forbidden],
        "checked_from": schedule.checked_from.isoformat(),
    }


def from_dict(record: Record, named: Zone | None = None) -> Schedule:
    """The schedule that was recorded; in `named` if given, else with the zone data of this machine.

    Raises:
        ConfigurationError: it is no record of a schedule, of a later release, or does not hold any more.
    """
    named = zone(_get(_get(record, "zone", Mapping), "name", str)) if named is None else named
    try:
        schedule = _read(record, named)
        _require_something_left(schedule.rule, moments.first_second(schedule.checked_from, named))
    except RecursionError:
        raise _unreadable("rule, too deeply nested,") from None
    return schedule


def _require_something_left(rule: Rule, begin: int) -> None:
    if isinstance(rule, composing.Union):
        for part in rule.parts:
            _require_something_left(part, begin)
    elif isinstance(rule, composing.Without | composing.Spread):
        _require_something_left(rule.part, begin)
    if isinstance(rule, composing.Without):
        composing.require_something_left(rule, begin)


def _read(record: Record, named: Zone) -> Schedule:
    from safebackup.schedule.schedule import Schedule

    version = _get(record, "semantics", int)
    if version < 1:
        raise _unreadable("semantics")
    if version > SEMANTICS:
        raise ConfigurationError(
            f"this schedule was recorded with semantics {version}; this release knows {SEMANTICS}",
            code=Code.SCHEDULE_TOO_NEW,
            hint="Update safebackup here.",
        )
    rule = read_rule(_get(record, "rule", Mapping), named)
    windows = tuple(read_window(text, "forbid") for text in _get(record, "forbid", list))
    try:
        checked_from = date.fromisoformat(_get(record, "checked_from", str))
    except ValueError as error:
        raise _unreadable("checked_from") from error
    return Schedule(rule, named, windows, checked_from)


def from_pickle(record: Record) -> Schedule:
    """The schedule that was recorded, with the zone data of then."""
    return from_dict(record, recorded_zone(record))


def rebuilt(schedule: Schedule, named: Zone) -> Schedule:
    """The same words in another zone."""
    return _read(to_dict(schedule), named)


def recorded_zone(record: Record) -> Zone:
    """The zone with the data that a schedule was recorded with.

    Raises:
        ConfigurationError: the record is damaged.
    """
    facts = _get(record, "zone", Mapping)
    try:
        data = base64.b64decode(_get(facts, "data", str), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable("zone data") from error
    named = zone_from_data(
        _get(facts, "name", str), data, source=_get(facts, "source", str), release=_get(facts, "release", str)
    )
    if named.fingerprint != facts.get("sha256"):
        raise _unreadable("zone data")
    return named


def read_recurrence(record: Record) -> Recurrence:
    """The recurrence that was recorded."""
    reader = RECURRENCES.get(_get(record, "kind", str))
    if reader is None:
        raise _unreadable(f"kind {record['kind']!r}")
    return reader(record)


def read_rule(record: Record, named: Zone) -> Rule:
    """The rule that was recorded, in a zone."""
    reader = RULES.get(_get(record, "kind", str))
    if reader is None:
        raise _unreadable(f"kind {record['kind']!r}")
    return reader(record, named)


def _written(rule: Rule) -> dict[str, object]:
    return {"kind": rule.kind, **rule.record()}


def _get(record: object, name: str, kind: type[Any]) -> Any:
    value = record.get(name) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise _unreadable(name)
    return value


def _unreadable(what: str) -> ConfigurationError:
    return bad(f"this is no record of a schedule: its {what} is missing or damaged", "Schedule.to_dict writes them.")


def _listed(record: Record, name: str) -> list[Any]:
    """A list that is never empty."""
    found: list[Any] = _get(record, name, list)
    if not found:
        raise _unreadable(name)
    return found


def _recurrences(record: Record) -> tuple[Recurrence, ...]:
    return tuple(read_recurrence(part) for part in _listed(record, "parts"))


def _monthly(record: Record) -> Recurrence:
    day = record.get("day")
    return monthly(tuple(day) if isinstance(day, list) else day, record.get("at"), record.get("short_months"))  # type: ignore[arg-type]


def _rrule(record: Record) -> Recurrence:
    until = None if record.get("until") is None else _get(record, "until", str)
    last = None if record.get("last", 0) is None else _get(record, "last", str)
    return recorded_rrule(_get(record, "rule", str), _get(record, "start", str), until, last)


def _walls(record: Record, named: Zone) -> Rule:
    in_gap, in_overlap = _get(record, "in_gap", str), _get(record, "in_overlap", str)
    policy = chosen_policy(ONCE, in_gap=in_gap, in_overlap=in_overlap, like=None)
    return Walls(read_recurrence(_get(record, "recurrence", Mapping)), named, policy)


def _elapsed(record: Record, named: Zone) -> Rule:
    step, start = _get(record, "seconds", int), _get(record, "start", int)
    if step < 1:
        raise _unreadable("seconds")
    return Elapsed(step, start, turns_of(named))


def _parts(record: Record, named: Zone) -> tuple[Rule, ...]:
    return tuple(read_rule(part, named) for part in _listed(record, "parts"))


def _without(record: Record, named: Zone) -> Rule:
    window = record.get("window")
    if window is None and not _get(record, "dates", list):
        raise _unreadable("window and dates")
    try:
        dates = frozenset(date.fromisoformat(day) for day in _get(record, "dates", list))
    except (TypeError, ValueError) as error:
        raise _unreadable("dates") from error
    read = None if window is None else read_window(window, "window")
    return composing.Without(read_rule(_get(record, "part", Mapping), named), named, read, dates)


def _spread(record: Record, named: Zone) -> Rule:
    up_to = _get(record, "up_to", int)
    if up_to < 1:
        raise _unreadable("up_to")
    return composing.Spread(read_rule(_get(record, "part", Mapping), named), up_to, _get(record, "key", str))


# Where later recurrences are added: by the `kind` that their class has.
RECURRENCES: dict[str, Callable[[Record], Recurrence]] = {
    "cron": lambda record: parse_cron(_get(record, "expression", str), seconds=_get(record, "seconds", bool)),
    "daily": lambda record: Daily(read_times(_get(record, "at", list))),
    "hourly": lambda record: hourly(_get(record, "minute", list)),
    "weekly": lambda record: weekly(_get(record, "day", list), _get(record, "at", list)),
    "monthly": _monthly,
    "on-calendar": lambda record: parse_on_calendar(_get(record, "expression", str)),
    "rrule": _rrule,
    "any-of": lambda record: AnyOf(_recurrences(record)),
    "all-of": lambda record: composing.all_of(_recurrences(record)),
}
RULES: dict[str, Callable[[Record, Zone], Rule]] = {
    "walls": _walls,
    "every": _elapsed,
    "union": lambda record, named: composing.Union(_parts(record, named)),
    "without": _without,
    "spread": _spread,
}
