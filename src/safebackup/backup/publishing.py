"""Publishing: what every backup does around its content, wherever that comes from.

A `Publication` begins a run, holds its writer, publishes the snapshot as the last step, and notes in the journal how
it ended. `back_up` fills it from a scan of paths, `SnapshotWriter` from what it is given piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self, TypeAlias

import attrs
import msgspec

from safebackup.backup.pipeline import Counts
from safebackup.emergency import ensure_emergency, noted
from safebackup.errors import Code, ConfigurationError, RefusedError, SafeBackupError
from safebackup.events import FindingRaised, Observer, RunFinished, RunStarted, logged, logger
from safebackup.findings import Finding, Severity, is_text
from safebackup.format.records import FindingRow, SnapshotBody
from safebackup.repository import Repository, Snapshot
from safebackup.repository.adopting import adopt_packs
from safebackup.repository.committing import Run, Trees, announce, commit, journal_body, write_journal
from safebackup.repository.history import ADOPTED
from safebackup.repository.repository import bind
from safebackup.repository.requesting import both
from safebackup.repository.runtime import SOFTWARE
from safebackup.repository.store_tests import store_findings
from safebackup.repository.tidying import tidy
from safebackup.repository.writing import Writer

FINDINGS_KEPT = 1000
_RULES_SHOWN = 3
Roots: TypeAlias = tuple[tuple[bytes, bytes], ...]  # name in the manifest, path on the host
ParentChoice: TypeAlias = Snapshot | Literal["latest"] | None
_Parent: TypeAlias = tuple[str, SnapshotBody]


@attrs.frozen(kw_only=True)
class BackupReport:
    """What a backup did. `complete` is false if some expected path is missing from the snapshot (I10).

    `findings` holds at most 1,000 of `findings_total`; `excluded` tells how many paths each rule left out.
    """

    snapshot: Snapshot
    complete: bool
    findings: tuple[Finding, ...]
    findings_total: int
    excluded: dict[str, int]
    files_new: int
    files_changed: int
    files_unchanged: int
    entries_removed: int
    read_bytes: int
    stored_bytes: int
    stored_objects: int
    seconds: float


@attrs.define
class Findings:
    """Collects findings, at most so many of them, and passes each on."""

    observer: Observer
    run: str
    kept: list[Finding] = attrs.field(factory=list)
    total: int = 0
    missing: bool = False

    def add(self, finding: Finding) -> None:
        """The next finding."""
        self.total += 1
        self.missing = self.missing or finding.severity is Severity.ERROR
        if len(self.kept) < FINDINGS_KEPT:
            self.kept.append(finding)
        self.observer(FindingRaised(run=self.run, finding=finding))


@attrs.frozen(kw_only=True)
class Stored:
    """Content that is wholly in the repository, not yet published."""

    trees: Trees
    counts: Counts
    excluded: dict[str, int]
    removed: int
    complete: bool
    roots: Roots


@attrs.define(kw_only=True, eq=False)
class Publication:
    """One backup on its way to a snapshot; use it in a `with` statement, which notes how it ended."""

    run: Run
    writer: Writer
    source: str
    tags: tuple[str, ...]
    evidence: str
    parent: _Parent | None
    observer: Observer
    began: float
    findings: Findings

    @classmethod
    def begin(
        cls,
        into: Repository,
        *,
        source: str,
        evidence: str,
        roots: Roots | None,
        parent: ParentChoice,
        tags: tuple[str, ...],
        level: int,
        workers: int,
        observer: Observer,
    ) -> Self:
        """Begin a run. `roots` are those that the parent must have had; None lets any of the same source be it.

        Raises:
            ConfigurationError: the parent is none of this repository, or writing to it takes a newer release.
        """
        began = into.runtime.clock.monotonic()
        run = Run.start(into)
        chosen = _parent(run, source, roots, parent)
        observer = logged(observer)
        observer(RunStarted(run=run.label, verb="backup", subject=source))
        writer = Writer(
            into.store,
            into.identity,
            run.index,
            into.runtime,
            level=level,
            workers=workers,
            observer=observer,
            run=run.label,
            on_large=lambda: announce(run),
        )
        return cls(
            run=run,
            writer=writer,
            source=source,
            tags=tags,
            evidence=evidence,
            parent=chosen,
            observer=observer,
            began=began,
            findings=Findings(observer, run.label),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                self._fail(error)
        finally:
            self.writer.close()

    def adopt(self) -> None:
        """Find again what a run before this one stored and never published, so that it is not stored twice."""
        if self.parent is None or self.run.history.interrupted:
            repository = self.run.repository
            adopt_packs(repository.store, repository.identity, self.run.index)

    def publish(self, stored: Stored, *, reused: bool) -> BackupReport:
        """Publish the snapshot. `reused`: something of it was taken over from the parent without being read.

        Raises:
            ChunksLostError: a deletion took what it needs; nothing was published, and it may be stored again.
            ConflictError, StorageError: as for `commit`.
        """
        run = self.run
        repository = run.repository
        bodies: list[SnapshotBody] = []

        def describe(avoids: bytes, configurations: tuple[str, ...]) -> SnapshotBody:
            # Now all content is stored, so that the store has shown what it can do here.
            for finding in () if bodies else store_findings(run.history, repository.store):
                self.findings.add(finding)
            bodies.append(self._body(stored, avoids, configurations))
            return bodies[-1]

        parent = self.parent[1] if self.parent and reused else None
        name = commit(run, self.writer, stored.trees, describe, parent=parent, observer=self.observer)
        body = bodies[-1]
        self._conclude(name, body)
        counts = stored.counts
        report = BackupReport(
            snapshot=bind(repository, name, body, run.history),
            complete=body.complete,
            findings=tuple(self.findings.kept),
            findings_total=self.findings.total,
            excluded=stored.excluded,
            files_new=counts.files_new,
            files_changed=counts.files_changed,
            files_unchanged=counts.files_unchanged,
            entries_removed=stored.removed,
            read_bytes=counts.read_bytes,
            stored_bytes=self.writer.stored_bytes,
            stored_objects=self.writer.stored_objects,
            seconds=self._seconds(),
        )
        outcome = "complete" if report.complete else "incomplete"
        self.observer(RunFinished(run=run.label, verb="backup", outcome=outcome, seconds=report.seconds))
        return report

    def _fail(self, error: BaseException) -> None:
        # Nothing was published; a word of it goes into the journal if the store still takes one.
        self.observer(RunFinished(run=self.run.label, verb="backup", outcome="failed", seconds=self._seconds()))
        if not isinstance(error, SafeBackupError):
            return
        run = self.run
        record = journal_body(
            run.repository,
            run=run.id,
            kind="backup",
            outcome=f"failed: {error.code}",
            started=run.started,
            heads=run.heads,
        )
        try:
            write_journal(run.repository, record)
        except SafeBackupError as problem:
            logger.warning("the failure could not be noted in the journal: %s", problem)

    def _seconds(self) -> float:
        return self.run.repository.runtime.clock.monotonic() - self.began

    def _body(self, stored: Stored, avoids: bytes, configurations: tuple[str, ...]) -> SnapshotBody:
        run = self.run
        runtime = run.repository.runtime
        return SnapshotBody(
            run=run.id,
            sequence=run.history.next_sequence,
            parents=(self.parent[0],) if self.parent else (),
            source=self.source,
            host=runtime.host,
            roots=stored.roots,
            started=run.started,
            finished=runtime.clock.now(),
            zone="",
            order="components",
            manifest=stored.trees.manifest,
            evidence=stored.trees.evidence,
            evidence_kind=self.evidence,
            entries=stored.counts.entries,
            files=stored.counts.files,
            content_bytes=stored.counts.content_bytes,
            complete=stored.complete,
            excluded=stored.excluded,
            findings=rows_of(self.findings.kept),
            findings_total=self.findings.total,
            avoids=avoids,
            heads=run.heads,
            configurations=configurations,
            software=SOFTWARE,
            tags=self.tags,
        )

    def _conclude(self, name: str, body: SnapshotBody) -> None:
        # The snapshot is published: from here on nothing may turn success into failure.
        run = self.run
        outcome = "complete" if body.complete else "incomplete"
        record = journal_body(
            run.repository,
            run=run.id,
            kind="backup",
            outcome=outcome,
            started=run.started,
            heads=run.heads,
        )
        facts: dict[str, str | int | bool] = {}
        if interrupted := run.history.interrupted:
            facts[ADOPTED] = " ".join(sorted(one.hex() for one in interrupted))
        record = msgspec.structs.replace(record, snapshots=(name,), facts=facts)

        def conclude() -> None:
            try:
                noted_as = write_journal(run.repository, record)
                tidy(run, self.writer, snapshots={name: body}, journal={noted_as: record})
            except SafeBackupError as problem:
                logger.warning("the snapshot is published, its journal record is not: %s", problem)

        def put_beside() -> None:
            with noted("the snapshot is published"):
                ensure_emergency(run.repository.store)

        both(run.repository.store, conclude, put_beside)  # neither needs the other, and no snapshot rests on them


def require_files(name: str, excluded: dict[str, int], files: int, *, allow_empty: bool) -> None:
    """Refuse rules that leave no file of a source.

    Raises:
        RefusedError: they do, and the source does not allow it.
    """
    if excluded and not files and not allow_empty:
        raise RefusedError(
            f"the rules leave no file of {name}, as they left out {_left_out(excluded)}; nothing was published",
            code=Code.EMPTY_SOURCE,
            hint="Look at exclude and include; if no file is what you mean, say so with allow_empty=True.",
        )


def _left_out(excluded: dict[str, int]) -> str:
    most = sorted(excluded.items(), key=lambda rule: -rule[1])
    shown = [f"{paths:,} {'path' if paths == 1 else 'paths'} ({rule})" for rule, paths in most[:_RULES_SHOWN]]
    others = len(most) - len(shown)
    if others:
        shown.append(f"and more by {others} other {'rule' if others == 1 else 'rules'}")
    return ", ".join(shown)


def require_level(level: object) -> int:
    """`level`, if it is one of zstd's from 1 to 19."""
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= 19:
        raise ConfigurationError(f"level={level!r} is no zstd level", hint="Give 1 to 19; 3 is the default.")
    return level


def require_tags(tags: object) -> tuple[str, ...]:
    """`tags`, if they are texts."""
    found = tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str | bytes) else None
    if found is None or not all(isinstance(tag, str) and is_text(tag) for tag in found):
        raise ConfigurationError(f"tags={tags!r} is no list of texts", hint='For example tags=["before-upgrade"].')
    return found


def rows_of(findings: Iterable[Finding]) -> tuple[FindingRow, ...]:
    """Findings in the form in which records keep them."""
    return tuple(
        FindingRow(str(finding.code), str(finding.severity), finding.what, finding.subject) for finding in findings
    )


def _parent(run: Run, source: str, roots: Roots | None, parent: object) -> _Parent | None:
    """The snapshot to compare with: the newest of the same source on the same host."""
    if parent is None:
        return None
    snapshots = run.history.snapshots
    if isinstance(parent, Snapshot):
        if parent.name not in snapshots:
            raise ConfigurationError(
                f"the parent {parent.id[:12]} is no snapshot of this repository",
                hint="Give a snapshot of the repository that you back up into, or leave parent out.",
            )
        return parent.name, snapshots[parent.name]
    if parent != "latest":
        raise ConfigurationError(f"parent={parent!r}", hint='Give a Snapshot, "latest" or None.')
    host = run.repository.runtime.host
    candidates = [
        (body.sequence, name)
        for name, body in snapshots.items()
        if body.source == source and body.host == host and roots in (None, body.roots)
    ]
    if not candidates:
        return None
    name = max(candidates)[1]
    return name, snapshots[name]
