"""back_up: read a source and publish a snapshot of it, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import attrs
import msgspec

from safebackup.backup.merging import ManifestBuilder, Previous
from safebackup.backup.metadata import Owners
from safebackup.backup.pipeline import Counts, Pipeline
from safebackup.backup.scanning import Scan
from safebackup.backup.source import AnyPath, Source, source_of
from safebackup.errors import Code, ConfigurationError, ConflictError, RefusedError, SafeBackupError
from safebackup.events import (
    FindingRaised,
    NoProgress,
    Observer,
    Progress,
    RunFinished,
    RunStarted,
    ignore,
    logged,
    logger,
)
from safebackup.findings import Finding, Severity, is_text, printable
from safebackup.format.compressing import LEVEL_DEFAULT
from safebackup.format.records import FindingRow, SnapshotBody
from safebackup.repository import Repository, Snapshot
from safebackup.repository.adopting import adopt_packs
from safebackup.repository.committing import (
    ChunksLostError,
    Run,
    Trees,
    announce,
    commit,
    journal_body,
    write_journal,
)
from safebackup.repository.history import ADOPTED
from safebackup.repository.manifests import Manifests
from safebackup.repository.repository import bind
from safebackup.repository.runtime import SOFTWARE
from safebackup.repository.tidying import tidy
from safebackup.repository.writing import Writer, worker_count

FINDINGS_KEPT = 1000
_PASSES_MAX = 5


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
class _Findings:
    """Collects findings, at most so many of them, and passes each on."""

    observer: Observer
    run: str
    kept: list[Finding] = attrs.field(factory=list)
    total: int = 0
    missing: bool = False

    def add(self, finding: Finding) -> None:
        self.total += 1
        self.missing = self.missing or finding.severity is Severity.ERROR
        if len(self.kept) < FINDINGS_KEPT:
            self.kept.append(finding)
        self.observer(FindingRaised(run=self.run, finding=finding))


def back_up(
    source: Source | AnyPath | Iterable[AnyPath],
    *,
    into: Repository,
    tags: Iterable[str] = (),
    parent: Snapshot | Literal["latest"] | None = "latest",
    level: int = LEVEL_DEFAULT,
    workers: int | None = None,
    callback: Progress | None = None,
    observer: Observer = ignore,
) -> BackupReport:
    """Store the source as it is now; files that have not changed since `parent` are not read.

    The snapshot appears at the end, or not at all. What an interrupted run has stored is found again by the next.
    `callback` follows fsspec's convention and counts bytes of content; `level` is zstd's, 1 to 19.

    Raises:
        NotFoundError, RefusedError: the source does not exist, or is empty (`Code.EMPTY_SOURCE`).
        StorageError: the store failed; nothing was published, unless it failed for good at the very put of the
            snapshot: then the snapshot may be there, whole.
        ConflictError: the run slept so long that it was declared dead; nothing of it counts.
    """
    wanted = source_of(source)
    if not isinstance(into, Repository):
        raise ConfigurationError(
            f"into={into!r} is no repository", hint="Open one first: Repository.open(url, key=…), or create it."
        )
    workers, tags, level = worker_count(workers), _require_tags(tags), _require_level(level)
    _refuse_own_repository(wanted, into)
    clock = into.runtime.clock
    began = clock.monotonic()
    run = Run.start(into)
    observer = logged(observer)
    observer(RunStarted(run=run.label, verb="backup", subject=wanted.name))
    backup = _Backup(
        run=run,
        source=wanted,
        parent=_parent(run, wanted, parent),
        tags=tags,
        level=level,
        workers=workers,
        callback=callback or NoProgress(),
        observer=observer,
    )
    try:
        report = backup.perform(began)
    except BaseException as error:
        observer(RunFinished(run=run.label, verb="backup", outcome="failed", seconds=clock.monotonic() - began))
        if isinstance(error, SafeBackupError):
            _note_failure(run, error)
        raise
    outcome = "complete" if report.complete else "incomplete"
    observer(RunFinished(run=run.label, verb="backup", outcome=outcome, seconds=report.seconds))
    return report


@attrs.define(kw_only=True)
class _Backup:
    run: Run
    source: Source
    parent: tuple[str, SnapshotBody] | None
    tags: tuple[str, ...]
    level: int
    workers: int
    callback: Progress
    observer: Observer

    def perform(self, began: float) -> BackupReport:
        run = self.run
        repository = run.repository
        writer = Writer(
            repository.store,
            repository.identity,
            run.index,
            repository.runtime,
            level=self.level,
            workers=self.workers,
            observer=self.observer,
            run=run.label,
            on_large=lambda: announce(run),
        )
        interrupted = run.history.interrupted
        if self.parent is None or interrupted:
            # What a run before this one stored and never published is found again, so that it is not stored twice.
            adopt_packs(repository.store, repository.identity, run.index)
        lost: frozenset[bytes] = frozenset()
        try:
            for _ in range(_PASSES_MAX):
                findings = _Findings(self.observer, run.label)
                stored = self._store(writer, findings, lost)
                try:
                    name, body = self._publish(writer, stored, findings)
                    break
                except ChunksLostError as gone:
                    # A deletion took what the parent shared with this run: those files are read again.
                    lost |= gone.ids
            else:
                raise ConflictError(
                    "what this run needs kept being deleted",
                    code=Code.RUN_DECLARED_DEAD,
                    hint="Wait until other processes are done with the repository; then run the backup again.",
                )
            self._conclude(writer, name, body, interrupted)
        finally:
            writer.close()
        return BackupReport(
            snapshot=bind(repository, name, body, run.history),
            complete=body.complete,
            findings=tuple(findings.kept),
            findings_total=findings.total,
            excluded=stored.excluded,
            files_new=stored.counts.files_new,
            files_changed=stored.counts.files_changed,
            files_unchanged=stored.counts.files_unchanged,
            entries_removed=stored.removed,
            read_bytes=stored.counts.read_bytes,
            stored_bytes=writer.stored_bytes,
            stored_objects=writer.stored_objects,
            seconds=repository.runtime.clock.monotonic() - began,
        )

    def _store(self, writer: Writer, findings: _Findings, lost: frozenset[bytes]) -> _Stored:
        run = self.run
        previous = Previous(Manifests(run.reader), self.parent[1] if self.parent else None)
        if self.parent:
            self.callback.set_size(self.parent[1].content_bytes)
        builder = ManifestBuilder(writer, Owners(), lost=lost)
        pipeline = Pipeline(
            writer,
            builder,
            previous,
            chunker=run.repository.chunker,
            evidence=self.source.evidence,
            clock=run.repository.runtime.clock,
            report=findings.add,
            callback=self.callback,
            lost=lost,
        )
        scan = Scan(self.source)
        for found in scan:
            pipeline.add(found)
        pipeline.finish()
        previous.finish()
        if scan.excluded and not pipeline.counts.files and not self.source.allow_empty:
            raise RefusedError(
                f"the rules leave no file of {self.source.name}: {scan.excluded}; nothing was published",
                code=Code.EMPTY_SOURCE,
                hint="Look at exclude and include; if no file is what you mean, say so with allow_empty=True.",
            )
        for finding in scan.findings:
            findings.add(finding)
        for problem in previous.problems:
            findings.add(_parent_damaged(problem))
        return _Stored(
            trees=builder.finish(),
            counts=pipeline.counts,
            excluded={printable(os.fsencode(rule)): count for rule, count in scan.excluded.items()},
            removed=previous.removed,
            complete=scan.complete and not findings.missing,
            roots=tuple((root.name, root.path) for root in self.source.roots()),
        )

    def _publish(self, writer: Writer, stored: _Stored, findings: _Findings) -> tuple[str, SnapshotBody]:
        run = self.run
        repository = run.repository
        bodies: list[SnapshotBody] = []

        def describe(avoids: bytes, configurations: tuple[str, ...]) -> SnapshotBody:
            bodies.append(
                SnapshotBody(
                    run=run.id,
                    sequence=run.history.next_sequence,
                    parents=(self.parent[0],) if self.parent else (),
                    source=self.source.name,
                    host=repository.runtime.host,
                    roots=stored.roots,
                    started=run.started,
                    finished=repository.runtime.clock.now(),
                    zone="",
                    order="components",
                    manifest=stored.trees.manifest,
                    evidence=stored.trees.evidence,
                    evidence_kind=str(self.source.evidence),
                    entries=stored.counts.entries,
                    files=stored.counts.files,
                    content_bytes=stored.counts.content_bytes,
                    complete=stored.complete,
                    excluded=stored.excluded,
                    findings=rows_of(findings.kept),
                    findings_total=findings.total,
                    avoids=avoids,
                    heads=run.heads,
                    configurations=configurations,
                    software=SOFTWARE,
                    tags=self.tags,
                )
            )
            return bodies[-1]

        parent = self.parent[1] if self.parent else None
        name = commit(run, writer, stored.trees, describe, parent=parent, observer=self.observer)
        return name, bodies[-1]

    def _conclude(self, writer: Writer, name: str, body: SnapshotBody, interrupted: frozenset[bytes]) -> None:
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
        if interrupted:
            facts[ADOPTED] = " ".join(sorted(run.hex() for run in interrupted))
        try:
            write_journal(run.repository, msgspec.structs.replace(record, snapshots=(name,), facts=facts))
            tidy(run, writer)
        except SafeBackupError as problem:
            logger.warning("the snapshot is published, its journal record is not: %s", problem)


@attrs.frozen(kw_only=True)
class _Stored:
    """A source that is wholly in the repository, not yet published."""

    trees: Trees
    counts: Counts
    excluded: dict[str, int]
    removed: int
    complete: bool
    roots: tuple[tuple[bytes, bytes], ...]


def _require_level(level: object) -> int:
    if not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= 19:
        raise ConfigurationError(f"level={level!r} is no zstd level", hint="Give 1 to 19; 3 is the default.")
    return level


def _require_tags(tags: object) -> tuple[str, ...]:
    found = tuple(tags) if isinstance(tags, Iterable) and not isinstance(tags, str | bytes) else None
    if found is None or not all(isinstance(tag, str) and is_text(tag) for tag in found):
        raise ConfigurationError(f"tags={tags!r} is no list of texts", hint='For example tags=["before-upgrade"].')
    return found


def rows_of(findings: Iterable[Finding]) -> tuple[FindingRow, ...]:
    """Findings in the form in which records keep them."""
    return tuple(
        FindingRow(str(finding.code), str(finding.severity), finding.what, finding.subject) for finding in findings
    )


def _note_failure(run: Run, error: SafeBackupError) -> None:
    """Leave a word in the journal, if the store still takes one; the error itself goes on to the caller."""
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


def _parent(run: Run, source: Source, parent: Snapshot | str | None) -> tuple[str, SnapshotBody] | None:
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
    roots = tuple((root.name, root.path) for root in source.roots())
    candidates = [
        (body.sequence, name)
        for name, body in snapshots.items()
        if body.source == source.name and body.host == run.repository.runtime.host and body.roots == roots
    ]
    if not candidates:
        return None
    name = max(candidates)[1]
    return name, snapshots[name]


def _parent_damaged(problem: SafeBackupError) -> Finding:
    return Finding(
        code=problem.code,
        severity=Severity.WARNING,
        what=f"the last snapshot could not be read in part, so those files were read again: {problem.message}",
        action='Run verify(repository, level="full"): earlier snapshots have lost files.',
    )


def _refuse_own_repository(source: Source, repository: Repository) -> None:
    scheme, _, path = repository.url.partition("://")
    local = repository.url if not path else path if scheme in ("file", "local") else ""
    roots = [os.path.realpath(root.path) for root in source.roots()]
    home = os.fsencode(os.path.realpath(local)) if local else b""
    if local and any(root == home or root.startswith(home + b"/") for root in roots):
        raise RefusedError(
            f"the source {printable(roots[0])} lies inside of the repository {repository.url}",
            code=Code.REPOSITORY_IN_SOURCE,
            hint="Name what you want to protect; a repository is not backed up into itself.",
        )
    if local and source.contains(local):
        raise RefusedError(
            f"the repository {repository.url} lies inside of the source {printable(source.roots()[0].path)}",
            code=Code.REPOSITORY_IN_SOURCE,
            hint="Keep the repository elsewhere, best on another disk, or exclude its folder.",
        )
