"""Running other programs: argument lists, never a shell.

    with start(["pg_dump", "orders"], ["zstd"], deadline=3600) as running:
        store(running.output)
        running.finish()          # raises unless every member of the pipeline ended with 0

Each program has a session of its own, so that a deadline or an exception ends it with all that it has started. What
leaves the session (a daemon), and what a program that succeeded leaves running on purpose, is not ended.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, TYPE_CHECKING, BinaryIO, Self, TypeAlias

import attrs

from safebackup.clock import SystemClock
from safebackup.errors import Code, CommandError, ConfigurationError
from safebackup.events import logger
from safebackup.findings import printable

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import WriteableBuffer

Command: TypeAlias = Sequence[str | bytes | os.PathLike[str] | os.PathLike[bytes]]

TAIL_BYTES = 4096  # so much of what a program said at last is kept
GRACE_SECONDS = 2.0  # from "please end" to "end"
SILENCE_SECONDS = 5.0  # so long an output may stay open and silent after its program has ended
_LAST_WORDS_SECONDS = 1.0  # so long a standard error may stay open after its program has ended
_READ_BYTES = 64 << 10
# Not for the eyes of a program whose output is stored, or told in a report.
_SECRETS = ("SAFEBACKUP_PASSPHRASE", "SAFEBACKUP_PASSPHRASE_FILE", "SAFEBACKUP_KEY_FILE")
_UNKNOWN = 1 << 16  # no status of a program

_clock = SystemClock()


@attrs.frozen
class Ended:
    """A program that came to its end.

    `status` is its exit status, or minus the number of the signal that ended it; `stderr` the last 4 KiB of what it
    said, printable. Arguments are left out of the repr: they may hold a password.
    """

    argv: tuple[str, ...] = attrs.field(repr=lambda argv: f"({argv[0]!r}, …)")
    status: int
    stderr: str


def start(
    *commands: Command,
    deadline: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start a pipeline: each program reads what the one before it writes.

    `deadline` is in seconds, for all of it. `environment` is added to ours, of which the variables that
    open a repository are left out. The first program reads nothing, so
    that a prompt fails instead of waiting for an answer.

    Raises:
        ConfigurationError: a command is no list of arguments, or another argument makes no sense.
        CommandError: a program could not be started; none is left running.
    """
    return Running(checked_commands(commands), _around(deadline, folder, environment))


def run(
    command: Command,
    *,
    deadline: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run one program to its end, whatever its status; `stderr` holds its standard output too.

    Raises:
        ConfigurationError: the command is no list of arguments, or another argument makes no sense.
        CommandError: it could not be started, or did not end before the deadline.
    """
    with Running(checked_commands((command,)), _around(deadline, folder, environment), folded=True) as running:
        (ended,) = running.wait()
    return ended


def start_attached(
    command: Command,
    *,
    deadline: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start one program that writes straight to our own standard output and standard error; nothing of it is kept.

    Then `wait` for it. It reads our standard input; but nothing where that is a terminal, which it is not in the
    foreground of: a prompt then fails instead of waiting for an answer.

    Raises:
        ConfigurationError: the command is no list of arguments, or another argument makes no sense.
        CommandError: it could not be started.
    """
    # With all of our environment: the script may well be one that calls safebackup itself.
    around = attrs.evolve(_around(deadline, folder, {**os.environ, **(environment or {})}), attached=True)
    return Running(checked_commands((command,)), around)


@attrs.frozen
class _Surroundings:
    """What all programs of a pipeline share."""

    deadline: float | None
    folder: str | None
    environment: dict[str, str]
    attached: bool = False


def _around(
    deadline: object, folder: str | os.PathLike[str] | None, environment: Mapping[str, str] | None
) -> _Surroundings:
    if deadline is not None and not _is_seconds(deadline):
        raise ConfigurationError(
            f"deadline is {deadline!r}: a number of seconds above 0 was expected", hint="Leave it out for none."
        )
    if folder is not None and not _is_folder(folder):
        raise ConfigurationError(f"folder={folder!r} is no folder", hint="Name one that exists, or leave it out.")
    if environment is not None and not _is_environment(environment):
        raise ConfigurationError(
            "environment holds something else than names and texts",
            hint="A name has no '=', and no text has a NUL; write numbers as text.",
        )
    ours = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    merged = {**ours, **(environment or {})}
    return _Surroundings(
        deadline if isinstance(deadline, int | float) else None, None if folder is None else os.fspath(folder), merged
    )


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_environment(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_variable(name, text) for name, text in value.items())


def _is_folder(value: object) -> bool:
    return isinstance(value, str | os.PathLike) and _is_argument(os.fsdecode(value)) and os.path.isdir(value)


def _is_variable(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name:
        return False
    return _is_argument(name) and _is_argument(value)


def checked_commands(commands: Sequence[object]) -> list[tuple[str, ...]]:
    """Commands that can be started, as texts.

    Raises:
        ConfigurationError: there is none, or one is no list of arguments.
    """
    if not commands:
        raise ConfigurationError("no command was given", hint='Give a list of arguments: ["pg_dump", "orders"].')
    return [_checked_argv(command) for command in commands]


def _checked_argv(command: object) -> tuple[str, ...]:
    if isinstance(command, str | bytes | bytearray) or not isinstance(command, Sequence):
        raise ConfigurationError(
            f"a command is a list of arguments, and {type(command).__name__} was given",
            hint='Write ["pg_dump", "orders"]; for a shell: ["bash", "-o", "pipefail", "-c", "…"].',
        )
    for argument in command:
        if not isinstance(argument, str | bytes | os.PathLike):
            raise ConfigurationError(
                f"an argument of a command is {type(argument).__name__}, where text or a path was expected",
                hint="Write numbers as text.",
            )
    argv = tuple(os.fsdecode(argument) for argument in command)
    if not argv or not argv[0] or not all(_is_argument(argument) for argument in argv):
        raise ConfigurationError(
            "a command is empty, or names no program, or holds a NUL or half a character",
            hint='Write ["program", "argument", …].',
        )
    return argv


def _is_argument(text: str) -> bool:
    """Whether the system can pass it on: without a NUL, and in bytes."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


class _Member:
    """One program of a pipeline while it runs."""

    def __init__(self, argv: tuple[str, ...], process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self.argv = argv
        self.process = process
        self.said = said
        self.status: int | None = None
        self._tail = b""
        self._line = b""
        self._gone = False

    def has_ended(self) -> bool:
        """Whether it has; its process number stays taken until `reap`, so that no stranger can be hit by a signal."""
        if self.status is None:
            try:
                result = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                # Where SIGCHLD is ignored the system forgets how children ended. subprocess calls that 0, a success.
                self._learn(_UNKNOWN)
            else:
                if result is not None:
                    self._learn(result.si_status if result.si_code == os.CLD_EXITED else -result.si_status)
        return self.status is not None

    def _learn(self, status: int) -> None:
        if self.status is None:  # another thread may have learned it, and let go of the program, a moment ago
            self.status = status

    def signal(self, number: int) -> None:
        """Send a signal to the program and to all of its session, groups that it made within included."""
        if self._gone or self.status == _UNKNOWN:
            return  # the number may be a stranger's by now
        for send, pid in [(os.killpg, self.process.pid), *((os.kill, pid) for pid in _session(self.process.pid))]:
            try:
                send(pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:
                logger.warning("%s runs as another user and cannot be ended", self.argv[0])

    def is_gone(self) -> bool:
        """Whether nothing of its session is left; forgets the program itself once it has ended."""
        if not self._gone and self.has_ended():
            # Not waited for before its session is empty, so that its number stays taken. Without /proc nobody can tell
            # that: then the grace always passes in full.
            self._gone = self.status == _UNKNOWN or (os.path.isdir("/proc") and not _session(self.process.pid))
            if self._gone:
                self.process.wait()
        return self._gone

    def hear(self, said: bytes) -> None:
        """Keep the tail, and log whole lines."""
        self._tail = (self._tail + said)[-TAIL_BYTES:]
        if not logger.isEnabledFor(logging.INFO):
            return
        *lines, self._line = (self._line + said).replace(b"\r", b"\n").split(b"\n")
        if len(self._line) > TAIL_BYTES:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            if line.strip():
                with suppress(Exception):  # a broken filter of somebody's must not keep the program waiting
                    logger.info("%s: %s", self.argv[0], printable(line))

    def tail(self) -> str:
        """The last of what it said, printable, without empty lines."""
        lines = self._tail.replace(b"\r", b"\n").split(b"\n")
        return "\n".join(printable(line) for line in lines if line.strip())[-TAIL_BYTES:]

    def ended(self) -> Ended:
        """How it ended."""
        return Ended(self.argv, _UNKNOWN if self.status is None else self.status, self.tail())


def _session(leader: int) -> list[int]:
    """The processes in the session of a program, zombies and itself left out; none where the system does not tell."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not name.isdecimal() or int(name) == leader:
            continue
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as status:
            state, _, _, session = status.read().rpartition(b")")[2].split()[:4]
            if int(session) == leader and state not in (b"Z", b"X"):
                found.append(int(name))
    return found


class _Output(io.RawIOBase):
    """What the last program writes; its end is also reached once the pipeline was ended.

    A program may leave a process behind that holds the pipe open. A deadline, or silence after the program's own end,
    is then the end; `Running.finish` raises in both cases, so that nobody takes it for the whole.
    """

    def __init__(self, pipe: IO[bytes], member: _Member, woken: int) -> None:
        self._pipe = pipe
        self._member = member
        self._woken = woken
        self._poll = _poll(woken, pipe)
        self.at_end = False
        self.left_behind = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self.at_end:
            return 0
        silent_since: float | None = None
        while not (ready := [fd for fd, _ in self._poll.poll(1000)]):
            if self._member.has_ended():
                silent_since = silent_since or _clock.monotonic()
                if _clock.monotonic() - silent_since >= SILENCE_SECONDS:
                    self.at_end = self.left_behind = True
                    return 0
        count = 0 if self._woken in ready else os.readv(self._pipe.fileno(), [buffer])
        self.at_end = count == 0
        return count

    def close(self) -> None:
        if not self.closed:
            self._pipe.close()
            os.close(self._woken)
        super().close()


class Running:
    """A pipeline that was started; a context manager.

    Leaving the block before `finish` has succeeded ends all programs: politely first, and after two seconds by force.
    """

    output: BinaryIO  # what the last program writes to its standard output, and nothing else

    def __init__(
        self,
        commands: list[tuple[str, ...]],
        around: _Surroundings,
        *,
        folded: bool = False,
    ) -> None:
        self._members: list[_Member] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._settled = threading.Event()  # nothing is left for a deadline to end
        self._heard = threading.Event()  # every standard error came to its end
        self._ended_by_us = False
        self._listening = False
        self._well = False  # everything came to its own end
        self._watcher: threading.Thread | None = None
        self._too_late = False
        self._deadline = around.deadline
        self._raw: _Output | None = None
        self.output = io.BytesIO()
        # Closing one end wakes everyone who polls the other. Each has a duplicate of its own to poll and to close: a
        # thread may outlast us in a handler of the log.
        self._woken, self._waker = os.pipe()
        try:
            self._spawn_undisturbed(commands, around, folded)
            self._begin(self._listen, os.dup(self._woken))
            self._listening = True
            if around.deadline is not None:
                self._watcher = self._begin(self._watch, around.deadline)
        except BaseException:
            self.close()
            raise

    def _spawn_undisturbed(self, commands: list[tuple[str, ...]], around: _Surroundings, folded: bool) -> None:
        """Start the programs in a thread: an interrupt within `Popen` would leave one running that nobody knows of."""
        failed: list[BaseException] = []
        begun = threading.Lock()  # whoever takes it decides: the thread begins, or it never does
        done = threading.Event()  # join() takes a thread for ended once it was interrupted itself

        def spawn() -> None:
            try:
                if begun.acquire(blocking=False):
                    self._spawn(commands, around, folded)
            except BaseException as error:
                failed.append(error)
            finally:
                done.set()

        try:
            self._begin(spawn)
            done.wait()
        except BaseException:
            # Starting a thread waits for it and can be interrupted: it may run already, or come to life later.
            if not begun.acquire(blocking=False):
                done.wait()
            raise
        if failed:
            raise failed[0]

    def _spawn(self, commands: list[tuple[str, ...]], around: _Surroundings, folded: bool) -> None:
        # From a terminal a program in a session of its own would take what is typed for a shell, and Ctrl-Z would not
        # stop it.
        inherits = around.attached and not os.isatty(0)
        reads: IO[bytes] | int | None = None if inherits else subprocess.DEVNULL
        for argv in commands:
            try:
                process = _popen(argv, around, reads, subprocess.STDOUT if folded else subprocess.PIPE)
            finally:
                if reads is not None and not isinstance(reads, int):
                    reads.close()
            said = process.stdout if process.stderr is None else process.stderr
            if said is None:
                said = open(os.devnull, "rb", buffering=0)  # noqa: SIM115 - closed with the others: it has said nothing
            self._members.append(_Member(argv, process, said))
            if process.stdout is None:
                return
            reads = process.stdout
        if not folded:
            assert reads is not None
            assert not isinstance(reads, int)
            self._raw = _Output(reads, self._members[-1], os.dup(self._woken))
            self.output = io.BufferedReader(self._raw, _READ_BYTES)

    def _begin(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, name=f"safebackup {work.__name__}", daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    @property
    def pids(self) -> tuple[int, ...]:
        """The process number of each program, which is also that of its session."""
        return tuple(member.process.pid for member in self._members)

    def finish(self) -> tuple[Ended, ...]:
        """Wait for the programs after `output` was read to its end: what was read is whole if this returns.

        Raises:
            CommandError: a program failed, was ended by a signal, left a process behind that holds `output` open, or
                was too late.
            ConfigurationError: `output` was not read to its end.
        """
        if not self._too_late and not self._was_read():
            self._end()
            raise ConfigurationError(
                "finish() was called before the output was read to its end", hint="Read until read() returns b''."
            )
        ended = self.wait()
        if all(one.status == 0 for one in ended) and not (self._raw and self._raw.left_behind):
            return ended
        self._end()
        raise CommandError(
            _what_failed(ended)
            or f"{_named(ended, len(ended) - 1)} has ended, but left a process behind that holds "
            f"its output open; it was silent for {SILENCE_SECONDS:.0f} s and was ended",
            hint="Nothing of its output was used. Run it by hand, as the same user, and mend it.",
        )

    def _was_read(self) -> bool:
        if self.output.closed:
            return self._raw is None or self._raw.at_end
        return not self.output.read(1)

    def wait(self) -> tuple[Ended, ...]:
        """Wait until every program has ended, whatever its status.

        Raises:
            CommandError: the deadline passed.
        """
        pause = 0.001
        while not all(member.has_ended() for member in self._members) and not self._ended_by_us:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        self._settle()
        if self._too_late:
            names = " | ".join(printable(os.fsencode(member.argv[0])) for member in self._members)
            said = "; ".join(filter(None, (_last_words(member.tail()) for member in self._members)))
            raise CommandError(
                f"{names} had not ended after {self._deadline:g} s and was ended" + (f": {said}" if said else ""),
                code=Code.COMMAND_DEADLINE,
                hint="Look what it waited for: a lock, a server, a full disk. Nothing of its output was used.",
            )
        self._heard.wait(_LAST_WORDS_SECONDS)
        self._well = True
        return tuple(member.ended() for member in self._members)

    def _settle(self) -> None:
        """From here on no deadline can pass."""
        self._settled.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self, deadline: float) -> None:
        if not self._settled.wait(min(deadline, threading.TIMEOUT_MAX)):
            self._too_late = True
            self._end()

    def _end(self) -> None:
        """End every program and what it has started: ask, wait for two seconds, then force."""
        with self._lock:
            if self._ended_by_us:
                return
            try:
                for member in self._members:
                    member.signal(signal.SIGTERM)
                _within(GRACE_SECONDS, self._members, _Member.is_gone)
            finally:
                for member in self._members:
                    member.signal(signal.SIGKILL)
                # A program of another user, or one that hangs in the kernel, is left to its fate.
                _within(GRACE_SECONDS, self._members, _Member.has_ended)
                for member in self._members:
                    member.is_gone()
                self._ended_by_us = True
                self._wake()

    def _wake(self) -> None:
        waker, self._waker = self._waker, -1
        if waker >= 0:
            os.close(waker)

    def _listen(self, woken: int) -> None:
        """Drain what the programs say, so that none of them ever waits for us."""
        speaking = {member.said.fileno(): member for member in self._members}
        poll = _poll(woken, *(member.said for member in self._members))
        try:
            while speaking:
                ready = [fd for fd, _ in poll.poll()]
                for fd in speaking.keys() & ready:
                    if said := os.read(fd, _READ_BYTES):
                        speaking[fd].hear(said)
                    else:
                        speaking.pop(fd)
                        poll.unregister(fd)
                if woken in ready:
                    break
            self._heard.set()
        finally:
            for member in self._members:
                member.said.close()
            os.close(woken)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what did not come to its own end, and give back every descriptor; `__exit__` does this."""
        try:
            self._settle()
            if not self._well:
                self._end()
        finally:
            self._wake()
            for member in self._members:
                if member.has_ended():
                    member.process.wait()
            self.output.close()
            for thread in self._threads:
                thread.join(_LAST_WORDS_SECONDS)
            if not self._listening:
                for member in self._members:
                    member.said.close()
            if self._woken >= 0:
                os.close(self._woken)
                self._woken = -1


def _poll(*channels: int | IO[bytes]) -> select.poll:
    poll = select.poll()
    for channel in channels:
        poll.register(channel, select.POLLIN)
    return poll


def _popen(
    argv: tuple[str, ...], around: _Surroundings, reads: IO[bytes] | int | None, says: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            bufsize=0,
            stdin=reads,
            stdout=None if around.attached else subprocess.PIPE,
            stderr=None if around.attached else says,
            cwd=around.folder,
            env=around.environment,
            start_new_session=True,
        )
    except OSError as error:
        name = printable(os.fsencode(argv[0]))
        if around.folder is not None and error.filename == around.folder:
            raise CommandError(
                f"{name} cannot be started in {around.folder!r}: {error.strerror}",
                code=Code.COMMAND_NOT_FOUND,
                hint="Let the user who runs this enter that folder.",
            ) from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ELOOP):
            raise CommandError(
                f"{name} cannot be started: {error.strerror}",
                code=Code.COMMAND_NOT_FOUND,
                hint="Write its whole path: the search path of cron is short. Of a script, look at the first line and "
                "at its permissions.",
            ) from error
        raise CommandError(
            f"{name} cannot be started: {error.strerror}",
            hint="The system has too little of something, or the arguments are too long; pass long lists in a file.",
        ) from error


def _within(seconds: float, members: list[_Member], test: Callable[[_Member], bool]) -> None:
    until = _clock.monotonic() + seconds
    while _clock.monotonic() < until and not all(test(member) for member in members):
        time.sleep(0.01)


def _what_failed(ended: Sequence[Ended]) -> str:
    return "; ".join(
        f"{_named(ended, place)} {_how(one.status)}" + (f": {said}" if (said := _last_words(one.stderr)) else "")
        for place, one in enumerate(ended)
        if one.status != 0
    )


def _named(ended: Sequence[Ended], place: int) -> str:
    # The program alone: arguments may hold a password, and messages go into logs.
    name = printable(os.fsencode(ended[place].argv[0]))
    return name if len(ended) == 1 else f"{name} ({place + 1} of {len(ended)})"


def _how(status: int) -> str:
    if status == _UNKNOWN:
        return (
            "has ended, and nobody knows how, because this process ignores SIGCHLD or waits for children elsewhere: "
            "signal.signal(signal.SIGCHLD, signal.SIG_DFL) mends it"
        )
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    usual = {
        -signal.SIGPIPE: " (the program that reads from it stopped before it had written everything)",
        -signal.SIGKILL: " (by somebody, or by the kernel when memory ran out)",
    }
    return f"was ended by {name}{usual.get(status, '')}"


def _last_words(said: str) -> str:
    return " / ".join(said.splitlines()[-3:])[-500:]
