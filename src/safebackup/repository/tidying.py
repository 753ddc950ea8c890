"""Tidying: merging what has become many, indexes and catalogues. Nothing is deleted, and no snapshot rests on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby, islice

import msgspec

from safebackup.errors import SafeBackupError
from safebackup.events import logger
from safebackup.format.header import TABLE_BYTES_MAX, Kind
from safebackup.format.index import INDEX_ENTRIES_MAX, Entry, build_index, by_chunk
from safebackup.format.objects import StoredObject, build_record, encode
from safebackup.format.records import CatalogueBody, JournalBody, SnapshotBody
from safebackup.repository.committing import Run
from safebackup.repository.tiering import due_carry, due_merge
from safebackup.repository.writing import Writer

CATALOGUE_RECORDS_MIN = 6  # so many loose records, of three backups, make a catalogue worth its request
CATALOGUE_BYTES_MAX = TABLE_BYTES_MAX // 16  # a catalogue that has reached this is left as it is
INDEX_ENTRIES_SMALL = 1 << 14  # an index below this, 1 MiB, is sooner written again than read beside others
_LOOSE = "catalogues/0/"  # stands for the catalogue of loose records, which has no name yet


def tidy(
    run: Run, writer: Writer, *, snapshots: Mapping[str, SnapshotBody], journal: Mapping[str, JournalBody]
) -> None:
    """Merge indexes and catalogues that have become many; the run itself has put `snapshots` and `journal`."""
    try:
        _merge_indexes(run, writer)
        _merge_catalogues(run, writer, _raw(snapshots), _raw(journal))
    except SafeBackupError as problem:
        # The backup is published; the next run tries again.
        logger.warning("indexes or catalogues were not merged: %s", problem, extra={"run": run.label})


def _raw(bodies: Mapping[str, SnapshotBody] | Mapping[str, JournalBody]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(encode(body)) for name, body in bodies.items()}


def _merge_indexes(run: Run, writer: Writer) -> None:
    index = run.index
    sizes = {name: loaded.table.entries for name, loaded in index.visible.items()}
    due = due_carry(sizes, small=INDEX_ENTRIES_SMALL) or due_merge(sizes, full=INDEX_ENTRIES_MAX)
    if due is None:
        return
    merged = [index.visible[name] for name in due.names]
    pack_sizes = {row.name: row.size_bytes for one in merged for row in one.table.packs}
    entries = merge(*(index.entries(one) for one in merged), key=by_chunk)
    wanted = _worth_keeping(entries, index.doomed)
    replaced = {*due.names, *(name for one in merged for name in one.table.replaces)}
    # What was cut into parts before still counts only together with the parts that are not merged now.
    standing = {name for one in merged for name in one.table.beside} - set(due.names)
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
            beside={*parts, *standing} if left <= 0 else (),
        )
        writer.put(part)
        parts.append(part.name)
        if left <= 0:
            return


def _worth_keeping(entries: Iterable[Entry], doomed: frozenset[str]) -> Iterator[Entry]:
    """Each entry once; one in a doomed pack only where the chunk has no other place.

    The deleter that doomed the pack may have died, and then its bytes are all that there is.
    """
    for _, group in groupby(entries, key=lambda entry: entry[0]):
        places = [entry for entry, _ in groupby(group)]
        yield from [entry for entry in places if entry[1].pack not in doomed] or places


def _merge_catalogues(
    run: Run, writer: Writer, snapshots: dict[str, msgspec.Raw], journal: dict[str, msgspec.Raw]
) -> None:
    history = run.history
    known = {name: history.raw[name] for name in history.snapshots} | snapshots
    noted = {name: history.raw[name] for name in history.journal} | journal
    held = {name for body in history.catalogues.values() for name in (*body.snapshots, *body.journal)}
    loose = CatalogueBody(
        tier=0,
        replaces=(),
        snapshots={name: raw for name, raw in known.items() if name not in held},
        journal={name: raw for name, raw in noted.items() if name not in held},
    )
    catalogues = dict(history.catalogues)
    if len(loose.snapshots) + len(loose.journal) >= CATALOGUE_RECORDS_MIN:
        catalogues[_LOOSE] = loose
    sizes = {name: _copied_bytes(body) for name, body in catalogues.items()}
    if (due := due_carry(sizes, small=CATALOGUE_BYTES_MAX)) is not None:
        parts = {name: catalogues[name] for name in due.names}
        merged = CatalogueBody(
            tier=due.tier,
            replaces=tuple(sorted({*parts, *(name for part in parts.values() for name in part.replaces)} - {_LOOSE})),
            snapshots={name: known[name] for part in parts.values() for name in part.snapshots if name in known},
            journal={name: raw for part in parts.values() for name, raw in part.journal.items()},
        )
        if _copied_bytes(merged) <= TABLE_BYTES_MAX // 2:
            writer.put(_catalogue(run, merged))
            return
    if _LOOSE in catalogues:
        writer.put(_catalogue(run, loose))


def _copied_bytes(body: CatalogueBody) -> int:
    return sum(len(bytes(raw)) for raw in (*body.snapshots.values(), *body.journal.values()))


def _catalogue(run: Run, body: CatalogueBody) -> StoredObject:
    repository = run.repository
    return build_record(repository.identity, Kind.CATALOGUE, body, salt=repository.runtime.random(32), tier=body.tier)
