"""Streams that somebody hands in: one way to read them, which never takes half a stream for a whole one."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from safebackup.errors import ConfigurationError, SafeBackupError, StorageError


@runtime_checkable
class Readable(Protocol):
    """What gives bytes: a file opened in binary mode, a pipe, a socket's file, a response."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; b"" at the end."""
        ...


Fill: TypeAlias = Callable[[memoryview], int]  # puts bytes into the view and says how many; 0 at the end

_BINARY = 'Open it in binary mode: open(path, "rb"), sys.stdin.buffer, or text.encode() in io.BytesIO.'
_BLOCKING = "Open it in binary mode, and blocking: what has no bytes yet must wait for them."
_BROKE_OFF = "Look at what makes it: it broke off, or is damaged."
_BROKEN = "The stream itself is broken: look at the class that it is of."


def reader_of(stream: object, name: str) -> Fill:
    """How to read `stream`, which is to become `name`: each call fills as much of a view as there is, 0 at the end.

    The view must not be empty. What the calls raise is ours: `StorageError` where the stream breaks off, be it a line,
    a compressed file or a response that ends too early; `ConfigurationError` where it gives no bytes.

    Raises:
        ConfigurationError: it gives text, is closed, or cannot be read at all.
    """
    _require_readable(stream, name)
    read_into = getattr(stream, "readinto", None)
    # Of a class that has written `read` alone, this one does nothing but fail.
    inherited = isinstance(stream, io.RawIOBase) and type(stream).readinto is io.RawIOBase.readinto
    read = read_into if callable(read_into) and not inherited else None

    def fill(view: memoryview) -> int:
        try:
            got = read(view) if read is not None else stream.read(len(view))  # type: ignore[attr-defined]
        except SafeBackupError:
            raise
        except BlockingIOError as error:
            raise ConfigurationError(f"the stream for {name!r} does not wait for its bytes", hint=_BLOCKING) from error
        except io.UnsupportedOperation as error:
            raise ConfigurationError(f"the stream for {name!r} is not open for reading", hint=_BINARY) from error
        except OSError as error:
            broken = StorageError.from_os(f"the stream for {name!r} could not be read to its end", error)
            broken.hint = broken.hint or _BROKE_OFF
            raise broken from error
        except Exception as error:  # gzip, lzma, zipfile, each client of HTTP: all have errors of their own
            raise StorageError(
                f"the stream for {name!r} could not be read to its end: {type(error).__name__}: {error}",
                hint=_BROKE_OFF,
            ) from error
        count = _copied(got, view, name) if read is None else got
        if isinstance(count, bool) or not isinstance(count, int):
            raise _no_bytes(count, name)
        if not 0 <= count <= len(view):
            raise ConfigurationError(
                f"the stream for {name!r} gave {count} bytes where at most {len(view)} were asked for", hint=_BROKEN
            )
        if count == 0:
            _require_all(stream, name)
        return count

    return fill


def _require_readable(stream: object, name: str) -> None:
    if isinstance(stream, io.TextIOBase):
        raise ConfigurationError(f"the stream for {name!r} gives text, where bytes were expected", hint=_BINARY)
    if not isinstance(stream, Readable) or not callable(stream.read):
        raise ConfigurationError(
            f"{type(stream).__name__} cannot be read as a stream of bytes for {name!r}",
            hint="Give an open binary file, such as open(path, 'rb') or sys.stdin.buffer.",
        )
    if isinstance(stream, io.IOBase) and stream.closed:
        raise ConfigurationError(
            f"the stream for {name!r} is closed", hint="Write it within the with block that opens it."
        )


def _copied(got: object, view: memoryview, name: str) -> int:
    """Put what `read` gave into the view if it fits; how many bytes it has."""
    try:
        # Items may be wider than a byte: what counts is bytes.
        with memoryview(got) as given:  # type: ignore[arg-type]
            if given.nbytes == 0:
                return 0
            flat = given.cast("B")
            if len(flat) <= len(view):
                view[: len(flat)] = flat
            return len(flat)
    except TypeError as error:
        raise _no_bytes(got, name) from error


def _no_bytes(got: object, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"the stream for {name!r} gave {type(got).__name__} where bytes were expected", hint=_BLOCKING
    )


def _require_all(stream: object, name: str) -> None:
    """Refuse a response that the server announced longer: http.client takes a lost connection for its end."""
    http = sys.modules.get("http.client")  # where nobody has imported it, nobody has such a response
    # A buffer around a response is looked through.
    response = getattr(stream, "raw", stream)
    if http is None or not isinstance(response, http.HTTPResponse):
        return
    if response.length not in (None, 0):
        raise StorageError(
            f"the response for {name!r} ended {response.length} bytes before the length that the server gave",
            hint="The connection was lost: read it again.",
            retryable=True,
        )
