"""The guard: around any script, refuse to start it at the wrong moment, twice, or beside itself.

Needs a schedule and one small file or object for its state; no repository, no job, no daemon.
"""

from safebackup.guarding.checking import GuardReport, check_guard
from safebackup.guarding.permitting import Guard, Permit, StartRefusedError, guard
from safebackup.guarding.states import Refusal

__all__ = ["Guard", "GuardReport", "Permit", "Refusal", "StartRefusedError", "check_guard", "guard"]
