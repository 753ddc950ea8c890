"""What runs were, which are missing, and which to make up for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import PRESETS, Schedule, Verdict, Why, recorded_zone, zone, zone_from_data

NIGHTLY = Schedule.cron("0 1 * * *", tz="Africa/Lagos", forbid="08:00-18:00")
GRACE = timedelta(minutes=30)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


STARTS = [
    ("2023-10-10T01:00:00+01:00", Verdict.ON_TIME, 0),
    ("2023-10-10T01:30:00+01:00", Verdict.ON_TIME, 1800),
    ("2023-10-10T01:38:00+01:00", Verdict.LATE, 2280),
    ("2023-10-10T03:17:00+01:00", Verdict.LATE, 8220),
    ("2023-10-10T00:30:01+01:00", Verdict.EARLY, -1799),
    ("2023-10-10T00:20:00+01:00", Verdict.OUT_OF_WINDOW, -2400),
    ("2023-10-10T09:41:00+01:00", Verdict.OUT_OF_WINDOW, 31260),
    ("2023-10-10T13:17:00+01:00", Verdict.OUT_OF_WINDOW, -42180),
    ("2023-10-10T09:00:07+01:00", Verdict.SHIFTED, 28807),
    ("2023-10-10T02:00:00+01:00", Verdict.SHIFTED, 3600),
    ("2023-10-10T00:00:20+01:00", Verdict.SHIFTED, -3580),
    ("2023-10-09T20:30:05+01:00", Verdict.SHIFTED, -16195),
]


@pytest.mark.parametrize(("started", "verdict", "late"), STARTS)
def test_a_start_is_judged(started: str, verdict: Verdict, late: int) -> None:
    judgement = NIGHTLY.classify(at(started), GRACE)

    assert (judgement.verdict, judgement.late) == (verdict, timedelta(seconds=late))
    assert bool(judgement.zones) == (verdict is Verdict.SHIFTED)


def test_the_founding_incident_names_the_zone_that_was_read() -> None:
    """A script meant for 01:00 in Lagos started at 08:00Z: 09:00 there, 01:00 on a clock in Los Angeles."""
    judgement = NIGHTLY.classify(at("2023-10-10T08:00:09+00:00"), GRACE)

    assert judgement.verdict is Verdict.SHIFTED
    assert judgement.zones[0] == "America/Los_Angeles"
    assert "started 2023-10-10 09:00:09 +01:00, due 2023-10-10 01:00:00 +01:00 in Africa/Lagos" in judgement.text


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("2023-10-10T01:00:03+00:00", "UTC"),
        ("2023-10-09T19:30:03+00:00", "Asia/Kolkata"),
        ("2023-10-10T05:00:03+00:00", "America/New_York"),
    ],
)
def test_the_zone_of_a_shift_is_named(started: str, name: str) -> None:
    assert NIGHTLY.classify(at(started), GRACE).zones[0] == name


def test_a_healthy_schedule_of_every_hour_is_never_shifted() -> None:
    hourly = Schedule.hourly(minute=5, tz="Africa/Lagos")
    for minutes in range(0, 30, 7):
        assert (
            hourly.classify(at("2023-10-10T09:05:00+01:00") + timedelta(minutes=minutes), GRACE).verdict
            is Verdict.ON_TIME
        )


def test_a_second_start_for_one_occurrence_is_a_double() -> None:
    first, second = at("2023-10-10T01:00:05+01:00"), at("2023-10-10T01:10:00+01:00")

    assert NIGHTLY.classify(second, GRACE, earlier=[first]).verdict is Verdict.DOUBLE
    assert NIGHTLY.classify(second, GRACE, earlier=[first - timedelta(days=1)]).verdict is Verdict.ON_TIME
    assert NIGHTLY.classify(first, GRACE, earlier=[second]).verdict is Verdict.ON_TIME


def test_both_passes_of_a_repeated_hour_are_two_occurrences() -> None:
    both = Schedule.daily(at="02:30", tz="Europe/Berlin", in_overlap="both")
    first, second = at("2026-10-25T00:30:04+00:00"), at("2026-10-25T01:30:04+00:00")

    assert both.classify(second, GRACE, earlier=[first]).verdict is Verdict.ON_TIME
    once = Schedule.daily(at="02:30", tz="Europe/Berlin")
    assert once.classify(second, GRACE, earlier=[first]).verdict is not Verdict.ON_TIME


def test_before_the_first_run_nothing_was_due() -> None:
    schedule = Schedule.every(hours=7, start=at("2026-01-01T00:00:00+00:00"), tz="Africa/Lagos")

    judgement = schedule.classify(at("2020-06-06T10:13:00+00:00"), GRACE)

    assert judgement.verdict is Verdict.OUT_OF_WINDOW
    assert judgement.due is not None and judgement.due.why is Why.ELAPSED


def test_missed_runs_are_told_from_pending_ones() -> None:
    missed = NIGHTLY.missed(at("2026-05-01T01:10:00+01:00"), at("2026-05-04T01:20:00+01:00"), GRACE)

    assert [str(run.wall) for run in missed.runs] == ["2026-05-02 01:00:00", "2026-05-03 01:00:00"]
    assert [str(run.wall) for run in missed.pending] == ["2026-05-04 01:00:00"]
    assert str(missed.next) == "2026-05-05 00:00:00+00:00"
    assert missed
    assert not NIGHTLY.missed(at("2026-05-04T01:00:00+01:00"), at("2026-05-05T00:59:59+01:00"))


def test_what_to_make_up_for_is_a_choice() -> None:
    missed = NIGHTLY.missed(at("2026-05-01T01:10:00+01:00"), at("2026-05-05T12:00:00+01:00"), GRACE)

    def walls(*arguments: Any, **named: Any) -> list[int]:
        return [run.wall.day for run in missed.catch_up(*arguments, **named)]

    assert walls("latest") == [5]
    assert walls("all") == [2, 3, 4, 5]
    assert walls("all", at_most=2) == [4, 5]
    assert walls("all", within=timedelta(hours=36)) == [4, 5]
    assert walls("latest", within=timedelta(hours=1)) == []
    assert walls("none") == []
    for wrong in ({"policy": "some"}, {"policy": "all", "at_most": 0}, {"policy": "latest", "at_most": 1}):
        with pytest.raises(ConfigurationError):
            missed.catch_up(**wrong)


def test_a_success_in_the_future_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="later than now") as refused:
        NIGHTLY.missed(at("2026-05-04T01:00:00+01:00"), at("2026-05-03T01:00:00+01:00"))
    assert refused.value.code == Code.BAD_TIME


def test_gaps_come_with_their_dates() -> None:
    daily = Schedule.daily(at="02:30", tz="Europe/Berlin")
    span = (at("2026-01-01T00:00:00+00:00"), at("2027-01-01T00:00:00+00:00"))

    longest, shortest = daily.max_gap(*span), daily.min_gap(*span)

    assert longest is not None and shortest is not None
    assert (longest.duration, str(longest.start)) == (timedelta(hours=25), "2026-10-25 00:30:00+00:00")
    assert (shortest.duration, str(shortest.end)) == (timedelta(hours=23, minutes=30), "2026-03-29 01:00:00+00:00")
    assert daily.max_gap(span[0], span[0] + timedelta(days=1)) is None


def test_union_is_due_when_either_is_and_merges_what_falls_together() -> None:
    nightly, hourly = Schedule.daily(at="02:30", tz="Europe/Berlin"), Schedule.hourly(minute=30, tz="Europe/Berlin")
    start = at("2026-03-29T00:00:00+00:00")

    runs = list((nightly | hourly).between(start, start + timedelta(hours=3)))

    assert [f"{run:%H:%M}" for run in runs] == ["00:30", "01:00", "01:30", "02:30"]
    assert nightly | nightly == nightly
    assert (nightly | Schedule.daily(at="05:00", tz="Europe/Berlin")).next_after(
        start + timedelta(hours=2)
    ) == start + timedelta(hours=3)


def test_runs_of_two_rules_that_end_a_gap_are_one() -> None:
    early, late = Schedule.daily(at="02:10", tz="Europe/Berlin"), Schedule.daily(at="02:40", tz="Europe/Berlin")
    start = at("2026-03-29T00:00:00+00:00")

    (run,) = (early | late).occurrences(start, start + timedelta(hours=12))

    assert [wall.minute for wall in (run.wall, *run.merged)] == [10, 40]


def test_intersection_is_due_when_both_are() -> None:
    firsts = Schedule.cron("0 1 1-7 * *", tz="Europe/Berlin")
    sundays = Schedule.weekly(day="sunday", at=["01:00", "02:00"], tz="Europe/Berlin")

    runs = (firsts & sundays).between(at("2026-01-01T00:00:00+00:00"), at("2026-05-01T00:00:00+00:00"))

    assert [f"{run:%d.%m. %H}" for run in runs] == ["04.01. 00", "01.02. 00", "01.03. 00", "04.04. 23"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0 1 * * *", "0 2 * * *"),
        ("0 1 1-7 * *", "0 1 8-14 * *"),
        ("0 1 29 2 *", "0 1 * 1 *"),
        ("*/2 * * * *", "1-59/2 * * * *"),
    ],
)
def test_what_is_never_due_together_is_refused_at_once(one: str, other: str) -> None:
    policy: dict[str, Any] = {"tz": "Europe/Berlin", "like": "once"}
    with pytest.raises(ConfigurationError, match="never due together") as refused:
        Schedule.cron(one, **policy) & Schedule.cron(other, **policy)
    assert refused.value.code == Code.NEVER_FIRES


def test_what_is_left_out_is_left_out_in_the_zone_of_the_schedule() -> None:
    schedule = Schedule.cron("0 */6 * * *", tz="Africa/Lagos").without("08:00-18:00", dates=[date(2026, 12, 25)])

    runs = schedule.between(at("2026-12-24T00:00:00+01:00"), at("2026-12-27T00:00:00+01:00"))

    assert [f"{run.in_timezone('Africa/Lagos'):%d %H}" for run in runs] == [
        "24 00",
        "24 06",
        "24 18",
        "26 00",
        "26 06",
        "26 18",
    ]


@pytest.mark.parametrize("seconds", [False, True])
def test_leaving_out_everything_is_refused(seconds: bool) -> None:
    expression = "* * 9-17 * * *" if seconds else "0 9 * * *"
    with pytest.raises(ConfigurationError, match="everything is left out") as refused:
        Schedule.cron(expression, seconds=seconds, tz="Europe/Berlin").without("08:00-18:00")
    assert refused.value.code == Code.NEVER_FIRES


def test_hosts_are_spread_always_in_the_same_way() -> None:
    nightly = Schedule.daily(at="01:00", tz="Africa/Lagos")
    start = at("2026-05-01T00:00:00+01:00")
    hosts = [nightly.spread(timedelta(minutes=10), key=f"orders/{host}") for host in range(200)]
    runs = [next(host.between(start, start + timedelta(days=1))) for host in hosts]

    assert all(at("2026-05-01T01:00:00+01:00") <= run < at("2026-05-01T01:10:00+01:00") for run in runs)
    assert len(set(runs)) > 100
    spread = nightly.spread(timedelta(minutes=10), key="orders/host7")
    (run,) = spread.occurrences(start, start + timedelta(days=1))
    assert str(run.instant) == "2026-05-01 00:04:17+00:00"
    assert (run.wall.hour, run.wall.minute) == (1, 0)


def test_a_spread_run_stays_before_the_next_one() -> None:
    dense = Schedule.cron("*/5 * * * *", tz="Africa/Lagos").spread(timedelta(hours=3), key="orders/host7")
    start = at("2026-05-01T00:00:00+01:00")

    runs = list(dense.between(start, start + timedelta(hours=1)))

    assert len(runs) == 12
    assert all(late.timestamp() - early.timestamp() == 300 for early, late in pairwise(runs))


def test_what_is_promised_holds_for_what_is_made_of_it() -> None:
    quiet = Schedule.daily(at="07:55", tz="Africa/Lagos", forbid="08:00-18:00")

    with pytest.raises(ConfigurationError, match="inside the forbidden 08:00-18:00"):
        quiet | Schedule.daily(at="09:00", tz="Africa/Lagos")
    with pytest.raises(ConfigurationError, match="inside the forbidden 08:00-18:00"):
        for host in range(20):
            quiet.spread(timedelta(hours=5), key=f"orders/{host}")


@pytest.mark.parametrize(
    ("like", "shown"),
    [
        ("once", ["03-29 01:00", "10-25 00:30"]),
        ("elapsed", ["10-25 00:30", "10-25 01:30"]),
        ("debian", ["03-29 01:00", "10-25 00:30"]),
        ("systemd", ["10-25 00:30"]),
        ("kubernetes", ["10-25 00:30", "10-25 01:30"]),
        ("quartz", ["10-25 01:30"]),
        ("rfc5545", ["10-25 00:30"]),
    ],
)
def test_a_preset_does_as_its_namesake(like: Any, shown: list[str]) -> None:
    schedule = Schedule.cron("30 2 * * 0", tz="Europe/Berlin", like=like)

    nights = ("2026-03-29", "2026-10-25")
    runs = [
        run
        for night in nights
        for run in schedule.between(at(f"{night}T00:00:00+00:00"), at(f"{night}T12:00:00+00:00"))
    ]

    assert [f"{run:%m-%d %H:%M}" for run in runs] == shown
    assert like in PRESETS


def test_debian_runs_every_real_interval_where_a_field_starts_with_a_star() -> None:
    schedule = Schedule.cron("*/30 2 * * *", tz="Europe/Berlin", like="debian")

    assert schedule == Schedule.cron("*/30 2 * * *", tz="Europe/Berlin")
    assert schedule == Schedule.cron("*/30 2 * * *", tz="Europe/Berlin", in_gap="skip", in_overlap="both")


def test_short_months_do_as_told() -> None:
    span = (at("2026-01-01T00:00:00+00:00"), at("2026-07-01T00:00:00+00:00"))
    skipped = Schedule.monthly(day=31, at="02:00", short_months="skip", tz="UTC").between(*span)
    clamped = Schedule.monthly(day=31, at="02:00", short_months="last", tz="UTC").between(*span)
    fifth = Schedule.monthly(day=(5, "sunday"), at="02:00", short_months="last", tz="UTC").between(*span)

    assert [f"{run:%d.%m.}" for run in skipped] == ["31.01.", "31.03.", "31.05."]
    assert [f"{run:%d.%m.}" for run in clamped] == ["31.01.", "28.02.", "31.03.", "30.04.", "31.05.", "30.06."]
    assert [f"{run:%d.%m.}" for run in fifth] == ["25.01.", "22.02.", "29.03.", "26.04.", "31.05.", "28.06."]


def test_a_record_of_a_later_release_is_refused() -> None:
    record = NIGHTLY.to_dict()

    with pytest.raises(ConfigurationError, match="semantics 2") as refused:
        Schedule.from_dict({**record, "semantics": 2})
    assert refused.value.code == Code.SCHEDULE_TOO_NEW


@pytest.mark.parametrize("name", ["semantics", "rule", "zone", "forbid", "checked_from"])
@pytest.mark.parametrize("value", [None, 7.5, "x", [1], {"kind": "nothing"}, {"kind": ["walls"]}, True], ids=str)
def test_a_damaged_record_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError):
        Schedule.from_dict({**NIGHTLY.to_dict(), name: value})


def test_a_record_carries_the_zone_data_of_then() -> None:
    record = NIGHTLY.to_dict()

    assert recorded_zone(record) == zone("Africa/Lagos")
    damaged = {**record["zone"], "sha256": "0" * 64}  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="zone data"):
        recorded_zone({**record, "zone": damaged})


def test_other_zone_data_give_other_answers_under_the_same_words() -> None:
    stale = zone_from_data("Africa/Lagos", zone("Europe/Berlin").data, source="a test")
    moment = at("2026-07-01T00:00:00+00:00")

    moved = NIGHTLY.in_zone_data(stale)

    assert str(moved) == str(NIGHTLY) and moved != NIGHTLY
    assert NIGHTLY.next_after(moment) == at("2026-07-02T00:00:00+00:00")
    assert moved.next_after(moment) == at("2026-07-01T23:00:00+00:00")


def test_at_the_ends_of_the_calendar_there_is_nothing_more() -> None:
    for schedule in (
        NIGHTLY,
        Schedule.cron("* * * * * *", seconds=True, tz="Europe/Berlin"),
        Schedule.every(seconds=1, start=at("2026-01-01T00:00:00+00:00"), tz="Europe/Berlin"),
        NIGHTLY.without("01:30-02:00").spread(timedelta(minutes=5), key="a"),
        Schedule.daily(at="01:00", tz="Africa/Lagos")
        | Schedule.every(seconds=7, start=at("0005-01-01T00:00:00+00:00"), tz="Africa/Lagos"),
    ):
        assert schedule.next_after(datetime.max.replace(tzinfo=UTC)) is None
        assert schedule.previous_before(datetime.min.replace(tzinfo=UTC)) is None
        assert schedule.next_after(datetime.min.replace(tzinfo=UTC)) is not None
        assert schedule.previous_before(datetime.max.replace(tzinfo=UTC)) is not None
        assert not schedule.is_due_at(datetime.max.replace(tzinfo=UTC, microsecond=0))
        with pytest.raises(ConfigurationError, match="outside the years"):
            schedule.classify(datetime.max.replace(tzinfo=UTC), GRACE)
        for end in (datetime.max, datetime.min):
            with pytest.raises(ConfigurationError, match="without a time zone"):
                schedule.next_after(end)


def test_a_time_that_the_clocks_always_leave_out_is_never_due() -> None:
    lost = Schedule.cron("30 2 * 3 0L", tz="Europe/Berlin", in_gap="skip")

    assert lost.next_after(at("2026-01-01T00:00:00+00:00")) is None
    assert str(lost.previous_before(at("2026-01-01T00:00:00+00:00"))) == "1980-03-30 01:30:00+00:00"


def test_parts_of_a_second_count() -> None:
    due = at("2026-05-01T01:00:00+01:00")

    assert NIGHTLY.previous_before(due + timedelta(microseconds=1)) == due
    assert NIGHTLY.previous_before(due) == due - timedelta(days=1)
    assert NIGHTLY.next_after(due - timedelta(microseconds=1)) == due
    assert not NIGHTLY.is_due_at(due + timedelta(microseconds=1))


def test_of_several_shifts_the_smallest_is_named() -> None:
    twice = Schedule.daily(at=["01:00", "13:00"], tz="Africa/Lagos")

    judgement = twice.classify(at("2026-05-01T09:00:05+01:00"), GRACE)

    assert (judgement.verdict, judgement.late) == (Verdict.SHIFTED, timedelta(hours=-4, seconds=5))


@pytest.mark.parametrize(
    ("started", "earlier", "verdict"),
    [
        (timedelta(seconds=0.9), timedelta(seconds=0.1), Verdict.DOUBLE),
        (timedelta(seconds=0.1), timedelta(seconds=0.9), Verdict.ON_TIME),  # that one is later
        (timedelta(0), timedelta(minutes=-3), Verdict.DOUBLE),  # it was early for the same occurrence
        (timedelta(minutes=-2), timedelta(minutes=-3), Verdict.DOUBLE),
        (timedelta(minutes=-3), timedelta(minutes=-2), Verdict.EARLY),
        (timedelta(0), timedelta(minutes=-11), Verdict.ON_TIME),  # beyond the grace
        (timedelta(minutes=90), timedelta(minutes=-3), Verdict.DOUBLE),
        (timedelta(0), timedelta(0), Verdict.ON_TIME),
    ],
)
def test_a_start_that_counted_for_the_same_occurrence_makes_a_double(
    started: timedelta, earlier: timedelta, verdict: Verdict
) -> None:
    due = datetime(2026, 1, 15, tzinfo=UTC)

    judged = NIGHTLY.classify(due + started, timedelta(minutes=10), earlier=[due + earlier])

    assert judged.verdict is verdict


def test_a_late_start_for_the_run_before_makes_no_double() -> None:
    quarterly = Schedule.cron("*/15 * * * *", tz="Africa/Lagos")
    due = datetime(2026, 1, 15, tzinfo=UTC)

    judged = quarterly.classify(due, timedelta(minutes=14), earlier=[due - timedelta(minutes=8)])

    assert judged.verdict is Verdict.ON_TIME


def test_starts_in_both_passes_of_a_repeated_hour_are_compared_as_instants() -> None:
    hourly = Schedule.hourly(tz="Europe/Berlin")
    first, second = (datetime(2026, 10, 25, 2, minute, tzinfo=zone("Europe/Berlin").tzinfo) for minute in (50, 10))

    early = hourly.classify(first, timedelta(minutes=20))
    judged = hourly.classify(second.replace(fold=1), timedelta(minutes=20), earlier=[first])

    assert early.verdict is Verdict.EARLY and judged.verdict is Verdict.DOUBLE


def test_starts_that_are_no_collection_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="earlier=None"):
        NIGHTLY.classify(datetime(2026, 1, 15, tzinfo=UTC), GRACE, earlier=None)  # type: ignore[arg-type]


def test_a_year_out_of_reach_is_refused_with_what_to_give() -> None:
    with pytest.raises(ConfigurationError, match="outside the years") as refused:
        NIGHTLY.classify(datetime.max.replace(tzinfo=UTC), GRACE)
    assert refused.value.hint


@pytest.mark.parametrize(
    "windows",
    [["01:00-04:00"], ["00:00-12:00", "12:00-24:00"], ["00:00-02:30", "02:30-24:00"], ["22:00-03:00", "02:00-23:00"]],
)
def test_leaving_out_each_second_is_refused_before_long(windows: list[str]) -> None:
    hours = "1-3" if len(windows) == 1 else "*"
    schedule = Schedule.cron(f"* * {hours} * * *", seconds=True, tz="Europe/Berlin")

    with pytest.raises(ConfigurationError, match="everything is left out"):
        for window in windows:
            schedule = schedule.without(window)


def test_what_only_changes_of_the_clocks_bring_has_a_first_time() -> None:
    moved = Schedule.daily(at="02:30", tz="Europe/Berlin").without("02:00-02:59")

    assert moved.previous_before(datetime(1900, 1, 1, tzinfo=UTC)) is None
    assert moved.previous_before(datetime(2027, 1, 1, tzinfo=UTC)) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert moved.next_after(datetime(2026, 3, 29, 1, tzinfo=UTC)) == datetime(2027, 3, 28, 1, tzinfo=UTC)


def test_dates_left_out_for_centuries_do_not_end_a_schedule() -> None:
    new_year = Schedule.cron("0 0 1 1 *", tz="UTC").without(dates={date(year, 1, 1) for year in range(1000, 2700)})

    assert new_year.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2700, 1, 1, tzinfo=UTC)
    assert new_year.previous_before(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(999, 1, 1, tzinfo=UTC)


def _without_policy(record: dict[str, Any]) -> None:
    del record["rule"]["part"]["in_gap"], record["rule"]["part"]["in_overlap"]


def _too_deep(record: dict[str, Any]) -> None:
    for _ in range(3000):
        record["rule"] = {"kind": "without", "part": record["rule"], "window": "01:00-01:01", "dates": []}


DAMAGES: dict[str, tuple[Any, str]] = {
    "no policy": (_without_policy, "in_gap is missing or damaged"),
    "an empty policy": (lambda record: record["rule"]["part"].update(in_overlap=None), "in_overlap is missing"),
    "nothing in all of": (
        lambda record: record["rule"]["part"].update(recurrence={"kind": "all-of", "parts": []}),
        "parts is missing",
    ),
    "nothing in any of": (
        lambda record: record["rule"]["part"].update(recurrence={"kind": "any-of", "parts": []}),
        "parts is missing",
    ),
    "nothing in a union": (lambda record: record.update(rule={"kind": "union", "parts": []}), "parts is missing"),
    "nothing left out": (lambda record: record["rule"].update(window=None), "window and dates"),
    "everything left out": (lambda record: record["rule"].update(window="02:00-03:01"), "everything is left out"),
    "everything left out inside": (
        lambda record: record.update(
            rule={"kind": "union", "parts": [{**record["rule"], "window": "02:00-03:01"}, record["rule"]["part"]]}
        ),
        "everything is left out",
    ),
    "too deep": (_too_deep, "too deeply nested"),
    "before the first release": (lambda record: record.update(semantics=0), "semantics is missing or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_record_that_could_not_have_been_built_is_refused(damage: str) -> None:
    record: dict[str, Any] = Schedule.cron("*/15 2 * * *", tz="Europe/Berlin").without("02:00-02:20").to_dict()
    spoil, said = DAMAGES[damage]
    assert Schedule.from_dict(record).to_dict() == record

    spoil(record)

    with pytest.raises(ConfigurationError) as refused:
        Schedule.from_dict(record)
    assert said in refused.value.message
    assert refused.value.code in (Code.BAD_SCHEDULE, Code.NEVER_FIRES)
