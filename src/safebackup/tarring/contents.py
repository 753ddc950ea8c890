"""What a file holds while it is being read: as many bytes as a tar has announced, from one state of it if possible."""

from __future__ import annotations

import hashlib
import os
from typing import IO

from safebackup.events import Progress

SMALL_BYTES = 8 << 20  # read at once, and again if it changed meanwhile
_TRIES = 3


class Content:
    """Gives exactly `size` bytes, hashed: a tar has announced them already."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.hash = hashlib.sha256()
        self.got = 0
        self.error: OSError | None = None
        self.progress: Progress | None = None
        self._file = file
        self._left = size
        self._at_end = False

    def read(self, size: int) -> bytes:
        """As of any file; zeros stand for what the file no longer has."""
        wanted = min(size, self._left)
        data = b"" if self._at_end else self._read(wanted)
        self._at_end = len(data) < wanted
        self.got += len(data)
        self._left -= wanted
        data = data.ljust(wanted, b"\0")
        self.hash.update(data)
        if self.progress is not None:
            self.progress.relative_update(wanted)
        return data

    def _read(self, wanted: int) -> bytes:
        try:
            return _read_up_to(self._file, wanted)
        except OSError as error:
            self.error = error
            return b""


def read_at_once(file: IO[bytes]) -> tuple[bytes, os.stat_result, bool] | None:
    """Content and status, and whether they are of two states after all tries; None if it is too large."""
    tries = 0
    while True:
        file.seek(0)
        before = os.fstat(file.fileno())
        tries += 1
        if before.st_size > SMALL_BYTES:
            return None
        # One byte more than there should be shows what grows, and /proc has files of "0 bytes" with content.
        data = _read_up_to(file, before.st_size + 1 if tries < _TRIES else SMALL_BYTES + 1)
        if len(data) > SMALL_BYTES:
            return None
        after = os.fstat(file.fileno())
        torn = len(data) != after.st_size or changed(before, after)
        if not torn or tries == _TRIES:
            return data, after, torn


def _read_up_to(file: IO[bytes], most: int) -> bytes:
    data = file.read(most)
    while len(data) < most and (more := file.read(most - len(data))):
        data += more
    return data


def changed(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file was written to between two looks at it."""
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
