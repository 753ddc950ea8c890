"""The script as a text: what it imports, which Python can read it, and what it may not contain."""

from __future__ import annotations

import ast
import hashlib
import sys

import pytest

from safebackup.emergency import restore_script, restore_text, script_digest, script_name

TREE = ast.parse(restore_script())


def imported() -> set[str]:
    modules = {alias.name for node in ast.walk(TREE) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom)}
    return {module.split(".")[0] for module in modules}


def test_it_imports_nothing_but_the_standard_library_and_three_packages() -> None:
    assert imported() - sys.stdlib_module_names == {"zstandard", "cryptography", "blake3"}


def test_it_reaches_no_network_and_runs_no_program() -> None:
    assert imported().isdisjoint({"socket", "urllib", "http", "ftplib", "subprocess", "importlib", "pickle", "marshal"})
    called = {ast.unparse(node.func) for node in ast.walk(TREE) if isinstance(node, ast.Call)}
    assert called.isdisjoint({"eval", "exec", "compile", "__import__"})
    on_os = {name.removeprefix("os.") for name in called if name.startswith("os.")}
    assert "unlink" in on_os
    assert on_os.isdisjoint({"system", "popen", "fork", "remove", "rename", "replace", "rmdir", "mknod"})
    assert not any(name.startswith(("exec", "spawn", "posix_spawn")) for name in on_os)


def test_python_3_9_can_parse_it() -> None:
    ast.parse(restore_script(), feature_version=(3, 9))


def test_a_syntax_of_a_later_python_is_noticed() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("match 1:\n    case _:\n        pass\n", feature_version=(3, 9))


def test_it_uses_no_later_part_of_the_standard_library() -> None:
    """What a check of the syntax does not show; names of 3.10 and later that one is tempted to use."""
    names = {node.attr for node in ast.walk(TREE) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(TREE) if isinstance(node, ast.ImportFrom) for alias in node.names}
    names |= {keyword.arg or "" for node in ast.walk(TREE) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert names.isdisjoint({"pairwise", "file_digest", "strict", "bit_count", "batched", "Self", "StrEnum", "UTC"})


def test_the_digest_is_that_of_the_bytes() -> None:
    assert script_digest() == hashlib.sha256(restore_script()).hexdigest()


def test_the_text_names_every_command_and_every_exit_status() -> None:
    text = restore_text().decode()
    for word in ("snapshots", "ls latest", "restore latest", "--path", "verify", "--key-file", "--passphrase-file"):
        assert word in text
    for status in (0, 1, 2, 3, 5, 10, 12):
        assert f"\n| {status} |" in text


def test_the_text_names_no_version() -> None:
    """It is put once and stays, while later releases add their scripts."""
    assert script_name().encode() not in restore_text()
