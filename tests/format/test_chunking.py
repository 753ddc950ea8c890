"""Chunking: a slow second implementation, from format.md alone, cuts where ours cuts."""

from __future__ import annotations

import hashlib
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.format.chunking import CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Chunker

SMALL = (64, 256, 1024)
MEDIUM = (64, 4096, 16384)  # masks up to bit 47, as the sizes in use have
SEEDS = (0, 1, 0x0123456789AB, (1 << 48) - 1)

# From the page: a strict mask of one bit more than the average size has, a loose one of one bit less.
STRICT = {256: 0x19000353000, 1000: 0xD90003530000, 4096: 0xD90303530000, 1 << 20: 0xD91767537000}
LOOSE = {256: 0x18035100, 1000: 0x19000353000, 4096: 0xD90003530000, 1 << 20: 0xD91707537000}
GEAR = [int(hashlib.md5(bytes(64 * [value])).hexdigest()[:16], 16) for value in range(256)]


def slow_cuts(data: bytes, seed: int, least: int, average: int, most: int) -> list[int]:
    """The lengths of all chunks, as the page says it."""
    lengths = []
    start = 0
    while len(data) - start > least:
        left = min(len(data) - start, most)
        switch = min(average, left) & ~1
        window = 0
        for offset in range(least & ~1, left & ~1):
            window = (window << 1) + (GEAR[data[start + offset]] ^ seed) & 0xFFFF_FFFF_FFFF_FFFF
            if not window & (STRICT if offset < switch else LOOSE)[average]:
                left = offset
                break
        lengths.append(left)
        start += left
    return [*lengths, len(data) - start] if start < len(data) else lengths


def cuts(data: bytes, seed: int, least: int, average: int, most: int) -> list[int]:
    chunker = Chunker(seed=seed, bytes_min=least, bytes_average=average, bytes_max=most)
    return [len(chunk) for chunk in chunker.cut(memoryview(data), last=True)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", [SMALL, (65, 256, 1025), (257, 1000, 3999), (1024, 4096, 16384), (64, 256, 1 << 14)])
def test_cuts_are_those_of_the_page_on_random_data(seed: int, sizes: tuple[int, int, int]) -> None:
    data = random.Random(seed).randbytes(60_001)
    assert cuts(data, seed, *sizes) == slow_cuts(data, seed, *sizes)


def test_cuts_are_those_of_the_page_at_the_sizes_in_use() -> None:
    sizes = (CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX)
    data = random.Random("large").randbytes(3_000_001)
    expected = slow_cuts(data, SEEDS[2], *sizes)
    assert len(expected) > 1
    assert cuts(data, SEEDS[2], *sizes) == expected


@pytest.mark.parametrize(
    "data", [bytes(5000), b"\xff" * 5001, b"ab" * 3000, bytes(range(256)) * 20, b"line\n" * 1500, b"\0" * 64, b"x"]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_cuts_are_those_of_the_page_on_patterned_data(data: bytes, seed: int) -> None:
    assert cuts(data, seed, *SMALL) == slow_cuts(data, seed, *SMALL)


@given(st.binary(max_size=3000), st.integers(0, (1 << 48) - 1))
def test_cuts_are_those_of_the_page_on_any_data(data: bytes, seed: int) -> None:
    assert cuts(data, seed, *SMALL) == slow_cuts(data, seed, *SMALL)


@given(st.integers(0, 2000), st.integers(0, 1 << 32))
def test_chunks_make_up_the_data_and_keep_their_bounds(size: int, seed: int) -> None:
    data = random.Random(seed).randbytes(size)
    chunks = list(Chunker(seed=seed, bytes_min=64, bytes_average=256, bytes_max=1024).cut(memoryview(data), last=True))
    assert b"".join(chunks) == data
    assert all(64 <= len(chunk) <= 1024 for chunk in chunks[:-1])


@pytest.mark.parametrize("window", [1500, 2048, 5000, 1 << 16])
def test_cuts_do_not_depend_on_how_much_is_in_sight(window: int) -> None:
    data = random.Random("stream").randbytes(40_000)
    chunker = Chunker(seed=5, bytes_min=64, bytes_average=256, bytes_max=1024)
    found: list[int] = []
    start = 0
    while start < len(data):
        view = memoryview(data)[start : start + window]
        lengths = [len(chunk) for chunk in chunker.cut(view, last=start + window >= len(data))]
        assert lengths
        found += lengths
        start += sum(lengths)
    assert found == cuts(data, 5, *SMALL)


def test_a_change_moves_no_cut_far_behind_it() -> None:
    data = random.Random("change").randbytes(200_000)
    before = set(accumulate(cuts(data, 0, *SMALL)))
    after = set(accumulate(cuts(data[:1000] + b"!" + data[1000:], 0, *SMALL)))
    assert {cut + 1 for cut in before if cut > 10_000} == {cut for cut in after if cut > 10_001}


@pytest.mark.parametrize("bit", range(48))
def test_each_of_the_48_bits_of_a_seed_has_an_effect(bit: int) -> None:
    data = random.Random("bits").randbytes(200_000)
    assert cuts(data, 1 << bit, *MEDIUM) != cuts(data, 0, *MEDIUM)


@pytest.mark.parametrize("bit", range(48, 63))
def test_no_other_bit_of_a_seed_has_an_effect(bit: int) -> None:
    data = random.Random("bits").randbytes(200_000)
    assert cuts(data, 1 << bit | 3, *MEDIUM) == cuts(data, 3, *MEDIUM)


def test_a_chunker_does_not_show_its_seed() -> None:
    assert "1234" not in repr(Chunker(seed=1234))
