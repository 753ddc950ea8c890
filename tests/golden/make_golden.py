"""Builds golden repositories: once for each release, never again for an old one (see README.md).

python -m tests.golden.make_golden NAME...      builds these, refuses those that are there
python -m tests.golden.make_golden damage       works out anew what `verify` says of each damage
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

from safebackup.backup import Source, back_up
from safebackup.format.chunking import Chunker
from safebackup.recovery import verify
from safebackup.repository import KeyFile, Passphrase, Repository
from safebackup.repository.keys import Key, build_slot, next_epoch, unlock
from safebackup.repository.runtime import Runtime

HERE = Path(__file__).parent
PASSPHRASE = "correct horse battery staple ü"
SECOND = 1_000_000_000
START = 1_798_761_600 * SECOND  # 2027-01-01
OLD, FUTURE = -2_000_000_000 * SECOND + 1, 13_000_000_000 * SECOND + 999_999_999  # 1906 and 2381
MIB = 1 << 20


class SteppingClock:
    """A clock that shows a second more each time that it is asked."""

    def __init__(self, start: int = START) -> None:
        self._now = start

    def now(self) -> int:
        """Nanoseconds since 1970."""
        self._now += SECOND
        return self._now

    def monotonic(self) -> float:
        """Always 0.0: nothing of a golden repository may depend on how fast it was made."""
        return 0.0


def fixed_runtime(seed: str) -> Runtime:
    """Time, randomness and a host name that are the same each time."""
    return Runtime(clock=SteppingClock(), random=random.Random(seed).randbytes, host="golden.example")


# The tree


def make_tree(root: Path, chunker: Chunker) -> None:
    """Everything that a manifest can hold and that needs no special rights."""
    root.mkdir()
    (root / "empty").write_bytes(b"")
    (root / "tiny").write_bytes(b"tiny\n")
    (root / "same as tiny").write_bytes(b"tiny\n")
    (root / "empty directory").mkdir()
    (root / "sub").mkdir()
    (root / "sub" / "deeper").mkdir()
    (root / "sub" / "deeper" / "file").write_bytes(b"below\n" * 100)
    (root / "sub.before").write_bytes(b"sorts behind what is in sub\n")
    for number in range(40):
        (root / "sub" / f"small-{number:02}").write_bytes(b"small file %d\n" % number * 20)
    (root / "large").write_bytes(_large_content(chunker))
    _make_sparse(root / "sparse", [(3 * MIB, b"in the middle of holes\n" * 1000)], 8 * MIB)
    _make_sparse(root / "only a hole", [], 2 * MIB)
    blocks = [(number * 16384 + 8192, b"block %d\n" % number * 500) for number in range(40)]
    _make_sparse(root / "many extents", blocks, 40 * 16384 + 8192)
    (root / "linked").write_bytes(b"one file, three names\n")
    os.link(root / "linked", root / "sub" / "other name")
    os.link(root / "linked", root / "zz last name")
    os.symlink("tiny", root / "link")
    os.symlink("../nowhere/at all", root / "sub" / "dangling")
    (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9 \xff\xfe"))).write_bytes(b"no UTF-8\n")
    (root / "new\nline").write_bytes(b"a name of two lines\n")
    (root / "überall 日本").write_bytes(b"UTF-8\n")
    (root / ("n" * 255)).write_bytes(b"a long name\n")
    (root / "attributes").write_bytes(b"with attributes\n")
    os.setxattr(root / "attributes", "user.colour", b"blue")
    os.setxattr(root / "attributes", "user.bytes", bytes(range(256)))
    (root / "setuid").write_bytes(b"#!/bin/sh\n")
    os.chmod(root / "setuid", 0o4755)
    (root / "private").write_bytes(b"mine\n")
    os.chmod(root / "private", 0o400)
    os.mkfifo(root / "fifo", 0o640)
    os.chmod(root / "empty directory", 0o1777)
    settle_times(root)
    os.utime(root / "tiny", ns=(OLD, OLD))
    os.utime(root / "sub.before", ns=(FUTURE, FUTURE))
    os.utime(root / "link", ns=(123_456_789, 123_456_789), follow_symlinks=False)


def settle_times(root: Path) -> None:
    """Give every path a time that depends on its name alone."""
    for folder, names, files in os.walk(os.fsencode(root), topdown=False):
        for name in [*names, *files, b""]:
            path = folder + b"/" + name if name else folder
            relative = os.path.relpath(path, os.fsencode(root))
            time = 1_600_000_000 * SECOND + int.from_bytes(hashlib.sha256(relative).digest()[:7], "big")
            os.utime(path, ns=(time, time), follow_symlinks=False)


def change_tree(root: Path) -> None:
    """What happened between the first and the second snapshot."""
    (root / "tiny").write_bytes(b"changed\n")
    (root / "sub" / "small-07").unlink()
    (root / "added").write_bytes(b"new in the second snapshot\n")
    with open(root / "large", "r+b") as file:
        file.seek(MIB)
        file.write(b"a change in the middle")
    os.chmod(root / "sub" / "small-08", 0o600)
    settle_times(root)


def _large_content(chunker: Chunker) -> bytes:
    # One line over and over has no place to cut, so that it gets some: the bytes at which random data was cut.
    noise = random.Random("large").randbytes(4 * MIB)
    cut = len(next(iter(chunker.cut(memoryview(noise), last=True))))
    part = b"a line of a large file\n" * 50_000 + noise[cut - 63 : cut + 1]
    return part * 3 + b"an insertion" + part * 2 + b"the end"


def _make_sparse(path: Path, data: list[tuple[int, bytes]], size: int) -> None:
    with open(path, "wb") as file:
        for offset, content in data:
            file.seek(offset)
            file.write(content)
        file.truncate(size)


def list_tree(root: Path | str) -> list[dict[str, Any]]:
    """What is in a folder, as the operating system tells it; in manifest order. Numbers of hard links become names."""
    top = os.fsencode(root)
    paths = [b""]
    for folder, names, files in os.walk(top):
        paths += [os.path.relpath(os.path.join(folder, name), top) for name in (*names, *files)]
    first_names: dict[int, str] = {}
    rows = []
    for path in sorted(paths, key=lambda path: path.split(b"/")):
        absolute = os.path.join(top, path)
        status = os.lstat(absolute)
        row: dict[str, Any] = {"path": path.hex(), "kind": _KINDS[stat.S_IFMT(status.st_mode)]}
        row |= {"mode": stat.S_IMODE(status.st_mode), "mtime": status.st_mtime_ns}
        if stat.S_ISREG(status.st_mode):
            with open(absolute, "rb") as file:
                row |= {"size": status.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        if stat.S_ISLNK(status.st_mode):
            row["target"] = os.readlink(absolute).hex()
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            row["same file as"] = first_names.setdefault(status.st_ino, path.hex())
        attributes = [name for name in os.listxattr(absolute, follow_symlinks=False) if name.startswith("user.")]
        if attributes:
            row["xattrs"] = {name: os.getxattr(absolute, name, follow_symlinks=False).hex() for name in attributes}
        rows.append(row)
    return rows


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}


# The repositories


def make(name: str) -> None:
    """Build one golden repository and the listing of each of its snapshots."""
    if (HERE / name).exists():
        raise SystemExit(f"{name} is there already, and a golden repository is never made anew")
    key: Key | None = None
    if name.startswith("sealed-passphrase"):
        key = Passphrase(PASSPHRASE)
        (HERE / f"{name}.passphrase").write_text(PASSPHRASE + "\n", encoding="utf-8")
    elif name.startswith("sealed-keyfile"):
        key = _make_key_file(name)
    # The path of the tree is kept in the snapshots, so it is always the same.
    work = Path(tempfile.gettempdir()) / "safebackup-golden"
    work.mkdir()
    try:
        runtime = fixed_runtime(name)
        repository = Repository.create(work / name, key=key, runtime=runtime)
        tree = work / "tree"
        source = Source(tree, name="golden")
        make_tree(tree, repository.chunker)
        listings = {back_up(source, into=repository).snapshot.id: list_tree(tree)}
        change_tree(tree)
        if name.startswith("sealed-keyfile"):
            repository = _start_epoch(repository, key)
        listings[back_up(source, into=repository).snapshot.id] = list_tree(tree)
        verify(repository, level="structure")
        (tree / "added later").write_bytes(b"new in the third snapshot\n")
        settle_times(tree)
        listings[back_up(source, into=repository, tags=["third"]).snapshot.id] = list_tree(tree)
        shutil.copytree(work / name, HERE / name)
    finally:
        shutil.rmtree(work)
    for path in (HERE / name).rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    _write_json(HERE / f"{name}.json", listings)


def _make_key_file(name: str) -> KeyFile:
    path = HERE / f"{name}.keyfile"
    path.write_bytes(random.Random(name).randbytes(40))
    path.chmod(0o600)
    return KeyFile(path)


def _start_epoch(repository: Repository, key: Key | None) -> Repository:
    assert key is not None
    founding = repository.configurations.founding_name
    secrets = unlock(repository.store, repository.identity.repository, key, configuration=founding)
    slot = build_slot(
        repository.identity.repository, next_epoch(secrets, repository.runtime), key, repository.runtime, label="second"
    )
    repository.store.put_new(slot.name, slot.data)
    return Repository.open(repository.url, key=key, runtime=repository.runtime)


def open_golden(folder: Path, name: str, work: Path) -> Repository:
    """The golden repository `name`, whose bytes are in `folder`; a key file is copied to `work`, made private."""
    key: Key | None = None
    if name.startswith("sealed-passphrase"):
        key = Passphrase((HERE / f"{name}.passphrase").read_text(encoding="utf-8").rstrip("\n"))
    elif name.startswith("sealed-keyfile"):
        path = work / f"{name}.keyfile"
        if not path.exists():
            path.touch(0o600)
            path.write_bytes((HERE / f"{name}.keyfile").read_bytes())
        key = KeyFile(path)
    return Repository.open(folder, key=key, runtime=fixed_runtime("reading"))


# Damage


def damage(folder: Path, steps: list[dict[str, Any]]) -> None:
    """Apply the steps of a recipe to a copy of a golden repository."""
    for step in steps:
        path = folder / step["object"]
        match step["do"]:
            case "delete":
                path.unlink()
            case "truncate":
                os.truncate(path, path.stat().st_size - step["bytes"])
            case "flip":
                data = bytearray(path.read_bytes())
                data[step["offset"]] ^= 1
                path.write_bytes(data)
            case "copy":
                path.parent.mkdir(exist_ok=True)
                shutil.copyfile(HERE / step["from"], path)


def findings_of(repository: Repository) -> list[list[str]]:
    """What a full verification finds: codes and subjects, sorted."""
    report = verify(repository, level="full", record=False)
    return sorted([str(finding.code), finding.subject] for finding in report.findings)


def make_damage() -> None:
    """Choose what to damage, and note what `verify` says of it."""
    recipes = []
    for name in ("plain-1", "sealed-passphrase-1"):
        for title, steps in _recipes(name):
            with tempfile.TemporaryDirectory() as work:
                folder = Path(work) / name
                shutil.copytree(HERE / name, folder)
                damage(folder, steps)
                findings = findings_of(open_golden(folder, name, Path(work)))
            recipes.append({"title": title, "repository": name, "steps": steps, "findings": findings})
    _write_json(HERE / "damage.json", recipes)


def _recipes(name: str) -> list[tuple[str, list[dict[str, Any]]]]:
    with tempfile.TemporaryDirectory() as work:
        repository = open_golden(HERE / name, name, Path(work))
    objects = repository.store.list("")
    data = max((info.size_bytes, info.name) for info in objects if info.name.startswith("data/"))[1]
    small_data = min((info.size_bytes, info.name) for info in objects if info.name.startswith("data/"))[1]
    metadata = max((info.size_bytes, info.name) for info in objects if info.name.startswith("metadata/"))[1]
    index = max((info.size_bytes, info.name) for info in objects if info.name.startswith("index/"))[1]
    newest = repository.snapshot()
    head = newest.body.heads[0]
    other = "plain-1" if name != "plain-1" else "sealed-passphrase-1"
    foreign = next(path for path in sorted((HERE / other / "snapshots").iterdir()))
    return [
        ("a missing pack", [{"do": "delete", "object": small_data}]),
        ("a truncated pack", [{"do": "truncate", "object": data, "bytes": 1000}]),
        ("a flipped byte in a frame of data", [{"do": "flip", "object": data, "offset": 1000}]),
        ("a flipped byte in the salt of a pack", [{"do": "flip", "object": data, "offset": 40}]),
        ("a flipped byte in the table of a pack", [{"do": "flip", "object": data, "offset": -20}]),
        ("a flipped byte in a frame of metadata", [{"do": "flip", "object": metadata, "offset": 100}]),
        ("a missing index", [{"do": "delete", "object": index}]),
        ("a damaged index", [{"do": "flip", "object": index, "offset": 200}]),
        ("a damaged snapshot", [{"do": "flip", "object": newest.name, "offset": 120}]),
        ("a snapshot that was deleted", [{"do": "delete", "object": newest.name}]),
        ("a missing head of the journal", [{"do": "delete", "object": head}]),
        (
            "an object of another repository",
            [{"do": "copy", "from": f"{other}/snapshots/{foreign.name}", "object": f"snapshots/{foreign.name}"}],
        ),
        ("an object that is nobody's", [{"do": "copy", "from": f"{other}.json", "object": "notes/todo"}]),
    ]


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


def main(names: list[str]) -> None:
    """Build what is named."""
    for name in names:
        if name == "damage":
            make_damage()
        else:
            make(name)


if __name__ == "__main__":
    main(sys.argv[1:])
