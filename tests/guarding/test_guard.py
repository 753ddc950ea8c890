"""The guard around a block of Python: what it records, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, RefusedError, SafeBackupError, StorageError
from safebackup.guarding import Permit, StartRefusedError, guard
from safebackup.schedule import Schedule
from tests.guarding.scene import GRACE, NIGHTLY, HandClock, at, start

MIDNIGHT = at("2026-03-10 00:00")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def document(state: Path) -> dict[str, Any]:
    found = json.loads(state.read_text())
    assert isinstance(found, dict)
    return found


def test_the_permit_names_the_occurrence_and_the_run(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:05"))) as permit:
        assert permit.occurrence is not None
        assert permit.occurrence.instant == MIDNIGHT
        assert permit.occurrence.wall.hour == 1
        assert permit.run_id == "20260310T000000Z"


def test_while_it_runs_the_state_tells_so_and_afterwards_how_it_ended(state: Path) -> None:
    clock = HandClock(MIDNIGHT)
    with guard(NIGHTLY, grace=GRACE, state=state, clock=clock, host_zone="UTC"):
        during = document(state)
        clock.moment += timedelta(minutes=3)
    after = document(state)

    assert during["active"]["status"] == "running"
    assert during["active"]["process"]["pid"] > 1
    assert during["runs"] == []
    assert "active" not in after
    (run,) = after["runs"]
    assert (run["status"], run["started"], run["finished"], run["host_zone"]) == (
        "ok",
        "2026-03-10T00:00:00Z",
        "2026-03-10T00:03:00Z",
        "UTC",
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("password=hunter2"), "RuntimeError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit"),
        (StorageError("full", code=Code.STORE_FULL), "store-full"),
    ],
)
def test_an_exception_is_recorded_as_a_failure_without_its_message_and_raised_again(
    state: Path, error: BaseException, why: str
) -> None:
    with pytest.raises(type(error)) as raised:
        _run_and_raise(state, error)

    assert raised.value is error
    (run,) = document(state)["runs"]
    assert (run["status"], run["why"]) == ("failed", why)
    assert "hunter2" not in state.read_text()


def _run_and_raise(state: Path, error: BaseException) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT), host_zone="Africa/Lagos"):
        raise error


def test_a_script_that_leaves_by_exit_zero_has_succeeded(state: Path) -> None:
    with pytest.raises(SystemExit):
        _run_and_raise(state, SystemExit(0))

    assert document(state)["runs"][0]["status"] == "ok"


def test_a_run_that_failed_may_be_run_again_within_the_grace(state: Path) -> None:
    with pytest.raises(RuntimeError):
        _run_and_raise(state, RuntimeError("no"))

    assert start(state, at("2026-03-10 00:20"), minutes=1).run_id == "20260310T000000Z"
    assert start(state, at("2026-03-10 00:25")).code == Code.ALREADY_DONE


def test_a_block_can_say_that_it_failed(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)) as permit:
        permit.fail("pg_dump ended with status 1")

    (run,) = document(state)["runs"]
    assert (run["status"], run["why"]) == ("failed", "pg_dump ended with status 1")


def test_a_second_run_in_the_same_process_is_refused_while_the_first_lasts(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)):
        run = start(state, at("2026-03-10 00:10"))
        forced = start(state, at("2026-03-10 00:10"), override="I want it")

    assert run.code == Code.RUN_ACTIVE
    assert "the run 20260310T000000Z is active: started 2026-03-10T00:00:00Z, 10 min ago" in run.message
    assert forced.code == Code.RUN_ACTIVE  # it certainly lives
    assert [refusal["code"] for refusal in document(state)["refusals"]] == ["run-active"] * 2
    assert document(state)["runs"][0]["status"] == "ok"


def test_a_refusal_carries_its_facts_and_is_a_refusal_of_the_library(state: Path) -> None:
    with (
        pytest.raises(RefusedError) as refused,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 08:00"))),
    ):
        pytest.fail("it ran")

    assert isinstance(refused.value, StartRefusedError)
    assert refused.value.refusal.due == int(MIDNIGHT.timestamp())
    assert refused.value.hint


def test_nothing_in_the_block_runs_when_it_is_refused(state: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(StartRefusedError),
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 08:00"))),
    ):
        (tmp_path / "touched").touch()

    assert not (tmp_path / "touched").exists()


def test_a_state_that_vanishes_during_the_run_is_begun_anew(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)):
        state.unlink()

    assert "has vanished during the run" in caplog.text
    assert document(state)["runs"][0]["status"] == "ok"


def test_a_run_whose_state_was_deleted_still_keeps_others_out(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)):
        state.unlink()
        run = start(state, at("2026-03-10 00:10"), override="nothing is there")

    assert run.code == Code.RUN_ACTIVE
    assert "another run holds the lock" in run.message


def test_a_run_that_was_taken_for_dead_leaves_the_one_after_it_alone(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)):
        taken_over = document(state)
        taken_over["active"]["process"]["pid"] += 1
        state.write_text(json.dumps(taken_over))

    after = document(state)
    assert after["active"] == taken_over["active"]
    assert [run["status"] for run in after["runs"]] == ["ok"]
    assert "taken for dead meanwhile" in caplog.text


def test_a_run_that_failed_is_not_told_again_at_the_next_start(state: Path) -> None:
    with pytest.raises(RuntimeError):
        _run_and_raise(state, RuntimeError("no"))

    assert start(state, at("2026-03-11 00:00")).codes == []


def test_a_run_that_never_finished_is_told_when_it_is_made_up_for(state: Path) -> None:
    with guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)):
        killed = document(state)
    killed["active"]["process"]["begun"] = 1
    state.write_text(json.dumps(killed))

    run = start(state, at("2026-03-10 00:10"))

    assert (run.run_id, run.codes) == ("20260310T000000Z", ["run-unfinished"])


def test_a_guard_is_for_one_start(state: Path) -> None:
    one = guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT))
    with one:
        pass

    with pytest.raises(ConfigurationError, match="has been used"), one:
        pytest.fail("it ran")


def test_a_state_belongs_to_one_job(state: Path) -> None:
    start(state, MIDNIGHT, job="orders")

    with (
        pytest.raises(ConfigurationError, match="of the job 'orders', not of 'ledger'") as refused,
        guard(NIGHTLY, grace=GRACE, state=state, job="ledger", clock=HandClock(at("2026-03-11 00:00"))),
    ):
        pytest.fail("it ran")
    assert refused.value.code is Code.GUARD_STATE_FOREIGN


def test_who_names_no_job_is_told_which_it_is(state: Path) -> None:
    start(state, MIDNIGHT, job="orders")

    with (
        pytest.raises(ConfigurationError, match="of the job 'orders', and no job is named") as refused,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-11 00:00"))),
    ):
        pytest.fail("it ran")
    assert "job='orders'" in refused.value.hint


def test_a_state_without_a_job_can_be_given_one(state: Path) -> None:
    start(state, MIDNIGHT)

    assert start(state, at("2026-03-11 00:00"), job="orders").run_id
    assert document(state)["job"] == "orders"


@pytest.mark.parametrize(
    "arguments",
    [
        {"grace": 1800},
        {"grace": timedelta(seconds=-1)},
        {"deadline": timedelta(0)},
        {"deadline": 3600},
        {"override": ""},
        {"override": "  "},
        {"override": True},
        {"state": ""},
        {"state": None},
        {"state": "~/state.json"},
        {"state": "folder/"},
        {"state": "file://relative.json"},
        {"state": "simplecache::s3://bucket/state"},
        {"storage_options": {"key": "x"}},
        {"schedule": "30 1 * * *"},
        {"host_zone": 5},
        {"job": None},
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused_with_a_hint(state: Path, arguments: dict[str, Any]) -> None:
    given: dict[str, Any] = {"schedule": NIGHTLY, "grace": GRACE, "state": state, **arguments}

    with pytest.raises(ConfigurationError) as refused:
        guard(**given)

    assert refused.value.hint


def test_what_was_expected_and_what_happened_is_logged_on_all_clocks(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="safebackup")

    start(state, at("2026-03-10 00:00:07"), host_zone="America/New_York")

    assert (
        "run 20260310T000000Z: expected 2026-03-10 01:00:00 +01:00 in Africa/Lagos = 2026-03-09 20:00:00 -04:00 on "
        "this host (America/New_York) = 2026-03-10T00:00:00Z" in caplog.messages
    )
    assert any(message.startswith("run 20260310T000000Z: started 2026-03-10 01:00:07") for message in caplog.messages)
    assert "run 20260310T000000Z: ok after 10 min" in caplog.messages


def test_a_healthy_run_logs_no_warning(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    for day in (10, 11, 12):
        start(state, at(f"2026-03-{day} 00:00:01"))

    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_a_schedule_that_has_not_begun_gives_an_override_the_time_of_its_start(state: Path) -> None:
    schedule = Schedule.every(start=at("2027-01-01 00:00"), hours=1, tz="UTC")
    given: list[Permit] = []

    with guard(
        schedule, grace=GRACE, state=state, override="before the first", clock=HandClock(at("2026-03-10 00:00"))
    ) as permit:
        given.append(permit)

    assert (given[0].occurrence, given[0].run_id) == (None, "20260310T000000Z")


def test_the_guard_needs_neither_fsspec_nor_anything_of_the_repository() -> None:
    program = (
        "import sys, safebackup.guarding; print({'fsspec', 'zstandard', 'msgspec', 'cryptography', 'blake3', 'rich', "
        "'typer', 'safebackup.repository', 'safebackup.storage'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_an_error_of_the_guard_crosses_processes_whole(state: Path) -> None:
    import pickle

    with (
        pytest.raises(SafeBackupError) as refused,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)),
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(MIDNIGHT)),
    ):
        pytest.fail("it ran")

    copy = pickle.loads(pickle.dumps(refused.value))
    assert isinstance(copy, StartRefusedError)
    assert copy.refusal == refused.value.refusal  # type: ignore[attr-defined]
