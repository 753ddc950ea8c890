"""Manifests: the entries of one snapshot, as a tree of chunks (format.md, "Manifests").

Entries are sorted component by component on raw bytes, a directory before what is in it. They are cut into
segments where a keyed hash of a path says so, and segments are listed by nodes cut the same way, so that the tree
depends on the entries alone: however the work is split, the same entries have the same manifest id.

Change evidence (ctime, inode) lies in a second tree of the same shape, so that manifests deduplicate across
machines and restores.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import pairwise

import attrs
import msgspec
from blake3 import blake3

from safebackup.errors import Code, IntegrityError
from safebackup.findings import printable
from safebackup.format.objects import decode, encode
from safebackup.format.records import TreeRef
from safebackup.format.sealing import Buffer

SEGMENT_BITS = 8  # a path begins a segment with probability 1/256 …
NODE_BITS = 6  # … and a node of each further level with 1/64 of that
SEGMENT_BYTES_MAX = 1 << 20  # a longer segment is cut here too
NODE_REFS_MAX = 4096
TIME_BYTES = 16  # of a time that 64 bits cannot hold
INLINE_EXTENTS_MAX = 64
EXTENTS_BITS = 9
EXTENTS_MAX = 4096
TREE_LEVELS_MAX = 16

TORN = 1  # flag of an entry: it changed while it was read

Fetch = Callable[[bytes, int], Buffer]  # a metadata chunk by id and length, checked
Put = Callable[[bytes], bytes]  # stores a metadata chunk and returns its id
Content = bytes | list[int | bytes | None] | None
PathState = tuple[bytes | None, tuple[bytes, ...]]
Extent = tuple[bytes | None, int]  # chunk id, or None for a hole; number of bytes


class EntryKind(IntEnum):
    """What a path is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    CHARACTER_DEVICE = 5
    BLOCK_DEVICE = 6


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A path with its metadata; fields are only ever added at the end.

    `path` is relative, its components joined by `/`; the root directory itself is `b""`.
    `mtime` counts nanoseconds since 1970 (bytes: two's complement, where 64 bits are too few).
    """

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int | bytes
    size: int = 0
    content: bytes | list[int | bytes | None] | None = None
    target: bytes | None = None
    device: tuple[int, int] | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    link: bytes | None = None
    flags: int = 0
    digest: tuple[str, bytes] | None = None  # of the whole file: algorithm and value

    @property
    def mtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return stored_to_time(self.mtime)


def time_to_stored(nanoseconds: int) -> int | bytes:
    """An integer where 64 bits hold it, else its two's complement."""
    if -(1 << 63) <= nanoseconds < 1 << 64:
        return nanoseconds
    return nanoseconds.to_bytes(TIME_BYTES, "big", signed=True)


def stored_to_time(stored: int | bytes) -> int:
    """The reverse of `time_to_stored`."""
    return stored if isinstance(stored, int) else int.from_bytes(stored, "big", signed=True)


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Consecutive entries, and the names of those who own them."""

    users: list[tuple[int, bytes]]
    groups: list[tuple[int, bytes]]
    entries: list[Entry]


class EvidenceSegment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """For the entries of one segment, in their order: what proves that they have not changed.

    `young` numbers the entries that were too fresh to trust when they were read.
    """

    ctimes: list[int | bytes]
    inodes: list[int]
    young: list[int]


class NodeRef(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A segment or a node, in the node above it."""

    first: bytes  # path of its first entry
    entries: int
    content_bytes: int
    chunk: bytes
    chunk_bytes: int


@attrs.frozen
class PathHash:
    """Where a path begins a segment or a node; keyed, so that nobody can aim at the boundaries."""

    key: bytes = attrs.field(repr=False)

    def rank(self, path: bytes) -> int:
        """What it begins: 0 nothing, 1 a segment, 2 also a node that lists segments, 3 also one above, and so on."""
        value = int.from_bytes(blake3(path, key=self.key).digest(length=8), "big")
        if value & ((1 << SEGMENT_BITS) - 1):
            return 0
        value >>= SEGMENT_BITS
        rank = 1
        while rank < TREE_LEVELS_MAX and not value & ((1 << NODE_BITS) - 1):
            value >>= NODE_BITS
            rank += 1
        return rank


def path_key(path: bytes) -> bytes:
    """What manifests are sorted by: components compared one by one, as no name can hold a zero byte."""
    return path.replace(b"/", b"\0")


class TreeBuilder:
    """Lists chunks in nodes, level by level, while they arrive in order."""

    def __init__(self, put: Put, path_hash: PathHash) -> None:
        self._put = put
        self._hash = path_hash
        self._open: list[list[NodeRef]] = [[]]
        self.count = 0

    def add(self, ref: NodeRef, *, level: int = 0) -> None:
        """The next segment, or node of that level, in order."""
        if level == len(self._open):
            self._open.append([])
        row = self._open[level]
        if row and (len(row) >= NODE_REFS_MAX or self._hash.rank(ref.first) >= level + 2):
            self._close(level)
        self._open[level].append(ref)
        self.count += level == 0

    def _close(self, level: int) -> None:
        refs, self._open[level] = self._open[level], []
        body = encode(refs)
        self.add(
            NodeRef(
                refs[0].first,
                sum(ref.entries for ref in refs),
                sum(ref.content_bytes for ref in refs),
                self._put(body),
                len(body),
            ),
            level=level + 1,
        )

    def finish(self) -> TreeRef:
        """The root, once everything was added; there must be at least one chunk."""
        # The root is always a node, so that every segment stands in a list with its counts.
        self._close(0)
        level = 1
        while level + 1 < len(self._open) or len(self._open[level]) > 1:
            self._close(level)
            level += 1
        (root,) = self._open[level]
        return TreeRef(level, root.chunk, root.chunk_bytes)


def read_refs(fetch: Fetch, tree: TreeRef, *, start: bytes = b"", end: bytes | None = None) -> Iterator[NodeRef]:
    """The segments of a tree in order; with `start` and `end` (path keys) only those that may hold such paths.

    Costs one fetch a node.

    Raises:
        IntegrityError: a node is malformed, too deep or out of order.
    """
    if not 1 <= tree.level <= TREE_LEVELS_MAX:
        raise _malformed(f"a tree has {tree.level} levels")
    for level, ref in _walk(fetch, tree, start, end):
        if level == 0:
            yield ref


def read_nodes(fetch: Fetch, tree: TreeRef) -> Iterator[tuple[bytes, int]]:
    """Every metadata chunk of a tree, nodes and segments alike, as id and length."""
    for _, ref in _walk(fetch, tree, b"", None):
        yield ref.chunk, ref.chunk_bytes


def _walk(fetch: Fetch, tree: TreeRef, start: bytes, end: bytes | None) -> Iterator[tuple[int, NodeRef]]:
    """Nodes and segments with their levels, a node before what it lists.

    What a node lists must lie between its own first path and that of the node behind it, so that nothing can be
    listed twice: a hostile tree costs no more than its chunks.
    """
    root = NodeRef(b"", 0, 0, tree.chunk, tree.chunk_bytes)
    stack: list[tuple[int, NodeRef, bytes | None]] = [(tree.level, root, None)]
    while stack:
        level, ref, behind = stack.pop()
        yield level, ref
        if level == 0:
            continue
        children = decode(fetch(ref.chunk, ref.chunk_bytes), list[NodeRef], name="a manifest node")
        keys = [path_key(child.first) for child in children]
        if not children or (ref is not root and children[0].first != ref.first):
            raise _malformed("a manifest node does not begin where it is said to")
        if any(left >= right for left, right in pairwise([*keys, behind] if behind is not None else keys)):
            raise _malformed("a manifest node is out of order")
        listed = []
        for child, key, after in zip(children, keys, [*keys[1:], behind], strict=True):
            if (end is None or key < end) and (after is None or after > start):
                listed.append((level - 1, child, after))
        stack.extend(reversed(listed))


def require_plain(path: bytes) -> None:
    """Check that a path is relative and has no empty, `.` or `..` component.

    Raises:
        IntegrityError: it has.
    """
    if path and (b"\0" in path or not {b"", b".", b".."}.isdisjoint(path.split(b"/"))):
        raise _unsafe(path, "it is not a plain relative path")


class PathChecker:
    """Refuses manifests whose paths could leave the place that they are restored to.

    Feed it entries in order. `parents` are directories that are known to be above the first one.
    """

    def __init__(self, parents: Iterable[bytes] = ()) -> None:
        self._previous: bytes | None = None
        self._directories = [b"", *parents]

    @property
    def state(self) -> PathState:
        """What the check of later entries depends on; can be set back."""
        return self._previous, tuple(self._directories)

    @state.setter
    def state(self, state: PathState) -> None:
        self._previous, self._directories = state[0], list(state[1])

    def check(self, entry: Entry) -> None:
        """Check one entry against those before it.

        Raises:
            IntegrityError: the path is not relative and plain, not in order, or not inside a directory.
        """
        path = entry.path
        key = path.replace(b"/", b"\0")
        if self._previous is not None and key <= self._previous:
            raise _unsafe(path, "it is out of order or occurs twice")
        self._previous = key
        if path == b"":
            if entry.kind != EntryKind.DIRECTORY:
                raise _unsafe(path, "the root is no directory")
            return
        parent, _, name = path.rpartition(b"/")
        if name in (b"", b".", b"..") or b"\0" in path or path[0] == 0x2F:
            raise _unsafe(path, "it is not a plain relative path")
        directories = self._directories
        while directories and directories[-1] != parent:
            directories.pop()
        if not directories:
            raise _unsafe(path, "it does not lie in a directory of this snapshot")
        if entry.kind == EntryKind.DIRECTORY:
            directories.append(path)


def read_segment(data: Buffer, ref: NodeRef) -> Segment:
    """The entries of a segment chunk, their shapes checked, and that they are what `ref` says.

    Raises:
        IntegrityError: it is malformed.
    """
    segment = decode(data, Segment, name="a manifest segment")
    first = segment.entries[0].path if segment.entries else b""
    if (len(segment.entries), first) != (ref.entries, ref.first) or not (segment.entries or ref.first == b""):
        raise _malformed(f"a segment of {len(segment.entries)} entries is listed with {ref.entries}")
    for entry in segment.entries:
        if (
            not 1 <= entry.kind <= EntryKind.BLOCK_DEVICE
            or not 0 <= entry.mode <= 0o7777
            or not 0 <= entry.size < 1 << 63
        ):
            raise _malformed(f"{printable(entry.path)}: kind {entry.kind}, mode {entry.mode:o}, {entry.size} bytes")
        if isinstance(entry.mtime, bytes) and len(entry.mtime) != TIME_BYTES:
            raise _malformed(f"{printable(entry.path)}: its time has {len(entry.mtime)} bytes")
        if entry.kind == EntryKind.SYMLINK and not entry.target:
            raise _malformed(f"{printable(entry.path)} is a symbolic link to nowhere")
    return segment


def pack_content(extents: Sequence[Extent], put: Put) -> Content:
    """How an entry refers to its content: nothing, one chunk, up to 64 extents, or a tree of more."""
    if not extents:
        return None
    if len(extents) == 1 and extents[0][0] is not None:
        return extents[0][0]
    if len(extents) <= INLINE_EXTENTS_MAX:
        return _flat(extents)
    row: list[tuple[bytes, int, int]] = []
    for part in _cut_extents(extents):
        body = encode(_flat(part))
        row.append((put(body), len(body), sum(length for _, length in part)))
    level = 1
    while len(row) > INLINE_EXTENTS_MAX:
        level, row = level + 1, _list_nodes(level, row, put)
    return [level, *(item for triple in row for item in triple)]


def _flat(extents: Iterable[Extent]) -> list[int | bytes | None]:
    flat: list[int | bytes | None] = [0]
    for extent in extents:
        flat += extent
    return flat


def _cut_extents(extents: Sequence[Extent]) -> Iterator[Sequence[Extent]]:
    # Cut where a chunk id says so, so that an insertion at the front does not rewrite the whole list.
    start = 0
    for number, (chunk, _) in enumerate(extents, start=1):
        due = chunk is not None and not int.from_bytes(chunk[:2], "big") & ((1 << EXTENTS_BITS) - 1)
        if due or number - start == EXTENTS_MAX:
            yield extents[start:number]
            start = number
    if start < len(extents):
        yield extents[start:]


def _list_nodes(level: int, row: list[tuple[bytes, int, int]], put: Put) -> list[tuple[bytes, int, int]]:
    above = []
    for start in range(0, len(row), EXTENTS_MAX):
        part = row[start : start + EXTENTS_MAX]
        body = encode([level, *(item for triple in part for item in triple)])
        above.append((put(body), len(body), sum(length for _, _, length in part)))
    return above


def read_content(content: Content, size: int, fetch: Fetch) -> Iterator[Extent]:
    """The extents of an entry of `size` bytes, in order.

    Raises:
        IntegrityError: they are malformed, or do not add up to `size`.
    """
    if content is None:
        extents: Iterator[Extent] = iter(())
    elif isinstance(content, bytes):
        extents = iter([(content, size)])
    else:
        extents = _read_extents(content, fetch, TREE_LEVELS_MAX)
    total = 0
    for extent in extents:
        total += extent[1]
        if total > size:
            break
        yield extent
    if total != size:
        raise _malformed(f"a file of {size} bytes has content of {total} bytes or more")


def _read_extents(content: list[int | bytes | None], fetch: Fetch, level_max: int) -> Iterator[Extent]:
    level, rows = _content_rows(content, level_max)
    for chunk, length, _ in rows:
        if level == 0:
            yield chunk, length
        elif chunk is not None:
            yield from _read_extents(_content_node(chunk, length, fetch), fetch, level - 1)


def content_needs(content: Content, size: int, fetch: Fetch) -> Iterator[tuple[bool, bytes, int]]:
    """Every chunk that the content of an entry needs: whether it is a piece of metadata, its id, its length.

    A node is looked into once, however often it is listed, so that a hostile list costs no more than its chunks.

    Raises:
        IntegrityError: it is malformed, or does not add up to `size`.
    """
    if isinstance(content, bytes):
        yield False, content, size
        return
    total = 0 if content is None else (yield from _needs(content, fetch, TREE_LEVELS_MAX, {}))
    if total != size:
        raise _malformed(f"a file of {size} bytes has content of {total} bytes")


def _needs(
    content: list[int | bytes | None], fetch: Fetch, level_max: int, totals: dict[bytes, int]
) -> Generator[tuple[bool, bytes, int], None, int]:
    level, rows = _content_rows(content, level_max)
    total = 0
    for chunk, length, span in rows:
        if level == 0:
            if chunk is not None:
                yield False, chunk, length
        elif chunk is not None:
            if chunk not in totals:
                yield True, chunk, length
                totals[chunk] = yield from _needs(_content_node(chunk, length, fetch), fetch, level - 1, totals)
            if totals[chunk] != span:
                raise _malformed("a node of extents holds another number of bytes than it is listed with")
        total += span
    return total


def _content_node(chunk: bytes, length: int, fetch: Fetch) -> list[int | bytes | None]:
    return decode(fetch(chunk, length), list[int | bytes | None], name="a node of extents")


def _content_rows(content: list[int | bytes | None], level_max: int) -> tuple[int, list[tuple[bytes | None, int, int]]]:
    """The level of a list of extents, and its rows: chunk, its bytes, bytes of the file that it stands for."""
    level, items = content[0] if content else None, content[1:]
    if not isinstance(level, int) or not 0 <= level <= level_max:
        raise _malformed("a list of extents has no possible level")
    width = 2 if level == 0 else 3
    if not items or len(items) % width:
        raise _malformed("a list of extents has the wrong shape")
    rows: list[tuple[bytes | None, int, int]] = []
    for start in range(0, len(items), width):
        chunk, length, span = items[start], items[start + 1], items[start + width - 1]
        if not isinstance(length, int) or not isinstance(span, int) or length <= 0 or span <= 0:
            raise _malformed("an extent has no possible length")
        if isinstance(chunk, int) or (chunk is None and level > 0):
            raise _malformed("an extent has no possible id")
        rows.append((chunk, length, span))
    return level, rows


def _malformed(why: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest is malformed: {why}",
        code=Code.DAMAGED_MANIFEST,
        hint='Run verify(repository, level="full"); restore another snapshot, or from a copy of the repository.',
    )


def _unsafe(path: bytes, why: str) -> IntegrityError:
    return IntegrityError(
        f"the manifest names {printable(path) or 'the root'!r}: {why}",
        code=Code.UNSAFE_PATH,
        hint="Nothing was written there. Somebody made this snapshot by hand: do not trust the repository.",
    )
