"""Walking manifests: from the root of a tree to segments, entries and every chunk that a snapshot needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from safebackup.errors import Code, IntegrityError
from safebackup.findings import printable
from safebackup.format.header import Kind, damaged
from safebackup.format.manifest import (
    TIME_BYTES,
    Entry,
    EntryKind,
    EvidenceSegment,
    NodeRef,
    PathChecker,
    Segment,
    content_needs,
    path_key,
    read_content,
    read_nodes,
    read_refs,
    read_segment,
    require_plain,
)
from safebackup.format.objects import decode
from safebackup.format.records import TreeRef
from safebackup.repository.reading import ChunkReader


@attrs.frozen
class Manifests:
    """Reads trees of manifest chunks; every chunk is checked against its id."""

    reader: ChunkReader

    def refs(self, tree: TreeRef, *, start: bytes = b"", end: bytes | None = None) -> Iterator[NodeRef]:
        """The segments of a tree in order; between two path keys, if given."""
        return read_refs(self.reader.read_metadata, tree, start=start, end=end)

    def read_ahead(self, refs: Iterable[NodeRef]) -> None:
        """Fetch segments or evidence that will be read soon, with few requests."""
        self.reader.read_ahead(ref.chunk for ref in refs)

    def read_roots_ahead(self, *trees: TreeRef) -> None:
        """Fetch what was put last of trees, and what was put just before: of small trees all that is new in them."""
        self.reader.read_ahead((tree.chunk for tree in trees), from_start=True)

    def segment(self, ref: NodeRef) -> Segment:
        """The entries of one segment, which must be what the node above it says."""
        return read_segment(self.reader.read_metadata(ref.chunk, ref.chunk_bytes), ref)

    def evidence(self, ref: NodeRef) -> EvidenceSegment:
        """The change evidence of one segment."""
        return decode(self.reader.read_metadata(ref.chunk, ref.chunk_bytes), EvidenceSegment, name="change evidence")

    def segments(self, tree: TreeRef, *, below: bytes | None = None) -> Iterator[tuple[Segment, list[Entry]]]:
        """Segments with those of their entries that are wanted: all, or `below` and what is in it.

        Paths are checked, so that what comes from here can be restored safely.

        Raises:
            IntegrityError: a chunk is damaged, or a path could leave its place.
        """
        if below is None or below == b"":
            checker = PathChecker()
            for ref in self.refs(tree):
                segment = self.segment(ref)
                for entry in segment.entries:
                    checker.check(entry)
                yield segment, segment.entries
            return
        require_plain(below)
        start, inside = path_key(below), path_key(below) + b"\0"
        checker = PathChecker(self._parents_of(tree, below))
        for ref in self.refs(tree, start=start, end=start + b"\1"):
            segment = self.segment(ref)
            wanted = [
                entry for entry in segment.entries if entry.path == below or path_key(entry.path).startswith(inside)
            ]
            for entry in wanted:
                checker.check(entry)
            if wanted:
                yield segment, wanted

    def find(self, tree: TreeRef, path: bytes) -> tuple[Segment, Entry] | None:
        """One entry, by a few reads."""
        require_plain(path)
        key = path_key(path)
        for ref in self.refs(tree, start=key, end=key + b"\0"):
            segment = self.segment(ref)
            for entry in segment.entries:
                if entry.path == path:
                    return segment, entry
        return None

    def _parents_of(self, tree: TreeRef, path: bytes) -> list[bytes]:
        parents = []
        parent = path.rpartition(b"/")[0]
        while parent:
            found = self.find(tree, parent)
            if found is None or found[1].kind != EntryKind.DIRECTORY:
                raise IntegrityError(
                    f"the manifest has {printable(path)} but not its directory {printable(parent)}",
                    code=Code.UNSAFE_PATH,
                )
            parents.append(parent)
            parent = parent.rpartition(b"/")[0]
        return parents[::-1]

    def needs(self, *trees: TreeRef) -> Iterator[tuple[Kind, bytes, int]]:
        """Every chunk that trees of entries need: kind of pack, id, length; some come twice."""
        manifest, *others = trees
        for tree in others:
            for chunk, length in read_nodes(self.reader.read_metadata, tree):
                yield Kind.METADATA_PACK, chunk, length
        for chunk, length in read_nodes(self.reader.read_metadata, manifest):
            yield Kind.METADATA_PACK, chunk, length
        for ref in self.refs(manifest):
            for entry in self.segment(ref).entries:
                yield from self.entry_needs(entry)

    def entry_needs(self, entry: Entry) -> Iterator[tuple[Kind, bytes, int]]:
        """Every chunk that the content of one entry needs."""
        for is_metadata, chunk, length in content_needs(entry.content, entry.size, self.reader.read_metadata):
            yield Kind.METADATA_PACK if is_metadata else Kind.DATA_PACK, chunk, length

    def extents(self, entry: Entry) -> Iterator[tuple[bytes | None, int]]:
        """The pieces of a file in order: chunk id or None for a hole, and length."""
        return read_content(entry.content, entry.size, self.reader.read_metadata)


def require_same_shape(segment: Segment, evidence: EvidenceSegment) -> None:
    """Check that evidence belongs to a segment.

    Raises:
        IntegrityError: it has another number of rows.
    """
    count = len(segment.entries)
    odd = any(isinstance(ctime, bytes) and len(ctime) != TIME_BYTES for ctime in evidence.ctimes)
    odd = odd or any(not 0 <= number < count for number in evidence.young)
    if odd or not len(evidence.ctimes) == len(evidence.inodes) == count:
        raise damaged("change evidence", "it does not match its segment")
