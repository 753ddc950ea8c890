"""Sizes and durations as people write and read them; pure."""

from __future__ import annotations

import re

from safebackup.errors import ConfigurationError

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", re.IGNORECASE)
_DURATION = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s?)?", re.IGNORECASE)


def parse_size(option: str, text: str) -> int:
    """Bytes: `10M` and `10MiB` are 1024 * 1024 each, `10MB` a million.

    Raises:
        ConfigurationError: it is no size, or zero.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get(match[2].lower()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size <= 0 or size >= 1 << 63:
        raise ConfigurationError(
            f"{option} {text!r} is no size", hint=f"Write a number above 0 with K, M, G or T, such as {option} 10M."
        )
    return size


def parse_duration(option: str, text: str) -> int:
    """Seconds: `90`, `90s`, `15m`, `2h`, `1h30m`, `1d`.

    Raises:
        ConfigurationError: it is no duration, or zero.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = [int(part or 0) for part in match.groups()] if match else []
    seconds = sum(part * unit for part, unit in zip(parts, _SECONDS.values(), strict=False))
    if not 0 < seconds <= 366 * 86_400:
        raise ConfigurationError(
            f"{option} {text!r} is no duration up to a year",
            hint=f"Write seconds, or minutes, hours and days, such as {option} 90m or {option} 1d12h.",
        )
    return seconds


def size_text(count: float) -> str:
    """Bytes to read: `0 B`, `999 B`, `1.5 KiB`, `12.0 GiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    units = ["KiB", "MiB", "GiB", "TiB"]
    count /= 1024
    while count >= 1023.95 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:,.1f} {units[0]}"


def duration_text(seconds: float) -> str:
    """A duration to read: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count_text(count: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
