"""Placing: what a restore writes, and what it must never touch, on real files."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import pickle
import random
import resource
import signal
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from safebackup.errors import Code, IntegrityError, InternalError, RefusedError, StorageError
from safebackup.findings import Finding, Severity
from safebackup.format.manifest import Entry, EntryKind, time_to_stored
from safebackup.recovery.placing import (
    Overwrite,
    Owner,
    Placer,
    Shortfalls,
    Target,
    open_target,
    sync_target,
)
from safebackup.recovery.target import UNFINISHED_DIRECTORY

MTIME = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
NOBODY = 65534
ME = Owner(os.geteuid(), os.getegid())

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def entry(
    path: bytes, kind: EntryKind = EntryKind.FILE, *, mode: int = 0o644, mtime: int = MTIME, **more: object
) -> Entry:
    return Entry(path, int(kind), mode, ME.uid, ME.gid, time_to_stored(mtime), **more)  # type: ignore[arg-type]


def directory(path: bytes, mode: int = 0o755, **more: object) -> Entry:
    return entry(path, EntryKind.DIRECTORY, mode=mode, **more)  # type: ignore[arg-type]


@attrs.frozen
class Restore:
    """One placer at work, with all that it reported."""

    target: Target
    placer: Placer
    shortfalls: Shortfalls
    reported: list[Finding]

    @property
    def codes(self) -> list[tuple[Code, str]]:
        return [(finding.code, finding.subject) for finding in self.reported]

    def file(self, path: bytes, content: bytes = b"new", **more: object) -> bool:
        return self.placer.place_file(entry(path, size=len(content), **more), [content], ME)  # type: ignore[arg-type]


def start(path: Path | bytes, overwrite: Overwrite = Overwrite.REFUSE, *, devices: bool = False) -> Restore:
    target = open_target(os.fsencode(path), overwrite)
    reported: list[Finding] = []
    shortfalls = Shortfalls()
    placer = Placer(target, overwrite=overwrite, devices=devices, report=reported.append, shortfalls=shortfalls)
    return Restore(target, placer, shortfalls, reported)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Restore]:
    restore = start(tmp_path / "target")
    with restore.target, restore.placer:
        yield restore


def in_child(work: Callable[[], object], prepare: Callable[[], None] = lambda: None) -> object:
    """What `work` returns in a forked child, after `prepare`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: object = None
        try:
            prepare()
            answer = work()
        except BaseException as error:
            answer = error
        finally:
            os.write(writing, pickle.dumps(answer))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = pickle.load(stream)
    os.waitpid(child, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def exit_code_of(work: Callable[[], object]) -> int:
    """How a forked child ends that does `work`."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_home_of_nobody(folder: Path, groups: Sequence[int] = ()) -> Callable[[], None]:
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)

    def become_nobody() -> None:
        os.chdir(folder)  # the folders above are closed to nobody
        os.setgroups(groups)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    return become_nobody


def acl(*rows: tuple[int, int, int]) -> bytes:
    """An ACL as the kernel stores it, of rows (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


UNDEFINED = 0xFFFFFFFF
ACL = acl(
    (0x01, 6, UNDEFINED), (0x02, 7, 1234), (0x04, 4, UNDEFINED), (0x10, 5, UNDEFINED), (0x20, 0, UNDEFINED)
)  # user rw-, user 1234 rwx, group r--, mask r-x, other ---: together mode 0650


class HappensHalfWay(tuple[object, ...]):
    """Attributes of an entry that let something happen when its content was written and its metadata was not."""

    def __new__(cls, event: Callable[[], object]) -> HappensHalfWay:
        return super().__new__(cls, (event,))

    def __iter__(self) -> Iterator[object]:
        self[0]()  # type: ignore[operator]
        return iter(())


def without_nameless_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like NFS: no file is created without a name."""
    real = os.open

    def refuse(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like FAT: nothing has a second name."""

    def refuse(*args: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)


FILE_SYSTEMS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "all": lambda _: None,
    "no nameless files": without_nameless_files,
    "no links": without_links,
}


@pytest.fixture(params=FILE_SYSTEMS)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do; for a forked child too."""
    FILE_SYSTEMS[request.param](monkeypatch)
    return str(request.param)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# The target


def test_a_missing_target_is_created_and_private_until_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "above" / "target"

    restore = start(path)
    with restore.target, restore.placer as placer:
        unfinished = stat.S_IMODE(path.stat().st_mode)
        placer.make_directory(directory(b""))
        placer.finish_directory(directory(b"", 0o755), ME)

    assert unfinished == UNFINISHED_DIRECTORY
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert path.stat().st_mtime_ns == MTIME


def test_a_target_that_holds_something_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")

    with pytest.raises(RefusedError) as refused:
        open_target(os.fsencode(tmp_path))

    assert refused.value.code is Code.TARGET_NOT_EMPTY
    assert "precious" in str(refused.value)
    assert names(tmp_path) == ["precious"]


def test_the_root_of_a_new_file_system_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()

    with open_target(os.fsencode(tmp_path)) as target:
        assert target.path == os.fsencode(tmp_path)


@pytest.mark.parametrize("slash", [b"", b"/"])
@pytest.mark.parametrize("overwrite", Overwrite)
def test_a_target_that_is_a_link_is_refused(tmp_path: Path, overwrite: Overwrite, slash: bytes) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(RefusedError):
        open_target(os.fsencode(tmp_path / "link") + slash, overwrite)


def test_links_above_the_target_are_the_callers_choice(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    restore = start(tmp_path / "link" / "target")
    with restore.target, restore.placer:
        restore.file(b"a")

    assert (tmp_path / "real" / "target" / "a").read_bytes() == b"new"


@pytest.mark.parametrize("path", ["file", "file/target"])
def test_a_file_where_the_target_should_be_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(RefusedError):
        open_target(os.fsencode(tmp_path / path), Overwrite.REPLACE)


def test_an_empty_target_path_is_not_the_root_of_the_machine() -> None:
    with pytest.raises(StorageError):
        open_target(b"", Overwrite.KEEP)


# Content and metadata


def test_a_file_comes_back_with_content_mode_time_and_attributes(place: Restore, tmp_path: Path) -> None:
    placed = place.file(b"a", b"content", mode=0o640, xattrs=((b"user.colour", b"blue\0"),))

    path = tmp_path / "target" / "a"
    assert placed
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_mtime_ns == MTIME
    assert os.getxattr(path, "user.colour") == b"blue\0"
    assert place.reported == [] and place.shortfalls.findings() == []


def test_any_umask_leaves_modes_exact(place: Restore, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        place.file(b"a", mode=0o666)
        place.placer.make_directory(directory(b"d"))
        place.placer.finish_directory(directory(b"d", 0o3777), ME)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "target" / "a").stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "target" / "d").stat().st_mode) == 0o3777


def test_content_in_thousands_of_pieces_is_written_in_order(place: Restore, tmp_path: Path) -> None:
    pieces = [bytes([number % 251]) * (number % 7) for number in range(5000)]
    content = b"".join(pieces)

    place.placer.place_file(entry(b"a", size=len(content)), pieces, ME)

    assert (tmp_path / "target" / "a").read_bytes() == content


def test_an_empty_file_needs_no_pieces(place: Restore, tmp_path: Path) -> None:
    assert place.placer.place_file(entry(b"a"), [], ME)
    assert (tmp_path / "target" / "a").read_bytes() == b""


def test_content_of_another_size_is_a_bug_and_places_nothing(place: Restore, tmp_path: Path) -> None:
    with pytest.raises(InternalError):
        place.placer.place_file(entry(b"a", size=4), [b"123"], ME)

    assert names(tmp_path / "target") == []


def test_a_directory_has_its_own_time_after_its_content_was_placed(place: Restore, tmp_path: Path) -> None:
    place.placer.make_directory(directory(b"d"))
    place.file(b"d/a")
    place.placer.finish_directory(directory(b"d", 0o500), ME)

    found = (tmp_path / "target" / "d").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o500, MTIME)


def test_a_mode_and_an_acl_both_come_back_exactly(place: Restore, tmp_path: Path) -> None:
    recorded = ((b"system.posix_acl_access", ACL),)
    place.file(b"a", mode=0o650, xattrs=recorded)
    place.placer.make_directory(directory(b"d"))
    place.placer.finish_directory(directory(b"d", 0o2650, xattrs=((b"system.posix_acl_default", ACL), *recorded)), ME)

    path, folder = tmp_path / "target" / "a", tmp_path / "target" / "d"
    assert os.getxattr(path, "system.posix_acl_access") == ACL
    assert stat.S_IMODE(path.stat().st_mode) == 0o650
    assert os.getxattr(folder, "system.posix_acl_access") == ACL
    assert os.getxattr(folder, "system.posix_acl_default") == ACL
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2650


def test_acls_of_the_target_folder_do_not_spread_to_what_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()
    os.setxattr(path, "system.posix_acl_default", ACL)

    restore = start(path)
    with restore.target, restore.placer as placer:
        placer.make_directory(directory(b"d"))
        restore.file(b"d/a")
        restore.file(b"b", mode=0o664)
        placer.place_special(entry(b"p", EntryKind.FIFO), ME)
        placer.finish_directory(directory(b"d"), ME)

    for name, mode in (("d", 0o755), ("d/a", 0o644), ("b", 0o664), ("p", 0o644)):
        assert os.listxattr(path / name) == [], name
        assert stat.S_IMODE((path / name).stat().st_mode) == mode, name
    assert restore.shortfalls.findings() == []


@needs_root
def test_owner_setuid_and_capabilities_come_back_together(place: Restore, tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    one = entry(b"a", mode=0o6755, size=3, xattrs=((b"security.capability", capability),))

    place.placer.place_file(one, [b"run"], Owner(1234, 5678))

    path = tmp_path / "target" / "a"
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o6755)
    assert os.getxattr(path, "security.capability") == capability
    assert place.shortfalls.findings() == []


@needs_root
def test_a_setgid_folder_does_not_decide_who_owns_what_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()
    os.chown(path, 0, 4321)
    path.chmod(0o2755)

    restore = start(path)
    with restore.target, restore.placer as placer:
        restore.file(b"a")
        restore.file(b"b")
        placer.make_directory(directory(b"d"))
        placer.finish_directory(directory(b"d"), ME)

    for name in ("a", "b", "d"):
        assert (path / name).stat().st_gid == ME.gid, name
    assert stat.S_IMODE((path / "d").stat().st_mode) == 0o755


@pytest.mark.parametrize("seconds", [-(1 << 31) + 5, -1, 0, (1 << 31) + 7, (1 << 33)])
def test_times_before_1970_and_after_2038_come_back(place: Restore, tmp_path: Path, seconds: int) -> None:
    place.file(b"a", mtime=seconds * SECOND + 1)

    assert (tmp_path / "target" / "a").stat().st_mtime_ns == seconds * SECOND + 1


@pytest.mark.parametrize("mtime", [-(1 << 80), (1 << 64) * SECOND, (1 << 90)])
def test_a_time_that_cannot_be_held_is_a_finding(place: Restore, mtime: int) -> None:
    assert place.file(b"a", mtime=mtime)

    (finding,) = place.shortfalls.findings()
    assert finding.code is Code.METADATA_NOT_SET
    assert "modification time" in finding.what and finding.subject == "a"


def test_attributes_that_the_file_system_refuses_are_one_finding_with_a_count(place: Restore, tmp_path: Path) -> None:
    for name in (b"a", b"b", b"c"):
        place.file(name, xattrs=((b"nonsense.x", b"1"), (b"user.kept", b"2"), (b"user.\0", b"3")))

    kinds = [(finding.code, finding.subject, "3 paths" in finding.what) for finding in place.shortfalls.findings()]
    assert kinds == [(Code.METADATA_NOT_SET, "a", True)] * 2
    assert os.getxattr(tmp_path / "target" / "c", "user.kept") == b"2"


def test_an_attribute_too_large_for_the_file_system_does_not_end_the_restore(place: Restore) -> None:
    assert place.file(b"a", xattrs=((b"user.large", b"x" * 70_000),))

    assert [finding.code for finding in place.shortfalls.findings()] == [Code.METADATA_NOT_SET]


@needs_root
@pytest.mark.parametrize("owner", [Owner((1 << 32) - 1, 0), Owner(-1, 0), Owner(0, 1 << 40)])
def test_an_impossible_owner_never_leaves_a_setuid_program_behind(place: Restore, tmp_path: Path, owner: Owner) -> None:
    place.placer.place_file(entry(b"a", mode=0o4755), [], owner)

    assert stat.S_IMODE((tmp_path / "target" / "a").stat().st_mode) == 0o755
    assert len(place.shortfalls.findings()) == 2


# Links and special files


def test_a_symbolic_link_comes_back_without_touching_what_it_points_to(place: Restore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    before = outside.stat()
    one = entry(b"link", EntryKind.SYMLINK, mode=0o777, target=os.fsencode(outside))

    placed = place.placer.place_symlink(one, ME)

    link = tmp_path / "target" / "link"
    assert placed and os.readlink(link) == str(outside)
    assert link.lstat().st_mtime_ns == MTIME
    assert outside.stat() == before
    assert place.shortfalls.findings() == []


@needs_root
def test_owner_and_attributes_of_a_symbolic_link_are_its_own(place: Restore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    attributes = ((b"trusted.mark", b"1"),)
    one = entry(b"link", EntryKind.SYMLINK, mode=0o777, target=b"../outside", xattrs=attributes)

    place.placer.place_symlink(one, Owner(1234, 5678))

    link = tmp_path / "target" / "link"
    assert (link.lstat().st_uid, link.lstat().st_gid) == (1234, 5678)
    assert os.getxattr(link, "trusted.mark", follow_symlinks=False) == b"1"
    assert outside.stat().st_uid == 0 and os.listxattr(outside) == []


@pytest.mark.parametrize("link", [None, b"a\0b"])
def test_a_link_target_that_no_file_system_can_hold_is_damage(place: Restore, link: bytes | None) -> None:
    with pytest.raises(IntegrityError):
        place.placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=link), ME)


def test_a_fifo_needs_no_consent(place: Restore, tmp_path: Path) -> None:
    assert place.placer.place_special(entry(b"pipe", EntryKind.FIFO, mode=0o620), ME)

    found = (tmp_path / "target" / "pipe").lstat()
    assert stat.S_ISFIFO(found.st_mode)
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o620, MTIME)


def test_devices_without_consent_are_not_made_and_counted(place: Restore, tmp_path: Path) -> None:
    for name in (b"null", b"zero"):
        assert not place.placer.place_special(entry(name, EntryKind.CHARACTER_DEVICE, device=(1, 3)), ME)

    (finding,) = place.shortfalls.findings()
    assert (finding.code, finding.subject) == (Code.DEVICE_NOT_MADE, "null")
    assert "2 paths" in finding.what
    assert names(tmp_path / "target") == []


@needs_root
@pytest.mark.parametrize("kind", [EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE])
def test_devices_with_consent_come_back_and_are_never_opened(tmp_path: Path, kind: EntryKind) -> None:
    restore = start(tmp_path / "target", devices=True)
    with restore.target, restore.placer as placer:
        # There is no such device: opening it would fail.
        placed = placer.place_special(entry(b"node", kind, mode=0o660, device=(240, 300)), Owner(0, 6))

    found = (tmp_path / "target" / "node").lstat()
    assert placed and restore.shortfalls.findings() == []
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (240, 300)
    assert (stat.S_IMODE(found.st_mode), found.st_gid, found.st_mtime_ns) == (0o660, 6, MTIME)


@pytest.mark.parametrize("number", [None, (-1, 0), (1 << 40, 1)])
def test_an_impossible_device_number_is_a_finding(tmp_path: Path, number: tuple[int, int] | None) -> None:
    restore = start(tmp_path / "target", devices=True)
    with restore.target, restore.placer as placer:
        assert not placer.place_special(entry(b"node", EntryKind.BLOCK_DEVICE, device=number), ME)

    assert [finding.code for finding in restore.shortfalls.findings()] == [Code.DEVICE_NOT_MADE]


def test_hard_links_join_names_in_different_directories(place: Restore, tmp_path: Path) -> None:
    for name in (b"d", b"e"):
        place.placer.make_directory(directory(name))
    place.file(b"d/a")

    assert place.placer.place_hard_link(entry(b"e/b", size=3), b"d/a")

    assert (tmp_path / "target/d/a").samefile(tmp_path / "target/e/b")


def test_a_hard_link_to_a_symbolic_link_links_the_link(place: Restore, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    one = entry(b"link", EntryKind.SYMLINK, target=b"../outside")
    place.placer.place_symlink(one, ME)

    assert place.placer.place_hard_link(entry(b"other", EntryKind.SYMLINK, target=b"../outside"), b"link")

    assert (tmp_path / "target" / "other").lstat().st_nlink == 2
    assert (tmp_path / "outside").stat().st_nlink == 1


@pytest.mark.parametrize("planted", ["nothing", "link", "other", "folder"])
def test_a_hard_link_to_what_somebody_swapped_asks_for_a_copy(place: Restore, tmp_path: Path, planted: str) -> None:
    place.placer.make_directory(directory(b"d"))
    place.file(b"d/a")
    path = tmp_path / "target" / "d" / "a"
    path.unlink()
    if planted == "link":
        path.symlink_to("abc")  # of the same size
    elif planted == "other":
        path.write_text("of another size")
    elif planted == "folder":
        path.mkdir()

    assert not place.placer.place_hard_link(entry(b"b", size=3), b"d/a")

    assert names(tmp_path / "target") == ["d"]


def test_a_hard_link_replaces_even_another_name_of_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.mkdir()
    (path / "a").write_bytes(b"new")
    os.link(path / "a", path / "b")
    (path / "c").write_text("old")

    restore = start(path, Overwrite.REPLACE)
    with restore.target, restore.placer as placer:
        assert placer.place_hard_link(entry(b"b", size=3), b"a")
        assert placer.place_hard_link(entry(b"c", size=3), b"a")

    assert names(path) == ["a", "b", "c"]
    assert (path / "a").stat().st_nlink == 3


# Large files


def test_a_large_file_may_be_written_in_any_order_and_its_holes_stay_holes(place: Restore, tmp_path: Path) -> None:
    size = 64 << 20
    one = entry(b"a", mode=0o600, size=size)
    partial = place.placer.open_file(one)
    assert partial is not None

    with partial:
        partial.write_at(32 << 20, memoryview(b"middle"))
        partial.write_at(0, b"first")
        before = names(tmp_path / "target")
        assert partial.finish(ME)

    found = (tmp_path / "target" / "a").stat()
    assert before != ["a"], "the final name appeared before the file was whole"
    assert names(tmp_path / "target") == ["a"]
    assert (found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode)) == (size, MTIME, 0o600)
    assert found.st_blocks * 512 < 1 << 20
    with (tmp_path / "target" / "a").open("rb") as stream:
        assert stream.read(5) == b"first"
        stream.seek(32 << 20)
        assert stream.read(7) == b"middle\0"


def test_an_error_leaves_nothing_of_a_large_file_and_no_descriptor(place: Restore, tmp_path: Path) -> None:
    before = open_descriptors()

    with pytest.raises(ValueError, match="mine"):
        partial = place.placer.open_file(entry(b"a", size=4))
        assert partial is not None
        with partial:
            partial.write_at(0, b"data")
            raise ValueError("mine")

    assert names(tmp_path / "target") == []
    assert open_descriptors() == before


def test_a_large_file_never_replaces_what_appeared_while_it_was_written(place: Restore, tmp_path: Path) -> None:
    partial = place.placer.open_file(entry(b"a", size=4))
    assert partial is not None
    (tmp_path / "target" / "a").write_text("of another program")

    with partial:
        partial.write_at(0, b"data")
        assert not partial.finish(ME)

    assert names(tmp_path / "target") == ["a"]
    assert (tmp_path / "target" / "a").read_text() == "of another program"
    assert place.codes == [(Code.PATH_NOT_RESTORED, "a")]


def test_a_large_file_whose_temporary_was_taken_away_leaves_no_name(
    place: Restore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_nameless_files(monkeypatch)
    partial = place.placer.open_file(entry(b"a", size=4))
    assert partial is not None
    for name in names(tmp_path / "target"):
        (tmp_path / "target" / name).unlink()

    with partial:
        partial.write_at(0, b"data")
        assert not partial.finish(ME)

    assert names(tmp_path / "target") == []
    assert place.codes == [(Code.PATH_NOT_RESTORED, "a")]


def test_a_large_file_stays_in_its_folder_when_the_cache_let_go_of_it(place: Restore, tmp_path: Path) -> None:
    place.placer.make_directory(directory(b"d"))
    partial = place.placer.open_file(entry(b"d/large", size=4))
    assert partial is not None
    for number in range(100):
        place.placer.make_directory(directory(b"x%d" % number))
        place.file(b"x%d/a" % number)

    with partial:
        partial.write_at(0, b"data")
        assert partial.finish(ME)

    assert (tmp_path / "target" / "d" / "large").read_bytes() == b"data"
    assert names(tmp_path / "target" / "d") == ["large"]


# What was there before


@pytest.fixture
def occupied(tmp_path: Path) -> Path:
    """A target with `file`, `link` (to a file outside), `fifo` and `folder`, which holds `inside`."""
    path = tmp_path / "target"
    path.mkdir()
    (tmp_path / "outside").write_text("outside")
    (path / "file").write_text("old")
    (path / "link").symlink_to("../outside")
    os.mkfifo(path / "fifo")
    (path / "folder").mkdir(mode=0o711)
    (path / "folder" / "inside").write_text("inside")
    return path


@pytest.mark.parametrize("name", ["file", "link", "fifo", "folder"])
def test_keep_leaves_everything_as_it_was(occupied: Path, name: str) -> None:
    before = (occupied / name).lstat()

    restore = start(occupied, Overwrite.KEEP)
    with restore.target, restore.placer as placer:
        assert not restore.file(os.fsencode(name))
        assert placer.open_file(entry(os.fsencode(name), size=1 << 30)) is None
        assert not placer.place_symlink(entry(os.fsencode(name), EntryKind.SYMLINK, target=b"x"), ME)
        assert not placer.place_special(entry(os.fsencode(name), EntryKind.FIFO), ME)

    code = Code.PATH_NOT_RESTORED if name == "folder" else Code.PATH_KEPT
    assert (occupied / name).lstat() == before
    assert restore.codes == [(code, name)] * 4
    assert names(occupied) == ["fifo", "file", "folder", "link"]


@pytest.mark.parametrize("name", ["file", "link", "fifo"])
def test_replace_puts_new_files_in_place_of_old_ones_and_follows_no_link(occupied: Path, name: str) -> None:
    restore = start(occupied, Overwrite.REPLACE)
    with restore.target, restore.placer:
        assert restore.file(os.fsencode(name))

    assert stat.S_ISREG((occupied / name).lstat().st_mode)
    assert (occupied / name).read_bytes() == b"new"
    assert (occupied.parent / "outside").read_text() == "outside"
    assert names(occupied) == ["fifo", "file", "folder", "link"]
    assert restore.reported == []


def test_replace_never_writes_into_a_file_that_has_other_names(occupied: Path) -> None:
    os.link(occupied / "file", occupied.parent / "other name")

    restore = start(occupied, Overwrite.REPLACE)
    with restore.target, restore.placer as placer:
        restore.file(b"file")
        placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=b"new"), ME)
        placer.place_special(entry(b"fifo", EntryKind.FIFO), ME)
        partial = placer.open_file(entry(b"file", size=5))
        assert partial is not None
        with partial:
            partial.write_at(0, b"newer")
            assert partial.finish(ME)

    assert (occupied.parent / "other name").read_text() == "old"
    assert (occupied / "file").read_text() == "newer"
    assert os.readlink(occupied / "link") == "new"
    assert names(occupied) == ["fifo", "file", "folder", "link"]


@pytest.mark.parametrize("overwrite", [Overwrite.KEEP, Overwrite.REPLACE])
def test_a_folder_where_a_file_should_go_is_never_deleted(occupied: Path, overwrite: Overwrite) -> None:
    restore = start(occupied, overwrite)
    with restore.target, restore.placer as placer:
        assert not restore.file(b"folder")
        assert placer.open_file(entry(b"folder", size=9)) is None
        assert placer.place_hard_link(entry(b"folder", size=3), b"file")

    assert (occupied / "folder" / "inside").read_text() == "inside"
    assert restore.codes == [(Code.PATH_NOT_RESTORED, "folder")] * 3
    assert {finding.severity for finding in restore.reported} == {Severity.ERROR}


@pytest.mark.parametrize("overwrite", [Overwrite.KEEP, Overwrite.REPLACE])
@pytest.mark.parametrize("name", [b"file", b"link", b"fifo"])
def test_a_file_where_a_folder_should_go_stays_and_nothing_goes_below(
    occupied: Path, overwrite: Overwrite, name: bytes
) -> None:
    restore = start(occupied, overwrite)
    with restore.target, restore.placer as placer:
        assert not placer.make_directory(directory(name))
        assert not restore.file(name + b"/below")
        assert not placer.finish_directory(directory(name), ME)

    subject = os.fsdecode(name)
    assert restore.codes == [
        (Code.PATH_NOT_RESTORED, subject),
        (Code.PATH_NOT_RESTORED, subject + "/below"),
        (Code.PATH_NOT_RESTORED, subject),
    ]
    assert names(occupied.parent) == ["outside", "target"]


def test_keep_adds_to_a_folder_and_leaves_its_metadata(occupied: Path) -> None:
    restore = start(occupied, Overwrite.KEEP)
    with restore.target, restore.placer as placer:
        assert placer.make_directory(directory(b"folder"))
        assert restore.file(b"folder/added")
        assert placer.finish_directory(directory(b"folder"), ME)
        assert placer.finish_directory(directory(b""), ME)

    assert names(occupied / "folder") == ["added", "inside"]
    assert stat.S_IMODE((occupied / "folder").stat().st_mode) == 0o711
    assert occupied.stat().st_mtime_ns != MTIME
    assert restore.codes == [(Code.PATH_KEPT, "folder")]
    assert restore.reported[0].severity is Severity.INFO


def test_replace_merges_a_folder_and_gives_it_the_recorded_metadata(occupied: Path) -> None:
    os.setxattr(occupied / "folder", "system.posix_acl_default", ACL)
    os.setxattr(occupied / "folder", "system.posix_acl_access", ACL)

    restore = start(occupied, Overwrite.REPLACE)
    with restore.target, restore.placer as placer:
        assert placer.make_directory(directory(b"folder"))
        assert placer.finish_directory(directory(b"folder", 0o750), ME)

    folder = occupied / "folder"
    assert names(folder) == ["inside"]
    assert (stat.S_IMODE(folder.stat().st_mode), folder.stat().st_mtime_ns) == (0o750, MTIME)
    assert os.listxattr(folder) == []


def test_keep_completes_what_a_killed_restore_left_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "target"

    def killed_half_way() -> None:
        restore = start(path)
        restore.placer.make_directory(directory(b"d"))
        restore.file(b"d/whole", b"whole")
        restore.file(b"d/half", b"half", xattrs=HappensHalfWay(kill_myself))

    assert exit_code_of(killed_half_way) == -signal.SIGKILL
    assert names(path / "d") == ["whole"]

    restore = start(path, Overwrite.KEEP)
    with restore.target, restore.placer as placer:
        assert placer.make_directory(directory(b"d"))
        assert not restore.file(b"d/whole", b"other")
        assert restore.file(b"d/half", b"complete")
        assert placer.finish_directory(directory(b"d"), ME)

    assert (path / "d/whole").read_bytes() == b"whole"
    assert (path / "d/half").read_bytes() == b"complete"
    assert stat.S_IMODE((path / "d").stat().st_mode) == 0o755
    assert restore.codes == [(Code.PATH_KEPT, "d/whole")]


def test_what_appears_during_a_restore_into_an_empty_target_is_not_replaced(place: Restore, tmp_path: Path) -> None:
    (tmp_path / "target" / "a").write_text("of another program")
    (tmp_path / "target" / "d").mkdir()

    assert not place.file(b"a")
    assert place.placer.make_directory(directory(b"d"))

    assert (tmp_path / "target" / "a").read_text() == "of another program"
    assert place.codes == [(Code.PATH_NOT_RESTORED, "a"), (Code.PATH_KEPT, "d")]


# How names appear

PLACED = 400


def content_of(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest() * (1 + number * 37 % 3000)


def place_all(path: Path, started: int) -> None:
    """Place many files, every tenth as a large one, and links; under KEEP, so that a call continues the one before."""
    restore = start(path, Overwrite.KEEP)
    os.write(started, b"!")
    with restore.target, restore.placer as placer:
        for number in range(PLACED):
            folder, content = b"d%d" % (number // 50), content_of(number)
            placer.make_directory(directory(folder))
            name = folder + b"/%d" % number
            if number % 10:
                restore.file(name, content, mode=0o640)
                continue
            partial = placer.open_file(entry(name, mode=0o640, size=len(content)))
            if partial is not None:
                with partial:
                    for offset in range(0, len(content), 4096):
                        partial.write_at(offset, content[offset : offset + 4096])
                    partial.finish(ME)
            placer.place_symlink(entry(name + b".link", EntryKind.SYMLINK, target=b"x"), ME)
            placer.place_special(entry(name + b".fifo", EntryKind.FIFO, mode=0o620), ME)


def start_placing(path: Path) -> int:
    """A child that places everything and has begun."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            place_all(path, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    assert os.read(reading, 1) == b"!"
    os.close(reading)
    return child


def assert_whole(path: Path) -> int:
    """How many files have their names; each of them is whole, and so is everything else."""
    found = 0
    for placed in path.glob("d*/*"):
        status = placed.lstat()
        if placed.name.startswith(".safebackup-"):
            continue
        assert status.st_mtime_ns == MTIME, placed
        if placed.suffix:
            assert stat.S_IMODE(status.st_mode) == (0o777 if placed.is_symlink() else 0o620), placed
            continue
        assert placed.read_bytes() == content_of(int(placed.name)), placed
        assert stat.S_IMODE(status.st_mode) == 0o640, placed
        found += 1
    return found


@pytest.mark.parametrize("file_system", ["all", "no nameless files"], indirect=True)
def test_killed_at_any_moment_a_restore_leaves_only_whole_files(tmp_path: Path, file_system: str) -> None:
    interrupted = 0
    for number in range(15):
        path = tmp_path / f"target {number}"
        child = start_placing(path)
        last_seen = path / f"d{number // 2}" / str(random.randrange(50) + number // 2 * 50)
        while not last_seen.exists() and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            pass
        time.sleep(random.uniform(0, 0.001))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        interrupted += 0 < assert_whole(path) < PLACED

        assert os.waitstatus_to_exitcode(os.waitpid(start_placing(path), 0)[1]) == 0
        assert assert_whole(path) == PLACED, "keeping what is there completes it"

    assert interrupted > 3, "the moments were badly chosen: little was learnt"


@pytest.mark.parametrize("large", [False, True])
def test_a_killed_restore_leaves_no_file_that_was_not_finished(tmp_path: Path, file_system: str, large: bool) -> None:
    path = tmp_path / "target"

    def killed_half_way() -> None:
        restore = start(path)
        one = entry(b"a", size=4, xattrs=HappensHalfWay(kill_myself))
        if large:
            partial = restore.placer.open_file(one)
            assert partial is not None
            partial.write_at(0, b"half")
            partial.finish(ME)
        else:
            restore.placer.place_file(one, [b"half"], ME)

    assert exit_code_of(killed_half_way) == -signal.SIGKILL

    left = names(path)
    assert all(name.startswith(".safebackup-") for name in left)
    assert len(left) == (file_system != "all"), "a file without a name leaves nothing at all"


@pytest.mark.parametrize("overwrite", [Overwrite.REFUSE, Overwrite.KEEP])
@pytest.mark.parametrize("kind", [EntryKind.FILE, EntryKind.SYMLINK, EntryKind.FIFO])
def test_what_appears_at_the_last_moment_is_not_replaced(
    tmp_path: Path, file_system: str, overwrite: Overwrite, kind: EntryKind
) -> None:
    path = tmp_path / "target"
    restore = start(path, overwrite)
    one = entry(b"a", kind, xattrs=HappensHalfWay(lambda: (path / "a").write_text("theirs")), target=b"x")
    with restore.target, restore.placer as placer:
        if kind == EntryKind.FILE:
            placed = placer.place_file(one, [], ME)
        else:
            placed = (placer.place_symlink if kind == EntryKind.SYMLINK else placer.place_special)(one, ME)

    assert not placed
    assert names(path) == ["a"] and (path / "a").read_text() == "theirs"
    assert restore.codes == [(Code.PATH_KEPT if overwrite is Overwrite.KEEP else Code.PATH_NOT_RESTORED, "a")]


@pytest.mark.parametrize("overwrite", [Overwrite.REFUSE, Overwrite.KEEP])
def test_what_comes_after_something_that_vanished_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: Overwrite
) -> None:
    path = tmp_path / "target"
    restore = start(path, overwrite)
    real, seen = os.link, []
    with restore.target, restore.placer:
        restore.file(b"first")

        def link(*args: object, **more: object) -> None:
            seen.append(args)
            if len(seen) == 1:  # something had the name, and has gone before anybody can look
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            (path / "a").write_text("theirs")
            real(*args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", link)
        assert not restore.file(b"a")

    assert (path / "a").read_text() == "theirs"
    assert restore.codes == [(Code.PATH_NOT_RESTORED, "a")]


def test_files_links_and_fifos_are_placed_and_replaced_on_every_file_system(tmp_path: Path, file_system: str) -> None:
    path = tmp_path / "target"
    for overwrite, content in ((Overwrite.REFUSE, b"1"), (Overwrite.REPLACE, b"2")):
        restore = start(path, overwrite)
        with restore.target, restore.placer as placer:
            assert restore.file(b"file", content)
            assert placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=content), ME)
            assert placer.place_special(entry(b"fifo", EntryKind.FIFO), ME)
            partial = placer.open_file(entry(b"large", size=1))
            assert partial is not None
            with partial:
                partial.write_at(0, content)
                assert partial.finish(ME)
        assert restore.reported == [] and restore.shortfalls.findings() == []

    assert names(path) == ["fifo", "file", "large", "link"]
    assert (path / "file").read_bytes() == (path / "large").read_bytes() == b"2"
    assert os.readlink(path / "link") == "2"
    assert {(path / name).lstat().st_nlink for name in names(path)} == {1}


def test_only_what_was_placed_is_answered_with_true(occupied: Path) -> None:
    restore = start(occupied, Overwrite.KEEP)
    with restore.target, restore.placer as placer:
        partial = placer.open_file(entry(b"late", size=4))
        assert partial is not None
        (occupied / "late").write_text("theirs")
        with partial:
            kept = [partial.finish(ME), restore.file(b"file")]
        kept.append(placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=b"x"), ME))
        kept.append(placer.place_special(entry(b"fifo", EntryKind.FIFO), ME))
        placed = [restore.file(b"new"), placer.place_symlink(entry(b"new link", EntryKind.SYMLINK, target=b"x"), ME)]

    assert kept == [False] * 4 and placed == [True] * 2


def lose_power_over_what_is_given_away() -> None:
    """Keep CAP_CHOWN and lose CAP_FOWNER and CAP_DAC_OVERRIDE, as a container may."""
    words = struct.pack("<6I", 1, 1, 0, 0, 0, 0)  # effective, permitted, inheritable; CAP_CHOWN is bit 0
    if ctypes.CDLL(None).capset(struct.pack("<Ii", 0x20080522, 0), words):
        raise OSError("capset failed")


@needs_root
def test_who_may_give_files_away_and_not_link_them_still_restores_them(tmp_path: Path) -> None:
    def restore_one() -> object:
        restore = start(tmp_path / "target")
        with restore.target, restore.placer as placer:
            return placer.place_file(entry(b"a", size=3), [b"new"], Owner(1234, 5678)), restore.codes

    assert in_child(restore_one, lose_power_over_what_is_given_away) == (True, [])
    assert (tmp_path / "target" / "a").read_bytes() == b"new"
    assert (tmp_path / "target" / "a").stat().st_uid == 1234


@needs_root
def test_a_user_who_cannot_give_a_file_away_gives_it_to_a_group_of_theirs(tmp_path: Path) -> None:
    def restore_one() -> object:
        restore = start(b"target")
        with restore.target, restore.placer as placer:
            assert placer.place_file(entry(b"a", mode=0o2755), [], Owner(0, 1234))
            assert placer.place_file(entry(b"mine"), [], Owner(NOBODY, 0))
            return [(finding.what.split(":")[0], finding.subject) for finding in restore.shortfalls.findings()]

    assert in_child(restore_one, in_home_of_nobody(tmp_path / "home", groups=[1234])) == [
        ("owner", "a"),
        ("setuid and setgid", "a"),
        ("group", "mine"),
    ]
    found = (tmp_path / "home" / "target" / "a").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, 1234, 0o755)


# Hostile manifests and hostile neighbours

UNSAFE = [b"", b".", b"..", b"../x", b"a/../x", b"a/./x", b"a//x", b"/etc/x", b"/x", b"a/", b"a\0b", b"a\0/b", b"//"]


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("overwrite", Overwrite)
def test_unsafe_paths_are_refused_whoever_asks(tmp_path: Path, overwrite: Overwrite, path: bytes) -> None:
    restore = start(tmp_path / "target", overwrite)
    with restore.target, restore.placer as placer:
        placer.make_directory(directory(b"a"))
        attempts: list[Callable[[], object]] = [
            lambda: restore.file(path),
            lambda: placer.open_file(entry(path, size=1)),
            lambda: placer.place_symlink(entry(path, EntryKind.SYMLINK, target=b"x"), ME),
            lambda: placer.place_special(entry(path, EntryKind.FIFO), ME),
            lambda: placer.place_hard_link(entry(path), b"a"),
            lambda: placer.place_hard_link(entry(b"a/b"), path),
        ]
        if path != b"":
            attempts += [
                lambda: placer.make_directory(directory(path)),
                lambda: placer.finish_directory(directory(path), ME),
            ]
        for attempt in attempts:
            with pytest.raises(IntegrityError) as refused:
                attempt()
            assert refused.value.code is Code.UNSAFE_PATH

    assert names(tmp_path) == ["target"] and names(tmp_path / "target") == ["a"]
    assert names(tmp_path / "target" / "a") == []


@pytest.mark.parametrize("overwrite", Overwrite)
@pytest.mark.parametrize("depth", ["d", "d/e"])
def test_a_folder_swapped_for_a_link_is_not_followed(tmp_path: Path, overwrite: Overwrite, depth: str) -> None:
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    path = tmp_path / "target"

    restore = start(path, overwrite)
    with restore.target, restore.placer as placer:
        placer.make_directory(directory(b"d"))
        placer.make_directory(directory(b"d/e"))
        placer.close()
        (path / depth).rename(tmp_path / "moved away")
        (path / depth).symlink_to(outside)

        assert not restore.file(b"d/e/a")
        assert placer.open_file(entry(b"d/e/a", size=1)) is None
        assert not placer.place_symlink(entry(b"d/e/a", EntryKind.SYMLINK, target=b"x"), ME)
        assert not placer.place_special(entry(b"d/e/a", EntryKind.FIFO), ME)
        assert placer.place_hard_link(entry(b"d/e/a"), b"x")
        assert not placer.make_directory(directory(b"d/e/a"))
        assert not placer.finish_directory(directory(b"d/e", 0o777), ME)

    assert names(outside) == ["e"] and names(outside / "e") == []
    assert (outside / "e").stat().st_mtime_ns != MTIME
    assert {code for code, _ in restore.codes} == {Code.PATH_NOT_RESTORED}
    assert len(restore.codes) == 7


def test_a_link_in_the_manifest_is_not_followed_by_what_is_said_to_lie_below(place: Restore, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    place.placer.place_symlink(entry(b"d", EntryKind.SYMLINK, target=b"../outside"), ME)

    assert not place.file(b"d/a")

    assert names(tmp_path / "outside") == []
    assert place.codes == [(Code.PATH_NOT_RESTORED, "d/a")]


def test_a_path_whose_folder_is_missing_is_a_finding(place: Restore) -> None:
    assert not place.file(b"d/a")

    assert place.codes == [(Code.PATH_NOT_RESTORED, "d/a")]


# Long and many paths


def test_the_longest_names_work_under_every_policy(tmp_path: Path) -> None:
    name = b"n" * 255
    for overwrite, content in ((Overwrite.REFUSE, b"1"), (Overwrite.REPLACE, b"2"), (Overwrite.REPLACE, b"3")):
        restore = start(tmp_path / "target", overwrite)
        with restore.target, restore.placer as placer:
            partial = placer.open_file(entry(name, size=1))
            assert partial is not None
            with partial:
                partial.write_at(0, content)
                assert partial.finish(ME)
            assert overwrite is Overwrite.REFUSE or restore.file(name, content)

    assert names(tmp_path / "target") == [os.fsdecode(name)]
    assert (tmp_path / "target" / os.fsdecode(name)).read_bytes() == b"3"


def test_a_name_that_is_too_long_is_a_finding(place: Restore, tmp_path: Path) -> None:
    assert not place.file(b"n" * 256)

    assert [code for code, _ in place.codes] == [Code.PATH_NOT_RESTORED]
    assert names(tmp_path / "target") == []


def test_paths_longer_than_the_kernel_takes_at_once_work(place: Restore, tmp_path: Path) -> None:
    levels = [b"/".join([b"n" * 200] * depth) for depth in range(1, 151)]
    for path in levels:
        assert place.placer.make_directory(directory(path))
    place.placer.close()  # so that all of the way has to be opened again, more than is kept open

    assert place.file(levels[-1] + b"/a", b"deep")
    assert place.placer.place_hard_link(entry(b"shallow", size=4), levels[-1] + b"/a")
    for path in reversed(levels):
        assert place.placer.finish_directory(directory(path), ME)

    assert (tmp_path / "target" / "shallow").read_bytes() == b"deep"
    assert place.reported == [] and place.shortfalls.findings() == []


def test_thousands_of_folders_keep_few_descriptors_open(tmp_path: Path) -> None:
    before = open_descriptors()

    restore = start(tmp_path / "target")
    with restore.target, restore.placer as placer:
        for number in range(300):
            placer.make_directory(directory(b"d%d" % number))
        most = before
        for turn in range(2):
            for number in range(300):
                assert restore.file(b"d%d/%d" % (number, turn), b"%d" % number)
                most = max(most, open_descriptors())

    assert most - before < 80
    assert open_descriptors() == before
    assert all((tmp_path / "target" / f"d{number}" / "1").read_text() == str(number) for number in range(300))


def test_a_folder_that_the_cache_let_go_of_is_opened_again(place: Restore, tmp_path: Path) -> None:
    for number in range(100):
        place.placer.make_directory(directory(b"d%d" % number))
    place.file(b"d0/a")
    for number in range(1, 100):
        place.placer.finish_directory(directory(b"d%d" % number), ME)

    assert place.file(b"d0/b")

    assert names(tmp_path / "target" / "d0") == ["a", "b"]


# Without privileges, and with a disk that fails


@needs_root
def test_without_root_nothing_is_silent_and_setuid_is_dropped(tmp_path: Path) -> None:
    def restore_all() -> object:
        restore = start(b"target", devices=True)
        with restore.target, restore.placer as placer:
            for name in (b"a", b"b"):
                one = entry(name, mode=0o6755, xattrs=((b"trusted.x", b"1"), (b"user.x", b"2")))
                assert placer.place_file(one, [], Owner(0, 0))
            assert placer.place_file(entry(b"mine", mode=0o4755), [], Owner(NOBODY, NOBODY))
            assert placer.place_file(
                entry(b"readonly", mode=0o444, xattrs=((b"user.x", b"2"),)), [], Owner(NOBODY, NOBODY)
            )
            assert placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=b"x"), Owner(0, 0))
            assert not placer.place_special(entry(b"null", EntryKind.CHARACTER_DEVICE, device=(1, 3)), Owner(0, 0))
        assert restore.reported == []
        return restore.shortfalls.findings()

    findings = in_child(restore_all, in_home_of_nobody(tmp_path / "home"))

    assert isinstance(findings, list)
    assert {(finding.code, finding.what.split(":")[0]) for finding in findings} == {
        (Code.METADATA_NOT_SET, "owner"),
        (Code.METADATA_NOT_SET, "group"),
        (Code.METADATA_NOT_SET, "setuid and setgid"),
        (Code.METADATA_NOT_SET, "extended attributes trusted.*"),
        (Code.DEVICE_NOT_MADE, "device node"),
    }
    assert len(findings) == 5
    assert "3 paths" in next(finding.what for finding in findings if finding.what.startswith("owner"))
    assert all("root" in finding.action for finding in findings)
    target = tmp_path / "home" / "target"
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "mine").stat().st_mode) == 0o4755
    assert os.getxattr(target / "readonly", "user.x") == b"2"


@needs_root
def test_a_folder_that_may_not_be_written_is_a_finding(tmp_path: Path) -> None:
    become_nobody = in_home_of_nobody(tmp_path / "home")
    (tmp_path / "home" / "roots").mkdir(mode=0o755)

    def restore_one() -> object:
        restore = start(b".", Overwrite.REPLACE)
        with restore.target, restore.placer:
            assert not restore.file(b"roots/a")
            return restore.codes

    assert in_child(restore_one, become_nobody) == [(Code.PATH_NOT_RESTORED, "roots/a")]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))


@pytest.mark.parametrize("overwrite", [Overwrite.REFUSE, Overwrite.REPLACE])
def test_a_file_too_large_for_the_file_system_is_a_finding_and_leaves_nothing(
    tmp_path: Path, overwrite: Overwrite
) -> None:
    path = tmp_path / "target"
    if overwrite is Overwrite.REPLACE:
        path.mkdir()
        (path / "small").write_text("old")
    size = 3 << 20

    def restore_two() -> object:
        restore = start(path, overwrite)
        with restore.target, restore.placer as placer:
            assert not restore.file(b"small", bytes(size))
            partial = placer.open_file(entry(b"large", size=size))
            assert partial is not None
            with partial:
                partial.write_at(0, bytes(size))
                partial.write_at(size, b"ignored")
                assert not partial.finish(ME)
            assert restore.file(b"next")
            return restore.codes

    codes = in_child(restore_two, limit_file_size)

    assert codes == [(Code.PATH_NOT_RESTORED, "small"), (Code.PATH_NOT_RESTORED, "large")]
    assert names(path) == ["next"] + ["small"] * (overwrite is Overwrite.REPLACE)
    assert overwrite is Overwrite.REFUSE or (path / "small").read_text() == "old"


def mount_small_disk(path: Path) -> Callable[[], None]:
    path.mkdir()

    def mount() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # A mount namespace of its own (CLONE_NEWNS), private (MS_REC | MS_PRIVATE): the machine does not see the mount.
        for failed in (
            libc.unshare(0x20000),
            libc.mount(b"none", b"/", None, ctypes.c_ulong(0x4000 | 1 << 18), None),
            libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", ctypes.c_ulong(0), b"size=1m"),
        ):
            if failed:
                raise OSError(ctypes.get_errno(), "cannot mount")

    return mount


@needs_root
@pytest.mark.parametrize("overwrite", [Overwrite.REFUSE, Overwrite.REPLACE])
def test_a_full_disk_stops_the_restore_and_nothing_half_made_keeps_its_name(
    tmp_path: Path, overwrite: Overwrite
) -> None:
    def restore_until_full() -> object:
        found: list[object] = []
        target = tmp_path / "disk"
        if overwrite is Overwrite.REPLACE:
            (target / "a").write_text("old")
        restore = start(target, overwrite)
        with restore.target, restore.placer as placer:
            with pytest.raises(StorageError) as small:
                restore.file(b"a", bytes(2 << 20))
            found.append((small.value.code, names(target)))
            with pytest.raises(StorageError) as large:
                partial = placer.open_file(entry(b"b", size=2 << 20))
                assert partial is not None
                with partial:
                    partial.write_at(0, bytes(2 << 20))
            found.append((large.value.code, names(target)))
            assert restore.file(b"c")  # the space was given back
        return found

    try:
        found = in_child(restore_until_full, mount_small_disk(tmp_path / "disk"))
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.ENOSYS)
        pytest.skip("mounting is not allowed here")

    kept = ["a"] if overwrite is Overwrite.REPLACE else []
    assert found == [(Code.STORE_FULL, kept), (Code.STORE_FULL, kept)]


@needs_root
def test_without_proc_links_are_restored_and_their_lost_metadata_is_a_finding(tmp_path: Path) -> None:
    def restore_link() -> object:
        restore = start(b"target")
        with restore.target, restore.placer as placer:
            assert placer.place_symlink(entry(b"link", EntryKind.SYMLINK, target=b"x"), ME)
            return restore.shortfalls.findings()

    def leave_proc_behind() -> None:
        os.chroot(tmp_path)
        os.chdir("/")

    findings = in_child(restore_link, leave_proc_behind)

    assert isinstance(findings, list)
    assert ["/proc" in finding.what for finding in findings] == [True]
    assert os.readlink(tmp_path / "target" / "link") == "x"


def test_an_interrupted_file_leaves_nothing(place: Restore, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.file(b"a", xattrs=HappensHalfWay(interrupt))
    partial = place.placer.open_file(entry(b"b", xattrs=HappensHalfWay(interrupt)))
    assert partial is not None
    with pytest.raises(KeyboardInterrupt), partial:
        partial.finish(ME)

    assert names(tmp_path / "target") == []


def test_syncing_a_target_succeeds_and_a_closed_one_is_an_error(place: Restore, tmp_path: Path) -> None:
    sync_target(place.target)

    with pytest.raises(StorageError):
        sync_target(Target(b"gone", 1 << 20))
