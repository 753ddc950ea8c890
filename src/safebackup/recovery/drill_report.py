"""What a drill reports, and what of it the journal keeps."""

from __future__ import annotations

import attrs
import msgspec

from safebackup.errors import Code
from safebackup.findings import Finding, is_text
from safebackup.format.records import FindingRow, JournalBody
from safebackup.recovery.checks import CheckResult, Outcome
from safebackup.repository import Snapshot

_FINDINGS_RECORDED = 100
_CHECKS_RECORDED = 100

_OF_CHECKS = {
    Code.DRILL_CHECK_FAILED: "the check failed; the report of the drill has what it said",
    Code.DRILL_CHECK_NOT_DONE: "the check could not be carried out; the report of the drill says why",
}

RESTORE, COMPARE, CHECKS, CLEAN_UP = "restore", "compare", "checks", "clean_up"  # the names of phases


@attrs.frozen
class Phase:
    """A part of a drill: `restore`, `compare`, `checks` or `clean_up`. `bytes` is the content that it went through."""

    name: str
    seconds: float
    bytes: int

    @property
    def bytes_per_second(self) -> float:
        """How fast that was; 0 where nothing was measured."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen(kw_only=True)
class DrillReport:
    """What a drill did and learned; only the outcome `proved` is a success.

    `statement` says in a few sentences what that proves. `restored` tells whether everything came back, whatever the
    checks said of it. `files` and `content_bytes` are what was compared. `scratch`
    is the folder that was kept or could not be removed, with the data in `restored` in it; "" if nothing is left.
    `recorded` tells whether the journal has it: without that the snapshot does not stand as proven.
    """

    outcome: Outcome
    snapshot: Snapshot
    statement: str
    phases: tuple[Phase, ...]
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    findings_total: int
    restored: bool
    files: int
    content_bytes: int
    scratch: str
    recorded: bool
    seconds: float

    @property
    def recovery_seconds(self) -> float | None:
        """How long it took until the data were back and had answered the checks: restore and checks together.

        None where nothing or not all came back: such a time would be that of no recovery.
        """
        if not self.restored:
            return None
        return sum(phase.seconds for phase in self.phases if phase.name in (RESTORE, CHECKS))


def with_report(body: JournalBody, report: DrillReport) -> JournalBody:
    """A journal record that tells of a drill."""
    rows = tuple(
        FindingRow(str(one.code), str(one.severity), _text(_recorded_what(one)), _text(one.subject))
        for one in report.findings[:_FINDINGS_RECORDED]
    )
    return msgspec.structs.replace(body, snapshots=(report.snapshot.name,), findings=rows, facts=_facts(report))


def _recorded_what(finding: Finding) -> str:
    """What the journal says: nothing that a check printed, as a monitor that reads journals must not read data."""
    return _OF_CHECKS.get(finding.code, finding.what)


def _facts(report: DrillReport) -> dict[str, str | int | bool]:
    facts: dict[str, str | int | bool] = {
        "files": report.files,
        "content_bytes": report.content_bytes,
        "findings": report.findings_total,
        "checks": len(report.checks),
    }
    if report.recovery_seconds is not None:
        facts["recovery_ms"] = round(report.recovery_seconds * 1000)
    for phase in report.phases:
        facts[f"{phase.name}_ms"] = round(phase.seconds * 1000)
    for number, result in enumerate(report.checks[:_CHECKS_RECORDED], start=1):
        facts[f"check_{number}"] = f"{result.outcome}: {_text(result.name)}"
    return facts


def _text(text: str) -> str:
    return text if is_text(text) else ascii(text)
