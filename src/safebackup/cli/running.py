"""Running one command: signals, what is logged meanwhile, and from its result or its error to an exit status."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from types import FrameType
from typing import Annotated

import attrs
import typer

from safebackup.cli.hints import Typed, advice, in_options
from safebackup.cli.output import Failure, OutputLostError, Result, announce, discard_output, note, tell
from safebackup.errors import Code, SafeBackupError
from safebackup.events import Event, logger
from safebackup.statuses import ExitStatus, status_of

__all__ = ["Result", "Screen", "Stopped", "perform", "stopping"]

stopping = threading.Event()  # set once the process was asked to end; who waits on it wakes up


@attrs.frozen
class Screen:
    """What is shown, and where."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but what was asked for when all is well.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what is done, also where nobody watches a terminal.")
    ] = False
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", envvar="SAFEBACKUP_DEBUG", help="Log everything on standard error, tracebacks included."
        ),
    ] = False


class Stopped(BaseException):
    """The process was asked to end, or a deadline has passed."""

    def __init__(self, status: ExitStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


_STOPS = {
    signal.SIGINT: (ExitStatus.INTERRUPTED, "interrupted"),
    signal.SIGTERM: (ExitStatus.TERMINATED, "asked to end (SIGTERM)"),
    signal.SIGHUP: (ExitStatus.TERMINATED, "asked to end (SIGHUP: the terminal was closed)"),
    signal.SIGALRM: (ExitStatus.DEADLINE, "the deadline has passed"),
}


def perform(typed: Typed, screen: Screen, work: Callable[[], Result], *, proves: bool = False) -> int:
    """Do the work of one command and tell how it ended; the exit status."""
    warnings: list[str] = []
    try:
        with _stopped_by_signals(), _logged(typed, screen, warnings):
            status = announce(typed, screen, work(), warnings)
    except OutputLostError as lost:
        discard_output()
        if lost.reader_left:
            return int(lost.status)
        status = tell(typed, screen, _output_failed(lost), warnings)
    except (Exception, KeyboardInterrupt, Stopped) as error:
        status = tell(typed, screen, _failure(typed, error, proves=proves), warnings)
    return int(status)


def _failure(typed: Typed, error: BaseException, *, proves: bool) -> Failure:
    """What to say of anything that can end a command."""
    logger.debug("the command ended by an exception", exc_info=error)
    if isinstance(error, SafeBackupError):
        message = in_options(error.message, typed)
        return Failure(status_of(error, proving=proves), error.code, message, advice(error, typed))
    if isinstance(error, typer.TyperException):
        return Failure(
            ExitStatus.USAGE, Code.BAD_ARGUMENT, error.format_message(), f"See: safebackup {typed.verb} --help"
        )
    if isinstance(error, Stopped):
        code = Code.COMMAND_DEADLINE if error.status is ExitStatus.DEADLINE else None
        return Failure(error.status, code, error.message, "Run the same command again when it suits.")
    if isinstance(error, KeyboardInterrupt):
        return Failure(ExitStatus.INTERRUPTED, None, "interrupted", "Run the same command again when it suits.")
    return Failure(
        ExitStatus.FAILED,
        Code.INTERNAL,
        f"internal error: {type(error).__name__}: {error}",
        "This is a bug. Please report it, with what the same command prints with --debug added.",
    )


def _output_failed(lost: OutputLostError) -> Failure:
    done = "" if lost.status else "; the command itself has succeeded"
    return Failure(
        ExitStatus.FAILED,
        Code.STORE_FAILED,
        f"standard output cannot be written: {lost}{done}",
        "Make room there, or send the output elsewhere.",
    )


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Turn signals into exceptions, so that work is put away cleanly; a second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each in _STOPS:
            if signal.getsignal(each) is stop:
                signal.signal(each, signal.SIG_DFL)
        status, message = _STOPS[signal.Signals(number)]
        raise Stopped(status, message)

    # What is ignored, as by nohup or for a job in the background, stays ignored.
    before = {each: signal.getsignal(each) for each in _STOPS if signal.getsignal(each) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)
        stopping.clear()


@contextmanager
def _logged(typed: Typed, screen: Screen, warnings: list[str]) -> Iterator[None]:
    handler: logging.Handler = _Warnings(typed, warnings, logging.INFO if screen.verbose else logging.WARNING)
    if screen.debug:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if screen.debug else handler.level)
    try:
        yield
    finally:
        # Left in place after an error under --debug: the traceback is still to come.
        if not screen.debug:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Warnings(logging.Handler):
    """Keeps what the library logs to be told at the end; events are left out, as reports hold what they say."""

    def __init__(self, typed: Typed, kept: list[str], level: int) -> None:
        super().__init__(level)
        self._typed = typed
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one; what is no warning is said at once, to whoever asked for it."""
        if isinstance(arguments := record.args, tuple):
            if any(isinstance(argument, Event) for argument in arguments):
                return
            record = copy(record)  # others that hear of it speak Python
            record.args = tuple(map(self._in_commands, arguments))
        if record.levelno < logging.WARNING:
            note(record.getMessage())
        else:
            self._kept.append(record.getMessage())

    def _in_commands(self, argument: object) -> object:
        """An error with the hint that it has on the command line."""
        if not isinstance(argument, SafeBackupError):
            return argument
        hint = advice(argument, self._typed)
        return f"{argument.message} [{argument.code}]" + (f" {hint}" if hint else "")


def open_missing_streams() -> None:
    """Give standard streams that the caller closed to nothing, lest a repository's file becomes standard output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
