"""back_up: read a source and publish a snapshot of it, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing

from safebackup.backup.merging import ManifestBuilder, Previous
from safebackup.backup.metadata import Owners
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
from safebackup.backup.snapshot_writer import SnapshotWriter
from safebackup.backup.source import AnyPath, AnySource, source_of
from safebackup.backup.streams import CommandSource, StreamSource
from safebackup.backup.trees import Tree, reached
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
    source: AnySource | AnyPath | Iterable[AnyPath],
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

    A URL is read as a folder (`Source.url`), a stream or a command (`Source.stream`, `Source.command`) to its end; if
    that fails, nothing is published.

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
    if isinstance(wanted, StreamSource | CommandSource):
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
    with reached(wanted, into) as tree:
        publication = Publication.begin(
            into,
            source=tree.name,
            evidence=tree.evidence,
            roots=tree.roots,
            parent=parent,
            tags=tags,
            level=level,
            workers=workers,
            observer=observer,
        )
        with publication:
            publication.adopt()
            return _store_and_publish(publication, tree, callback or NoProgress())


def _store_and_publish(publication: Publication, tree: Tree, callback: Progress) -> BackupReport:
    lost: frozenset[bytes] = frozenset()
    for _ in range(_PASSES_MAX):
        publication.findings = Findings(publication.observer, publication.run.label)
        stored = _store(publication, tree, callback, lost)
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


def _store(publication: Publication, tree: Tree, callback: Progress, lost: frozenset[bytes]) -> Stored:
    run, findings = publication.run, publication.findings
    parent = publication.parent[1] if publication.parent else None
    if parent:
        callback.set_size(parent.content_bytes)
    builder = ManifestBuilder(publication.writer, Owners(), lost=lost)
    with (
        closing(Previous(Manifests(run.reader), parent)) as previous,
        tree.begin(publication, builder, previous, callback, lost) as begun,
    ):
        scan, pipeline = begun.scan, begun.pipeline
        told = 0
        for found in scan:
            pipeline.add(found, scan.is_in_place)
            if pipeline.counts.files - told >= FILES_PER_COUNT:
                told = pipeline.counts.files
                publication.observer(FilesCounted(run=run.label, files=told))
        pipeline.finish()
        previous.finish()
    require_files(tree.name, scan.excluded, pipeline.counts.files, allow_empty=tree.allow_empty)
    publication.evidence = tree.evidence
    for finding in (*scan.findings, *tree.remarks(), *map(_parent_damaged, previous.problems)):
        findings.add(finding)
    return Stored(
        trees=builder.finish(),
        counts=pipeline.counts,
        excluded={printable(os.fsencode(rule)): count for rule, count in scan.excluded.items()},
        removed=previous.removed,
        complete=scan.complete and not findings.missing,
        roots=tree.roots,
    )


def _parent_damaged(problem: IntegrityError) -> Finding:
    return Finding(
        code=problem.code,
        severity=Severity.WARNING,
        what=f"the last snapshot could not be read in part, so those files were read again: {problem.message}",
        action='Run verify(repository, level="full"): earlier snapshots have lost files.',
    )
