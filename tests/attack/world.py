"""A small repository with an object of every kind, damage to it, and what may be seen of it afterwards."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import attrs

from safebackup import KeyFile, Repository, Snapshot, back_up, restore, verify
from safebackup.errors import SafeBackupError
from safebackup.findings import Severity
from safebackup.format.header import Kind
from safebackup.format.index import build_index
from safebackup.format.objects import build_record
from safebackup.format.records import CatalogueBody, DeathBody, DoomBody, SnapshotBody
from safebackup.repository.indexing import ChunkIndex
from safebackup.storage import MemoryStore
from tests.attack.forging import raw
from tests.faults import tampered

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
# A restore syncs its target, so that a thousand of them want a place without a disk.
RAM: str | None = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

Seen: TypeAlias = tuple[object, ...]
Tree: TypeAlias = Mapping[bytes, Seen]


def tree_of(folder: Path | str, *, directories: bool = True) -> dict[bytes, Seen]:
    """What is in a folder by relative path: kind, mode, owner, time, content, attributes, names of the same file."""
    top = os.fsencode(folder)
    found: dict[bytes, Seen] = {}
    first: dict[int, bytes] = {}
    pending = [top]
    while pending:
        path = pending.pop()
        status = os.lstat(path)
        relative = path[len(top) + 1 :]
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            pending += sorted((os.path.join(path, name) for name in os.listdir(path)), reverse=True)
            if not directories:
                continue
        content = b""
        if kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest() + b" of %d bytes" % status.st_size
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        same = first.setdefault(status.st_ino, relative) if status.st_nlink > 1 and kind != stat.S_IFDIR else b""
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _attributes(path)}
        mode = status.st_mode & 0o7777
        found[relative] = (kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, same, attributes)
    return found


def _attributes(path: bytes) -> list[str]:
    return [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder in memory, where there is one; gone afterwards."""
    folder = tempfile.mkdtemp(prefix="safebackup-test-", dir=RAM)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_source(folder: Path) -> Path:
    """Compressible, random, tiny and empty files, a directory, a link, a hard link, a hole."""
    folder.mkdir()
    (folder / "letters").write_bytes(b"dear all, " * 300)
    (folder / "noise").write_bytes(os.urandom(700))
    (folder / "small").write_bytes(b"hello")
    (folder / "empty").touch()
    (folder / "below").mkdir()
    (folder / "below" / "file").write_bytes(b"in a folder")
    os.link(folder / "small", folder / "below" / "same")
    os.symlink("../small", folder / "below" / "link")
    with open(folder / "sparse", "wb") as file:
        file.truncate(300_000)
        file.write(b"a hole follows")
    return folder


@attrs.define(kw_only=True)
class World:
    """The objects of a repository, and the truth about its snapshots."""

    name: str
    key: KeyFile | None
    objects: dict[str, bytes]
    bodies: dict[str, SnapshotBody]  # by id of the snapshot
    trees: dict[str, Tree]
    source: Path

    @property
    def store(self) -> MemoryStore:
        return MemoryStore(self.name)

    def mend(self) -> None:
        """Make every object what it was."""
        self.store.create_root()
        for info in self.store.list(""):
            if info.name not in self.objects:
                self.store.delete(info.name)
        for name, data in self.objects.items():
            tampered(self.store, name, data)

    @contextmanager
    def damaged(self, changes: Mapping[str, bytes | None]) -> Iterator[None]:
        """These objects have other bytes meanwhile, or None: they are gone."""
        for name, data in changes.items():
            if data is None:
                self.store.delete(name)
            else:
                tampered(self.store, name, data)
        try:
            yield
        finally:
            for name in changes:
                if name in self.objects:
                    tampered(self.store, name, self.objects[name])
                else:
                    self.store.delete(name)

    def open(self) -> Repository:
        return Repository.open(f"memory://{self.name}", key=self.key)

    def of_folder(self, folder: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(folder + "/"))


def build_world(base: Path, name: str, *, sealed: bool) -> World:
    """Two snapshots, a recorded verification, and an object of every other kind."""
    key = KeyFile.create(base / f"{name}.key") if sealed else None
    repository = Repository.create(f"memory://{name}", key=key)
    source = make_source(base / f"{name}-source")
    trees: dict[str, Tree] = {back_up(source, into=repository).snapshot.id: tree_of(source)}
    (source / "small").write_bytes(b"changed")
    (source / "later").write_bytes(b"in the second snapshot alone")
    trees[back_up(source, into=repository).snapshot.id] = tree_of(source)
    verify(repository)
    _add_rare_objects(repository)
    objects = {info.name: repository.store.get(info.name) for info in repository.store.list("")}
    bodies = {snapshot.id: snapshot.body for snapshot in repository.snapshots()}
    return World(name=name, key=key, objects=objects, bodies=bodies, trees=trees, source=source)


def _add_rare_objects(repository: Repository) -> None:
    """A doom, a death, a merged index and a catalogue, as later runs would write them."""
    identity, random = repository.identity, repository.runtime.random
    doom = DoomBody(packs=(f"data/00/{'0' * 64}",), created=1)
    death = DeathBody(run=random(16), final=True, created=1)
    history, index = repository.history(), ChunkIndex(repository.store, identity)
    catalogue = CatalogueBody(tier=0, replaces=(), snapshots=raw(history.snapshots), journal=raw(history.journal))
    merged = build_index(
        identity,
        sorted(
            {entry for loaded in index.visible.values() for entry in index.entries(loaded)},
            key=lambda entry: (entry[0], entry[1].pack, entry[1].offset),
        ),
        pack_sizes={row.name: row.size_bytes for loaded in index.visible.values() for row in loaded.table.packs},
        replaces=index.visible,
        tier=1,
        salt=random(32),
    )
    for stored in (
        build_record(identity, Kind.DOOM, doom, salt=random(32)),
        build_record(identity, Kind.DEATH, death, salt=random(32)),
        build_record(identity, Kind.CATALOGUE, catalogue, salt=random(32)),
        merged,
    ):
        repository.store.put_new(stored.name, bytes(stored.data))


def is_noticed(world: World) -> bool:
    """Whether a full verification speaks of damage; meanwhile nothing wrong may be read from the repository.

    Raises:
        AssertionError: something wrong was restored, or something is missing and nobody said so.
    """
    try:
        repository = world.open()
        snapshots = repository.snapshots()
    except SafeBackupError:
        return True
    for snapshot in snapshots:
        assert snapshot.body == world.bodies[snapshot.id], "a snapshot tells of itself what is not true"
        _require_truth(world, snapshot)
    try:
        report = verify(repository, level="full", record=False, workers=1)
    except SafeBackupError:
        return True
    assert report.passed == all(finding.severity is not Severity.ERROR for finding in report.findings)
    return not report.passed


def _require_truth(world: World, snapshot: Snapshot) -> None:
    truth = world.trees[snapshot.id]
    with scratch() as folder:
        try:
            report = restore(snapshot, folder, workers=1)
        except SafeBackupError:
            report = None
        # A restore that was stopped leaves its folders without their metadata.
        restored = tree_of(folder, directories=report is not None and report.complete)
    wrong = sorted(path for path, seen in restored.items() if truth.get(path) != seen and path != b"")
    assert not wrong, f"wrong data: {wrong}"
    if report is not None and report.complete:
        assert restored.keys() >= truth.keys() - {b""}, f"silently missing: {truth.keys() - restored.keys()}"
