"""What each command does and prints, for people, for cron and as JSON."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safebackup import KeyFile, Repository, back_up
from safebackup.cli import main
from tests.cli.program import Done, safebackup

Call = Callable[..., Done]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, which is quicker, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SAFEBACKUP_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Done(status, *capsys.readouterr())

    return run


def snapshots_of(repository: Path) -> list[str]:
    return [one.id for one in Repository.open(repository, key=None).snapshots()]


# Quiet where cron would mail it


def test_a_night_in_which_all_is_well_prints_nothing(data: Path, tmp_path: Path, call: Call) -> None:
    place = ("-r", tmp_path / "new", "--key-file", tmp_path / "new.key")
    quiet = [
        call("init", tmp_path / "new", "--new-key-file", tmp_path / "new.key"),
        call("backup", data, *place),
        call("verify", *place),
        call("drill", "--check", "test -s ledger.csv", *place),
        call("restore", "latest", "--to", tmp_path / "out", *place),
        call("key", "add", "--new-key-file", tmp_path / "second.key", *place),
    ]

    assert quiet == [Done(0, "", "")] * len(quiet)
    assert (tmp_path / "out" / "sub" / "note.txt").read_text() == "hello\n"


def test_verbose_says_what_was_done(data: Path, repository: Path, call: Call) -> None:
    done = call("backup", data, "-v", "-r", repository)

    assert (done.status, done.err) == (0, "")
    assert f"complete: snapshot {snapshots_of(repository)[0][:12]}" in done.out
    assert "2 files (2 new, 0 changed, 0 unchanged), 14 B" in done.out


def test_damage_is_found_and_said_even_in_quiet(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    next((repository / "data").rglob("*/*")).unlink()

    done = call("verify", "--quiet", "-r", repository)

    assert (done.status, done.out) == (5, "")
    assert "error: " in done.err
    assert "Damage was found" in done.err


# init and keys


def test_init_takes_the_url_from_wherever_it_is_named(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("init", "one", "--no-key").status == 0
    assert call("init", "-r", "two", "--no-key").status == 0
    monkeypatch.setenv("SAFEBACKUP_REPOSITORY", "three")
    assert call("init", "--no-key").status == 0
    assert call("init", "four", "--no-key").status == 0  # the command line comes before the environment

    for name in ("one", "two", "three", "four"):
        assert Repository.open(tmp_path / name, key=None).snapshots() == []
    assert call("init", "five", "-r", "six", "--no-key").status == 2


def test_a_key_on_the_command_line_comes_before_the_environment(
    sealed: Path, with_passphrase: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEBACKUP_PASSPHRASE", "correct horse")

    assert call("snapshots", "-r", with_passphrase).status == 0
    assert call("snapshots", "-r", sealed).status == 12
    assert call("snapshots", "-r", sealed, "--key-file", tmp_path / "my.key").status == 0


def test_keys_are_added_listed_rotated_and_removed(sealed: Path, tmp_path: Path, call: Call) -> None:
    place = ("-r", sealed, "--key-file", tmp_path / "my.key")
    (tmp_path / "phrase").write_text("correct horse\n")
    (tmp_path / "phrase").chmod(0o600)

    assert call("key", "add", "--add-passphrase-file", tmp_path / "phrase", "--label", "laptop", *place).status == 0
    listed = call("key", "list", "--json", *place).document["keys"]
    assert [(key["method"], key["label"], key["current"], key["this"]) for key in listed] == [
        ("key-file", "", True, True),
        ("scrypt", "laptop", True, False),
    ]

    rotated = call("key", "rotate", *place)
    assert (rotated.status, rotated.out) == (0, "")
    assert "[key-may-be-known]" in rotated.err
    lines = call("key", "list", *place).out.splitlines()
    assert re.split("  +", lines[0]) == ["id", "kind", "created", "opens", "used now", "label"]
    assert [("laptop" in line, "everything" in line) for line in lines[1:]] in (
        [(False, True), (True, False)],
        [(True, False), (False, True)],
    )

    assert call("key", "remove", listed[1]["id"][:12], *place).status == 0
    assert len(call("key", "list", "--json", *place).document["keys"]) == 1
    assert call("snapshots", "-r", sealed, "--passphrase-file", tmp_path / "phrase").status == 12


def test_a_rotation_keeps_the_keys_that_it_is_told_to(sealed: Path, tmp_path: Path, call: Call) -> None:
    place = ("-r", sealed, "--key-file", tmp_path / "my.key")
    call("key", "add", "--new-key-file", tmp_path / "second.key", *place)

    call("key", "rotate", "--keep-key-file", tmp_path / "second.key", *place)

    assert [key["current"] for key in call("key", "list", "--json", *place).document["keys"]] == [True, True]
    assert call("snapshots", "-r", sealed, "--key-file", tmp_path / "second.key").status == 0


def test_a_key_that_could_not_be_added_leaves_no_file(repository: Path, tmp_path: Path, call: Call) -> None:
    done = call("key", "add", "--new-key-file", tmp_path / "new.key", "-r", repository)

    assert done.status == 2
    assert "not encrypted" in done.err
    assert not (tmp_path / "new.key").exists()


@pytest.mark.parametrize("command", [("list",), ("add", "--new-key-file", "x"), ("remove", "abc"), ("rotate",)])
def test_a_repository_without_keys_says_so(command: tuple[str, ...], repository: Path, call: Call) -> None:
    done = call("key", *command, "-r", repository)

    assert done.status == 2
    assert "it has no keys" in done.err


# backup


def test_what_is_left_out_and_what_the_snapshot_is_called(data: Path, repository: Path, call: Call) -> None:
    (data / "big.bin").write_bytes(b"x" * 5000)
    (data / "a.tmp").write_text("")
    (data / "b.log").write_text("")
    (data.parent / "rules").write_text("# a comment\n*.log\n")

    done = call(
        *("backup", data, "-r", repository, "--name", "orders", "--tag", "nightly", "--tag", "x"),
        *("--exclude", "*.tmp", "--exclude-from", "rules", "--exclude-larger-than", "4K", "--level", "1"),
    )

    assert done == Done(0, "", "")
    (snapshot,) = Repository.open(repository, key=None).snapshots()
    assert (snapshot.source, snapshot.tags) == ("orders", ("nightly", "x"))
    assert {entry.path for entry in snapshot.walk()} == {b"", b"ledger.csv", b"sub", b"sub/note.txt"}


def test_only_what_is_included(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository, "--include", "*.csv", "--one-file-system")

    (snapshot,) = Repository.open(repository, key=None).snapshots()
    assert {entry.path for entry in snapshot.walk()} >= {b"ledger.csv"}
    assert b"sub/note.txt" not in {entry.path for entry in snapshot.walk()}


def test_a_folder_that_is_empty_on_purpose(repository: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "empty").mkdir()

    assert call("backup", "empty", "-r", repository, "--allow-empty").status == 0
    assert len(snapshots_of(repository)) == 1


def test_standard_input_becomes_a_file(repository: Path, tmp_path: Path) -> None:
    done = safebackup("backup", "--stdin", "orders.sql", "-r", repository, folder=tmp_path, input=b"create table;\n")

    assert done == Done(0, "", "")
    done = safebackup("restore", "latest", "--to", "out", "-r", repository, folder=tmp_path)
    assert (tmp_path / "out" / "orders.sql").read_bytes() == b"create table;\n"


def test_what_a_program_prints_becomes_a_file_and_its_options_stay_its_own(
    repository: Path, tmp_path: Path, call: Call
) -> None:
    done = call(
        *("backup", "--command", "answer", "--name", "orders", "-r", repository),
        *("--", "printf", "%s %s", "--json", "-r"),
    )

    assert done == Done(0, "", "")
    call("restore", "latest", "--source", "orders", "--to", "out", "-r", repository)
    assert (tmp_path / "out" / "answer").read_text() == "--json -r"


def test_what_a_program_said_that_succeeded_is_told(repository: Path, call: Call) -> None:
    words = ("--command", "db.sql", "-r", repository, "--", "sh", "-c", "echo warning: table skipped >&2; echo data")

    done = call("backup", *words)
    assert (done.status, done.out) == (0, "")
    assert "warning: db.sql: sh ended with status 0, and said: warning: table skipped [command-said]\n  → " in done.err

    (finding,) = json_of(call("backup", "--json", *words))["findings"]
    assert finding["what"].endswith("warning: table skipped")


def test_a_path_that_looks_like_an_option(repository: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "--json").mkdir()
    (tmp_path / "--json" / "a").write_text("1")

    done = call("backup", "-r", repository, "--", "--json")

    assert done == Done(0, "", "")


def test_a_backup_goes_on_slowly_and_with_low_priority(data: Path, repository: Path, tmp_path: Path) -> None:
    done = safebackup(
        *("backup", data, "-r", repository, "--limit-bandwidth", "1M", "--low-priority"),
        folder=tmp_path,
        PATH="/usr/bin:/bin",
    )

    assert (done.status, done.out) == (0, "")


def test_a_machine_without_ionice_is_told_of(data: Path, repository: Path, tmp_path: Path) -> None:
    done = safebackup("backup", data, "-r", repository, "--low-priority", folder=tmp_path, PATH="/nothing")

    assert (done.status, done.out) == (0, "")
    assert "the disk priority stays as it is" in done.err


# Lists


def test_the_list_of_snapshots_has_the_time_with_its_offset(data: Path, repository: Path, call: Call) -> None:
    snapshot = back_up(data, into=Repository.open(repository, key=None), tags=["x"]).snapshot

    heading, line = call("snapshots", "-r", repository).out.splitlines()

    assert heading.split() == ["id", "time", "host", "source", "files", "size", "standing", "tags"]
    assert line.startswith(f"{snapshot.id[:12]}  {snapshot.finished.strftime('%Y-%m-%d %H:%M:%S')}+00:00  ")
    assert line.split()[-3:] == ["B", "complete", "x"]


def test_a_drill_shows_in_the_list_and_another_source_does_not(data: Path, repository: Path, call: Call) -> None:
    call("backup", data / "sub", "-r", repository, "--name", "other")
    call("backup", data, "-r", repository, "--name", "orders")
    call("drill", "--source", "orders", "-r", repository)

    lines = call("snapshots", "--source", "orders", "-r", repository).out.splitlines()

    assert len(lines) == 2
    assert "proven" in lines[1]


def test_a_failed_drill_shows_in_the_list_until_one_proves(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    call("verify", "-r", repository)

    call("drill", "--check", "false", "-r", repository)
    failed = call("snapshots", "-r", repository).out
    call("drill", "--check", "no-such-program", "-r", repository)
    still_failed = call("snapshots", "-r", repository).out
    call("drill", "-r", repository)
    proved = call("snapshots", "-r", repository).out

    assert "verified (full), drill failed" in failed
    assert "verified (full), drill failed" in still_failed
    assert "proven (full)" in proved
    assert "drill failed" not in proved


def test_ls_lists_paths_and_with_l_what_they_are(data: Path, repository: Path, call: Call) -> None:
    (data / "link").symlink_to("ledger.csv")
    (data / "ledger.csv").chmod(0o640)
    os.utime(data / "ledger.csv", (0, 0))
    call("backup", data, "-r", repository)

    assert call("ls", "-r", repository).out.splitlines() == ["ledger.csv", "link", "sub", "sub/note.txt"]
    assert call("ls", "latest", "sub", "-r", repository).out.splitlines() == ["sub", "sub/note.txt"]
    long = call("ls", "-l", "-r", repository).out.splitlines()
    assert long[0].split() == [
        *("-rw-r-----", str(os.getuid()), str(os.getgid()), "8"),
        *("1970-01-01", "00:00:00+00:00", "ledger.csv"),
    ]
    assert long[1].endswith(" link -> ledger.csv")
    assert long[2].startswith("drwx")


# restore, verify, drill


def test_parts_are_restored_and_a_rehearsal_writes_nothing(
    data: Path, repository: Path, tmp_path: Path, call: Call
) -> None:
    call("backup", data, "-r", repository)

    rehearsed = call("restore", "latest", "--to", "out", "--dry-run", "-v", "-r", repository)
    assert "would be restored" in rehearsed.out
    assert not (tmp_path / "out").exists()

    assert call("restore", "latest", "--to", "out", "--path", "sub", "-r", repository).status == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sub"]
    (tmp_path / "out" / "sub" / "note.txt").write_text("mine")
    assert call("restore", "latest", "--to", "out", "--overwrite", "keep", "-r", repository).status == 3
    assert (tmp_path / "out" / "sub" / "note.txt").read_text() == "mine"
    assert call("restore", "latest", "--to", "out", "--overwrite", "replace", "-r", repository).status == 0
    assert (tmp_path / "out" / "sub" / "note.txt").read_text() == "hello\n"


def test_a_restore_of_something_damaged_is_incomplete(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    next((repository / "data").rglob("*/*")).unlink()

    done = call("restore", "latest", "--to", "out", "-r", repository)

    assert done.status == 3
    assert "INCOMPLETE" in done.err
    assert "[path-not-restored]" in done.err or "ledger.csv" in done.err


def test_a_drill_that_fails_is_not_one_that_could_not_be_made(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)

    assert call("drill", "--check", "test -s ledger.csv", "-r", repository).status == 0
    failed = call("drill", "--check", "test -s orders.csv", "-r", repository)
    assert (failed.status, "--keep" in failed.err) == (6, True)
    assert call("drill", "--check", "no-such-program", "-r", repository).status == 7


def test_a_drill_says_each_thing_once_and_tells_checks_apart(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)

    checks = ("test -s orders.csv", "test -s ledger.csv", "no-such-program", "sh -c 'echo no orders; exit 3'")
    done = call("drill", *(word for check in checks for word in ("--check", check)), "-r", repository)

    assert done.status == 6
    for once in ("ended with status 1", "no orders", "cannot be started", "cron"):
        assert done.err.count(once) == 1, done.err
    assert "1 of 4 checks passed" in done.err
    assert "  test 1: failed\n  test 2: proved\n  no-such-program: could not check\n  sh: failed\n" in done.err


def test_a_check_that_does_not_end_is_ended_at_its_deadline(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)

    checks = ("--check", "sleep 20", "--check", "sleep 0", "--check-deadline", "1s")
    done = call("drill", *checks, "-r", repository)

    assert done.status == 7
    assert "sleep had not ended after 1 s" in done.err
    assert "  sleep 1: could not check\n  sleep 2: proved\n" in done.err


@pytest.mark.parametrize(("check", "failed"), [("true", False), ("false", True)])
def test_the_document_of_a_drill_shows_the_snapshot_as_it_stands_afterwards(
    check: str, failed: bool, data: Path, repository: Path, call: Call
) -> None:
    call("backup", data, "-r", repository)

    document = json_of(call("drill", "--check", check, "--json", "-r", repository))

    (listed,) = json_of(call("snapshots", "--json", "-r", repository))["snapshots"]
    for key in ("standing", "drill_failed"):
        assert document["snapshot"][key] == listed[key]
    assert (listed["standing"], listed["drill_failed"]) == ("complete" if failed else "proven", failed)


def test_the_time_of_a_recovery_is_told_where_the_data_came_back(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)

    done = call("drill", "--check", "false", "--json", "-r", repository)

    assert json_of(done)["recovery_seconds"] > 0
    assert "the data were back after" in call("drill", "--check", "false", "-r", repository).err


def test_no_time_of_a_recovery_is_told_where_nothing_or_not_all_came_back(
    data: Path, repository: Path, call: Call
) -> None:
    call("backup", data, "-r", repository)

    nowhere = ("drill", "--scratch", "nosuch/x", "-r", repository)
    assert json_of(call(*nowhere, "--json"))["recovery_seconds"] is None
    told = call(*nowhere).err
    assert ("  nothing was restored\n" in told, "were back" in told) == (True, False)

    damage(repository)
    assert json_of(call("drill", "--json", "-r", repository))["recovery_seconds"] is None
    told = call("drill", "-r", repository).err
    assert ("  not all was restored\n" in told, "were back" in told) == (True, False)


def test_what_differs_in_a_drill_is_followed_by_what_can_be_typed(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    damage(repository)

    done = call("drill", "-r", repository)

    assert "→ Run: safebackup verify; until then rely on another snapshot." in done.err
    assert "--help" not in done.err


def damage(repository: Path) -> None:
    pack = next(path for path in (repository / "data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    whole = pack.read_bytes()
    pack.write_bytes(whole[:88] + bytes(len(whole) - 88))


def test_who_verifies_is_not_told_to_verify(data: Path, repository: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    damage(repository)

    done = call("verify", "-r", repository)

    assert done.status == 5
    assert "[damaged-object]\n  → Bring it back from a copy of the repository.\n" in done.err
    assert "→ safebackup verify" not in done.err


def test_a_store_that_cannot_be_read_proves_nothing(data: Path, repository: Path, tmp_path: Path) -> None:
    from tests.cli.test_mistakes import NOBODY

    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    # Nobody comes to the test's folder at all, so that this is neither "damaged" nor "there is no repository".
    done = safebackup("verify", "-r", repository, folder=Path("/"), prefix=NOBODY)

    assert done.status == 7, done.err


def test_what_a_drill_kept_is_told(data: Path, repository: Path, tmp_path: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    (tmp_path / "elsewhere").mkdir()

    found = call("drill", "--keep", "--scratch", "elsewhere/scratch", "--json", "-r", repository).document

    assert (Path(found["scratch"]) / "restored" / "ledger.csv").read_text() == "1,17.50\n"


def test_dumps_are_checked_and_the_worst_counts(tmp_path: Path, data: Path, call: Call) -> None:
    with tarfile.open(tmp_path / "whole.tgz", "w:gz") as tar:
        tar.add(data, "data")
    whole = (tmp_path / "whole.tgz").read_bytes()
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.html").write_text("<html>404</html>")

    assert call("check-artifact", "whole.tgz") == Done(0, "", "")
    assert call("check-artifact", "cut.tgz").status == 5
    assert call("check-artifact", "page.html").status == 7
    assert call("check-artifact", "whole.tgz", "page.html", "cut.tgz").status == 5
    assert call("check-artifact", "gone.tgz").status == 1
    found = call("check-artifact", "whole.tgz", "gone.tgz", "--json").document
    assert [one["whole"] for one in found["artifacts"]] == [True, False]
    assert found["exit_status"] == 1


# JSON


def json_of(done: Done) -> dict[str, Any]:
    found = done.document
    assert {"schema_version", "command", "outcome", "exit_status", "findings", "warnings", "error"} <= set(found)
    return found


def test_json_reports_are_whole(data: Path, tmp_path: Path, call: Call) -> None:
    made = json_of(call("init", "place", "--new-key-file", "my.key", "--json"))
    assert (made["command"], made["outcome"], made["sealed"]) == ("init", "created", True)
    assert made["repository"]["url"] == f"file://{tmp_path}/place"
    place = ("-r", "place", "--key-file", "my.key", "--json")

    backup = json_of(call("backup", data, *place))
    assert (backup["outcome"], backup["complete"], backup["files_new"]) == ("complete", True, 2)
    assert backup["snapshot"]["finished"].endswith("Z")
    identity = backup["snapshot"]["id"]
    assert [one["id"] for one in json_of(call("snapshots", *place))["snapshots"]] == [identity]
    assert json_of(call("verify", *place))["passed"] is True
    assert json_of(call("restore", identity, "--to", "out", *place))["content_bytes"] == 14
    drill = json_of(call("drill", *place))
    assert (drill["outcome"], drill["findings"], drill["scratch"]) == ("proved", [], "")
    assert "horse" not in json.dumps(drill)


def test_a_name_that_is_no_text_is_told_byte_for_byte(data: Path, repository: Path, call: Call) -> None:
    (Path(os.fsdecode(bytes(data) + b"/caf\xe9"))).write_text("x")
    os.symlink(b"\xff", bytes(data) + b"/link")
    call("backup", data, "-r", repository)

    entries = {entry["path"]: entry for entry in json_of(call("ls", "--json", "-r", repository))["entries"]}

    assert entries["caf\\xe9"]["path_base64"] == "Y2Fm6Q=="
    assert entries["link"]["target_base64"] == "/w=="
    assert "path_base64" not in entries["ledger.csv"]
    assert (entries["ledger.csv"]["kind"], entries["ledger.csv"]["size"]) == ("file", 8)


@pytest.mark.parametrize(
    ("arguments", "command", "outcome", "code"),
    [
        (("snapshots", "-r", "nowhere"), "snapshots", "no_repository", "no-repository"),
        (("backup", "--exlude", "x"), "backup", "usage", "bad-argument"),
        (("snapshot",), "", "usage", "bad-argument"),
        (("key", "lst"), "key", "usage", "bad-argument"),
        (("init", "place"), "init", "usage", "key-required"),
    ],
)
def test_an_error_is_a_json_document_too(
    arguments: tuple[str, ...], command: str, outcome: str, code: str, call: Call
) -> None:
    found = json_of(call(*arguments, "--json"))

    assert (found["command"], found["outcome"], found["error"]["code"]) == (command, outcome, code)
    assert found["error"]["hint"]


def test_findings_are_in_the_document(repository: Path, data: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    next((repository / "data").rglob("*/*")).unlink()

    found = json_of(call("verify", "--json", "-r", repository))

    assert (found["outcome"], found["exit_status"]) == ("damaged", 5)
    assert found["findings_total"] == len(found["findings"]) > 0
    assert {"code", "severity", "what", "action", "subject"} == set(found["findings"][0])


def test_what_the_library_warns_of_is_told(repository: Path, data: Path, call: Call) -> None:
    call("backup", data, "-r", repository)
    (first,) = (repository / "snapshots").iterdir()
    first.chmod(0o600)
    first.write_bytes(first.read_bytes()[:-1])

    done = call("snapshots", "-r", repository)
    assert "warning: snapshots/" in done.err
    assert "verify(" not in done.err
    assert json_of(call("snapshots", "--json", "-r", repository))["warnings"]


# Names that would do something to a terminal


def test_names_cannot_draw_on_the_screen(data: Path, repository: Path, call: Call) -> None:
    evil = "\x1b[31mred\n[bold]x\u202e"
    (data / evil).write_text("x")
    call("backup", data, "-r", repository, "--name", evil, "--tag", evil)

    for command in (("ls",), ("snapshots",), ("backup", data, "--name", evil, "-v")):
        shown = call(*command, "-r", repository).out
        assert all(each.isprintable() for line in shown.splitlines() for each in line)
        assert "\\x1b[31mred\\n[bold]x\\u202e" in shown


# The program itself


def test_help_and_version(call: Call) -> None:
    help_text = call("--help").out
    assert call().out == help_text
    for command in ("init", "backup", "snapshots", "ls", "restore", "verify", "drill", "key", "check-artifact"):
        assert command in help_text
    assert call("--version").out == "safebackup 0.1.0\n"


def test_an_option_for_a_key_file_made_at_init_never_overwrites(tmp_path: Path, call: Call) -> None:
    key = KeyFile.create(tmp_path / "my.key")
    before = key.material()

    done = call("init", "place", "--new-key-file", "my.key")

    assert (done.status, "--key-file" in done.err) == (2, True)
    assert key.material() == before
    assert not (tmp_path / "place").exists()
