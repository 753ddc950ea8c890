"""What records say against each other: gaps in the history, copies that differ, objects of nobody; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.format.header import is_object_name
from safebackup.repository.history import History
from safebackup.storage import ObjectInfo
from safebackup.storage.names import is_emergency_name


def gaps(history: History) -> Iterator[Finding]:
    """Records that others speak of and that are not there."""
    for name in sorted(history.lost_snapshots):
        yield Finding(
            code=Code.BROKEN_HISTORY,
            severity=Severity.ERROR,
            what=f"{name} was published, was not removed by plan, and is not there",
            action="Somebody or something deleted it: bring it back from a copy of the repository.",
            subject=name,
        )
    for name in sorted(history.missing):
        yield Finding(
            code=Code.BROKEN_HISTORY,
            severity=Severity.ERROR,
            what=f"{name} is named by later records of the journal and is not there",
            action="Somebody or something deleted it: compare with a copy of the repository.",
            subject=name,
        )


def void_snapshots(history: History) -> Iterator[Finding]:
    """Snapshots of runs that were declared dead."""
    for name in sorted(history.void):
        yield Finding(
            code=Code.RUN_IS_DEAD,
            severity=Severity.INFO,
            what=f"{name} belongs to a run that was declared dead; it does not count",
            subject=name,
        )


def differing_copies(history: History) -> Iterator[Finding]:
    """Catalogues that say of a record what the record itself does not say."""
    for name, body in sorted(history.catalogues.items()):
        wrong = [
            record
            for record, copy in (*body.snapshots.items(), *body.journal.items())
            if record in history.raw and bytes(copy) != bytes(history.raw[record])
        ]
        if wrong:
            yield Finding(
                code=Code.DAMAGED_OBJECT,
                severity=Severity.ERROR,
                what=f"{name} has another copy of {wrong[0]} than the object itself; {len(wrong)} copies differ",
                action="Somebody who has the key wrote it: do not trust this repository; use a copy of the repository.",
                subject=name,
            )


def strangers(objects: Iterable[ObjectInfo]) -> Iterator[Finding]:
    """Objects that are nothing of safebackup's."""
    for info in objects:
        if not is_object_name(info.name) and not is_emergency_name(info.name):
            yield Finding(
                code=Code.UNKNOWN_OBJECT,
                severity=Severity.INFO,
                what=f"{info.name} is nothing of safebackup's",
                action="Keep other data elsewhere.",
                subject=info.name,
            )
