"""What no known program wrote: an error message, a log, SQL without its marks, another compression."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from safebackup.artifacts import ArtifactReport, Kind, check_artifact
from safebackup.errors import Code
from safebackup.findings import Severity
from tests.artifacts.makers import MYSQL_DUMP, zipped, zstd

ERROR_MESSAGES = [
    b'pg_dump: error: connection to server on socket "/run/x" failed: FATAL:  role "x" does not exist\n',
    b"mysqldump: Got error: 1045: \"Access denied for user 'x'@'localhost'\" when trying to connect\n",
    b'mariadb-dump: Couldn\'t find table: "orders"\n',
    b"ERROR 1045 (28000): Access denied for user 'x'@'localhost' (using password: YES)\n",
    b"bash: mysqldump: command not found\n",
    b"/bin/sh: 1: pg_dump: not found\n",
    b"zsh: command not found: pg_dump\n",
    b"backup.sh: line 3: /usr/bin/pg_dump: No such file or directory\r\n",
    b"/usr/bin/pg_dump: error: too many command-line arguments\n",
    b"cat: orders.sql: Permission denied\n",
    b'Error: unable to open database "orders.db": unable to open database file\n',
]
# mysqldump --compact writes no comments.
UNMARKED = b"CREATE TABLE `t` (\n  `a` int\n);\nINSERT INTO `t` VALUES (1);\n"
WARNED = b"mysqldump: [Warning] Using a password on the command line interface can be insecure.\n"


def check(folder: Path, name: str, data: bytes) -> ArtifactReport:
    (folder / name).write_bytes(data)
    return check_artifact(folder / name)


def found(report: ArtifactReport) -> list[tuple[Code, Severity]]:
    return [(finding.code, finding.severity) for finding in report.findings]


@pytest.mark.parametrize("name", ["nightly.gz", "orders.sql.gz", "orders.zst"])
@pytest.mark.parametrize("message", ERROR_MESSAGES)
def test_a_compressed_error_message_is_not_whole(message: bytes, name: str, tmp_path: Path) -> None:
    report = check(tmp_path, name, gzip.compress(message) if name.endswith("gz") else zstd(message))

    assert (found(report), report.whole) == ([(Code.ARTIFACT_DAMAGED, Severity.ERROR)], False)
    assert "error message" in report.findings[0].what
    assert "pipefail" in report.findings[0].action


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
@pytest.mark.parametrize("text", [b"1,17.50\n", WARNED + b"SELECT 1;\n", ERROR_MESSAGES[0] + b"one more line\n" * 1000])
def test_compressed_text_of_an_unknown_kind_gets_a_warning(
    text: bytes, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    report = check(tmp_path, "nightly", pack(text))

    assert (found(report), report.whole) == ([(Code.ARTIFACT_UNKNOWN, Severity.WARNING)], True)
    assert "text and no dump" in report.findings[0].what


def test_compressed_text_that_is_what_its_name_says_gets_no_warning(tmp_path: Path) -> None:
    assert check(tmp_path, "page.html.gz", gzip.compress(b"<html>the manual</html>")).findings == ()


@pytest.mark.parametrize("data", [UNMARKED, WARNED + MYSQL_DUMP, b"-- my notes\nSELECT 1;\n"])
@pytest.mark.parametrize("name", ["orders.sql", "orders.sql.gz", "orders.dump", "orders.sql.zst"])
def test_sql_that_no_known_program_marked_is_of_unknown_kind_and_not_mislabelled(
    name: str, data: bytes, tmp_path: Path
) -> None:
    packed = {".gz": gzip.compress(data), ".zst": zstd(data)}

    report = check(tmp_path, name, packed.get(Path(name).suffix, data))

    assert (found(report), report.whole) == ([(Code.ARTIFACT_UNKNOWN, Severity.ERROR)], False)
    assert Kind.UNKNOWN in (report.kind, report.holds.content)
    assert "--skip-comments" in report.findings[0].action
    assert "2>&1" in report.findings[0].action


def test_a_name_that_promises_a_compression_is_still_compared_with_the_content(tmp_path: Path) -> None:
    assert Code.ARTIFACT_MISLABELLED in {code for code, _ in found(check(tmp_path, "orders.sql.gz", UNMARKED))}
    assert Code.ARTIFACT_MISLABELLED in {code for code, _ in found(check(tmp_path, "orders.sql", zipped()))}


@pytest.mark.parametrize(("name", "packed"), [("orders.sql", False), ("orders.sql.gz", True)])
def test_a_page_that_a_server_sent_is_no_sql(name: str, packed: bool, tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html>502 Bad Gateway</html>"

    report = check(tmp_path, name, gzip.compress(page) if packed else page)

    assert Code.ARTIFACT_MISLABELLED in {code for code, _ in found(report)}
    assert not any("--skip-comments" in finding.action for finding in report.findings)


@pytest.mark.parametrize(
    ("data", "do"),
    [
        (bz2.compress(b"x"), "Decompress it and check what comes out."),
        (lzma.compress(b"x"), "Decompress it and check what comes out."),
        (b"\x04\x22\x4d\x18rest", "Decompress it and check what comes out."),
        (b"7z\xbc\xaf\x27\x1crest", "Unpack it and check what comes out."),
        (b"Salted__rest", "Decrypt it and check what comes out."),
        (b"\x00\x01\x02", "Find out what wrote it."),
    ],
)
def test_what_can_be_unwrapped_is_to_be_unwrapped(data: bytes, do: str, tmp_path: Path) -> None:
    (finding,) = check(tmp_path, "nightly", data).findings

    assert (finding.code, finding.action) == (Code.ARTIFACT_UNKNOWN, do)
