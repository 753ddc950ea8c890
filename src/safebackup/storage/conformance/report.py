"""What testing a store came to: one result for each check, and what the store was seen to be capable of."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import attrs

from safebackup.findings import Finding
from safebackup.storage.capabilities import Capabilities, shown


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"  # a guarantee was seen broken
    NOT_TRIED = "not tried"


@attrs.frozen(kw_only=True)
class CheckResult:
    """One check: what it was about, how it ended, and what was seen.

    `cut_short` is true where it should have been tried and could not be: no time was left, or no answer came.
    """

    name: str
    guarantee: str  # such as "S4"
    outcome: Outcome
    what: str
    seconds: float
    cut_short: bool = False


@attrs.frozen(kw_only=True)
class ConformanceReport:
    """What `check_store` found out about the store at `url`."""

    url: str
    thorough: bool
    checks: tuple[CheckResult, ...]
    capabilities: Capabilities
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that saw a guarantee broken."""
        return tuple(each for each in self.checks if each.outcome is Outcome.FAILED)

    @property
    def cut_short(self) -> tuple[CheckResult, ...]:
        """The checks that should have been tried and could not be."""
        return tuple(each for each in self.checks if each.cut_short)

    @property
    def passed(self) -> bool:
        """Whether all that applies to this store was tried, and kept."""
        return not self.failed and not self.cut_short

    @property
    def statement(self) -> str:
        """In one sentence what that proves."""
        if self.failed:
            names = ", ".join(each.name for each in self.failed)
            return f"It does NOT keep what a store must keep: {names}. Do not keep backups there."
        if self.cut_short:
            names = ", ".join(each.name for each in self.cut_short)
            return f"Nothing was seen to be broken, but this could not be tried: {names}."
        return "It kept all that was asked of it" + ("." if self.thorough else "; --thorough asks for more.")

    def table(self) -> str:
        """All of it as text, for people."""
        rows = [("check", "", "outcome", "what was seen")]
        rows += [(each.name, each.guarantee, str(each.outcome), each.what) for each in self.checks]
        return "\n".join([*_aligned(rows), "", *self.capabilities.lines(), "", self.statement])


@attrs.frozen(kw_only=True)
class ProbeReport:
    """What `probe_store` found out about a credential: what it could do, tried on objects of its own.

    None is what was not tried.
    """

    url: str
    kind: str
    can_overwrite: bool | None
    can_delete: bool | None
    keeps_versions: bool | None  # what was there before stays in the bucket, and these credentials cannot remove it
    read_by_anyone: bool | None  # without any credential, by plain HTTP
    clock_drift_seconds: float | None  # above 0: the store's clock is ahead of ours
    names_refused: tuple[str, ...] | None  # valid names that it did not take
    left_behind: tuple[str, ...]  # names of objects that could not be removed again
    findings: tuple[Finding, ...]

    @property
    def append_only(self) -> bool:
        """Whether what is there is safe from who has this credential: it can neither be deleted nor overwritten."""
        return self.can_delete is False and self.can_overwrite is False

    def table(self) -> str:
        """All of it as text, for people."""
        rows = [
            (field.name.replace("_", " "), shown(getattr(self, field.name)))
            for field in attrs.fields(type(self))
            if field.name not in ("url", "findings", "left_behind")
        ]
        return "\n".join([*_aligned(rows), *(f"left behind: {name}" for name in self.left_behind)])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
