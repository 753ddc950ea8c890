"""Walking through a folder by descriptors: no link is followed, and no path is too long or too deep.

It shares nothing with the target of a restore, so that who reads a restored folder back has eyes of their own.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

import attrs

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LEVELS_OPEN_MAX = 32  # in a deeper tree those nearest to the top are closed, and opened again on the way back
_CLOSED = -1


@attrs.define(eq=False)
class _Level:
    fd: int
    status: os.stat_result
    path: bytes
    names: list[bytes]  # those still to come, the next one last


class Descent:
    """Where one is below a folder; use it in a `with` statement.

    `names` are what is still to be looked at in the present folder, the next one last: take them from it.
    """

    def __init__(self, fd: int) -> None:
        """Begin in the folder open as `fd`, which stays the caller's."""
        self._levels: list[_Level] = []
        self._push(os.dup(fd), b"")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._levels:
            _close(self._levels.pop())

    @property
    def fd(self) -> int:
        """The present folder."""
        return self._levels[-1].fd

    @property
    def names(self) -> list[bytes]:
        """What is still to come in it."""
        return self._levels[-1].names

    @property
    def depth(self) -> int:
        """How many folders below the first one."""
        return len(self._levels) - 1

    def path_of(self, name: bytes) -> bytes:
        """The path of a name in the present folder, from the first one."""
        path = self._levels[-1].path
        return path + b"/" + name if path else name

    def enter(self, name: bytes) -> None:
        """Go into a folder.

        Raises:
            OSError: it cannot be opened or listed, or is none.
        """
        self._push(os.open(name, _FOLDER, dir_fd=self.fd), self.path_of(name))
        if len(self._levels) > _LEVELS_OPEN_MAX:
            _close(self._levels[-1 - _LEVELS_OPEN_MAX])

    def leave(self) -> bytes:
        """Go back to the folder above; the name of the one that was left.

        Raises:
            OSError: the folder was moved meanwhile.
        """
        left, above = self._levels[-1], self._levels[-2]
        if above.fd == _CLOSED:
            above.fd = os.open(b"..", _FOLDER, dir_fd=left.fd)
            if not os.path.samestat(os.fstat(above.fd), above.status):
                raise FileNotFoundError(errno.ENOENT, "a folder was moved meanwhile")
        self._levels.pop()
        _close(left)
        return left.path.rpartition(b"/")[2]

    def _push(self, fd: int, path: bytes) -> None:
        try:
            names = sorted((os.fsencode(name) for name in os.listdir(fd)), reverse=True)
            self._levels.append(_Level(fd, os.fstat(fd), path, names))
        except BaseException:
            os.close(fd)
            raise


def _close(level: _Level) -> None:
    if level.fd != _CLOSED:
        os.close(level.fd)
        level.fd = _CLOSED
