"""Work in other processes: for many short system calls, which threads of one interpreter cannot share.

A process is a new one with our interpreter and `sys.path`: nothing is forked, no `__main__` of anybody is imported
again, and nothing from the folder that we happen to be in. Requests and data lie in shared memory, in slots that are
used again; over the pipe go a few bytes there and the answers back, so that neither side can wait for the other to
read. It ends when its pipe does, however we end.

Where none can be started, or it never gets ready, work goes on without: `is_ready` stays false.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from typing import TypeAlias

from safebackup import errors
from safebackup.errors import Code, InternalError, SafeBackupError, StorageError
from safebackup.events import logger

Handler: TypeAlias = Callable[[memoryview, memoryview], bytes]  # a request, and the slot with its data; the answer
SLOTS = 2  # one is worked on while the other is filled
_REQUEST = struct.Struct("=HI")  # slot, bytes of the request at its end
_STANDARD = 3  # as many descriptors are for input, output and errors
_READY = b"ready"
_WELL, _BADLY = b"+", b"-"
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); \
from safebackup.processes import serve; serve(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))"


def _lost() -> StorageError:
    return StorageError(
        "a process that was doing a part of the work has ended before it was done",
        code=Code.PROCESS_LOST,
        hint="Was it killed, or did memory run out? Look at the system's log; then run the same again.",
        retryable=True,
    )


# Isolated, as what it imports is what we would: neither the environment nor the current folder adds to that.
_OPTIONS = ("-I", "-B") if sys.dont_write_bytecode else ("-I",)


class OtherProcess:
    """A process that answers requests one after the other; for one thread of ours.

    `make`, "module:function", is called there with `setup` and gives the handler. `descriptors` are open there, too.
    """

    def __init__(self, make: str, setup: bytes, *, slot_bytes: int, descriptors: Sequence[int] = ()) -> None:
        self.is_ready = self._has_failed = False
        self._slot_bytes = slot_bytes
        self._free = deque(range(SLOTS))
        self._asked: deque[int] = deque()
        with _shared_file(slot_bytes * SLOTS) as memory, contextlib.ExitStack() as on_error:
            self._memory = memoryview(mmap.mmap(memory, slot_bytes * SLOTS))
            ours, theirs = socket.socketpair()
            self._pipe = Connection(ours.detach())
            on_error.callback(self._pipe.close)
            with theirs:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        *_OPTIONS,
                        "-c",
                        _BEGIN,
                        _path(),
                        str(theirs.fileno()),
                        str(memory),
                        str(slot_bytes),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # what goes wrong there is told over the pipe
                    pass_fds=(theirs.fileno(), memory, *descriptors),
                )
            on_error.pop_all()
        _in_use.add(self)
        try:
            self._pipe.send_bytes(make.encode())
            self._pipe.send_bytes(setup)
        except OSError:
            self.close()
            raise

    @property
    def is_usable(self) -> bool:
        """Whether it is ready to work, as far as is known; never waits for it."""
        if not self.is_ready and not self._has_failed:
            try:
                self.is_ready = self._pipe.poll() and self._pipe.recv_bytes() == _READY
            except (EOFError, OSError):
                self._has_failed = True
                logger.info("a process that was to help has ended before it was ready, so this one does all")
        return self.is_ready

    @property
    def outstanding(self) -> int:
        """How many requests have no answer yet."""
        return len(self._asked)

    @property
    def slot(self) -> memoryview:
        """The memory for the data of the next request; there must be less than `SLOTS` outstanding."""
        return self._slot(self._free[0])

    def ask(self, request: bytes) -> bool:
        """Send a request, whose data are in `slot`; False if it is too long: half a slot is for requests."""
        slot = self._slot(self._free[0])
        if len(request) > len(slot) // 2:
            return False
        slot[len(slot) - len(request) :] = request
        number = self._free.popleft()
        self._asked.append(number)
        try:
            self._pipe.send_bytes(_REQUEST.pack(number, len(request)))
        except OSError:
            raise _lost() from None
        return True

    def answer(self) -> tuple[bytes, memoryview]:
        """The answer to the oldest request, and its slot, which the next but one request will use again.

        Raises:
            StorageError: it has ended (`Code.PROCESS_LOST`).
            SafeBackupError: what the handler raised.
        """
        try:
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise _lost() from None
        number = self._asked.popleft()
        self._free.append(number)
        if answer[:1] == _BADLY:
            raise _read_error(answer[1:])
        return answer[1:], self._slot(number)

    def close(self) -> None:
        """Let it end; what it has begun is finished first."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)  # to close it is not enough while somebody has a copy
        self._pipe.close()
        self._process.wait()

    def leave(self) -> None:
        """In a process that was forked from ours: its copy of the pipe must not keep the other one alive."""
        self._pipe.close()

    def _slot(self, number: int) -> memoryview:
        return self._memory[number * self._slot_bytes : (number + 1) * self._slot_bytes]


def start(make: str, setup: bytes, *, slot_bytes: int, descriptors: Sequence[int] = ()) -> OtherProcess | None:
    """A process of ours, or None where there can be none."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return None  # the interpreter is part of another program, which cannot be told to do this
    if not all(map(_is_open, range(_STANDARD))) or min(descriptors, default=_STANDARD) < _STANDARD:
        return None  # what is ours has, or would get, a number that is something else there
    try:
        return OtherProcess(make, setup, slot_bytes=slot_bytes, descriptors=descriptors)
    except (OSError, ValueError) as error:
        logger.info("no process could be started, so this one does all: %s", error)
        return None


_in_use: weakref.WeakSet[OtherProcess] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_in_use):
        each.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def serve(pipe_fd: int, memory_fd: int, slot_bytes: int) -> None:
    """Answer requests until the pipe ends."""
    # Signals are meant for the one who started this, who knows what to do and lets the pipe end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pipe = Connection(pipe_fd)
    memory = memoryview(mmap.mmap(memory_fd, slot_bytes * SLOTS))
    with contextlib.suppress(EOFError, ConnectionError):
        module, _, function = pipe.recv_bytes().decode().partition(":")
        handler: Handler = getattr(import_module(module), function)(pipe.recv_bytes())
        pipe.send_bytes(_READY)
        while True:
            number, size = _REQUEST.unpack(pipe.recv_bytes())
            slot = memory[number * slot_bytes : (number + 1) * slot_bytes]
            try:
                answer = _WELL + handler(slot[slot_bytes - size :], slot)
            except SafeBackupError as error:
                answer = _BADLY + _written_error(error)
            except Exception as error:
                bug = InternalError(f"{type(error).__name__} in another process: {error}")
                answer = _BADLY + _written_error(bug)
            pipe.send_bytes(answer)


def _written_error(error: SafeBackupError) -> bytes:
    retryable = isinstance(error, StorageError) and error.retryable
    return json.dumps([type(error).__name__, error.message, error.code, error.hint, retryable]).encode()


def _read_error(written: bytes) -> SafeBackupError:
    kind, message, code, hint, retryable = json.loads(written)
    if retryable:
        return StorageError(message, code=Code(code), hint=hint, retryable=True)
    found: type[SafeBackupError] = getattr(errors, kind)
    return found(message, code=Code(code), hint=hint)


@contextlib.contextmanager
def _shared_file(size: int) -> Iterator[int]:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("safebackup")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, size)
        yield fd
    finally:
        os.close(fd)


def _path() -> str:
    return json.dumps([str(each) for each in sys.path])
