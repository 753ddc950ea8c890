"""`safebackup guard` as cron runs it: real processes, real signals, real deaths."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from safebackup.cli import main
from safebackup.guarding.hosts import this_process
from safebackup.schedule import Schedule, zone, zone_from_data
from tests.cli.program import PROGRAM, Done, at_terminal, ended, safebackup, started

NOW = datetime.now(UTC)
SECONDS_MAX = 30


def due(ago: timedelta) -> str:
    """A time of day in UTC that was due so long ago."""
    return f"{NOW - ago:%H:%M}"


# A minute ago, so that no test meets the next occurrence.
WHEN = ("--daily", due(timedelta(minutes=1)), "--tz", "UTC", "--state", "state.json")
# Shifted by no whole hours, and in the past.
PAST = ("--daily", due(timedelta(minutes=100)), "--tz", "UTC", "--state", "state.json")


def guarded(*arguments: str, folder: Path, script: tuple[str, ...] = ("true",), **variables: str) -> Done:
    everything: Any = variables
    return safebackup("guard", *arguments, "--", *script, folder=folder, **everything)


def document(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "state.json").read_text())
    assert isinstance(found, dict)
    return found


def waited_for(path: Path) -> str:
    """What a script has written into a file, once it is there."""
    until = time.monotonic() + SECONDS_MAX
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.01)
    return path.read_text().strip()


def gone(pid: int) -> bool:
    """Whether a process has ended, or ends soon."""
    until = time.monotonic() + SECONDS_MAX
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[0] == b"Z":
                    return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


# What passes through


def test_a_healthy_run_adds_nothing_to_what_the_script_says(tmp_path: Path) -> None:
    done = guarded(*WHEN, folder=tmp_path, script=("sh", "-c", "echo out; echo err >&2"))

    assert done == Done(0, "out\n", "err\n")


def test_the_bytes_of_the_script_are_not_changed(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "data").write_bytes(data)
    ran = subprocess.run([*PROGRAM, "guard", *WHEN, "--", "cat", "data"], cwd=tmp_path, capture_output=True, check=True)

    assert ran.stdout == data


def test_what_the_script_says_is_seen_while_it_runs(tmp_path: Path) -> None:
    with started("guard", *WHEN, "--", "sh", "-c", "echo first; sleep 60", folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.terminate()
        process.wait()


def test_the_script_reads_what_is_sent_to_the_guard(tmp_path: Path) -> None:
    sent = os.urandom(200_000)
    ran = subprocess.run(
        [*PROGRAM, "guard", *WHEN, "--", "cat"], cwd=tmp_path, input=sent, capture_output=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (0, sent)


def test_a_script_that_waits_for_more_to_read_is_ended_at_its_deadline(tmp_path: Path) -> None:
    with started("guard", "--deadline", "1s", *WHEN, "--", "cat", folder=tmp_path) as process:
        assert process.wait(SECONDS_MAX) == 124


def test_at_a_terminal_the_script_reads_nothing(tmp_path: Path) -> None:
    """It would take what is typed for the shell, and Ctrl-Z could not stop it."""
    done = at_terminal("guard", *WHEN, "--", "sh", "-c", "readlink /proc/self/fd/0; cat", folder=tmp_path)

    assert (done.status, done.out.split()) == (0, ["/dev/null"])


def test_the_script_is_told_which_run_it_is(tmp_path: Path) -> None:
    done = guarded(*WHEN, folder=tmp_path, script=("sh", "-c", "echo $SAFEBACKUP_RUN_ID $SAFEBACKUP_DUE"))

    moment = NOW - timedelta(minutes=1)
    assert done.out == f"{moment:%Y%m%dT%H%M}00Z {moment:%Y-%m-%dT%H:%M}:00Z\n"


@pytest.mark.parametrize(
    ("command", "status", "why"),
    [
        ("exit 0", 0, ""),
        ("exit 17", 17, "it ended with status 17"),
        ("exit 255", 255, "it ended with status 255"),
        ("kill -9 $$", 137, "it was ended by SIGKILL"),
        ("kill -TERM $$", 143, "it was ended by SIGTERM"),
        ("kill -40 $$", 168, "it was ended by signal 40"),
    ],
)
def test_the_exit_status_of_the_script_is_passed_on(tmp_path: Path, command: str, status: int, why: str) -> None:
    done = guarded(*WHEN, folder=tmp_path, script=("sh", "-c", command))

    assert done.status == status
    (run,) = document(tmp_path)["runs"]
    assert (run["status"], run["why"]) == ("failed" if why else "ok", why)


def test_a_script_that_is_not_there_is_a_failed_run(tmp_path: Path) -> None:
    done = guarded(*WHEN, folder=tmp_path, script=("./missing.sh",))

    assert (done.status, "command-not-found" in done.err) == (2, True)
    assert document(tmp_path)["runs"][0]["status"] == "failed"
    assert guarded(*WHEN, folder=tmp_path).status == 0


def test_words_behind_the_dashes_are_the_scripts_own(tmp_path: Path) -> None:
    done = guarded(*WHEN, folder=tmp_path, script=("echo", "--json", "--", "-v", "--check"))

    assert done.out == "--json -- -v --check\n"


# What is refused


def test_a_start_at_the_wrong_moment_runs_nothing_and_ends_with_4(tmp_path: Path) -> None:
    done = guarded(*PAST, folder=tmp_path, script=("touch", "ran"))

    assert done.status == 4
    assert not (tmp_path / "ran").exists()
    assert re.search(r"nothing was run: started [12] h( \d+ min)? late", done.err)
    assert done.err.count("+00:00 in UTC = ") == 2


def test_the_second_start_for_an_occurrence_ends_with_4(tmp_path: Path) -> None:
    statuses = [guarded(*WHEN, folder=tmp_path).status for _ in range(2)]

    assert statuses == [0, 4]


def test_a_fake_zone_is_named_and_the_run_is_done(tmp_path: Path) -> None:
    done = guarded(*WHEN, folder=tmp_path, TZ="WAT")

    assert done.status == 0
    assert "TZ=WAT on this host is no zone" in done.err
    assert "[host-zone-fake]" in done.err


def test_a_refusal_can_be_told_to_a_program(tmp_path: Path) -> None:
    done = guarded("--on-refusal", "sh -c 'env | grep SAFEBACKUP_ > told'", *PAST, "--job", "orders", folder=tmp_path)

    assert done.status == 4
    told = (tmp_path / "told").read_text()
    assert "SAFEBACKUP_REFUSAL_CODE=start-outside-window\n" in told
    assert "SAFEBACKUP_REFUSAL_MESSAGE=nothing was run: started" in told
    assert "SAFEBACKUP_JOB=orders\n" in told
    assert f"SAFEBACKUP_DUE={NOW - timedelta(minutes=100):%Y-%m-%dT%H:%M}:00Z\n" in told


@pytest.mark.parametrize("command", ["false", "./missing", "sh -c 'kill -9 $$'"])
def test_that_nobody_could_be_told_does_not_hide_the_refusal(tmp_path: Path, command: str) -> None:
    done = guarded("--on-refusal", command, *PAST, folder=tmp_path)

    assert done.status == 4
    assert "--on-refusal" in done.err
    assert "nothing was run" in done.err


def test_whatever_keeps_the_script_from_starting_is_told(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("not ours")

    damaged = guarded("--on-refusal", "touch told", *WHEN, folder=tmp_path)

    assert (damaged.status, (tmp_path / "told").exists()) == (5, True)


@pytest.mark.parametrize("script", ["exit 1", "sleep 60"])
def test_a_script_that_failed_is_no_refusal(tmp_path: Path, script: str) -> None:
    guarded("--on-refusal", "touch told", "--deadline", "1s", *WHEN, folder=tmp_path, script=("sh", "-c", script))

    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize("script", ["./missing", "./no-x"])
def test_that_a_script_cannot_be_started_is_told(tmp_path: Path, script: str) -> None:
    (tmp_path / "no-x").write_text("#!/bin/sh\n")
    told = "sh -c 'echo $SAFEBACKUP_REFUSAL_CODE $SAFEBACKUP_DUE > told'"

    done = guarded("--on-refusal", told, *WHEN, folder=tmp_path, script=(script,))

    assert done.status == 2
    due = f"{NOW - timedelta(minutes=1):%Y-%m-%dT%H:%M}:00Z"
    assert (tmp_path / "told").read_text() == f"command-not-found {due}\n"


def test_an_override_runs_it_and_is_told(tmp_path: Path) -> None:
    done = guarded("--override", "the host was off", *PAST, folder=tmp_path, script=("echo", "ran"))

    assert (done.status, done.out) == (0, "ran\n")
    assert "overridden (the host was off)" in done.err
    assert document(tmp_path)["overrides"][0]["reason"] == "the host was off"


# Deaths


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started can be asked to end: a job in the background ignores some signals, and so does all it starts."""
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in asking]
    yield
    for number, handler in zip(asking, before, strict=True):
        signal.signal(number, handler)


def test_a_deadline_ends_the_script_with_all_that_it_started(tmp_path: Path) -> None:
    script = "sh -c 'echo $$ > child; exec sleep 100' & trap '' TERM; echo $$ > own; while :; do sleep 1; done"

    done = guarded("--deadline", "2s", *WHEN, folder=tmp_path, script=("sh", "-c", script))

    assert done.status == 124
    assert gone(int(waited_for(tmp_path / "child")))
    assert gone(int(waited_for(tmp_path / "own")))
    assert document(tmp_path)["runs"][0]["why"] == "command-deadline"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)])
@pytest.mark.usefixtures("interruptible")
def test_a_guard_that_is_asked_to_end_ends_the_script_and_records_it(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    script = "exec >log 2>&1; trap 'echo asked > asked; exit 0' TERM; echo $$ > own; while :; do sleep 0.1; done"
    with started("guard", *WHEN, "--", "sh", "-c", script, folder=tmp_path) as process:
        own = int(waited_for(tmp_path / "own"))
        process.send_signal(number)
        done = ended(process)

    assert done.status == status
    assert gone(own)
    assert waited_for(tmp_path / "asked") == "asked"
    (run,) = document(tmp_path)["runs"]
    assert run["status"] == "failed"
    assert run["why"].startswith(("asked to end", "interrupted"))


INTERRUPTED = """
import random, signal, threading
from safebackup.commands import start_attached

class Stop(BaseException):
    pass

def stop(*_):
    raise Stop

def keep_busy():
    while True:
        sum(range(1000))

signal.signal(signal.SIGALRM, stop)
for _ in range(3):
    threading.Thread(target=keep_busy, daemon=True).start()
for _ in range(15):
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.06))
    try:
        with start_attached(["sleep", "{mark}"]) as running:
            running.wait()
    except Stop:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_signal_while_the_script_is_started_leaves_nothing_running(tmp_path: Path) -> None:
    mark = f"61.{os.getpid()}"

    subprocess.run([sys.executable, "-c", INTERRUPTED.replace("{mark}", mark)], check=True, timeout=60)

    running = subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True, text=True, check=False).stdout
    assert [pid for pid in running.split() if not gone(int(pid))] == []


def test_while_a_run_lasts_another_start_ends_with_11(tmp_path: Path) -> None:
    with started(
        "guard", *WHEN, "--", "sh", "-c", "echo $$ > own; exec sleep 60 >log 2>&1", folder=tmp_path
    ) as process:
        waited_for(tmp_path / "own")
        second = guarded(*WHEN, folder=tmp_path)
        process.terminate()
        process.wait()

    assert second.status == 11
    assert f"process {process.pid} on {this_process().host}" in second.err


def test_a_guard_that_was_killed_leaves_its_script_guarded_and_the_next_start_runs_once_that_is_gone(
    tmp_path: Path,
) -> None:
    with started(
        "guard", *WHEN, "--", "sh", "-c", "echo $$ > own; exec sleep 60 >log 2>&1", folder=tmp_path
    ) as process:
        own = int(waited_for(tmp_path / "own"))
        until = time.monotonic() + SECONDS_MAX
        while document(tmp_path)["active"]["process"].get("script") != own:
            assert time.monotonic() < until
        process.send_signal(signal.SIGKILL)
        process.wait()
    try:
        beside = guarded(*WHEN, folder=tmp_path)
        forced = guarded("--override", "no", *WHEN, folder=tmp_path)
        os.kill(own, 0)
    finally:
        os.kill(own, signal.SIGKILL)
    assert gone(own)
    told = safebackup("guard", "--check", "--state", "state.json", folder=tmp_path)
    after = guarded(*WHEN, folder=tmp_path)

    assert (beside.status, forced.status) == (11, 11)
    assert f"its script is {own}" in beside.err
    assert (told.status, "[run-unfinished]" in told.err) == (1, True)
    assert after.status == 0
    assert [run["status"] for run in document(tmp_path)["runs"]] == ["unfinished", "ok"]
    assert safebackup("guard", "--check", "--state", "state.json", folder=tmp_path).status == 0


def test_a_state_that_cannot_be_written_stops_the_script_before_it_starts(tmp_path: Path) -> None:
    limited = ("bash", "-c", 'ulimit -f 0; exec "$@"', "-")

    done = safebackup("guard", *WHEN, "--", "touch", "ran", folder=tmp_path, prefix=limited)

    assert done.status == 1
    assert "writing the state" in done.err
    assert not (tmp_path / "ran").exists()


# --check


def test_check_is_quiet_when_all_is_well_and_names_what_is_missing(tmp_path: Path) -> None:
    guarded(*WHEN, folder=tmp_path)
    well = safebackup("guard", "--check", "--state", "state.json", folder=tmp_path)
    state = document(tmp_path)
    state["watched_from"] = f"{NOW - timedelta(days=2, minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    (tmp_path / "state.json").write_text(json.dumps(state))

    missing = safebackup("guard", "--check", "--state", "state.json", "--json", folder=tmp_path)

    assert well == Done(0, "", "")
    assert missing.status == 1
    assert missing.document["outcome"] == "missing"
    assert len(missing.document["missing"]) == 2
    assert missing.err.count("error: ") == 2
    assert missing.err.count("+00:00 on this host") == 2


def test_check_of_a_state_that_was_never_written_fails(tmp_path: Path) -> None:
    done = safebackup("guard", "--check", *WHEN, folder=tmp_path)

    assert done.status == 1
    assert "was never written" in done.err


# The command line itself


def test_without_a_state_there_is_one_for_the_script_or_the_job(tmp_path: Path) -> None:
    when = WHEN[:4]

    done = [
        guarded(*when, folder=tmp_path, script=("echo", "a"), XDG_STATE_HOME=str(tmp_path / "own")),
        guarded(*when, folder=tmp_path, script=("echo", "b"), XDG_STATE_HOME=str(tmp_path / "own")),
        guarded(*when, folder=tmp_path, script=("echo", "a"), XDG_STATE_HOME=str(tmp_path / "own")),
        guarded("--job", "orders", *when, folder=tmp_path, HOME=str(tmp_path), XDG_STATE_HOME=""),
    ]

    assert [one.status for one in done] == [0, 0, 4, 0]
    assert len(list((tmp_path / "own" / "safebackup").glob("guard-echo-*.json"))) == 2
    job = ("guard", "--check", "--job", "orders")
    assert safebackup(*job, folder=tmp_path, HOME=str(tmp_path), XDG_STATE_HOME="").status == 0


def test_scripts_of_two_folders_that_are_typed_alike_have_two_states(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backup.sh").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "backup.sh").chmod(0o755)
    whole = str(tmp_path / "a" / "backup.sh")

    done = [
        guarded(*WHEN[:4], folder=folder, script=(script,), XDG_STATE_HOME=str(tmp_path / "own"))
        for folder, script in [(tmp_path / "a", "./backup.sh"), (tmp_path / "b", "./backup.sh"), (tmp_path, whole)]
    ]

    assert [(one.status, one.out) for one in done] == [(0, "a\n"), (0, "b\n"), (4, "")]


def test_a_program_is_one_script_by_its_name_and_by_its_path(tmp_path: Path) -> None:
    true = shutil.which("true")
    assert true is not None

    done = [
        guarded(*WHEN[:4], folder=tmp_path, script=(script,), XDG_STATE_HOME=str(tmp_path)) for script in ("true", true)
    ]

    assert [one.status for one in done] == [0, 4]


def test_the_job_of_a_state_can_be_named(tmp_path: Path) -> None:
    guarded("--job", "orders", *WHEN, folder=tmp_path)

    done = guarded(*WHEN, folder=tmp_path)

    assert done.status == 2
    assert "of the job 'orders', and no job is named" in done.err
    assert "--job 'orders'" in done.err


@pytest.fixture
def recorded_with_other_data(tmp_path: Path) -> str:
    """The record of a schedule in Lagos, with the zone data of Tokyo."""
    moment = datetime.now(ZoneInfo("Africa/Lagos")) - timedelta(minutes=1)
    schedule = Schedule.daily(at=f"{moment:%H:%M}", tz="Africa/Lagos")
    other = zone_from_data("Africa/Lagos", zone("Asia/Tokyo").data, source="elsewhere", release="2031a")
    (tmp_path / "schedule.json").write_text(json.dumps(schedule.in_zone_data(other).to_dict()))
    return "schedule.json"


def test_zone_data_that_changed_since_the_record_are_told(tmp_path: Path, recorded_with_other_data: str) -> None:
    by_file = ("--schedule", recorded_with_other_data, "--state", "state.json")

    ran = guarded(*by_file, folder=tmp_path)
    refused = guarded(*by_file, folder=tmp_path)
    looked = safebackup("guard", "--check", *by_file, "--json", folder=tmp_path)

    assert ran.status == 0
    assert refused.status == 4
    assert all("tzdata-changed" in err and "2031a" in err for err in (ran.err, refused.err))
    assert (looked.status, [each["code"] for each in looked.document["findings"]]) == (0, ["tzdata-changed"])


def test_a_schedule_can_come_from_a_file(tmp_path: Path) -> None:
    moment = NOW - timedelta(minutes=1)
    schedule = Schedule.daily(at=f"{moment:%H:%M}", tz="UTC")
    (tmp_path / "schedule.json").write_text(json.dumps(schedule.to_dict()))

    done = guarded("--schedule", "schedule.json", "--state", "state.json", folder=tmp_path)

    assert (done.status, done.err) == (0, "")
    assert document(tmp_path)["schedule_text"] == str(schedule)


def test_a_report_in_json_is_the_last_line(tmp_path: Path) -> None:
    done = guarded("--json", *WHEN, folder=tmp_path, script=("sh", "-c", "echo out; exit 3"))

    out, report = done.out.splitlines()
    found = json.loads(report)
    assert (out, found["outcome"], found["script_status"], found["exit_status"]) == ("out", "failed", 3, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing says when"),
        (("--cron", "0 1 * * *"), "--tz"),
        (("--cron", "0 1 * * *", "--tz", "WAT"), "Africa/Lagos"),
        (("--cron", "0 1 * *", "--tz", "UTC"), "fields"),
        (("--cron", "0 1 * * *", "--daily", "01:00", "--tz", "UTC"), "exclude each other"),
        (("--cron", "0 9 * * *", "--tz", "UTC", "--forbid", "08:00-18:00"), "forbidden"),
        (("--schedule", "nowhere.json"), "cannot be read"),
        (("--schedule", "text"), "holds no JSON"),
        (("--schedule", "list"), "holds no schedule"),
        (("--schedule", "empty"), "no record of a schedule"),
        (("--schedule", "empty", "--tz", "UTC"), "already says what --tz would say"),
        ((*WHEN, "--grace", "soon"), "--grace"),
        ((*WHEN, "--deadline", "0"), "--deadline"),
        ((*WHEN, "--override", " "), "reason"),
        ((*WHEN, "--on-refusal", "'"), "--on-refusal"),
        ((*WHEN, "--on-refusal", ""), "--on-refusal"),
        (("--daily", "01:00", "--tz", "UTC", "--job", "../x"), "--job"),
        ((*WHEN, "--check"), "starts nothing"),
        ((*WHEN, "--within", "3d"), "--within"),
        ((*WHEN[:4], "--state", "memory://state"), "forgotten"),
        ((*WHEN[:4], "--state", "Memory://state"), "forgotten"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("text", "x"), ("list", "[]"), ("empty", "{}")):
        (tmp_path / name).write_text(text)

    status = main(["guard", *arguments, "--", "touch", "ran"])

    err = capsys.readouterr().err
    assert status == 2
    assert said in err
    assert "→" in err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "option", [("--grace", "1h"), ("--grace", "30m"), ("--deadline", "5h"), ("--override", "x"), ("--on-refusal", "x")]
)
def test_what_is_for_a_start_is_refused_where_nothing_is_started(tmp_path: Path, option: tuple[str, str]) -> None:
    done = safebackup("guard", "--check", "--state", "state.json", *option, folder=tmp_path)

    assert done.status == 2
    assert f"--check starts nothing, and {option[0]} is given" in done.err


@pytest.mark.parametrize("arguments", [WHEN, (*WHEN, "./backup.sh")], ids=["no script", "no dashes"])
def test_a_script_must_stand_behind_dashes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = safebackup("guard", *arguments, folder=tmp_path)

    assert done.status == 2
    assert "behind --" in done.err
