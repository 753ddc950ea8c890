"""`check-artifact`: what it tells besides whether a dump is whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.artifacts.makers import MYSQL_DUMP, database, pg_plain, rdb, tar
from tests.cli.program import Done, at_terminal, safebackup


def check(folder: Path, *arguments: str) -> Done:
    return safebackup("check-artifact", *arguments, folder=folder)


def test_what_a_dump_holds_is_told_to_whoever_asks(tmp_path: Path) -> None:
    (tmp_path / "shop.sql.gz").write_bytes(gzip.compress(MYSQL_DUMP))
    (tmp_path / "files.tar").write_bytes(tar("a", "b"))
    (tmp_path / "dump.rdb").write_bytes(rdb())

    told = check(tmp_path, "-v", "shop.sql.gz", "files.tar", "dump.rdb").out

    assert "1 table, 3 rows" in told
    assert "of the database shop" in told
    assert "2 members, 1.4 KiB" in told
    assert "10 keys" in told


def test_what_is_not_proved_is_told_to_whoever_asks(tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_bytes(pg_plain())

    told = check(tmp_path, "-v", "shop.sql").out

    assert "not proved: A dump as text carries no checksum" in told
    assert "not proved: Whether every statement succeeds" in told


def test_at_a_terminal_nobody_has_to_ask(tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_bytes(pg_plain())

    told = at_terminal("check-artifact", "shop.sql", folder=tmp_path).out

    assert "1 table, 5 rows" in told
    assert "not proved: " in told
    assert at_terminal("check-artifact", "-q", "shop.sql", folder=tmp_path).out == ""


def test_where_nobody_watches_a_whole_dump_is_not_mentioned(tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_bytes(pg_plain())

    assert check(tmp_path, "shop.sql") == Done(0, "", "")


def test_what_a_dump_holds_that_is_not_whole_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_bytes(MYSQL_DUMP[: MYSQL_DUMP.rindex(b"-- Dump completed")])

    assert "1 table, 3 rows" in check(tmp_path, "-v", "shop.sql").err
    assert "3 rows" not in check(tmp_path, "shop.sql").err


def test_the_advice_for_a_missing_log_is_shown(tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db", mode="wal")
    (tmp_path / "copy.db").write_bytes((tmp_path / "live.db").read_bytes())
    connection.close()

    done = check(tmp_path, "copy.db")

    assert done.status == 5
    assert "VACUUM INTO" in done.err
    assert "PRAGMA journal_mode=DELETE" in done.err
    assert "--help" not in done.err


def test_compressed_text_that_is_no_dump_is_mentioned_where_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "nightly.gz").write_bytes(gzip.compress(b"17;paid\n"))
    (tmp_path / "failed.gz").write_bytes(gzip.compress(b"bash: mysqldump: command not found\n"))

    text, failed = check(tmp_path, "nightly.gz"), check(tmp_path, "failed.gz")

    assert (text.status, text.out) == (0, "")
    assert "warning: " in text.err
    assert "17;paid" in text.err
    assert (failed.status, "command not found" in failed.err) == (5, True)


def test_sql_that_no_known_program_marked_could_not_be_judged(tmp_path: Path) -> None:
    (tmp_path / "orders.sql").write_bytes(b"CREATE TABLE t (a int);\n")

    done = check(tmp_path, "orders.sql")

    assert done.status == 7
    assert "--skip-comments" in done.err
    assert "rename" not in done.err


def test_storage_options_reach_the_store(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    (tmp_path / "secret").write_text("geheim\n")

    local = check(tmp_path, "x.sql", "--storage-option", "anon=true")
    wrong = check(tmp_path, "s3://bucket/a.sql", "--storage-option", "nosuch=1", "--storage-option", "key=@secret")
    missing = check(tmp_path, "s3://bucket/a.sql", "--storage-option", "secret=geheim")

    assert (local.status, "storage options are given for a local path: anon" in local.err) == (2, True)
    assert wrong.status == 2
    assert "storage options do not fit" in wrong.err
    assert "nosuch" in wrong.err
    assert "network" not in wrong.err
    assert (missing.status, "--storage-option secret is written on the command line" in missing.err) == (2, True)
    assert "geheim" not in wrong.err + missing.err
