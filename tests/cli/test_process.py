"""The process: how it is stopped, what it prints where nobody reads, what it imports, and what nobody may ever see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import safebackup as safebackup_package
from safebackup import Repository, back_up
from tests.cli.program import PROGRAM, Done, ended, environment, safebackup, started

SLOWLY = "import time, sys; print('x' * 100, flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("number", "status", "outcome"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 143, "terminated"),
    ],
)
def test_a_signal_stops_a_backup_and_nothing_is_published(
    number: signal.Signals, status: int, outcome: str, repository: Path, tmp_path: Path
) -> None:
    with started("backup", "--stdin", "x", "-r", repository, "--json", folder=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(b"half of it" * 100_000)  # more than a pipe holds: it is reading by then
        process.stdin.flush()
        time.sleep(0.3)
        process.send_signal(number)
        done = ended(process)

    assert done.status == status
    assert done.document["outcome"] == outcome
    assert "Run the same command again" in done.err
    assert Repository.open(repository, key=None).snapshots() == []


def test_a_signal_ends_the_program_whose_output_is_stored(repository: Path, tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"import os; open({str(child)!r}, 'w').write(str(os.getpid())); {SLOWLY}"
    with started(
        "backup", "--command", "x", "-r", repository, "--", sys.executable, "-c", script, folder=tmp_path
    ) as it:
        until = time.monotonic() + 30
        while not (child.exists() and child.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        it.send_signal(signal.SIGTERM)
        done = ended(it)

    assert done.status == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)


def test_a_deadline_stops_it(repository: Path, tmp_path: Path) -> None:
    done = safebackup(
        *("backup", "--command", "x", "--deadline", "1s", "-r", repository, "--", sys.executable, "-c", SLOWLY),
        folder=tmp_path,
    )

    assert (done.status, done.out) == (124, "")
    assert "[command-deadline]" in done.err
    assert Repository.open(repository, key=None).snapshots() == []


def test_a_deadline_names_the_program_and_what_it_said_at_last(repository: Path, tmp_path: Path) -> None:
    waits = ("bash", "-c", "echo waiting for lock >&2; sleep 90")

    done = safebackup("backup", "--command", "x", "--deadline", "1s", "-r", repository, "--", *waits, folder=tmp_path)

    assert done.status == 124
    assert "bash had not ended after 1 s and was ended: waiting for lock [command-deadline]\n→ Look what" in done.err


def test_a_deadline_stops_what_is_read_from_standard_input(repository: Path, tmp_path: Path) -> None:
    with started("backup", "--stdin", "x", "--deadline", "1s", "-r", repository, folder=tmp_path) as it:
        assert it.wait(timeout=30) == 124


def test_a_deadline_that_is_kept_says_nothing(data: Path, repository: Path, tmp_path: Path) -> None:
    done = safebackup("backup", data, "--deadline", "1h", "-r", repository, folder=tmp_path)

    assert done == Done(0, "", "")


def test_who_waits_for_the_bandwidth_limit_is_woken_by_a_signal(data: Path, repository: Path, tmp_path: Path) -> None:
    (data / "large").write_bytes(os.urandom(200_000))
    began = time.monotonic()
    with started("backup", data, "-r", repository, "--limit-bandwidth", "2K", folder=tmp_path) as process:
        time.sleep(1.5)
        assert process.poll() is None  # it would take 100 s
        process.send_signal(signal.SIGTERM)
        done = ended(process)

    assert done.status == 143
    assert time.monotonic() - began < 30
    assert Repository.open(repository, key=None).snapshots() == []


def test_what_nohup_ignores_stays_ignored(repository: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with started("backup", "--stdin", "x", "-r", repository, folder=tmp_path) as process:
            assert process.stdin is not None
            process.stdin.write(b"all of it" * 100_000)
            process.send_signal(signal.SIGHUP)
            done = ended(process)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert done == Done(0, "", "")


# Standard streams


def test_a_reader_that_leaves_early_is_no_error(data: Path, repository: Path, tmp_path: Path) -> None:
    for number in range(3000):
        (data / f"file with a rather long name {number:080}").touch()
    back_up(data, into=Repository.open(repository, key=None))

    with started("ls", "-l", "-r", repository, folder=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_reader_that_has_left_before_anything_was_said_is_no_error(repository: Path, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    ran = subprocess.run(
        [*PROGRAM, "verify", "-v", "-r", repository],
        cwd=tmp_path,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    os.close(theirs)

    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("json_wanted", [(), ("--json",)])
def test_output_that_cannot_be_written_is_an_error(
    json_wanted: tuple[str, ...], data: Path, repository: Path, tmp_path: Path
) -> None:
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(
            [*PROGRAM, "backup", data, "-v", "-r", repository, *json_wanted],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )

    assert ran.returncode == 1
    assert b"standard output cannot be written" in ran.stderr
    assert b"the command itself has succeeded" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_closed_streams_take_no_file_of_the_repository(data: Path, repository: Path, tmp_path: Path) -> None:
    command = f"exec '{sys.executable}' -m safebackup backup '{data}' -v -r '{repository}' <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), check=False).returncode == 0
    assert safebackup("verify", "-r", repository, folder=tmp_path).status == 0


@pytest.mark.parametrize("name", ["backup", "snapshots", "init"])
def test_a_closed_input_is_an_empty_one(name: str, repository: Path, tmp_path: Path) -> None:
    arguments = {"backup": f"--stdin x -r '{repository}'", "snapshots": f"-r '{repository}'", "init": "place"}
    ran = subprocess.run(
        ["sh", "-c", f"exec '{sys.executable}' -m safebackup {name} {arguments[name]} <&-"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == {"backup": 4, "snapshots": 0, "init": 2}[name]
    assert "[internal]" not in ran.stderr


def test_nothing_is_imported_before_an_interruption_is_caught() -> None:
    sources = Path(safebackup_package.__file__).parents[1]
    script = (
        f"import sys; sys.path.insert(0, {os.fspath(sources)!r}); before = set(sys.modules); import safebackup.cli; "
        "print(*sorted(set(sys.modules) - before))"
    )

    ran = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)

    assert set(ran.stdout.split()) <= {"__future__", "safebackup", "safebackup.cli", "safebackup.version"}


def test_a_poor_locale_prints_what_it_can(data: Path, repository: Path, tmp_path: Path) -> None:
    (data / "naïve → 漢字").write_text("x")
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("ls", "-r", repository, folder=tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert done.status == 0
    assert len(done.out.splitlines()) == 4


# What nobody may ever see


def test_a_bug_is_one_line_and_the_traceback_comes_with_debug(data: Path, repository: Path, tmp_path: Path) -> None:
    """The bug is a module of ours that does not load."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "zstandard.py").write_text("raise RuntimeError('a bug for \\x1b[31mthe test')")

    done = safebackup("backup", data, "-r", repository, "--json", folder=tmp_path, PYTHONPATH=str(broken))
    assert (done.status, done.document["error"]["code"]) == (1, "internal")
    assert "internal error: RuntimeError: a bug for \\x1b[31mthe test [internal]" in done.err
    assert "--debug" in done.err

    ran = subprocess.run(
        [*PROGRAM, "backup", data, "-r", repository],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=str(broken), SAFEBACKUP_DEBUG="1"),
        check=False,
    )
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr
    assert ran.stdout == ""


def test_secrets_are_in_no_log(data: Path, with_passphrase: Path, tmp_path: Path) -> None:
    done = safebackup(
        "backup", data, "-r", with_passphrase, "--debug", folder=tmp_path, SAFEBACKUP_PASSPHRASE="correct horse"
    )

    assert done.status == 0
    assert "RunStarted" in done.err
    assert "horse" not in done.err + done.out


# Completion and start-up


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str, tmp_path: Path) -> None:
    # The shell is usually found among the processes above; this variable of typer lets it be named.
    done = safebackup("--show-completion", shell, folder=tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")

    assert done.status == 0
    assert "_SAFEBACKUP_COMPLETE" in done.out


def test_completion_installs_itself(tmp_path: Path) -> None:
    done = safebackup(
        *("--install-completion", "bash"),
        folder=tmp_path,
        HOME=str(tmp_path),
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )

    assert (done.status, done.err) == (0, "")
    assert "safebackup" in (tmp_path / ".bashrc").read_text()


def test_the_shell_is_told_the_commands(tmp_path: Path) -> None:
    done = safebackup(
        folder=tmp_path,
        _SAFEBACKUP_COMPLETE="complete_bash",
        COMP_WORDS="safebackup sn",
        COMP_CWORD="1",
    )

    assert done.out.split() == ["snapshots"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["backup", "--help"], ["snapshots"]])
def test_what_needs_no_repository_imports_no_heavy_library(arguments: list[str]) -> None:
    program = (
        "import sys, json; from safebackup.cli import main; "
        f"sys.stdout = open('/dev/null', 'w'); main({arguments!r}); "
        "json.dump(sorted(sys.modules), sys.__stdout__)"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment(), check=True)

    heavy = {"cryptography", "fsspec", "zstandard", "blake3", "msgspec", "pendulum", "pathspec", "pyfastcdc", "sqlite3"}
    assert heavy & set(json.loads(ran.stdout)) == set()
