"""check_schedule holds for what is right, and names what is wrong: the law or the promise, the dates, the instants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import HealthCheck, given, settings

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Occurrence, Schedule, Why, zone, zone_from_data
from safebackup.schedule.recording import RULES
from safebackup.schedule.rules import Due
from safebackup.schedule.turns import DAY, turns_of
from safebackup.schedule.walls import Walls
from safebackup.testing import (
    check_schedule,
    exactly_once_a_civil_day,
    never_inside,
    never_more_than,
    schedules,
)

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NIGHTLY = Schedule.daily(at="02:30", tz="Europe/Berlin")
SKIPPING = Schedule.daily(at="02:30", tz="Europe/Berlin", in_gap="skip")


@given(schedules())
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_laws_hold_for_every_schedule(schedule: Schedule) -> None:
    changes = turns_of(schedule.zone).between(0, 2_145_916_800)
    start = datetime.fromtimestamp(changes[len(changes) // 2].at, UTC) - timedelta(days=200) if changes else START

    check_schedule(schedule, start=start, end=start + timedelta(days=500))


def test_a_promise_that_holds_is_kept() -> None:
    promises = [never_more_than(hours=25), never_inside("08:00-18:00"), exactly_once_a_civil_day()]

    check_schedule(NIGHTLY, promise=promises)
    check_schedule(NIGHTLY, promise=lambda runs: len(runs) == 365, start=START, end=END)
    check_schedule(NIGHTLY, promise=lambda runs: [run for run in runs if run.instant.hour > 1])


def broken(schedule: Schedule, promise: Any = (), start: datetime = START, end: datetime = END) -> str:
    with pytest.raises(AssertionError) as found:
        check_schedule(schedule, promise=promise, start=start, end=end)
    return str(found.value)


def test_a_gap_that_is_too_long_is_named_in_the_zone_and_in_utc() -> None:
    assert broken(SKIPPING, never_more_than(hours=25)) == (
        "daily 02:30 in_gap=skip in_overlap=first tz=Europe/Berlin breaks a promise: never more than 25 h apart\n"
        "  47 h from one run to the next:\n"
        "    2026-03-28 02:30:00 +01:00 in Europe/Berlin, 2026-03-28T01:30:00Z\n"
        "    2026-03-30 02:30:00 +02:00 in Europe/Berlin, 2026-03-30T00:30:00Z"
    )


def test_a_day_without_a_run_is_named_by_its_date() -> None:
    found = broken(SKIPPING, exactly_once_a_civil_day())

    assert "exactly once a civil day" in found
    assert "no run for 2026-03-29" in found
    assert "2026-03-29T22:00:00Z" in found
    assert "2026-03-30," not in found


def test_a_day_with_two_runs_is_named_with_both() -> None:
    twice = Schedule.daily(at="02:30", tz="Europe/Berlin", in_overlap="both")

    found = broken(twice, exactly_once_a_civil_day())

    assert "more than one run for 2026-10-25" in found
    assert "2026-10-25T00:30:00Z" in found
    assert "2026-10-25T01:30:00Z" in found


@pytest.mark.parametrize(
    ("key", "at", "year"),
    [
        ("Pacific/Apia", "00:00", 2011),
        ("Pacific/Apia", "12:00", 2011),
        ("Asia/Pyongyang", "23:45", 2018),
        ("Asia/Beirut", "00:00", 2026),
        ("America/St_Johns", "00:01", 2007),
    ],
)
def test_once_a_civil_day_goes_by_the_time_as_written(key: str, at: str, year: int) -> None:
    span: dict[str, Any] = {"start": datetime(year, 1, 1, tzinfo=UTC), "end": datetime(year + 1, 1, 1, tzinfo=UTC)}

    check_schedule(Schedule.daily(at=at, tz=key), promise=exactly_once_a_civil_day(), **span)


def test_a_day_that_never_was_needs_no_run() -> None:
    skipping = Schedule.daily(at="12:00", tz="Pacific/Apia", in_gap="skip")
    weekly = Schedule.weekly(day="friday", at="12:00", tz="Pacific/Apia", in_gap="skip")
    december: dict[str, Any] = {"start": datetime(2011, 12, 29, tzinfo=UTC), "end": datetime(2012, 1, 2, tzinfo=UTC)}

    check_schedule(skipping, promise=exactly_once_a_civil_day(), **december)
    found = broken(weekly, exactly_once_a_civil_day(), **december)
    assert re.findall("no run for ([-0-9]+)", found) == ["2011-12-29", "2011-12-31", "2012-01-01"]


def test_a_run_in_forbidden_hours_is_named_also_in_the_zone_of_those_hours() -> None:
    """The founding incident: due at 01:30 in one place, which is the working day of another."""
    mistaken = Schedule.daily(at="01:30", tz="America/Los_Angeles")

    check_schedule(mistaken, promise=never_inside("08:00-18:00"))
    found = broken(mistaken, never_inside("08:00-18:00", tz="Africa/Lagos"))

    assert "never inside 08:00-18:00 in Africa/Lagos" in found
    assert "2026-01-01 10:30:00 +01:00 in Africa/Lagos" in found
    assert "2026-01-01 01:30:00 -08:00 in America/Los_Angeles, 2026-01-01T09:30:00Z" in found
    assert found.count("a run inside") == 5
    assert found.endswith("and more")


def test_the_runs_before_and_after_the_span_count() -> None:
    weekly = Schedule.weekly(day="sunday", at="02:00", tz="UTC")
    monday = datetime(2026, 1, 5, tzinfo=UTC)

    assert "168 h" in broken(weekly, never_more_than(days=6), monday, monday + timedelta(days=1))
    check_schedule(weekly, promise=never_more_than(days=7), start=monday, end=monday + timedelta(days=1))


def test_an_end_of_all_runs_breaks_the_promise_that_they_go_on() -> None:
    last = Schedule.rrule("FREQ=DAILY;COUNT=3", start=START, tz="UTC")

    assert "no run follows" in broken(last, never_more_than(hours=25))
    later: dict[str, Any] = {"start": END, "end": END + timedelta(days=9)}
    assert "no run follows" in broken(last, never_more_than(hours=25), **later)
    check_schedule(last, promise=never_more_than(hours=25), start=START, end=START + timedelta(days=3))


def test_a_promise_of_ones_own_names_the_runs_that_it_returns() -> None:
    def never_on_the_last_day_of_the_year(runs: tuple[Occurrence, ...]) -> list[Occurrence]:
        """Nobody is there on the last day of the year."""
        return [run for run in runs if (run.wall.month, run.wall.day) == (12, 31)]

    found = broken(NIGHTLY, never_on_the_last_day_of_the_year)

    assert "breaks a promise: Nobody is there on the last day of the year." in found
    assert "2026-12-31 02:30:00 +01:00 in Europe/Berlin, 2026-12-31T01:30:00Z" in found
    assert "2026-01-01 00:00:00 +00:00 in UTC" in broken(
        Schedule.daily(at="02:30", tz="UTC"), lambda runs: len(runs) > 365
    )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: check_schedule(NIGHTLY, promise=lambda _: 5),  # type: ignore[arg-type, return-value]
        lambda: check_schedule(NIGHTLY, promise=lambda runs: [runs[0].instant]),  # type: ignore[list-item]
        lambda: check_schedule(NIGHTLY, promise="never"),  # type: ignore[arg-type]
        lambda: check_schedule(NIGHTLY, promise=7),  # type: ignore[arg-type]
        lambda: check_schedule("30 1 * * *"),  # type: ignore[arg-type]
        lambda: check_schedule(NIGHTLY, start=END, end=START),
        lambda: check_schedule(NIGHTLY, start=datetime(2026, 1, 1)),
        lambda: never_more_than(hours=0),
        never_more_than,
        lambda: never_inside("8-18"),
        lambda: never_inside("08:00-18:00", tz="WAT"),
    ],
    ids=map(str, range(11)),
)
def test_what_is_no_promise_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wrong()

    assert refused.value.code in (Code.BAD_ARGUMENT, Code.BAD_TIME, Code.NAIVE_TIME, Code.BAD_ZONE, Code.BAD_SCHEDULE)


# Rules with one fault each; the laws must find every one of them.


@attrs.frozen
class Faulty:
    """A right rule, for the wrong ones to take after."""

    kind: ClassVar[str] = "faulty"
    part: Walls
    refuses: ClassVar[bool] = False

    def at_or_after(self, instant: int) -> int | None:
        return self.part.at_or_after(instant)

    def at_or_before(self, instant: int) -> int | None:
        return self.part.at_or_before(instant)

    def due_at(self, instant: int) -> Due | None:
        return self.part.due_at(instant)

    def text(self) -> str:
        return f"{type(self).__name__} {self.part.text()}"

    def record(self) -> dict[str, object]:
        return {"part": {"kind": self.part.kind, **self.part.record()}}


class GoesBack(Faulty):
    """Answers a question in the second pass of a repeated hour with the first: as one that forgets the fold does."""

    def at_or_after(self, instant: int) -> int | None:
        table = turns_of(self.part.zone)
        for turn in table.between(instant - 3600, instant + 1):
            if not turn.is_gap and turn.at <= instant < turn.at + 3600:
                return self.part.at_or_after(instant - 3600)
        return self.part.at_or_after(instant)


class LosesADay(Faulty):
    """Steps forwards over the night of a change."""

    def at_or_after(self, instant: int) -> int | None:
        found = self.part.at_or_after(instant)
        if found is not None and turns_of(self.part.zone).between(found - DAY, found):
            return self.part.at_or_after(found + 1)
        return found


class DueAlways(Faulty):
    """Takes every full hour for a run when it is asked about one."""

    def due_at(self, instant: int) -> Due | None:
        return self.part.due_at(instant) or (Due(instant, instant, Why.REGULAR) if instant % 3600 == 0 else None)


class LateBackwards(Faulty):
    """Forgets the very instant that it is asked about."""

    def at_or_before(self, instant: int) -> int | None:
        return self.part.at_or_before(instant - 1)


@pytest.mark.parametrize("fault", [GoesBack, LosesADay, DueAlways, LateBackwards])
def test_a_scheduler_with_a_fault_breaks_a_law(fault: type[Faulty], monkeypatch: pytest.MonkeyPatch) -> None:
    def again(record: Any, place: Any) -> Any:
        return fault(RULES["walls"](record["part"], place))  # type: ignore[arg-type]

    monkeypatch.setitem(RULES, "faulty", again)
    right = Schedule.daily(at="01:30", tz="America/New_York")
    assert isinstance(right.rule, Walls)

    found = broken(attrs.evolve(right, rule=fault(right.rule)))

    assert "breaks a law" in found
    assert "2026-" in found
    assert "Z" in found


def test_each_law_that_a_named_time_can_break_is_noticed() -> None:
    """A wall rule whose recurrence and policy disagree with what it does."""

    class Doubled(Walls):
        def due_at(self, instant: int) -> Due | None:
            due = super().due_at(instant)
            return None if due is None else attrs.evolve(due, wall=due.wall + 60)

    right = Schedule.daily(at="02:30", tz="Europe/Berlin").rule
    assert isinstance(right, Walls)
    wrong = Doubled(right.recurrence, right.zone, right.policy)

    found = broken(attrs.evolve(NIGHTLY, rule=wrong))

    assert "is due when a clock in the zone shows its wall time" in found


def test_other_zone_data_than_this_machines_are_kept() -> None:
    """A schedule with the zone data of then is checked with them."""
    tokyo = zone_from_data("Europe/Berlin", zone("Asia/Tokyo").data, source="test")

    check_schedule(NIGHTLY.in_zone_data(tokyo), promise=[never_more_than(hours=24)])


def test_a_span_may_hold_no_run() -> None:
    leap = Schedule.cron("0 0 29 2 *", tz="Europe/Berlin", checked_from=date(2026, 1, 1))

    check_schedule(leap, start=START, end=END)
    assert "35064 h" in broken(leap, never_more_than(days=366))


def iterate(runs: tuple[Occurrence, ...]) -> Iterator[Occurrence]:
    yield from (run for run in runs if run.why is Why.MOVED)


def test_a_promise_may_be_a_generator() -> None:
    assert "moved out of a gap" in broken(NIGHTLY, iterate)
