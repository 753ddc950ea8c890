"""The program: its commands, and how a command line that is none is answered."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.main import get_command

from safebackup.cli import checking, guarding, keys, looking, making, proving, scheduling, stores
from safebackup.cli.hints import Typed
from safebackup.cli.output import Failure, tell, use_safe_streams
from safebackup.cli.running import Screen, open_missing_streams
from safebackup.errors import Code
from safebackup.statuses import ExitStatus

PROGRAM = "safebackup"


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse, do, tell; the exit status."""
    open_missing_streams()
    use_safe_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options, behind_dashes = split_at_dashes(words)
    try:
        status = get_command(build_app()).main(
            words or ["--help"], prog_name=PROGRAM, standalone_mode=False, obj=behind_dashes
        )
    except typer.TyperException as error:
        return _refuse_usage(error, options, behind_dashes)
    except typer.Abort:
        return int(ExitStatus.INTERRUPTED)
    return int(status or 0)


def build_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        help="Backups that are only called safe once they were restored.",
        epilog="Exit statuses: 0 well, 1 failed, 2 usage, 3 incomplete, 4 refused, 5 damage, 6 drill failed, "
        "7 could not verify, 10 no repository, 11 another run, 12 wrong key, 75 try again, 124 deadline, "
        "130 and 143 stopped.",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_top)
    for group in (making, looking, proving, checking, keys, stores, scheduling, guarding):
        group.add_commands(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from safebackup import __version__

        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the release."),
    ] = False,
) -> None:
    """Backups that are only called safe once they were restored."""


def split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """What stands before the first `--`, and what behind it; None if there is none."""
    if "--" not in words:
        return list(words), None
    place = list(words).index("--")
    return list(words[:place]), list(words[place + 1 :])


def _hint_on_place(error: typer.TyperException) -> str:
    """What to type instead of an option that stands before its command; nothing if no command there has it."""
    context: Any = getattr(error, "ctx", None)
    name = getattr(error, "option_name", "")
    for option in _options_below(context.command) if context is not None else ():
        if name in option.opts:
            value = "" if option.is_flag else " …"
            return f"Options come after the command: {context.command_path} COMMAND {name}{value}"
    return ""


def _options_below(group: Any) -> Iterator[Any]:
    for command in getattr(group, "commands", {}).values():
        yield from command.params
        yield from _options_below(command)


def _refuse_usage(error: typer.TyperException, options: Sequence[str], behind_dashes: object) -> int:
    context = getattr(error, "ctx", None)
    verb = context.command_path.removeprefix(PROGRAM).strip() if context is not None else ""
    message, hint = error.format_message(), f"See: {PROGRAM} {verb} --help".replace("  ", " ")
    if misplaced := _hint_on_place(error):
        message, hint = error.message, misplaced  # without the options of other names that stand there
    if behind_dashes is None and any(word.partition("=")[0] == "--command" for word in options):
        hint = f"Write -- before the program and its options: {PROGRAM} backup --command NAME -- pg_dump orders"
    message = message[:1].lower() + message[1:].removesuffix(".")
    failure = Failure(ExitStatus.USAGE, Code.BAD_ARGUMENT, message, hint)
    return int(tell(Typed(verb=verb), Screen(as_json="--json" in options), failure, ()))
