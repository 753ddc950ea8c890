"""A stream is read to its true end, or the work stops with an error of ours: real files, pipes, servers and formats."""

from __future__ import annotations

import array
import bz2
import gzip
import http.client
import io
import lzma
import os
import socket
import subprocess
import sys
import tarfile
import threading
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from safebackup.errors import ConfigurationError, ConflictError, StorageError
from safebackup.streaming import reader_of

CONTENT = os.urandom(300_000)


def read_all(stream: object, *, step: int = 65_536) -> bytes:
    fill = reader_of(stream, "orders.sql")
    buffer, data = memoryview(bytearray(step)), b""
    while count := fill(buffer):
        data += buffer[:count]
    return data


class Giving:
    """Gives these, one after another, from `read`, then the end."""

    def __init__(self, *gifts: object) -> None:
        self._gifts = iter(gifts)

    def read(self, size: int = -1) -> Any:
        return next(self._gifts, b"")


class Filling(io.RawIOBase):
    """Says these numbers, one after another, from `readinto`."""

    def __init__(self, *said: Any) -> None:
        self._said = iter(said)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        return next(self._said, 0)


class ReadAlone(io.RawIOBase):
    """A file of Python's that has `read` alone."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size)


class Raising:
    """Gives some bytes, and then this."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._given = False

    def read(self, size: int = -1) -> bytes:
        if self._given:
            raise self._error
        self._given = True
        return b"half"


# What is read


@pytest.mark.parametrize(
    "opened",
    [
        io.BytesIO,
        lambda data: io.BufferedReader(io.BytesIO(data)),
        lambda data: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data))),
        lambda data: bz2.BZ2File(io.BytesIO(bz2.compress(data))),
        lambda data: lzma.LZMAFile(io.BytesIO(lzma.compress(data))),  # noqa: SIM115
        lambda data: Giving(data[:1], data[1:60_000], data[60_000:60_001]),
        ReadAlone,
    ],
    ids=["bytes", "buffered", "gzip", "bz2", "lzma", "bare", "read alone"],
)
def test_every_byte_is_read(opened: Callable[[bytes], object]) -> None:
    expected = CONTENT[:60_001]

    assert read_all(opened(expected)) == expected


def test_files_and_pipes_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)

    with (tmp_path / "a").open("rb") as file, (tmp_path / "a").open("rb", buffering=0) as raw:
        assert read_all(file) == read_all(raw) == CONTENT
    with subprocess.Popen(["cat", tmp_path / "a"], stdout=subprocess.PIPE) as cat:
        assert read_all(cat.stdout) == CONTENT
    with TemporaryFile() as temporary:
        temporary.write(CONTENT)
        temporary.seek(0)
        assert read_all(temporary) == CONTENT


@pytest.mark.parametrize(
    "gift", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("I"), array.array("H", [25185, 25699])]
)
def test_bytes_of_any_shape_are_bytes(gift: object) -> None:
    assert read_all(Giving(gift)) == b"abcd"


@pytest.mark.parametrize("end", [b"", bytearray(), memoryview(b"").cast("B"), array.array("I")])
def test_nothing_of_any_shape_is_the_end(end: object) -> None:
    assert read_all(Giving(b"ab", end, b"never asked for")) == b"ab"


# What is no stream of bytes


@pytest.mark.parametrize("stream", [io.StringIO("text"), "text", 7, None, ["a"], object()])
def test_what_gives_no_bytes_is_refused_before_it_is_read(stream: object) -> None:
    with pytest.raises(ConfigurationError, match=r"bytes.*'orders\.sql'|'orders\.sql'.*bytes"):
        reader_of(stream, "orders.sql")


@pytest.mark.parametrize("gift", ["text", 7, None, [1], 2.5])
def test_what_turns_out_to_give_no_bytes_is_refused(gift: object) -> None:
    with pytest.raises(ConfigurationError, match=f"gave {type(gift).__name__} where bytes were expected"):
        read_all(Giving(gift))


@pytest.mark.parametrize("said", ["text", None, 2.5, True, False, b"bytes"])
def test_a_count_that_is_no_number_is_refused(said: object) -> None:
    with pytest.raises(ConfigurationError, match=f"gave {type(said).__name__}"):
        read_all(Filling(10, said))


@pytest.mark.parametrize("said", [-1, -400, 1001, 10**30])
def test_a_count_that_cannot_be_is_refused(said: int) -> None:
    with pytest.raises(ConfigurationError, match=f"gave {said} bytes where at most 1000"):
        read_all(Filling(1000, said), step=1000)


def test_more_than_was_asked_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="gave 1004 bytes where at most 1000"):
        read_all(Giving(memoryview(bytes(1004)).cast("I")), step=1000)


def test_a_file_that_is_closed_or_open_for_writing_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file, pytest.raises(ConfigurationError, match="not open for reading"):
        read_all(file)
    with pytest.raises(ConfigurationError, match="closed"):
        reader_of(file, "orders.sql")


@pytest.mark.parametrize("buffering", [0, -1])
def test_what_does_not_wait_is_refused(buffering: int) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)

    with (
        os.fdopen(ours, "rb", buffering=buffering) as file,
        os.fdopen(theirs, "wb"),
        pytest.raises(ConfigurationError, match="bytes"),
    ):
        read_all(file)


# What breaks off


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        TimeoutError("timed out"),
        EOFError("ended before the end-of-stream marker was reached"),
        zlib.error("Error -3"),
        lzma.LZMAError("Corrupt input data"),
        zipfile.BadZipFile("Bad CRC-32"),
        tarfile.ReadError("unexpected end of data"),
        http.client.IncompleteRead(b"half"),
        ValueError("I/O operation on closed file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_stream_raises_is_an_error_of_ours_that_names_it(error: Exception) -> None:
    with pytest.raises(StorageError, match=r"'orders\.sql' could not be read to its end") as caught:
        read_all(Raising(error))

    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
    assert "Look at what makes it" in caught.value.hint


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ConflictError("ours")])
def test_an_interrupt_and_an_error_of_ours_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        read_all(Raising(error))

    assert caught.value is error


@pytest.mark.parametrize(
    "opened",
    [
        lambda data: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)[:-100])),
        lambda data: bz2.BZ2File(io.BytesIO(bz2.compress(data)[:-100])),
        lambda data: lzma.LZMAFile(io.BytesIO(lzma.compress(data)[:-100])),  # noqa: SIM115
        lambda data: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)[:-8] + bytes(8))),
    ],
    ids=["gzip", "bz2", "lzma", "gzip with another checksum"],
)
def test_a_compressed_stream_that_is_cut_is_no_whole_one(opened: Callable[[bytes], object]) -> None:
    with pytest.raises(StorageError, match="could not be read to its end"):
        read_all(opened(CONTENT))


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that sends this to whoever asks first, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/orders.sql"
        server.join()


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("around", [lambda response: response, io.BufferedReader], ids=["response", "buffered"])
@pytest.mark.parametrize(
    "answer", [_OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 300, _CHUNKED + b"12c\r\n" + b"x" * 200]
)
def test_half_a_response_is_no_whole_one(answer: bytes, around: Callable[[Any], object]) -> None:
    with (
        answering(answer) as url,
        urllib.request.urlopen(url) as response,
        pytest.raises(StorageError, match=r"orders\.sql"),
    ):
        read_all(around(response))


@pytest.mark.parametrize(
    "answer",
    [
        _OK + b"Content-Length: 300\r\n\r\n" + b"x" * 300,
        _OK + b"\r\n" + b"x" * 300,
        _CHUNKED + b"12c\r\n" + b"x" * 300 + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "to the end", "chunks"],
)
def test_a_whole_response_is_read(answer: bytes) -> None:
    with answering(answer) as url, urllib.request.urlopen(url) as response:
        assert read_all(response) == b"x" * 300


def test_reading_a_file_loads_no_client_of_http() -> None:
    code = (
        "import io, sys; from safebackup.streaming import reader_of\n"
        "reader_of(io.BytesIO(), 'x')(memoryview(bytearray(1)))\n"
        "print('http.client' in sys.modules)"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
