"""`check-artifact`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from safebackup.cli.options import command
from safebackup.cli.output import Result, fields_of, one_line
from safebackup.cli.running import Screen
from safebackup.cli.sizes import count_text, size_text
from safebackup.cli.storage_options import storage_options_of
from safebackup.errors import Code, SafeBackupError
from safebackup.findings import Finding, Severity
from safebackup.statuses import ExitStatus, status_of

if TYPE_CHECKING:
    from safebackup.artifacts import ArtifactReport

# Errors that do not say that something is wrong: it could not be judged.
_UNJUDGED = (Code.ARTIFACT_UNKNOWN, Code.ARTIFACT_UNREADABLE)
_WORST_FIRST = (ExitStatus.DAMAGE, ExitStatus.FAILED, ExitStatus.USAGE, ExitStatus.TRY_AGAIN, ExitStatus.NOT_VERIFIED)


def add_commands(app: typer.Typer) -> None:
    """Make `check-artifact` a command of `app`."""
    command(app, "check-artifact", proves=True)(check)


def check(
    screen: Screen,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders of dumps, or URLs.", show_default=False)
    ],
    level: Annotated[
        Literal["listed", "structure", "full"],
        typer.Option("--level", help="How much is read: full is every byte; listed never calls anything whole."),
    ] = "full",
    url_option: Annotated[
        list[str] | None,
        typer.Option(
            "--storage-option",
            metavar="NAME=VALUE",
            help="A storage option for the URLs; NAME=@FILE takes the value from a file. Repeatable.",
        ),
    ] = None,
) -> Result:
    """Check whether dumps and archives of any program are whole, by their content."""
    from safebackup.artifacts import check_artifact

    options = storage_options_of("--storage-option", url_option)
    detailed = screen.verbose or sys.stdout.isatty()
    statuses, described, lines = set[ExitStatus](), list[dict[str, object]](), list[str]()
    findings = list[Finding]()
    for file in files:
        try:
            report = check_artifact(file, level=level, storage_options=options)
        except SafeBackupError as error:
            if len(files) == 1:
                raise
            statuses.add(status_of(error, proving=True))
            findings.append(_not_checked(file, error))
            described.append({"path": file, "whole": False, "error": str(error.code)})
            continue
        statuses.add(_status(report))
        findings += report.findings
        described.append(fields_of(report))
        lines.append(f"{one_line(report.path)}: {one_line(report.statement)}")
        if detailed:
            lines += _details(report)
    status = next((one for one in _WORST_FIRST if one in statuses), ExitStatus.OK)
    outcome = {ExitStatus.OK: "whole", ExitStatus.DAMAGE: "not_whole"}.get(status, status.word)
    return Result(
        outcome=outcome,
        status=status,
        report={"artifacts": described},
        findings=findings,
        findings_total=len(findings),
        summary="\n".join(lines),
    )


def _details(report: ArtifactReport) -> list[str]:
    """What an artefact holds, and what nobody can know of it."""
    holds = report.holds
    counts = {"member": holds.members, "table": holds.tables, "row": holds.rows, "key": holds.keys}
    told = [count_text(count, noun) for noun, count in counts.items() if count is not None]
    if holds.bytes is not None:
        told.append(size_text(holds.bytes))
    if holds.database is not None:
        told.append(f"of the database {one_line(holds.database)}")
    held = [f"  it holds {', '.join(told)}"] if told else []
    return held + [f"  not proved: {one_line(sentence)}" for sentence in report.unproved]


def _not_checked(file: str, error: SafeBackupError) -> Finding:
    return Finding(
        code=error.code, severity=Severity.ERROR, what=error.message, action=error.hint, subject=one_line(file)
    )


def _status(report: ArtifactReport) -> ExitStatus:
    if report.whole:
        return ExitStatus.OK
    errors = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    wrong = any(finding.code not in _UNJUDGED for finding in errors)
    return ExitStatus.DAMAGE if wrong else ExitStatus.NOT_VERIFIED
