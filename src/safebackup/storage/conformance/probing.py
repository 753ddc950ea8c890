"""What could be done with a credential: tried for real, on an object made for that, and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.errors import Code, NotFoundError, SafeBackupError, StorageError
from safebackup.findings import Finding, Severity
from safebackup.storage.capabilities import kind_of
from safebackup.storage.conformance.checking import left_behind
from safebackup.storage.conformance.objects import GOOD_NAMES
from safebackup.storage.conformance.reaching import DRIFT_SECONDS_MAX, drifting, measured_drift
from safebackup.storage.conformance.report import ProbeReport
from safebackup.storage.conformance.subject import Address, Subject, letting_go, subject_at
from safebackup.storage.conformance.sweeping import sweep
from safebackup.storage.conformance.thieving import keeps_versions, overwritten, read_by_anyone
from safebackup.storage.conformance.trial import told
from safebackup.storage.store import DeleteStore

_CLEANING_SECONDS = 20.0
_HOW_TO = "Let the job have credentials that only append: docs/how-to/append-only-access.md"


def probe_store(
    url: str,
    *,
    storage_options: Mapping[str, object] | None = None,
    allow_unproven: bool = False,
    clock: Clock | None = None,
) -> ProbeReport:
    """Try what these credentials could do at `url`, on an object that is made for it in a folder of its own.

    What a job does not need and a thief of its credentials would use is a finding: deleting, overwriting, reading
    without any credential. What cannot be removed again is named in the report.

    Raises:
        ConfigurationError: this is no place that a repository can live in.
        StorageError: the place cannot be reached, or what every backup needs, to list, to store and to read, is not
            permitted.
    """
    address = Address(url=url, options=dict(storage_options or {}), allow_unproven=allow_unproven)
    clock = clock or SystemClock()
    subject = subject_at(address)
    store = subject.open()
    try:
        with letting_go(store):
            seen = _tried(subject, store, clock)
    finally:
        left = sweep(subject, _CLEANING_SECONDS, clock)
    report = ProbeReport(url=subject.url, kind=kind_of(store), left_behind=left, findings=(), **seen)
    return attrs.evolve(report, findings=tuple(_judged(report)))


def _tried(subject: Subject, store: DeleteStore, clock: Clock) -> dict[str, Any]:
    """Everything with one object, as perhaps it cannot be removed."""
    name = f"{subject.folder}probe/one"
    address = subject.address
    if address is None:
        store.put_new(name, b"one")
        drift = anyone = can_overwrite = versions = None
        can_delete = _deleted(store, name)
    else:
        drift = measured_drift(store, address, name, clock)
        anyone = read_by_anyone(address, name, store.get(name))
        can_overwrite = overwritten(address, store, name)
        can_delete = _deleted(store, name)
        versions = keeps_versions(address, name)
        can_delete = can_delete or not _is_there(store, name)  # some may remove versions, and nothing else
    return {
        "can_overwrite": can_overwrite,
        "can_delete": can_delete,
        "keeps_versions": versions,
        "read_by_anyone": anyone,
        "clock_drift_seconds": drift,
        "names_refused": _names_refused(subject, store) if can_delete else None,
    }


def _deleted(store: DeleteStore, name: str) -> bool:
    try:
        store.delete(name)
    except StorageError as error:
        if error.code is not Code.STORE_DENIED:
            raise
    return not _is_there(store, name)


def _is_there(store: DeleteStore, name: str) -> bool:
    try:
        store.get(name)
    except NotFoundError:
        return False
    return True


def _names_refused(subject: Subject, store: DeleteStore) -> tuple[str, ...]:
    refused = []
    for tail in GOOD_NAMES:
        name = f"{subject.folder}names/{tail}"
        try:
            store.put_new(name, tail.encode())
            if store.get(name) != tail.encode():
                refused.append(tail)
        except SafeBackupError as error:
            refused.append(f"{tail} ({told(error)})")
    return tuple(refused)


def _judged(report: ProbeReport) -> Iterator[Finding]:
    if report.can_delete:
        yield _finding(
            Code.CREDENTIAL_CAN_DELETE,
            "these credentials can delete: a thief of them could, too" + _until(report),
            _HOW_TO,
        )
    if report.can_overwrite:
        yield _finding(
            Code.CREDENTIAL_CAN_OVERWRITE,
            "these credentials can put something else in the place of what is there, and so could a thief of them"
            + _until(report),
            _HOW_TO,
        )
    if report.append_only:
        yield _finding(
            Code.CREDENTIAL_APPENDS_ONLY,
            "these credentials can add, and neither delete nor overwrite: just what a job needs",
            severity=Severity.INFO,
        )
    if report.read_by_anyone:
        yield _finding(
            Code.READABLE_BY_ANYONE,
            "what is stored here can be read by anybody, without credentials",
            "Take public access away from the bucket.",
        )
    if report.clock_drift_seconds is not None and abs(report.clock_drift_seconds) > DRIFT_SECONDS_MAX:
        yield drifting(report.clock_drift_seconds)
    if report.names_refused:
        yield _finding(
            Code.STORE_CHECK_FAILED,
            f"S6: names that every store has to take do not work: {', '.join(report.names_refused)}",
            "Keep no backups there.",
            severity=Severity.ERROR,
        )
    if report.left_behind:
        yield left_behind(report.left_behind)


def _until(report: ProbeReport) -> str:
    if report.keeps_versions:
        return "; the bucket keeps what was there before, which they cannot remove"
    return ""


def _finding(code: Code, what: str, action: str = "", *, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code=code, severity=severity, what=what, action=action)
