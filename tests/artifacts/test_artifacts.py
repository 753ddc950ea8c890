"""check_artifact on every other kind: what it believes, and what it does not."""

from __future__ import annotations

import bz2
import functools
import gzip
import http.server
import io
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from safebackup.artifacts import ArtifactReport, Kind, Level, check_artifact
from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.findings import Severity
from tests.artifacts.makers import (
    ARTIFACTS,
    MYSQL_DUMP,
    SQLITE_DUMP,
    crc64,
    database,
    rdb,
    tar,
    toc_of_folder,
    zipped,
    zstd,
)


def check(folder: Path, name: str, data: bytes, level: Level = Level.FULL) -> ArtifactReport:
    (folder / name).write_bytes(data)
    return check_artifact(folder / name, level=level)


def codes(report: ArtifactReport) -> set[Code]:
    return {finding.code for finding in report.findings if finding.severity is Severity.ERROR}


# What is no artefact


def test_nothing_is_empty(tmp_path: Path) -> None:
    report = check(tmp_path, "a.tar", b"")

    assert codes(report) == {Code.ARTIFACT_EMPTY}
    assert not report.whole


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html><html>502 Bad Gateway", "HTML"),
        (b"pg_dump: error: connection to server failed\n", "pg_dump: error"),
        (b"\0" * 300, "zeros"),
        (bz2.compress(b"x"), "bzip2"),
        (b"\x8f\x01\xfe", "8f 01 fe"),
    ],
)
def test_what_is_unknown_is_described_and_never_whole(data: bytes, says: str, tmp_path: Path) -> None:
    report = check(tmp_path, "nightly", data)

    assert (report.kind, codes(report), report.whole) == (Kind.UNKNOWN, {Code.ARTIFACT_UNKNOWN}, False)
    assert says in report.findings[0].what


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.sql.gz", SQLITE_DUMP),
        ("a.sql", gzip.compress(SQLITE_DUMP, mtime=0)),
        ("a.sql.gz", zstd(SQLITE_DUMP)),
        ("a.tar.gz", gzip.compress(b"Access denied for user", mtime=0)),
        ("a.tar.gz", gzip.compress(SQLITE_DUMP, mtime=0)),
        ("a.tgz", gzip.compress(zipped(), mtime=0)),
        ("a.zip", tar("a")),
        ("backup.gz", gzip.compress(b"<html>Forbidden</html>", mtime=0)),
    ],
)
def test_a_name_that_contradicts_the_content_is_a_finding(name: str, data: bytes, tmp_path: Path) -> None:
    report = check(tmp_path, name, data)

    assert Code.ARTIFACT_MISLABELLED in codes(report)
    assert not report.whole


def test_a_name_that_promises_nothing_contradicts_nothing(tmp_path: Path) -> None:
    for number, (data, _) in enumerate(ARTIFACTS.values()):
        assert check(tmp_path, f"backup-2026-11-23.{number}", data).whole


# Compressions


def test_what_was_compressed_is_judged_too(tmp_path: Path) -> None:
    report = check(tmp_path, "a.sql.gz", gzip.compress(MYSQL_DUMP[:-40], mtime=0))

    assert Code.ARTIFACT_CUT in codes(report) or Code.ARTIFACT_UNFINISHED in codes(report)
    assert report.holds.content is Kind.MYSQL_DUMP


def test_of_unknown_content_only_the_compression_is_proved(tmp_path: Path) -> None:
    report = check(tmp_path, "log.gz", gzip.compress(b"one line\n", mtime=0))

    assert report.whole
    assert any("one line" in sentence for sentence in report.unproved)


@pytest.mark.parametrize("name", ["plain.tar.gz", "plain.tar.zst"])
def test_garbage_after_the_compressed_data_is_damage(name: str, tmp_path: Path) -> None:
    assert codes(check(tmp_path, name, ARTIFACTS[name][0] + b"x")) == {Code.ARTIFACT_DAMAGED}


def test_several_members_are_one_content_and_what_that_hides_is_said(tmp_path: Path) -> None:
    data = tar("a")
    both = gzip.compress(data[:700], mtime=0) + gzip.compress(data[700:])

    report = check(tmp_path, "a.tar.gz", both)

    assert report.whole
    assert any("2 gzip members" in sentence for sentence in report.unproved)
    assert not check(tmp_path, "a.tar.gz", gzip.compress(data[:700], mtime=0)).whole


def test_zstd_without_a_checksum_is_said(tmp_path: Path) -> None:
    report = check(tmp_path, "a.tar.zst", zstd(tar("a"), checksum=False))

    assert report.whole
    assert any("no checksum" in sentence for sentence in report.unproved)
    summed = check(tmp_path, "a.tar.zst", zstd(tar("a"))).unproved
    assert not any("checksum" in sentence for sentence in summed)


def test_zstd_with_skippable_frames_and_several_frames_is_read(tmp_path: Path) -> None:
    data = tar("a")
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"

    assert check(tmp_path, "a.tar.zst", skippable + zstd(data[:700]) + skippable + zstd(data[700:])).whole


@pytest.mark.parametrize("make", [gzip.compress, zstd])
def test_a_bomb_stays_small_in_memory(make: object, tmp_path: Path) -> None:
    assert callable(make)
    bomb = make(bytes(300 << 20))
    path = tmp_path / "bomb"
    path.write_bytes(bomb)
    check(tmp_path, "warm.zst", zstd(b"x"))
    tracemalloc.start()
    try:
        report = check_artifact(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert not report.whole or report.holds.bytes == 300 << 20
    assert peak < 32 << 20


# tar and zip


def test_a_tar_made_by_tar_is_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
    (tmp_path / "in" / ("long" * 50)).write_bytes(b"x" * 1000)
    for form in ("gnu", "pax", "v7"):
        options = ["--sparse"] if form != "v7" else ["--exclude=long*"]
        subprocess.run(["tar", f"--format={form}", *options, "-cf", "a.tar", "in"], cwd=tmp_path, check=True)

        report = check_artifact(tmp_path / "a.tar")

        assert (report.whole, report.findings) == (True, ()), form


def test_a_tar_appended_to_another_is_damage_since_tar_would_leave_it_out(tmp_path: Path) -> None:
    assert codes(check(tmp_path, "a.tar", tar("a") + tar("b"))) == {Code.ARTIFACT_DAMAGED}


def test_a_tar_of_folders_only_is_empty(tmp_path: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as file:
        member = tarfile.TarInfo("mnt")
        member.type = tarfile.DIRTYPE
        file.addfile(member)

    folders = check(tmp_path, "a.tar", target.getvalue())

    assert [(one.code, one.severity) for one in folders.findings] == [(Code.ARTIFACT_EMPTY, Severity.WARNING)]
    assert folders.whole
    assert codes(check(tmp_path, "b.tar", bytes(10240))) == {Code.ARTIFACT_EMPTY}


# What begins with zeros


def image(lead: int) -> bytes:
    """As a disk image: a file system has its first mark somewhere behind zeros."""
    return bytes(lead) + b"\x53\xef" + bytes(100_000)


@pytest.mark.parametrize("lead", [1024, 8190, 65_600, 3 << 20])
def test_a_disk_image_is_no_damaged_tar(lead: int, tmp_path: Path) -> None:
    plain = check(tmp_path, "disk.img", image(lead))
    packed = check(tmp_path, "disk.img.gz", gzip.compress(image(lead), mtime=0))

    assert (plain.kind, codes(plain), plain.whole) == (Kind.UNKNOWN, {Code.ARTIFACT_UNKNOWN}, False)
    assert "zeros" in plain.findings[0].what
    assert (packed.findings, packed.whole, packed.holds.content) == ((), True, Kind.UNKNOWN)
    assert packed.holds.bytes == len(image(lead))
    assert any("zeros" in sentence for sentence in packed.unproved)


def test_a_name_can_promise_a_tar_where_only_zeros_are(tmp_path: Path) -> None:
    nothing, named, packed = (
        check(tmp_path, "nightly", bytes(10_240)),
        check(tmp_path, "a.tar", image(1024)),
        check(tmp_path, "a.tgz", gzip.compress(image(3 << 20))),
    )

    assert (nothing.kind, codes(nothing)) == (Kind.TAR, {Code.ARTIFACT_EMPTY})
    assert (named.kind, codes(named)) == (Kind.TAR, {Code.ARTIFACT_DAMAGED})
    assert codes(packed) == {Code.ARTIFACT_DAMAGED}


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_no_volume_of_a_tar_of_several_is_whole_alone(form: str, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(os.urandom(2_500_000))
    volumes = [f"{number}.tar" for number in range(1, 4)]
    files = [option for name in volumes for option in ("-f", name)]
    command = ["tar", f"--format={form}", "-cM", "-V", "label", "-L", "1000", *files, "content"]
    subprocess.run(command, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)

    reports = [check_artifact(tmp_path / name) for name in volumes]

    assert [report.whole for report in reports] == [False] * 3
    assert codes(reports[-1]) == {Code.ARTIFACT_PART_MISSING}


def test_a_label_makes_no_volume_of_several(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"content")
    for form in ("gnu", "posix"):
        subprocess.run(["tar", f"--format={form}", "-V", "label", "-cf", "a.tar", "content"], cwd=tmp_path, check=True)

        assert check_artifact(tmp_path / "a.tar").whole, form


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_changed_byte_in_a_zip_member_is_found(method: int, tmp_path: Path) -> None:
    data = bytearray(zipped(method=method))
    assert check(tmp_path, "a.zip", bytes(data)).whole
    data[60] ^= 0xFF

    report = check(tmp_path, "a.zip", bytes(data))

    assert codes(report) & {Code.ARTIFACT_DAMAGED, Code.ARTIFACT_CUT}
    assert check(tmp_path, "a.zip", bytes(data), Level.STRUCTURE).level is Level.STRUCTURE


def test_zip_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("a", b"x" * 100)
        twin = zipfile.ZipInfo("a")
        for name in zipfile.ZipInfo.__slots__:
            if hasattr(file.filelist[0], name):
                setattr(twin, name, getattr(file.filelist[0], name))
        file.filelist.append(twin)

    assert codes(check(tmp_path, "a.zip", target.getvalue())) == {Code.ARTIFACT_DAMAGED}


def test_a_zip_that_lists_fewer_members_than_it_says_is_damaged(tmp_path: Path) -> None:
    data = bytearray(zipped())
    data[-14:-10] = b"\3\0\3\0"  # the two counts in the record at its end

    assert codes(check(tmp_path, "a.zip", bytes(data))) == {Code.ARTIFACT_DAMAGED}


def test_an_empty_zip_is_empty(tmp_path: Path) -> None:
    target = io.BytesIO()
    zipfile.ZipFile(target, "w").close()

    assert codes(check(tmp_path, "a.zip", target.getvalue())) == {Code.ARTIFACT_EMPTY}


@pytest.mark.parametrize("name", ["a.zip", "setup.exe"])
def test_a_zip_behind_the_program_that_unpacks_it_is_judged(name: str, tmp_path: Path) -> None:
    data = b"#!/bin/sh\nexit\n" + zipped(comment=b"a comment")

    report = check(tmp_path, name, data)

    assert (report.findings, report.whole, report.kind, report.holds.members) == ((), True, Kind.ZIP, 2)
    assert any("15 bytes before the first member" in sentence for sentence in report.unproved)
    assert [length for length in range(len(data)) if check(tmp_path, name, data[:length]).whole] == []


def test_text_that_ends_as_a_zip_of_nothing_is_text(tmp_path: Path) -> None:
    report = check(tmp_path, "a", b"some text\n" + b"PK\5\6" + bytes(18))

    assert codes(report) == {Code.ARTIFACT_UNKNOWN}


@pytest.mark.parametrize(
    "comment", [b"has PK\5\6 in it " + b"z" * 40, b"PK\5\6", b"z" * 60_000 + b"PK\5\6", b"PK\5\6" + b"\xff" * 30]
)
def test_a_comment_may_hold_what_ends_a_zip(comment: bytes, tmp_path: Path) -> None:
    data = zipped(comment=comment)

    report = check(tmp_path, "a.zip", data)

    assert (report.findings, report.whole, report.holds.members) == ((), True, 2)
    assert not check(tmp_path, "a.zip", data[:-1]).whole
    assert not check(tmp_path, "a.zip", data + b"x").whole
    spoiled = bytearray(data)
    spoiled[60] ^= 0xFF
    assert not check(tmp_path, "a.zip", bytes(spoiled)).whole


def test_a_zip_cut_where_one_within_it_ends_is_not_whole(tmp_path: Path) -> None:
    inner, target = zipped(), io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("inner.zip", inner)
        file.writestr("lost", b"x" * 1000)
    data = target.getvalue()
    assert check(tmp_path, "a.zip", data).whole

    assert not check(tmp_path, "a.zip", data[: data.index(inner) + len(inner)]).whole


# SQLite


def programs_own(path: Path, *statements: str) -> None:
    """A database of a program that adds to SQLite what only it has."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_collation("own", lambda a, b: (a > b) - (a < b))
    connection.create_function("own", 1, lambda value: value, deterministic=True)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("index", ["t(a COLLATE own)", "t(own(a))"])
def test_what_only_its_own_program_can_read_is_not_called_damaged(index: str, tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    programs_own(path, "CREATE TABLE t(a TEXT)", f"CREATE INDEX i ON {index}", "INSERT INTO t VALUES ('x'), ('y')")
    packed = gzip.compress(path.read_bytes())

    report = check_artifact(path)

    assert (codes(report), report.level, report.whole) == ({Code.ARTIFACT_UNREADABLE}, Level.STRUCTURE, False)
    assert "own" in report.findings[0].what
    assert check_artifact(path, level="structure").whole
    assert codes(check(tmp_path, "a.sqlite.gz", packed)) == {Code.ARTIFACT_UNREADABLE}
    data = path.read_bytes()
    assert codes(check(tmp_path, "b.sqlite", data[:-4096])) == {Code.ARTIFACT_CUT}


def test_a_row_that_breaks_a_younger_rule_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t(a)")
    connection.execute("INSERT INTO t VALUES (NULL)")
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a NOT NULL)'")
    connection.close()

    report = check_artifact(path)

    assert [(one.code, one.severity) for one in report.findings] == [(Code.ARTIFACT_DAMAGED, Severity.WARNING)]
    assert report.whole


def test_an_error_of_sqlite_that_quotes_bytes_is_damage(tmp_path: Path) -> None:
    data = bytearray(ARTIFACTS["orders.sqlite"][0])
    for old, new in ((b"tableordersorders", b"table\x80rdersorders"), (b"CREATE TABLE orders", b"CREATX TABLE orders")):
        place = data.index(old)
        data[place : place + len(old)] = new

    assert codes(check(tmp_path, "a.sqlite", bytes(data))) == {Code.ARTIFACT_DAMAGED}


def test_a_database_of_views_is_whole_and_one_of_nothing_is_empty(tmp_path: Path) -> None:
    programs_own(tmp_path / "views.sqlite", "CREATE VIEW v AS SELECT 1")
    programs_own(tmp_path / "nothing.sqlite", "CREATE TABLE t(a)", "DROP TABLE t")

    views, nothing = check_artifact(tmp_path / "views.sqlite"), check_artifact(tmp_path / "nothing.sqlite")

    assert [(one.code, one.severity) for one in views.findings] == [(Code.ARTIFACT_EMPTY, Severity.WARNING)]
    assert views.whole
    assert codes(nothing) == {Code.ARTIFACT_EMPTY}


def test_a_copy_of_a_database_without_its_log_is_not_whole(tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db", mode="wal")
    shutil.copy(tmp_path / "live.db", tmp_path / "copy.db")
    connection.execute("VACUUM INTO ?", (str(tmp_path / "right.db"),))

    assert Code.ARTIFACT_JOURNAL_MISSING in codes(check_artifact(tmp_path / "copy.db"))
    assert Code.ARTIFACT_JOURNAL_BESIDE in codes(check_artifact(tmp_path / "live.db"))
    assert check_artifact(tmp_path / "right.db").holds.rows == 300
    assert check_artifact(tmp_path / "right.db").whole
    connection.close()


def test_the_advice_for_a_missing_log_makes_the_copy_whole(tmp_path: Path) -> None:
    live, copy = database(tmp_path / "live.db", mode="wal"), sqlite3.connect(tmp_path / "copy.db")
    live.backup(copy)
    copy.execute("PRAGMA journal_mode=DELETE")
    copy.close()
    live.close()

    report = check_artifact(tmp_path / "copy.db")

    assert (report.whole, report.holds.rows) == (True, 300)


def test_a_hot_journal_beside_a_database_is_found(tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db")
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN")
    connection.execute("UPDATE orders SET name = name || 'x'")
    for name in ("live.db", "live.db-journal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("live", "copy"))
    connection.close()

    assert Code.ARTIFACT_JOURNAL_BESIDE in codes(check_artifact(tmp_path / "copy.db"))


@pytest.mark.parametrize("mode", ["delete", "wal", "persist"])
def test_checking_a_database_changes_nothing_beside_it(mode: str, tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db", mode=mode)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}

    check_artifact(tmp_path / "live.db")

    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
    connection.close()


def test_a_damaged_page_is_found_by_the_integrity_check_in_a_file_and_in_a_stream(tmp_path: Path) -> None:
    database(tmp_path / "a.sqlite").close()
    data = bytearray((tmp_path / "a.sqlite").read_bytes())
    data[4096 * 2 : 4096 * 2 + 40] = bytes(40)

    assert codes(check(tmp_path, "a.sqlite", bytes(data))) == {Code.ARTIFACT_DAMAGED}
    assert codes(check(tmp_path, "a.sqlite.gz", gzip.compress(data))) == {Code.ARTIFACT_DAMAGED}


@pytest.mark.parametrize("level", [Level.STRUCTURE, Level.FULL])
def test_a_database_that_lost_whole_pages_is_cut(level: Level, tmp_path: Path) -> None:
    data = ARTIFACTS["orders.sqlite"][0]

    assert codes(check(tmp_path, "a.sqlite", data[:-4096], level)) == {Code.ARTIFACT_CUT}
    assert codes(check(tmp_path, "a.sqlite.gz", gzip.compress(data[:-4096]), level)) == {Code.ARTIFACT_CUT}


def test_a_name_that_means_something_in_a_uri_is_just_a_name(tmp_path: Path) -> None:
    name = "what?mode=rwc#50% ü.sqlite"
    database(tmp_path / name).close()

    assert check_artifact(tmp_path / name).whole
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_dump_of_a_damaged_database_is_unfinished(tmp_path: Path) -> None:
    data = SQLITE_DUMP.removesuffix(b"COMMIT;\n") + b"ROLLBACK; -- due to errors\n"

    assert codes(check(tmp_path, "a.sql", data)) == {Code.ARTIFACT_UNFINISHED}


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_what_the_sqlite3_shell_dumps_is_whole(tmp_path: Path) -> None:
    database(tmp_path / "a.db").close()
    dump = subprocess.run(["sqlite3", "a.db", ".dump"], cwd=tmp_path, check=True, capture_output=True).stdout

    report = check(tmp_path, "a.sql", dump)

    assert (report.whole, report.holds.rows, report.holds.tables) == (True, 300, 1)


# MySQL and Redis


def test_a_mysql_dump_tells_what_it_holds(tmp_path: Path) -> None:
    report = check(tmp_path, "a.sql", MYSQL_DUMP)

    assert report.whole
    assert (report.holds.tables, report.holds.rows, report.holds.database) == (1, 3, "shop")
    assert report.holds.server_version == "11.4.2-MariaDB"


def test_a_dump_of_an_empty_database_is_whole_only_where_a_misspelt_one_is_refused(tmp_path: Path) -> None:
    begin, end = MYSQL_DUMP.index(b"--\n-- Table structure"), MYSQL_DUMP.rindex(b"-- Dump completed")
    mysql = check(tmp_path, "a.sql", MYSQL_DUMP[:begin] + MYSQL_DUMP[end:])
    sqlite = check(tmp_path, "b.sql", b"PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCOMMIT;\n")

    assert [(one.code, one.severity) for one in mysql.findings] == [(Code.ARTIFACT_EMPTY, Severity.WARNING)]
    assert mysql.whole
    assert codes(sqlite) == {Code.ARTIFACT_EMPTY}


def test_a_mysql_dump_without_its_end_mark_is_unfinished(tmp_path: Path) -> None:
    data = MYSQL_DUMP[: MYSQL_DUMP.rindex(b"-- Dump completed")]

    assert codes(check(tmp_path, "a.sql", data)) == {Code.ARTIFACT_UNFINISHED}


def test_a_mark_of_mysql_inside_a_trigger_does_not_count(tmp_path: Path) -> None:
    mark = b"-- Dump completed on 2026-11-23  8:00:00\n"
    data = MYSQL_DUMP[: MYSQL_DUMP.index(b"BEGIN\n" + mark) + len(b"BEGIN\n" + mark)]

    assert codes(check(tmp_path, "a.sql", data)) == {Code.ARTIFACT_CUT}


def test_redis_holds_its_keys_and_its_version(tmp_path: Path) -> None:
    report = check(tmp_path, "dump.rdb", rdb())

    assert (report.whole, report.holds.keys, report.holds.server_version) == (True, 10, "7.2.4")


def test_a_wrong_checksum_of_redis_is_damage_and_a_missing_one_is_said(tmp_path: Path) -> None:
    assert codes(check(tmp_path, "a.rdb", rdb()[:-1] + bytes([rdb()[-1] ^ 1]))) == {Code.ARTIFACT_DAMAGED}

    report = check(tmp_path, "b.rdb", rdb(checksum=False))

    assert report.whole
    assert any("rdbchecksum" in sentence for sentence in report.unproved)


def test_redis_without_its_end_mark_is_cut(tmp_path: Path) -> None:
    body = rdb()[:-9]

    assert codes(check(tmp_path, "a.rdb", body)) == {Code.ARTIFACT_CUT}


def test_an_unknown_value_of_redis_is_not_judged(tmp_path: Path) -> None:
    body = b"REDIS0099" + b"\x63\1k\1v\xff"

    assert codes(check(tmp_path, "a.rdb", body + struct.pack("<Q", crc64(body)))) == {Code.ARTIFACT_UNREADABLE}


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_what_a_real_redis_saves_is_whole(tmp_path: Path) -> None:
    commands = (
        "".join(f"SET key{n} value{n}\n" for n in range(100)) + "ZADD z 1 a\nXADD s * f v\nSAVE\nSHUTDOWN NOSAVE\n"
    )
    socket = tmp_path / "s"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path), "--save", ""]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    while not socket.exists() and server.poll() is None:
        threading.Event().wait(0.02)
    subprocess.run(["redis-cli", "-s", str(socket)], input=commands, text=True, check=False, capture_output=True)
    server.wait(10)

    report = check_artifact(tmp_path / "dump.rdb")

    assert (report.findings, report.whole, report.holds.keys) == ((), True, 102)


# Places


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        check_artifact(tmp_path / "none")
    assert caught.value.code is Code.NO_PATH


@pytest.mark.parametrize("what", [None, "", 3, "no-such-scheme://x/y", "a\0b"])
def test_what_is_no_place_is_refused(what: object) -> None:
    with pytest.raises(ConfigurationError):
        check_artifact(what)  # type: ignore[arg-type]


def test_a_wrong_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="listed"):
        check_artifact(tmp_path, level="deep")  # type: ignore[arg-type]


def test_a_pipe_is_refused_before_it_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ConfigurationError, match="neither a file"):
        check_artifact(tmp_path / "pipe")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("name", ["toc.dat", "blobs.toc", "8.dat"])
def test_a_folder_with_something_that_is_no_file_does_not_block(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "toc.dat").write_bytes(toc_of_folder())
    for number in (8, 9):
        (tmp_path / f"{number}.dat").write_bytes(b"1\n\\.\n\n\n")
    (tmp_path / "blobs.toc").write_bytes(b"16400 blob_16400.dat\n")
    (tmp_path / "blob_16400.dat").write_bytes(b"large")
    assert check_artifact(tmp_path).whole
    (tmp_path / name).unlink()
    make(tmp_path / name)

    report = check_artifact(tmp_path)

    (damage,) = (finding.what for finding in report.findings if finding.code is Code.ARTIFACT_DAMAGED)
    assert f"{name} is no regular file" in damage
    assert not report.whole


def test_every_kind_is_judged_alike_behind_a_url(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for name, (data, end) in ARTIFACTS.items():
        files.pipe(f"/artifacts/{name}", data)
        files.pipe(f"/artifacts/cut/{name}", data[: end - 1])

        assert check_artifact(f"memory://artifacts/{name}").whole, name
        assert not check_artifact(f"memory://artifacts/cut/{name}").whole, name
    files.rm("/artifacts", recursive=True)


def test_a_file_url_is_the_local_file(tmp_path: Path) -> None:
    database(tmp_path / "a.sqlite").close()

    assert check_artifact(f"file://{tmp_path}/a.sqlite").whole


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_http_tells_not_found_from_not_reached(server: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "a.tar").write_bytes(tar("a"))

    assert check_artifact(f"{server}/a.tar").whole
    with pytest.raises(NotFoundError):
        check_artifact(f"{server}/b.tar")
    with pytest.raises(StorageError):
        check_artifact("http://127.0.0.1:9/a.tar")


def test_options_that_the_store_does_not_take_are_said_to_be_that(server: str, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "a.tar").write_bytes(tar("a"))

    with pytest.raises(ConfigurationError, match="storage options do not fit") as caught:
        check_artifact(f"{server}/a.tar", storage_options={"nosuch": "geheim"})

    assert "nosuch" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_secret_in_a_url_is_not_repeated() -> None:
    with pytest.raises(NotFoundError) as caught:
        check_artifact("memory://user:geheim@host/none?token=geheim")
    assert "geheim" not in str(caught.value)


def test_local_files_need_neither_fsspec_nor_pendulum(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(tar("a")))
    code = (
        "import sys; from safebackup.artifacts import check_artifact;"
        f"assert check_artifact({str(tmp_path / 'a.tar.gz')!r}).whole;"
        "print({'fsspec', 'pendulum', 'zstandard', 'cryptography', 'msgspec'} & set(sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_a_file_that_is_still_written_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar("a") + bytes(100 << 20))
    over = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not over.wait(0.001):
                file.write(bytes(512))
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = check_artifact(path)
    finally:
        over.set()
        writer.join()

    assert Code.ARTIFACT_UNFINISHED in codes(report)
    assert not report.whole
