"""Sources: what a caller may write, and what it stands for."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import pytest

from safebackup.backup.source import Evidence, Root, Source, source_of
from safebackup.errors import Code, ConfigurationError, NotFoundError


def test_a_relative_path_is_made_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Source("data/./x/..")
    monkeypatch.chdir("/")

    assert source.paths == (os.fsencode(tmp_path / "data"),)


def test_text_bytes_and_path_objects_mean_the_same() -> None:
    assert Source("/srv/é") == Source("/srv/é".encode()) == Source(Path("/srv/é")) == Source("//srv/é/")


def test_a_source_survives_pickling() -> None:
    source = Source("/a", "/b", exclude=["*.tmp"], larger_than=10, evidence=Evidence.NONE)

    assert pickle.loads(pickle.dumps(source)) == source


def test_a_source_is_named_after_its_paths_unless_it_has_a_name() -> None:
    assert Source("/a", b"/b\xff\n").name == "/a, /b\\\\xff\\n"
    assert Source("/a", name="orders").name == "orders"


@pytest.mark.parametrize(
    "path", ["", "a\0b", None, 7, ["/a", "/b"], "s3://bucket/x", "file:///x", "/" + "a/" * 2100, "\ud800"]
)
def test_what_is_not_a_path_on_this_machine_is_refused(path: object) -> None:
    with pytest.raises(ConfigurationError):
        Source(path)  # type: ignore[arg-type]


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Source()


@pytest.mark.parametrize(
    "paths", [("/a", "/a/"), ("/a", "/a/b"), ("/a/b/c", "/a"), ("/", "/a"), ("/a", "/a-b", "/a-b/c")]
)
def test_paths_within_one_another_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"same path|lies within"):
        Source(*paths)


def test_paths_that_begin_alike_are_not_within_one_another() -> None:
    assert Source("/a", "/ab", "/a.b").paths == (b"/a", b"/ab", b"/a.b")


def test_paths_that_lead_to_one_place_through_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(ConfigurationError, match="lies within"):
        Source(tmp_path / "real/inner", tmp_path / "link").roots()


@pytest.mark.parametrize("size", [-1, True, 1.5, "1G"])
def test_a_size_is_a_number_of_bytes(size: object) -> None:
    with pytest.raises(ConfigurationError, match="larger_than"):
        Source("/a", larger_than=size)  # type: ignore[arg-type]


def test_evidence_may_be_written_as_text_and_nothing_else() -> None:
    assert Source("/a", evidence="mtime").evidence is Evidence.MTIME  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="inode"):
        Source("/a", evidence="size")  # type: ignore[arg-type]


def test_a_bad_line_is_refused_where_the_source_is_written() -> None:
    with pytest.raises(ConfigurationError, match="exclude line"):
        Source("/a", exclude=["[a"])


def test_one_string_is_read_as_lines_and_not_as_characters() -> None:
    assert Source("/a", exclude="*.tmp\n/build/\n").exclude == ("*.tmp", "/build/", "")


@pytest.mark.parametrize("lines", [["a\nb"], [b"a"], [None]])
def test_a_line_is_one_line_of_text(lines: list[object]) -> None:
    with pytest.raises(ConfigurationError, match="exclude"):
        Source("/a", exclude=lines)  # type: ignore[arg-type]


def test_one_directory_is_the_root_of_the_snapshot(tmp_path: Path) -> None:
    assert Source(tmp_path).roots() == (Root(os.fsencode(tmp_path), b""),)


def test_one_file_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "dump.sql").write_text("x")

    assert Source(tmp_path / "dump.sql").roots()[0].name == b"dump.sql"


def test_several_paths_keep_their_names_in_manifest_order(tmp_path: Path) -> None:
    for name in ("b", "a", "a.b"):
        (tmp_path / name).mkdir()

    roots = Source(tmp_path / "b", tmp_path / "a.b", tmp_path / "a").roots()

    assert [root.name for root in roots] == [b"a", b"a.b", b"b"]


def test_a_link_stands_for_what_it_points_to_and_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "release-7").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "current").symlink_to("release-7")

    roots = Source(tmp_path / "current", tmp_path / "other").roots()

    assert roots[0] == Root(os.fsencode(tmp_path / "release-7"), b"current")


def test_two_paths_of_one_name_are_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "x/data").mkdir(parents=True)
    (tmp_path / "y/data").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match=r"x/data.*y/data"):
        Source(tmp_path / "x/data", tmp_path / "y/data").roots()


@pytest.mark.parametrize("name", ["missing", "dangling", "file/below"])
def test_what_does_not_exist_is_not_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("x")

    with pytest.raises(NotFoundError) as caught:
        Source(tmp_path / name).roots()

    assert caught.value.code is Code.NO_SOURCE


def test_a_source_contains_what_lies_beneath_it_even_before_it_exists(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    source = Source(tmp_path / "data")

    assert source.contains(os.fsencode(tmp_path / "data"))
    assert source.contains(os.fsencode(tmp_path / "data/not/yet"))
    assert source.contains(tmp_path / "link/not/yet")
    assert not source.contains(tmp_path / "database")
    assert not source.contains(tmp_path)
    assert Source("/").contains(tmp_path)


def test_an_excluded_place_may_hold_the_repository(tmp_path: Path) -> None:
    source = Source(tmp_path, exclude=["/backup/"])

    assert not source.contains(tmp_path / "backup/repository")
    assert source.contains(tmp_path / "other/backup/repository")


def test_another_file_system_may_hold_the_repository_if_the_scan_stays_on_one() -> None:
    if os.stat("/dev/shm").st_dev == os.stat("/").st_dev:
        pytest.skip("/dev/shm is no file system of its own here")

    assert not Source("/", one_file_system=True).contains("/dev/shm/repository")
    assert Source("/").contains("/dev/shm/repository")


def test_a_source_contains_what_another_mount_shows_of_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "view").mkdir()
    if subprocess.run(
        ["mount", "--bind", tmp_path / "data", tmp_path / "view"], capture_output=True, check=False
    ).returncode:
        pytest.skip("may not mount here")

    try:
        assert Source(tmp_path / "data").contains(tmp_path / "view/repository")
    finally:
        subprocess.run(["umount", tmp_path / "view"], check=True)


def test_paths_and_lists_of_paths_become_sources() -> None:
    source = Source("/a", exclude=["x"])

    assert source_of(source) is source
    assert source_of("/a") == source_of(b"/a") == source_of(Path("/a")) == source_of(["/a"]) == Source("/a")
    assert source_of(path for path in ("/a", "/b")) == Source("/a", "/b")


@pytest.mark.parametrize("thing", [None, 7, [], [None]])
def test_anything_else_is_no_source(thing: object) -> None:
    with pytest.raises(ConfigurationError):
        source_of(thing)  # type: ignore[arg-type]
