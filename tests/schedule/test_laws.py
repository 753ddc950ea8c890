"""Laws that hold for every schedule, zone and instant; instants are drawn near changes of the clocks."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, Why, zone
from safebackup.schedule.cron import parse_cron
from safebackup.schedule.turns import turns_of

ZONES = [
    "Africa/Lagos",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Caracas",
    "Asia/Pyongyang",
    "America/St_Johns",
    "Antarctica/Troll",
    "America/New_York",
    "UTC",
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FROM, UNTIL = 0, 2_145_916_800  # 1970 to 2038


@st.composite
def near_changes(draw: st.DrawFn, key: str) -> datetime:
    turns = turns_of(zone(key)).between(FROM, UNTIL)
    near = draw(st.sampled_from(turns)).at if turns else draw(st.integers(FROM, UNTIL))
    away = draw(st.one_of(st.sampled_from([-1, 0, 1]), st.integers(-7_200, 7_200), st.integers(-200_000, 200_000)))
    return EPOCH + timedelta(seconds=near + away, microseconds=draw(st.sampled_from([0, 0, 1, 999_999])))


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    single = st.integers(low, high).map(str)
    ranges = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda ends: f"{min(ends)}-{max(ends)}")
    steps = st.integers(1, high - low).map(lambda step: f"*/{step}")
    return st.one_of(single, st.just("*"), ranges, steps, st.lists(single, min_size=1, max_size=3).map(",".join))


def can_fire(expression: str) -> bool:
    try:
        parse_cron(expression)
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES
        return False
    return True


CRON = st.builds(
    "{} {} {} {} {}".format,
    numbers(0, 59),
    st.one_of(numbers(0, 23), numbers(0, 3)),
    st.one_of(st.just("*"), st.just("*"), numbers(1, 28), st.sampled_from(["L", "LW", "15W", "31W,2", "*/9"])),
    st.one_of(st.just("*"), numbers(1, 12)),
    st.one_of(st.just("*"), numbers(0, 6), st.sampled_from(["5L", "1#1", "0#5,3"])),
).filter(can_fire)
POLICY: dict[str, Any] = {
    "in_gap": st.sampled_from([None, "after", "shift", "skip"]),
    "in_overlap": st.sampled_from([None, "first", "second", "both"]),
}


@st.composite
def schedules(draw: st.DrawFn, key: str) -> Schedule:
    policy = {name: draw(choice) for name, choice in POLICY.items()}
    kind = draw(st.sampled_from(["cron", "cron", "cron", "seconds", "hourly", "daily", "weekly", "monthly", "every"]))
    at = draw(st.lists(st.times().map(lambda time: time.replace(microsecond=0)), min_size=1, max_size=3))
    match kind:
        case "cron":
            return Schedule.cron(draw(CRON), tz=key, **policy)
        case "seconds":
            return Schedule.cron(f"{draw(numbers(0, 59))} {draw(CRON)}", seconds=True, tz=key, **policy)
        case "hourly":
            return Schedule.hourly(minute=draw(st.sets(st.integers(0, 59), min_size=1)), tz=key, **policy)
        case "daily":
            return Schedule.daily(at=at, tz=key, **policy)
        case "weekly":
            return Schedule.weekly(day=draw(st.sampled_from(["sunday", "mon"])), at=at, tz=key, **policy)
        case "monthly":
            day = draw(st.one_of(st.integers(1, 31), st.just("last"), st.just((5, "sunday")), st.just(("last", "fri"))))
            short = draw(st.sampled_from(["last", "skip"]))
            return Schedule.monthly(day=day, at=at, short_months=short, tz=key, **policy)  # type: ignore[arg-type]
    start = draw(near_changes(key)).replace(microsecond=0)
    return Schedule.every(seconds=draw(st.integers(60, 400_000)), start=start, tz=key)


@st.composite
def composed(draw: st.DrawFn, key: str) -> Schedule:
    schedule = draw(schedules(key))
    for step in draw(st.lists(st.sampled_from(["or", "without", "dates", "spread"]), max_size=2)):
        match step:
            case "or":
                schedule |= draw(schedules(key))
            case "without":
                schedule = draw(st.sampled_from([schedule, schedule | Schedule.daily(at="06:00", tz=key)]))
                schedule = (schedule | Schedule.daily(at="06:00", tz=key)).without("00:30-05:00")
            case "dates":
                schedule = schedule.without(dates=[draw(st.dates(date(1970, 1, 1), date(2037, 1, 1)))])
            case "spread":
                schedule = schedule.spread(
                    timedelta(seconds=draw(st.integers(1, 7_200))), key=draw(st.text(min_size=1))
                )
    return schedule


@st.composite
def cases(draw: st.DrawFn) -> tuple[Schedule, datetime]:
    key = draw(st.sampled_from(ZONES))
    return draw(composed(key)), draw(near_changes(key))


@given(cases())
def test_next_is_later_and_previous_is_earlier_and_both_lead_back(case: tuple[Schedule, datetime]) -> None:
    schedule, moment = case

    later, earlier = schedule.next_after(moment), schedule.previous_before(moment)

    if later is not None:
        assert later > moment
        assert schedule.is_due_at(later)
        before = schedule.previous_before(later)
        assert before is None or before <= moment
        assert schedule.next_after(later - timedelta(microseconds=1)) == later
    if earlier is not None:
        assert earlier < moment
        assert schedule.is_due_at(earlier)
        after = schedule.next_after(earlier)
        assert after is None or after >= moment
    if later is not None and earlier is not None:
        between = list(schedule.between(moment, later))
        assert between == ([pendulum.instance(moment)] if schedule.is_due_at(moment) else [])


@given(cases(), st.integers(0, 400_000), st.integers(0, 400_000))
def test_spans_add_up_and_are_in_order(case: tuple[Schedule, datetime], first: int, second: int) -> None:
    schedule, start = case
    middle = start + timedelta(seconds=first % 50_000)
    end = middle + timedelta(seconds=second % 50_000)

    runs = list(schedule.between(start, end))

    assert [*schedule.between(start, middle), *schedule.between(middle, end)] == runs
    assert all(early < late for early, late in pairwise(runs))
    assert all(start <= run < end for run in runs)
    backwards, moment = [], end
    while (found := schedule.previous_before(moment)) is not None and found >= start:
        backwards.append(found)
        moment = found
    assert backwards[::-1] == runs


@given(cases())
def test_an_occurrence_is_what_between_gives_and_its_wall_time_is_real_if_regular(
    case: tuple[Schedule, datetime],
) -> None:
    schedule, start = case
    end = start + timedelta(seconds=30_000)
    tz = schedule.zone.tzinfo

    occurrences = list(schedule.occurrences(start, end))

    assert [each.instant for each in occurrences] == list(schedule.between(start, end))
    assert len({each.run_id for each in occurrences}) == len(occurrences)
    for each in occurrences:
        shown = each.instant.astimezone(tz)
        assert shown.utcoffset() == each.offset
        if "spread" not in str(schedule) and each.why not in (Why.MOVED, Why.SHIFTED):
            assert shown.replace(tzinfo=None, fold=0) == each.wall


@given(cases(), st.sampled_from(ZONES))
def test_the_zone_of_the_question_does_not_matter(case: tuple[Schedule, datetime], asked_in: str) -> None:
    schedule, moment = case
    answer = schedule.next_after(moment)

    assert schedule.next_after(moment.astimezone(ZoneInfo(asked_in))) == answer
    assert schedule.next_after(pendulum.instance(moment).in_timezone(asked_in)) == answer
    assert answer is None or (type(answer) is pendulum.DateTime and answer.timezone_name == "UTC")


@given(cases())
def test_a_schedule_comes_back_from_plain_data_pickles_and_copies(case: tuple[Schedule, datetime]) -> None:
    schedule, moment = case

    for again in (
        Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))),
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
    ):
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert str(again) == str(schedule)
        assert again.next_after(moment) == schedule.next_after(moment)


@given(st.sampled_from(ZONES), CRON, st.data())
def test_first_and_second_share_out_both(key: str, expression: str, data: st.DataObject) -> None:
    start = data.draw(near_changes(key)).replace(microsecond=0)
    end = start + timedelta(days=1)
    gap: Any = data.draw(st.sampled_from(["after", "shift", "skip"]))

    first, second, both = (
        set(Schedule.cron(expression, tz=key, in_gap=gap, in_overlap=overlap).between(start, end))
        for overlap in ("first", "second", "both")
    )

    assert first | second == both
    occurrences = Schedule.cron(expression, tz=key, in_gap=gap, in_overlap="both").occurrences(start, end)
    twice = {each.instant for each in occurrences if each.why in (Why.FIRST_OF_TWO, Why.SECOND_OF_TWO)}
    assert first & second == both - twice


@given(st.sampled_from(ZONES), st.times(), st.dates(date(1971, 1, 1), date(2037, 1, 1)))
def test_once_runs_once_for_each_civil_day(key: str, at: Any, day: date) -> None:
    """With its date as written; a day that never was is run after it."""
    schedule = Schedule.daily(at=at.replace(microsecond=0), tz=key)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)

    written = [
        wall.date()
        for each in schedule.occurrences(noon - timedelta(days=4), noon + timedelta(days=4))
        for wall in (*each.merged, each.wall)
    ]

    assert len(written) == len(set(written))
    assert {day + timedelta(days=away) for away in range(-2, 3)} <= set(written)


@given(cases())
def test_the_gap_found_bounds_every_gap(case: tuple[Schedule, datetime]) -> None:
    schedule, start = case
    end = start + timedelta(days=3)
    runs = list(schedule.between(start, end))[:3000]
    if len(runs) == 3000:
        end = runs[-1] + timedelta(microseconds=1)
    distances = [late - early for early, late in pairwise(runs)]

    longest, shortest = schedule.max_gap(start, end), schedule.min_gap(start, end)

    assert (None if longest is None else longest.duration) == max(distances, default=None)
    assert (None if shortest is None else shortest.duration) == min(distances, default=None)
    if longest is not None:
        assert schedule.next_after(longest.start) == longest.end


@given(cases(), st.integers(1, 80_000), st.integers(0, 20_000))
def test_what_is_missed_is_all_and_only_what_was_due(case: tuple[Schedule, datetime], span: int, grace: int) -> None:
    schedule, success = case
    now = success + timedelta(seconds=span)

    missed = schedule.missed(success, now, timedelta(seconds=grace))

    due = [run for run in schedule.between(success, now + timedelta(seconds=1)) if success < run <= now]
    assert [run.instant for run in (*missed.runs, *missed.pending)] == due
    assert bool(missed) == bool(missed.runs)
    assert missed.next == schedule.next_after(now)
    assert missed.catch_up("none") == ()
    assert missed.catch_up("all") == missed.runs
    assert missed.catch_up("latest") == missed.runs[-1:] == missed.catch_up("all", at_most=1)
