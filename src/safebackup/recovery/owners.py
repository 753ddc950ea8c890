"""Owners: which user and group of this machine a restored path gets."""

from __future__ import annotations

import grp
import os
import pwd
from enum import StrEnum

from safebackup.format.manifest import Entry, Segment
from safebackup.recovery.placing import Owner


class Owners(StrEnum):
    """How recorded owners are found on this machine."""

    NAMES = "names"  # by name, and by number where this machine knows no such name
    IDS = "ids"  # by number alone


class OwnerMap:
    """Maps recorded owners to this machine's; each name is looked up once."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._users: dict[tuple[int, bytes], int] = {}
        self._groups: dict[tuple[int, bytes], int] = {}
        self._segment: Segment | None = None
        self._user_names: dict[int, bytes] = {}
        self._group_names: dict[int, bytes] = {}

    def of(self, entry: Entry, segment: Segment) -> Owner:
        """The owner of an entry of `segment`."""
        if self._owners is Owners.IDS:
            return Owner(entry.uid, entry.gid)
        if segment is not self._segment:
            self._segment = segment
            self._user_names, self._group_names = dict(segment.users), dict(segment.groups)
        user = (entry.uid, self._user_names.get(entry.uid, b""))
        group = (entry.gid, self._group_names.get(entry.gid, b""))
        if user not in self._users:
            self._users[user] = _user(*user)
        if group not in self._groups:
            self._groups[group] = _group(*group)
        return Owner(self._users[user], self._groups[group])


def _user(uid: int, name: bytes) -> int:
    try:
        return pwd.getpwnam(os.fsdecode(name)).pw_uid if name else uid
    except (KeyError, ValueError):
        return uid


def _group(gid: int, name: bytes) -> int:
    try:
        return grp.getgrnam(os.fsdecode(name)).gr_gid if name else gid
    except (KeyError, ValueError):
        return gid
