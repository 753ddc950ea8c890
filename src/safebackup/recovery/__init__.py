"""Getting data back, and proving that it can be got back."""

from safebackup.recovery.checks import Check, CheckResult, Outcome
from safebackup.recovery.drill_report import DrillReport, Phase
from safebackup.recovery.drilling import drill
from safebackup.recovery.owners import Owners
from safebackup.recovery.placing import Overwrite
from safebackup.recovery.restoring import RestoreReport, restore
from safebackup.recovery.verifying import Level, VerifyReport, verify

__all__ = [
    "Check",
    "CheckResult",
    "DrillReport",
    "Level",
    "Outcome",
    "Overwrite",
    "Owners",
    "Phase",
    "RestoreReport",
    "VerifyReport",
    "drill",
    "restore",
    "verify",
]
