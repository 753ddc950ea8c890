"""What is printed: results and errors, for people or as one JSON document. Nothing else writes to a stream."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from io import StringIO, TextIOWrapper
from typing import TYPE_CHECKING

import attrs

from safebackup.cli.hints import Typed, in_commands
from safebackup.findings import Finding, Severity, printable
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.cli.running import Screen

SCHEMA_VERSION = 1
_FINDINGS_SHOWN = 20


@attrs.frozen(kw_only=True)
class Result:
    """How a command ended that came to its end.

    `report` holds the fields for JSON. `summary` is for people, and left out where nobody watches and all is well;
    `listing` is what was asked for, and always printed.
    """

    outcome: str
    status: int = ExitStatus.OK  # of a script that was run: whatever it ended with
    report: Mapping[str, object] = attrs.field(factory=dict)
    findings: Sequence[Finding] = ()
    findings_total: int = 0
    summary: str = ""
    listing: Iterable[str] = ()


@attrs.frozen
class Failure:
    """Why a command did not come to its end, and what to do."""

    status: ExitStatus
    code: str | None
    message: str
    hint: str


class OutputLostError(Exception):
    """Standard output took no more; `status` is what the command itself would have ended with."""

    def __init__(self, error: OSError, status: int) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_left = isinstance(error, BrokenPipeError)
        self.status = status


def announce(typed: Typed, screen: Screen, result: Result, warnings: Sequence[str]) -> int:
    """Print a result; its exit status.

    Raises:
        OutputLostError: standard output took no more.
    """
    _complain(warnings)
    _show_findings(typed, screen, result)
    if screen.as_json:
        _print([_document(typed, result.outcome, result.status, result, None, warnings)], result.status)
        return result.status
    _print(result.listing, result.status)
    if result.summary and result.status != ExitStatus.OK:
        _say(f"safebackup {typed.verb}: {result.summary}")
    elif result.summary and not screen.quiet and (screen.verbose or sys.stdout.isatty()):
        _print([result.summary], result.status)
    return result.status


def tell(typed: Typed, screen: Screen, failure: Failure, warnings: Sequence[str]) -> ExitStatus:
    """Print why a command failed; its exit status."""
    _complain(warnings)
    code = f" [{failure.code}]" if failure.code else ""
    _say(f"safebackup {typed.verb}".rstrip() + f": {failure.message}{code}")
    if failure.hint:
        _say(f"→ {failure.hint}")
    if screen.as_json:
        try:
            _print([_document(typed, failure.status.word, failure.status, None, failure, warnings)], failure.status)
        except OutputLostError:
            discard_output()
    return failure.status


def _document(
    typed: Typed,
    outcome: str,
    status: int,
    result: Result | None,
    failure: Failure | None,
    warnings: Sequence[str],
) -> str:
    report = dict(result.report) if result else {}
    error = None
    if failure:
        error = {"code": failure.code, "message": one_line(failure.message), "hint": one_line(failure.hint)}
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": typed.verb,
        "outcome": outcome,
        "exit_status": int(status),
        **{name: plain(value) for name, value in report.items()},
        "findings": [plain(finding) for finding in (result.findings if result else ())],
        "warnings": [one_line(warning) for warning in warnings],
        "error": error,
    }
    return json.dumps(document)


def fields_of(report: attrs.AttrsInstance, *, without: Sequence[str] = ()) -> dict[str, object]:
    """The fields of a report that are fit to be shown, without its findings."""
    return {
        field.name: getattr(report, field.name)
        for field in attrs.fields(type(report))
        if field.repr is not False and field.name not in ("findings", *without)
    }


def plain(value: object) -> object:
    """`value` in what JSON has: instants as RFC 3339 in UTC, raw names printable, without what no repr shows."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        from safebackup.instants import format_instant

        return format_instant(value)
    if isinstance(value, bytes):
        return printable(value)
    kind = type(value)
    if attrs.has(kind):
        return {
            field.name: plain(getattr(value, field.name)) for field in attrs.fields(kind) if field.repr is not False
        }
    if isinstance(value, Mapping):
        return {one_line(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(each) for each in value]
    return one_line(os.fspath(value) if isinstance(value, os.PathLike) else str(value))


def one_line(text: str) -> str:
    """`text` with everything escaped that could move a cursor, hide text or end a line."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode("ascii")
        for each in text
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Rows as aligned lines under their headings; on a terminal they fit into its width."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False)
    for column in columns:
        # Text, and never a string: rich reads markup in strings, and a name may hold some.
        drawn.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(one_line(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 10_000
    console = Console(file=StringIO(), width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(drawn)
    return [line.rstrip() for line in captured.get().splitlines()]


def use_safe_streams() -> None:
    """Let no character end the program that a stream's encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send what is still to be written to standard output to nothing, so that leaving is silent."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


def note(text: str) -> None:
    """One line on standard error."""
    _say(f"safebackup: {text}")


def _show_findings(typed: Typed, screen: Screen, result: Result) -> None:
    shown = [finding for finding in result.findings if finding.severity is not Severity.INFO or screen.verbose]
    limit = len(shown) if screen.verbose else _FINDINGS_SHOWN
    for finding in shown[:limit]:
        subject = "" if not finding.subject or finding.subject in finding.what else f"{finding.subject}: "
        _say(f"{finding.severity}: {subject}{finding.what} [{finding.code}]")
        if action := in_commands(finding.action, finding.code, typed):
            _say(f"  → {action}")
    hidden = max(result.findings_total - len(result.findings), 0) + len(shown) - len(shown[:limit])
    if hidden:
        _say(f"… and {hidden:,} more; --verbose and --json show those that the report holds")


def _complain(warnings: Sequence[str]) -> None:
    for warning in warnings:
        _say(f"warning: {warning}")


def _say(text: str) -> None:
    """To standard error; what cannot be said there is lost, as there is nowhere else to say it."""
    with contextlib.suppress(OSError):
        sys.stderr.write("\n".join(one_line(line) for line in text.split("\n")) + "\n")
        sys.stderr.flush()


def _print(lines: Iterable[str], status: int) -> None:
    for line in lines:
        try:
            sys.stdout.write(line + "\n")
        except OSError as error:
            raise OutputLostError(error, status) from error
    try:
        sys.stdout.flush()
    except OSError as error:
        raise OutputLostError(error, status) from error
