"""Transports in use: made when first needed, by each process and, where they cannot be shared, by each thread."""

from __future__ import annotations

import copy
import ctypes
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from safebackup.storage.remote.transport import Transport


class NotAnsweredError(Exception):
    """An operation ended without an answer, so that its connection is not to be used again."""


class Connections:
    """The transports of one store, opened by `connect` when they are needed.

    A process that was forked forgets its parent's at once, and without touching them: closing one there ends the
    parent's session.
    """

    def __init__(self, connect: Callable[[], Transport]) -> None:
        self._connect = connect
        self._begin()
        _ALL.add(self)

    def _forget(self) -> None:
        # Were a parent's transport freed here, even when this process ends, its sockets would be taken from the epoll
        # that both processes share, and the parent would wait in vain for what comes in.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object((self._shared, self._idle)))
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._shared: Transport | None = None
        self._may_share = True  # until the first turns out to be for one thread alone
        self._failure: Exception | None = None
        self._idle: list[Transport] = []
        self._users: Counter[int] = Counter()  # by the id of a transport

    @contextmanager
    def borrowed(self) -> Iterator[Transport]:
        """A transport for one operation.

        After an `Exception` other than `NotAnsweredError` it is used again; else its session may be in the middle of
        something, and it is closed as soon as nobody else uses it. Those that lie idle are then closed, too: whatever
        broke one line, such as a server that was started again, most probably broke theirs.

        Raises:
            Exception: whatever connecting raised.
        """
        transport = self._take()
        is_usable = False
        try:
            yield transport
            is_usable = True
        except NotAnsweredError:
            raise
        except Exception:
            is_usable = True
            raise
        finally:
            self._give_back(transport, is_usable)

    def close(self) -> None:
        """Close those that nobody is using, and the others when they are given back."""
        with self._lock:
            unused, self._idle = self._idle, []
            if self._shared is not None and not self._users[id(self._shared)]:
                unused.append(self._shared)
            self._shared = None
        for transport in unused:
            transport.close()

    def _take(self) -> Transport:
        found = self._found()
        if found is not None:
            return found
        before = self._failure
        # One at a time, so that threads that begin together share what can be shared.
        with self._connecting if self._may_share else nullcontext():
            found = self._found()
            if found is not None:
                return found
            if self._failure is not None and self._failure is not before:
                # Somebody has tried meanwhile. If each waited for its turn to fail, the last would wait too long.
                raise copy.copy(self._failure)
            try:
                transport = self._connect()
            except Exception as error:
                self._failure = copy.copy(error)
                raise
            with self._lock:
                self._users[id(transport)] = 1
                self._may_share = transport.is_shared
                if transport.is_shared:
                    self._shared = transport
            return transport

    def _found(self) -> Transport | None:
        with self._lock:
            found = self._idle.pop() if self._idle else self._shared
            if found is not None:
                self._users[id(found)] += 1
            return found

    def _give_back(self, transport: Transport, is_usable: bool) -> None:
        over: list[Transport] = []
        with self._lock:
            self._users[id(transport)] -= 1
            is_last = not self._users[id(transport)]
            if is_last:
                del self._users[id(transport)]
            if not is_usable:
                over, self._idle = self._idle, over
                if self._shared is transport:
                    self._shared = None
            if is_usable and not transport.is_shared:
                self._idle.append(transport)
            elif is_last and self._shared is not transport:
                over.append(transport)
        for each in over:
            each.close()


_ALL: weakref.WeakSet[Connections] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_ALL):
        each._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
