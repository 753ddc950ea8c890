"""The scratch folder: where it is refused, and that its removal touches nothing else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safebackup.errors import Code, ConfigurationError, RefusedError, StorageError
from safebackup.recovery.scratch import Leftovers, Scratch, choose_place, make_scratch, remove, require_safe
from tests.attack.world import tree_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def judge(scratch: Path | str, root: Path | str, repository: Path | str = "/nowhere/repository") -> Code | None:
    """The code that a scratch folder is refused with, if it is."""
    try:
        require_safe(choose_place(scratch), [os.fsencode(root)], os.fspath(repository))
    except RefusedError as refused:
        return refused.code
    return None


@contextmanager
def mounted(*options: str | Path) -> Iterator[None]:
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", options[-1]], check=True)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with a source at work/data, and an empty folder elsewhere."""
    (tmp_path / "work" / "data" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


# Where


@pytest.mark.parametrize("scratch", ["elsewhere", "elsewhere/new", "new", "work/beside/below", "work/data2/below"])
def test_a_new_or_empty_folder_elsewhere_is_taken(top: Path, scratch: str) -> None:
    assert judge(top / scratch, top / "work" / "data") is None


@pytest.mark.parametrize(
    "scratch",
    [
        "work/data",
        "work/data/new",
        "work/data/sub",
        "work/data/sub/a/b",
        "work/beside",
        "work",
        "elsewhere/../work/new",
    ],
)
def test_on_in_around_and_beside_the_source_is_refused(top: Path, scratch: str) -> None:
    assert judge(top / scratch, top / "work" / "data") is Code.SCRATCH_UNSAFE


def test_the_place_of_a_source_that_is_gone_is_refused_as_well(top: Path) -> None:
    (top / "work" / "data" / "sub").rmdir()
    (top / "work" / "data").rmdir()

    for scratch in ("work/data", "work/data/new", "work/beside", "work"):
        assert judge(top / scratch, top / "work" / "data") is Code.SCRATCH_UNSAFE


def test_links_do_not_hide_where_a_folder_is(top: Path) -> None:
    (top / "elsewhere" / "link").symlink_to(top / "work" / "data" / "sub")
    (top / "elsewhere" / "up").symlink_to(top / "work")

    assert judge(top / "elsewhere" / "link", top / "work" / "data") is Code.SCRATCH_UNSAFE
    assert judge(top / "elsewhere" / "link" / "new", top / "work" / "data") is Code.SCRATCH_UNSAFE
    assert judge(top / "elsewhere" / "up" / "new", top / "work" / "data") is Code.SCRATCH_UNSAFE


@needs_root
def test_bind_mounts_do_not_hide_where_a_folder_is(top: Path) -> None:
    mount = top / "elsewhere" / "mount"
    mount.mkdir()
    for bound in ("work", "work/data", "work/data/sub"):  # the last one has no folder above that tells
        with mounted("--bind", top / bound, mount):
            assert judge(mount / "new", top / "work" / "data") is Code.SCRATCH_UNSAFE, bound
    with mounted("--bind", top / "elsewhere", top / "work" / "data"):
        assert judge(top / "elsewhere" / "new", top / "work" / "data") is Code.SCRATCH_UNSAFE


@needs_root
def test_for_a_backup_of_everything_only_another_disk_is_elsewhere(top: Path) -> None:
    assert judge(top / "elsewhere", "/") is Code.SCRATCH_UNSAFE
    with mounted("-t", "tmpfs", "none", top / "elsewhere"):
        assert judge(top / "elsewhere" / "new", "/") is None


def test_a_source_that_has_no_path_is_in_nobodys_way(top: Path) -> None:
    assert judge(top / "elsewhere", "") is None
    assert judge(top / "elsewhere", "dump.sql") is None


def test_the_repository_is_no_place_and_beside_it_is_one(top: Path) -> None:
    (top / "repository").mkdir()

    for scratch in ("repository", "repository/data", "repository/new/er"):
        assert judge(top / scratch, "/nowhere/else", top / "repository") is Code.TARGET_IN_REPOSITORY
    assert judge(top / "elsewhere", "/nowhere/else", top / "repository") is None
    assert judge(top / "elsewhere", "/nowhere/else", f"file://{top}/repository") is None
    assert judge(top / "elsewhere", "/nowhere/else", "s3://bucket/repository") is None


def test_a_folder_that_holds_something_is_refused_and_a_new_disks_own_folder_is_nothing(top: Path) -> None:
    (top / "elsewhere" / "lost+found").mkdir()
    assert judge(top / "elsewhere", "/nowhere/else") is None

    (top / "elsewhere" / ".hidden").touch()
    (top / "file").touch()
    assert judge(top / "elsewhere", "/nowhere/else") is Code.TARGET_NOT_EMPTY
    assert judge(top / "file", "/nowhere/else") is Code.TARGET_NOT_EMPTY
    assert judge(top / "file" / "below", "/nowhere/else") is Code.TARGET_NOT_EMPTY


def test_the_folder_for_temporary_files_is_held_to_the_same(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(top / "elsewhere"))
    (top / "elsewhere" / "data").mkdir()
    (top / "elsewhere" / "deeper" / "data").mkdir(parents=True)
    (top / "data").mkdir()

    for source in ("work/data", "elsewhere/deeper/data", "data"):
        require_safe(choose_place(None), [os.fsencode(top / source)], "/nowhere")
    with pytest.raises(RefusedError):
        require_safe(choose_place(None), [os.fsencode(top / "elsewhere" / "data")], "/nowhere")
    with pytest.raises(RefusedError):
        require_safe(choose_place(None), [os.fsencode(top)], "/nowhere")


@pytest.mark.parametrize("scratch", [b"", "a\0b", "~/drill", "s3://bucket/drill", 5, ["a"]])
def test_what_is_no_path_is_refused(scratch: object) -> None:
    with pytest.raises(ConfigurationError):
        choose_place(scratch)  # type: ignore[arg-type]


# Making and removing


def make(above: Path) -> Scratch:
    scratch = make_scratch(choose_place(above))
    os.mkdir(scratch.restored)
    return scratch


def test_nobody_else_can_enter_it_and_nothing_is_left_of_it(top: Path) -> None:
    for above in (top / "elsewhere", top / "elsewhere" / "new"):
        was_there = above.exists()
        scratch = make(above)
        mode = os.stat(scratch.path).st_mode & 0o777
        before = len(os.listdir("/proc/self/fd"))

        left = remove(scratch)

        assert mode == 0o700
        assert left == Leftovers()
        assert above.exists() == was_there
        assert len(os.listdir("/proc/self/fd")) == before - 2


def test_a_folder_is_not_made_where_the_one_above_is_missing(top: Path) -> None:
    with pytest.raises(StorageError) as caught:
        make_scratch(choose_place(top / "disk-that-is-not-mounted" / "scratch"))

    assert caught.value.code is Code.STORE_MISSING
    assert f"{top}/disk-that-is-not-mounted is not there" in caught.value.message
    assert "b'" not in caught.value.message
    assert "mount its disk" in caught.value.hint
    assert not (top / "disk-that-is-not-mounted").exists()


@needs_root
def test_why_a_folder_cannot_be_made_is_told_without_its_path_in_bytes(top: Path) -> None:
    with pytest.raises(StorageError) as caught:
        make_scratch(choose_place("/proc/scratch"))

    assert "making a scratch folder in /proc/scratch" in caught.value.message
    assert "b'" not in caught.value.message


def test_whatever_was_restored_is_removed_and_no_link_is_followed(top: Path) -> None:
    scratch = make(top / "elsewhere")
    restored = Path(os.fsdecode(scratch.restored))
    (top / "precious").mkdir()
    (top / "precious" / "file").write_text("not ours")
    before = kinds_and_content(top / "precious")
    (restored / "link").symlink_to(top / "precious")
    (restored / "locked" / "inner").mkdir(parents=True)
    (restored / "locked" / "inner" / "file").touch()
    (restored / "locked" / "link").symlink_to(top / "precious")
    os.mkfifo(restored / "pipe")
    os.link(top / "precious" / "file", restored / "hard")
    (restored / "locked" / "inner").chmod(0)
    (restored / "locked").chmod(0o400)
    restored.chmod(0)
    deep = os.open(scratch.path, os.O_RDONLY)
    for _ in range(500):
        os.mkdir("a-long-name-for-a-folder", dir_fd=deep)
        os.mkdir("b-sibling", dir_fd=deep)
        below = os.open("a-long-name-for-a-folder", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    if os.geteuid() == 0:  # permissions stop nobody else
        subprocess.run(["chown", "-R", "-h", "65534", os.fsdecode(scratch.path), top / "elsewhere"], check=True)
        top.chmod(0o755)

    with as_nobody_if_root(top):
        left = remove(scratch)

    assert left == Leftovers()
    assert os.listdir(top / "elsewhere") == []
    assert kinds_and_content(top / "precious") == before


def kinds_and_content(folder: Path) -> dict[bytes, tuple[object, ...]]:
    return {path: (seen[0], seen[1], seen[5]) for path, seen in tree_of(folder).items()}


@contextmanager
def as_nobody_if_root(folder: Path) -> Iterator[None]:
    """Another user, who may pass through the folders above."""
    if os.geteuid() != 0:
        yield
        return
    above = [one for one in (folder, *folder.parents) if one != Path("/tmp")]
    modes = [(one, one.stat().st_mode & 0o7777) for one in above]
    for one, mode in modes:
        one.chmod(mode | 0o711)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for one, mode in modes:
            one.chmod(mode)


@needs_root
def test_what_is_mounted_in_it_is_not_entered_and_is_told(top: Path) -> None:
    (top / "precious").mkdir()
    (top / "precious" / "file").write_text("not ours")
    for options in (["--bind", top / "precious"], ["-t", "tmpfs", "none"]):  # the same file system, and another
        scratch = make(top / "elsewhere")
        inner = Path(os.fsdecode(scratch.restored), "inner")
        inner.mkdir()
        Path(os.fsdecode(scratch.restored), "other").touch()
        with mounted(*options, inner):
            (inner / "inside").touch()
            left = remove(scratch)
            assert (inner / "inside").exists()

        assert left == Leftovers(1, ["restored/inner (another file system is mounted there)"])
        assert [path.name for path in inner.parent.iterdir()] == ["inner"]
        assert (top / "precious" / "file").read_text() == "not ours"
        inner.rmdir()
        inner.parent.rmdir()
        inner.parent.parent.rmdir()


@needs_root
def test_what_cannot_be_removed_is_told_and_the_rest_goes(top: Path) -> None:
    scratch = make(top / "elsewhere")
    restored = Path(os.fsdecode(scratch.restored))
    for name in ("before", "fixed", "later"):
        (restored / name).touch()
    if subprocess.run(["chattr", "+i", restored / "fixed"], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        left = remove(scratch)
    finally:
        subprocess.run(["chattr", "-i", restored / "fixed"], check=True)

    assert left == Leftovers(1, ["restored/fixed (Operation not permitted)"])
    assert os.listdir(restored) == ["fixed"]


def test_a_scratch_folder_that_is_gone_already_leaves_nothing_to_tell(top: Path) -> None:
    scratch = make(top / "elsewhere")
    os.rmdir(scratch.restored)
    os.rmdir(scratch.path)

    assert remove(scratch) == Leftovers()
