"""The last snapshot and the new manifest, side by side, in bounded memory.

`Previous` walks the parent's entries in step with the scan. `ManifestBuilder` cuts the new entries into segments;
a segment in which nothing changed is not even encoded, its chunk is used again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain
from typing import Protocol

import attrs

from safebackup.backup.metadata import Owners
from safebackup.errors import ConfigurationError, IntegrityError
from safebackup.format.manifest import (
    SEGMENT_BYTES_MAX,
    Entry,
    EvidenceSegment,
    NodeRef,
    Segment,
    TreeBuilder,
    path_key,
)
from safebackup.format.objects import encode
from safebackup.format.records import SnapshotBody
from safebackup.repository.committing import Trees
from safebackup.repository.manifests import Manifests, require_same_shape
from safebackup.repository.requesting import one_ahead
from safebackup.repository.writing import Writer

SEGMENT_ENTRIES_MAX = 4096
_WINDOW_BYTES = 8 << 20  # of segments that are fetched together; twice that is under way


@attrs.frozen(eq=False)
class KnownSegment:
    """A segment of the parent, with the evidence for its entries."""

    ref: NodeRef
    evidence_ref: NodeRef
    users: list[tuple[int, bytes]]
    groups: list[tuple[int, bytes]]
    entries: list[Entry]
    ctimes: list[int | bytes]
    inodes: list[int]
    young: frozenset[int]


@attrs.frozen(eq=False)
class Known:
    """An entry of the parent and where it stands."""

    segment: KnownSegment
    number: int

    @property
    def entry(self) -> Entry:
        """The entry itself."""
        return self.segment.entries[self.number]


class Previous:
    """A cursor over the parent's entries, asked for paths in manifest order.

    Where the parent cannot be read its entries count as unknown, so that their files are read again:
    a damaged snapshot heals in the next one. `problems` says what could not be read.
    """

    def __init__(self, manifests: Manifests, parent: SnapshotBody | None) -> None:
        self.problems: list[IntegrityError] = []
        self.removed = 0
        self._segments = self._read(manifests, parent)
        self._segment: KnownSegment | None = next(self._segments, None)
        self._number = 0

    def at(self, path: bytes) -> Known | None:
        """What the parent knows of `path`; later calls must name later paths."""
        segment = self._segment
        if segment is not None and segment.entries[self._number].path == path:
            return self._take(segment)
        key = path_key(path)
        while (segment := self._segment) is not None:
            entry = segment.entries[self._number]
            if entry.path == path:
                return self._take(segment)
            if path_key(entry.path) > key:
                return None
            self.removed += 1
            self._advance(segment)
        return None

    def close(self) -> None:
        """Read no further, whatever is under way."""
        self._segments.close()

    def finish(self) -> None:
        """Count what the parent has behind the last path as removed."""
        while (segment := self._segment) is not None:
            self.removed += 1
            self._advance(segment)

    def _take(self, segment: KnownSegment) -> Known:
        known = Known(segment, self._number)
        self._advance(segment)
        return known

    def _advance(self, segment: KnownSegment) -> None:
        self._number += 1
        if self._number == len(segment.entries):
            self._number = 0
            self._segment = next(self._segments, None)

    def _read(self, manifests: Manifests, parent: SnapshotBody | None) -> Generator[KnownSegment, None, None]:
        if parent is None:
            return
        store = manifests.reader.store
        manifests.read_roots_ahead(parent.manifest, parent.evidence)
        # The next window is fetched while the scan is in this one: over a network the scan never waits for a segment.
        windows = self._windows(manifests, parent)
        for window in one_ahead(store, lambda pairs: manifests.read_ahead(chain(*pairs)), windows):
            for ref, evidence_ref in window:
                try:
                    segment, evidence = manifests.segment(ref), manifests.evidence(evidence_ref)
                    require_same_shape(segment, evidence)
                except IntegrityError as problem:
                    self.problems.append(problem)
                    continue
                if segment.entries:
                    yield KnownSegment(
                        ref,
                        evidence_ref,
                        segment.users,
                        segment.groups,
                        segment.entries,
                        evidence.ctimes,
                        evidence.inodes,
                        frozenset(evidence.young),
                    )

    def _windows(self, manifests: Manifests, parent: SnapshotBody) -> Iterator[list[tuple[NodeRef, NodeRef]]]:
        """Segments with their evidence, some MiB at a time."""
        window: list[tuple[NodeRef, NodeRef]] = []
        size_bytes = 0
        try:
            for pair in zip(manifests.refs(parent.manifest), manifests.refs(parent.evidence), strict=True):
                window.append(pair)
                size_bytes += sum(ref.chunk_bytes for ref in pair)
                if size_bytes >= _WINDOW_BYTES:
                    yield window
                    window, size_bytes = [], 0
        except ConfigurationError:
            raise
        except (IntegrityError, ValueError) as problem:
            found = problem if isinstance(problem, IntegrityError) else IntegrityError(f"the evidence tree: {problem}")
            self.problems.append(found)
        yield window


@attrs.define
class _OpenSegment:
    entries: list[Entry] = attrs.field(factory=list)
    ctimes: list[int | bytes] = attrs.field(factory=list)
    inodes: list[int] = attrs.field(factory=list)
    young: list[int] = attrs.field(factory=list)
    weight: int = 0
    # The parent's segment that all entries so far repeat from its beginning, and whether their evidence does too.
    repeats: KnownSegment | None = None
    evidence_repeats: bool = True


class EntrySink(Protocol):
    """Who takes finished entries from the pipeline."""

    def add(
        self,
        entry: Entry,
        *,
        ctime: int | bytes,
        inode: int,
        young: bool,
        known: Known | None,
        same_evidence: bool,
    ) -> None:
        """The next entry; `known` if the parent has exactly it, `same_evidence` if the evidence for it too."""
        ...


class ManifestBuilder:
    """Cuts entries into segments and lists them; what it builds depends on the entries alone."""

    def __init__(self, writer: Writer, owners: Owners, *, lost: frozenset[bytes] = frozenset()) -> None:
        self._writer = writer
        self._owners = owners
        self._lost = lost
        self._hash = writer.ids.path_hash
        self._manifest = TreeBuilder(writer.put_metadata, self._hash)
        self._evidence = TreeBuilder(writer.put_metadata, self._hash)
        self._open = _OpenSegment()

    def add(
        self,
        entry: Entry,
        *,
        ctime: int | bytes,
        inode: int,
        young: bool,
        known: Known | None,
        same_evidence: bool,
    ) -> None:
        """The next entry; `known` if the parent has exactly it, `same_evidence` if the evidence for it too."""
        segment = self._open
        number = len(segment.entries)
        weight = len(entry.path) + 64
        if entry.content.__class__ is list or entry.xattrs or entry.target:
            weight += _extra_weight(entry)
        begins = (known is None or known.number == 0) and self._hash.rank(entry.path) > 0
        if number and (begins or number == SEGMENT_ENTRIES_MAX or segment.weight + weight > SEGMENT_BYTES_MAX):
            self._close()
            segment, number = self._open, 0
        if number == 0:
            segment.repeats = known.segment if known is not None and known.number == 0 else None
        elif segment.repeats is not None and (
            known is None or known.segment is not segment.repeats or known.number != number
        ):
            segment.repeats = None
        segment.entries.append(entry)
        segment.ctimes.append(ctime)
        segment.inodes.append(inode)
        if young:
            segment.young.append(number)
        segment.weight += weight
        if not same_evidence:
            segment.evidence_repeats = False

    def finish(self) -> Trees:
        """The roots, once everything was added."""
        if self._open.entries or self._manifest.count == 0:
            self._close()
        return Trees(manifest=self._manifest.finish(), evidence=self._evidence.finish())

    def _close(self) -> None:
        segment, self._open = self._open, _OpenSegment()
        first = segment.entries[0].path if segment.entries else b""
        size = sum(entry.size for entry in segment.entries)
        known = segment.repeats
        whole = known is not None and len(known.entries) == len(segment.entries)
        if known is not None and whole and known.ref.chunk not in self._lost and self._same_names(known):
            chunk, length = known.ref.chunk, known.ref.chunk_bytes
        else:
            chunk, length = self._put(self._encoded(segment))
        self._manifest.add(NodeRef(first, len(segment.entries), size, chunk, length))
        if known is not None and whole and segment.evidence_repeats and known.evidence_ref.chunk not in self._lost:
            chunk, length = known.evidence_ref.chunk, known.evidence_ref.chunk_bytes
        else:
            chunk, length = self._put(encode(EvidenceSegment(segment.ctimes, segment.inodes, segment.young)))
        self._evidence.add(NodeRef(first, len(segment.entries), 0, chunk, length))

    def _same_names(self, known: KnownSegment) -> bool:
        return all(self._owners.user(uid) == name for uid, name in known.users) and all(
            self._owners.group(gid) == name for gid, name in known.groups
        )

    def _put(self, data: bytes) -> tuple[bytes, int]:
        return self._writer.put_metadata(data), len(data)

    def _encoded(self, segment: _OpenSegment) -> bytes:
        uids = sorted({entry.uid for entry in segment.entries})
        gids = sorted({entry.gid for entry in segment.entries})
        return encode(
            Segment(
                [(uid, self._owners.user(uid)) for uid in uids],
                [(gid, self._owners.group(gid)) for gid in gids],
                segment.entries,
            )
        )


def _extra_weight(entry: Entry) -> int:
    content = len(entry.content) * 24 if isinstance(entry.content, list) else 0
    return content + len(entry.target or b"") + sum(len(name) + len(value) + 8 for name, value in entry.xattrs)
