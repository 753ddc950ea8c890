"""Checks of a drill: what a caller's function or command says of the restored folder."""

from __future__ import annotations

import inspect
import math
import os
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import attrs

from safebackup import commands
from safebackup.clock import Clock
from safebackup.commands import Command
from safebackup.errors import ConfigurationError, SafeBackupError
from safebackup.events import logger
from safebackup.findings import is_text, printable

RESTORED = "SAFEBACKUP_RESTORED"  # in a command's environment: the restored folder
SNAPSHOT = "SAFEBACKUP_SNAPSHOT"  # and the id of the snapshot

_CANNOT_RUN = (126, 127)  # what shells and `env` answer for a program that is not there or cannot be run
_STATUS_MAX = 255
_WORDS_MAX = 1000


class Outcome(StrEnum):
    """How a drill, or one of its checks, ended. Only the first is a success."""

    PROVED = "proved"
    FAILED = "failed"
    COULD_NOT_CHECK = "could_not_check"  # it was not carried out, and nothing is known


@attrs.frozen
class Check:
    """A question to the restored folder, with a name.

    `run` is a function that takes the folder, or a command as a list. A function passes by returning None or True,
    and fails by returning False or raising AssertionError or an error of safebackup. A command runs in the folder and
    passes with status 0. `deadline` is in seconds, for commands alone: a function cannot be stopped.

    Raises:
        ConfigurationError: it is neither, or could never be carried out.
    """

    name: str
    run: Callable[[Path], object] | Command = attrs.field(repr=False)  # arguments may hold a password
    deadline: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ConfigurationError(f"{name!r} is no name of a check", hint="Give a text of one line.")
        if callable(self.run):
            self._require_function()
        else:
            _require_command(self.run)
        if self.deadline is not None and not _is_seconds(self.deadline):
            raise ConfigurationError(
                f"deadline={self.deadline!r} is no number of seconds above 0", hint="Leave it out for none."
            )

    def _require_function(self) -> None:
        if inspect.iscoroutinefunction(self.run):
            raise ConfigurationError(
                f"the check {self.name!r} is an async function, which would be called and never run",
                hint="Give a function that calls asyncio.run(…).",
            )
        if self.deadline is not None:
            raise ConfigurationError(
                f"the check {self.name!r} is a function, and no function can be stopped at a deadline",
                hint="Leave the deadline out, or make the check a command.",
            )


def _is_seconds(deadline: object) -> bool:
    return isinstance(deadline, int | float) and not isinstance(deadline, bool) and 0 < deadline < math.inf


@attrs.frozen
class CheckResult:
    """What a check said; `what` is empty where it passed."""

    name: str
    outcome: Outcome
    seconds: float
    what: str = ""


AnyCheck: TypeAlias = Check | Callable[[Path], object] | Command


def checks_of(checks: Iterable[AnyCheck]) -> tuple[Check, ...]:
    """What a caller gave, as checks with names.

    Raises:
        ConfigurationError: something among it is none.
    """
    if isinstance(checks, str | bytes) or not isinstance(checks, Iterable):
        raise ConfigurationError(
            f"checks={checks!r} is no list of checks", hint='For example checks=[my_function, ["psql", "-c", "…"]].'
        )
    given = list(checks)
    return tuple(_told_apart(given, [_check_of(one) for one in given]))


def _told_apart(given: list[AnyCheck], found: list[Check]) -> Iterator[Check]:
    """Checks that were given without a name are numbered where several would have the same one."""
    total, so_far = Counter(check.name for check in found), Counter[str]()
    for one, check in zip(given, found, strict=True):
        so_far[check.name] += 1
        if total[check.name] > 1 and not isinstance(one, Check):
            yield attrs.evolve(check, name=f"{check.name} {so_far[check.name]}")
        else:
            yield check


def _check_of(one: AnyCheck) -> Check:
    if isinstance(one, Check):
        return one
    if callable(one):
        return Check(str(getattr(one, "__name__", type(one).__name__)), one)
    _require_command(one)
    # The program alone: arguments may hold a password, and names go into the journal.
    return Check(printable(os.path.basename(os.fsencode(one[0]))) or "command", one)


def _require_command(command: object) -> None:
    arguments = command if isinstance(command, Sequence) and not isinstance(command, str | bytes) else ()
    if not arguments or not all(isinstance(one, str | bytes | os.PathLike) for one in arguments):
        raise ConfigurationError(
            f"a check is a function or a command as a list of texts, and {type(command).__name__} is neither",
            hint='Write checks=[["psql", "-c", "…"]]; for a shell: [["bash", "-o", "pipefail", "-c", "…"]].',
        )


def run_check(check: Check, folder: Path, *, snapshot: str, clock: Clock) -> CheckResult:
    """Carry out a check in the restored folder, whatever it does."""
    began = clock.monotonic()
    if callable(check.run):
        outcome, what = _call(check.run, folder)
    else:
        outcome, what = _execute(check.run, folder, check.deadline, snapshot)
    return CheckResult(check.name, outcome, clock.monotonic() - began, what)


def _call(function: Callable[[Path], object], folder: Path) -> tuple[Outcome, str]:
    try:
        with _where_it_was():
            answer = function(folder)
    except (AssertionError, SafeBackupError) as error:
        return Outcome.FAILED, _told(error)
    except (Exception, SystemExit) as error:  # sys.exit(0) in a check must not end the drill, and as a success
        logger.debug("a check broke", exc_info=True)
        return Outcome.COULD_NOT_CHECK, f"{type(error).__name__}: {_told(error)}"
    if answer is None or answer is True:
        return Outcome.PROVED, ""
    if answer is False:
        return Outcome.FAILED, "it returned False"
    if inspect.iscoroutine(answer):
        answer.close()
    # Whether an empty list of problems is good and an empty list of rows is bad, nobody can tell from outside.
    return Outcome.COULD_NOT_CHECK, f"it returned {type(answer).__name__}, where None, True or False was expected"


@contextmanager
def _where_it_was() -> Iterator[None]:
    """Come back to the present folder, as a check may go into the one that is removed afterwards."""
    try:
        here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    except OSError:  # there is none, or none that can be come back to
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            os.fchdir(here)
        os.close(here)


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    line = (frames[-1].line or "") if frames and not str(error) else ""
    return _on_one_line(str(error) or line) + (f" ({where})" if where else "")


def _execute(command: Command, folder: Path, deadline: float | None, snapshot: str) -> tuple[Outcome, str]:
    environment = {RESTORED: os.fspath(folder), SNAPSHOT: snapshot}
    try:
        ended = commands.run(command, deadline=deadline, folder=folder, environment=environment)
    except SafeBackupError as error:
        return Outcome.COULD_NOT_CHECK, _on_one_line(error.message)
    if ended.status == 0:
        return Outcome.PROVED, ""
    how = f"it was ended by signal {-ended.status}" if ended.status < 0 else f"it ended with status {ended.status}"
    said = _on_one_line(ended.stderr)
    what = f"{how}: {said}" if said else how
    unknown = ended.status > _STATUS_MAX  # somebody else in this process has taken the status
    return Outcome.COULD_NOT_CHECK if unknown or ended.status in _CANNOT_RUN else Outcome.FAILED, what


def _on_one_line(text: str) -> str:
    lines = (text if is_text(text) else ascii(text)).splitlines()
    return " / ".join(printable(line.encode()) for line in lines if line.strip())[-_WORDS_MAX:]
