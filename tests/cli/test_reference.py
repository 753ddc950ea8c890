"""The reference of the command line: the pages are what the commands and the table of statuses say."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from itertools import takewhile
from pathlib import Path
from typing import Any

import attrs
import pytest
from typer.main import get_command

from safebackup import errors
from safebackup.cli.hints import Typed, in_commands, speaks_python
from safebackup.cli.program import build_app
from safebackup.errors import Code, SafeBackupError, StorageError
from safebackup.statuses import STATUS_OF_CLASS, ExitStatus, status_of
from tests.cli.pages import pages
from tests.cli.program import safebackup

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to" / "run-from-cron.md"
USES: dict[str, list[str]] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["uses_of_codes"]()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_is_what_the_commands_say(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages()[page], "run: python -m tests.cli.pages"


def test_every_command_and_option_is_on_the_page() -> None:
    page = next(text for path, text in pages().items() if path.name == "command-line.md")
    program: Any = get_command(build_app())
    named = set[str]()
    pending = [("safebackup", program)]
    while pending:
        name, command = pending.pop()
        named |= {option for param in command.params for option in param.opts if option.startswith("-")}
        inner = getattr(command, "commands", {})
        pending += [(f"{name} {each}", found) for each, found in inner.items()]
        assert inner or f"## {name}\n" in page

    assert {option for option in named if not re.search(rf"`{option}[ `]", page)} == set()


def commands_in(text: str) -> list[list[str]]:
    """Each `safebackup …` command in the fences of a page, as words; what cron puts before it is left out."""
    fences = re.findall(r"^```(?:sh|text|crontab)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for fence in fences for line in fence.splitlines() if "[OPTIONS]" not in line]
    found = [line[line.index("safebackup ") :] for line in lines if "safebackup " in line]
    return [_up_to_what_a_shell_ends_it_with(shlex.split(line))[1:] for line in found]


def _up_to_what_a_shell_ends_it_with(words: list[str]) -> list[str]:
    return list(takewhile(lambda word: word not in ("|", ";;", "&&", "||") and not word.startswith((">", "2>")), words))


SHOWN = sorted(
    {" ".join(words): words for words in commands_in(HOW_TO.read_text() + "".join(pages().values()))}.items()
)


def test_the_documents_show_commands() -> None:
    assert len(SHOWN) > 10


@pytest.mark.parametrize("words", [words for _, words in SHOWN], ids=[text for text, _ in SHOWN])
def test_a_command_in_the_documents_can_be_typed(words: list[str], tmp_path: Path) -> None:
    """It is tried with a repository that is not there: that is what it finds out, and nothing else is wrong."""
    words = [word.replace("/root/", "./").replace("/srv/", "./") for word in words]
    (tmp_path / "orders.passphrase").write_text("correct horse")
    (tmp_path / "orders.passphrase").chmod(0o600)

    done = safebackup(*words, folder=tmp_path, SAFEBACKUP_REPOSITORY="nowhere")

    assert done.status == (ExitStatus.OK if words[0] == "init" else ExitStatus.NO_REPOSITORY), done.err


# Statuses


@pytest.mark.parametrize("code", Code)
def test_every_code_that_ends_a_command_has_a_status_of_its_class_or_its_own(code: Code) -> None:
    for use in USES.get(code.value, []):
        if use == "finding":
            continue
        error = getattr(errors, use)("what was found", code=code)
        assert status_of(error) in set(ExitStatus) - {ExitStatus.OK}
        assert type(error) in STATUS_OF_CLASS


def test_every_class_of_errors_has_a_status() -> None:
    assert set(STATUS_OF_CLASS) == set(SafeBackupError.__subclasses__())


def test_an_error_of_a_class_that_is_not_known_is_a_failure() -> None:
    assert status_of(SafeBackupError("from the future")) is ExitStatus.FAILED


def test_a_store_that_fails_while_something_is_proved_proves_nothing() -> None:
    assert status_of(StorageError("down"), proving=True) is ExitStatus.NOT_VERIFIED
    assert status_of(StorageError("down")) is ExitStatus.FAILED
    assert status_of(StorageError("busy", retryable=True)) is ExitStatus.TRY_AGAIN
    assert status_of(errors.NotFoundError("none", code=Code.NO_REPOSITORY), proving=True) is ExitStatus.NO_REPOSITORY
    assert status_of(errors.AccessError("none", code=Code.WRONG_KEY), proving=True) is ExitStatus.WRONG_KEY


def test_the_numbers_never_change() -> None:
    assert {status.name: int(status) for status in ExitStatus} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "INCOMPLETE": 3,
        "REFUSED": 4,
        "DAMAGE": 5,
        "DRILL_FAILED": 6,
        "NOT_VERIFIED": 7,
        "NO_REPOSITORY": 10,
        "ACTIVE": 11,
        "WRONG_KEY": 12,
        "TRY_AGAIN": 75,
        "DEADLINE": 124,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


# Hints


@attrs.frozen
class _Hint:
    """A hint or an action as it stands in the sources, with its code if it is written beside it."""

    where: str
    text: str
    code: Code | None


def hints_in_the_library() -> list[_Hint]:
    found = []
    for path in sorted((ROOT / "src" / "safebackup").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and "cli" not in path.parts:
                found += [
                    _Hint(f"{path.name}:{node.lineno}", text, _code_in(node))
                    for keyword in node.keywords
                    if keyword.arg in ("hint", "action") and (text := _text_of(keyword.value))
                ]
    return found


def _text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _code_in(call: ast.Call) -> Code | None:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"] + call.args[:1]
    for value in given:
        if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "Code":
            return Code[value.attr]
    return None


def test_hints_that_speak_python_are_said_in_commands() -> None:
    hints = hints_in_the_library()
    assert len(hints) > 100
    typed = Typed(verb="backup", url="/srv/my backups")

    said = {in_commands(hint.text, hint.code or Code.BAD_ARGUMENT, typed) for hint in hints}

    assert {text for text in said if speaks_python(text)} == set()
    assert {text for text in said if re.search(r"\{(?:url|key|verb)\}", text)} == set()


@pytest.mark.parametrize(
    "hint",
    [
        "Make one with back_up(…).",
        "else write key=None.",
        'To complete an interrupted restore, keep what is there (overwrite="keep").',
        "If it is meant to be empty, say so with allow_empty=True.",
        "Look at list_keys; then add the key again.",
        "Repository.create('file:///x', key=…)",
        "walk() lists them all.",
    ],
)
def test_python_is_recognised(hint: str) -> None:
    assert speaks_python(hint)


@pytest.mark.parametrize(
    "hint", ["Check its spelling, and whether its disk is mounted.", "write 'etc/hosts'.", "Paths (of two) are one."]
)
def test_english_is_left_as_it_is(hint: str) -> None:
    assert in_commands(hint, Code.NO_PATH, Typed(verb="ls")) == hint


def test_a_command_for_a_shell_is_quoted() -> None:
    said = in_commands("Repository.create(…)", Code.NO_REPOSITORY, Typed(verb="ls", url="/srv/my backups"))

    assert "safebackup init '/srv/my backups' --key-file FILE" in said
