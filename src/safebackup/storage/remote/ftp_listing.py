"""Listings as FTP servers write them: MLSD, which is specified, and LIST as `ls -l` prints it, which is not.

What is not understood raises, as a listing that leaves something out is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum

import attrs

_LIST_LINE = re.compile(
    r"(?P<kind>[-dlps])[-rwxsStTlL]{9}\S?\s+\d+\s+\S+\s+\S+\s+(?P<size>\d+)\s+"
    r"\w{3}\s+\d{1,2}\s+(?:\d{4}|\d{1,2}:\d{2}) (?P<name>.+)",
    re.DOTALL,
)
_LIST_TOTAL = re.compile(r"total\s+\d+", re.IGNORECASE)


class UnclearListingError(Exception):
    """A listing that says something which is not understood."""


class Kind(StrEnum):
    """What is in a folder."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"  # to a file, to a folder, or to nothing
    OTHER = "other"


@attrs.frozen
class Member:
    """One thing in a folder; `modified` is nanoseconds since 1970."""

    name: str
    kind: Kind
    size_bytes: int | None = None
    modified: int | None = None


_LIST_KINDS = {"-": Kind.FILE, "d": Kind.FOLDER, "l": Kind.LINK}
_MLSD_KINDS = {"file": Kind.FILE, "dir": Kind.FOLDER}


def members_of_mlsd(lines: Iterable[str]) -> list[Member]:
    """What is in a folder, without the folder itself and the one above it."""
    members = []
    for line in lines:
        told, _, name = line.partition(" ")
        facts = {fact.lower(): value for fact, _, value in (each.partition("=") for each in told.split(";"))}
        kind = facts.get("type", "").lower()
        if kind in ("cdir", "pdir") or name in (".", ".."):
            continue
        if not kind:
            raise UnclearListingError(f"the server lists {line!r}, without a type")
        link = Kind.LINK if kind.startswith(("os.unix=slink", "os.unix=symlink")) else Kind.OTHER
        size = facts.get("size", "")
        members.append(
            Member(
                _plain(name, line),
                _MLSD_KINDS.get(kind, link),
                int(size) if re.fullmatch(r"[0-9]+", size) else None,
                modified_of(facts.get("modify", "")),
            )
        )
    return members


def members_of_list(lines: Iterable[str]) -> list[Member]:
    """What is in a folder, from a listing that has to begin with the folder itself (`LIST -a`).

    A folder that may not be read is listed as an empty one by some servers, and "." is missing there too. Times have no
    zone, and are not used.
    """
    members = []
    is_itself_there = False
    for line in lines:
        if _LIST_TOTAL.fullmatch(line):
            continue
        found = _LIST_LINE.fullmatch(line)
        if found is None:
            raise UnclearListingError(f"the server lists {line!r}, which is not understood")
        name = found["name"]
        kind = _LIST_KINDS.get(found["kind"], Kind.OTHER)
        if kind is Kind.LINK:
            name = name.partition(" -> ")[0]
        if name == ".":
            is_itself_there = True
        if name not in (".", ".."):
            members.append(Member(_plain(name, line), kind, int(found["size"]) if kind is Kind.FILE else None))
    if not is_itself_there:
        raise UnclearListingError("a listing lacks '.', so that it may not be whole: may the folder be read?")
    return members


def _plain(name: str, line: str) -> str:
    if not name or "/" in name or "\0" in name:
        raise UnclearListingError(f"the server lists {line!r}, which has no file's name")
    return name


def modified_of(text: str) -> int | None:
    """A time as MLSD and MDTM write it, in nanoseconds since 1970; None if it makes no sense."""
    digits, _, fraction = text.partition(".")
    with suppress(ValueError):
        seconds = int(datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
        return seconds * 10**9 + int(f"{fraction:0<9}"[:9])
    return None
