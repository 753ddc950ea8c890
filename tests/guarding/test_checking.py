"""What the state alone tells from outside."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.guarding import GuardReport, check_guard, guard, states
from safebackup.guarding.hosts import Process
from safebackup.guarding.states import State
from safebackup.schedule import Schedule, moments
from tests.guarding.scene import GRACE, NIGHTLY, HandClock, at, start

ELSEWHERE = Process(host="other", machine="m", boot="b", space="pid:[1]", pid=7, begun=1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def checked(
    state: Path, moment: datetime, *, within: timedelta = timedelta(days=7), schedule: Schedule | None = None
) -> GuardReport:
    return check_guard(state, clock=HandClock(moment), host_zone="UTC", within=within, schedule=schedule)


def ran(state: Path, *days: int) -> None:
    for day in days:
        start(state, at(f"2026-03-{day:02} 00:00"))


def missing(report: GuardReport) -> list[str]:
    return [one.run_id[6:8] for one in report.missing]


def codes(report: GuardReport) -> list[str]:
    return [str(finding.code) for finding in report.findings]


def rewritten(state: Path, **changes: Any) -> None:
    """Change what the state says."""
    found = states.read(state.read_bytes(), "here")
    state.write_bytes(states.written(attrs.evolve(found, **changes)))


def loaded(state: Path) -> State:
    return states.read(state.read_bytes(), "here")


def test_a_state_that_was_never_written_is_a_finding(state: Path) -> None:
    report = checked(state, at("2026-03-10 12:00"))

    assert (report.passed, codes(report), report.since) == (False, ["guard-state-missing"], None)
    assert not state.exists()


def test_runs_that_are_all_there_are_well(state: Path) -> None:
    ran(state, 8, 9, 10)

    report = checked(state, at("2026-03-10 12:00"))

    assert (report.passed, report.findings, report.missing, report.running) == (True, (), (), False)
    assert report.last_success == at("2026-03-10 00:00")
    assert report.next == at("2026-03-11 00:00")


def test_a_missing_run_is_named_also_when_a_later_one_succeeded(state: Path) -> None:
    ran(state, 8, 10)

    assert missing(checked(state, at("2026-03-10 12:00"))) == ["09"]
    assert missing(checked(state, at("2026-03-17 12:00"))) == ["11", "12", "13", "14", "15", "16", "17"]


def test_how_far_back_it_looks_can_be_said(state: Path) -> None:
    ran(state, 8, 10)

    assert missing(checked(state, at("2026-03-10 12:00"), within=timedelta(days=1))) == []


def test_all_since_the_last_success_is_missing_however_long_ago(state: Path) -> None:
    ran(state, 1)

    assert len(missing(checked(state, at("2026-03-30 12:00")))) == 29


def test_a_very_long_silence_is_bounded(state: Path) -> None:
    schedule = Schedule.cron("* * * * *", tz="UTC")
    start(state, at("2026-03-10 00:00"), schedule=schedule, minutes=0)

    report = checked(state, at("2026-09-10 00:00"))

    assert 900 < len(report.missing) <= 1000
    assert report.missing[-1].instant == at("2026-09-09 23:29")


def test_what_failed_is_told_at_once(state: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))),
    ):
        raise RuntimeError

    report = checked(state, at("2026-03-10 00:05"))

    assert codes(report) == ["run-failed"]
    assert "it failed: RuntimeError" in report.findings[0].what


def test_of_several_attempts_the_last_is_told(state: Path) -> None:
    for minute, error in ((0, RuntimeError()), (5, OSError())):
        with (
            pytest.raises(type(error)),
            guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at(f"2026-03-10 00:0{minute}"))),
        ):
            raise error

    assert [finding.what.rpartition(" ")[2] for finding in checked(state, at("2026-03-10 12:00")).findings] == [
        "OSError"
    ]


def test_a_failure_that_was_made_up_for_is_well(state: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))),
    ):
        raise RuntimeError
    start(state, at("2026-03-10 00:10"))

    assert checked(state, at("2026-03-10 12:00")).passed


def test_a_run_that_lasts_is_not_missing(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        report = checked(state, at("2026-03-10 09:00"))

    assert (report.passed, report.running, missing(report)) == (True, True, [])


def test_a_run_that_lasts_beyond_its_deadline_is_told(state: Path) -> None:
    clock = HandClock(at("2026-03-10 00:00"))
    with guard(NIGHTLY, grace=GRACE, state=state, deadline=timedelta(hours=2), clock=clock):
        before, after = (checked(state, at(f"2026-03-10 0{hour}:06")) for hour in (2, 3))
        early = checked(state, at("2026-03-10 02:04"))

    assert early.passed
    assert codes(before) == codes(after) == ["run-unfinished"]
    assert "3 h 6 min after its start, with a deadline of 2 h" in after.findings[0].what


def test_what_falls_due_while_a_run_lasts_is_missing(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        start(state, at("2026-03-11 00:00"))
        report = checked(state, at("2026-03-11 12:00"))

    assert missing(report) == ["11"]
    assert "was refused: the run 20260310T000000Z is active" in report.findings[0].what


def test_a_run_of_a_dead_process_is_unfinished(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        active = loaded(state).active
    assert active is not None
    assert active.process is not None
    rewritten(state, active=attrs.evolve(active, process=attrs.evolve(active.process, begun=1)), runs=())

    report = checked(state, at("2026-03-10 00:20"))

    assert codes(report) == ["run-unfinished"]
    assert "it never finished" in report.findings[0].what


@pytest.mark.parametrize(("deadline", "until"), [(None, "2026-03-10 12:00"), (timedelta(hours=2), "2026-03-10 02:05")])
def test_a_run_on_a_host_that_cannot_be_asked_is_given_its_time(
    state: Path, deadline: timedelta | None, until: str
) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, deadline=deadline, clock=HandClock(at("2026-03-10 00:00"))):
        active = loaded(state).active
    assert active is not None
    rewritten(state, active=attrs.evolve(active, process=ELSEWHERE), runs=())

    before = checked(state, at(until) - timedelta(seconds=1))
    after = checked(state, at(until))
    refused = start(state, at(until) - timedelta(seconds=1), override="try")
    permitted = start(state, at(until), override="it was too late", minutes=0)

    assert (before.running, after.running) == (True, False)
    assert codes(after) == ["run-unfinished"]
    assert refused.run_id  # nobody can know: who overrides takes it upon them
    assert permitted.run_id


def test_without_an_override_a_run_on_another_host_is_waited_for(state: Path) -> None:
    schedule = Schedule.hourly(tz="UTC")
    with guard(schedule, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        active = loaded(state).active
    assert active is not None
    rewritten(state, active=attrs.evolve(active, process=ELSEWHERE), runs=())

    waited = start(state, at("2026-03-10 11:00"), schedule=schedule)
    run = start(state, at("2026-03-10 12:00"), schedule=schedule)

    assert waited.code == Code.RUN_ACTIVE
    assert "process 7 on other" in waited.message
    assert run.run_id
    assert "run-unfinished" not in run.codes[1:]
    assert str(loaded(state).runs[0].status) == "unfinished"


def test_a_clock_that_is_behind_the_state_is_told(state: Path) -> None:
    ran(state, 10)

    assert codes(checked(state, at("2026-03-09 12:00"))) == ["clock-not-sane"]


def test_another_schedule_than_the_one_of_the_state_is_told(state: Path) -> None:
    ran(state, 9, 10)
    later = Schedule.cron("0 5 * * *", tz="Africa/Lagos")

    report = checked(state, at("2026-03-10 12:00"), schedule=later)

    assert codes(report) == ["guard-schedule-changed", "run-missing", "run-missing"]
    assert checked(state, at("2026-03-10 12:00"), schedule=NIGHTLY).findings == ()


def test_what_was_due_before_a_schedule_changed_is_not_expected_of_the_new_one(state: Path) -> None:
    ran(state, 9, 10)
    start(state, at("2026-03-10 11:00"), schedule=Schedule.cron("0 */4 * * *", tz="Africa/Lagos"))

    assert checked(state, at("2026-03-10 11:30")).passed


SAME_INSTANTS = Schedule.daily(at="01:00", tz="Africa/Lagos")


@pytest.mark.parametrize(
    ("schedule", "moment"),
    [(SAME_INSTANTS, "2026-03-13 00:00"), (Schedule.daily(at="02:00", tz="Africa/Lagos"), "2026-03-13 01:00")],
    ids=["other words", "another hour"],
)
def test_runs_that_were_missing_when_the_schedule_changed_stay_missing(
    state: Path, schedule: Schedule, moment: str
) -> None:
    ran(state, 10)
    run = start(state, at(moment), schedule=schedule)

    report = checked(state, at("2026-03-13 12:00"))

    assert run.codes == ["run-missing", "run-missing", "guard-schedule-changed"]
    assert [one.instant for one in report.missing] == [at("2026-03-11 00:00"), at("2026-03-12 00:00")]
    assert [finding.what.partition("; ")[2] for finding in report.findings] == ["it was never started"] * 2
    assert report.since == at("2026-03-10 00:00")


def test_of_a_time_before_a_change_no_more_is_missing_than_was_due(state: Path) -> None:
    ran(state, 10)
    start(state, at("2026-03-13 00:00"), schedule=SAME_INSTANTS)

    assert missing(checked(state, at("2026-03-11 12:00"))) == ["11"]


def test_who_vouches_for_the_clock_takes_back_a_change_that_a_wrong_one_recorded(state: Path) -> None:
    later = Schedule.daily(at="02:00", tz="Africa/Lagos")
    ran(state, 10)
    start(state, at("2026-03-20 01:00"), schedule=later)
    rewritten(state, dropped_until=int(at("2026-03-19 01:00").timestamp()))

    assert start(state, at("2026-03-11 01:01"), schedule=later, override="it was days ahead").run_id

    report = checked(state, at("2026-03-13 12:00"))
    assert [one.instant for one in report.missing][-2:] == [at("2026-03-12 01:00"), at("2026-03-13 01:00")]


def test_runs_stay_missing_through_several_changes_of_the_schedule(state: Path) -> None:
    ran(state, 9)
    start(state, at("2026-03-11 00:00"), schedule=SAME_INSTANTS)
    start(state, at("2026-03-13 00:00"))

    assert missing(checked(state, at("2026-03-13 12:00"))) == ["10", "12"]


def test_a_run_that_failed_under_another_schedule_stays_failed(state: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))),
    ):
        raise RuntimeError
    start(state, at("2026-03-11 00:00"), schedule=SAME_INSTANTS)

    assert codes(checked(state, at("2026-03-11 12:00"))) == ["run-failed"]


def test_a_run_that_never_finished_is_told_although_the_schedule_changed(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))):
        active = loaded(state).active
    assert active is not None
    assert active.process is not None
    rewritten(state, active=attrs.evolve(active, process=attrs.evolve(active.process, begun=1)), runs=())

    run = start(state, at("2026-03-11 00:00"), schedule=SAME_INSTANTS)

    assert run.codes == ["run-unfinished", "guard-schedule-changed"]
    assert codes(checked(state, at("2026-03-11 12:00"))) == ["run-unfinished"]


def test_who_moves_a_schedule_to_a_later_hour_misses_nothing(state: Path) -> None:
    """It may have been changed before the hour at which it was due until then; that is said."""
    ran(state, 9, 10)
    later = Schedule.cron("0 3 * * *", tz="Africa/Lagos")
    run = start(state, at("2026-03-11 02:00"), schedule=later)

    assert run.codes == ["guard-schedule-changed"]
    assert "1 that was due by the former since the last run is not expected" in run.findings[0].what
    assert checked(state, at("2026-03-11 12:00")).passed


SCHEDULES = [
    NIGHTLY,
    SAME_INSTANTS,
    Schedule.daily(at="02:00", tz="Africa/Lagos"),
    Schedule.cron("0 */6 * * *", tz="Africa/Lagos"),
    Schedule.weekly(day="sun", at="01:00", tz="Africa/Lagos"),
]


@settings(max_examples=40)
@given(former=st.sampled_from(SCHEDULES), later=st.sampled_from(SCHEDULES), hours=st.integers(24, 24 * 9))
def test_as_many_runs_are_missing_as_there_are_whenever_the_schedule_was_changed(
    former: Schedule, later: Schedule, hours: int
) -> None:
    first = former.next_after(at("2026-03-01 00:00"))
    second = later.next_after(at("2026-03-10 00:00") + timedelta(hours=hours))
    assert first is not None
    assert second is not None
    after_first = first + timedelta(seconds=1)
    fewest = min(
        len([*former.between(after_first, moment)]) + len([*later.between(moment, second)])
        for moment in (after_first + timedelta(hours=half / 2) for half in range(2 * 24 * 25))
        if moment < second
    )
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.json"
        assert start(state, first, schedule=former, minutes=0).run_id
        assert start(state, second, schedule=later, minutes=0).run_id

        report = checked(state, second + timedelta(minutes=1), within=timedelta(days=60))

    assert len(report.missing) == fewest


def test_a_refusal_under_a_clock_ahead_does_not_hide_what_is_missing_afterwards(state: Path) -> None:
    start(state, at("2036-10-01 09:17"))
    before = checked(state, at("2026-03-10 12:00"))
    ran(state, 10)

    assert codes(before) == ["clock-not-sane"]
    assert "2036-10-01T00:00:00Z" in before.findings[0].what
    assert missing(checked(state, at("2026-03-12 12:00"))) == ["11", "12"]


def test_of_starts_that_were_refused_the_one_under_a_clock_ahead_is_not_the_first(state: Path) -> None:
    for moment in ("2036-10-01 09:17", "1970-01-01 09:17", "2026-03-10 09:17", "2026-03-11 09:17"):
        assert start(state, at(moment)).code

    assert missing(checked(state, at("2026-03-11 12:00"))) == ["10", "11"]


@pytest.mark.parametrize("moment", ["1970-01-01 00:17", "2150-10-01 09:17"])
def test_a_first_start_refused_for_an_absurd_clock_begins_no_watch(state: Path, moment: str) -> None:
    refused = start(state, at(moment))
    before = checked(state, at("2026-03-09 12:00"))
    ran(state, 10)

    assert refused.code == Code.CLOCK_NOT_SANE
    assert codes(before) == ["guard-state-missing"]
    assert missing(checked(state, at("2026-03-12 12:00"))) == ["11", "12"]


def test_a_first_start_that_was_refused_is_missing(state: Path) -> None:
    start(state, at("2026-03-10 08:00"))

    assert missing(checked(state, at("2026-03-10 12:00"))) == ["10"]


def test_the_job_is_looked_at_if_it_is_named(state: Path) -> None:
    start(state, at("2026-03-10 00:00"), job="orders")

    assert checked(state, at("2026-03-10 12:00")).passed
    with pytest.raises(ConfigurationError):
        check_guard(state, job="ledger")


def test_looking_writes_nothing(state: Path) -> None:
    ran(state, 9)
    before = {path.name: path.read_bytes() for path in state.parent.iterdir()}

    checked(state, at("2026-03-20 12:00"))

    assert {path.name: path.read_bytes() for path in state.parent.iterdir()} == before


def with_runs(state: Path, count: int, minutes: int) -> datetime:
    """A state after so many successes, one every few minutes; when the last was due."""
    schedule = Schedule.cron(f"*/{minutes} * * * *", tz="UTC")
    first = at("2026-03-01 00:00")
    start(state, first, schedule=schedule, minutes=0)
    (model,) = loaded(state).runs
    dues = [int(first.timestamp()) + number * minutes * 60 for number in range(count)]
    runs = [
        attrs.evolve(model, run_id=f"{moments.instant(due):%Y%m%dT%H%M%SZ}", due=due, started=due, finished=due)
        for due in dues
    ]
    rewritten(state, runs=tuple(runs))
    return first + timedelta(minutes=minutes * (count - 1))


def test_runs_are_known_for_as_long_as_is_looked_back(state: Path) -> None:
    last = with_runs(state, 9 * 288, 5)
    runs = loaded(state).runs
    hidden = next(run for run in runs if run.due == int((last - timedelta(days=6, hours=23)).timestamp()))
    rewritten(state, runs=tuple(run for run in runs if run is not hidden))

    report = checked(state, last)

    assert [one.run_id for one in report.missing] == [hidden.run_id]
    assert codes(report) == ["run-missing"]


def test_runs_that_are_no_longer_known_are_not_missing_and_that_is_told(state: Path) -> None:
    last = with_runs(state, states.RUNS_MOST + 20, 1)

    report = checked(state, last)

    assert report.passed
    assert codes(report) == ["guard-reach-cut"]
    assert report.since is not None
    assert f"{report.since:%Y-%m-%dT%H:%M:%SZ}" in report.findings[0].what
    assert checked(state, last, within=timedelta(hours=40)).findings == ()


def test_a_state_that_is_young_cuts_nothing(state: Path) -> None:
    last = with_runs(state, 250, 5)

    assert checked(state, last).findings == ()


@pytest.mark.parametrize(
    "arguments",
    [{"host_zone": 5}, {"job": 5}, {"within": 5}, {"within": timedelta(-1)}, {"schedule": "0 1 * * *"}],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused_with_a_hint(state: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_guard(state, **arguments)

    assert refused.value.hint
