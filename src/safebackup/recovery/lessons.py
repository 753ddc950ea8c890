"""Lessons: what a drill has learned so far, as an outcome and findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from safebackup.errors import Code, IntegrityError, InternalError, RefusedError, SafeBackupError, StorageError
from safebackup.events import FindingRaised, Observer
from safebackup.findings import Finding, Severity
from safebackup.recovery.checks import Outcome

_FINDINGS_KEPT = 1000
_ORDER = (Outcome.PROVED, Outcome.COULD_NOT_CHECK, Outcome.FAILED)
# What is said beside the outcome, and not because of it.
_ASIDE = (Code.METADATA_NOT_SET, Code.DEVICE_NOT_MADE, Code.PATH_TORN, Code.DRILL_CLEANUP)


@attrs.define(eq=False)
class Lessons:
    """Collects findings; the outcome only ever gets worse."""

    run: str
    emit: Observer
    outcome: Outcome = Outcome.PROVED
    findings: list[Finding] = attrs.field(factory=list)
    findings_total: int = 0

    def conclude(self, outcome: Outcome) -> None:
        """Failed outweighs could not check, and that outweighs proved."""
        self.outcome = max(self.outcome, outcome, key=_ORDER.index)

    def note(
        self, code: Code, what: str, *, action: str = "", subject: str = "", outcome: Outcome = Outcome.PROVED
    ) -> None:
        """A finding of the drill's own, and what it means for the outcome."""
        self.conclude(outcome)
        severity = Severity.ERROR if outcome is Outcome.FAILED else Severity.WARNING
        finding = Finding(code=code, severity=severity, what=what, action=action, subject=subject)
        self.keep([finding])
        self.emit(FindingRaised(run=self.run, finding=finding))

    def keep(self, findings: list[Finding], *, total: int | None = None) -> None:
        """Findings that were told before; `total` where there were more."""
        self.findings_total += len(findings) if total is None else total
        self.findings += findings[: max(0, _FINDINGS_KEPT - len(self.findings))]

    def learn(self, problem: SafeBackupError) -> None:
        """Damage is a failure; whatever else goes wrong leaves open what is true."""
        outcome = Outcome.FAILED if isinstance(problem, IntegrityError) else Outcome.COULD_NOT_CHECK
        self.note(problem.code, problem.message, action=problem.hint, outcome=outcome)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Learn from what goes wrong in the block, and go on after it; bugs and refusals are raised."""
        try:
            yield
        except (InternalError, RefusedError):
            raise
        except SafeBackupError as problem:
            self.learn(problem)
        except OSError as error:
            self.learn(StorageError.from_os("the drill", error))

    @property
    def reason(self) -> str:
        """The first finding that speaks for the outcome."""
        severity = Severity.ERROR if self.outcome is Outcome.FAILED else Severity.WARNING
        found = [one.what for one in self.findings if one.severity is severity and one.code not in _ASIDE]
        return found[0].rstrip(".") if found else "its findings tell why"
