"""Streams and commands as sources: one file of a snapshot, whose content never lay on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs

from safebackup.commands import Ended, checked_commands
from safebackup.errors import Code
from safebackup.findings import Finding, Severity, printable
from safebackup.streaming import Readable

_LINES_TOLD = 3
_TOLD_MAX = 500


@attrs.frozen(kw_only=True, eq=False)
class StreamSource:
    """An open stream that becomes the file `file`; made by `Source.stream`. It can be read once."""

    file: str
    name: str
    stream: Readable = attrs.field(repr=False)
    allow_empty: bool


@attrs.frozen(kw_only=True)
class CommandSource:
    """Commands whose output becomes the file `file`; made by `Source.command`. `deadline` is in seconds."""

    file: str
    name: str
    commands: tuple[tuple[str, ...], ...]
    deadline: float | None
    allow_empty: bool


AnyStream: TypeAlias = StreamSource | CommandSource


def commands_of(given: Sequence[object]) -> tuple[tuple[str, ...], ...]:
    """What a caller wrote as one command, several, or a list of several, each as a list of its arguments.

    Raises:
        ConfigurationError: that is no command.
    """
    first = given[0] if len(given) == 1 else None
    if isinstance(first, list | tuple) and first and all(isinstance(one, list | tuple) for one in first):
        given = first
    return tuple(checked_commands(given))


def said_by(ended: Sequence[Ended], file: str) -> Iterator[Finding]:
    """The last lines of what each program that made `file`, and succeeded, wrote to its standard error."""
    for one in ended:
        if one.stderr:
            # The program alone: arguments may hold a password.
            program = printable(os.fsencode(one.argv[0]))
            said = " / ".join(one.stderr.splitlines()[-_LINES_TOLD:])[-_TOLD_MAX:]
            yield Finding(
                code=Code.COMMAND_SAID,
                severity=Severity.WARNING,
                what=f"{program} ended with status 0, and said: {said}",
                action="Look whether it left something out. If it always says this, tell it to be quiet.",
                subject=file,
            )
