"""Where zone data come from: the only part of `safebackup.schedule` that reads files.

The order is that of `zoneinfo`: the system's folders first, then the `tzdata` package. So a newer `tzdata` package
changes nothing on a machine whose system has zone files of its own.
"""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path

import attrs

_MAGIC = b"TZif"


@attrs.frozen
class ZoneFile:
    """The bytes of one zone file, where they were found, and the release of the zone data there.

    `release` is empty where that place does not say it.
    """

    data: bytes
    source: str
    release: str


@attrs.frozen
class _Place:
    root: Traversable
    source: str


@lru_cache(maxsize=1)
def _package() -> Traversable | None:
    try:
        import_module("tzdata")
        return resources.files("tzdata") / "zoneinfo"
    except ModuleNotFoundError:
        return None


def _places() -> list[_Place]:
    places = [_Place(Path(folder), folder) for folder in zoneinfo.TZPATH]
    package = _package()
    return places if package is None else [*places, _Place(package, "the tzdata package")]


@lru_cache(maxsize=4096)
def _names_in(source: str, folder: tuple[str, ...]) -> frozenset[str]:
    """What a folder of one place lists; reading by name alone would accept any case on some file systems."""
    place = next(place for place in _places() if place.source == source)
    try:
        return frozenset(entry.name for entry in place.root.joinpath(*folder).iterdir())
    except OSError:
        return frozenset()


def find_zone(key: str) -> ZoneFile | None:
    """The zone file of an IANA name, spelled exactly so; None where no place has it."""
    parts = tuple(key.split("/"))
    for place in _places():
        if not all(part in _names_in(place.source, parts[:depth]) for depth, part in enumerate(parts)):
            continue
        try:
            data = place.root.joinpath(*parts).read_bytes()
        except OSError:  # a folder, or unreadable: another place may have it
            continue
        if data.startswith(_MAGIC):
            return ZoneFile(data, place.source, _release(place.source))
    return None


@lru_cache(maxsize=64)
def _release(source: str) -> str:
    place = next(place for place in _places() if place.source == source)
    if not isinstance(place.root, Path):
        return str(getattr(import_module("tzdata"), "IANA_VERSION", ""))
    try:
        with (place.root / "tzdata.zi").open(encoding="utf-8") as lines:
            first = lines.readline().split()
        if first[:2] == ["#", "version"]:
            return first[2]
    except (OSError, UnicodeDecodeError, IndexError):
        pass
    try:
        return (place.root / "+VERSION").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@lru_cache(maxsize=1)
def all_names() -> frozenset[str]:
    """Every zone name on this machine, as it is written; empty without zone data. Reads some 600 files."""
    return frozenset(zoneinfo.available_timezones())
