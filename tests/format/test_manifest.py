"""Manifests: the same entries make the same tree, and nothing that is read can leave its place."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, IntegrityError
from safebackup.format.manifest import (
    EXTENTS_MAX,
    INLINE_EXTENTS_MAX,
    NODE_REFS_MAX,
    TIME_BYTES,
    TREE_LEVELS_MAX,
    Content,
    Entry,
    EntryKind,
    Extent,
    NodeRef,
    PathChecker,
    PathHash,
    Segment,
    TreeBuilder,
    content_needs,
    pack_content,
    path_key,
    read_content,
    read_nodes,
    read_refs,
    read_segment,
    require_plain,
    stored_to_time,
    time_to_stored,
)
from safebackup.format.objects import decode, encode
from safebackup.format.records import TreeRef

KEY = b"k" * 32
HASH = PathHash(KEY)


class Chunks(dict[bytes, bytes]):
    """A store of metadata chunks in memory."""

    def put(self, data: bytes) -> bytes:
        chunk_id = blake3(data).digest()
        self[chunk_id] = data
        return chunk_id

    def fetch(self, chunk_id: bytes, length: int) -> bytes:
        assert len(self[chunk_id]) == length
        return self[chunk_id]


# Times and order


@given(st.integers(-(1 << 127), (1 << 127) - 1))
def test_any_time_is_read_as_it_was_stored(time: int) -> None:
    stored = time_to_stored(time)
    assert stored_to_time(decode(encode(stored), int | bytes, name="x")) == time  # type: ignore[arg-type]
    assert isinstance(stored, int) == (-(1 << 63) <= time < 1 << 64)


names = st.binary(min_size=1, max_size=4).filter(lambda name: not {0, 47} & {*name} and name not in (b".", b".."))
paths = st.lists(names, max_size=4).map(b"/".join)


@given(st.lists(paths, max_size=20))
def test_paths_are_ordered_by_their_components(found: list[bytes]) -> None:
    by_components = sorted(found, key=lambda path: path.split(b"/") if path else [])
    assert sorted(found, key=path_key) == by_components


# Trees


def _refs(paths: Iterable[bytes]) -> list[NodeRef]:
    return [NodeRef(path, 2, 10, blake3(path).digest(), 5) for path in paths]


def _many_paths(count: int) -> list[bytes]:
    return [b"%08d" % number for number in range(count)]


def _beginning(rank: int, count: int) -> list[bytes]:
    """Paths of at least this rank, in order."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        path = b"%012d" % number
        if HASH.rank(path) >= rank:
            found.append(path)
        number += 1
    return found


def _build(refs: list[NodeRef]) -> tuple[Chunks, TreeRef]:
    chunks = Chunks()
    builder = TreeBuilder(chunks.put, HASH)
    for ref in refs:
        builder.add(ref)
    return chunks, builder.finish()


def test_ranks_are_as_frequent_as_they_should_be() -> None:
    ranks = [HASH.rank(path) for path in _many_paths(1 << 17)]
    segments = sum(rank >= 1 for rank in ranks)
    assert 400 < segments < 630  # 512 expected
    assert 1 <= sum(rank >= 2 for rank in ranks) < 25  # 8 expected


def test_ranks_depend_on_the_key() -> None:
    paths = _many_paths(5000)
    other = PathHash(b"o" * 32)
    assert [HASH.rank(path) > 0 for path in paths] != [other.rank(path) > 0 for path in paths]


@pytest.mark.parametrize("count", [1, 2, 63, 500, 3000])
def test_a_tree_lists_what_was_added_in_order(count: int) -> None:
    refs = _refs(_beginning(1, count))
    chunks, root = _build(refs)
    assert list(read_refs(chunks.fetch, root)) == refs
    assert root.level >= 1
    assert {chunk for chunk, _ in read_nodes(chunks.fetch, root)} == chunks.keys() | {ref.chunk for ref in refs}


def test_nodes_begin_where_ranks_say_so_and_know_their_sums() -> None:
    refs = _refs(_beginning(1, 1000))
    chunks, root = _build(refs)
    assert root.level == 2
    rows = decode(chunks[root.chunk], list[NodeRef], name="x")
    assert [row.first for row in rows] == [refs[0].first, *(ref.first for ref in refs[1:] if HASH.rank(ref.first) >= 2)]
    assert sum(row.entries for row in rows) == 2000
    assert sum(row.content_bytes for row in rows) == 10_000


def test_a_node_is_full_at_some_point_wherever_it_begins() -> None:
    paths = [path for path in _many_paths(NODE_REFS_MAX + 700) if HASH.rank(path) < 2][: NODE_REFS_MAX + 1]
    chunks, root = _build(_refs(paths))
    rows = decode(chunks[root.chunk], list[NodeRef], name="x")
    assert [row.first for row in rows] == [paths[0], paths[NODE_REFS_MAX]]


def test_a_change_touches_few_nodes() -> None:
    refs = _refs(_beginning(1, 3000))
    before, _ = _build(refs)
    after, _ = _build([*refs[:1500], *refs[1501:]])
    assert len(after.keys() - before.keys()) <= 2 < len(before)


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_part_of_a_tree_is_found_by_its_paths(start: int, end: int) -> None:
    paths = _beginning(1, 400)
    chunks, root = _build(_refs(paths))
    low, high = paths[min(start, 399)], paths[min(end, 399)]
    found = [ref.first for ref in read_refs(chunks.fetch, root, start=path_key(low), end=path_key(high))]
    assert set(found) >= {path for path in paths if low <= path < high}
    assert all(path < high for path in found)
    assert len([path for path in found if path < low]) == 0


def test_one_path_costs_a_read_for_each_level() -> None:
    paths = _beginning(1, 3000)
    chunks, root = _build(_refs(paths))
    fetched = []

    def fetch(chunk_id: bytes, length: int) -> bytes:
        fetched.append(chunk_id)
        return chunks.fetch(chunk_id, length)

    key = path_key(paths[1234])
    assert [ref.first for ref in read_refs(fetch, root, start=key, end=key + b"\0")] == [paths[1234]]
    assert len(fetched) == root.level


def _spoiled_nodes() -> dict[str, list[NodeRef]]:
    one, two, three = _refs([b"a", b"b", b"c"])
    return {"empty": [], "out of order": [two, one], "twice": [one, one], "late": [one, three, two]}


@pytest.mark.parametrize("rows", _spoiled_nodes().values(), ids=_spoiled_nodes())
def test_a_node_that_cannot_be_is_refused(rows: list[NodeRef]) -> None:
    chunks = Chunks()
    body = encode(rows)
    with pytest.raises(IntegrityError):
        list(read_refs(chunks.fetch, TreeRef(1, chunks.put(body), len(body))))


def test_a_node_reaches_neither_before_its_first_path_nor_beyond_the_next_node() -> None:
    one, two, three = _refs([b"a", b"b", b"c"])
    for first, second in (([one, three], [two]), ([two], [three])):
        chunks = Chunks()
        rows = []
        for name, listed in zip((b"a", b"b"), (first, second), strict=True):
            body = encode(listed)
            rows.append(NodeRef(name, 2, 0, chunks.put(body), len(body)))
        body = encode(rows)
        with pytest.raises(IntegrityError):
            list(read_refs(chunks.fetch, TreeRef(2, chunks.put(body), len(body))))


@pytest.mark.parametrize("level", [-1, 0, TREE_LEVELS_MAX + 1, 1 << 40])
def test_a_tree_of_an_impossible_height_is_refused(level: int) -> None:
    with pytest.raises(IntegrityError):
        list(read_refs(Chunks().fetch, TreeRef(level, b"c" * 32, 1)))


# Content


def _extents(lengths: Iterable[int], holes: Callable[[int], bool] = lambda _: False) -> list[Extent]:
    return [
        (None if holes(number) else blake3(b"%d" % number).digest(), length) for number, length in enumerate(lengths)
    ]


def _read_back(content: Content, size: int, chunks: Chunks) -> list[Extent]:
    stored = decode(encode(content), bytes | list[int | bytes | None] | None, name="x")  # type: ignore[arg-type]
    return list(read_content(stored, size, chunks.fetch))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1 << 40)), max_size=200))
def test_content_is_read_as_it_was_packed(pieces: list[tuple[bool, int]]) -> None:
    extents = _extents((length for _, length in pieces), lambda number: pieces[number][0])
    chunks = Chunks()
    content = pack_content(extents, chunks.put)
    assert _read_back(content, sum(length for _, length in pieces), chunks) == extents


def test_small_content_needs_no_chunk_of_its_own() -> None:
    chunks = Chunks()
    one = blake3(b"0").digest()
    assert pack_content([], chunks.put) is None
    assert pack_content([(one, 5)], chunks.put) == one
    assert pack_content([(None, 5)], chunks.put) == [0, None, 5]
    assert len(pack_content(_extents([1] * INLINE_EXTENTS_MAX), chunks.put) or b"") == 1 + 2 * INLINE_EXTENTS_MAX
    assert not chunks


@pytest.mark.parametrize(("count", "level"), [(INLINE_EXTENTS_MAX + 1, 1), (5000, 1), (100_000, 2)])
def test_much_content_is_a_tree(count: int, level: int) -> None:
    chunks = Chunks()
    extents = _extents([3] * count)
    content = pack_content(extents, chunks.put)
    assert isinstance(content, list)
    assert content[0] == level
    assert _read_back(content, 3 * count, chunks) == extents
    assert {chunk for is_metadata, chunk, _ in content_needs(content, 3 * count, chunks.fetch) if is_metadata} == (
        chunks.keys()
    )


def test_lists_of_extents_are_bounded_where_no_id_cuts_them() -> None:
    chunks = Chunks()
    content = pack_content([(None, 1)] * (2 * EXTENTS_MAX + 1), chunks.put)
    assert isinstance(content, list)
    assert content[3::3] == [EXTENTS_MAX, EXTENTS_MAX, 1]


def test_an_insertion_at_the_front_changes_few_lists() -> None:
    extents = _extents([7] * 20_000)
    before, after = Chunks(), Chunks()
    pack_content(extents, before.put)
    pack_content([(b"n" * 32, 7), *extents], after.put)
    assert len(after.keys() - before.keys()) <= 1 < len(before)


def _tree_of(levels: int, chunks: Chunks) -> list[int | bytes | None]:
    content: list[int | bytes | None] = [0, b"c" * 32, 1]
    for level in range(1, levels + 1):
        body = encode(content)
        content = [level, chunks.put(body), len(body), 1]
    return content


def test_extents_may_be_so_deep_and_no_deeper() -> None:
    chunks = Chunks()
    assert _read_back(_tree_of(TREE_LEVELS_MAX, chunks), 1, chunks) == [(b"c" * 32, 1)]
    with pytest.raises(IntegrityError):
        _read_back(_tree_of(TREE_LEVELS_MAX + 1, chunks), 1, chunks)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (None, 1),
        ([], 0),
        ([0, b"c" * 32, 5], 4),
        ([0, b"c" * 32, 5], 6),
        ([0, b"c" * 32], 5),
        ([0, b"c" * 32, 0], 0),
        ([0, b"c" * 32, -5, b"c" * 32, 10], 5),
        ([0, 7, 5], 5),
        ([0, b"c" * 32, None], 5),
        ([None, b"c" * 32, 5], 5),
        ([-1, b"c" * 32, 5, 5], 5),
        ([1, None, 5, 5], 5),
        ([1, b"c" * 32, 5], 5),
    ],
    ids=str,
)
def test_content_that_cannot_be_is_refused(content: Any, size: int) -> None:
    with pytest.raises(IntegrityError):
        list(read_content(content, size, Chunks().fetch))


def test_a_list_of_extents_that_names_its_own_level_again_is_refused() -> None:
    chunks = Chunks()
    body = encode([1, b"c" * 32, 5, 5])
    with pytest.raises(IntegrityError):
        list(read_content([1, chunks.put(body), len(body), 5], 5, chunks.fetch))


# Paths


def _entry(path: bytes, kind: EntryKind = EntryKind.FILE, **more: Any) -> Entry:
    return Entry(path, int(kind), 0o644, 0, 0, 0, **more)


def _check(*found: Entry) -> None:
    checker = PathChecker()
    for entry in found:
        checker.check(entry)


ROOT, SUB = _entry(b"", EntryKind.DIRECTORY), _entry(b"sub", EntryKind.DIRECTORY)


def test_paths_in_order_within_directories_pass() -> None:
    deep = _entry(b"sub/deep", EntryKind.DIRECTORY)
    _check(ROOT, _entry(b"a"), SUB, _entry(b"sub/a"), deep, _entry(b"sub/deep/b"), _entry(b"sub/z"), _entry(b"sub.x"))
    _check(_entry(b"only a file"))
    _check(ROOT, _entry(b"\xff\n\x01 ..."), _entry(b"\xff" * 255))


def test_paths_have_no_limit_of_length() -> None:
    _check(ROOT, _entry(b"x" * (1 << 20)))


@pytest.mark.parametrize(
    "path",
    [b"/", b"/etc", b".", b"..", b"sub/..", b"sub/.", b"sub/", b"sub//a", b"../a", b"sub/../../a", b"a\0b", b"sub/\0"],
)
def test_a_path_that_is_not_plain_is_refused(path: bytes) -> None:
    for entry in (_entry(path), _entry(path, EntryKind.DIRECTORY)):
        with pytest.raises(IntegrityError) as caught:
            _check(ROOT, SUB, entry)
        assert caught.value.code is Code.UNSAFE_PATH
    with pytest.raises(IntegrityError):
        require_plain(path)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([ROOT, _entry(b"b"), _entry(b"a")], id="out of order"),
        pytest.param([ROOT, _entry(b"a"), _entry(b"a")], id="twice"),
        pytest.param([ROOT, SUB, SUB], id="a directory twice"),
        pytest.param([_entry(b"a"), ROOT], id="the root behind another"),
        pytest.param([_entry(b"")], id="a root that is a file"),
        pytest.param(
            [ROOT, _entry(b"link", EntryKind.SYMLINK, target=b"/etc"), _entry(b"link/passwd")], id="in a link"
        ),
        pytest.param([ROOT, _entry(b"file"), _entry(b"file/a")], id="in a file"),
        pytest.param([ROOT, _entry(b"nowhere/a")], id="in nothing"),
        pytest.param([ROOT, SUB, _entry(b"sub.x"), _entry(b"sub/a")], id="back in a directory"),
    ],
)
def test_entries_that_could_leave_their_place_are_refused(found: list[Entry]) -> None:
    with pytest.raises(IntegrityError) as caught:
        _check(*found)
    assert caught.value.code is Code.UNSAFE_PATH


@given(st.lists(paths, max_size=12, unique=True), st.randoms())
def test_any_other_order_is_refused(found: list[bytes], chance: random.Random) -> None:
    ordered = sorted({b"", *found, *(parent for path in found for parent in _parents(path))}, key=path_key)
    entries = [_entry(path, EntryKind.DIRECTORY) for path in ordered]
    _check(*entries)
    chance.shuffle(entries)
    if [entry.path for entry in entries] != ordered:
        with pytest.raises(IntegrityError):
            _check(*entries)


def _parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


# Segments


def _segment(*found: Entry) -> tuple[bytes, NodeRef]:
    data = encode(Segment([], [], list(found)))
    first = found[0].path if found else b""
    return data, NodeRef(first, len(found), 0, b"c" * 32, len(data))


def test_a_segment_is_read_as_it_was_written() -> None:
    full = _entry(
        b"sub",
        EntryKind.CHARACTER_DEVICE,
        size=3,
        content=[0, None, 3],
        device=(1, 3),
        xattrs=((b"user.a", b"\0"),),
        link=b"l" * 8,
        flags=1,
        digest=("sha256", b"d" * 32),
    )
    assert read_segment(*_segment(ROOT, full)).entries == [ROOT, full]
    assert read_segment(*_segment()).entries == []


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 0},
        {"kind": 7},
        {"mode": 0o10000},
        {"mode": -1},
        {"size": -1},
        {"size": 1 << 63},
        {"mtime": bytes(TIME_BYTES - 1)},
        {"mtime": bytes(TIME_BYTES + 1)},
        {"mtime": b""},
        {"kind": EntryKind.SYMLINK},
        {"kind": EntryKind.SYMLINK, "target": b""},
    ],
    ids=str,
)
def test_an_entry_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"path": b"a", "kind": 1, "mode": 0o644, "uid": 0, "gid": 0, "mtime": 0} | change
    with pytest.raises(IntegrityError):
        read_segment(*_segment(Entry(**fields)))


@pytest.mark.parametrize("listed", [(b"a", 2), (b"b", 1), (b"", 0)])
def test_a_segment_that_is_listed_as_another_is_refused(listed: tuple[bytes, int]) -> None:
    data, _ = _segment(_entry(b"a"))
    with pytest.raises(IntegrityError):
        read_segment(data, NodeRef(*listed, 0, b"c" * 32, len(data)))
