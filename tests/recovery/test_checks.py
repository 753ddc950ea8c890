"""Checks of a drill: what passes, what fails, and what could not be asked."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safebackup.clock import SystemClock
from safebackup.errors import ConfigurationError, IntegrityError
from safebackup.recovery.checks import AnyCheck, Check, CheckResult, Outcome, checks_of, run_check


def ask(check: AnyCheck, folder: Path) -> CheckResult:
    (one,) = checks_of([check])
    return run_check(one, folder, snapshot="5a" * 32, clock=SystemClock())


def raises(error: Exception) -> Any:
    def check(_folder: Path) -> None:
        raise error

    return check


def generates(_folder: Path) -> Iterator[bool]:
    yield False


async def waits(_folder: Path) -> bool:
    return True


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Outcome.PROVED),
        (True, Outcome.PROVED),
        (False, Outcome.FAILED),
        (0, Outcome.COULD_NOT_CHECK),
        (1, Outcome.COULD_NOT_CHECK),
        ("", Outcome.COULD_NOT_CHECK),
        ([], Outcome.COULD_NOT_CHECK),
        (["a problem"], Outcome.COULD_NOT_CHECK),
    ],
)
def test_a_function_says_yes_or_no_and_anything_else_is_neither(
    tmp_path: Path, answer: object, expected: Outcome
) -> None:
    result = ask(lambda _folder: answer, tmp_path)

    assert result.outcome is expected
    assert bool(result.what) == (expected is not Outcome.PROVED)


def test_a_function_that_says_nothing_because_it_was_never_run_has_not_passed(tmp_path: Path) -> None:
    assert ask(generates, tmp_path).outcome is Outcome.COULD_NOT_CHECK
    assert ask(functools.partial(lambda call, folder: call(folder), waits), tmp_path).outcome is Outcome.COULD_NOT_CHECK


@pytest.mark.parametrize(
    ("error", "expected", "told"),
    [
        (AssertionError("3 rows are missing"), Outcome.FAILED, "3 rows are missing (test_checks.py:"),
        (IntegrityError("the dump was cut short"), Outcome.FAILED, "the dump was cut short [damaged-object]"),
        (KeyError("orders"), Outcome.COULD_NOT_CHECK, "KeyError: 'orders' (test_checks.py:"),
        (OSError("one\ntwo \x1b[31m"), Outcome.COULD_NOT_CHECK, r"OSError: one / two \x1b[31m"),
        (ValueError("stray \udcff"), Outcome.COULD_NOT_CHECK, r"stray \udcff"),
    ],
)  # fmt: skip
def test_an_assertion_is_a_no_and_a_broken_check_is_no_answer(
    tmp_path: Path, error: Exception, expected: Outcome, told: str
) -> None:
    result = ask(raises(error), tmp_path)

    assert result.outcome is expected
    assert told in result.what
    assert result.what.isprintable()


def test_an_assertion_without_a_message_tells_its_line(tmp_path: Path) -> None:
    def has_orders(folder: Path) -> None:
        assert (folder / "orders.csv").exists()

    result = ask(has_orders, tmp_path)

    assert result.name == "has_orders"
    assert result.what.startswith("assert ")


def test_an_interruption_is_nobodys_answer(tmp_path: Path) -> None:
    def interrupted(_folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(interrupted, tmp_path)


@pytest.mark.parametrize("status", [0, 3, None, "no orders"])
def test_a_check_that_ends_the_program_is_no_answer(tmp_path: Path, status: str | int | None) -> None:
    def leaves(_folder: Path) -> None:
        sys.exit(status)

    result = ask(leaves, tmp_path)

    assert result.outcome is Outcome.COULD_NOT_CHECK
    assert result.what.startswith("SystemExit: ")
    assert "(test_checks.py:" in result.what


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", Outcome.PROVED),
        ("exit 1", Outcome.FAILED),
        ("exit 125", Outcome.FAILED),
        ("exit 126", Outcome.COULD_NOT_CHECK),
        ("no-such-program-anywhere", Outcome.COULD_NOT_CHECK),
        ("kill -SEGV $$", Outcome.FAILED),
    ],
)
def test_a_command_answers_by_its_status(tmp_path: Path, script: str, expected: Outcome) -> None:
    assert ask(["sh", "-c", script], tmp_path).outcome is expected


def test_a_command_that_cannot_be_started_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("echo I have no interpreter and may not be run")

    for program in ("/no/such/program", tmp_path / "script", tmp_path):
        result = ask([program], tmp_path)
        assert result.outcome is Outcome.COULD_NOT_CHECK
        assert "cannot be started" in result.what


def test_a_command_runs_in_the_folder_and_knows_what_it_is_about(tmp_path: Path) -> None:
    script = (
        'test "$PWD" = "$SAFEBACKUP_RESTORED" && test ${#SAFEBACKUP_SNAPSHOT} = 64 && test -n "$PATH" && touch here'
    )

    assert ask(["sh", "-c", script], tmp_path).outcome is Outcome.PROVED
    assert (tmp_path / "here").exists()


def test_what_a_failing_command_said_at_last_is_told_on_one_line(tmp_path: Path) -> None:
    script = "seq 1 5000; echo 'ERROR: relation \"orders\" does not exist' >&2; exit 3"

    result = ask(["sh", "-c", script], tmp_path)

    assert result.what.startswith("it ended with status 3: ")
    assert result.what.endswith('5000 / ERROR: relation "orders" does not exist')
    assert len(result.what) < 1100
    assert result.what.isprintable()


def test_a_command_is_ended_at_its_deadline_and_that_is_no_answer(tmp_path: Path) -> None:
    check = Check("patient", ["sh", "-c", "echo $$ > pid; sleep 600"], deadline=0.3)

    began = time.monotonic()
    result = ask(check, tmp_path)

    assert result.outcome is Outcome.COULD_NOT_CHECK
    assert "had not ended after 0.3 s" in result.what
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_status_that_somebody_else_took_is_no_answer(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert ask(["true"], tmp_path).outcome is Outcome.COULD_NOT_CHECK
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    "checks",
    [
        "true",
        b"false",
        ["true"],
        [["true"], "ls -l"],
        [[]],
        [[1, 2]],
        [None],
        [{"run": "true"}],
        5,
        None,
        [waits],
        raises,
    ],
)
def test_what_is_no_list_of_checks_is_refused_before_anything_runs(checks: Any) -> None:
    with pytest.raises(ConfigurationError):
        checks_of(checks)


@pytest.mark.parametrize(
    ("name", "run", "deadline"),
    [
        ("", ["true"], None),
        (" ", ["true"], None),
        ("two\nlines", ["true"], None),
        (5, ["true"], None),
        ("a", "true", None),
        ("a", ["true"], 0),
        ("a", ["true"], -1),
        ("a", ["true"], float("nan")),
        ("a", ["true"], float("inf")),
        ("a", ["true"], True),
        ("a", ["true"], "5"),
        ("a", print, 5),
        ("a", waits, None),
    ],
)
def test_a_check_that_makes_no_sense_is_refused(name: Any, run: Any, deadline: Any) -> None:
    with pytest.raises(ConfigurationError):
        Check(name, run, deadline=deadline)


def test_a_check_without_a_name_is_called_after_its_function_or_program_alone(tmp_path: Path) -> None:
    named = checks_of(
        [generates, ["/usr/bin/psql", "--password=secret"], functools.partial(print), Check("mine", print)]
    )

    assert [check.name for check in named] == ["generates", "psql", "partial", "mine"]
    assert "secret" not in repr(named)


def test_checks_that_would_have_the_same_name_are_numbered() -> None:
    given: list[AnyCheck] = [["test", "-s", "a"], ["true"], ["/usr/bin/test", "-s", "b"], Check("test", print)]

    assert [check.name for check in checks_of(given)] == ["test 1", "true", "test 2", "test"]


def test_a_python_script_is_a_command_like_any_other(tmp_path: Path) -> None:
    assert (
        ask([sys.executable, "-c", "import os; os.environ['SAFEBACKUP_RESTORED']"], tmp_path).outcome is Outcome.PROVED
    )
