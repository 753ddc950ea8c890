"""A dump that broke off with a whole one behind it, as `>>` makes it when a job is tried again, is not whole."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from safebackup.artifacts import check_artifact
from safebackup.artifacts.reading import PIECE
from safebackup.errors import Code
from safebackup.findings import Severity
from tests.artifacts.conftest import Postgres
from tests.artifacts.makers import MYSQL_DUMP, SQLITE_DUMP, pg_plain

# mysqldump of Oracle's writes no line ahead of the one that names it.
ORACLE_DUMP = MYSQL_DUMP[MYSQL_DUMP.index(b"\n") + 1 :].replace(
    b"-- MariaDB dump 10.19-11.4.2-MariaDB, for", b"-- MySQL dump 10.13  Distrib 8.0.36, for"
)
MYSQL_HEADER = b"-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost    Database: shop\n"
PG_HEADER = b"--\n-- PostgreSQL database dump\n--\n\n"
FAILED_SQLITE = SQLITE_DUMP.removesuffix(b"COMMIT;\n") + b"ROLLBACK; -- due to errors\n"


def python_dump() -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute(
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, note TEXT DEFAULT 'none', mark TEXT DEFAULT '-- none')"
    )
    notes = [("a\nb",), ("it's; COMMIT;",), ("",), ("-- no comment",), ("BEGIN TRANSACTION;\nCOMMIT;",)]
    connection.executemany("INSERT INTO notes(note) VALUES (?)", notes)
    return "\n".join(connection.iterdump()).encode() + b"\n"


DUMPS = {
    "mariadb": MYSQL_DUMP,
    "mysql": ORACLE_DUMP,
    "mysql-crlf": ORACLE_DUMP.replace(b"\n", b"\r\n"),
    "sqlite3": SQLITE_DUMP,
    "python": python_dump(),
    "postgres": pg_plain(restrict=False),
    "postgres-locked": pg_plain(),
    "postgres-crlf": pg_plain(restrict=False).replace(b"\n", b"\r\n"),
}


def errors(folder: Path, data: bytes) -> set[Code]:
    (folder / "a.sql").write_bytes(data)
    report = check_artifact(folder / "a.sql")
    return {finding.code for finding in report.findings if finding.severity is Severity.ERROR}


@pytest.mark.parametrize("name", DUMPS)
def test_a_dump_cut_anywhere_and_then_a_whole_one_is_not_whole(name: str, tmp_path: Path) -> None:
    whole = DUMPS[name]
    named = next(
        length for length in range(1, len(whole)) if not errors(tmp_path, whole[:length]) & {Code.ARTIFACT_UNKNOWN}
    )
    ends = len(whole.rstrip(b"\r\n-"))  # behind its end mark nothing can be lost

    believed = [length for length in range(named, ends) if not errors(tmp_path, whole[:length] + whole)]

    assert believed == []


@pytest.mark.parametrize("name", DUMPS)
def test_several_whole_dumps_in_one_file_are_whole(name: str, tmp_path: Path) -> None:
    assert errors(tmp_path, DUMPS[name] * 3) == set()


def test_a_dump_of_mysqls_between_two_whole_ones_is_unfinished(tmp_path: Path) -> None:
    half = MYSQL_DUMP[: MYSQL_DUMP.index(b"LOCK TABLES")]

    assert errors(tmp_path, MYSQL_DUMP + half + MYSQL_DUMP) == {Code.ARTIFACT_UNFINISHED}


def test_of_a_dump_by_sqlite3_the_first_line_alone_is_not_whole(tmp_path: Path) -> None:
    first = SQLITE_DUMP[: SQLITE_DUMP.index(b"\n") + 1]

    assert errors(tmp_path, SQLITE_DUMP + first + SQLITE_DUMP) == {Code.ARTIFACT_UNFINISHED}


def test_a_value_that_ends_in_another_dump_is_found_by_what_follows_it(tmp_path: Path) -> None:
    whole = SQLITE_DUMP.replace(b"t(a TEXT)", b"t(a TEXT DEFAULT '-- none')")
    assert errors(tmp_path, whole) == set()

    assert errors(tmp_path, whole[: whole.index(b"two")] + whole) == {Code.ARTIFACT_UNFINISHED}


def test_a_dump_of_a_damaged_database_stays_unfinished_with_a_good_one_behind_it(tmp_path: Path) -> None:
    assert errors(tmp_path, FAILED_SQLITE + SQLITE_DUMP) == {Code.ARTIFACT_UNFINISHED}


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_what_the_sqlite3_shell_saves_of_a_damaged_database_stays_unfinished(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    connection.execute("CREATE TABLE t(x)")
    connection.executemany("INSERT INTO t VALUES (?)", [("x" * 900,)] * 100)
    connection.execute("VACUUM")
    connection.close()
    good = subprocess.run(["sqlite3", "a.db", ".dump"], cwd=tmp_path, check=True, capture_output=True).stdout
    data = bytearray((tmp_path / "a.db").read_bytes())
    data[4096 * 5 : 4096 * 6] = b"\xff" * 4096
    (tmp_path / "a.db").write_bytes(data)
    bad = subprocess.run(["sqlite3", "a.db", ".dump"], cwd=tmp_path, check=False, capture_output=True).stdout
    assert b"ROLLBACK" in bad

    assert errors(tmp_path, good) == set()
    assert errors(tmp_path, bad + good) == {Code.ARTIFACT_UNFINISHED}


def test_a_dump_of_mysqls_that_begins_in_another_is_found_wherever_the_pieces_end(tmp_path: Path) -> None:
    head, _ = ORACLE_DUMP.split(b"(2,'", 1)
    for length in range(PIECE - 250, PIECE + 20):
        filler = b"x" * (length - len(head) - 4)

        assert errors(tmp_path, head + b"(2,'" + filler + ORACLE_DUMP) == {Code.ARTIFACT_UNFINISHED}, length


# What only looks like a beginning


def test_rows_and_routines_of_mysql_may_speak_of_a_dump(tmp_path: Path) -> None:
    escaped = MYSQL_HEADER.replace(b"\n", rb"\n")
    routine = (
        b"BEGIN\n-- MySQL dump 10.13 of last week\n-- MariaDB dump of last week\nSET @a = '-- MySQL dump 10.13';\n"
    )
    data = ORACLE_DUMP.replace(rb"it\'s (one)", escaped).replace(b"BEGIN\n", routine, 1)
    assert escaped in data
    assert routine in data

    assert errors(tmp_path, data) == set()


@pytest.mark.parametrize("stored", [PG_HEADER, pg_plain(restrict=False), pg_plain()[:300]])
def test_a_dump_that_is_a_value_of_a_postgresql_dump_is_a_value(stored: bytes, tmp_path: Path) -> None:
    literal = stored.replace(b"'", b"''")
    data = pg_plain().replace(b"VALUES (3, '", b"VALUES (3, '" + literal, 1)
    data = data.replace(b"AS $_$\n", b"AS $_$\n" + PG_HEADER, 1)
    assert data.count(PG_HEADER) >= 3

    assert errors(tmp_path, data) == set()


def test_a_dump_cut_in_a_body_is_unfinished_even_if_a_value_ends_the_body(tmp_path: Path) -> None:
    whole = pg_plain(restrict=False).replace(b"VALUES (3, '", b"VALUES (3, 'costs $_$ ", 1)

    assert errors(tmp_path, whole) == set()
    assert errors(tmp_path, whole[: whole.index(b"select 1;")] + whole) == {Code.ARTIFACT_UNFINISHED}


def test_a_dump_in_a_table_of_a_real_postgresql_raises_no_alarm(postgres: Postgres, tmp_path: Path) -> None:
    postgres.run("createdb", "keeper")
    stored = postgres.dump().decode().replace("'", "''")
    table = (
        f"CREATE TABLE kept(dump text); INSERT INTO kept VALUES ('{stored}'), (E'--\\n-- PostgreSQL database dump\\n')"
    )
    (tmp_path / "kept.sql").write_text(table)
    postgres.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(tmp_path / "kept.sql"), "keeper")

    for options in ((), ("--inserts",), ("--column-inserts", "--rows-per-insert=2")):
        dump = postgres.dump(*options, database="keeper")
        assert b"PostgreSQL database dump" in dump[200:-200]

        assert errors(tmp_path, dump) == set(), options


def test_a_dump_that_is_a_value_of_an_sqlite_dump_is_a_value(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t(a -- BEGIN TRANSACTION;\n, b /* BEGIN TRANSACTION;\n */)")
    connection.execute("INSERT INTO t VALUES (?, ?)", (SQLITE_DUMP.decode(), python_dump().decode()))
    connection.execute("CREATE TRIGGER i AFTER INSERT ON t BEGIN DELETE FROM t; SELECT RAISE(ROLLBACK, 'no'); END")
    data = "\n".join(connection.iterdump()).encode()

    assert errors(tmp_path, data) == set()


def test_a_postgresql_dump_cut_in_a_statement_and_tried_again_is_unfinished(postgres: Postgres, tmp_path: Path) -> None:
    lines = postgres.dump("--inserts").splitlines(keepends=True)
    whole = b"".join(line for line in lines if not line.startswith((b"\\restrict", b"\\unrestrict")))
    believed = [length for length in range(100, len(whole) - 60, 1499) if not errors(tmp_path, whole[:length] + whole)]

    assert believed == []
