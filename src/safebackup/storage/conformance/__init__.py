"""Is this store what it must be? Checks that anybody can run against a place of their own."""

from safebackup.storage.capabilities import Capabilities
from safebackup.storage.conformance.checking import CHECKS, check_store, run_checks
from safebackup.storage.conformance.probing import probe_store
from safebackup.storage.conformance.report import CheckResult, ConformanceReport, Outcome, ProbeReport

__all__ = [
    "CHECKS",
    "Capabilities",
    "CheckResult",
    "ConformanceReport",
    "Outcome",
    "ProbeReport",
    "check_store",
    "probe_store",
    "run_checks",
]
