"""Rules: gitignore's meaning on raw paths, and no line that silently does nothing."""

from __future__ import annotations

import re

import pathspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from safebackup.backup.rules import NOT_INCLUDED, Rules
from safebackup.errors import ConfigurationError


def excluded(lines: list[str], path: str) -> bool:
    """Whether `path`, a directory if it ends with a slash, is left out by these lines."""
    raw = path.rstrip("/").encode("utf-8", "surrogateescape")
    return Rules.of(exclude=lines).verdict(raw, is_dir=path.endswith("/")) is not None


@pytest.mark.parametrize(
    ("line", "left_out", "kept"),
    [
        ("*.tmp", ["a.tmp", "x/y/a.tmp", ".tmp", "dir.tmp/"], ["a.tmpx", "a.tmp.gz"]),
        ("build/", ["build/", "x/build/"], ["build", "rebuild/"]),
        ("/build", ["build", "build/"], ["x/build"]),
        ("x/build", ["x/build"], ["y/x/build", "build"]),
        ("x/*", ["x/a", "x/b/"], ["x/", "x/b/c"]),
        ("x/**", ["x/a", "x/b/", "x/b/c"], ["x/", "x"]),
        ("x/**/", ["x/b/", "x/b/c/"], ["x/", "x", "x/a"]),
        ("x/***", ["x/a", "x/b/c"], ["x/", "x"]),
        ("***/x/*", ["x/a", "a/b/x/c/"], ["x/", "x/b/c"]),
        ("/*", ["a", "a/"], ["a/b"]),
        ("*/", ["a/", "a/b/"], ["a", "a/b"]),
        ("**/", ["a/", "a/b/"], ["a", "a/b"]),
        ("/**", ["a", "a/", "a/b"], []),
        (r"x/\**", ["x/*", "x/*a/"], ["x/a", "x/"]),
        ("**/logs", ["logs", "a/logs/", "a/b/logs"], ["logs2"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("**/a/**/b/", ["a/b/", "x/a/y/b/"], ["a/b"]),
        ("a?c", ["abc", "x/a\nc", "aéc"], ["ac", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[a-]", ["-", "a"], ["b"]),
        ("[]]", ["]"], ["\\"]),
        ("x[+-9]y", ["x.y"], ["x/y"]),
        ("x[!a]y", ["x.y"], ["x/y", "xay"]),
        (r"\[a]", ["[a]"], ["a"]),
        (r"\\[!a]", ["\\b"], ["\\a", "[b]"]),
        (r"x\\[!a]y/**/z", ["x\\by/z"], ["x\\/y/z"]),
        (r"\#a", ["#a"], ["a"]),
        (r"\!a", ["!a"], ["a"]),
        ("a  ", ["a"], ["a  "]),
        (r"a\ ", ["a "], ["a"]),
        (r"a\  ", ["a "], ["a", "a  "]),
        (r"a\\ ", ["a\\"], ["a", "a\\ ", "a "]),
        (" a", [" a"], ["a"]),
        (r"\*", ["*"], ["a"]),
        ("a**b", ["ab", "axxb"], ["a/b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("*", ["a", "a/"], []),
        ("a\r\n", ["a"], ["a\r"]),
    ],
)
def test_a_line_means_what_it_means_in_gitignore(line: str, left_out: list[str], kept: list[str]) -> None:
    assert [path for path in left_out if not excluded([line], path)] == []
    assert [path for path in kept if excluded([line], path)] == []


def test_the_last_line_that_matches_decides() -> None:
    lines = ["*.log", "!keep.log", "/old/keep.log"]

    assert excluded(lines, "a.log")
    assert not excluded(lines, "new/keep.log")
    assert excluded(lines, "old/keep.log")


def test_everything_but_some_files_can_be_left_out_without_losing_the_directories_above_them() -> None:
    lines = ["*", "!*/", "!*.py"]

    assert not excluded(lines, "src/")
    assert not excluded(lines, "src/a.py")
    assert excluded(lines, "src/a.txt")


@pytest.mark.parametrize("line", ["!*", "!**", "!/**", "!***"])
def test_a_line_of_stars_takes_everything_back(line: str) -> None:
    assert not excluded(["*", line], "name")
    assert not excluded(["*", line], "name/")


def test_comments_and_blank_lines_say_nothing() -> None:
    assert not Rules.of(exclude=["", "  ", "# *.tmp"]).exist


def test_without_lines_nothing_is_left_out() -> None:
    rules = Rules.of()

    assert not rules.exist
    assert rules.verdict(b"a", is_dir=False) is None


def test_a_verdict_names_the_line_that_made_it() -> None:
    rules = Rules.of(exclude=["*.a", "*.b "], include=["x*"])

    assert rules.verdict(b"x.a", is_dir=False) == "exclude: *.a"
    assert rules.verdict(b"x.b", is_dir=False) == "exclude: *.b"
    assert rules.verdict(b"y", is_dir=False) == NOT_INCLUDED
    assert rules.verdict(b"x", is_dir=False) is None


@pytest.mark.parametrize("name", [b"caf\xe9.tmp", b"a\nb.tmp", b"a\nb/c\n.tmp", b"\xff/\n/x.tmp"])
def test_names_with_line_breaks_or_without_an_encoding_are_matched(name: bytes) -> None:
    assert Rules.of(exclude=["*.tmp"]).verdict(name, is_dir=False) == "exclude: *.tmp"


def test_a_line_break_at_the_end_of_a_name_is_part_of_it() -> None:
    assert Rules.of(exclude=["a"]).verdict(b"a\n", is_dir=False) is None


def test_a_line_can_name_bytes_that_are_not_text() -> None:
    assert Rules.of(exclude=["caf\udce9"]).verdict(b"caf\xe9", is_dir=False) is not None


def test_a_file_is_included_by_itself_or_by_the_nearest_directory_that_a_line_speaks_of() -> None:
    rules = Rules.of(include=["docs/", "!docs/drafts/", "final.md"])

    assert rules.verdict(b"docs/a/b.md", is_dir=False) is None
    assert rules.verdict(b"docs/drafts/b.md", is_dir=False) == NOT_INCLUDED
    assert rules.verdict(b"docs/drafts/final.md", is_dir=False) is None
    assert rules.verdict(b"docs", is_dir=False) == NOT_INCLUDED


def test_directories_are_walked_even_if_no_line_includes_them() -> None:
    assert Rules.of(include=["*.sql"]).verdict(b"a/b", is_dir=True) is None


@pytest.mark.parametrize(
    "line",
    ["/", "!", "!/", "a//b", "./a", "../a", "a/../b", "[a", "[]", "[!]", "[^]", "a[/]b", "[z-a]"],
)
@pytest.mark.parametrize("option", ["exclude", "include"])
def test_a_line_that_can_never_match_is_refused_by_name(option: str, line: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"the {option} line {line!r} cannot be used")):
        Rules.of(**{option: [line]})


@pytest.mark.parametrize("line", ["[[:alpha:]]", "[a[:digit:]]", "[[]", r"[\]]", "[+--]", "[a&&b]", "[a||b]", "[a~~b]"])
def test_brackets_that_pathspec_reads_otherwise_than_git_are_refused(line: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f'line {line!r} cannot be used: a "[" needs its')):
        Rules.of(exclude=[line])


@pytest.mark.parametrize("line", ["a\\", "a\\/b"])
def test_a_backslash_before_nothing_is_refused(line: str) -> None:
    with pytest.raises(ConfigurationError, match="backslash that escapes nothing"):
        Rules.of(exclude=[line])


@pytest.mark.parametrize("line", ["a\t", "a\u00a0", "\t", "a\\\t"])
def test_invisible_space_at_the_end_of_a_line_is_refused(line: str) -> None:
    with pytest.raises(ConfigurationError, match="ends with white space other than spaces"):
        Rules.of(exclude=[line])


@pytest.mark.parametrize(
    "lines", [["cache/", "!cache/keep"], ["!a/b/keep", "a"], ["a/*", "!a/b/c"], ["*", "!*.py", "!src/x.py"]]
)
def test_taking_back_what_lies_in_an_excluded_directory_is_refused(lines: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="takes nothing back"):
        Rules.of(exclude=lines)


def test_a_line_that_takes_back_in_directories_of_many_names_is_not_judged() -> None:
    lines = ["?/", "!*/keep"]

    assert excluded(lines, "a/")
    assert not excluded(lines, "abc/keep")


def test_the_way_out_that_the_refusal_names_works() -> None:
    lines = ["cache/", "!/cache/", "/cache/*", "!cache/keep"]

    assert not excluded(lines, "cache/")
    assert not excluded(lines, "cache/keep")
    assert excluded(lines, "cache/other")
    assert excluded(lines, "x/cache/")


def test_what_lies_above_a_path_counts_for_a_repository() -> None:
    rules = Rules.of(exclude=["/backup/"])

    assert rules.excludes_from_above(b"backup/repository")
    assert rules.excludes_from_above(b"backup")
    assert not rules.excludes_from_above(b"other/backup")
    assert not rules.excludes_from_above(b"")


@given(
    line=st.from_regex(r"/?((\*\*|[ab*?.]{1,4}|\[!?ab?\])/){0,3}[ab*?.]{1,4}/?", fullmatch=True, alphabet="ab*?./[!]"),
    path=st.from_regex(r"([ab.]{1,3}/){0,3}[ab.]{1,3}", fullmatch=True, alphabet="ab./"),
)
def test_one_line_leaves_out_the_same_files_as_in_pathspec(line: str, path: str) -> None:
    assume(not {".", ".."} & set(path.split("/") + line.split("/")))
    # pathspec reads a closing `**/` as the directory before it and all that is in it; git as the directories in it.
    # A part `***` means the same as `**` in git; pathspec reads it as a name.
    assume(not line.endswith("**/") and "***" not in line)
    folders = [path[: match.end()] for match in re.finditer("/", path)]

    ours = any(excluded([line], each) for each in [*folders, path])

    assert ours == pathspec.GitIgnoreSpec.from_lines([line], backend="simple").match_file(path)
