"""Sizes and durations: read as they are meant, or refused with an example."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.cli.sizes import count_text, duration_text, parse_duration, parse_size, size_text
from safebackup.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512", 512),
        ("512b", 512),
        ("10K", 10240),
        ("10k", 10240),
        ("1.5M", 1572864),
        ("10MiB", 10485760),
        ("10MB", 10_000_000),
        ("2 G", 2 << 30),
        ("1T", 1 << 40),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size("--limit", text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "10X", "10Mbit", "1e3", "M", "٣", "1,5M", "9999999T", "10M/s"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--limit") as caught:
        parse_size("--limit", text)

    assert "--limit 10M" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1d12h", 129_600), ("1d1h1m1s", 90_061)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration("--deadline", text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "-5", "soon", "2h 30m", "30m2h", "1.5h", "2y", "400d", "٣h", "h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--deadline") as caught:
        parse_duration("--deadline", text)

    assert "--deadline 90m" in caught.value.hint


@given(st.text(max_size=12))
def test_no_text_brings_another_error(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with contextlib.suppress(ConfigurationError):
            assert parse("--x", text) > 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (1536, "1.5 KiB"),
        (5 << 30, "5.0 GiB"),
        (5000 << 40, "5,000.0 TiB"),
    ],
)
def test_a_size_to_read(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_duration_to_read(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_one_is_singular() -> None:
    assert (count_text(1, "file"), count_text(2000, "file")) == ("1 file", "2,000 files")
