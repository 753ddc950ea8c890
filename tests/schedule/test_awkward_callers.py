"""What callers really pass: durations of pendulum's, generators, values of the wrong kind; and spans that are long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import pendulum
import pytest

from safebackup.errors import ConfigurationError
from safebackup.schedule import Schedule, Verdict

NIGHTLY = Schedule.daily(at="01:30", tz="Africa/Lagos")  # 00:30 in UTC
START = datetime(2026, 1, 1, tzinfo=UTC)
HALF_AN_HOUR = [timedelta(minutes=30), pendulum.duration(minutes=30)]


@pytest.mark.parametrize("grace", HALF_AN_HOUR, ids=["timedelta", "pendulum"])
def test_durations_of_pendulum_are_durations(grace: timedelta) -> None:
    missed = NIGHTLY.missed(START, START + timedelta(days=2), grace)

    assert [run.instant.day for run in missed.runs] == [1, 2]
    assert len(missed.catch_up("all", within=grace * 60)) == 1
    assert NIGHTLY.classify(START + timedelta(minutes=40), grace=grace).verdict is Verdict.ON_TIME
    assert NIGHTLY.spread(grace, key="host").next_after(START) is not None
    assert NIGHTLY.lint(start=START, rpo=grace) == NIGHTLY.lint(start=START, rpo=timedelta(minutes=30))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: NIGHTLY.missed(START, START + timedelta(days=2), 30),  # type: ignore[arg-type]
        lambda: NIGHTLY.classify(START, grace=30),  # type: ignore[arg-type]
        lambda: NIGHTLY.spread(30, key="host"),  # type: ignore[arg-type]
        lambda: NIGHTLY.lint(start=START, rpo=25),  # type: ignore[arg-type]
        lambda: Schedule.cron("30 1 * * *", tz="Africa/Lagos", like=[]),  # type: ignore[arg-type]
        lambda: Schedule.every(hours=6, start="2026-01-01", tz="Africa/Lagos"),  # type: ignore[arg-type]
        lambda: Schedule.daily(at="01:30", tz="Africa/Lagos", forbid=5),  # type: ignore[arg-type]
    ],
    ids=["missed", "classify", "spread", "lint", "like", "every", "forbid"],
)
def test_values_of_the_wrong_kind_are_refused_in_words(ask: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask()

    assert caught.value.hint


def test_the_same_promise_twice_is_one() -> None:
    once = Schedule.daily(at="01:30", tz="Africa/Lagos", forbid="08:00-18:00")

    assert Schedule.daily(at="01:30", tz="Africa/Lagos", forbid=["08:00-18:00", "08:00-18:00"]) == once


def test_dates_to_leave_out_may_come_from_a_generator() -> None:
    holidays = [date(2026, 1, 1), date(2026, 1, 2)]

    rest = NIGHTLY.without(dates=(day for day in holidays))  # type: ignore[arg-type]

    assert rest == NIGHTLY.without(dates=holidays)
    assert rest.next_after(START) == datetime(2026, 1, 3, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("tz", ["Africa/Lagos", "Europe/Berlin", "Australia/Lord_Howe"])
def test_a_year_of_dates_is_left_out_forwards_and_backwards_alike(tz: str) -> None:
    year = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    every_second = Schedule.cron("* * * * * *", seconds=True, tz=tz).without("00:00-23:00", dates=year)

    after = every_second.next_after(pendulum.datetime(2026, 1, 1, tz=tz))
    before = every_second.previous_before(pendulum.datetime(2027, 1, 1, tz=tz))

    assert after == pendulum.datetime(2027, 1, 1, 23, tz=tz)
    assert before == pendulum.datetime(2025, 12, 31, 23, 59, 59, tz=tz)


def test_what_is_left_out_still_refuses_the_change_of_the_clocks() -> None:
    careful = Schedule.cron("30 2 29 3 *", tz="Europe/Berlin", in_gap="skip").without("00:00-02:00")

    assert careful.next_after(datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2027, 3, 29, 0, 30, tzinfo=UTC)


def test_a_late_second_start_is_double_not_late() -> None:
    due = datetime(2026, 1, 5, 0, 30, tzinfo=UTC)

    judged = NIGHTLY.classify(
        due + timedelta(minutes=100), grace=timedelta(minutes=30), earlier=[due + timedelta(minutes=1)]
    )

    assert judged.verdict is Verdict.DOUBLE


def test_of_many_runs_a_day_a_late_one_is_no_error_of_zones() -> None:
    every_two_hours = Schedule.cron("0 */2 * * *", tz="Africa/Lagos")

    judged = every_two_hours.classify(datetime(2026, 1, 5, 11, 40, tzinfo=UTC), grace=timedelta(minutes=15))

    assert judged.verdict is Verdict.LATE


def test_a_promise_is_kept_by_what_is_due_once_in_decades() -> None:
    with pytest.raises(ConfigurationError):
        Schedule.on_calendar("2051-06-01 09:00", tz="Africa/Lagos", forbid="08:00-18:00", checked_from=START)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 0 * * 5-2", "0-2,5,6"),
        ("22-2 * * * *", "22-59,0-2"),
        ("0 22-2/2 * * *", "0,2,22"),
        ("@daily /usr/local/bin/backup", "alias"),
        (" CRON_TZ=UTC 0 0 * * *", "tz="),
        ("0 0 ٣ * *", "day of the month"),
        ("000 0 * * *", "digits"),
    ],
)
def test_refusals_name_what_to_write_instead(expression: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Schedule.cron(expression, tz="Africa/Lagos")

    assert said in str(caught.value)


def test_a_fixed_offset_is_refused_with_places_that_have_it() -> None:
    with pytest.raises(ConfigurationError, match="Africa/Lagos"):
        Schedule.daily(at="01:30", tz=timezone(timedelta(hours=1)))
