"""What one class of fsspec's file systems can do, raw; `RemoteStore` makes a store of it.

A transport knows the requests of one protocol and what its errors mean. It does not retry, does not check names, and
raises whatever its library raises; `trouble_of` says what that was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol, TypeAlias

import attrs


class Trouble(StrEnum):
    """What an error of a library means. Each but the last two is an answer that the server gave."""

    MISSING = "missing"  # there is no such object or folder
    TAKEN = "taken"  # the name is taken, and nothing was changed
    BEYOND = "beyond"  # the object ends before the first byte that was asked for
    NO_ROOT = "no-root"  # the bucket, or the root folder, is not there
    DENIED = "denied"  # the credentials are wrong, or may not do this
    FULL = "full"  # no space left
    REFUSED = "refused"  # anything else that trying again will not change
    UNREACHED = "unreached"  # no answer, half an answer, or "later": trying again may help
    UNKNOWN = "unknown"  # nobody knows; treated as unreached, never as missing


@attrs.frozen
class Listed:
    """An object as a listing has it.

    `tag` changes when the content does (an ETag or a generation), `modified` is nanoseconds since 1970; either may be
    unknown.
    """

    path: str  # below the root, "/" between its parts, no "/" in front
    size_bytes: int
    tag: str = ""
    modified: int | None = None


class Transport(Protocol):
    """Requests below one root. A path is relative to the root, with "/" between its parts.

    Making one may connect. What that raises counts as no answer and is tried again, unless it is an error of ours:
    raise `ConfigurationError` for options that make no sense, `StorageError` for what the server refuses for good.

    `is_shared` says whether threads may use it at the same time; if not, each one gets its own.
    `is_exclusive` says whether `publish` alone never replaces an object; if not, `RemoteStore` looks first.
    `is_proven` is false where what was written has to be read back whole.
    """

    is_shared: bool
    is_exclusive: bool
    is_proven: bool

    def reach(self) -> None:
        """Return if the root answers that it is there, else raise."""
        ...

    def make_root(self) -> None:
        """Make the root folder and those that lead to it, unless they are there. A bucket is never made: `reach`."""
        ...

    def read(self, path: str, start: int, length: int) -> bytes:
        """Up to `length` (> 0) bytes from `start`; fewer only where the object ends, never because a line was cut.

        For all there is, `length` is 256 MiB and one: a server that falls silent must be noticed earlier than the time
        in which so many bytes could have come.
        """
        ...

    def size(self, path: str) -> int:
        """The size of an object in bytes; raises what `trouble_of` calls missing if there is none."""
        ...

    def look(self, path: str) -> Listed:
        """One object, with the same tag and time that `entries` gives it; raises as `size` does."""
        ...

    def publish(self, path: str, data: memoryview) -> None:
        """Let an object appear whole, with what leads to it; return once the server has confirmed size or checksum."""
        ...

    def entries(self, folder: str) -> Iterator[Listed]:
        """All objects below a folder ("" is the root), complete and fresh, in any order; else raise at some point.

        A folder that is not there has none, or raises what `trouble_of` calls missing. Nothing else does: a folder
        below it that vanishes meanwhile is passed over.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove an object; if there is none, return or raise what `trouble_of` calls missing."""
        ...

    def trouble_of(self, error: BaseException) -> Trouble:
        """What an error means that any of these raised. What is not known for certain is `UNKNOWN`."""
        ...

    def close(self) -> None:
        """Let its connections go; never raises."""
        ...


Connect: TypeAlias = Callable[[], Transport]
