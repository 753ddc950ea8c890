"""The awkward nights by name, as facts with dates: what each policy does in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from safebackup.schedule import Schedule, Why

# expression, zone, from, to (instants in UTC), policy or None for the default, the runs as the wall clock shows them
NIGHTS = [
    ("30 2 * * *", "America/New_York", "2026-03-08", None, "03:00:00-0400"),
    ("30 2 * * *", "America/New_York", "2026-03-08", ("shift", "first"), "03:30:00-0400"),
    ("30 2 * * *", "America/New_York", "2026-03-08", ("skip", "first"), ""),
    ("0,30 2 * * *", "America/New_York", "2026-03-08", None, "03:00:00-0400"),
    ("0,30 2 * * *", "America/New_York", "2026-03-08", ("shift", "first"), "03:00:00-0400 03:30:00-0400"),
    ("*/20 2 * * *", "America/New_York", "2026-03-08", None, ""),
    ("30 1-3 * * *", "America/New_York", "2026-03-08", None, "01:30:00-0500 03:00:00-0400 03:30:00-0400"),
    ("0 */2 * * *", "America/New_York", "2026-03-08", None, " ".join(
        ["00:00:00-0500", *(f"{hour:02}:00:00-0400" for hour in range(4, 24, 2))])),
    ("30 1 * * *", "America/New_York", "2026-11-01", None, "01:30:00-0400"),
    ("30 1 * * *", "America/New_York", "2026-11-01", ("after", "second"), "01:30:00-0500"),
    ("30 1 * * *", "America/New_York", "2026-11-01", ("after", "both"), "01:30:00-0400 01:30:00-0500"),
    ("*/20 1 * * *", "America/New_York", "2026-11-01", None, (
        "01:00:00-0400 01:20:00-0400 01:40:00-0400 01:00:00-0500 01:20:00-0500 01:40:00-0500")),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", None, "02:30:00+1100"),
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", ("shift", "first"), "02:45:00+1100"),
    ("5 */6 * * *", "Australia/Lord_Howe", "2026-10-04", None, (
        "00:05:00+1030 06:05:00+1100 12:05:00+1100 18:05:00+1100")),
    ("5 */6 * * *", "Australia/Lord_Howe", "2026-04-05", None, (
        "00:05:00+1100 06:05:00+1030 12:05:00+1030 18:05:00+1030")),
    ("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-05", None, (
        "01:00:00+1100 01:15:00+1100 01:30:00+1100 01:45:00+1100 01:30:00+1030 01:45:00+1030")),
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-04", None, "01:00:00-0200"),
    ("0 0 * * *", "Asia/Beirut", "2026-03-29", None, "01:00:00+0300"),
    ("15 0 * * 0", "Asia/Beirut", "2026-03-29", None, "01:00:00+0300"),
    ("0 0 * * *", "Africa/Cairo", "2026-04-24", None, "01:00:00+0300"),
    ("30 23 * * *", "Africa/Cairo", "2026-10-29", ("after", "both"), "23:30:00+0300 23:30:00+0200"),
    ("0 12 * * *", "Pacific/Apia", "2011-12-31", None, "00:00:00+1400 12:00:00+1400"),
    ("0 12 * * *", "Pacific/Apia", "2011-12-31", ("shift", "first"), "12:00:00+1400"),
    ("0 12 * * *", "Pacific/Apia", "2011-12-31", ("skip", "first"), "12:00:00+1400"),
    ("30 1 * * *", "Europe/Dublin", "2026-03-29", None, "02:00:00+0100"),
    ("30 1 * * *", "Europe/Dublin", "2026-10-25", None, "01:30:00+0100"),
    ("30 2 * * *", "Africa/Casablanca", "2025-02-23", ("after", "both"), "02:30:00+0100 02:30:00+0000"),
    ("30 2 * * *", "Africa/Casablanca", "2025-04-06", None, "03:00:00+0100"),
    ("45 2 * * *", "America/Caracas", "2016-05-01", None, "03:00:00-0400"),
    ("45 23 * * *", "Asia/Pyongyang", "2018-05-05", None, "00:00:00+0900 23:45:00+0900"),
    ("5 0 * * *", "Asia/Kathmandu", "1986-01-01", None, "00:15:00+0545"),
    ("0 2 * * *", "Antarctica/Troll", "2026-03-29", None, "03:00:00+0200"),
    ("0,30 1,2 * * *", "Antarctica/Troll", "2026-03-29", ("shift", "first"), (
        "03:00:00+0200 03:30:00+0200 04:00:00+0200 04:30:00+0200")),
    ("15 3 * * *", "Pacific/Chatham", "2026-09-27", None, "03:45:00+1345"),
    ("15 3 * * *", "Pacific/Chatham", "2026-04-05", ("after", "both"), "03:15:00+1345 03:15:00+1245"),
    ("1 0 * * *", "America/St_Johns", "2007-03-11", None, "01:01:00-0230"),
    ("30 23 * * *", "America/St_Johns", "2007-11-03", ("after", "both"), "23:30:00-0230 23:30:00-0330"),
    ("5 0 * * *", "Africa/Monrovia", "1972-01-07", None, "00:44:30+0000"),
    ("30 2 * * *", "Africa/Lagos", "2026-03-29", None, "02:30:00+0100"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "key", "day", "policy", "shown"), NIGHTS)
def test_a_night(expression: str, key: str, day: str, policy: tuple[str, str] | None, shown: str) -> None:
    chosen = {} if policy is None else {"in_gap": policy[0], "in_overlap": policy[1]}
    schedule = Schedule.cron(expression, tz=key, **chosen)  # type: ignore[arg-type]
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")

    runs = [
        run.astimezone(ZoneInfo(key)) for run in schedule.between(noon - timedelta(days=2), noon + timedelta(days=2))
    ]

    assert [f"{run:%H:%M:%S%z}" for run in runs if f"{run:%Y-%m-%d}" == day] == shown.split()


def test_nothing_is_due_on_the_day_that_never_was() -> None:
    schedule = Schedule.cron("0 12 30 12 *", tz="Pacific/Apia", in_gap="skip")

    assert str(schedule.next_after(datetime(2011, 1, 1, tzinfo=UTC))) == "2012-12-29 22:00:00+00:00"


def test_a_question_in_the_second_pass_is_never_answered_with_the_first() -> None:
    schedule = Schedule.cron("30 1 * * *", tz="America/New_York")
    in_second_pass = datetime(2026, 11, 1, 1, 15, fold=1, tzinfo=ZoneInfo("America/New_York"))

    assert str(schedule.next_after(in_second_pass)) == "2026-11-02 06:30:00+00:00"
    assert str(schedule.previous_before(in_second_pass)) == "2026-11-01 05:30:00+00:00"


@pytest.mark.parametrize(
    ("expression", "in_gap", "days", "hours"),
    [
        ("30 2 * * 0", "skip", 13, 23),
        ("30 2 * * 0", "after", 7, 1),
        ("30 2 L * *", "skip", 60, 23),
        ("30 2 * * *", "skip", 1, 23),
        ("30 2 * * *", "after", 1, 1),
    ],
)
def test_what_skip_costs(expression: str, in_gap: str, days: int, hours: int) -> None:
    schedule = Schedule.cron(expression, tz="Europe/Berlin", in_gap=in_gap)  # type: ignore[arg-type]

    gap = schedule.max_gap(datetime(2026, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC))

    assert gap is not None
    assert gap.duration == timedelta(days=days, hours=hours)


def test_every_keeps_its_distance_through_both_changes() -> None:
    start = datetime(2026, 1, 1, 6, tzinfo=UTC)
    schedule = Schedule.every(hours=6, start=start, tz="Europe/Berlin")

    runs = list(schedule.between(start, start + timedelta(days=365)))

    assert {later.timestamp() - earlier.timestamp() for earlier, later in pairwise(runs)} == {6 * 3600}
    assert schedule.previous_before(start) is None
    assert schedule.next_after(start - timedelta(days=900)) == start


def test_an_occurrence_says_why_it_is_due() -> None:
    spring = Schedule.cron("0,30 2,3 * * *", tz="Europe/Berlin")
    autumn = Schedule.cron("30 2 * * *", tz="Europe/Berlin", in_overlap="both")
    shifted = Schedule.daily(at="02:10", tz="Europe/Berlin", in_gap="shift")

    first, second = spring.occurrences(datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))
    passes = list(autumn.occurrences(datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)))
    (moved,) = Schedule.daily(at="02:10", tz="Europe/Berlin").occurrences(
        datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC)
    )
    (late,) = shifted.occurrences(datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))

    assert (first.why, first.wall) == (Why.REGULAR, datetime(2026, 3, 29, 3))
    assert first.merged == (datetime(2026, 3, 29, 2), datetime(2026, 3, 29, 2, 30))
    assert (second.why, second.merged) == (Why.REGULAR, ())
    assert [run.why for run in passes] == [Why.FIRST_OF_TWO, Why.SECOND_OF_TWO]
    assert [run.run_id for run in passes] == ["20261025T003000Z", "20261025T013000Z"]
    assert passes[0].wall == passes[1].wall == datetime(2026, 10, 25, 2, 30)
    assert [run.offset for run in passes] == [timedelta(hours=2), timedelta(hours=1)]
    assert (moved.why, str(moved.instant), moved.wall) == (
        Why.MOVED, "2026-03-29 01:00:00+00:00", datetime(2026, 3, 29, 2, 10)
    )  # fmt: skip
    assert (late.why, str(late.instant)) == (Why.SHIFTED, "2026-03-29 01:10:00+00:00")
