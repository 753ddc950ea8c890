"""Which starts are permitted: the law, and each thing that speaks against one."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code
from safebackup.schedule import Schedule
from tests.guarding.scene import GRACE, NIGHTLY, HandClock, at, start

HOURLY = Schedule.hourly(minute=[10, 40], tz="Australia/Lord_Howe")
SCHEDULES = [
    NIGHTLY,
    HOURLY,
    Schedule.cron("30 1 * * *", tz="America/New_York", in_gap="after", in_overlap="both"),
    Schedule.cron("*/7 2 * * *", tz="Europe/Dublin"),
    Schedule.monthly(day="last", at="00:00", tz="Africa/Cairo"),
    Schedule.every(start=at("2026-01-01 00:00"), hours=5, tz="Asia/Kathmandu"),
]
_SPAN = st.integers(int(at("2026-01-02 00:00").timestamp()), int(at("2027-12-31 00:00").timestamp()))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def latest(schedule: Schedule, moment: datetime) -> datetime | None:
    return max(schedule.between(moment - timedelta(days=63), moment + timedelta(seconds=1)), default=None)


@given(
    schedule=st.sampled_from(SCHEDULES),
    second=_SPAN,
    near=st.booleans(),
    late=st.integers(-120, 4000),
    grace=st.integers(0, 3700),
    done=st.booleans(),
)
def test_a_start_is_permitted_within_the_grace_of_an_occurrence_not_yet_done_and_never_else(
    schedule: Schedule, second: int, near: bool, late: int, grace: int, done: bool
) -> None:
    moment = datetime.fromtimestamp(second, at("2026-01-01 00:00").tzinfo)
    due = latest(schedule, moment)
    assert due is not None
    if near:
        moment = due + timedelta(seconds=late)
        due = latest(schedule, moment)
        assert due is not None
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        if done:
            assert start(state, due, schedule=schedule, minutes=0).run_id

        run = start(state, moment, schedule=schedule, grace=timedelta(seconds=grace))

    assert bool(run.run_id) == (moment - due <= timedelta(seconds=grace) and not done)
    if run.run_id:
        assert run.run_id == f"{due:%Y%m%dT%H%M%SZ}"


def test_the_last_second_of_the_grace_counts_and_the_next_does_not(state: Path) -> None:
    assert start(state, at("2026-03-10 00:30:01")).code == Code.START_OUTSIDE_WINDOW
    assert start(state, at("2026-03-10 00:30")).run_id == "20260310T000000Z"


def test_a_start_that_is_early_is_refused(state: Path) -> None:
    run = start(state, at("2026-03-09 23:55"))

    assert run.code == Code.START_OUTSIDE_WINDOW
    assert "started 5 min early" in run.message


def test_the_first_start_of_all_needs_no_state(state: Path) -> None:
    assert start(state, at("2026-03-10 00:00")).run_id


def test_a_start_after_a_long_silence_is_permitted_and_tells_of_it_in_one_line(state: Path) -> None:
    start(state, at("2026-01-10 00:00"))

    run = start(state, at("2026-03-10 00:00"))

    assert run.codes == ["run-missing"]
    assert run.findings[0].what.startswith("58 runs before this one are missing, the first: missing: due 2026-01-11")


def test_a_grace_that_reaches_into_forbidden_hours_permits_nothing_there(state: Path) -> None:
    schedule = Schedule.cron("45 7 * * *", tz="Africa/Lagos", forbid="08:00-18:00")

    assert start(state, at("2026-03-10 07:05"), schedule=schedule).code == Code.START_FORBIDDEN
    assert start(state, at("2026-03-10 06:59:59"), schedule=schedule).run_id


def test_a_run_that_succeeded_is_not_run_again(state: Path) -> None:
    start(state, at("2026-03-10 00:00"), minutes=5)

    run = start(state, at("2026-03-10 00:10"))

    assert run.code == Code.ALREADY_DONE
    assert "20260310T000000Z has succeeded already" in run.message


def test_both_passes_of_a_repeated_hour_are_runs_of_their_own(state: Path) -> None:
    schedule = Schedule.cron("30 1 * * *", tz="America/New_York", in_gap="after", in_overlap="both")

    runs = [start(state, at(f"2026-11-01 0{hour}:30"), schedule=schedule).run_id for hour in (5, 6)]

    assert runs == ["20261101T053000Z", "20261101T063000Z"]


@pytest.mark.parametrize("moment", ["1970-01-01 00:00", "2019-12-31 00:00", "2100-01-01 00:00", "3000-01-01 00:00"])
def test_an_absurd_year_is_refused(state: Path, moment: str) -> None:
    assert start(state, at(moment)).code == Code.CLOCK_NOT_SANE


def test_a_clock_before_the_newest_time_seen_is_refused(state: Path) -> None:
    start(state, at("2026-03-10 00:00"))

    run = start(state, at("2026-03-09 00:00"))

    assert run.code == Code.CLOCK_NOT_SANE
    assert "1 d 10 min before a time that an earlier run has seen, 2026-03-10T00:10:00Z" in run.message


def test_a_clock_that_was_set_back_by_a_minute_is_no_matter(state: Path) -> None:
    schedule = Schedule.cron("* * * * *", tz="UTC")
    start(state, at("2026-03-10 00:10"), schedule=schedule, minutes=0)

    assert start(state, at("2026-03-10 00:09"), schedule=schedule, minutes=0).run_id
    assert json.loads(state.read_text())["newest_clock"] == "2026-03-10T00:10:00Z"


def test_a_refused_start_under_a_wrong_clock_does_not_poison_the_state(state: Path) -> None:
    start(state, at("2026-03-10 00:00"))
    assert start(state, at("2031-03-10 12:10")).code

    assert start(state, at("2026-03-11 00:00")).run_id


def test_who_vouches_for_the_clock_takes_back_what_a_wrong_one_recorded(state: Path) -> None:
    start(state, at("2026-03-12 00:00"))  # two days ahead
    assert start(state, at("2026-03-10 00:00")).code == Code.CLOCK_NOT_SANE

    assert start(state, at("2026-03-10 00:01"), override="the clock was ahead by two days").run_id
    assert start(state, at("2026-03-11 00:00")).run_id
    assert start(state, at("2026-03-12 00:00")).run_id == "20260312T000000Z"


def test_an_override_runs_what_is_missing_and_is_recorded_with_its_reason_and_who(state: Path) -> None:
    start(state, at("2026-03-09 00:00"))

    run = start(state, at("2026-03-10 09:30"), override="the host was off")

    assert run.run_id == "20260310T000000Z"
    (entry,) = json.loads(state.read_text())["overrides"]
    assert (entry["reason"], entry["code"], entry["at"]) == (
        "the host was off",
        "start-forbidden",
        "2026-03-10T09:30:00Z",
    )
    assert entry["user"]
    assert entry["host"]


def test_an_override_that_was_not_needed_is_none(state: Path) -> None:
    start(state, at("2026-03-09 00:00"), override="whatever happens")

    assert json.loads(state.read_text())["overrides"] == []


def test_refusals_are_recorded_and_bounded(state: Path) -> None:
    for minute in range(55):
        start(state, at("2026-03-10 12:00") + timedelta(minutes=minute))

    refusals = json.loads(state.read_text())["refusals"]
    assert len(refusals) == 50
    assert refusals[-1]["at"] == "2026-03-10T12:54:00Z"
    assert {refusal["code"] for refusal in refusals} <= {"start-forbidden", "start-shifted"}


def test_a_changed_schedule_is_recorded_told_and_holds(state: Path) -> None:
    start(state, at("2026-03-10 00:00"))
    later = Schedule.cron("0 3 * * *", tz="Africa/Lagos")

    run = start(state, at("2026-03-11 02:00"), schedule=later)

    assert run.codes == ["guard-schedule-changed"]
    (change,) = json.loads(state.read_text())["changes"]
    assert "cron '0 1 * * *'" in change["before"]
    assert "cron '0 3 * * *'" in change["after"]


def test_a_refused_start_changes_no_schedule(state: Path) -> None:
    start(state, at("2026-03-10 00:00"))

    start(state, at("2026-03-11 00:00"), schedule=Schedule.cron("0 3 * * *", tz="Africa/Lagos"))

    assert "0 1 * * *" in json.loads(state.read_text())["schedule_text"]


def test_a_clock_that_steps_during_the_run_is_noted_and_not_believed(state: Path) -> None:
    from safebackup.guarding import guard

    clock = HandClock(at("2026-03-10 00:00"))
    with guard(NIGHTLY, grace=GRACE, state=state, clock=clock, host_zone="UTC"):
        clock.moment += timedelta(days=400)
        clock.asleep += timedelta(days=400)

    document = json.loads(state.read_text())
    assert document["runs"][0]["clock_step"] == 400 * 86_400
    assert document["newest_clock"] == "2026-03-10T00:00:00Z"
    assert start(state, at("2026-03-11 00:00")).run_id
