"""Adopting packs that no index names: what a run stored before it was cut off.

A pack lists its own chunks, and is durable and checked before it has its name, so its table can be believed.
"""

from __future__ import annotations

from safebackup.errors import ConfigurationError, IntegrityError, NotFoundError
from safebackup.events import logger
from safebackup.format.header import FOLDER, HEADER_BYTES, Kind
from safebackup.format.objects import Identity, open_table, read_header
from safebackup.format.pack import PackTable, places_of, require_whole
from safebackup.repository.indexing import ChunkIndex
from safebackup.storage import ReadStore


def adopt_packs(store: ReadStore, identity: Identity, index: ChunkIndex) -> int:
    """Take the chunks of packs that no index names for the run's own; the number of such packs.

    Packs that an index names and that are gone become suspect, so that what they held is stored again.

    Costs a listing of all packs and two reads for each that is adopted.
    """
    named = {row.name for loaded in index.visible.values() for row in loaded.table.packs}
    listed = set()
    adopted = 0
    for kind in (Kind.DATA_PACK, Kind.METADATA_PACK):
        for info in store.list(f"{FOLDER[kind]}/"):
            listed.add(info.name)
            if info.name in named or info.name in index.doomed:
                continue
            try:
                table = _read_table(store, identity, info.name, kind)
            except (
                IntegrityError,
                NotFoundError,
                ConfigurationError,
            ) as problem:  # the last: sealed since with newer keys
                logger.warning("a pack that no index names was passed over: %s", problem)
                continue
            index.add_own(places_of(info.name, table), info.name, info.size_bytes)
            adopted += 1
    index.suspects.update(named - listed - index.doomed)  # indexes name them and they are gone
    return adopted


def _read_table(store: ReadStore, identity: Identity, name: str, kind: Kind) -> PackTable:
    header, seal = read_header(store.get(name, length=HEADER_BYTES), name=name, kind=kind, identity=identity)
    sealed = store.get(name, start=header.table_offset, length=header.table_length)
    table = open_table(seal, sealed, PackTable, name=name)
    require_whole(table, header, name=name)
    return table
