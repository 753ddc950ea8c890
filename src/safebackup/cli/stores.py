"""`store test` and `store probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from safebackup.cli.opening import given_key, repository_url, storage_options
from safebackup.cli.options import Where, command
from safebackup.cli.output import Result, fields_of
from safebackup.cli.running import Screen
from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError
from safebackup.findings import Finding, Severity
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.repository import Repository
    from safebackup.storage.conformance import ConformanceReport

UrlArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="URL", help="A place for repositories, or one that is there; it has to exist.", show_default=False
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Make `store` a group of commands of `app`."""
    group = typer.Typer(help="Find out whether backups are safe at a place, and from whom.")
    command(group, "test", group="store", proves=True)(test)
    command(group, "probe", group="store", proves=True)(probe)
    app.add_typer(group, name="store")


def test(
    screen: Screen,
    where: Where,
    url: UrlArgument = None,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough", help="Ask for more of everything, such as 200 races; takes up to half an hour, not a minute."
        ),
    ] = False,
) -> Result:
    """Try whether a place keeps what every store must keep, in a new folder of its own there, which is removed.

    If a repository is there, the result is kept in its journal; a sealed one needs its key for that.
    """
    from safebackup.repository.store_tests import record_store_test
    from safebackup.storage.conformance import check_store

    place = repository_url(where, url)
    repository, untold = _repository_at(place, where)
    report = check_store(
        place,
        storage_options=storage_options(where),
        allow_unproven=where.allow_unproven_store,
        thorough=thorough,
    )
    status, outcome = _ended(report)
    if repository is not None:
        try:
            record_store_test(repository, report)
        except SafeBackupError as problem:
            untold = _not_recorded(problem)
            status, outcome = (status, outcome) if status else (ExitStatus.NOT_VERIFIED, "not_recorded")
    findings = [*report.findings, *([untold] if untold else ())]
    return Result(
        outcome=outcome,
        status=status,
        report={
            **fields_of(report),
            "passed": report.passed,
            "statement": report.statement,
            "recorded": repository is not None and untold is None,
        },
        findings=findings,
        findings_total=len(findings),
        listing=() if screen.as_json or screen.quiet else report.table().splitlines(),
    )


def _repository_at(place: str, where: Where) -> tuple[Repository | None, Finding | None]:
    """The repository in whose journal the result belongs, if there is one; and why it cannot be written there."""
    from safebackup.repository import Repository

    options, allow = storage_options(where), where.allow_unproven_store
    try:
        try:
            return Repository.open(
                place, key=given_key(where), storage_options=options, allow_unproven_store=allow
            ), None
        except ConfigurationError as error:
            if error.code is not Code.KEY_NOT_WANTED:
                raise
        return Repository.open(place, key=None, storage_options=options, allow_unproven_store=allow), None
    except NotFoundError:
        return None, None
    except ConfigurationError as error:
        if error.code is not Code.KEY_REQUIRED:
            raise
        return None, _not_recorded(error)


def _not_recorded(problem: SafeBackupError) -> Finding:
    return Finding(
        code=problem.code,
        severity=Severity.WARNING,
        what=f"the result is not kept in the journal of the repository there: {problem.message}",
        action=problem.hint,
    )


def _ended(report: ConformanceReport) -> tuple[ExitStatus, str]:
    if report.failed:
        return ExitStatus.DAMAGE, "failed"
    if report.cut_short:
        return ExitStatus.NOT_VERIFIED, "not_verified"
    return ExitStatus.OK, "passed"


def probe(screen: Screen, where: Where, url: UrlArgument = None) -> Result:
    """Try what these credentials could do, on an object made for it: overwrite, delete, read without credentials."""
    from safebackup.storage.conformance import probe_store

    report = probe_store(
        repository_url(where, url),
        storage_options=storage_options(where),
        allow_unproven=where.allow_unproven_store,
    )
    # All of them, as they are what was asked for.
    judged = [line for finding in report.findings for line in _lines_of(finding)]
    return Result(
        outcome="append_only" if report.append_only else "probed",
        report={**fields_of(report), "append_only": report.append_only},
        findings=report.findings if screen.as_json else (),
        findings_total=len(report.findings) if screen.as_json else 0,
        listing=() if screen.as_json or screen.quiet else [*report.table().splitlines(), "", *judged],
    )


def _lines_of(finding: Finding) -> list[str]:
    return [f"{finding.severity}: {finding.what}", *([f"  → {finding.action}"] if finding.action else ())]
