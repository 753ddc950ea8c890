"""Zones: an IANA name with the zone data that stand behind it. No default, no host zone, no abbreviation."""

from __future__ import annotations

import difflib
import hashlib
import io
import re
import struct
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import attrs
from pendulum.tz.timezone import FixedTimezone

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import loading

ZoneLike: TypeAlias = "str | tzinfo | Zone"

_LEGACY_UTC = {"GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich", "UCT", "Universal", "Zulu"}
_HOST = {"local", "localtime", "system", "host", "default"}
_REGIONS = frozenset(
    {"Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}
)
# Asked "which zone could it be", most people mean one of these: they are named before the others.
_COMMON = (
    "Europe/London",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/Istanbul",
    "Europe/Moscow",
    "Africa/Lagos",
    "Africa/Cairo",
    "Africa/Johannesburg",
    "Africa/Nairobi",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Mexico_City",
    "America/Halifax",
    "America/Anchorage",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Asia/Seoul",
    "Asia/Singapore",
    "Asia/Dubai",
    "Asia/Karachi",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Pacific/Honolulu",
    "Europe/Lisbon",
)
# Abbreviations in use that the zone data dropped, as they were invented: no clock prints them any more.
SAID = {
    "ALMT": ("Asia/Almaty",),
    "AMST": ("America/Manaus", "Asia/Yerevan"),
    "AMT": ("America/Manaus", "Asia/Yerevan"),
    "ART": ("America/Argentina/Buenos_Aires",),
    "AZT": ("Asia/Baku",),
    "BOT": ("America/La_Paz",),
    "BRST": ("America/Sao_Paulo",),
    "BRT": ("America/Sao_Paulo",),
    "CLST": ("America/Santiago",),
    "CLT": ("America/Santiago",),
    "COT": ("America/Bogota",),
    "ECT": ("America/Guayaquil",),
    "GET": ("Asia/Tbilisi",),
    "GST": ("Asia/Dubai",),
    "ICT": ("Asia/Bangkok", "Asia/Ho_Chi_Minh"),
    "IRST": ("Asia/Tehran",),
    "MMT": ("Asia/Yangon",),
    "MYT": ("Asia/Kuala_Lumpur",),
    "NPT": ("Asia/Kathmandu",),
    "PET": ("America/Lima",),
    "PYT": ("America/Asuncion",),
    "SGT": ("Asia/Singapore",),
    "TRT": ("Europe/Istanbul",),
    "UYT": ("America/Montevideo",),
    "UZT": ("Asia/Tashkent",),
    "VET": ("America/Caracas",),
    "WAST": ("Africa/Windhoek",),
}
_OFFSET = re.compile(r"(?:UTC|GMT|Z)?\s*[+-]\d{1,2}(?::?\d{2}){0,2}", re.IGNORECASE)
_POSIX = re.compile(r"(?:[A-Za-z]{3,}|<[^>]*>)[+-]?\d.*")
_NAME = re.compile(r"[A-Za-z0-9_+\-]+(?:/[A-Za-z0-9_+\-]+)*")
_FOOTER = re.compile(rb"(?:<([^>]+)>|([A-Za-z]{3,}))[0-9:+-]+(?:<([^>]+)>|([A-Za-z]{3,}))?")


@attrs.frozen(repr=False)
class Zone:
    """An IANA zone: its name, and the zone file that every answer is computed from.

    Two zones are equal when name and file are. Get one with `zone(...)`.
    `release` is that of the zone data ("2026f"), empty where their source does not say it.
    """

    key: str
    data: bytes
    source: str = attrs.field(eq=False)
    release: str = attrs.field(eq=False)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the zone file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def tzinfo(self) -> ZoneInfo:
        """The zone as the standard library has it, read from this very file."""
        return _tzinfo(self.key, self.data)

    def __repr__(self) -> str:
        return f"zone({self.key!r})"

    def __str__(self) -> str:
        return self.key


@lru_cache(maxsize=1024)
def _tzinfo(key: str, data: bytes) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(data), key=key)


def zone(tz: ZoneLike) -> Zone:
    """The zone that is meant.

    Raises:
        ConfigurationError: it is not the name of an IANA zone, or this machine has no zone data.
    """
    if isinstance(tz, Zone):
        return tz
    return _known(_key_of(tz))


def zone_from_data(key: str, data: bytes, *, source: str, release: str = "") -> Zone:
    """A zone from the bytes of a zone file, for questions about zone data that are not this machine's.

    Raises:
        ConfigurationError: the bytes are not a zone file.
    """
    try:
        _tzinfo(key, data)
    except (
        ValueError,
        IndexError,
        EOFError,
        OSError,
        ArithmeticError,
        MemoryError,
        AssertionError,
        struct.error,
    ) as error:
        raise ConfigurationError(
            f"what stands for the zone {key} is no zone file",
            code=Code.BAD_ZONE,
            hint="Give the bytes of a compiled file, such as /usr/share/zoneinfo/Africa/Lagos.",
        ) from error
    return Zone(key, data, source, release)


def common_first(names: list[str]) -> list[str]:
    """Zone names with those first that most people mean, the others in order."""
    return sorted(names, key=lambda name: (_COMMON.index(name) if name in _COMMON else len(_COMMON), name))


@lru_cache(maxsize=1)
def places() -> tuple[str, ...]:
    """The names of all zones that are places ("Africa/Lagos"), the commonly meant ones first."""
    return tuple(common_first([name for name in loading.all_names() if name.partition("/")[0] in _REGIONS]))


def _key_of(tz: object) -> str:
    if isinstance(tz, str):
        return tz
    if isinstance(tz, ZoneInfo) and tz.key:
        return tz.key
    if tz is None:
        raise _refused("tz=None would mean the zone of whichever machine runs this")
    if isinstance(tz, timezone | FixedTimezone):
        offset = tz.utcoffset(None) or timedelta(0)
        raise _refused(
            f"{tz} is a fixed offset, not a zone: it does not say when the clocks change",
            "Write the IANA name of the place whose clock counts" + _at_offset(offset // timedelta(seconds=1)),
        )
    raise _refused(f"{tz!r} is not a zone")


def _refused(what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(
        what, code=Code.BAD_ZONE, hint=hint or 'Write the IANA name of the place whose clock counts: tz="Africa/Lagos".'
    )


@lru_cache(maxsize=1024)
def _known(key: str) -> Zone:
    _refuse_what_is_no_place(key)
    found = loading.find_zone(key) if _NAME.fullmatch(key) else None
    if found is None or (key != "UTC" and key.encode() in _abbreviations(found.data)):
        raise _unknown(key)
    return zone_from_data(key, found.data, source=found.source, release=found.release)


def _refuse_what_is_no_place(key: str) -> None:
    folded = key.casefold()
    if not key.strip():
        raise _refused("tz is empty")
    if folded in _HOST:
        raise _refused(f"{key!r} would mean the zone of whichever machine runs this")
    if folded.startswith(("posix/", "right/", "systemv/")):
        area = key.partition("/")[2]
        raise _refused(
            f"{key!r} is a second copy of the zone files, which other machines lack or read with leap seconds",
            f"Write tz={area!r}.",
        )
    if folded in ("factory", "posixrules", "etc/unknown"):
        raise _refused(f"{key!r} is a placeholder, not a zone")
    if key in ("UTC", "Etc/UTC"):
        return
    if re.fullmatch(r"etc/gmt[+-](?!0+$)\d{1,2}", folded):
        sign = "-" if "+" in key else "+"
        hours = re.split("[+-]", key)[1]
        raise _refused(
            f"{key!r} is a fixed offset with its sign turned round: it means UTC{sign}{int(hours):02}:00",
            "Write the IANA name of the place whose clock counts" + _at_offset(int(sign + hours) * 3600),
        )
    if re.fullmatch(r"[A-Z]{3}\d[A-Z]{3}", key):
        raise _refused(f"{key!r} is a POSIX TZ string, not a zone: it follows no place")
    if key in _LEGACY_UTC or (
        folded.startswith("etc/") and folded in {name.casefold() for name in loading.all_names()}
    ):
        raise _refused(f"{key!r} is an old name for a fixed offset", 'If UTC is meant, write tz="UTC".')
    if _OFFSET.fullmatch(key) or folded == "z":
        raise _refused(
            f"{key!r} is an offset, not a zone: it does not say when the clocks change",
            "Write the IANA name of the place whose clock counts" + _at_offset(_seconds(key)),
        )


def _seconds(offset: str) -> int:
    numbers = re.sub(r"[^\d]", "", offset)
    hours, minutes = (numbers[:-2], numbers[-2:]) if len(numbers) > 2 else (numbers, "")
    return (-1 if "-" in offset else 1) * (int(hours or 0) * 3600 + int(minutes or 0) * 60)


def _unknown(key: str) -> ConfigurationError:
    names = loading.all_names()
    if not names:
        return ConfigurationError(
            f"this machine has no time zone data, so that {key!r} cannot be looked up",
            code=Code.ZONE_DATA_MISSING,
            hint="Install the package tzdata: apt install tzdata, or pip install tzdata.",
        )
    printing = zones_printing(key)
    if printing and key.isalpha():
        return _refused(
            f"{key!r} is an abbreviation, not a zone: {_listed(printing)} print it", f"Did you mean tz={printing[0]!r}?"
        )
    said = SAID.get(key.upper())
    if said is not None:
        return _refused(
            f"{key!r} is an abbreviation, not a zone: people write it for {_listed(said)}",
            f"Did you mean tz={said[0]!r}?",
        )
    same = [name for name in names if name.casefold() == key.casefold()]
    if key in same:
        return _refused(f"{key!r} is an abbreviation, not a zone: no place is named so")
    if same:
        return _refused(f"there is no zone {key!r}: names are written exactly", f"Write tz={same[0]!r}.")
    if _POSIX.fullmatch(key):
        return _refused(f"{key!r} is a POSIX TZ string, not a zone: it carries rules of its own")
    close = difflib.get_close_matches(key.replace(" ", "_"), ("UTC", *places()), n=3, cutoff=0.6)
    tails = [
        name for name in places() if name.rpartition("/")[2].casefold() == key.strip().replace(" ", "_").casefold()
    ]
    meant = list(dict.fromkeys([*tails, *close]))[:3]
    return _refused(f"there is no zone {key!r}", f"Did you mean {' or '.join(map(repr, meant))}?" if meant else "")


def _listed(names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _at_offset(seconds: int) -> str:
    """The places whose clocks always show that offset, as the end of a hint."""
    hours, rest = divmod(abs(seconds), 3600)
    east = seconds > 0
    there = tuple(name for name in places() if _only_offset(name) == (-hours if east else hours, rest // 60))
    if not seconds:
        return '. For UTC write tz="UTC".'
    return f", such as {_listed(there)}." if there else "."


def _only_offset(name: str) -> tuple[int, int] | None:
    """Hours (west is positive, as POSIX counts) and minutes of a zone that changes its clocks no more."""
    found = loading.find_zone(name)
    footer = b"" if found is None else found.data.rstrip(b"\n").rpartition(b"\n")[2]
    plain = re.fullmatch(rb"(?:<[^>]+>|[A-Za-z]+)([+-]?\d+)(?::(\d+))?", footer)
    return None if plain is None else (int(plain[1]), int(plain[2] or 0))


def _abbreviations(data: bytes) -> set[bytes]:
    """What a zone prints under the rule at the end of its file, which is the one in force."""
    footer = data.rstrip(b"\n").rpartition(b"\n")[2]
    found = _FOOTER.match(footer)
    return set() if found is None else {name for name in found.groups() if name}


@lru_cache(maxsize=1)
def _printed() -> dict[str, tuple[str, ...]]:
    by_abbreviation: dict[str, list[str]] = {}
    for name in places():
        found = loading.find_zone(name)
        for printed in _abbreviations(found.data) if found is not None else ():
            by_abbreviation.setdefault(printed.decode("ascii", "replace").upper(), []).append(name)
    return {printed: tuple(common_first(names)) for printed, names in by_abbreviation.items()}


def zones_printing(abbreviation: str) -> tuple[str, ...]:
    """The places whose clocks print this abbreviation today, the commonly meant ones first."""
    return _printed().get(abbreviation.upper(), ())
