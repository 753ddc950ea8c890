"""Round trips: what was backed up comes back, whatever it is."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup import KeyFile, Repository, back_up, restore, verify
from safebackup.repository.runtime import Runtime
from tests.attack.world import LONG, scratch, tree_of

KIB, MIB = 1 << 10, 1 << 20
SECOND = 1_000_000_000
# Around every size at which something is done another way.
_EDGES = [0, 1, 2, 4096, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB]
SIZES = sorted({max(0, edge + step) for edge in _EDGES for step in (-1, 0, 1)})
SMALL = [size for size in SIZES if size <= 5000]
LARGE = [size for size in SIZES if size > 5000]
EXAMPLES = 400 if LONG else 40


def test_restoring_a_folder_alone_brings_back_names_that_begin_with_the_highest_byte(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "folder"
    folder.mkdir(parents=True)
    names = {b"\xff%04d" % number for number in range(1500)}  # enough that some begin a segment
    for name in names:
        Path(folder, os.fsdecode(name)).touch()
    runtime = Runtime(random=random.Random(1).randbytes)
    repository = Repository.create(tmp_path / "repository", key=None, runtime=runtime)
    snapshot = back_up(tmp_path / "source", into=repository).snapshot

    report = restore(snapshot, tmp_path / "restored", paths=["folder"])

    assert report.complete
    assert set(os.listdir(os.fsencode(tmp_path / "restored" / "folder"))) == names


# Trees as plans, which hypothesis can shrink

NAMES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"a", b"b", b"a.b", b"a-", b"A", b"\xff", b"\n", b" ", b"\x01", b"-rf", b"n" * 255]),
).filter(lambda name: not {b"/", b"\0"} & {bytes([byte]) for byte in name} and name not in (b".", b".."))
TIMES = st.one_of(
    st.integers(min_value=-(1 << 31) * SECOND, max_value=(1 << 34) * SECOND),
    st.sampled_from([0, -1, 1, 999_999_999, -SECOND - 1, (1 << 31) * SECOND, (1 << 63) - 1, 1 << 63, (1 << 63) + 1]),
)


@attrs.frozen
class Node:
    """A path to be made; `seed` decides its bytes."""

    name: bytes
    kind: str  # file, directory, symlink, fifo, hard link, sparse
    size: int
    seed: int
    mode: int
    mtime: int
    xattrs: dict[bytes, bytes]
    below: list[Node]


def nodes(depth: int) -> st.SearchStrategy[Node]:
    kinds = ["file", "file", "file", "symlink", "fifo", "hard link", "sparse"] + ["directory"] * (depth > 0)
    sizes = st.one_of(st.sampled_from(SMALL), st.sampled_from(SMALL), st.sampled_from(SMALL), st.sampled_from(LARGE))
    return st.builds(
        Node,
        name=NAMES,
        kind=st.sampled_from(kinds),
        size=sizes,
        seed=st.integers(0, 3),
        mode=st.sampled_from([0o644, 0o600, 0o000, 0o777, 0o4755, 0o2750, 0o1777]),
        mtime=TIMES,
        xattrs=st.dictionaries(
            st.sampled_from([b"user.a", b"user.\xff", b"user.long"]), st.binary(max_size=50), max_size=2
        ),
        below=st.lists(nodes(depth - 1), max_size=4) if depth else st.just([]),
    )


TREES = st.lists(nodes(2), max_size=6)


def content(size: int, seed: int) -> bytes:
    """Half random, half compressible, so that both ways of storing are taken."""
    generator = random.Random(f"{size} {seed}")
    return generator.randbytes(size) if seed % 2 else (generator.randbytes(50) * (size // 50 + 1))[:size]


def make(folder: bytes, tree: list[Node], made: list[bytes]) -> None:
    """Make what is planned; of two that have the same name the first one stays."""
    for node in tree:
        path = folder + b"/" + node.name
        if os.path.lexists(path):
            continue
        make_one(path, node, made)
        if node.kind in ("directory", "file", "sparse"):
            for name, value in node.xattrs.items():
                with suppress(OSError):  # what this file system does not take
                    os.setxattr(path, name, value)
            os.chmod(path, node.mode)
        with suppress(OSError, OverflowError):
            os.utime(path, ns=(0, node.mtime), follow_symlinks=False)


def make_one(path: bytes, node: Node, made: list[bytes]) -> None:
    if node.kind == "directory":
        os.mkdir(path)
        make(path, node.below, made)
    elif node.kind == "symlink":
        os.symlink(node.name + b"/../\xff", path)
    elif node.kind == "fifo":
        os.mkfifo(path)
    elif node.kind == "hard link" and made:
        os.link(made[node.seed % len(made)], path)
    elif node.kind == "sparse":
        with open(path, "wb") as sparse:
            sparse.seek(node.size)
            sparse.write(content(node.seed * 3000, 1))
            sparse.truncate(node.size * 2 + 100_000)
    else:
        Path(os.fsdecode(path)).write_bytes(content(node.size, node.seed))
        made.append(path)


@contextmanager
def stage(*, sealed: bool) -> Iterator[tuple[Path, Repository]]:
    """An empty source and a new repository."""
    with scratch() as base:
        key = KeyFile.create(base / "key") if sealed else None
        (base / "source").mkdir()
        (base / "source" / "always").touch()
        yield base, Repository.create(base / "repository", key=key)


def below(tree: dict[bytes, tuple[object, ...]], path: bytes) -> dict[bytes, tuple[object, ...]]:
    return {name: seen for name, seen in tree.items() if not path or name == path or name.startswith(path + b"/")}


def without_links(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """Without which names are of one file: of a part alone, others may be the first."""
    return {name: (*seen[:6], *seen[7:]) for name, seen in tree.items()}


@settings(max_examples=EXAMPLES)
@given(tree=TREES, sealed=st.booleans())
def test_any_tree_comes_back_identical_and_dry_runs_count_the_same(tree: list[Node], sealed: bool) -> None:
    with stage(sealed=sealed) as (base, repository):
        make(os.fsencode(base / "source"), tree, [])

        report = back_up(base / "source", into=repository)
        rehearsed = restore(report.snapshot, base / "rehearsed", dry_run=True)
        restored = restore(report.snapshot, base / "restored")

        assert report.complete
        assert restored.complete
        assert tree_of(base / "restored") == tree_of(base / "source")
        assert not (base / "rehearsed").exists()
        counted = (restored.entries, restored.files, restored.content_bytes)
        assert (rehearsed.entries, rehearsed.files, rehearsed.content_bytes) == counted
        assert rehearsed.complete


@settings(max_examples=EXAMPLES)
@given(before=TREES, after=TREES, removed=st.integers(0, 100), sealed=st.booleans())
def test_after_any_edit_each_snapshot_comes_back_as_it_was(
    before: list[Node], after: list[Node], removed: int, sealed: bool
) -> None:
    with stage(sealed=sealed) as (base, repository):
        source = os.fsencode(base / "source")
        make(source, before, [])
        first, first_tree = back_up(base / "source", into=repository), tree_of(base / "source")
        edit(source, after, removed)
        second, second_tree = back_up(base / "source", into=repository), tree_of(base / "source")

        restore(first.snapshot, base / "first")
        restore(second.snapshot, base / "second")

        assert tree_of(base / "first") == first_tree
        assert tree_of(base / "second") == second_tree
        assert verify(repository, level="full", record=False).passed


def edit(source: bytes, after: list[Node], removed: int) -> None:
    """Remove one of what is there, write to another, and make more."""
    names = sorted(name for name in os.listdir(source) if name != b"always")
    if names:
        path = os.path.join(source, names[removed % len(names)])
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    for path in sorted(os.path.join(source, name) for name in os.listdir(source)):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "r+b") as file:
                file.seek(removed * 1000)
                file.write(b"an edit in the middle")
            break
    make(source, after, [])


@settings(max_examples=EXAMPLES)
@given(tree=TREES, number=st.integers(0, 1000))
def test_a_path_alone_comes_back_as_it_is_in_the_whole(tree: list[Node], number: int) -> None:
    with stage(sealed=False) as (base, repository):
        make(os.fsencode(base / "source"), tree, [])
        snapshot = back_up(base / "source", into=repository).snapshot
        whole = tree_of(base / "source")
        path = sorted(whole)[number % len(whole)]

        report = restore(snapshot, base / "restored", paths=[path])

        found = tree_of(base / "restored")
        above = {b"/".join(path.split(b"/")[:count]) for count in range(path.count(b"/") + 1)} - {path}
        assert report.complete
        assert without_links(below(found, path)) == without_links(below(whole, path))
        if path:
            assert found.keys() == below(whole, path).keys() | above | {b""}


@pytest.mark.parametrize("sealed", [False, True])
def test_files_of_every_size_at_an_edge_come_back(sealed: bool) -> None:
    with stage(sealed=sealed) as (base, repository):
        for size in SIZES:
            (base / "source" / f"{size}").write_bytes(content(size, size))

        report = back_up(base / "source", into=repository)
        restore(report.snapshot, base / "restored")

        assert tree_of(base / "restored") == tree_of(base / "source")
