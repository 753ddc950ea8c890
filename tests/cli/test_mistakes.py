"""The mistakes of a newcomer, tried for real: each is answered with what to do, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from safebackup import KeyFile, Repository, back_up
from safebackup.repository.key_slots import add_key
from safebackup.statuses import ExitStatus
from tests.cli.program import PROGRAM, Done, environment, names_below, safebackup

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
INSIDE = ("repository", "sealed", "with_passphrase")  # a failed backup may leave a word in the journal


def answered(done: Done, status: ExitStatus, *words: str) -> None:
    """The mistake was answered: with this status, on standard error alone, and with these words."""
    assert (done.status, done.out) == (status, ""), done.err
    assert "→ " in done.err
    for word in words:
        assert word in done.err


@pytest.fixture
def unchanged(tmp_path: Path, data: Path) -> Iterator[Path]:
    """The folder to make a mistake in; afterwards nothing is there that was not before."""
    before = names_below(tmp_path, without=INSIDE)
    yield tmp_path
    assert names_below(tmp_path, without=INSIDE) == before


# The place


def test_a_url_that_this_release_cannot_write_to(data: Path, unchanged: Path) -> None:
    done = safebackup("init", "https://host/backups", "--no-key", folder=unchanged)

    answered(done, ExitStatus.USAGE, "https://", "[bad-url]", "s3://")


def test_a_backup_before_init(data: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "-r", "nowhere", folder=unchanged)

    answered(done, ExitStatus.NO_REPOSITORY, f"{unchanged}/nowhere", "safebackup init nowhere --key-file FILE")


def test_the_init_command_that_is_printed_has_the_key_that_was_typed(data: Path, unchanged: Path) -> None:
    (unchanged / "data" / "pass phrase").write_text("correct horse")
    (unchanged / "data" / "pass phrase").chmod(0o600)
    try:
        done = safebackup("backup", data, "-r", "new place", "--passphrase-file", "data/pass phrase", folder=unchanged)
    finally:
        (unchanged / "data" / "pass phrase").unlink()

    answered(done, ExitStatus.NO_REPOSITORY, "safebackup init 'new place' --passphrase-file 'data/pass phrase'")


def test_init_twice(repository: Path, unchanged: Path) -> None:
    done = safebackup("init", repository, "--no-key", folder=unchanged)

    answered(done, ExitStatus.FAILED, "[repository-exists]", f"safebackup snapshots -r {repository}")


def test_init_twice_leaves_no_second_key_file(repository: Path, unchanged: Path) -> None:
    done = safebackup("init", repository, "--new-key-file", "second.key", folder=unchanged)

    answered(done, ExitStatus.FAILED, "[repository-exists]")


def test_init_where_other_things_are(data: Path, unchanged: Path) -> None:
    done = safebackup("init", data, "--no-key", folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[target-not-empty]", "empty folder")


def test_a_relative_repository_from_another_folder(data: Path, repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", ".", "-r", "repository", folder=data)

    answered(done, ExitStatus.NO_REPOSITORY, f"{data}/repository is not there")


def test_a_tilde_in_quotes(data: Path, unchanged: Path) -> None:
    done = safebackup("init", "~/backups", "--no-key", folder=unchanged)

    answered(done, ExitStatus.USAGE, "only a shell expands")


def test_a_place_as_scp_writes_it(data: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", "backup@nas.local:/srv/backups", folder=unchanged)

    answered(done, ExitStatus.USAGE, "[bad-url]", "sftp://backup@nas.local/srv/backups")


def test_no_repository_is_named_at_all(data: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, folder=unchanged)

    answered(done, ExitStatus.USAGE, "--repository", "SAFEBACKUP_REPOSITORY")


def test_a_variable_that_was_not_set(data: Path, sealed: Path, unchanged: Path) -> None:
    place = safebackup("backup", data, "-r", "", folder=unchanged)
    key = safebackup("backup", data, "-r", sealed, "--key-file", "", folder=unchanged)

    answered(place, ExitStatus.USAGE, "was a variable not set?")
    answered(key, ExitStatus.USAGE, "--key-file is empty text: was a variable not set?")


# Keys


def test_init_without_a_word_about_keys(unchanged: Path) -> None:
    done = safebackup("init", "place", folder=unchanged)

    answered(done, ExitStatus.USAGE, "--new-key-file", "--key-file", "--passphrase-file", "--no-key")


def test_init_with_a_key_file_that_is_not_there(unchanged: Path) -> None:
    done = safebackup("init", "place", "--key-file", "my.key", folder=unchanged)

    answered(done, ExitStatus.USAGE, "[key-file-missing]", "--new-key-file FILE")


def test_no_key_for_a_sealed_repository(sealed: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", sealed, folder=unchanged)

    answered(done, ExitStatus.USAGE, "[key-required]", "--key-file FILE", "SAFEBACKUP_PASSPHRASE_FILE")


def test_a_wrong_passphrase(with_passphrase: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", with_passphrase, folder=unchanged, SAFEBACKUP_PASSPHRASE="wrong")

    answered(done, ExitStatus.WRONG_KEY, "does not open the repository")
    assert "wrong" not in done.err.replace("[wrong-key]", "")  # what was typed is repeated nowhere


def test_a_passphrase_file_that_others_can_read(with_passphrase: Path, data: Path, unchanged: Path) -> None:
    file = data / "ledger.csv"
    file.chmod(0o644)

    done = safebackup("snapshots", "-r", with_passphrase, "--passphrase-file", file, folder=unchanged)

    answered(done, ExitStatus.USAGE, f"chmod 600 {file}")


@pytest.mark.parametrize("command", ["snapshots", "init"])
def test_a_passphrase_file_that_is_not_there(command: str, with_passphrase: Path, unchanged: Path) -> None:
    place = ("new",) if command == "init" else ("-r", with_passphrase)
    done = safebackup(command, *place, "--passphrase-file", "nofile", folder=unchanged)

    answered(done, ExitStatus.USAGE, "[key-file-missing]", "passphrase file nofile", "first line")
    assert "key-file FILE" not in done.err


@pytest.mark.parametrize("option", ["--keep-passphrase-file", "--add-passphrase-file"])
def test_another_passphrase_file_that_is_not_there(option: str, sealed: Path, unchanged: Path) -> None:
    command = "rotate" if option.startswith("--keep") else "add"
    done = safebackup("key", command, "-r", sealed, "--key-file", "my.key", option, "nofile", folder=unchanged)

    answered(done, ExitStatus.USAGE, "[key-file-missing]", "passphrase file nofile", "first line")
    assert "key-file FILE" not in done.err


def test_which_of_the_keys_to_keep_opens_nothing(sealed: Path, tmp_path: Path) -> None:
    kept = KeyFile.create(tmp_path / "kept.key")
    KeyFile.create(tmp_path / "stranger.key")
    (tmp_path / "phrase").write_text("correct horse\n")
    (tmp_path / "phrase").chmod(0o600)
    add_key(Repository.open(sealed, key=KeyFile(tmp_path / "my.key")), key=KeyFile(tmp_path / "my.key"), new=kept)
    before = names_below(sealed)
    rotate = ("key", "rotate", "-r", sealed, "--key-file", "my.key", "--keep-key-file", "kept.key")

    for option, file in (("--keep-key-file", "stranger.key"), ("--keep-passphrase-file", "phrase")):
        done = safebackup(*rotate, option, file, folder=tmp_path)

        answered(done, ExitStatus.WRONG_KEY, f"{option} {file}: ", "does not open the repository")
        assert "kept.key" not in done.err
        assert names_below(sealed) == before


def test_a_key_for_a_repository_that_has_none(repository: Path, sealed: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", repository, "--key-file", "my.key", folder=unchanged)

    answered(done, ExitStatus.USAGE, "[key-not-wanted]", "SAFEBACKUP_KEY_FILE")


def test_two_keys_at_once(sealed: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", sealed, "--key-file", "my.key", "--passphrase-file", "other", folder=unchanged)

    answered(done, ExitStatus.USAGE, "--key-file and --passphrase-file")


def test_a_passphrase_as_an_argument_is_no_option(with_passphrase: Path, unchanged: Path) -> None:
    done = safebackup("snapshots", "-r", with_passphrase, "--passphrase", "correct horse", folder=unchanged)

    answered(done, ExitStatus.USAGE, "--passphrase-file")


# Sources


def test_a_path_that_is_not_there(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "/srv/dta", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.FAILED, "/srv/dta", "does not exist", "mounted")
    assert nothing_published(repository)


def test_a_disk_that_is_not_mounted(repository: Path, tmp_path: Path, unchanged: Path) -> None:
    with tempfile.TemporaryDirectory() as mount_point:
        done = safebackup("backup", mount_point, "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[empty-source]", "mounted", "--allow-empty")
    assert nothing_published(repository)


def test_nothing_to_back_up_is_named(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.USAGE, "safebackup backup /srv/data", "--stdin")


def test_rules_that_leave_nothing_over(data: Path, repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "--exclude", "*", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[empty-source]", "--exclude")
    assert nothing_published(repository)


def test_a_repository_that_would_be_backed_up_into_itself(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", unchanged, "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[repository-in-source]", "xclude")
    assert nothing_published(repository)


def test_a_file_of_rules_that_is_not_there(data: Path, repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "--exclude-from", "rules", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.USAGE, "--exclude-from rules", "No such file")


def test_what_nobody_may_read_makes_the_backup_incomplete(shared: Path) -> None:
    (shared / "data" / "secret").write_text("for root alone")
    (shared / "data" / "secret").chmod(0)

    done = safebackup("backup", shared / "data", "-r", shared / "repository", folder=shared, prefix=as_nobody())

    answered(done, ExitStatus.INCOMPLETE, "secret", "[path-unreadable]", "INCOMPLETE")
    (snapshot,) = Repository.open(shared / "repository", key=None).snapshots()
    assert not snapshot.complete
    done = safebackup("restore", "latest", "-r", shared / "repository", "--to", shared / "back", folder=shared)
    answered(done, ExitStatus.INCOMPLETE, "[snapshot-incomplete]", "INCOMPLETE: 1 file")


def test_a_repository_that_this_user_may_not_write_to(shared: Path) -> None:
    for path in [shared / "repository", *(shared / "repository").rglob("*")]:
        os.chown(path, os.getuid(), os.getgid())
        path.chmod(0o555)

    done = safebackup("backup", shared / "data", "-r", shared / "repository", folder=shared, prefix=as_nobody())

    answered(done, ExitStatus.FAILED, "[store-denied]", "Check who runs this")


# Streams and commands


def test_an_empty_dump_on_standard_input(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "--stdin", "orders.sql", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "gave no bytes", "--command NAME -- PROGRAM", "--allow-empty")
    assert nothing_published(repository)


def test_a_program_without_a_name_for_what_it_prints(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "-r", repository, "--", "ls", "-l", folder=unchanged)

    answered(done, ExitStatus.USAGE, "'ls' is a program", "safebackup backup --command NAME -- ls -l")


def test_a_command_that_prints_nothing(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "--command", "db.sql", "-r", repository, "--", "true", folder=unchanged)

    answered(done, ExitStatus.REFUSED, "gave no bytes", "standard output", "--allow-empty")
    assert "pipe" not in done.err
    assert nothing_published(repository)


def test_two_commands_at_once(repository: Path, unchanged: Path) -> None:
    words = ("--command", "x", "--command", "y", "-r", repository, "--", "echo", "a")

    answered(safebackup("backup", *words, folder=unchanged), ExitStatus.USAGE, "--command", "'x' and 'y'")
    assert nothing_published(repository)


def test_a_command_that_fails(repository: Path, unchanged: Path) -> None:
    script = "echo half of it; echo 'connection lost' >&2; exit 3"
    done = safebackup("backup", "--command", "db.sql", "-r", repository, "--", "sh", "-c", script, folder=unchanged)

    answered(done, ExitStatus.FAILED, "status 3", "connection lost")
    assert nothing_published(repository)


def test_a_command_that_is_not_installed(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "--command", "db.sql", "-r", repository, "--", "pg_dmup", "orders", folder=unchanged)

    answered(done, ExitStatus.USAGE, "pg_dmup", "[command-not-found]")
    assert nothing_published(repository)


@pytest.mark.parametrize("program", [("pg_dump", "orders"), ("pg_dump", "-Fc", "orders")])
def test_dashes_that_were_forgotten(program: tuple[str, ...], repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "-r", repository, "--command", "db.sql", *program, folder=unchanged)

    answered(done, ExitStatus.USAGE, "Write -- before the program", "-- pg_dump")
    assert nothing_published(repository)


def test_the_name_for_a_command_that_was_forgotten(repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", "-r", repository, "--command", "--", "pg_dump", "orders", folder=unchanged)

    answered(done, ExitStatus.USAGE, "--command")
    assert nothing_published(repository)


def test_a_path_beside_a_command(data: Path, repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "-r", repository, "--command", "x", "--", "echo", "1", folder=unchanged)

    answered(done, ExitStatus.USAGE, "exclude each other")
    assert nothing_published(repository)


# Restoring


def test_restoring_into_the_source(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))
    (data / "ledger.csv").write_text("newer than the backup\n")

    done = safebackup("restore", "latest", "--to", data, "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[target-not-empty]", "new folder", "--overwrite keep")
    assert (data / "ledger.csv").read_text() == "newer than the backup\n"


def test_restoring_into_the_repository(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("restore", "latest", "--to", repository / "out", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.REFUSED, "[target-in-repository]")
    assert not (repository / "out").exists()


def test_a_restore_that_does_not_say_where(data: Path, repository: Path, unchanged: Path) -> None:
    answered(safebackup("restore", "latest", "-r", repository, folder=unchanged), ExitStatus.USAGE, "--to")


def test_a_snapshot_that_is_not_there(data: Path, repository: Path, unchanged: Path) -> None:
    newest = back_up(data, into=Repository.open(repository, key=None)).snapshot

    done = safebackup("restore", "0000", "--to", "out", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.FAILED, "[no-snapshot]", newest.id[:12])


def test_a_restore_before_the_first_backup(repository: Path, unchanged: Path) -> None:
    done = safebackup("restore", "latest", "--to", "out", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.FAILED, "no snapshot", f"safebackup backup FOLDER -r {repository}")


def test_the_full_path_of_a_file(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup(
        "restore", "latest", "--to", "out", "--path", data / "ledger.csv", "-r", repository, folder=unchanged
    )

    answered(done, ExitStatus.FAILED, "[no-path]", "write 'ledger.csv'")


def test_a_path_that_was_never_backed_up(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("ls", "latest", "nothing/here", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.FAILED, "[no-path]", "safebackup ls SNAPSHOT")


def test_a_disk_that_is_full(data: Path, repository: Path, small_disk: Path) -> None:
    (data / "large").write_bytes(os.urandom(1 << 20))
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("restore", "latest", "--to", small_disk / "out", "-r", repository, folder=small_disk)

    answered(done, ExitStatus.FAILED, "[store-full]", "--overwrite keep")


def test_a_repository_on_a_disk_that_is_full(data: Path, small_disk: Path) -> None:
    (data / "large").write_bytes(os.urandom(1 << 20))
    Repository.create(small_disk / "repository", key=None)

    done = safebackup("backup", data, "-r", small_disk / "repository", folder=small_disk)

    answered(done, ExitStatus.FAILED, "[store-full]", "no space left")
    assert nothing_published(small_disk / "repository")


def test_a_drill_beside_the_source(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("drill", "--scratch", data.parent / "scratch", "-r", repository, folder=unchanged)

    suggested = Path(done.err.rstrip().removesuffix(".").rpartition("such as ")[2])
    answered(done, ExitStatus.REFUSED, "[scratch-unsafe]", "elsewhere")
    assert suggested.parent == Path(tempfile.gettempdir()).resolve()
    try:
        assert safebackup("drill", "--scratch", suggested, "-r", repository, folder=unchanged).status == ExitStatus.OK
    finally:
        shutil.rmtree(suggested, ignore_errors=True)


def test_a_key_file_that_is_a_pipe_is_no_short_key(tmp_path: Path, unchanged: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, os.urandom(32))
    os.close(theirs)

    with os.fdopen(ours) as pipe:
        ran = subprocess.run(
            [*PROGRAM, "init", "place", "--key-file", f"/dev/fd/{pipe.fileno()}"],
            cwd=unchanged,
            pass_fds=[pipe.fileno()],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
    (unchanged / "place").rmdir()

    answered(Done(ran.returncode, ran.stdout, ran.stderr), ExitStatus.USAGE, "[key-file-bad]", "a pipe")


def test_init_keeps_the_key_file_unless_it_is_certain_that_nothing_is_sealed_with_it(tmp_path: Path) -> None:
    """What somebody else says on the repository is damaged, and our own words may be agreed on yet."""
    (tmp_path / "place" / "founding" / "0").mkdir(parents=True)
    (tmp_path / "place" / "founding" / "0" / ("5a" * 32)).write_bytes(b"no word")

    done = safebackup("init", "place", "--new-key-file", "my.key", folder=tmp_path)

    answered(done, ExitStatus.DAMAGE, "[damaged-object]", f"{tmp_path}/my.key was kept")
    (tmp_path / "place" / "founding" / "0" / ("5a" * 32)).unlink()
    assert safebackup("init", "place", "--key-file", "my.key", folder=tmp_path).status in (0, 1)
    Repository.open(tmp_path / "place", key=KeyFile(tmp_path / "my.key"))


def test_a_proof_that_could_not_be_recorded_is_no_success(shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    repository = Repository.open(shared / "repository", key=None)
    back_up(shared / "data", into=repository)
    for path in [shared / "repository", *(shared / "repository").rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))

    done = safebackup("drill", "-r", shared / "repository", folder=shared, prefix=as_nobody())

    answered(done, ExitStatus.NOT_VERIFIED, "proved: ", "could not be recorded", "The journal does not know of it.")


# The command line itself


def test_an_option_that_there_is_not(data: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "--exlude", "*.tmp", folder=unchanged)

    answered(done, ExitStatus.USAGE, "--exlude", "--exclude", "safebackup backup --help")


def test_a_command_that_there_is_not(unchanged: Path) -> None:
    answered(safebackup("snapshot", folder=unchanged), ExitStatus.USAGE, "Did you mean 'snapshots'?")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("-r", "repository", "snapshots"), "safebackup COMMAND -r …"),
        (("--repository=repository", "snapshots"), "safebackup COMMAND --repository …"),
        (("--level", "sample", "verify"), "safebackup COMMAND --level …"),
        (("key", "-r", "repository", "list"), "safebackup key COMMAND -r …"),
        (("key", "--json", "list"), "safebackup key COMMAND --json"),
        (("--quiet", "snapshots"), "safebackup COMMAND --quiet\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_before_its_command(words: tuple[str, ...], named: str, repository: Path, unchanged: Path) -> None:
    done = safebackup(*words, folder=unchanged)

    assert (done.status, "→ Options come after the command: " in done.err, named in done.err) == (2, True, True)


def test_json_is_answered_in_json_where_the_option_came_too_early(unchanged: Path) -> None:
    done = safebackup("--json", "snapshots", folder=unchanged)

    error = done.document["error"]
    assert error["hint"] == "Options come after the command: safebackup COMMAND --json"
    assert error["message"] == "no such option: --json"  # and --version is not offered for it


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--verison",), "--version"),
        (("key", "--nonsense", "list"), "See: safebackup key --help"),
        # It is no option of any command of keys.
        (("key", "--level", "full", "list"), "See: safebackup key --help"),
    ],
)
def test_an_option_that_no_command_has_is_not_sent_behind_it(
    words: tuple[str, ...], says: str, unchanged: Path
) -> None:
    done = safebackup(*words, folder=unchanged)

    answered(done, ExitStatus.USAGE, says)
    assert "come after" not in done.err


@pytest.mark.parametrize(
    "option",
    [("--limit-bandwidth", "fast"), ("--deadline", "soon"), ("--exclude-larger-than", "-1"), ("--level", "99")],
)
def test_a_number_that_is_none(option: tuple[str, str], data: Path, repository: Path, unchanged: Path) -> None:
    done = safebackup("backup", data, "-r", repository, *option, folder=unchanged)

    answered(done, ExitStatus.USAGE, option[0])
    assert nothing_published(repository)


def test_a_deadline_for_checks_and_no_check(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("drill", "--check-deadline", "1h", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.USAGE, "--check-deadline", "--check")


@pytest.mark.parametrize("scratch", ["nosuch/x", "nosuch/y/x"])
def test_a_scratch_folder_below_one_that_is_not_there(
    scratch: str, data: Path, repository: Path, unchanged: Path
) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("drill", "--scratch", scratch, "-r", repository, folder=unchanged)

    answered(done, ExitStatus.NOT_VERIFIED, "is not there [store-missing]", "mount its disk", "nothing was restored")
    assert "b'" not in done.err


def test_a_check_with_an_open_quote(data: Path, repository: Path, unchanged: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))

    done = safebackup("drill", "--check", "test 'x", "-r", repository, folder=unchanged)

    answered(done, ExitStatus.USAGE, "--check", "quote")


# What the mistakes need


def nothing_published(repository: Path) -> bool:
    """Whether the repository holds no snapshot."""
    return Repository.open(repository, key=None).snapshots() == []


def as_nobody() -> tuple[str, ...]:
    """What to put before a command so that root's rights do not count."""
    return NOBODY if os.geteuid() == 0 else ()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder with `data` and `repository` that a user without rights can come to."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and there is no setpriv")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data").mkdir()
        (folder / "data" / "ledger.csv").write_text("1,17.50\n")
        Repository.create(folder / "repository", key=None)
        if os.geteuid() == 0:
            for path in [folder / "repository", *(folder / "repository").rglob("*")]:
                os.chown(path, 65534, 65534)
        yield folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
