"""Streams and commands as sources: one file of a snapshot, whose content never lay on a disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from safebackup.commands import checked_commands
from safebackup.errors import ConfigurationError, StorageError


@runtime_checkable
class Readable(Protocol):
    """What gives bytes: a file opened in binary mode, a pipe, a socket's file, a response."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end."""
        ...


Fill: TypeAlias = Callable[[memoryview], int]  # puts bytes into the view and says how many; 0 at the end


@attrs.frozen(kw_only=True, eq=False)
class StreamSource:
    """An open stream that becomes the file `file`; made by `Source.stream`. It can be read once."""

    file: str
    name: str
    stream: Readable = attrs.field(repr=False)
    allow_empty: bool


@attrs.frozen(kw_only=True)
class CommandSource:
    """Commands whose output becomes the file `file`; made by `Source.command`. `deadline` is in seconds."""

    file: str
    name: str
    commands: tuple[tuple[str, ...], ...]
    deadline: float | None
    allow_empty: bool


AnyStream: TypeAlias = StreamSource | CommandSource


def commands_of(given: Sequence[object]) -> tuple[tuple[str, ...], ...]:
    """What a caller wrote as one command, several, or a list of several, each as a list of its arguments.

    Raises:
        ConfigurationError: that is no command.
    """
    first = given[0] if len(given) == 1 else None
    if isinstance(first, list | tuple) and first and all(isinstance(one, list | tuple) for one in first):
        given = first
    return tuple(checked_commands(given))


def fill_from(stream: object, name: str) -> Fill:
    """How to read `stream`.

    Raises:
        ConfigurationError: it gives text, or cannot be read at all.
    """
    if isinstance(stream, io.TextIOBase):
        raise ConfigurationError(
            f"the stream for {name!r} gives text, and a backup stores bytes",
            hint='Open it in binary mode: open(path, "rb"), sys.stdin.buffer, or text.encode() in io.BytesIO.',
        )
    if not isinstance(stream, Readable):
        raise ConfigurationError(
            f"{type(stream).__name__} cannot be read as a stream for {name!r}",
            hint="Give an open binary file, such as open(path, 'rb') or sys.stdin.buffer.",
        )
    read_into = getattr(stream, "readinto", None)

    def fill(view: memoryview) -> int:
        try:
            got = read_into(view) if read_into is not None else stream.read(len(view))
        except OSError as error:
            raise StorageError.from_os(f"the stream for {name!r} could not be read to its end", error) from error
        if isinstance(got, bytes | bytearray | memoryview):
            view[: len(got)] = got
            return len(got)
        if not isinstance(got, int):
            raise ConfigurationError(
                f"the stream for {name!r} gave {type(got).__name__} where bytes were expected",
                hint="Open it in binary mode, and blocking: what has no bytes yet must wait for them.",
            )
        return got

    return fill
