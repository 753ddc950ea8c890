"""Comparing trees: every difference is seen, in its class, and nothing is called the same that was not compared."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.comparing import Aspect, Difference, Subtree, TreeComparison, compare_trees
from safebackup.comparing.reading import Node, SideError
from safebackup.comparing.report import Outcome, Tally
from safebackup.errors import Code, ConfigurationError, NotFoundError, RefusedError, SafeBackupError
from safebackup.findings import Severity

LONG_AGO = 1_600_000_000_000_000_000
is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="only root may")


def copy(one: Path, other: Path) -> None:
    subprocess.run(["cp", "-a", "--", one, other], check=True)


def age(path: Path) -> None:
    os.utime(path, ns=(LONG_AGO, LONG_AGO), follow_symlinks=False)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def now() -> datetime:
    """A moment that all that was done before lies more than a tick behind, and nothing later lies before."""
    time.sleep(0.03)
    return datetime.now(UTC)


def found(differences: tuple[Difference, ...]) -> dict[bytes, set[Aspect]]:
    return {difference.path: set(difference.aspects) for difference in differences}


def codes(comparison: TreeComparison) -> set[Code]:
    return {finding.code for finding in comparison.findings}


def totals(comparison: TreeComparison) -> tuple[int, int, int, int, int]:
    """Missing, extra, differ, drifted, unreadable."""
    return (
        comparison.missing_total,
        comparison.extra_total,
        comparison.differ_total,
        comparison.drifted_total,
        comparison.unreadable_total,
    )


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A tree with one of everything, and a faithful copy."""
    left = tmp_path / "left"
    write(left / "orders/2026/a.csv", b"1,17.50\n" * 200)
    write(left / "orders/b.csv", b"2,19.90\n")
    write(left / "empty", b"")
    write(left / os.fsdecode(b"caf\xe9\n"), b"not utf-8")
    (left / "hollow").mkdir()
    (left / "link").symlink_to("orders/b.csv")
    (left / "dangling").symlink_to(os.fsdecode(b"nowhere\xff"))
    os.link(left / "orders/b.csv", left / "second-name")
    os.mkfifo(left / "pipe")
    with (left / "sparse").open("wb") as file:
        file.truncate(50_000_000)
        file.seek(20_000_000)
        file.write(b"in the middle")
    (left / "orders").chmod(0o2750)
    if is_root:
        os.mknod(left / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    for path in [*left.rglob("*"), left]:
        age(path)
    copy(left, tmp_path / "right")
    return left, tmp_path / "right"


def test_a_faithful_copy_is_the_same(trees: tuple[Path, Path]) -> None:
    left, right = trees

    comparison = compare_trees(left, right)

    assert comparison.same, comparison
    assert comparison.findings == ()
    assert totals(comparison) == (0, 0, 0, 0, 0)
    assert comparison.entries == comparison.alike == len(list(left.rglob("*")))
    assert comparison.files_read == 6
    assert comparison.bytes_read == 1600 + 2 * 8 + 9 + 50_000_000
    assert str(comparison.files_read) in comparison.statement


def test_two_files_are_compared_like_two_trees(tmp_path: Path) -> None:
    write(tmp_path / "dump", b"x" * 3_000_000)
    copy(tmp_path / "dump", tmp_path / "restored")
    assert compare_trees(tmp_path / "dump", os.fsencode(tmp_path / "restored")).same

    with (tmp_path / "restored").open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"y")
    os.utime(tmp_path / "restored", ns=(1, (tmp_path / "dump").stat().st_mtime_ns))
    comparison = compare_trees(tmp_path / "dump", tmp_path / "restored")

    assert not comparison.same
    assert found(comparison.differ) == {b"": {Aspect.CONTENT}}
    assert "2,999,999" in comparison.differ[0].what


def flip(path: Path, at: int) -> None:
    """Change one byte, and nothing that a status shows but ctime."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def restore_times(top: Path) -> None:
    for path in [*top.rglob("*"), top]:
        age(path)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else under a name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    make(path)


MUTATIONS: dict[str, tuple[Callable[[Path], object], dict[str, dict[bytes, set[Aspect]]]]] = {
    "a flipped byte": (
        lambda top: flip(top / "orders/2026/a.csv", 1234),
        {"differ": {b"orders/2026/a.csv": {Aspect.CONTENT}}},
    ),
    "a flipped byte in a hole": (
        lambda top: flip(top / "sparse", 40_000_001),
        {"differ": {b"sparse": {Aspect.CONTENT}}},
    ),
    "a cut file": (
        lambda top: os.truncate(top / "orders/2026/a.csv", 1599),
        {"differ": {b"orders/2026/a.csv": {Aspect.SIZE}}},
    ),
    "a rename": (
        lambda top: (top / "empty").rename(top / "empty2"),
        {"missing": {b"empty": {Aspect.MISSING}}, "extra": {b"empty2": {Aspect.EXTRA}}},
    ),
    "a deleted folder": (
        lambda top: shutil.rmtree(top / "orders/2026"),
        {"missing": {b"orders/2026": {Aspect.MISSING}, b"orders/2026/a.csv": {Aspect.MISSING}}},
    ),
    "an added folder": (
        lambda top: write(top / "hollow/new/file", b"1"),
        {"extra": {b"hollow/new": {Aspect.EXTRA}, b"hollow/new/file": {Aspect.EXTRA}}},
    ),
    "another mode": (lambda top: (top / "orders").chmod(0o750), {"differ": {b"orders": {Aspect.MODE}}}),
    "another mode of the root": (lambda top: top.chmod(0o711), {"differ": {b"": {Aspect.MODE}}}),
    "another link target": (
        lambda top: replace(top / "link", lambda path: path.symlink_to("orders/a.csv")),
        {"differ": {b"link": {Aspect.TARGET}}},
    ),
    "a link instead of a file": (
        lambda top: replace(top / "empty", lambda path: path.symlink_to("sparse")),
        {"differ": {b"empty": {Aspect.KIND}}},
    ),
    "a link to a folder instead of the folder": (
        lambda top: replace(top / "hollow", lambda path: path.symlink_to("orders")),
        {"differ": {b"hollow": {Aspect.KIND}}},
    ),
    "a file instead of a folder": (
        lambda top: replace(top / "orders/2026", lambda path: write(path, b"")),
        {"differ": {b"orders/2026": {Aspect.KIND}}, "missing": {b"orders/2026/a.csv": {Aspect.MISSING}}},
    ),
    "a folder instead of a file": (
        lambda top: replace(top / "empty", lambda path: write(path / "in", b"")),
        {"differ": {b"empty": {Aspect.KIND}}, "extra": {b"empty/in": {Aspect.EXTRA}}},
    ),
    "a hard link that became a copy": (
        lambda top: replace(top / "second-name", lambda path: write(path, b"2,19.90\n")),
        {"differ": {b"second-name": {Aspect.HARD_LINKS}}},
    ),
    "a file that became a hard link": (
        lambda top: replace(top / "empty", lambda path: path.hardlink_to(top / "second-name")),
        {
            "differ": {
                b"empty": {Aspect.SIZE},  # the first name of a file has no link that could be wrong
                b"orders/b.csv": {Aspect.HARD_LINKS},
                b"second-name": {Aspect.HARD_LINKS},
            }
        },
    ),
}


@pytest.mark.parametrize("aspect", set(Aspect) - {Aspect.MISSING, Aspect.EXTRA, Aspect.NOT_COMPARED})
def test_every_way_in_which_paths_differ_says_what_to_do(aspect: Aspect) -> None:
    tally = Tally()
    tally.add(Outcome.DIFFER, b"path", [(aspect, "it differs")], is_folder=False)

    found = tally.result(empty_is_fine=False, scope="").findings

    (finding,) = [one for one in found if one.code is Code.PATH_DIFFERS]
    assert finding.action.endswith(".")


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_difference_is_seen_and_put_in_its_class(trees: tuple[Path, Path], mutation: str) -> None:
    mutate, expected = MUTATIONS[mutation]
    left, right = trees
    mutate(right)
    restore_times(right)

    comparison = compare_trees(left, right)

    assert not comparison.same
    assert {
        name: found(getattr(comparison, name))
        for name in ("missing", "extra", "differ", "drifted", "unreadable")
        if getattr(comparison, name)
    } == expected


def test_a_time_that_differs_by_a_nanosecond_is_seen(trees: tuple[Path, Path]) -> None:
    left, right = trees
    os.utime(right / "link", ns=(1, LONG_AGO + 1), follow_symlinks=False)

    comparison = compare_trees(left, right)

    assert found(comparison.differ) == {b"link": {Aspect.MTIME}}
    assert comparison.differ[0].what == (
        "modified 2020-09-13T12:26:40.000000001Z instead of 2020-09-13T12:26:40.000000000Z"
    )


def test_an_extended_attribute_that_is_lost_or_changed_is_seen(trees: tuple[Path, Path]) -> None:
    left, right = trees
    try:
        os.setxattr(left / "empty", "user.a", b"1")
        os.setxattr(left / "hollow", "user.b", b"1")
        os.setxattr(right / "hollow", "user.b", b"2")
    except OSError as error:
        pytest.skip(f"no attributes here: {error}")

    comparison = compare_trees(left, right)

    assert found(comparison.differ) == {b"empty": {Aspect.XATTRS}, b"hollow": {Aspect.XATTRS}}
    assert "user.a" in comparison.differ[0].what


@needs_root
def test_another_owner_and_another_device_are_seen(trees: tuple[Path, Path]) -> None:
    left, right = trees
    os.chown(right / "link", 12, 13, follow_symlinks=False)
    (right / "null").unlink()
    os.mknod(right / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    restore_times(right)

    assert found(compare_trees(left, right).differ) == {b"link": {Aspect.OWNER}, b"null": {Aspect.DEVICE}}
    assert found(compare_trees(left, right, owners=False).differ) == {b"null": {Aspect.DEVICE}}


@needs_root
def test_an_attribute_of_a_link_is_seen(trees: tuple[Path, Path]) -> None:
    left, right = trees
    try:
        os.setxattr(left / "dangling", "trusted.a", b"1", follow_symlinks=False)
    except OSError as error:
        pytest.skip(f"no attributes of links here: {error}")

    assert found(compare_trees(left, right).differ) == {b"dangling": {Aspect.XATTRS}}


def test_a_hundred_renamed_files_are_two_hundred_differences(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path / f"left/{number:03}", b"%d" % number)
    copy(tmp_path / "left", tmp_path / "right")
    for number in range(100, 200):
        (tmp_path / f"right/{number:03}").rename(tmp_path / f"right/x{number:03}")

    comparison = compare_trees(tmp_path / "left", tmp_path / "right")

    assert totals(comparison)[:2] == (100, 100)
    assert comparison.alike == 200
    assert {Code.PATH_MISSING, Code.PATH_EXTRA} <= codes(comparison)


def test_all_are_counted_and_a_thousand_are_listed(tmp_path: Path) -> None:
    for number in range(1_100):
        write(tmp_path / f"left/{number % 2}/{number:04}", b"")
    write(tmp_path / "left/same", b"1")
    (tmp_path / "right").mkdir()
    copy(tmp_path / "left/same", tmp_path / "right/same")

    comparison = compare_trees(tmp_path / "left", tmp_path / "right", metadata=False)

    assert comparison.missing_total == 1_102
    assert len(comparison.missing) == 1_000
    assert comparison.missing[-1].path == b"1/0895"
    assert comparison.by_subtree == (Subtree(b"0", missing=551), Subtree(b"1", missing=551))


def test_files_at_the_top_are_counted_in_no_subtree(trees: tuple[Path, Path]) -> None:
    left, right = trees
    write(right / "new", b"")
    write(right / "new-folder/file", b"")
    flip(right / "orders/2026/a.csv", 0)

    comparison = compare_trees(left, right)

    assert comparison.by_subtree == (
        Subtree(b"", differ=1, extra=1),  # the root's own mtime, and "new"
        Subtree(b"new-folder", extra=2),
        Subtree(b"orders", differ=1),
    )


def test_what_changed_since_is_told_from_what_differs_though_unchanged(trees: tuple[Path, Path]) -> None:
    left, right = trees
    flip(right / "sparse", 20_000_000)
    (right / "hollow").rmdir()
    restore_times(right)
    since = now()
    flip(left / "orders/2026/a.csv", 3)  # size and mtime as before: ctime alone tells
    (left / "link").unlink()
    (left / "link").symlink_to("empty")
    write(left / "orders/new/file", b"1")

    comparison = compare_trees(left, right, since=since)

    assert not comparison.same
    assert found(comparison.differ) == {b"sparse": {Aspect.CONTENT}}
    assert found(comparison.missing) == {b"hollow": {Aspect.MISSING}}
    assert found(comparison.drifted) == {
        b"": {Aspect.MTIME},
        b"link": {Aspect.TARGET, Aspect.MTIME},
        b"orders": {Aspect.MTIME},
        b"orders/2026/a.csv": {Aspect.CONTENT},
        b"orders/new": {Aspect.MISSING},
        b"orders/new/file": {Aspect.MISSING},
    }
    severities = {finding.code: finding.severity for finding in comparison.findings}
    assert severities[Code.PATH_DRIFTED] is Severity.INFO
    assert compare_trees(left, right).drifted == ()


def test_what_was_deleted_since_is_no_failure_and_what_was_extra_before_is(trees: tuple[Path, Path]) -> None:
    left, right = trees
    write(right / "hollow/never-was", b"")
    age(right / "hollow")
    since = now()
    shutil.rmtree(left / "orders/2026")
    (left / "hollow").chmod(0o750)  # which takes nothing out of it

    comparison = compare_trees(left, right, since=since)

    assert found(comparison.extra) == {b"hollow/never-was": {Aspect.EXTRA}}
    assert {b"orders/2026", b"orders/2026/a.csv", b"hollow"} <= set(found(comparison.drifted))


def test_what_was_in_a_folder_that_became_a_file_since_is_no_failure(trees: tuple[Path, Path]) -> None:
    left, right = trees
    since = now()
    replace(left / "orders/2026", Path.touch)

    comparison = compare_trees(left, right, since=since)

    assert comparison.same
    assert found(comparison.drifted)[b"orders/2026"] == {Aspect.KIND}
    assert found(comparison.drifted)[b"orders/2026/a.csv"] == {Aspect.EXTRA}


def test_a_live_source_that_only_changed_since_is_the_same(trees: tuple[Path, Path]) -> None:
    left, right = trees
    since = now()
    write(left / "orders/b.csv", b"3")
    (left / "empty").rename(left / "full")

    comparison = compare_trees(left, right, since=since)

    assert comparison.same, comparison
    assert set(found(comparison.drifted)) == {b"", b"orders/b.csv", b"second-name", b"empty", b"full"}
    assert "changed since" in comparison.statement


def test_a_modification_time_to_come_hides_nothing(trees: tuple[Path, Path]) -> None:
    left, right = trees
    to_come = 4_000_000_000_000_000_000
    for top in (left, right):
        os.utime(top / "orders/2026/a.csv", ns=(to_come, to_come))
        os.utime(top / "orders", ns=(to_come, to_come))
    os.utime(left / "sparse", ns=(to_come, to_come))
    (right / "sparse").unlink()
    write(right / "orders/new", b"")
    os.utime(right / "orders", ns=(to_come, to_come))
    flip(right / "orders/2026/a.csv", 3)
    age(right)

    comparison = compare_trees(left, right, since=now())

    assert totals(comparison) == (1, 1, 1, 0, 0)


def test_when_all_has_changed_since_nothing_is_proved(trees: tuple[Path, Path]) -> None:
    left, right = trees
    for path in right.rglob("*"):
        os.utime(path, ns=(1, 1), follow_symlinks=False)

    comparison = compare_trees(left, right, since=datetime(1990, 1, 1, tzinfo=UTC))

    assert totals(comparison)[:3] == (0, 0, 0)
    assert comparison.drifted_total > 0
    assert not comparison.same
    assert Code.NOTHING_COMPARED in codes(comparison)


def test_a_naive_moment_is_refused(trees: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        compare_trees(*trees, since=datetime(2026, 1, 1))

    assert refusal.value.code is Code.NAIVE_TIME
    assert compare_trees(*trees, since=datetime.now(UTC) + timedelta(hours=1)).same


def test_two_empty_folders_are_the_same_only_when_they_may_be(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    left.mkdir()
    copy(left, right)

    comparison = compare_trees(left, right)
    assert not comparison.same
    assert codes(comparison) == {Code.NOTHING_COMPARED}
    assert compare_trees(left, right, allow_empty=True).same

    write(right / "extra", b"")
    age(left)
    age(right)
    assert found(compare_trees(left, right, allow_empty=True).extra) == {b"extra": {Aspect.EXTRA}}


def test_the_same_folder_twice_is_refused(trees: tuple[Path, Path], tmp_path: Path) -> None:
    left, _ = trees
    (tmp_path / "link").symlink_to(left)

    with pytest.raises(RefusedError) as refusal:
        compare_trees(left, tmp_path / "link")

    assert refusal.value.code is Code.ONE_AND_THE_SAME


def test_hard_links_to_the_source_prove_nothing(tmp_path: Path) -> None:
    write(tmp_path / "left/file", b"1")
    subprocess.run(["cp", "-al", tmp_path / "left", tmp_path / "right"], check=True)

    comparison = compare_trees(tmp_path / "left", tmp_path / "right")

    assert not comparison.same
    assert codes(comparison) == {Code.NOTHING_COMPARED, Code.ONE_AND_THE_SAME}


def test_content_that_is_not_compared_is_said(trees: tuple[Path, Path]) -> None:
    left, right = trees
    flip(right / "orders/2026/a.csv", 3)

    comparison = compare_trees(left, right, content=False)

    assert comparison.same
    assert (comparison.files_read, comparison.bytes_read) == (0, 0)
    assert comparison.statement.endswith("Not compared: content.")


def test_without_metadata_only_paths_and_content_count(trees: tuple[Path, Path]) -> None:
    left, right = trees
    (right / "orders").chmod(0o700)
    os.utime(right / "empty")

    assert compare_trees(left, right, metadata=False).same


def as_nobody(left: Path, right: Path, since: str = "None") -> str:
    """What another user finds, in a process of its own."""
    code = (
        "import datetime, os, sys, safebackup.instants\n"
        "from safebackup.comparing import compare_trees\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"c = compare_trees(sys.argv[1], sys.argv[2], owners=False, since={since})\n"
        "print(c.same, sorted(d.path for d in c.unreadable), c.missing_total, c.extra_total, c.differ_total)"
    )
    child = subprocess.run([sys.executable, "-c", code, left, right], capture_output=True, text=True, check=True)
    return child.stdout.strip()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary directory that every user may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
def test_what_may_not_be_read_is_never_the_same(open_folder: Path) -> None:
    left = open_folder / "left"
    write(left / "secret", b"1")
    write(left / "public", b"1")
    write(left / "locked/file", b"1")
    write(left / "listed/file", b"1")
    (left / "secret").chmod(0o600)
    (left / "locked").chmod(0o700)
    (left / "listed").chmod(0o744)
    copy(left, open_folder / "right")

    answer = as_nobody(left, open_folder / "right")
    drifting = as_nobody(left, open_folder / "right", "datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC)")

    assert answer == "False [b'listed/file', b'locked', b'secret'] 0 0 0"
    assert drifting == answer


@needs_root
def test_what_only_one_side_lets_read_is_not_missing(open_folder: Path) -> None:
    write(open_folder / "left/locked/file", b"1")
    write(open_folder / "left/open", b"1")
    copy(open_folder / "left", open_folder / "right")
    (open_folder / "right/locked").chmod(0o700)

    answer = as_nobody(open_folder / "left", open_folder / "right")

    assert answer == "False [b'locked'] 0 0 1"


@contextmanager
def touched_again_and_again(path: Path) -> Iterator[None]:
    ended = threading.Event()
    times = (1, path.stat().st_mtime_ns)

    def touch() -> None:
        while not ended.is_set():
            os.utime(path, ns=times)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        yield
    finally:
        ended.set()
        toucher.join()


def test_a_file_that_is_written_to_meanwhile_is_never_the_same(tmp_path: Path) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    with left.open("wb") as file:
        file.write(b"x" * (64 << 20))
    copy(left, right)

    with touched_again_and_again(left):
        strict = compare_trees(left, right)
        drifting = compare_trees(left, right, since=datetime(2020, 1, 1, tzinfo=UTC))
    with touched_again_and_again(right):
        other_side = compare_trees(left, right, since=datetime(2020, 1, 1, tzinfo=UTC))

    assert not (strict.same or drifting.same or other_side.same)
    assert found(strict.unreadable) == {b"": {Aspect.NOT_COMPARED}}
    assert found(drifting.drifted) == {b"": {Aspect.NOT_COMPARED}}
    assert found(other_side.unreadable) == {b"": {Aspect.NOT_COMPARED}}
    assert "restored" in other_side.unreadable[0].what


def test_a_folder_that_was_moved_away_is_not_taken_for_its_new_neighbours(tmp_path: Path) -> None:
    for name in ("here/inner", "there"):
        (tmp_path / name).mkdir(parents=True)
    folder = Node.at(os.fsencode(tmp_path / "here"), "restored")
    inner = folder.child(b"inner")
    folder.close()
    (tmp_path / "here/inner").rename(tmp_path / "there/inner")

    with pytest.raises(SideError, match="restored: ENOENT"):
        folder.reopen_from(inner)
    (tmp_path / "there/inner").rename(tmp_path / "here/inner")
    folder.reopen_from(inner)

    assert folder.names() == [b"inner"]
    folder.close()
    inner.close()


def test_a_tree_in_full_swing_is_compared_without_an_error(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"left/{number}/file", b"1" * number)
    copy(tmp_path / "left", tmp_path / "right")
    ended = threading.Event()

    def swing() -> None:
        chance = random.Random(1)
        while not ended.is_set():
            folder = tmp_path / f"left/{chance.randrange(50)}"
            shutil.rmtree(folder, ignore_errors=True)
            others: list[Callable[[Path], object]] = [lambda path: path.symlink_to("/etc"), os.mkfifo, Path.touch]
            chance.choice(others)(folder)
            folder.unlink()
            write(folder / "file", b"3")

    writer = threading.Thread(target=swing)
    writer.start()
    try:
        comparisons = [compare_trees(tmp_path / "left", tmp_path / "right") for _ in range(20)]
    finally:
        ended.set()
        writer.join()

    assert not any(comparison.same for comparison in comparisons[5:])


def deep(top: Path, levels: int, *, branch_at: int | None = None) -> None:
    """A tree much deeper than a path may be long, with a file at each end."""
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for level in range(levels):
        name = "z" * 100
        if level == branch_at:
            os.mkdir("a", dir_fd=fd)
        os.close(os.open("tail", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(os.open("zzz-last" + "z" * 120, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_depth_is_no_limit_and_no_descriptor_is_left(tmp_path: Path) -> None:
    deep(tmp_path / "left", 500)
    deep(tmp_path / "right", 500, branch_at=450)
    before = descriptors()
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 90, hard))
    try:
        comparison = compare_trees(tmp_path / "left", tmp_path / "right", metadata=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (comparison.extra_total, comparison.missing_total, comparison.unreadable_total) == (1, 0, 0)
    assert comparison.alike == 1_500
    assert descriptors() == before
    for side in ("left", "right"):
        subprocess.run(["rm", "-rf", tmp_path / side], check=True)


def test_a_deep_subtree_on_one_side_only_does_not_lose_what_follows(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    deep(tmp_path / "left/a", 60)
    write(tmp_path / "left/b", b"1")
    (tmp_path / "right").mkdir()
    copy(tmp_path / "left/b", tmp_path / "right/b")

    comparison = compare_trees(tmp_path / "left", tmp_path / "right", metadata=False)
    mirrored = compare_trees(tmp_path / "right", tmp_path / "left", metadata=False)

    assert (comparison.missing_total, comparison.unreadable_total, comparison.alike) == (181, 0, 1)
    assert (mirrored.extra_total, mirrored.unreadable_total, mirrored.alike) == (181, 0, 1)


def test_no_access_time_is_touched(trees: tuple[Path, Path]) -> None:
    left, right = trees
    read = [path for top in trees for path in [top, *top.rglob("*")] if not path.is_symlink()]
    for path in read:
        os.utime(path, ns=(1, LONG_AGO))
    before = {path: path.stat() for path in read}

    assert compare_trees(left, right).same

    assert {path: (path.stat().st_atime_ns, path.stat().st_ctime_ns) for path in read} == {
        path: (status.st_atime_ns, status.st_ctime_ns) for path, status in before.items()
    }


def test_a_socket_that_no_backup_holds_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "left/file", b"1")
    copy(tmp_path / "left", tmp_path / "right")
    monkeypatch.chdir(tmp_path / "left")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    age(tmp_path / "left")
    age(tmp_path / "right")

    comparison = compare_trees(tmp_path / "left", tmp_path / "right")

    assert comparison.same
    assert codes(comparison) == {Code.SOCKET_LEFT_OUT}


@pytest.mark.parametrize(
    ("path", "kind", "code"),
    [
        ("", ConfigurationError, Code.BAD_ARGUMENT),
        ("a\0b", ConfigurationError, Code.BAD_ARGUMENT),
        ("~/data", ConfigurationError, Code.BAD_ARGUMENT),
        (["data"], ConfigurationError, Code.BAD_ARGUMENT),
        (None, ConfigurationError, Code.BAD_ARGUMENT),
        ("/dev/null", ConfigurationError, Code.BAD_ARGUMENT),
        ("s3://bucket/data", ConfigurationError, Code.BAD_URL),
        ("file:///srv", ConfigurationError, Code.BAD_URL),
        ("not-there", NotFoundError, Code.NO_PATH),
        ("/etc/passwd/below", NotFoundError, Code.NO_PATH),
        ("/" + "x" * 300, SafeBackupError, Code.STORE_FAILED),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_to_do(
    path: str, kind: type[SafeBackupError], code: Code, tmp_path: Path
) -> None:
    for sides in ((path, tmp_path), (tmp_path, path)):
        with pytest.raises(kind) as refusal:
            compare_trees(*sides)
        assert refusal.value.code is code


def test_a_moment_that_is_no_moment_is_refused(trees: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigurationError):
        compare_trees(*trees, since="yesterday")  # type: ignore[arg-type]


def test_the_outcome_is_plain_data(trees: tuple[Path, Path]) -> None:
    comparison = compare_trees(*trees)

    assert attrs.asdict(comparison)["same"] is True
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        comparison.same = False  # type: ignore[misc]


def test_it_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, safebackup.comparing; print({'pendulum', 'fsspec', 'cryptography', 'blake3'} & set(sys.modules))"
    )

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert child.stdout == "set()\n"


NAMES = st.binary(min_size=1, max_size=6).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))
TREES = st.recursive(
    st.binary(max_size=40) | st.none(),  # a file's content, or a link
    lambda inner: st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def build(top: bytes, tree: object) -> None:
    if tree is None:
        os.symlink(b"nowhere", top)
    elif isinstance(tree, bytes):
        with open(top, "wb") as file:
            file.write(tree)
    elif isinstance(tree, dict):
        os.mkdir(top)
        for name, inner in tree.items():
            build(top + b"/" + name, inner)


def everything(top: bytes) -> list[bytes]:
    return sorted(os.path.join(folder, name) for folder, folders, files in os.walk(top) for name in folders + files)


CHANGES = ("flip", "rename", "delete", "add", "chmod", "touch", "retarget")


def change(path: Path, how: str, at: int) -> tuple[int, int, list[Aspect]]:
    """One change of a tree; how many paths are then missing, how many extra, and what differs."""
    status = path.lstat()
    is_link, is_folder = stat.S_ISLNK(status.st_mode), stat.S_ISDIR(status.st_mode)
    below = len(everything(os.fsencode(path))) if is_folder else 0
    if how == "rename":
        path.rename(path.with_name(path.name + "-other"))
        return 1 + below, 1 + below, []
    if how == "delete":
        shutil.rmtree(path) if is_folder else path.unlink()
        return 1 + below, 0, []
    if how == "add":
        write(path.with_name(path.name + "-new"), b"1")
        return 0, 1, []
    if how == "flip" and stat.S_ISREG(status.st_mode) and status.st_size:
        flip(path, at % status.st_size)
        return 0, 0, [Aspect.CONTENT]
    if how == "chmod" and not is_link:
        path.chmod(stat.S_IMODE(status.st_mode) ^ 0o011)
        return 0, 0, [Aspect.MODE]
    if how == "retarget" and is_link:
        replace(path, lambda path: path.symlink_to("elsewhere"))
        os.utime(path, ns=(1, status.st_mtime_ns), follow_symlinks=False)
        return 0, 0, [Aspect.TARGET]
    os.utime(path, ns=(1, status.st_mtime_ns + 1), follow_symlinks=False)
    return 0, 0, [Aspect.MTIME]


@given(st.dictionaries(NAMES, TREES, min_size=1, max_size=4), st.data())
def test_one_change_anywhere_is_told_in_the_right_class(tree: dict[bytes, object], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        left, right = Path(folder, "left"), Path(folder, "right")
        build(os.fsencode(left), tree)
        copy(left, right)
        assert compare_trees(left, right).same

        path = Path(os.fsdecode(data.draw(st.sampled_from(everything(os.fsencode(right))))))
        parent = path.parent.stat()
        missing, extra, aspects = change(path, data.draw(st.sampled_from(CHANGES)), data.draw(st.integers(0, 40)))
        os.utime(path.parent, ns=(1, parent.st_mtime_ns))

        comparison = compare_trees(left, right)

        assert not comparison.same
        assert totals(comparison) == (missing, extra, len(aspects), 0, 0)
        assert found(comparison.differ) == ({os.fsencode(path.relative_to(right)): set(aspects)} if aspects else {})
