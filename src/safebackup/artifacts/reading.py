"""Reading forward in bounded memory: bytes that are handed out once, and the one way to give up on an artefact."""

from __future__ import annotations

from collections.abc import Callable

from safebackup.errors import Code

PIECE = 1 << 20


class Flaw(Exception):
    """The artefact cannot be followed any further; it becomes a finding and never leaves this package."""

    def __init__(self, code: Code, what: str, action: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.action = action


class Reader:
    """Bytes in order, from a function that gives the next piece and, at the end, an empty one.

    `taken` counts what was handed out.
    """

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._buffer = b""
        self._start = 0
        self._ended = False
        self.taken = 0

    def _fill(self, wanted: int) -> int:
        """Buffer up to `wanted` bytes; how many there are."""
        have = len(self._buffer) - self._start
        if have >= wanted or self._ended:
            return have
        pieces = [self._buffer[self._start :]]
        while have < wanted and not self._ended:
            piece = self._pull()
            self._ended = not piece
            pieces.append(piece)
            have += len(piece)
        self._buffer, self._start = b"".join(pieces), 0
        return have

    def peek(self, count: int) -> bytes:
        """Up to `count` bytes, fewer at the end, without taking them."""
        self._fill(count)
        return self._buffer[self._start : self._start + count]

    def upto(self, count: int) -> bytes:
        """Up to `count` bytes, fewer at the end."""
        data = self.peek(count)
        self._start += len(data)
        self.taken += len(data)
        return data

    def some(self, limit: int = PIECE) -> bytes:
        """At least one byte and at most `limit`; empty at the end."""
        if self._start == len(self._buffer):
            self._fill(1)
        return self.upto(min(limit, max(1, len(self._buffer) - self._start)))

    def exactly(self, count: int, what: str) -> bytes:
        """`count` bytes; a flaw if it ends before that, which is how a cut shows."""
        data = self.upto(count)
        if len(data) < count:
            raise cut(what)
        return data

    def skip(self, count: int, what: str) -> None:
        """Take `count` bytes and forget them."""
        while count > 0:
            piece = self.some(min(count, PIECE))
            if not piece:
                raise cut(what)
            count -= len(piece)

    def give_back(self, data: bytes) -> None:
        """Undo taking `data`, which was taken last."""
        self.taken -= len(data)
        if self._start >= len(data):
            self._start -= len(data)
            return
        self._buffer = data + self._buffer[self._start :]
        self._start = 0

    def part(self, count: int, what: str) -> Reader:
        """A reader of the next `count` bytes; a flaw in it if this one ends before that."""
        left = count

        def pull() -> bytes:
            nonlocal left
            if left == 0:
                return b""
            piece = self.some(min(left, PIECE))
            if not piece:
                raise cut(what)
            left -= len(piece)
            return piece

        return Reader(pull)


def drain(reader: Reader) -> int:
    """Read to the end; how many bytes there were."""
    count = 0
    while piece := reader.some():
        count += len(piece)
    return count


def cut(what: str) -> Flaw:
    """It ended in the middle of something."""
    return Flaw(
        Code.ARTIFACT_CUT,
        f"it ends within {what}",
        "Make it again, and look why the one before was cut: a full disk, a killed process, a copy that broke off.",
    )


def damaged(what: str) -> Flaw:
    """Its bytes contradict each other."""
    return Flaw(Code.ARTIFACT_DAMAGED, what, "Use another copy or make it again; check the disk that it lay on.")


def unreadable(what: str, action: str) -> Flaw:
    """It may be sound, but cannot be judged here."""
    return Flaw(Code.ARTIFACT_UNREADABLE, what, action)
