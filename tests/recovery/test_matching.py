"""Matching: whatever is not as recorded in a restored folder is seen, and nothing else is."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup import Repository, Snapshot, Source, back_up, restore
from safebackup.errors import Code, IntegrityError
from safebackup.events import NoProgress
from safebackup.recovery.checks import Outcome
from safebackup.recovery.matching import Conditions, Deviation, Matched, match_tree
from safebackup.repository.manifests import Manifests
from tests.attack.world import LONG, scratch
from tests.properties.test_round_trip import TREES, Node, make, stage

MIB = 1 << 20
HOLE = 3 * MIB
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@attrs.frozen
class Restored:
    """A snapshot and the folder that it was restored to, which a test may change."""

    snapshot: Snapshot
    folder: Path

    def match(self, *, holds_metadata: bool = True, workers: int = 2) -> tuple[Matched, list[Deviation]]:
        deviations: list[Deviation] = []
        conditions = Conditions(
            holds_metadata=holds_metadata, is_root=os.geteuid() == 0, workers=workers, callback=NoProgress()
        )
        manifests = Manifests(self.snapshot.require_repository().reader())
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            matched = match_tree(fd, self.snapshot.body.manifest, manifests, conditions, deviations.append)
        finally:
            os.close(fd)
        return matched, deviations

    def deviations(self) -> list[Deviation]:
        return self.match()[1]


def fill(folder: Path) -> None:
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").mkdir()
    (folder / "a" / "b" / "deep").write_bytes(b"deep down")
    (folder / "a.b").write_bytes(b"sorts before what is in a, byte by byte")
    (folder / "empty").touch()
    (folder / "small").write_bytes(b"hello world")
    (folder / "twin").write_bytes(b"hello world")
    (folder / "large").write_bytes(random.Random(7).randbytes(9 * MIB + 17))
    with open(folder / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(5 + HOLE)
        file.write(b"end")
    os.link(folder / "small", folder / "small-too")
    os.symlink("small", folder / "link")
    os.mkfifo(folder / "pipe")
    os.setxattr(folder / "a.b", "user.note", b"kept")


@pytest.fixture
def restored(tmp_path: Path) -> Restored:
    fill(tmp_path / "source")
    repository = Repository.create(tmp_path / "repository", key=None)
    snapshot = back_up(tmp_path / "source", into=repository).snapshot
    assert restore(snapshot, tmp_path / "restored").complete
    return Restored(snapshot, tmp_path / "restored")


def test_a_faithful_restore_has_no_deviation_and_everything_is_counted(restored: Restored) -> None:
    matched, deviations = restored.match()

    body = restored.snapshot.body
    assert deviations == []
    assert (matched.entries, matched.files, matched.content_bytes) == (body.entries, body.files, body.content_bytes)
    assert (matched.torn, matched.left_out) == (0, 0)


@contextmanager
def time_kept(path: Path) -> Iterator[None]:
    """The path and its folder keep their modification times, as when a disk rots."""
    before = [(one, os.lstat(one).st_mtime_ns) for one in (path, path.parent) if os.path.lexists(one)]
    yield
    for one, mtime in before:
        if os.path.lexists(one):
            os.utime(one, ns=(mtime, mtime), follow_symlinks=False)


def overwrite(path: Path, at: int, data: bytes) -> None:
    with time_kept(path), open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path: Path, at: int) -> None:
    overwrite(path, at, bytes([path.read_bytes()[at] ^ 1]))


def remove(path: Path) -> None:
    with time_kept(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def add(path: Path) -> None:
    with time_kept(path):
        path.write_bytes(b"new")


def add_folder(path: Path) -> None:
    with time_kept(path):
        path.mkdir()
        (path / "one").touch()
        (path / "two").touch()


def replace(path: Path, make_new: Callable[[Path], object]) -> None:
    before = os.lstat(path).st_mtime_ns
    with time_kept(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        make_new(path)
        os.utime(path, ns=(before, before), follow_symlinks=False)


def swap(path: Path, other: Path) -> None:
    with time_kept(path), time_kept(other):
        path.rename(path.with_suffix(".swap"))
        other.rename(path)
        path.with_suffix(".swap").rename(other)


def truncate(path: Path, size: int) -> None:
    with time_kept(path):
        os.truncate(path, size)


def break_link(path: Path) -> None:
    replace(path, lambda new: shutil.copy2(new.parent / "small", new))


def link_together(path: Path, other: Path) -> None:
    with time_kept(other):
        path.unlink()
        os.link(other, path)


def link_away(path: Path) -> None:
    os.link(path, path.parent.parent / "outside")


def link_to_its_like(path: Path) -> None:
    path.rename(path.parent.parent / "moved")
    path.symlink_to("../moved")


def nudge(path: Path) -> None:
    mtime = os.lstat(path).st_mtime_ns + 1
    os.utime(path, ns=(mtime, mtime), follow_symlinks=False)


MUTATIONS: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "first byte": (lambda top: flip(top / "small", 0), [("drill-differs", "small-too"), ("drill-differs", "small")]),
    "byte of a small file": (lambda top: flip(top / "a/b/deep", 3), [("drill-differs", "a/b/deep")]),
    "byte of a large file": (lambda top: flip(top / "large", 5 * MIB), [("drill-differs", "large")]),
    "last byte": (lambda top: flip(top / "large", 9 * MIB + 16), [("drill-differs", "large")]),
    "filled hole": (lambda top: overwrite(top / "sparse", 2 * MIB, b"\1"), [("drill-differs", "sparse")]),
    "last byte of a hole": (lambda top: overwrite(top / "sparse", 4 + HOLE, b"\1"), [("drill-differs", "sparse")]),
    "data became a hole": (lambda top: overwrite(top / "sparse", 0, bytes(5)), [("drill-differs", "sparse")]),
    "shorter": (lambda top: truncate(top / "large", 9 * MIB), [("drill-differs", "large")]),
    "longer": (lambda top: truncate(top / "sparse", HOLE + 9), [("drill-differs", "sparse")]),
    "empty file filled": (lambda top: overwrite(top / "empty", 0, b"x"), [("drill-differs", "empty")]),
    "swapped files": (
        lambda top: swap(top / "a.b", top / "twin"),
        [("drill-differs", "a.b"), ("drill-differs", "twin")],
    ),
    "missing file": (lambda top: remove(top / "a/b/deep"), [("drill-missing", "a/b/deep")]),
    "missing last": (lambda top: remove(top / "twin"), [("drill-missing", "twin")]),
    "missing link": (lambda top: remove(top / "link"), [("drill-missing", "link")]),
    "missing pipe": (lambda top: remove(top / "pipe"), [("drill-missing", "pipe")]),
    "missing folder": (
        lambda top: remove(top / "a"),
        [("drill-missing", "a"), ("drill-missing", "a/b"), ("drill-missing", "a/b/deep")],
    ),
    "extra file": (lambda top: add(top / "a/b/extra"), [("drill-extra", "a/b/extra")]),
    "extra first": (lambda top: add(top / "A"), [("drill-extra", "A")]),
    "extra last": (lambda top: add(top / "zzz"), [("drill-extra", "zzz")]),
    "extra between a folder and its content": (lambda top: add(top / "a!"), [("drill-extra", "a!")]),
    "extra folder": (lambda top: add_folder(top / "a/more"), [("drill-extra", "a/more")]),
    "renamed": (
        lambda top: (top / "twin").rename(top / "twim"),
        [("drill-extra", "twim"), ("drill-missing", "twin"), ("drill-differs", "")],
    ),
    "mode": (lambda top: (top / "twin").chmod(0o640), [("drill-differs", "twin")]),
    "mode of a folder": (lambda top: (top / "a").chmod(0o700), [("drill-differs", "a")]),
    "mode of the root": (lambda top: top.chmod(0o700), [("drill-differs", "")]),
    "mode of a pipe": (lambda top: (top / "pipe").chmod(0o600), [("drill-differs", "pipe")]),
    "setuid": (lambda top: (top / "twin").chmod(0o4644), [("drill-differs", "twin")]),
    "time": (lambda top: nudge(top / "twin"), [("drill-differs", "twin")]),
    "time of a link": (lambda top: nudge(top / "link"), [("drill-differs", "link")]),
    "time of a folder": (lambda top: nudge(top / "a/b"), [("drill-differs", "a/b")]),
    "link target": (lambda top: replace(top / "link", lambda new: new.symlink_to("twin")), [("drill-differs", "link")]),
    "hard link broken": (
        lambda top: break_link(top / "small-too"),
        [("drill-differs", "small-too"), ("drill-differs", "small")],
    ),
    "hard link too many": (
        lambda top: link_together(top / "twin", top / "small"),
        [("drill-differs", "twin"), ("drill-differs", "small")],
    ),
    "hard link elsewhere": (lambda top: link_away(top / "twin"), [("drill-differs", "twin")]),
    "attribute": (lambda top: os.setxattr(top / "a.b", "user.note", b"KEPT"), [("drill-differs", "a.b")]),
    "attribute gone": (lambda top: os.removexattr(top / "a.b", "user.note"), [("drill-differs", "a.b")]),
    "attribute added": (lambda top: os.setxattr(top / "a", "user.other", b""), [("drill-differs", "a")]),
    "file became folder": (lambda top: replace(top / "twin", Path.mkdir), [("drill-differs", "twin")]),
    "file became link": (
        lambda top: replace(top / "twin", lambda new: new.symlink_to("small")),
        [("drill-differs", "twin")],
    ),
    "empty file became pipe": (lambda top: replace(top / "empty", os.mkfifo), [("drill-differs", "empty")]),
    "file became pipe": (lambda top: replace(top / "twin", os.mkfifo), [("drill-differs", "twin")]),
    "folder became link to its like": (
        lambda top: link_to_its_like(top / "a"),
        [
            ("drill-differs", ""),
            ("drill-differs", "a"),
            ("drill-missing", "a/b"),
            ("drill-missing", "a/b/deep"),
        ],
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_kind_of_change_is_seen_and_nothing_else_is_accused(restored: Restored, mutation: str) -> None:
    change, expected = MUTATIONS[mutation]
    change(restored.folder)

    deviations = restored.deviations()

    found = sorted((str(one.code), os.fsdecode(one.path)) for one in deviations)
    assert found == sorted(expected)
    assert {one.outcome for one in deviations} == {Outcome.FAILED}


@needs_root
def test_another_owner_is_seen(restored: Restored) -> None:
    os.lchown(restored.folder / "link", 12345, -1)
    os.chown(restored.folder / "pipe", -1, 54321)

    assert [(one.path, one.what) for one in restored.deviations()] == [
        (b"link", "belongs to 12345:0"),
        (b"pipe", "belongs to 0:54321"),
    ]


@needs_root
def test_an_acl_that_nobody_recorded_is_seen(restored: Restored) -> None:
    entries = [(1, 6, 0xFFFFFFFF), (2, 7, 12345), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF)]
    acl = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, rights, who in entries
    )
    os.setxattr(restored.folder / "twin", "system.posix_acl_access", acl)

    (deviation,) = restored.deviations()

    assert deviation.path == b"twin"
    assert "system.posix_acl_access" in deviation.what


def test_metadata_that_the_place_cannot_hold_is_no_failure_and_no_proof(restored: Restored) -> None:
    (restored.folder / "twin").chmod(0o600)
    flip(restored.folder / "a.b", 0)
    (restored.folder / "a.b").chmod(0o600)

    deviations = restored.match(holds_metadata=False)[1]

    outcomes = {one.path: one.outcome for one in deviations}
    assert outcomes == {b"twin": Outcome.COULD_NOT_CHECK, b"a.b": Outcome.FAILED}


def test_all_that_is_wrong_with_a_path_is_one_deviation(restored: Restored) -> None:
    flip(restored.folder / "large", 1)
    (restored.folder / "large").chmod(0o600)
    nudge(restored.folder / "large")

    (deviation,) = restored.deviations()

    assert deviation.what.startswith("has other content between byte 0 and byte ")
    assert "has mode 600, recorded is 644; has another modification time" in deviation.what


def test_a_device_node_that_was_not_made_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    try:
        os.mknod(tmp_path / "source" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("may not make device nodes")
    snapshot = back_up(tmp_path / "source", into=Repository.create(tmp_path / "repository", key=None)).snapshot
    restore(snapshot, tmp_path / "restored")
    restore(snapshot, tmp_path / "with devices", devices=True)

    left_out, none = Restored(snapshot, tmp_path / "restored").match()
    made, nothing = Restored(snapshot, tmp_path / "with devices").match()

    assert (none, nothing) == ([], [])
    assert (left_out.left_out, made.left_out) == (1, 0)


def test_several_roots_have_no_common_folder_to_compare(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    repository = Repository.create(tmp_path / "repository", key=None)
    snapshot = back_up(Source(tmp_path / "one", tmp_path / "two"), into=repository).snapshot
    restore(snapshot, tmp_path / "restored")

    matched, deviations = Restored(snapshot, tmp_path / "restored").match()

    assert deviations == []
    assert matched.entries == 4


def test_a_tree_deeper_than_descriptors_and_paths_reach_is_compared_to_its_end(tmp_path: Path) -> None:
    with scratch() as base:
        (base / "source").mkdir()
        fd = os.open(base / "source", os.O_RDONLY)
        for level in range(600):
            os.mkdir("nested-folder", dir_fd=fd)
            os.close(os.open(f"on the way back {level}", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
            below = os.open("nested-folder", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        with open(os.open("deepest", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
            file.write(b"down here")
        snapshot = back_up(base / "source", into=Repository.create(base / "repository", key=None)).snapshot
        restore(snapshot, base / "restored")
        restored = Restored(snapshot, base / "restored")
        matched, none = restored.match()

        at = os.open(base / "restored", os.O_RDONLY)
        for _ in range(600):
            below = os.open("nested-folder", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        before = os.stat("deepest", dir_fd=at).st_mtime_ns
        with open(os.open("deepest", os.O_WRONLY, dir_fd=at), "wb") as file:
            file.write(b"down HERE")
        os.utime("deepest", ns=(before, before), dir_fd=at)
        deviations = restored.deviations()
        os.close(at)
        os.close(fd)

    assert none == []
    assert matched.entries == snapshot.entries
    assert [one.path for one in deviations] == [b"nested-folder/" * 600 + b"deepest"]


def test_a_huge_hole_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with open(tmp_path / "source" / "huge", "wb") as file:
        file.truncate(1 << 40)  # an hour of reading
    snapshot = back_up(tmp_path / "source", into=Repository.create(tmp_path / "repository", key=None)).snapshot
    restore(snapshot, tmp_path / "restored")
    restored = Restored(snapshot, tmp_path / "restored")

    assert restored.deviations() == []
    overwrite(tmp_path / "restored" / "huge", (1 << 40) - 1, b"\1")
    assert [one.path for one in restored.deviations()] == [b"huge"]


def test_a_damaged_manifest_is_raised_and_no_descriptor_is_left_open(restored: Restored) -> None:
    repository = restored.snapshot.require_repository()
    for pack in Path(repository.url.removeprefix("file://"), "metadata").rglob("*"):
        if pack.is_file():
            pack.unlink()
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(IntegrityError) as caught:
        restored.match()

    assert caught.value.code is Code.MISSING_CHUNK
    assert len(os.listdir("/proc/self/fd")) == before


def test_someone_who_removes_what_is_being_compared_stops_the_comparison(restored: Restored) -> None:
    def report(_deviation: Deviation) -> None:
        shutil.rmtree(restored.folder / "a")

    add(restored.folder / "A")  # comes right before what its report removes
    conditions = Conditions(holds_metadata=True, is_root=True, workers=1, callback=NoProgress())
    manifests = Manifests(restored.snapshot.require_repository().reader())
    fd = os.open(restored.folder, os.O_RDONLY)
    try:
        with pytest.raises(FileNotFoundError):
            match_tree(fd, restored.snapshot.body.manifest, manifests, conditions, report)
    finally:
        os.close(fd)


def test_files_that_were_waiting_to_be_read_are_closed_when_something_goes_wrong(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(20):
        (tmp_path / "source" / f"large {number}").write_bytes(random.Random(number).randbytes(MIB))
    snapshot = back_up(tmp_path / "source", into=Repository.create(tmp_path / "repository", key=None)).snapshot
    restore(snapshot, tmp_path / "restored")
    (tmp_path / "restored" / "zzz").touch()
    manifests = Manifests(snapshot.require_repository().reader())
    conditions = Conditions(holds_metadata=True, is_root=True, workers=1, callback=NoProgress())

    def report(deviation: Deviation) -> None:
        if deviation.path == b"zzz":
            raise RuntimeError("the caller has had enough")

    before = len(os.listdir("/proc/self/fd"))
    fd = os.open(tmp_path / "restored", os.O_RDONLY)
    with pytest.raises(RuntimeError):
        match_tree(fd, snapshot.body.manifest, manifests, conditions, report)
    os.close(fd)

    assert len(os.listdir("/proc/self/fd")) == before


@settings(max_examples=200 if LONG else 15)
@given(tree=TREES, seed=st.integers(0, 1 << 30))
def test_of_any_tree_a_faithful_copy_matches_and_any_change_of_a_byte_is_seen(tree: list[Node], seed: int) -> None:
    with stage(sealed=bool(seed % 2)) as (base, repository):
        make(os.fsencode(base / "source"), tree, [])
        snapshot = back_up(base / "source", into=repository).snapshot
        restore(snapshot, base / "restored")
        restored = Restored(snapshot, base / "restored")
        matched, none = restored.match(workers=1 + seed % 3)
        assert none == []
        assert matched.entries == snapshot.entries

        entries = [entry for entry in snapshot.walk() if entry.size]
        if entries:
            entry = random.Random(seed).choice(entries)
            target = os.path.join(os.fsencode(base / "restored"), entry.path)
            with open(target, "r+b") as file:
                at = random.Random(seed).randrange(entry.size)
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 0x80]))
            os.chmod(target, entry.mode)  # writing takes setuid away
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
            deviations = restored.deviations()
            assert entry.path in [one.path for one in deviations]
            assert all("content" in one.what for one in deviations)
