"""Getting data back, and proving that it can be got back."""

from safebackup.recovery.owners import Owners
from safebackup.recovery.placing import Overwrite
from safebackup.recovery.restoring import RestoreReport, restore
from safebackup.recovery.verifying import Level, VerifyReport, verify

__all__ = ["Level", "Overwrite", "Owners", "RestoreReport", "VerifyReport", "restore", "verify"]
