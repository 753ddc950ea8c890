"""Which entries a restore is about."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError
from safebackup.findings import printable
from safebackup.format.manifest import Entry, Segment, path_key
from safebackup.repository import Snapshot
from safebackup.repository.manifests import Manifests
from safebackup.repository.selecting import not_in_snapshot, path_in_snapshot

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


@attrs.frozen
class Selected:
    """An entry that is wanted, with the segment that knows its owners' names."""

    entry: Entry
    segment: Segment


class Selection:
    """The entries that a restore is about, in manifest order; directories above selected paths come first."""

    def __init__(self, manifests: Manifests, snapshot: Snapshot, paths: Iterable[AnyPath] | None) -> None:
        self._manifests = manifests
        self._tree = snapshot.body.manifest
        self._above: list[Selected] = []
        self._paths: list[bytes] | None = None
        self.files = snapshot.files  # at most
        if paths is not None:
            self._paths = self._resolve(snapshot, [paths] if isinstance(paths, str | bytes | os.PathLike) else paths)

    def __iter__(self) -> Iterator[Selected]:
        above = {one.entry.path: one for one in self._above}
        for path in self._paths if self._paths is not None else [None]:
            for parent in _parents(path or b""):
                if parent in above:
                    yield above.pop(parent)
            for segment, entries in self._manifests.segments(self._tree, below=path):
                for entry in entries:
                    yield Selected(entry, segment)

    def _resolve(self, snapshot: Snapshot, paths: Iterable[AnyPath]) -> list[bytes]:
        if not isinstance(paths, Iterable):
            raise ConfigurationError(f"paths={paths!r} is no list of paths", hint='For example paths=["etc/hosts"].')
        wanted = sorted({path_in_snapshot(path) for path in paths}, key=path_key)
        if not wanted:
            raise ConfigurationError("paths is empty: nothing was selected", hint="Leave it out to restore everything.")
        chosen: list[bytes] = []
        for path in wanted:
            if path == b"":
                return [b""]
            if chosen and path_key(path).startswith(path_key(chosen[-1]) + b"\0"):
                continue
            if self._manifests.find(self._tree, path) is None:
                raise not_in_snapshot(path, snapshot.id, snapshot.body)
            chosen.append(path)
        for path in chosen:
            for parent in _parents(path):
                if all(parent != one.entry.path for one in self._above):
                    self._add_above(parent)
        return chosen

    def _add_above(self, parent: bytes) -> None:
        found = self._manifests.find(self._tree, parent)
        if found is not None:
            self._above.append(Selected(found[1], found[0]))
        elif parent:
            raise IntegrityError(
                f"the manifest lacks the directory {printable(parent)} of a path in it", code=Code.DAMAGED_MANIFEST
            )


def _parents(path: bytes) -> list[bytes]:
    if path == b"":
        return []
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(len(parts))]
