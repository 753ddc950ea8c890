"""Scanning: everything is found once and in order, and what could not be seen is said."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup.backup.scanning import CACHE_DIRECTORY, ONE_FILE_SYSTEM, SOCKET, Scan
from safebackup.backup.source import Source
from safebackup.errors import Code, ConfigurationError, NotFoundError, RefusedError
from safebackup.findings import Severity

NOBODY = 65534
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n"


def paths_of(scan: Scan) -> list[bytes]:
    return [found.path for found in scan]


def order(path: bytes) -> bytes:
    return path.replace(b"/", b"\0")


def walked(top: bytes) -> set[bytes]:
    """What the standard library finds beneath `top`."""
    found = {b""}
    for folder, folders, files in os.walk(top):
        found |= {os.path.relpath(os.path.join(folder, name), top) for name in folders + files}
    return found


def as_nobody(work: Callable[[], Any]) -> Any:
    """What `work` returns in a process without privileges."""
    if os.geteuid() != 0:
        return work()
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child runs `work` alone and leaves by os._exit
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(into, pickle.dumps(work()))
            status = 0
        finally:
            os._exit(status)
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        answer = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(answer)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary directory that every user may read, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An empty file system, mounted at tmp_path/top/disk."""
    disk = tmp_path / "top/disk"
    disk.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "none", disk], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    yield disk
    subprocess.run(["umount", disk], check=True)


names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.replace(b"\0", b"0").replace(b"/", b"-"))
    .filter(lambda raw: raw not in (b".", b".."))
)
trees = st.recursive(st.none(), lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=25)


def make_tree(top: bytes, tree: dict[bytes, Any]) -> None:
    for name, inner in tree.items():
        if inner is None:
            os.close(os.open(os.path.join(top, name), os.O_CREAT | os.O_WRONLY))
        else:
            os.mkdir(os.path.join(top, name))
            make_tree(os.path.join(top, name), inner)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(names, trees, min_size=1, max_size=6))
def test_any_tree_is_found_whole_once_and_in_manifest_order(tree: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = os.fsencode(folder)
        make_tree(top, tree)
        scan = Scan(Source(top))

        found = paths_of(scan)

        assert set(found) == walked(top)
        assert found == sorted(set(found), key=order)
        assert scan.complete
        assert scan.findings == []


def test_each_path_comes_with_where_it_is_and_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_text("four")

    found = {each.path: each for each in Scan(Source(tmp_path))}

    assert list(found) == [b"", b"folder", b"folder/file"]
    assert found[b""].absolute == os.fsencode(tmp_path)
    assert found[b"folder/file"].absolute == os.fsencode(tmp_path / "folder/file")
    assert found[b"folder/file"].status == os.lstat(tmp_path / "folder/file")
    assert stat.S_ISDIR(found[b"folder"].status.st_mode)


def test_names_are_bytes_whatever_they_hold(tmp_path: Path) -> None:
    wanted = [b"a\nb", b"\xff\xfe", "é".encode(), b"n" * 255, b" ", b"-rf", b"\\x41", b"CACHEDIR.TAG"]
    for name in wanted:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))

    assert paths_of(Scan(Source(tmp_path)))[1:] == sorted(wanted)


def test_a_directory_and_what_is_in_it_come_before_its_longer_namesakes(tmp_path: Path) -> None:
    for name in ("a/z", "a.b", "a b/c", "a-"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert paths_of(Scan(Source(tmp_path))) == [b"", b"a", b"a/z", b"a b", b"a b/c", b"a-", b"a.b"]


def test_every_kind_of_file_is_found_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").touch()
    os.link(top / "file", top / "hard")
    os.mkfifo(top / "pipe")
    (top / "out").symlink_to("../outside")
    (top / "loop").symlink_to("loop")
    (top / "up").symlink_to("..")
    (top / "dangling").symlink_to("nowhere")

    found = {each.path: stat.S_IFMT(each.status.st_mode) for each in Scan(Source(top))}

    links = dict.fromkeys([b"out", b"loop", b"up", b"dangling"], stat.S_IFLNK)
    files = {b"file": stat.S_IFREG, b"hard": stat.S_IFREG, b"pipe": stat.S_IFIFO}
    assert found == {b"": stat.S_IFDIR} | files | links


def test_sockets_are_left_out_and_counted(tmp_path: Path) -> None:
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    (tmp_path / "file").touch()
    scan = Scan(Source(tmp_path))

    assert paths_of(scan) == [b"", b"file"]
    assert scan.excluded == {SOCKET: 1}
    assert scan.complete


def test_a_path_longer_than_a_system_call_takes_is_found(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(b"d" * 255, dir_fd=fd)
        inner = os.open(b"d" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open(b"file", os.O_CREAT, dir_fd=fd))
    os.close(fd)
    scan = Scan(Source(tmp_path))

    found = list(scan)

    assert len(found) == 22
    assert found[-1].path == b"/".join([b"d" * 255] * 20) + b"/file"
    assert found[-1].absolute == os.fsencode(tmp_path) + b"/" + found[-1].path
    assert scan.complete


def make_chain(top: Path, *, levels: int) -> None:
    """Directories within directories, each with a file `z` beside the next one."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=fd)
        os.close(os.open("z", os.O_CREAT, dir_fd=fd))
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


def remove_chain(top: Path) -> None:
    """Remove a chain that is too deep for recursion, by moving each level up."""
    while (top / "d").exists():
        (top / "d").rename(top / "old")
        if (top / "old/d").exists():
            (top / "old/d").rename(top / "d")
        shutil.rmtree(top / "old")


def test_depth_is_bound_by_neither_recursion_nor_descriptors(tmp_path: Path) -> None:
    make_chain(tmp_path, levels=1500)
    before = len(os.listdir("/proc/self/fd"))
    scan = Scan(Source(tmp_path))
    count = most = 0

    for _found in scan:
        count += 1
        if count % 100 == 0:
            most = max(most, len(os.listdir("/proc/self/fd")) - before)

    assert count == 1 + 2 * 1500
    assert scan.complete
    assert most <= 40
    assert len(os.listdir("/proc/self/fd")) == before
    remove_chain(tmp_path)


def test_a_scan_that_is_given_up_leaves_no_descriptor_open(tmp_path: Path) -> None:
    make_chain(tmp_path, levels=10)
    before = len(os.listdir("/proc/self/fd"))
    for steps in range(8):
        scan = Scan(Source(tmp_path))
        started = iter(scan)
        for _ in range(steps):
            next(started)

        started.close()  # type: ignore[attr-defined]

        assert len(os.listdir("/proc/self/fd")) == before
        assert not scan.complete


def test_a_scan_is_complete_only_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    scan = Scan(Source(tmp_path))

    before = scan.complete
    for _found in scan:
        assert not scan.complete

    assert not before
    assert scan.complete


def test_several_roots_come_in_order_with_their_contents_beneath_their_names(tmp_path: Path) -> None:
    for name in ("b/x", "a.b/x", "a/x"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "a b").touch()
    source = Source(*(tmp_path / name for name in ("b", "a b", "a", "a.b")))

    found = paths_of(Scan(source))

    assert found == [b"a", b"a/x", b"a b", b"a.b", b"a.b/x", b"b", b"b/x"]
    assert found == sorted(found, key=order)


def test_one_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text("x")

    (found,) = Scan(Source(tmp_path / "dump.sql"))

    assert found.path == b"dump.sql"
    assert found.absolute == os.fsencode(tmp_path / "dump.sql")


def test_a_root_is_stored_whatever_the_rules_say(tmp_path: Path) -> None:
    (tmp_path / "big.tmp").write_text("four")
    source = Source(tmp_path / "big.tmp", exclude=["*.tmp"], include=["*.sql"], larger_than=1)

    assert paths_of(Scan(source)) == [b"big.tmp"]


def test_a_root_that_is_a_link_is_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "link").symlink_to("real")

    found = list(Scan(Source(tmp_path / "link")))

    assert [each.path for each in found] == [b"", b"file"]
    assert found[1].absolute == os.fsencode(tmp_path / "real/file")


def test_a_root_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        next(iter(Scan(Source(tmp_path / "missing"))))


def test_a_root_that_is_a_socket_is_refused(tmp_path: Path) -> None:
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)

    with pytest.raises(ConfigurationError, match="socket"):
        next(iter(Scan(Source(tmp_path / "socket"))))


def test_an_empty_root_is_refused_unless_it_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    first = iter(Scan(Source(tmp_path / "full", tmp_path / "empty")))

    with pytest.raises(RefusedError, match="empty directory") as caught:
        next(first)

    assert caught.value.code is Code.EMPTY_SOURCE
    assert "allow_empty" in caught.value.hint
    assert paths_of(Scan(Source(tmp_path / "empty", allow_empty=True))) == [b""]


def test_an_empty_mounted_root_is_refused_with_the_question_for_the_disk(mounted: Path) -> None:
    with pytest.raises(RefusedError, match="right disk"):
        next(iter(Scan(Source(mounted))))


def test_an_empty_root_where_disks_are_usually_mounted_is_refused_with_the_question_for_the_disk() -> None:
    try:
        folder = tempfile.mkdtemp(dir="/mnt")
    except OSError:
        pytest.skip("may not write to /mnt")
    try:
        with pytest.raises(RefusedError, match="is the disk mounted"):
            next(iter(Scan(Source(folder))))
    finally:
        os.rmdir(folder)


def test_a_root_of_which_everything_is_excluded_is_no_empty_root(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").touch()
    scan = Scan(Source(tmp_path, exclude=["*"]))

    assert paths_of(scan) == [b""]
    assert scan.excluded == {"exclude: *": 1}


def test_an_empty_mount_point_within_is_pointed_out(mounted: Path) -> None:
    scan = Scan(Source(mounted.parent))

    assert paths_of(scan) == [b"", b"disk"]
    (finding,) = scan.findings
    assert (finding.code, finding.severity) == (Code.EMPTY_MOUNT_POINT, Severity.WARNING)
    assert finding.subject == str(mounted)
    assert scan.complete


def test_an_empty_directory_within_is_nothing_to_point_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    scan = Scan(Source(tmp_path))

    assert paths_of(scan) == [b"", b"empty"]
    assert scan.findings == []


def test_other_file_systems_are_walked_or_not_as_asked(mounted: Path) -> None:
    (mounted / "file").touch()
    everything, one = Scan(Source(mounted.parent)), Scan(Source(mounted.parent, one_file_system=True))

    assert paths_of(everything) == [b"", b"disk", b"disk/file"]
    assert paths_of(one) == [b"", b"disk"]
    assert one.excluded == {ONE_FILE_SYSTEM: 1}
    assert one.complete


def test_a_cache_directory_is_stored_with_its_tag_alone(tmp_path: Path) -> None:
    (tmp_path / "cache/deep").mkdir(parents=True)
    (tmp_path / "cache/deep/file").touch()
    (tmp_path / "cache/A").touch()
    (tmp_path / "cache/CACHEDIR.TAG").write_text(TAG)
    scan = Scan(Source(tmp_path))

    assert paths_of(scan) == [b"", b"cache", b"cache/CACHEDIR.TAG"]
    assert scan.excluded == {CACHE_DIRECTORY: 2}
    assert len(paths_of(Scan(Source(tmp_path, exclude_caches=False)))) == 6


def test_a_tag_without_the_signature_or_in_a_root_makes_no_cache(tmp_path: Path) -> None:
    (tmp_path / "no").mkdir()
    (tmp_path / "no/CACHEDIR.TAG").write_text(TAG[:42])
    (tmp_path / "link").mkdir()
    (tmp_path / "link/CACHEDIR.TAG").symlink_to("../CACHEDIR.TAG")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/CACHEDIR.TAG")
    for folder in ("no", "link", "pipe"):
        (tmp_path / folder / "file").touch()
    (tmp_path / "CACHEDIR.TAG").write_text(TAG)
    scan = Scan(Source(tmp_path))

    assert len(paths_of(scan)) == 11
    assert scan.excluded == {}


def test_large_files_are_left_out_and_counted(tmp_path: Path) -> None:
    for size in (9, 10, 11, 12):
        (tmp_path / f"{size:02}").write_bytes(bytes(size))
    (tmp_path / "folder").mkdir()
    scan = Scan(Source(tmp_path, larger_than=10))

    assert paths_of(scan) == [b"", b"09", b"10", b"folder"]
    assert scan.excluded == {"larger than 10 bytes": 2}


def test_excluded_directories_take_all_beneath_them_along(tmp_path: Path) -> None:
    (tmp_path / "src/node_modules/x").mkdir(parents=True)
    (tmp_path / "src/a.js").touch()
    (tmp_path / "src/a.tmp").touch()
    scan = Scan(Source(tmp_path, exclude=["node_modules/", "*.tmp"]))

    assert paths_of(scan) == [b"", b"src", b"src/a.js"]
    assert scan.excluded == {"exclude: node_modules/": 1, "exclude: *.tmp": 1}
    assert scan.complete


def test_rules_are_relative_to_each_root(tmp_path: Path) -> None:
    for name in ("one/tmp", "one/keep/tmp", "two/tmp"):
        (tmp_path / name).mkdir(parents=True)
    source = Source(tmp_path / "one", tmp_path / "two", exclude=["/tmp/"])

    assert paths_of(Scan(source)) == [b"one", b"one/keep", b"one/keep/tmp", b"two"]


def test_only_what_is_included_is_found_with_the_directories_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.sql").touch()
    (tmp_path / "a/x.txt").touch()
    scan = Scan(Source(tmp_path, include=["*.sql"]))

    assert paths_of(scan) == [b"", b"a", b"a/b", b"a/b/x.sql"]
    assert scan.excluded == {"not included": 1}


def test_a_directory_that_may_not_be_read_is_stored_and_makes_the_scan_incomplete(open_folder: Path) -> None:
    (open_folder / "closed").mkdir()
    (open_folder / "closed/file").touch()
    (open_folder / "z").touch()
    (open_folder / "closed").chmod(0)

    def work() -> Any:
        scan = Scan(Source(open_folder))
        return paths_of(scan), scan.findings, scan.complete

    found, findings, complete = as_nobody(work)

    assert found == [b"", b"closed", b"z"]
    assert [(each.code, each.severity) for each in findings] == [(Code.PATH_UNREADABLE, Severity.ERROR)]
    assert "EACCES" in findings[0].what
    assert findings[0].subject == str(open_folder / "closed")
    assert not complete


def test_names_that_may_be_seen_but_not_examined_make_the_scan_incomplete(open_folder: Path) -> None:
    (open_folder / "listed").mkdir()
    (open_folder / "listed/a").touch()
    (open_folder / "listed/b").touch()
    (open_folder / "listed").chmod(0o444)

    def work() -> Any:
        scan = Scan(Source(open_folder))
        return paths_of(scan), [each.subject for each in scan.findings], scan.complete

    found, subjects, complete = as_nobody(work)

    assert found == [b"", b"listed"]
    assert subjects == [str(open_folder / "listed/a"), str(open_folder / "listed/b")]
    assert not complete


def test_a_root_that_may_not_be_listed_is_not_taken_for_an_empty_one(open_folder: Path) -> None:
    (open_folder / "closed").mkdir()
    (open_folder / "closed").chmod(0)

    def work() -> Any:
        scan = Scan(Source(open_folder / "closed"))
        return paths_of(scan), [each.code for each in scan.findings], scan.complete

    assert as_nobody(work) == ([b""], [Code.PATH_UNREADABLE], False)


def test_what_goes_before_it_is_seen_was_never_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    scan = Scan(Source(tmp_path))
    started = iter(scan)
    next(started)
    (tmp_path / "b").unlink()
    (tmp_path / "c").rmdir()

    assert [found.path for found in started] == [b"a"]
    assert scan.findings == []
    assert scan.complete


def test_a_directory_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    (tmp_path / "top/folder").mkdir(parents=True)
    (tmp_path / "top/folder/file").touch()
    scan = Scan(Source(tmp_path / "top"))
    found = []

    for each in scan:
        found.append(each.path)
        if each.path == b"folder":
            (tmp_path / "top/folder").rename(tmp_path / "moved")
            (tmp_path / "top/folder").symlink_to(tmp_path / "outside")

    assert found == [b"", b"folder", b"folder/file"]


def test_a_directory_that_is_swapped_just_before_it_is_opened_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").touch()
    (tmp_path / "top/folder").mkdir(parents=True)
    open_in_time = os.open

    def open_too_late(path: Any, *arguments: Any, **options: Any) -> int:
        if path == b"folder":
            (tmp_path / "top/folder").rmdir()
            (tmp_path / "top/folder").symlink_to(tmp_path / "outside")
        return open_in_time(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_too_late)
    scan = Scan(Source(tmp_path / "top"))

    assert paths_of(scan) == [b""]
    assert [each.code for each in scan.findings] == [Code.PATH_UNREADABLE]
    assert not scan.complete


def test_a_disk_that_fails_while_a_directory_is_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").touch()
    inode, listdir = (tmp_path / "bad").stat().st_ino, os.listdir

    def failing(folder: Any = ".") -> list[Any]:
        if isinstance(folder, int) and os.fstat(folder).st_ino == inode:
            raise OSError(errno.EIO, "Input/output error")
        return listdir(folder)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "listdir", failing)
    scan = Scan(Source(tmp_path))

    assert paths_of(scan) == [b"", b"bad", b"good"]
    assert "EIO" in scan.findings[0].what
    assert not scan.complete
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_is_moved_while_the_scan_is_far_beneath_it_makes_it_incomplete(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    make_chain(top, levels=60)
    scan = Scan(Source(top))
    found = []

    for each in scan:
        found.append(each.path)
        if each.path.count(b"d") == 60:
            (top / "d").rename(tmp_path / "moved")
            (top / "d").mkdir()
            (top / "d/z").touch()

    assert b"z" in found
    assert b"d/z" not in found
    assert {each.code for each in scan.findings} == {Code.PATH_UNREADABLE}
    assert not scan.complete


def test_a_second_pass_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "a.tmp").touch()
    scan = Scan(Source(tmp_path, exclude=["*.tmp"]))

    first, second = paths_of(scan), paths_of(scan)

    assert first == second
    assert scan.excluded == {"exclude: *.tmp": 1}
