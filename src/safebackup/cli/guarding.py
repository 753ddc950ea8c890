"""`guard`: a script at its time, once and alone; and which of its runs are missing."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from safebackup.cli.options import command
from safebackup.cli.output import Result, one_line
from safebackup.cli.running import Screen, Stopped
from safebackup.cli.schedule_options import EXAMPLE, When, changed_data, instant_of, require_schedule_of, schedule_of
from safebackup.cli.sizes import parse_duration
from safebackup.errors import Code, CommandError, ConfigurationError, SafeBackupError
from safebackup.events import logger
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from safebackup.findings import Finding
    from safebackup.guarding import Guard, GuardReport, Permit

_GRACE = "30m"
_WITHIN = "7d"
_ON_REFUSAL_SECONDS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@attrs.frozen
class Rules:
    """What else holds for a start."""

    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="FILE_OR_URL",
            help="Where the guard remembers runs. Without it: a file in ~/.local/state/safebackup named after --job, "
            "or after the script and its arguments.",
            show_default=False,
        ),
    ] = None
    job: Annotated[str, typer.Option("--job", metavar="NAME", help="What the state belongs to.")] = ""
    grace: Annotated[
        str | None,
        typer.Option(
            "--grace",
            metavar="TIME",
            help=f"So late it may still be started; {_GRACE} unless given.",
            show_default=False,
        ),
    ] = None
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            metavar="TIME",
            help="End the script, and what it started in its session, unless it is done in time.",
            show_default=False,
        ),
    ] = None
    override: Annotated[
        str | None,
        typer.Option(
            "--override",
            metavar="REASON",
            help="Start it although the guard would refuse; recorded with your name.",
            show_default=False,
        ),
    ] = None
    on_refusal: Annotated[
        str | None,
        typer.Option(
            "--on-refusal",
            metavar="COMMAND",
            help="Run this when the script was not started; SAFEBACKUP_REFUSAL_CODE and others say why.",
            show_default=False,
        ),
    ] = None


def add_commands(app: typer.Typer) -> None:
    """Make `guard` a command of `app`."""
    command(app, "guard")(guard)


def guard(
    context: typer.Context,
    screen: Screen,
    when: When,
    rules: Rules,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing; tell from the state which runs are missing.")
    ] = False,
    within: Annotated[
        str | None,
        typer.Option(
            "--within",
            metavar="TIME",
            help=f"How far back --check looks; {_WITHIN} unless given, and always to the last success.",
            show_default=False,
        ),
    ] = None,
    script: Annotated[
        list[str] | None, typer.Argument(metavar="-- SCRIPT", help="What to run.", show_default=False)
    ] = None,
) -> Result:
    """Run a script at its time only, once and alone; refuse, and say why, at any other moment."""
    behind_dashes: list[str] | None = context.obj
    if check:
        if script:
            raise ConfigurationError(f"--check starts nothing, and {script[0]!r} is given", hint="Leave it out.")
        return _check(when, rules, within)
    if within is not None:
        raise ConfigurationError("--within says how far back --check looks, which is not given", hint="Leave it out.")
    if not script or script != behind_dashes:
        raise ConfigurationError(
            "no script stands behind --", hint=f"Write it last: safebackup guard {EXAMPLE} -- ./backup.sh"
        )
    told = None if rules.on_refusal is None else _words("--on-refusal", rules.on_refusal)
    permit = None
    changed: list[Finding] = []
    try:
        guarded = _guard(when, rules, script)
        changed = changed_data(when, instant_of(None, guarded.schedule))
        with guarded as permit:
            status = _run(permit, script, _deadline(rules))
    except SafeBackupError as error:
        for finding in changed:
            logger.warning("%s [%s]", finding.what, finding.code)
        if error.code is Code.GUARD_STATE_FOREIGN:
            error.hint = error.hint.replace("job=", "--job ")
        if told is not None and not _was_started(permit, error):
            _tell_refusal(told, error, rules, _due(permit, error))
        raise
    return _result(permit, script, status, changed)


def _was_started(permit: Permit | None, error: SafeBackupError) -> bool:
    could_not = isinstance(error, CommandError) and error.code is not Code.COMMAND_DEADLINE
    return permit is not None and not could_not


def _guard(when: When, rules: Rules, script: Sequence[str]) -> Guard:
    from safebackup.commands import checked_commands
    from safebackup.guarding import guard

    checked_commands((script,))
    schedule = require_schedule_of(when)
    seconds = _deadline(rules)
    state = _state(rules, script)
    if rules.state is None:
        _make_folder(os.path.dirname(state))
    return guard(
        schedule,
        grace=timedelta(seconds=parse_duration("--grace", rules.grace or _GRACE)),
        state=state,
        job=rules.job,
        deadline=None if seconds is None else timedelta(seconds=seconds),
        override=rules.override,
    )


def _make_folder(folder: str) -> None:
    from safebackup.guarding.places import disk_failed

    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise disk_failed(f"making {folder}, for the state", error) from error


def _deadline(rules: Rules) -> int | None:
    return None if rules.deadline is None else parse_duration("--deadline", rules.deadline)


def _run(permit: Permit, script: Sequence[str], deadline: int | None) -> int:
    """Run the script with our own streams; its exit status, 128 and the signal's number where one ended it."""
    from safebackup.commands import start_attached
    from safebackup.instants import format_instant

    facts = {"SAFEBACKUP_RUN_ID": permit.run_id}
    if permit.occurrence is not None:
        facts["SAFEBACKUP_DUE"] = format_instant(permit.occurrence.instant)
    try:
        with start_attached(script, deadline=deadline, environment=facts) as running:
            permit.watch(*running.pids)
            (ended,) = running.wait()
    except Stopped as stopped:
        permit.fail(stopped.message)
        raise
    if ended.status < 0:
        permit.fail(f"it was ended by {_signal_name(-ended.status)}")
        return 128 - ended.status
    if ended.status > 255:
        permit.fail("nobody knows how it ended, because SIGCHLD is ignored here")
        return int(ExitStatus.FAILED)
    if ended.status:
        permit.fail(f"it ended with status {ended.status}")
    return ended.status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _result(permit: Permit, script: Sequence[str], status: int, changed: Sequence[Finding]) -> Result:
    findings = (*changed, *permit.findings)
    return Result(
        outcome="failed" if status else "done",
        status=status,
        report={
            "run_id": permit.run_id,
            "due": None if permit.occurrence is None else permit.occurrence.instant,
            "script_status": status,
        },
        findings=findings,
        findings_total=len(findings),
        summary=f"{one_line(script[0])}: {permit.failure}" if status else "",
    )


def _state(rules: Rules, script: Sequence[str]) -> str:
    """Where the state is: as named, or in the user's own folder for such things."""
    if rules.state is not None:
        if rules.state.lower().startswith("memory://"):
            raise ConfigurationError(
                f"--state {rules.state} is forgotten when this process ends",
                hint="Name a file: --state /var/lib/safebackup/orders.json",
            )
        return rules.state
    name = rules.job
    if not name and script:
        # Two folders may each have a ./backup.sh. Links are not followed: a deployment may set them anew each time.
        program = os.path.abspath(shutil.which(script[0]) or script[0])
        digest = hashlib.sha256(os.fsencode("\0".join([program, *script[1:]]))).hexdigest()
        name = f"{re.sub('[^A-Za-z0-9._-]', '_', os.path.basename(script[0]))}-{digest[:12]}"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"--job {name!r} cannot name a file" if name else "nothing says where the state is",
            hint="Name it: --state /var/lib/safebackup/orders.json",
        )
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if not os.path.isabs(home):
        raise ConfigurationError("this user has no home folder for a state", hint="Name a file: --state FILE")
    return os.path.join(home, "safebackup", f"guard-{name}.json")


def _words(option: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text!r}: {error}", hint="Quote it as for a shell.") from error
    if not words:
        raise ConfigurationError(f"{option} names no program", hint=f"{option} 'mail -s refused ops@example.org'")
    return words


def _due(permit: Permit | None, error: SafeBackupError) -> str:
    """What a script that was not started was taken for, as far as that is known."""
    from safebackup.guarding import StartRefusedError
    from safebackup.instants import format_instant
    from safebackup.schedule.moments import write_instant

    if isinstance(error, StartRefusedError) and error.refusal.due is not None:
        return write_instant(error.refusal.due)
    return "" if permit is None or permit.occurrence is None else format_instant(permit.occurrence.instant)


def _tell_refusal(told: Sequence[str], error: SafeBackupError, rules: Rules, due: str) -> None:
    """Run what wants to know; that it fails hides nothing."""
    from safebackup.commands import run

    facts = {
        "SAFEBACKUP_REFUSAL_CODE": str(error.code),
        "SAFEBACKUP_REFUSAL_MESSAGE": error.message,
        "SAFEBACKUP_REFUSAL_HINT": error.hint,
        "SAFEBACKUP_JOB": rules.job,
        "SAFEBACKUP_DUE": due,
    }
    try:
        ended = run(told, deadline=_ON_REFUSAL_SECONDS, environment=facts)
    except SafeBackupError as failed:
        logger.warning("--on-refusal: %s", failed)
        return
    if ended.status:
        logger.warning("--on-refusal: %s ended with status %d: %s", told[0], ended.status, ended.stderr)


def _check(when: When, rules: Rules, within: str | None) -> Result:
    from safebackup.guarding import check_guard

    for_starts = {
        "--grace": rules.grace,
        "--deadline": rules.deadline,
        "--override": rules.override,
        "--on-refusal": rules.on_refusal,
    }
    given = [option for option, value in for_starts.items() if value is not None]
    if given:
        raise ConfigurationError(f"--check starts nothing, and {' and '.join(given)} is given", hint="Leave it out.")
    schedule = schedule_of(when)
    report = check_guard(
        _state(rules, ()),
        schedule=schedule,
        job=rules.job or None,
        within=timedelta(seconds=parse_duration("--within", within or _WITHIN)),
    )
    changed = [] if schedule is None else changed_data(when, instant_of(None, schedule))
    findings = (*changed, *report.findings)
    return Result(
        outcome="complete" if report.passed else "missing",
        status=ExitStatus.OK if report.passed else ExitStatus.FAILED,
        report={
            "missing": [{"run_id": one.run_id, "due": one.instant} for one in report.missing],
            "running": report.running,
            "since": report.since,
            "last_success": report.last_success,
            "next": report.next,
        },
        findings=findings,
        findings_total=len(findings),
        summary=_summary(report),
    )


def _summary(report: GuardReport) -> str:
    from safebackup.instants import format_instant

    if report.since is None:
        return "nothing was ever written there"
    last = "none" if report.last_success is None else format_instant(report.last_success)
    following = "never" if report.next is None else format_instant(report.next)
    running = "; a run is active" if report.running else ""
    return (
        f"missing since {format_instant(report.since)}: {len(report.missing)}; last success: {last}; "
        f"next: {following}{running}"
    )
