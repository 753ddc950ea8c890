"""Tidying: merging what has become many, indexes and catalogues. Nothing is deleted, and no snapshot rests on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import groupby, islice

from safebackup.errors import IntegrityError, StorageError
from safebackup.events import logger
from safebackup.format.header import Kind
from safebackup.format.index import INDEX_ENTRIES_MAX, Entry, build_index, by_chunk
from safebackup.format.objects import StoredObject, build_record
from safebackup.format.records import CatalogueBody
from safebackup.repository.committing import Run
from safebackup.repository.tiering import due_merge
from safebackup.repository.writing import Writer

CATALOGUE_RECORDS_MIN = 64  # so many loose records make a catalogue worth its request
CATALOGUE_RECORDS_MAX = 16_384  # a catalogue that has reached this is left as it is


def tidy(run: Run, writer: Writer) -> None:
    """Merge indexes and catalogues where eight of a tier have come together."""
    try:
        _merge_indexes(run, writer)
        _merge_catalogues(run, writer)
    except (StorageError, IntegrityError) as problem:
        # The backup is published; the next run tries again.
        logger.warning("indexes or catalogues were not merged: %s", problem, extra={"run": run.label})


def _merge_indexes(run: Run, writer: Writer) -> None:
    index = run.index
    sizes = {name: loaded.table.entries for name, loaded in index.visible.items()}
    due = due_merge(sizes, full=INDEX_ENTRIES_MAX)
    if due is None:
        return
    merged = [index.visible[name] for name in due.names]
    pack_sizes = {row.name: row.size_bytes for one in merged for row in one.table.packs}
    doomed = index.doomed
    entries = _distinct(merge(*(index.entries(one) for one in merged), key=by_chunk))
    wanted = (entry for entry in entries if entry[1].pack not in doomed)
    replaced = {*due.names, *(name for one in merged for name in one.table.replaces)}
    left = sum(one.table.entries for one in merged)
    parts: list[str] = []
    while True:
        left -= INDEX_ENTRIES_MAX
        # The last part speaks for all: before it is there, the others only add to what is known.
        part = build_index(
            run.repository.identity,
            islice(wanted, INDEX_ENTRIES_MAX),
            pack_sizes=pack_sizes,
            salt=run.repository.runtime.random(32),
            tier=due.tier,
            replaces=replaced if left <= 0 else (),
            beside=parts if left <= 0 else (),
        )
        writer.put(part)
        parts.append(part.name)
        if left <= 0:
            return


def _distinct(entries: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry, _ in groupby(entries))


def _merge_catalogues(run: Run, writer: Writer) -> None:
    history = run.history
    catalogues = dict(history.catalogues)
    if history.uncatalogued >= CATALOGUE_RECORDS_MIN:
        held = {name for body in catalogues.values() for name in (*body.snapshots, *body.journal)}
        loose = CatalogueBody(
            tier=0,
            replaces=(),
            snapshots={name: body for name, body in history.snapshots.items() if name not in held},
            journal={name: body for name, body in history.journal.items() if name not in held},
        )
        record = _catalogue(run, loose)
        writer.put(record)
        catalogues[record.name] = loose
    sizes = {name: len(body.snapshots) + len(body.journal) for name, body in catalogues.items()}
    if (due := due_merge(sizes, full=CATALOGUE_RECORDS_MAX)) is not None:
        parts = [catalogues[name] for name in due.names]
        snapshots = {name: body for part in parts for name, body in part.snapshots.items()}
        merged = CatalogueBody(
            tier=due.tier,
            replaces=tuple(sorted({*due.names, *(name for part in parts for name in part.replaces)})),
            snapshots={name: body for name, body in snapshots.items() if name in history.snapshots},
            journal={name: body for part in parts for name, body in part.journal.items()},
        )
        writer.put(_catalogue(run, merged))


def _catalogue(run: Run, body: CatalogueBody) -> StoredObject:
    repository = run.repository
    return build_record(repository.identity, Kind.CATALOGUE, body, salt=repository.runtime.random(32), tier=body.tier)
