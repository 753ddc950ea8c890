"""`init` and `backup`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from safebackup.cli.opening import ask_passphrase, can_ask, given_key, open_repository, repository_url, storage_options
from safebackup.cli.options import Pace, Where, command
from safebackup.cli.output import Result, fields_of, one_line
from safebackup.cli.progress import watching
from safebackup.cli.running import Screen
from safebackup.cli.sizes import count_text, duration_text, parse_duration, parse_size, size_text
from safebackup.cli.storage_options import storage_options_of
from safebackup.errors import Code, ConfigurationError, SafeBackupError
from safebackup.remotes import shown
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.backup import BackupReport
    from safebackup.backup.source import AnySource
    from safebackup.backup.streams import CommandSource
    from safebackup.repository import KeyFile, Passphrase

_KEY_CHOICES = (
    "Choose one: --new-key-file FILE makes a key file; --key-file FILE takes one that is there; "
    "--passphrase-file FILE takes a passphrase; --no-key encrypts nothing."
)
# A repository is refused with these before anybody has heard of ours, or once all have agreed on another one.
_NOTHING_SEALED = (Code.REPOSITORY_EXISTS, Code.TARGET_NOT_EMPTY, Code.TARGET_IN_REPOSITORY, Code.BAD_URL)
_NOTHING_CAME = (
    "Did the program fail that should have written it? Behind a pipe nobody asks for its status; "
    "safebackup backup --command NAME -- PROGRAM does. If nothing is what you mean: --allow-empty"
)
_NOTHING_PRINTED = (
    "The program ended with status 0. Does it write to a file, and not to standard output? "
    "If nothing is what you mean: --allow-empty"
)
_TO_END_A_PROGRAM = 10  # seconds beyond its deadline, in which it is ended, and can be told with what it said


@attrs.frozen
class What:
    """What is read, and what is left out."""

    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="The name of the source; without it the paths.", show_default=False
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="LINE", help="Leave out what matches this gitignore line; repeatable."),
    ] = None
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="LINE", help="Of files, take only what matches this line; repeatable."),
    ] = None
    exclude_from: Annotated[
        list[str] | None,
        typer.Option("--exclude-from", metavar="FILE", help="Read lines for --exclude from a file; repeatable."),
    ] = None
    exclude_larger_than: Annotated[
        str | None,
        typer.Option("--exclude-larger-than", metavar="SIZE", help="Leave out larger files.", show_default=False),
    ] = None
    one_file_system: Annotated[
        bool, typer.Option("--one-file-system", help="Leave out what is mounted beneath the paths.")
    ] = False
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Take a source that holds nothing; it is refused otherwise.")
    ] = False
    source_option: Annotated[
        list[str] | None,
        typer.Option(
            "--source-option",
            metavar="NAME=VALUE",
            help="A storage option for a URL that is backed up; NAME=@FILE takes the value from a file. Repeatable.",
        ),
    ] = None


@attrs.frozen
class Stream:
    """What is read where no path is."""

    stdin: Annotated[
        str | None,
        typer.Option("--stdin", metavar="NAME", help="Store standard input as the file NAME.", show_default=False),
    ] = None
    programs: Annotated[
        list[str] | None,
        typer.Option(
            "--command",
            metavar="NAME",
            help="Store what a program prints as the file NAME; the program comes last, behind --.",
            show_default=False,
        ),
    ] = None


@attrs.frozen
class How:
    """How the snapshot is made."""

    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TEXT", help="A tag of the snapshot; repeatable.")
    ] = None
    level: Annotated[int, typer.Option("--level", min=1, max=19, help="How hard to compress.")] = 3
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline", metavar="TIME", help="Stop unless it is done in time, such as 2h.", show_default=False
        ),
    ] = None


def add_commands(app: typer.Typer) -> None:
    """Make `init` and `backup` commands of `app`."""
    command(app, "init")(init)
    command(app, "backup")(backup)


def init(
    screen: Screen,
    where: Where,
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="Where to make it: a new or an empty folder.", show_default=False),
    ] = None,
    new_key_file: Annotated[
        str | None,
        typer.Option("--new-key-file", metavar="FILE", help="Make this key file and seal with it.", show_default=False),
    ] = None,
    no_key: Annotated[bool, typer.Option("--no-key", help="Encrypt nothing.")] = False,
) -> Result:
    """Make a new repository."""
    from safebackup.emergency import script_digest, script_name
    from safebackup.repository import KeyFile, Repository

    place = repository_url(where, url)
    key = _key_of_new(where, new_key_file, no_key)
    if new_key_file is not None:
        key = KeyFile.create(new_key_file)
    try:
        repository = Repository.create(
            place,
            key=key,
            storage_options=storage_options(where),
            allow_unproven_store=where.allow_unproven_store,
        )
    except SafeBackupError as error:
        if isinstance(key, KeyFile) and new_key_file is not None:
            _put_away(key, error)
        raise
    kind = "unencrypted" if key is None else "sealed"
    lines = [f"made the {kind} repository {repository.id} at {one_line(repository.url)}"]
    if isinstance(key, KeyFile):
        lines.append(f"Keep a copy of {one_line(key.path)} elsewhere: without it nothing can be restored.")
    elif key is not None:
        lines.append("Keep the passphrase elsewhere too: without it nothing can be restored.")
    lines.append(f"It holds {script_name()} for a restore without safebackup. Note down its SHA-256: {script_digest()}")
    lines.append(
        f"Next: safebackup backup FOLDER -r {one_line(shlex.quote(place))}"
        f"{_typed_key(where, new_key_file)}{_typed_store(where)}"
    )
    return Result(
        outcome="created",
        report={
            "repository": fields_of(repository),
            "sealed": key is not None,
            "restore_script_sha256": script_digest(),
        },
        summary="\n".join(lines),
    )


def _put_away(key: KeyFile, error: SafeBackupError) -> None:
    """Remove a key file that was made for nothing; it stays unless it is certain that nothing is sealed with it."""
    if error.code in _NOTHING_SEALED:
        os.unlink(key.path)
    else:
        # A store that failed may hold the repository, and other creators may yet agree on ours.
        error.message += f"; {one_line(key.path)} was kept, as the repository may come to be sealed with it"


def _typed_key(where: Where, new_key_file: str | None) -> str:
    for option, value in (("--key-file", new_key_file or where.key_file), ("--passphrase-file", where.passphrase_file)):
        if value is not None:
            return f" {option} {one_line(shlex.quote(value))}"
    return ""


def _typed_store(where: Where) -> str:
    options = [f" --storage-option {one_line(shlex.quote(each))}" for each in where.storage_option or ()]
    return "".join(options) + (" --allow-unproven-store" if where.allow_unproven_store else "")


def _key_of_new(where: Where, new_key_file: str | None, no_key: bool) -> Passphrase | KeyFile | None:
    """The key for a new repository, which is never chosen silently; None where it is still to be made, or unwanted."""
    options = {
        "--no-key": no_key,
        "--new-key-file": new_key_file is not None,
        "--key-file": where.key_file is not None,
        "--passphrase-file": where.passphrase_file is not None,
    }
    chosen = [option for option, given in options.items() if given]
    if len(chosen) > 1:
        raise ConfigurationError(f"{' and '.join(chosen)} exclude each other", hint=_KEY_CHOICES)
    if no_key or new_key_file is not None:
        return None
    if key := given_key(where):
        return key
    if can_ask():
        return ask_passphrase("Passphrase for the new repository: ", twice=True)
    raise ConfigurationError("no key was chosen for the new repository", code=Code.KEY_REQUIRED, hint=_KEY_CHOICES)


def backup(
    context: typer.Context,
    screen: Screen,
    where: Where,
    what: What,
    stream: Stream,
    how: How,
    pace: Pace,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="What to back up, or one URL.", show_default=False)
    ] = None,
) -> Result:
    """Make a snapshot of folders and files, of a URL, of standard input, or of what a program prints."""
    from safebackup import back_up
    from safebackup.backup.streams import CommandSource

    source = _source(list(paths or ()), what, stream, behind_dashes=context.obj)
    seconds = parse_duration("--deadline", how.deadline) if how.deadline is not None else 0
    repository = open_repository(where, pace, reads_input=stream.stdin is not None)
    if seconds and isinstance(source, CommandSource):
        # It has the deadline itself, as its error names the program and what that said; the alarm is for the rest.
        source = attrs.evolve(source, deadline=seconds)
        seconds += _TO_END_A_PROGRAM
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with watching(screen, "backup") as progress:
            report = back_up(
                source,
                into=repository,
                tags=how.tag or (),
                level=how.level,
                callback=progress,
                observer=progress.observe,
            )
    except SafeBackupError as error:
        if error.code is Code.EMPTY_SOURCE and (stream.stdin or stream.programs):
            error.hint = _NOTHING_CAME if stream.stdin else _NOTHING_PRINTED
        raise
    signal.setitimer(signal.ITIMER_REAL, 0)
    return _backup_result(report)


def _backup_result(report: BackupReport) -> Result:
    snapshot = report.snapshot
    summary = (
        f"{'complete' if report.complete else 'INCOMPLETE'}: "
        f"snapshot {snapshot.id[:12]} of {one_line(snapshot.source)}: "
        f"{count_text(snapshot.files, 'file')} ({report.files_new:,} new, {report.files_changed:,} changed, "
        f"{report.files_unchanged:,} unchanged), {size_text(snapshot.content_bytes)}; "
        f"stored {size_text(report.stored_bytes)} in {duration_text(report.seconds)}"
    )
    return Result(
        outcome="complete" if report.complete else "incomplete",
        status=ExitStatus.OK if report.complete else ExitStatus.INCOMPLETE,
        report=fields_of(report),
        findings=report.findings,
        findings_total=report.findings_total,
        summary=summary,
    )


def _source(paths: list[str], what: What, stream: Stream, *, behind_dashes: list[str] | None) -> AnySource:
    """What is to be backed up.

    Raises:
        ConfigurationError: nothing is named, or more than one kind of thing.
    """
    from safebackup.backup import Source
    from safebackup.backup.source import is_url

    if stream.programs:
        return _program_source(paths, what, stream, behind_dashes)
    if stream.stdin is not None:
        _refuse_rules(what, "--stdin")
        if paths:
            raise ConfigurationError(f"--stdin and the path {paths[0]!r} exclude each other", hint="Leave one out.")
        if sys.stdin.isatty():
            raise ConfigurationError(
                "standard input is the terminal",
                hint=f"Send something into it: pg_dump orders | safebackup backup --stdin {shlex.quote(stream.stdin)}",
            )
        return Source.stream(
            _file_name("--stdin", stream.stdin),
            sys.stdin.buffer,
            source=what.name or "",
            allow_empty=what.allow_empty,
        )
    if not paths:
        raise ConfigurationError(
            "nothing to back up is named",
            hint="Name a folder: safebackup backup /srv/data; or use --stdin or --command.",
        )
    if behind_dashes and shutil.which(behind_dashes[0]) and not os.path.lexists(behind_dashes[0]):
        raise ConfigurationError(
            f"{behind_dashes[0]!r} is a program and no path here, and nothing says what its output shall be called",
            hint=f"safebackup backup --command NAME -- {shlex.join(behind_dashes)}",
        )
    if url := next((path for path in paths if is_url(path)), None):
        return _url_source(url, paths, what)
    _refuse_source_options(what)
    return Source(
        *paths,
        name=what.name or "",
        exclude=_exclude(what),
        include=what.include or (),
        one_file_system=what.one_file_system,
        larger_than=_larger_than(what),
        allow_empty=what.allow_empty,
    )


def _url_source(url: str, paths: list[str], what: What) -> AnySource:
    from safebackup.backup import Source

    if len(paths) > 1:
        raise ConfigurationError(
            f"the URL {shown(url)} and another place exclude each other",
            hint="Make two backups, each with its --name.",
        )
    if what.one_file_system:
        raise ConfigurationError("--one-file-system makes no sense with a URL", hint="It speaks of folders.")
    return Source.url(
        url,
        storage_options=storage_options_of("--source-option", what.source_option),
        name=what.name or "",
        exclude=_exclude(what),
        include=what.include or (),
        larger_than=_larger_than(what),
        allow_empty=what.allow_empty,
    )


def _refuse_source_options(what: What) -> None:
    if what.source_option:
        raise ConfigurationError(
            "--source-option is given, and no URL is backed up",
            hint="Leave it out, or write the URL that it is for.",
        )


def _exclude(what: What) -> list[str]:
    return [*(what.exclude or ()), *_lines_of(what.exclude_from or ())]


def _larger_than(what: What) -> int | None:
    larger_than = what.exclude_larger_than
    return parse_size("--exclude-larger-than", larger_than) if larger_than is not None else None


def _program_source(paths: list[str], what: What, stream: Stream, behind_dashes: list[str] | None) -> CommandSource:
    from safebackup.backup import Source

    names = stream.programs or []
    if len(names) > 1:
        raise ConfigurationError(
            f"--command is given more than once: {' and '.join(map(repr, names))}",
            hint="Make a backup for each program.",
        )
    name = _file_name("--command", names[0])
    _refuse_rules(what, "--command")
    if stream.stdin is not None:
        raise ConfigurationError("--stdin and --command exclude each other", hint="Leave one out.")
    if not behind_dashes:
        raise ConfigurationError(
            f"--command {name} is given, and no program behind --",
            hint=f"Write -- before the program: safebackup backup --command {shlex.quote(name)} -- "
            f"{shlex.join(paths) if paths else 'pg_dump orders'}",
        )
    if paths != behind_dashes:
        raise ConfigurationError(
            f"a path, {paths[0]!r}, and a program exclude each other", hint="Make two backups, each with its --name."
        )
    return Source.command(behind_dashes, name=name, source=what.name or "", allow_empty=what.allow_empty)


def _file_name(option: str, name: str) -> str:
    if not name or name.startswith("-"):
        raise ConfigurationError(
            f"{option} is followed by {name!r}, which is no name of a file",
            hint=f"Say under which name it is stored: {option} orders.sql",
        )
    return name


def _refuse_rules(what: What, option: str) -> None:
    rules = {
        "--exclude": what.exclude,
        "--include": what.include,
        "--exclude-from": what.exclude_from,
        "--exclude-larger-than": what.exclude_larger_than,
        "--one-file-system": what.one_file_system,
        "--source-option": what.source_option,
    }
    if given := [rule for rule, value in rules.items() if value]:
        raise ConfigurationError(f"{given[0]} makes no sense with {option}", hint="It speaks of folders: leave it out.")


def _lines_of(files: list[str] | tuple[()]) -> list[str]:
    lines = list[str]()
    for file in files:
        try:
            with open(file, encoding="utf-8", errors="surrogateescape") as text:
                lines += text.read().splitlines()
        except OSError as error:
            raise ConfigurationError(
                f"--exclude-from {file} cannot be read: {error.strerror}", hint="Name a text file with one rule a line."
            ) from error
    return lines
