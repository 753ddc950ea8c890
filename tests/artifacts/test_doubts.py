"""What is whole and could still be wrong in a way that its format cannot show: a sentence says so."""

from __future__ import annotations

import ast
import gzip
import re
import shutil
from pathlib import Path

import safebackup.artifacts
from safebackup.artifacts import check_artifact
from safebackup.cli.hints import Typed, in_commands
from safebackup.errors import Code
from safebackup.findings import Severity
from tests.artifacts.makers import database, pg_custom, tar, zipped


def doubts(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    report = check_artifact(folder / name)
    assert report.whole, report.findings
    return " ".join(report.unproved)


def test_a_copy_of_a_database_in_the_middle_of_a_transaction_is_doubted(tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db")
    connection.execute("CREATE TABLE accounts AS SELECT a.id, 'paid' AS state FROM orders a JOIN orders b ON b.id < 20")
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN")
    connection.execute("UPDATE accounts SET state = 'owes'")
    data = (tmp_path / "live.db").read_bytes()
    connection.close()
    assert b"paid" in data
    assert b"owes" in data

    for name, copied in (("copy.db", data), ("copy.db.gz", gzip.compress(data))):
        said = doubts(tmp_path, name, copied)

        assert "copied in the middle of a transaction" in said
        assert "VACUUM INTO or .backup" in said


def test_pages_that_the_header_does_not_count_may_be_those_of_a_transaction(tmp_path: Path) -> None:
    connection = database(tmp_path / "live.db")
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO orders(name) VALUES (?)", [("x" * 900,)] * 500)
    shutil.copy(tmp_path / "live.db", tmp_path / "copy.db")
    connection.close()

    (warning,) = (one for one in check_artifact(tmp_path / "copy.db").findings if one.severity is Severity.WARNING)

    assert "its header counts" in warning.what
    assert "in the middle of a transaction" in warning.action


def test_a_changed_definition_in_a_dump_in_custom_format_is_doubted(tmp_path: Path) -> None:
    data = pg_custom(b"1\tone\n")
    changed = data.replace(b"heap", b"hXap", 1)
    assert changed != data

    assert "definitions" in doubts(tmp_path, "a.dump", changed)
    assert "definitions" not in doubts(tmp_path, "a.dump.gz", gzip.compress(data))


def test_members_are_doubted_as_they_are_not_judged(tmp_path: Path) -> None:
    for name, data in (("a.tar", tar("a.sql")), ("a.tar.gz", gzip.compress(tar("a.sql"))), ("a.zip", zipped())):
        assert "members are not judged" in doubts(tmp_path, name, data)


def test_the_listing_of_a_zip_is_doubted(tmp_path: Path) -> None:
    assert "times" in doubts(tmp_path, "a.zip", zipped())


def sentences() -> list[str]:
    """Every text in the package that may be shown, with what is filled in left out."""
    found = list[str]()
    for path in Path(safebackup.artifacts.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            ast.get_docstring(node, clean=False)
            for node in ast.walk(tree)
            if hasattr(node, "body") and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        }
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        found += [text for text in texts if text not in docstrings and re.search(r"[a-z] .*[.:]", text, re.DOTALL)]
    return found


def test_every_advice_is_shown_as_it_is_on_a_command_line() -> None:
    advice = sentences()
    assert len(advice) > 80
    assert any("journal_mode=DELETE" in text for text in advice)

    assert [
        text for text in advice if in_commands(text, Code.ARTIFACT_DAMAGED, Typed(verb="check-artifact")) != text
    ] == []
