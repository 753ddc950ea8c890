"""Other programs: every status counts, nothing hangs, nothing is left behind. Real programs, real signals."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from safebackup.commands import Ended, run, start
from safebackup.errors import Code, CommandError, ConfigurationError

PATIENCE = 20.0  # far more than anything here needs; what hangs fails instead of stopping the suite


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor, no child and no thread of ours outlives a test."""
    before = set(os.listdir("/proc/self/fd"))
    threads = set(threading.enumerate())
    children = children_of_this_process()  # servers that other tests share are among them
    yield
    until = time.perf_counter() + PATIENCE
    while set(threading.enumerate()) - threads and time.perf_counter() < until:
        time.sleep(0.01)
    assert set(threading.enumerate()) - threads == set()
    assert set(os.listdir("/proc/self/fd")) - before == set()
    assert children_of_this_process() - children == set()


def children_of_this_process() -> set[str]:
    """Also those that have ended and were not waited for."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread may end meanwhile
            found.update((task / "children").read_text().split())
    return found


def bash(script: str) -> list[str]:
    return ["bash", "-c", script]


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def read_all(*commands: list[str], **options: object) -> tuple[bytes, tuple[Ended, ...]]:
    with start(*commands, **options) as running:  # type: ignore[arg-type]
        return running.output.read(), running.finish()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # an orphan that nobody has buried yet


def wait_until_gone(pid: int) -> None:
    until = time.perf_counter() + PATIENCE
    while is_running(pid):
        assert time.perf_counter() < until, f"process {pid} is still running"
        time.sleep(0.01)


def pid_in(path: Path) -> int:
    until = time.perf_counter() + PATIENCE
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.perf_counter() < until
        time.sleep(0.01)
    return int(path.read_text())


# What is read


def test_a_pipeline_hands_on_every_byte_and_says_how_each_member_ended() -> None:
    data, ended = read_all(bash("head -c 3000000 /dev/zero; echo noise >&2"), ["tr", "\\0", "x"], ["cat"])

    assert data == b"x" * 3_000_000
    assert [(one.argv[0], one.status, one.stderr) for one in ended] == [
        ("bash", 0, "noise"),
        ("tr", 0, ""),
        ("cat", 0, ""),
    ]


def test_standard_error_never_enters_the_data() -> None:
    data, _ = read_all(bash("echo a; echo b >&2; echo c"))

    assert data == b"a\nc\n"


def test_ten_megabytes_on_standard_error_block_nobody_and_the_tail_is_kept() -> None:
    data, (ended,) = read_all(bash("head -c 10000000 /dev/zero | tr '\\0' y >&2; echo the end >&2; echo done"))

    assert data == b"done\n"
    assert ended.stderr.endswith("the end")
    assert len(ended.stderr) <= 4096


def test_what_a_program_says_is_printable_whatever_it_is() -> None:
    _, (ended,) = read_all(bash(r"printf 'one\rtwo\n\x1b[31m\xff\n' >&2"))

    assert ended.stderr == "one\ntwo\n\\x1b[31m\\\\xff"


def test_what_a_program_says_is_logged_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="safebackup"):
        read_all(bash("echo first >&2; echo second >&2"))

    assert caplog.messages == ["bash: first", "bash: second"]


def test_a_program_that_asks_is_told_that_nobody_answers() -> None:
    data, _ = read_all(bash("read answer || echo nobody"))

    assert data == b"nobody\n"


def test_a_program_runs_where_and_with_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "kept")

    data, _ = read_all(bash("echo $OURS $GIVEN; pwd"), folder=tmp_path, environment={"GIVEN": "added"})

    assert data == f"kept added\n{tmp_path}\n".encode()


def test_undecodable_arguments_arrive_byte_for_byte() -> None:
    with start([b"printf", b"%s", b"\xff\xfe"]) as running:
        assert running.output.read() == b"\xff\xfe"
        (ended,) = running.finish()

    assert ended.argv == ("printf", "%s", "\udcff\udcfe")


def test_a_program_inherits_nothing_but_its_three_channels() -> None:
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)
    try:
        data, _ = read_all(["ls", "/proc/self/fd"], ["cat"])
    finally:
        os.close(ours)

    assert data == b"0\n1\n2\n3\n"  # 3 is the folder that ls reads


# Failures


@pytest.mark.parametrize("place", [0, 1, 2])
def test_every_member_counts(place: int) -> None:
    commands = [bash("cat"), bash("cat"), bash("cat")]
    commands[place] = bash("cat; echo broken pump >&2; exit 3")

    with pytest.raises(CommandError) as caught:
        read_all(*commands)

    assert caught.value.code == Code.COMMAND_FAILED
    assert caught.value.message == f"bash ({place + 1} of 3) ended with status 3: broken pump"


def test_a_program_that_closes_its_output_and_then_fails_counts() -> None:
    with pytest.raises(CommandError, match="status 4"):
        read_all(bash("echo data; exec >&-; sleep 0.3; exit 4"))


def test_a_signal_counts_and_is_named() -> None:
    with pytest.raises(CommandError, match=r"bash was ended by SIGKILL \(.*memory"):
        read_all(bash("echo half; kill -KILL $$"))


def test_an_early_member_that_could_not_write_everything_counts() -> None:
    with pytest.raises(CommandError, match=r"yes \(1 of 2\) was ended by SIGPIPE .*stopped before") as caught:
        read_all(["yes"], ["head", "-n", "1"])

    assert "head" not in caught.value.message


def test_a_forgotten_sigchld_never_turns_a_failure_into_a_success() -> None:
    code = (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "from safebackup.commands import start\n"
        "with start(['false']) as running:\n"
        "    running.output.read(); running.finish()\n"
    )

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert child.returncode == 1
    assert "SIGCHLD" in child.stderr


def test_a_message_never_repeats_arguments() -> None:
    with pytest.raises(CommandError) as caught:
        read_all(["bash", "-c", "exit 1", "--password=hunter2"])

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(run(["true", "--password=hunter2"]))


def test_finishing_before_the_output_was_read_is_refused_instead_of_waiting_for_ever() -> None:
    with pytest.raises(ConfigurationError, match="read to its end"), start(["yes"]) as running:
        running.output.read(10)
        running.finish()


def test_finishing_twice_says_the_same() -> None:
    with start(["echo", "once"]) as running:
        running.output.read()
        assert running.finish() == running.finish()


# Programs that cannot be started


def test_a_program_that_is_not_there_leaves_none_running(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no-such-program cannot be started") as caught:
        start(bash(f"echo $$ > {tmp_path}/pid; sleep 100"), ["no-such-program"])

    assert caught.value.code == Code.COMMAND_NOT_FOUND
    # It may have been ended before it began to write, or between opening the file and writing.
    if (tmp_path / "pid").exists() and (pid := (tmp_path / "pid").read_text()):
        wait_until_gone(int(pid))


@pytest.mark.parametrize("content", ["", "#!/no/such/interpreter\n"])
def test_a_script_that_cannot_run_says_so(tmp_path: Path, content: str) -> None:
    script = tmp_path / "script"
    script.write_text(content)
    script.chmod(0o755 if content else 0o644)

    with pytest.raises(CommandError) as caught:
        start([script])

    assert caught.value.code == Code.COMMAND_NOT_FOUND


def test_too_many_arguments_are_an_error_of_ours() -> None:
    with pytest.raises(CommandError, match="cannot be started"):
        start(["echo", *["x" * 100_000] * 100])


@pytest.mark.parametrize(
    "command",
    [
        "pg_dump orders",
        b"pg_dump",
        Path("pg_dump"),
        [],
        [""],
        ["echo", 3],
        ["echo", "a\0b"],
        ["echo", "\ud800"],
        None,
        7,
    ],
    ids=repr,
)
def test_what_is_no_list_of_arguments_is_refused(command: object) -> None:
    with pytest.raises(ConfigurationError):
        start(command)  # type: ignore[arg-type]


def test_a_bare_string_is_answered_with_the_list_to_write() -> None:
    with pytest.raises(ConfigurationError) as caught:
        run("pg_dump orders | gzip")

    assert '["bash", "-o", "pipefail", "-c", "…"]' in caught.value.hint


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_deadline_is_a_number_of_seconds(deadline: float) -> None:
    with pytest.raises(ConfigurationError, match="deadline"):
        start(["true"], deadline=deadline)


@pytest.mark.parametrize("environment", [{"A=B": "1"}, {"": "1"}, {"A": "x\0"}, {"A": 1}])
def test_an_environment_is_names_and_texts(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="environment"):
        start(["true"], environment=environment)


def test_a_folder_that_is_not_there_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no folder"):
        start(["true"], folder=tmp_path / "gone")


def test_no_command_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        start()


# Deadlines, and what is left behind


def test_a_deadline_ends_the_whole_pipeline_and_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! > {tmp_path}/pid; echo waiting for a lock >&2; wait"

    with pytest.raises(CommandError) as caught:
        read_all(bash(script), ["cat"], deadline=3)

    assert caught.value.code == Code.COMMAND_DEADLINE
    assert caught.value.message == "bash | cat had not ended after 3 s and was ended: waiting for a lock"
    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_deadline_is_kept_against_a_program_that_ignores_requests() -> None:
    started = time.perf_counter()

    with pytest.raises(CommandError) as caught:
        read_all(bash("trap '' TERM; while :; do sleep 0.1; done"), deadline=2)

    assert caught.value.code == Code.COMMAND_DEADLINE
    assert 4 <= time.perf_counter() - started < PATIENCE


def test_a_program_gets_time_to_tidy_up(tmp_path: Path) -> None:
    script = f"trap 'sleep 0.3; echo tidy > {tmp_path}/tidied; exit 0' TERM; echo $$ > {tmp_path}/pid; sleep 100 & wait"

    with start(bash(script)):
        pid_in(tmp_path / "pid")

    assert (tmp_path / "tidied").exists()


def test_a_program_that_ends_well_on_being_told_to_is_still_too_late() -> None:
    with pytest.raises(CommandError) as caught:
        read_all(bash("trap 'exit 0' TERM; echo half; sleep 100 & wait"), deadline=0.3)

    assert caught.value.code == Code.COMMAND_DEADLINE


def test_a_deadline_passes_while_its_reader_does_something_else(tmp_path: Path) -> None:
    with start(bash(f"echo data; echo $$ > {tmp_path}/pid; sleep 1000"), deadline=2) as running:
        wait_until_gone(pid_in(tmp_path / "pid"))  # not reading at all

        running.output.read()  # comes to its end; what was written before may be in it or not
        with pytest.raises(CommandError) as caught:
            running.finish()

    assert caught.value.code == Code.COMMAND_DEADLINE


def test_a_deadline_holds_against_a_process_that_left_its_session_with_the_pipe(tmp_path: Path) -> None:
    started = time.perf_counter()
    script = f"setsid bash -c 'echo $$ > {tmp_path}/pid; exec sleep 1000' & wait"
    try:
        with pytest.raises(CommandError) as caught:
            read_all(bash(script), deadline=3)
    finally:
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)

    assert caught.value.code == Code.COMMAND_DEADLINE
    assert time.perf_counter() - started < PATIENCE


def test_a_process_left_behind_with_the_output_neither_hangs_us_nor_passes_for_success(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="left a process behind"):
        read_all(bash(f"echo data; sleep 1000 & echo $! > {tmp_path}/pid; exit 0"))

    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_process_that_still_writes_after_its_parent_ended_is_heard_to_the_end() -> None:
    data, _ = read_all(bash("(sleep 1.5; echo late) & exit 0"))

    assert data == b"late\n"


def test_a_process_left_behind_with_standard_error_delays_nobody_for_long(tmp_path: Path) -> None:
    started = time.perf_counter()

    data, _ = read_all(bash(f"sleep 1000 >&- & echo $! > {tmp_path}/pid; echo data"))

    assert data == b"data\n"
    assert time.perf_counter() - started < PATIENCE
    os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)


def test_a_deadline_that_is_not_reached_changes_nothing() -> None:
    data, (ended,) = read_all(["echo", "in time"], deadline=1e12)

    assert (data, ended.status) == (b"in time\n", 0)


def test_the_number_of_a_program_that_ended_early_stays_taken_while_it_could_be_signalled(tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> None:
        time.sleep(0.3)
        seen.append(Path(f"/proc/{pid_in(tmp_path / 'pid')}/stat").read_text().rpartition(")")[2].split()[0])

    with start(bash(f"echo $$ > {tmp_path}/pid"), bash("exec >&-; sleep 1")) as running:
        running.output.read()
        looking = threading.Thread(target=look)
        looking.start()
        running.finish()
        looking.join()

    assert seen == ["Z"]


# Leaving early


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_ends_everything(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), start(bash(f"echo $$ > {tmp_path}/pid; sleep 1000"), ["cat"]):
        pid = pid_in(tmp_path / "pid")
        raise error

    assert not is_running(pid)


def test_leaving_without_finishing_ends_everything(tmp_path: Path) -> None:
    with start(bash(f"sleep 1000 & echo $! > {tmp_path}/pid; exit 0")):
        pid = pid_in(tmp_path / "pid")

    wait_until_gone(pid)


def test_an_interrupt_while_reading_ends_everything(tmp_path: Path) -> None:
    code = (
        "import sys; from safebackup.commands import start\n"
        "with start(['bash', '-c', sys.argv[1]]) as running:\n"
        "    running.output.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, f"echo $$ > {tmp_path}/pid; sleep 1000"], stderr=subprocess.PIPE
    )
    pid = pid_in(tmp_path / "pid")

    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=PATIENCE)

    assert b"KeyboardInterrupt" in said
    assert not is_running(pid)


def test_pipelines_run_side_by_side_in_threads() -> None:
    results: list[bytes] = []

    def work() -> None:
        for _ in range(5):
            results.append(read_all(["echo", "x"], ["cat"], deadline=60)[0])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [b"x\n"] * 30


# run


def test_run_tells_the_status_and_all_that_was_said() -> None:
    ended = run(bash("echo out; echo err >&2; exit 5"))

    assert (ended.status, ended.stderr) == (5, "out\nerr")


def test_run_reads_any_amount_of_output() -> None:
    assert run(["head", "-c", "5000000", "/dev/zero"]).status == 0


def test_run_tells_which_signal_ended_it() -> None:
    assert run(bash("kill -TERM $$")).status == -signal.SIGTERM


def test_run_keeps_its_deadline() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sleep", "1000"], deadline=0.2)

    assert caught.value.code == Code.COMMAND_DEADLINE


def test_a_deadline_also_ends_what_made_a_process_group_of_its_own(tmp_path: Path) -> None:
    script = f"timeout 300 sh -c 'echo $$ > {tmp_path}/pid; exec sleep 300'; true"

    with pytest.raises(CommandError):
        read_all(bash(script), deadline=0.5)

    assert not Path(f"/proc/{pid_in(tmp_path / 'pid')}").exists()


@pytest.mark.parametrize("folder", [999, 1.5, "x\ud800", "nul\0", "/no/such/folder"])
def test_a_folder_that_is_none_is_refused(folder: object) -> None:
    with pytest.raises(ConfigurationError, match="is no folder"):
        run(["true"], folder=folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("environment", [["A=1"], "A=1", {"A": 1}, {"A=": "1"}, {"A": "\0"}])
def test_an_environment_that_is_none_is_refused(environment: object) -> None:
    with pytest.raises(ConfigurationError, match="environment"):
        run(["true"], environment=environment)  # type: ignore[arg-type]
