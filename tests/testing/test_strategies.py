"""The strategies give what they say, shrink to what a reader knows, and give the same again."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, Zone, zone
from safebackup.schedule.cron import parse_cron
from safebackup.testing import (
    RunHistory,
    Transition,
    cron_expressions,
    instants,
    near_transitions,
    run_histories,
    schedules,
    transitions,
    wall_times_in_gaps,
    zones,
)

BERLIN = Schedule.daily(at="02:30", tz="Europe/Berlin")


def drawn(strategy: st.SearchStrategy[Any], number: int = 100, seeded: int = 1) -> list[Any]:
    found: list[Any] = []

    @seed(seeded)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def shown_offsets(place: Zone) -> list[timedelta]:
    """What a clock in a zone is ahead by, looked at each quarter of a day."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    tz = ZoneInfo(place.key)
    shown = (start + timedelta(hours=6 * step) for step in range(68 * 366 * 4))
    return [at.astimezone(tz).utcoffset() or timedelta(0) for at in shown if at.year < 2038]


def test_zones_are_known_ones_and_many_others() -> None:
    keys = Counter(place.key for place in drawn(zones(), 300))

    assert {"UTC", "Africa/Lagos", "Pacific/Apia", "Australia/Lord_Howe"} <= keys.keys()
    assert len(keys) > 100


@pytest.mark.parametrize(
    ("asked", "some", "none"),
    [
        ({"has_gap": True}, {"Europe/Berlin"}, {"UTC", "Africa/Lagos"}),
        ({"has_gap": False, "has_overlap": False}, {"UTC", "Africa/Lagos"}, {"Europe/Berlin", "Asia/Kathmandu"}),
        ({"has_gap": True, "has_overlap": False}, {"Asia/Kathmandu"}, {"UTC", "Europe/Berlin"}),
        ({"midnight": True}, {"Asia/Beirut", "Africa/Cairo", "Pacific/Apia"}, {"UTC", "America/New_York"}),
        ({"sub_hour": True}, {"Australia/Lord_Howe", "Africa/Monrovia"}, {"UTC", "Europe/Berlin"}),
        ({"skipped_day": True}, {"Pacific/Apia", "Pacific/Kwajalein"}, {"UTC", "Asia/Beirut"}),
    ],
)
def test_zones_are_those_asked_for(asked: dict[str, Any], some: set[str], none: set[str]) -> None:
    keys = {place.key for place in drawn(zones(**asked), 90)}

    assert some <= keys
    assert not none & keys


@given(zones(has_gap=True, has_overlap=False))
@settings(max_examples=5)
def test_what_is_said_of_a_zone_is_what_its_clock_shows(place: Zone) -> None:
    steps = [later - earlier for earlier, later in pairwise(shown_offsets(place))]

    assert any(step > timedelta(0) for step in steps)
    assert all(step >= timedelta(0) for step in steps)


@given(transitions())
def test_a_transition_is_where_the_clock_jumps(change: Transition) -> None:
    tz = ZoneInfo(change.zone.key)
    second = timedelta(seconds=1)
    naive_before, naive_after = (
        (datetime.fromisoformat(at.isoformat())).astimezone(tz).replace(tzinfo=None)
        for at in (change.at - second, change.at)
    )

    assert naive_after - naive_before == second + change.after - change.before
    assert change.size > timedelta(0)
    assert change.wall_end - change.wall_start == change.size
    shown = {change.is_gap: naive_before + second, not change.is_gap: naive_after}
    assert shown[True] == change.wall_start
    assert change.is_sub_hour == (change.size.total_seconds() % 3600 != 0)


@given(near_transitions("Australia/Lord_Howe", within=timedelta(hours=2)))
def test_a_moment_near_a_transition_is_near_and_in_utc(moment: Any) -> None:
    tz = ZoneInfo("Australia/Lord_Howe")
    earlier, later = (
        (moment + timedelta(hours=away)).astimezone(UTC).astimezone(tz).utcoffset() for away in (-2.1, 2.1)
    )

    assert type(moment) is pendulum.DateTime
    assert moment.timezone_name == "UTC"
    assert earlier != later


def test_moments_near_a_transition_hit_its_very_borders() -> None:
    changes = {each.at for each in drawn(transitions("Europe/Berlin"), 300)}

    found = drawn(near_transitions("Europe/Berlin"), 400)

    assert sum(moment in changes for moment in found) > 10
    assert sum(moment + timedelta(seconds=1) in changes for moment in found) > 5
    assert len(set(found)) > 200


def test_spans_are_kept() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)

    assert all(start <= moment < end for moment in drawn(instants(start=start, end=end)))
    assert {change.at.month for change in drawn(transitions("Europe/Berlin", start=start, end=end))} == {3, 10}
    gaps = drawn(wall_times_in_gaps("Europe/Berlin", start=start, end=end))
    assert {wall.date().isoformat() for wall in gaps} == {"2026-03-29"}


@given(zones(has_gap=True).flatmap(lambda place: st.tuples(st.just(place), wall_times_in_gaps(place))))
def test_a_wall_time_in_a_gap_was_never_shown(case: tuple[Zone, datetime]) -> None:
    place, wall = case
    tz = ZoneInfo(place.key)

    assert wall.tzinfo is None
    for fold in (0, 1):
        assert wall.replace(tzinfo=tz, fold=fold).astimezone(UTC).astimezone(tz).replace(tzinfo=None) != wall


@given(cron_expressions(), cron_expressions(seconds=True))
def test_every_expression_is_accepted(five: str, six: str) -> None:
    parse_cron(five)
    parse_cron(six, seconds=True)

    assert (len(five.split()), len(six.split())) == (5, 6)


def test_expressions_near_a_transition_are_often_due_in_it() -> None:
    change = find(transitions("Pacific/Apia"), lambda change: change.skips_a_day)
    hit = 0

    for expression in drawn(cron_expressions(near=change), 200):
        recurrence = parse_cron(expression)
        start, end = (
            int((wall - datetime(1970, 1, 1)).total_seconds()) for wall in (change.wall_start, change.wall_end)
        )
        found = recurrence.at_or_after(start)
        hit += found is not None and found < end

    assert hit > 100


def test_schedules_are_of_every_kind_and_often_meet_a_transition() -> None:
    found = drawn(schedules("Europe/Berlin"), 300)

    kinds = {str(schedule).split()[0] for schedule in found}
    assert {"daily", "cron", "hourly", "weekly", "monthly", "every"} <= kinds
    assert any(kind.startswith("(") for kind in kinds)
    assert any(" seconds " in str(schedule) for schedule in found)
    gap = datetime(2026, 3, 29, 1, tzinfo=UTC)
    moved = [each for each in found if any(run.why != "regular" for run in each.occurrences(gap, gap + timedelta(1)))]
    assert len(moved) > 40


@given(schedules().flatmap(run_histories))
@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_a_history_says_what_became_of_each_run(history: RunHistory) -> None:
    due = list(history.schedule.between(history.due[0], history.due[-1] + timedelta(seconds=1)))
    assert list(history.due) == due
    assert set(history.dropped) | {start.due for start in history.starts} == set(due)
    assert not set(history.dropped) & {start.due for start in history.starts}
    assert all(start.due <= start.started < history.end for start in history.starts)
    assert all(start.started - start.due <= timedelta(hours=2) for start in history.starts)
    assert all(at < history.end for at in due)
    assert [start.started for start in history.starts] == sorted(start.started for start in history.starts)


@given(run_histories(BERLIN, faults=()))
def test_a_history_without_faults_is_healthy(history: RunHistory) -> None:
    assert history.is_healthy
    assert [start.due for start in history.starts] == list(history.due)


@pytest.mark.parametrize("fault", ["drop", "delay", "duplicate", "clock-step"])
def test_each_fault_happens_and_no_other(fault: Any) -> None:
    found = drawn(run_histories(BERLIN, faults=[fault]))

    seen = {
        "drop": any(each.dropped for each in found),
        "delay": any(start.started > start.due for each in found for start in each.starts),
        "duplicate": any(len({start.due for start in each.starts}) < len(each.starts) for each in found),
        "clock-step": any(start.recorded != start.started for each in found for start in each.starts),
    }
    also = {"duplicate": {"delay"}}.get(fault, set())  # the second start is later
    assert {name for name, was in seen.items() if was} == {fault, *also}
    assert any(each.is_healthy for each in found)


def test_histories_find_the_monitor_that_takes_any_start_for_every_run() -> None:
    """What the strategy is for: a monitor that counts starts does not see a run that was dropped beside a double."""

    def alarms(history: RunHistory) -> bool:
        return len(history.starts) < len(history.due)

    found = find(run_histories(BERLIN), lambda history: bool(history.dropped) and not alarms(history))

    assert len(found.dropped) == 1
    assert len(found.starts) == len(found.due)
    assert found.starts[0].recorded == found.starts[0].started


def test_what_fails_shrinks_to_familiar_zones_and_dates() -> None:
    assert find(zones(), lambda _: True).key == "UTC"
    assert find(zones(has_gap=True), lambda _: True).key == "Europe/Berlin"
    assert str(find(transitions(), lambda change: change.is_gap).at) == "2026-03-29 01:00:00+00:00"
    assert str(find(near_transitions(), lambda _: True)) == "2026-03-29 01:00:00+00:00"
    assert find(wall_times_in_gaps("America/New_York"), lambda _: True) == datetime(2026, 3, 8, 2)
    assert find(run_histories(BERLIN), lambda _: True).is_healthy
    (lost,) = find(run_histories(BERLIN, runs=1), lambda history: bool(history.dropped)).dropped
    assert str(lost) == "2026-03-29 01:00:00+00:00"


@pytest.mark.parametrize(
    "strategy",
    [zones(), instants(), near_transitions(), cron_expressions(), schedules(), run_histories(BERLIN)],
    ids=["zones", "instants", "near", "cron", "schedules", "histories"],
)
def test_the_same_seed_gives_the_same_again(strategy: st.SearchStrategy[Any]) -> None:
    assert drawn(strategy, 40, seeded=7) == drawn(strategy, 40, seeded=7)
    assert drawn(strategy, 40, seeded=7) != drawn(strategy, 40, seeded=8)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: transitions("Africa/Lagos"),
        lambda: near_transitions("UTC"),
        lambda: wall_times_in_gaps("Africa/Lagos"),
        lambda: wall_times_in_gaps(
            "Europe/Berlin", start=datetime(2026, 6, 1, tzinfo=UTC), end=datetime(2027, 1, 1, tzinfo=UTC)
        ),
        lambda: zones(skipped_day=True, start=datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: instants(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: instants(start=datetime(2026, 1, 1)),
        lambda: transitions("WAT"),
        lambda: run_histories(BERLIN, faults=["explode"]).example(),  # type: ignore[list-item]
        lambda: run_histories(BERLIN, runs=0).example(),
    ],
    ids=map(str, range(10)),
)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_what_cannot_be_given_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wrong()

    assert refused.value.code in (Code.BAD_ARGUMENT, Code.BAD_TIME, Code.NAIVE_TIME, Code.BAD_ZONE)
    assert refused.value.hint


def test_zone_is_what_is_given() -> None:
    assert find(zones(midnight=True), lambda _: True) == zone("Asia/Beirut")
