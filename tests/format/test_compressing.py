"""Compression: what goes in comes out, and nothing makes a reader allocate what it did not expect."""

from __future__ import annotations

import random
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import IntegrityError
from safebackup.format.compressing import Codec, compress, decompress

NOISE = random.Random("noise").randbytes(300_000)


@given(st.binary(max_size=2000), st.integers(0, 50))
def test_what_was_compressed_is_decompressed(data: bytes, times: int) -> None:
    content = data * times
    codec, payload = compress(content)
    assert bytes(decompress(payload, codec, len(content), name="x")) == content


def test_what_does_not_shrink_stays_raw() -> None:
    for data in (b"", b"short", NOISE[:1000], NOISE):
        codec, payload = compress(data)
        assert codec is Codec.RAW
        assert payload == data


def test_what_shrinks_is_compressed_even_where_its_beginning_is_random() -> None:
    for data in (b"a" * 1000, NOISE[:20_000] + bytes(280_000), bytes(280_000) + NOISE[:20_000]):
        codec, payload = compress(data)
        assert codec is Codec.ZSTD
        assert len(payload) < len(data) // 2


@pytest.mark.parametrize("expected", [999, 1001, 0, 1 << 40])
def test_another_length_than_expected_is_refused(expected: int) -> None:
    for codec, payload in (compress(b"a" * 1000), (Codec.RAW, b"a" * 1000)):
        with pytest.raises(IntegrityError):
            decompress(payload, codec, expected, name="x")


def test_a_frame_that_does_not_state_its_size_is_refused() -> None:
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    with pytest.raises(IntegrityError):
        decompress(compressor.compress(b"a" * 1000), Codec.ZSTD, 1000, name="x")


def test_a_frame_that_announces_much_takes_no_memory() -> None:
    bomb = zstandard.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            decompress(bomb, Codec.ZSTD, 1000, name="x")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=100))
def test_garbage_is_damage_not_an_accident(garbage: bytes) -> None:
    with pytest.raises(IntegrityError):
        decompress(garbage, Codec.ZSTD, 1 << 20, name="x")


def test_a_truncated_frame_is_damage() -> None:
    _, payload = compress(b"abcdefgh" * 1000)
    with pytest.raises(IntegrityError):
        decompress(payload[:-1], Codec.ZSTD, 8000, name="x")


@pytest.mark.parametrize("codec", [2, 255, -1])
def test_an_unknown_codec_is_damage(codec: int) -> None:
    with pytest.raises(IntegrityError):
        decompress(b"data", codec, 4, name="x")
