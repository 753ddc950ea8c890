"""At a terminal: prompts, progress, and what is said when all is well."""

from __future__ import annotations

import io
import os
import re
import time
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from safebackup import KeyFile, Passphrase, Repository
from safebackup.cli.progress import Counter, watching
from safebackup.cli.running import Screen
from safebackup.events import FilesCounted
from tests.cli.program import at_terminal


def test_a_sealed_repository_asks_for_its_passphrase(with_passphrase: Path, data: Path, tmp_path: Path) -> None:
    done = at_terminal(
        "backup", data, "-r", with_passphrase, folder=tmp_path, answers=(("Passphrase", "correct horse"),)
    )

    assert done.status == 0
    assert "complete: snapshot " in done.out
    assert "horse" not in done.out
    assert len(Repository.open(with_passphrase, key=Passphrase("correct horse")).snapshots()) == 1


def test_a_new_repository_asks_twice(tmp_path: Path) -> None:
    answers = (("Passphrase for the new", "correct horse"), ("once more", "correct horse"))

    done = at_terminal("init", "place", folder=tmp_path, answers=answers)

    assert done.status == 0
    assert "made the sealed repository" in done.out
    assert "Next: safebackup backup FOLDER -r place" in done.out
    assert Repository.open(tmp_path / "place", key=Passphrase("correct horse")).snapshots() == []


def test_two_passphrases_that_differ_make_nothing(tmp_path: Path) -> None:
    answers = (("Passphrase for the new", "correct horse"), ("once more", "corect horse"))

    done = at_terminal("init", "place", folder=tmp_path, answers=answers)

    assert done.status == 2
    assert "the two passphrases differ" in done.out
    assert not (tmp_path / "place").exists()


def test_no_passphrase_at_all_makes_nothing(tmp_path: Path) -> None:
    done = at_terminal("init", "place", folder=tmp_path, answers=(("Passphrase for", ""), ("once more", "")))

    assert (done.status, "no passphrase was typed" in done.out) == (2, True)
    assert not (tmp_path / "place").exists()


def test_a_new_key_may_be_a_passphrase_that_is_typed(sealed: Path, tmp_path: Path) -> None:
    answers = (("The new passphrase", "correct horse"), ("once more", "correct horse"))

    done = at_terminal("key", "add", "-r", sealed, "--key-file", "my.key", folder=tmp_path, answers=answers)

    assert done.status == 0
    assert Repository.open(sealed, key=Passphrase("correct horse")).snapshots() == []
    assert Repository.open(sealed, key=KeyFile(tmp_path / "my.key")).snapshots() == []


def test_a_bar_moves_and_is_gone_at_the_end(data: Path, repository: Path, tmp_path: Path) -> None:
    (data / "large").write_bytes(os.urandom(3 << 20))
    at_terminal("backup", data, "-r", repository, folder=tmp_path)
    (data / "large").write_bytes(os.urandom(3 << 20))

    done = at_terminal("backup", data, "-r", repository, "--limit-bandwidth", "4M", folder=tmp_path)

    assert done.status == 0
    assert "backup" in done.out
    assert "MiB" in done.out or "bytes" in done.out
    assert "\x1b[" in done.out
    assert "complete: snapshot " in done.out.splitlines()[-1]


class Terminal(io.StringIO):
    """A stream that says of itself that somebody watches it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Wide and without colours; to be put in the place of standard error."""
    for name, value in {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    return Terminal()


def count_to_twelve_mebibytes(progress: Counter) -> None:
    for number in range(12):
        time.sleep(0.11)
        progress.observe(FilesCounted(files=number))
        progress.relative_update(1 << 20)


def test_a_bar_without_a_total_shows_what_is_known_and_no_question_marks(terminal: Terminal) -> None:
    with redirect_stderr(terminal), watching(Screen(), "backup") as progress:
        count_to_twelve_mebibytes(progress)

    lines = re.findall(r"backup [━╸╺ ]+(.*?) *(?:\r|\n|\x1b)", terminal.getvalue())
    assert lines
    assert re.fullmatch(r"\d+\.0 MiB +\d+ files +\d\.\d MiB/s", lines[-1]), lines


def test_a_bar_shows_sizes_and_rates_in_the_same_units_and_the_time_left(terminal: Terminal) -> None:
    with redirect_stderr(terminal), watching(Screen(), "restore") as progress:
        progress.set_size(100 << 20)
        count_to_twelve_mebibytes(progress)

    lines = re.findall(r"restore [━╸╺ ]+(.*?) *(?:\r|\n|\x1b)", terminal.getvalue())
    assert lines
    assert re.fullmatch(r"\d+\.0 MiB of 100\.0 MiB +\d+ files +\d\.\d MiB/s +0:00:\d\d", lines[-1]), lines


def test_a_bar_tells_the_total_before_the_first_byte(terminal: Terminal) -> None:
    with redirect_stderr(terminal), watching(Screen(), "verify") as progress:
        progress.set_size(100 << 20)
        time.sleep(1)

    assert " 0 B of 100.0 MiB " in terminal.getvalue()


def test_a_job_that_is_done_at_once_shows_no_bar(data: Path, repository: Path, tmp_path: Path) -> None:
    done = at_terminal("backup", data, "-r", repository, folder=tmp_path)

    assert done.out.startswith("complete: snapshot ")
    assert "\x1b[" not in done.out


def test_lines_tell_the_progress_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(Screen(verbose=True), "backup") as progress:
        assert isinstance(progress, Counter)
        progress.every_seconds = 0
        progress.set_size(4 << 20)
        time.sleep(0.01)
        progress.relative_update(1 << 20)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"safebackup: backup: 1.0 MiB of about 4.0 MiB, [\d.,]+ [MGT]iB/s, 0.\d s left\n", shown.err)


def test_quiet_shows_nothing_at_a_terminal_either(data: Path, repository: Path, tmp_path: Path) -> None:
    done = at_terminal("backup", data, "--quiet", "-r", repository, folder=tmp_path)

    assert (done.status, done.out) == (0, "")


def test_no_color_is_respected(data: Path, repository: Path, tmp_path: Path) -> None:
    shown = at_terminal("backup", data, "-r", repository, folder=tmp_path, NO_COLOR="1")
    help_text = at_terminal("--help", folder=tmp_path, NO_COLOR="1")

    assert "\x1b[3" not in shown.out + help_text.out
    assert "\x1b[9" not in shown.out + help_text.out


def test_a_table_keeps_to_the_width_of_the_terminal(data: Path, repository: Path, tmp_path: Path) -> None:
    at_terminal("backup", data, "-r", repository, "--name", "x" * 200, folder=tmp_path)

    done = at_terminal("snapshots", "-r", repository, folder=tmp_path)

    assert done.status == 0
    assert max(len(line) for line in done.out.splitlines()) <= 80
    assert done.out.count("x") >= 200


def test_json_goes_to_standard_output_alone(data: Path, repository: Path, tmp_path: Path) -> None:
    done = at_terminal("backup", data, "-r", repository, "--json", "--quiet", folder=tmp_path)

    assert (done.status, done.out[0], done.out.strip()[-1]) == (0, "{", "}")


def test_nobody_is_asked_when_standard_input_is_the_terminal_and_the_source(repository: Path, tmp_path: Path) -> None:
    done = at_terminal("backup", "--stdin", "x", "-r", repository, folder=tmp_path)

    assert (done.status, "standard input is the terminal" in done.out) == (2, True)
