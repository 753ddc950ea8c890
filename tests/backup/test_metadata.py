"""Metadata: attributes, targets, owners, hard links and holes of real files."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safebackup.backup.metadata import (
    HardLinks,
    Owners,
    data_extents,
    may_have_holes,
    open_path,
    read_target,
    read_xattrs,
)

BLOCK = 4096


def set_xattr(path: Path | bytes, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError as error:
        pytest.skip(f"{name} cannot be set here: {error}")


@contextmanager
def deep_folder(top: Path, *, levels: int = 20) -> Iterator[tuple[bytes, int]]:
    """The path of a directory that is too deep for one system call, and a descriptor on it."""
    path, fd = os.fsencode(top), os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(b"d" * 255, dir_fd=fd)
        inner = os.open(b"d" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        path, fd = path + b"/" + b"d" * 255, inner
    yield path, fd
    os.close(fd)


def test_attributes_are_sorted_and_of_every_namespace(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    acl = bytes.fromhex(
        "02000000 01000600ffffffff 02000400 01000000 04000400ffffffff 10000400ffffffff 20000400ffffffff"
    )
    capability = bytes.fromhex("0000000200040000000000000000000000000000")
    set_xattr(file, "user.z", b"")
    set_xattr(file, "user.a", b"\0\xff")
    set_xattr(file, "system.posix_acl_access", acl)
    set_xattr(file, "security.capability", capability)

    found = read_xattrs(os.fsencode(file))

    assert found == (
        (b"security.capability", capability),
        (b"system.posix_acl_access", acl),
        (b"user.a", b"\0\xff"),
        (b"user.z", b""),
    )
    with file.open() as stream:
        assert read_xattrs(stream.fileno()) == found


def test_a_link_has_its_own_attributes_and_not_those_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    set_xattr(tmp_path / "file", "user.a", b"1")
    set_xattr(tmp_path / "link", "trusted.b", b"2")

    assert read_xattrs(os.fsencode(tmp_path / "link")) == ((b"trusted.b", b"2"),)


def test_a_file_system_without_attributes_has_none() -> None:
    assert read_xattrs(b"/proc/self/status") == ()


def test_attributes_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_xattrs(os.fsencode(tmp_path / "missing"))


def test_what_is_too_deep_for_one_system_call_is_opened_and_read(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as (path, fd):
        file = os.open(b"file", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
        os.write(file, b"found")
        os.symlink(b"the target", b"link", dir_fd=fd)
        try:
            os.setxattr(file, "user.a", b"1")
        except OSError:
            pytest.skip("no attributes here")
        finally:
            os.close(file)

        opened = open_path(path + b"/file", os.O_RDONLY)

        assert len(path) > 4096
        assert os.read(opened, 9) == b"found"
        assert read_target(path + b"/link") == b"the target"
        assert read_xattrs(path + b"/file") == ((b"user.a", b"1"),)
        assert read_xattrs(path + b"/link") == ()
        with pytest.raises(FileNotFoundError):
            open_path(path + b"/missing", os.O_RDONLY)
        os.close(opened)


def test_slashes_too_many_do_not_lead_elsewhere(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as (path, fd):
        os.close(os.open(b"file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))

        os.close(open_path(path.replace(b"/d", b"/" * 5000 + b"d", 1) + b"//file", os.O_RDONLY))


def test_opening_deep_paths_leaves_no_descriptor_open(tmp_path: Path) -> None:
    with deep_folder(tmp_path) as (path, _fd):
        before = len(os.listdir("/proc/self/fd"))

        for _ in range(3):
            with pytest.raises(OSError):
                open_path(path + b"/missing", os.O_RDONLY)

        assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_that_no_file_system_takes_is_an_error_and_no_endless_loop() -> None:
    with pytest.raises(OSError) as caught:
        open_path(b"/" + b"x" * 5000, os.O_RDONLY)

    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_target_is_raw_bytes(tmp_path: Path) -> None:
    os.symlink(b"caf\xe9\n", os.fsencode(tmp_path) + b"/link")

    assert read_target(os.fsencode(tmp_path) + b"/link") == b"caf\xe9\n"


def test_owners_have_names_where_the_machine_knows_them() -> None:
    owners = Owners()

    assert owners.user(0) == pwd.getpwuid(0).pw_name.encode()
    assert owners.group(0) == grp.getgrgid(0).gr_name.encode()
    assert owners.user(3_999_999_999) == b""
    assert owners.group(3_999_999_999) == b""


def status_of(*, device: int, inode: int, links: int = 2, kind: int = stat.S_IFREG) -> os.stat_result:
    return os.stat_result((kind | 0o644, inode, device, links, 0, 0, 0, 0, 0, 0))


def test_the_names_of_one_file_share_a_group(tmp_path: Path) -> None:
    for name in ("a", "b", "single"):
        (tmp_path / name).write_text(name)
    os.link(tmp_path / "a", tmp_path / "a2")
    os.link(tmp_path / "b", tmp_path / "b2")
    links = HardLinks(bytes(32))

    groups = {name: links.group(name.encode(), os.lstat(tmp_path / name)) for name in ("a", "a2", "b", "b2", "single")}

    assert groups["a"] == groups["a2"] != groups["b"] == groups["b2"]
    assert len(groups["a"]) == 8
    assert groups["single"] == b""
    assert links.group(b"", os.lstat(tmp_path)) == b""


def test_groups_are_the_same_in_the_next_run_though_device_numbers_change() -> None:
    def groups(devices: tuple[int, int], key: bytes = bytes(32)) -> list[bytes]:
        links = HardLinks(key)
        links.group(b"", status_of(device=devices[0], inode=2, kind=stat.S_IFDIR))
        links.group(b"mnt", status_of(device=devices[1], inode=2, kind=stat.S_IFDIR))
        return [links.group(b"mnt/a", status_of(device=device, inode=7)) for device in devices]

    assert groups((1, 2)) == groups((2, 1)) == groups((77, 2**63))
    assert groups((1, 2))[0] != groups((1, 2))[1]
    assert groups((1, 2)) != groups((1, 2), key=bytes(31) + b"\1")


def write_blocks(path: Path, blocks: list[bool]) -> int:
    """A file with data in the blocks that are true and nothing in the others; its size."""
    with path.open("wb") as file:
        for number, is_data in enumerate(blocks):
            if is_data:
                file.seek(number * BLOCK)
                file.write(b"x" * BLOCK)
        file.truncate(len(blocks) * BLOCK)
    return len(blocks) * BLOCK


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(st.booleans(), max_size=40))
def test_extents_cover_the_file_once_and_every_hole_is_zeros(tmp_path: Path, blocks: list[bool]) -> None:
    size = write_blocks(tmp_path / "sparse", blocks)
    with (tmp_path / "sparse").open("rb") as file:
        extents = list(data_extents(file.fileno(), size))

        position = 0
        for offset, length, is_hole in extents:
            assert offset == position
            assert length > 0
            if is_hole:
                assert not any(os.pread(file.fileno(), length, offset))
            position = offset + length
        assert position == size


def test_holes_are_found_where_the_file_system_has_them(tmp_path: Path) -> None:
    size = 64 << 20
    with (tmp_path / "sparse").open("w+b") as file:
        file.seek(32 << 20)
        file.write(b"x" * BLOCK)
        file.truncate(size)
        file.flush()
        if not may_have_holes(os.fstat(file.fileno())):
            pytest.skip("no holes here")

        extents = list(data_extents(file.fileno(), size))

    assert [is_hole for _offset, _length, is_hole in extents] == [True, False, True]
    assert extents[1][1] < 1 << 20


def test_a_file_that_is_written_in_full_has_no_holes(tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(b"x" * 100_000)
    with (tmp_path / "full").open("rb") as file:
        os.fsync(file.fileno())

        assert not may_have_holes(os.fstat(file.fileno()))
        assert list(data_extents(file.fileno(), 100_000)) == [(0, 100_000, False)]


def test_where_positions_mean_nothing_all_is_data() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert list(data_extents(left.fileno(), 10)) == [(0, 10, False)]


def test_an_empty_file_has_no_extents(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        assert list(data_extents(file.fileno(), 0)) == []


def test_a_file_that_shrinks_or_grows_meanwhile_is_covered_as_far_as_was_asked(tmp_path: Path) -> None:
    size = write_blocks(tmp_path / "changing", [True, False] * 20)
    for new_size in (0, BLOCK, size * 4):
        with (tmp_path / "changing").open("r+b") as file:
            file.truncate(size)
            extents = data_extents(file.fileno(), size)
            first = next(extents)
            file.truncate(new_size)

            lengths = [first[1], *(length for _offset, length, _is_hole in extents)]

            assert sum(lengths) == size


def test_extents_end_where_was_asked_in_a_longer_file(tmp_path: Path) -> None:
    write_blocks(tmp_path / "grown", [True, *[False] * 9, True])
    with (tmp_path / "grown").open("rb") as file:
        lengths = [length for _offset, length, _is_hole in data_extents(file.fileno(), 5 * BLOCK)]

    assert sum(lengths) == 5 * BLOCK


def test_a_file_system_that_never_moves_on_is_taken_for_one_without_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "lseek", lambda _fd, position, _whence: position)
    with (tmp_path / "file").open("rb") as file:
        assert list(data_extents(file.fileno(), 10)) == [(0, 10, False)]
