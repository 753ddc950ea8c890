"""back_up: read a source and publish a snapshot of it, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable

from safebackup.backup.merging import ManifestBuilder, Previous
from safebackup.backup.metadata import Owners
from safebackup.backup.own_repository import refuse_own_repository
from safebackup.backup.pipeline import Pipeline
from safebackup.backup.publishing import (
    BackupReport,
    Findings,
    ParentChoice,
    Publication,
    Stored,
    require_files,
    require_level,
    require_tags,
)
from safebackup.backup.scanning import Scan
from safebackup.backup.snapshot_writer import SnapshotWriter
from safebackup.backup.source import AnyPath, Source, source_of
from safebackup.backup.streams import AnyStream, StreamSource
from safebackup.errors import Code, ConfigurationError, ConflictError, IntegrityError
from safebackup.events import FILES_PER_COUNT, FilesCounted, NoProgress, Observer, Progress, ignore
from safebackup.findings import Finding, Severity, printable
from safebackup.format.compressing import LEVEL_DEFAULT
from safebackup.repository import Repository
from safebackup.repository.committing import ChunksLostError
from safebackup.repository.manifests import Manifests
from safebackup.repository.writing import worker_count

_PASSES_MAX = 5


def back_up(
    source: Source | AnyStream | AnyPath | Iterable[AnyPath],
    *,
    into: Repository,
    tags: Iterable[str] = (),
    parent: ParentChoice = "latest",
    level: int = LEVEL_DEFAULT,
    workers: int | None = None,
    callback: Progress | None = None,
    observer: Observer = ignore,
) -> BackupReport:
    """Store the source as it is now; files that have not changed since `parent` are not read.

    A stream or a command (`Source.stream`, `Source.command`) is read to its end; if it fails, nothing is published.

    The snapshot appears at the end, or not at all. What an interrupted run has stored is found again by the next.
    `callback` follows fsspec's convention and counts bytes of content; `level` is zstd's, 1 to 19.

    Raises:
        NotFoundError, RefusedError: the source does not exist, or is empty (`Code.EMPTY_SOURCE`).
        CommandError: a command that was to give the content failed; nothing was published.
        StorageError: the store failed; nothing was published, unless it failed for good at the very put of the
            snapshot: then the snapshot may be there, whole.
        ConflictError: the run slept so long that it was declared dead; nothing of it counts.
    """
    wanted = source_of(source)
    if not isinstance(into, Repository):
        raise ConfigurationError(
            f"into={into!r} is no repository", hint="Open one first: Repository.open(url, key=…), or create it."
        )
    workers, tags, level = worker_count(workers), require_tags(tags), require_level(level)
    if not isinstance(wanted, Source):
        with SnapshotWriter(
            into,
            source=wanted.name,
            tags=tags,
            parent=parent,
            level=level,
            workers=workers,
            callback=callback,
            observer=observer,
        ) as snapshot_writer:
            if isinstance(wanted, StreamSource):
                snapshot_writer.write(wanted.file, wanted.stream, allow_empty=wanted.allow_empty)
            else:
                snapshot_writer.command(
                    wanted.file, *wanted.commands, deadline=wanted.deadline, allow_empty=wanted.allow_empty
                )
        assert snapshot_writer.report is not None
        return snapshot_writer.report
    refuse_own_repository(wanted, into)
    publication = Publication.begin(
        into,
        source=wanted.name,
        evidence=str(wanted.evidence),
        roots=tuple((root.name, root.path) for root in wanted.roots()),
        parent=parent,
        tags=tags,
        level=level,
        workers=workers,
        observer=observer,
    )
    with publication:
        publication.adopt()
        return _store_and_publish(publication, wanted, callback or NoProgress())


def _store_and_publish(publication: Publication, source: Source, callback: Progress) -> BackupReport:
    lost: frozenset[bytes] = frozenset()
    for _ in range(_PASSES_MAX):
        publication.findings = Findings(publication.observer, publication.run.label)
        stored = _store(publication, source, callback, lost)
        try:
            return publication.publish(stored, reused=True)
        except ChunksLostError as gone:
            # A deletion took what the parent shared with this run: those files are read again.
            lost |= gone.ids
    raise ConflictError(
        "what this run needs kept being deleted",
        code=Code.RUN_DECLARED_DEAD,
        hint="Wait until other processes are done with the repository; then run the backup again.",
    )


def _store(publication: Publication, source: Source, callback: Progress, lost: frozenset[bytes]) -> Stored:
    run, writer, findings = publication.run, publication.writer, publication.findings
    parent = publication.parent[1] if publication.parent else None
    previous = Previous(Manifests(run.reader), parent)
    if parent:
        callback.set_size(parent.content_bytes)
    builder = ManifestBuilder(writer, Owners(), lost=lost)
    pipeline = Pipeline(
        writer,
        builder,
        previous,
        chunker=run.repository.chunker,
        evidence=source.evidence,
        clock=run.repository.runtime.clock,
        report=findings.add,
        callback=callback,
        lost=lost,
    )
    scan = Scan(source)
    told = 0
    for found in scan:
        pipeline.add(found, scan.is_in_place)
        if pipeline.counts.files - told >= FILES_PER_COUNT:
            told = pipeline.counts.files
            publication.observer(FilesCounted(run=run.label, files=told))
    pipeline.finish()
    previous.finish()
    require_files(source, scan, pipeline.counts.files)
    for finding in scan.findings:
        findings.add(finding)
    for problem in previous.problems:
        findings.add(_parent_damaged(problem))
    return Stored(
        trees=builder.finish(),
        counts=pipeline.counts,
        excluded={printable(os.fsencode(rule)): count for rule, count in scan.excluded.items()},
        removed=previous.removed,
        complete=scan.complete and not findings.missing,
        roots=tuple((root.name, root.path) for root in source.roots()),
    )


def _parent_damaged(problem: IntegrityError) -> Finding:
    return Finding(
        code=problem.code,
        severity=Severity.WARNING,
        what=f"the last snapshot could not be read in part, so those files were read again: {problem.message}",
        action='Run verify(repository, level="full"): earlier snapshots have lost files.',
    )
