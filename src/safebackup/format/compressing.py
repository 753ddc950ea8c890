"""Zstandard frames, bounded: nothing is allocated that the caller did not announce."""

from __future__ import annotations

import threading
from enum import IntEnum

import zstandard

from safebackup.format.header import damaged
from safebackup.format.sealing import Buffer

LEVEL_DEFAULT = 3


class Codec(IntEnum):
    """How the bytes of a frame are encoded."""

    RAW = 0
    ZSTD = 1


_SAMPLE_BYTES = 16 << 10
_local = threading.local()  # contexts are reused: making one costs more than a small frame


def compress(data: Buffer, *, level: int = LEVEL_DEFAULT) -> tuple[Codec, Buffer]:
    """Encode `data`; it stays raw where compression would not save 1/32 of it."""
    if len(data) > 8 * _SAMPLE_BYTES and _looks_random(data):
        return Codec.RAW, data
    compressed = _compressor(level).compress(data)
    if len(compressed) > len(data) - len(data) // 32:
        return Codec.RAW, data
    return Codec.ZSTD, compressed


def decompress(data: Buffer, codec: int, raw_bytes: int, *, name: str) -> Buffer:
    """Decode to exactly `raw_bytes` bytes.

    Raises:
        IntegrityError: it is no zstd frame, or holds another number of bytes.
    """
    if codec == Codec.RAW:
        decoded: Buffer = data
    elif codec == Codec.ZSTD:
        try:
            # The content size in the frame is what the library allocates, so it is checked first.
            announced = zstandard.frame_content_size(data)
            if announced != raw_bytes:
                raise damaged(name, f"a frame announces {announced} bytes where {raw_bytes} are expected")
            decoded = _decompressor().decompress(data)
        except zstandard.ZstdError as error:
            raise damaged(name, f"a frame does not decompress ({error})") from error
    else:
        raise damaged(name, f"a frame is encoded by codec {codec}")
    if len(decoded) != raw_bytes:
        raise damaged(name, f"a frame holds {len(decoded)} bytes where {raw_bytes} are expected")
    return decoded


def _looks_random(data: Buffer) -> bool:
    # Three samples at level 1 cost about 0.1 ms; compressing 1 MiB of media in vain costs more than that.
    view = memoryview(data)
    middle = len(view) // 2
    tail = len(view) - _SAMPLE_BYTES
    compressor = _compressor(1)
    return all(
        len(compressor.compress(view[start : start + _SAMPLE_BYTES])) > _SAMPLE_BYTES - _SAMPLE_BYTES // 32
        for start in (0, middle, tail)
    )


def _compressor(level: int) -> zstandard.ZstdCompressor:
    cached: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("compressors", {})
    if level not in cached:
        cached[level] = zstandard.ZstdCompressor(level=level)
    return cached[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    cached: zstandard.ZstdDecompressor | None = getattr(_local, "decompressor", None)
    if cached is None:
        cached = _local.decompressor = zstandard.ZstdDecompressor(max_window_size=128 << 20)
    return cached
