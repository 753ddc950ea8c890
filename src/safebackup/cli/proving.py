"""`restore`, `verify` and `drill`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
import typer

from safebackup.cli.looking import time_text
from safebackup.cli.opening import open_repository
from safebackup.cli.options import OfSource, Pace, Where, command
from safebackup.cli.output import Result, fields_of, one_line
from safebackup.cli.progress import watching
from safebackup.cli.running import Screen
from safebackup.cli.sizes import count_text, duration_text, parse_duration, size_text
from safebackup.cli.storage_options import storage_options_of
from safebackup.errors import ConfigurationError
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.recovery import DrillReport
    from safebackup.recovery.checks import Check, Outcome

_DRILL_STATUSES = {
    "proved": ExitStatus.OK,
    "failed": ExitStatus.DRILL_FAILED,
    "could_not_check": ExitStatus.NOT_VERIFIED,
}


def add_commands(app: typer.Typer) -> None:
    """Make `restore`, `verify` and `drill` commands of `app`."""
    command(app, "restore")(restore)
    command(app, "verify", proves=True)(verify)
    command(app, "drill", proves=True)(drill)


def restore(
    screen: Screen,
    where: Where,
    pace: Pace,
    snapshot: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="The beginning of its id, or latest.", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Where to restore to: a new or an empty folder, or a URL.",
            show_default=False,
        ),
    ],
    target_option: Annotated[
        list[str] | None,
        typer.Option(
            "--target-option",
            metavar="NAME=VALUE",
            help="A storage option for a URL that is restored to; NAME=@FILE takes the value from a file. Repeatable.",
        ),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATH", help="Only this path in the snapshot; repeatable."),
    ] = None,
    overwrite: Annotated[
        Literal["refuse", "keep", "replace"],
        typer.Option("--overwrite", help="What to do where the folder holds something already."),
    ] = "refuse",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; tell what would be restored and what would be missing.")
    ] = False,
    source: OfSource = None,
) -> Result:
    """Restore a snapshot, or parts of it, into a folder, or below a URL."""
    from safebackup.recovery import restore as restore_snapshot

    repository = open_repository(where, pace)
    chosen = repository.snapshot(snapshot, source=source)
    with watching(screen, "restore") as progress:
        report = restore_snapshot(
            chosen,
            to,
            storage_options=storage_options_of("--target-option", target_option),
            paths=path or None,
            overwrite=overwrite,
            dry_run=dry_run,
            callback=progress,
            observer=progress.observe,
        )
    whole = report.complete and chosen.complete  # what was never in it is missing, too
    done = "would be restored" if dry_run else "restored"
    summary = (
        f"{'complete' if whole else 'INCOMPLETE'}: {count_text(report.files, 'file')}, "
        f"{size_text(report.content_bytes)} of snapshot {chosen.id[:12]} {done} to {one_line(report.target)} "
        f"in {duration_text(report.seconds)}\n"
        f"  it is of {one_line(chosen.source)}, made {time_text(chosen.finished)}"
    )
    if snapshot == "latest" and source is None:
        others = sorted({one_line(one.source) for one in repository.snapshots()} - {one_line(chosen.source)})
        summary += f"; there are other sources, too: {', '.join(others)}; choose by --source" if others else ""
    return Result(
        outcome="complete" if whole else "incomplete",
        status=ExitStatus.OK if whole else ExitStatus.INCOMPLETE,
        report=fields_of(report),
        findings=report.findings,
        findings_total=report.findings_total,
        summary=summary,
    )


def verify(
    screen: Screen,
    where: Where,
    pace: Pace,
    snapshot: Annotated[
        str | None,
        typer.Argument(
            metavar="SNAPSHOT",
            help="Only this one: the beginning of its id, or latest. Without it the whole repository.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        Literal["structure", "sample", "full"],
        typer.Option("--level", help="How much is read: full is every byte, sample a twentieth of the packs."),
    ] = "full",
    source: OfSource = None,
) -> Result:
    """Read what is stored and compare it with what was promised."""
    from safebackup.recovery import verify as verify_it

    repository = open_repository(where, pace)
    wanted = snapshot if snapshot is not None else "latest" if source is not None else None
    chosen = repository if wanted is None else repository.snapshot(wanted, source=source)
    with watching(screen, "verify") as progress:
        report = verify_it(chosen, level=level, callback=progress)
    return Result(
        outcome="passed" if report.passed else "damaged",
        status=ExitStatus.OK if report.passed else ExitStatus.DAMAGE,
        report=fields_of(report),
        findings=report.findings,
        findings_total=report.findings_total,
        summary=f"{report.statement} ({size_text(report.bytes_read)} read in {duration_text(report.seconds)})",
    )


def drill(
    screen: Screen,
    where: Where,
    pace: Pace,
    snapshot: Annotated[
        str,
        typer.Argument(metavar="SNAPSHOT", help="The beginning of its id; without it the newest.", show_default=False),
    ] = "latest",
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--check",
            metavar="'PROGRAM ARGUMENT...'",
            help="Run this in the restored folder, without a shell; status 0 means yes. Repeatable.",
        ),
    ] = None,
    check_deadline: Annotated[
        str | None,
        typer.Option(
            "--check-deadline",
            metavar="TIME",
            help="End each check that takes longer, such as 10m; without it a drill waits for as long as it takes.",
            show_default=False,
        ),
    ] = None,
    scratch: Annotated[
        str | None,
        typer.Option(
            "--scratch",
            metavar="FOLDER",
            help="Restore into this new or empty folder; without it a private one among the temporary files.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave what was restored there.")] = False,
    source: OfSource = None,
) -> Result:
    """Rehearse a restore: restore to a safe place, compare everything, run checks, and keep the evidence."""
    from safebackup.recovery.drilling import drill as rehearse

    checks = _checks(check or (), check_deadline)
    chosen = open_repository(where, pace).snapshot(snapshot, source=source)
    with watching(screen, "drill") as progress:
        report = rehearse(
            chosen, scratch=scratch, checks=checks, keep=keep, callback=progress, observer=progress.observe
        )
    outcome = str(report.outcome)
    status = _DRILL_STATUSES.get(outcome, ExitStatus.NOT_VERIFIED)
    if status is ExitStatus.OK and not report.recorded:
        status = ExitStatus.NOT_VERIFIED  # the snapshot does not stand as proven, and nobody would hear of it
    lines = [_drill_summary(report)]
    lines += [f"  {one.name}: {_in_words(one.outcome)}" for one in report.checks]
    lines.append(f"  {_recovery(report)}")
    if report.scratch:
        lines.append(f"  what was restored is left in {report.scratch}")
    return Result(
        outcome=outcome,
        status=status,
        report={**fields_of(report), "recovery_seconds": report.recovery_seconds},
        findings=report.findings,
        findings_total=report.findings_total,
        summary="\n".join(map(one_line, lines)),
    )


def _drill_summary(report: DrillReport) -> str:
    """What it came to; why, is told by the findings."""
    if report.outcome == "proved":
        return f"proved: {report.statement}"
    passed = sum(one.outcome == "proved" for one in report.checks)
    checks = f"; {passed} of {count_text(len(report.checks), 'check')} passed" if report.checks else ""
    return f"{_in_words(report.outcome)}: snapshot {report.snapshot.id[:12]} of {report.snapshot.source}{checks}"


def _recovery(report: DrillReport) -> str:
    """How long it took until the data were back, if they came back."""
    if report.recovery_seconds is not None:
        return f"the data were back after {duration_text(report.recovery_seconds)}"
    return "not all was restored" if report.phases else "nothing was restored"


def _in_words(outcome: Outcome) -> str:
    return str(outcome).replace("_", " ")


def _checks(texts: Sequence[str], deadline: str | None) -> Sequence[Check]:
    """Commands as a shell would split them, though none runs them; each has the deadline."""
    from safebackup.recovery.checks import checks_of

    checks = []
    for text in texts:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ConfigurationError(
                f"--check {text!r} cannot be split into words: {error}", hint="Close every quote."
            ) from error
        if not words:
            raise ConfigurationError("--check is empty", hint="Name a program: --check 'test -s orders.sql'")
        checks.append(words)
    if deadline is None:
        return checks_of(checks)
    if not checks:
        raise ConfigurationError("--check-deadline is given, and no --check", hint="Leave it out, or name a check.")
    seconds = parse_duration("--check-deadline", deadline)
    return [attrs.evolve(one, deadline=seconds) for one in checks_of(checks)]
