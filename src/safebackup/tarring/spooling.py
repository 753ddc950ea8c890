"""Bytes on their way into one zstd frame, in a temporary file, and the proof that they come out of it again."""

from __future__ import annotations

import hashlib
import os
import tarfile
from typing import IO, cast

import zstandard

from safebackup.errors import Code, IntegrityError
from safebackup.tarring.temporaries import Temporary, failing

_READ_BYTES = 1 << 20
_THREADS_MAX = 4


class Spool:
    """Compresses what is written to it; knows the size and the SHA-256 of both sides."""

    def __init__(self, temporary: Temporary, *, level: int) -> None:
        self.temporary = temporary
        self.raw_bytes = 0
        self.size_bytes = 0
        self._raw = hashlib.sha256()
        self._stored = hashlib.sha256()
        # The checksum makes `zstd -t` find every damage; the size is not known before the end.
        compressor = zstandard.ZstdCompressor(
            level=level,
            write_checksum=True,
            write_content_size=False,
            threads=min(_THREADS_MAX, os.cpu_count() or 1),
        )
        self._writer = compressor.stream_writer(cast(IO[bytes], _Stored(self)), closefd=False)

    @property
    def sha256(self) -> str:
        """Of what is stored, in hexadecimal."""
        return self._stored.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append to what will be decoded."""
        self._raw.update(data)
        self.raw_bytes += len(data)
        self._writer.write(data)
        return len(data)

    def tell(self) -> int:
        """How much was written; tarfile asks."""
        return self.raw_bytes

    def store(self, data: bytes) -> int:
        """Append to the file."""
        with failing("writing the temporary file"):
            self.temporary.write(data)
        self._stored.update(data)
        self.size_bytes += len(data)
        return len(data)

    def finish(self) -> None:
        """End the frame."""
        self._writer.flush(zstandard.FLUSH_FRAME)

    def verify(self, *, entries: int | None) -> None:
        """Read the file again, decode it and compare; with `entries`, read it as a tar that has so many.

        Raises:
            IntegrityError: what was stored is not what was written, so nothing may be published.
        """
        with failing("reading the temporary file again"), open(os.dup(self.temporary.fd), "rb", buffering=0) as file:
            file.seek(0)
            stored = _Hashing(file)
            decoder = zstandard.ZstdDecompressor(max_window_size=128 << 20)
            try:
                with decoder.stream_reader(cast(IO[bytes], stored), read_size=_READ_BYTES, closefd=False) as decoded:
                    raw = _Hashing(decoded)
                    found = None if entries is None else _count(raw)
                    raw.drain()
                stored.drain()
            except (zstandard.ZstdError, tarfile.TarError) as error:
                raise _mismatch(str(error)) from error
        if stored.digest() != self._stored.digest():
            raise _mismatch("the temporary file does not hold what was written to it")
        if raw.digest() != self._raw.digest() or raw.count != self.raw_bytes:
            raise _mismatch("the decoded bytes are others than those that were encoded")
        if found != entries:
            raise _mismatch(f"as a tar it has {found} entries where {entries} were written")


class _Stored:
    """The file side of a spool, as zstandard wants it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def write(self, data: bytes) -> int:
        return self._spool.store(data)


class _Hashing:
    """Reads and hashes."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        while self.read(_READ_BYTES):
            pass

    def digest(self) -> bytes:
        return self._hash.digest()


def _count(raw: _Hashing) -> int:
    count = 0
    with tarfile.open(
        fileobj=cast(IO[bytes], raw), mode="r|", bufsize=_READ_BYTES, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        while tar.next() is not None:
            count += 1
            # They would be kept for a second look, which a stream does not allow.
            tar.members.clear()  # type: ignore[attr-defined]
    return count


def _mismatch(what: str) -> IntegrityError:
    return IntegrityError(
        f"what was compressed does not decode to what it was made from: {what}",
        code=Code.ENCODING_MISMATCH,
        hint="Nothing was published. Look at this machine's memory and disk, then start again.",
    )
