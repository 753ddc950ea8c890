"""The commit: how a snapshot is published without locks (docs/explanation/write-order.md).

A writer (1) puts an intent that names its finished trees, then (2) lists the doom records; while a chunk that it needs
has no place outside doomed packs it stores that chunk anew, puts a new intent and lists again; (3) looks whether
its run was declared dead, puts the snapshot, and looks again. Put-then-list on both sides is all that safety rests on:
a deleter puts its dooms first and lists intents afterwards, so that one of the two always sees the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

import attrs

from safebackup.errors import Code, ConflictError, IntegrityError, StorageError
from safebackup.events import ChunksRescued, Observer, ignore
from safebackup.format.header import Kind, is_object_name
from safebackup.format.objects import StoredObject, build_record, read_record
from safebackup.format.records import (
    DeathBody,
    IntentBody,
    JournalBody,
    SnapshotBody,
    TreeRef,
)
from safebackup.repository.configuring import read_configurations
from safebackup.repository.history import STARTED, History, list_snapshots, read_history
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.repository import Repository
from safebackup.repository.requesting import both
from safebackup.repository.runtime import SOFTWARE
from safebackup.repository.writing import Writer

_ROUNDS_MAX = 20


class ChunksLostError(Exception):
    """Chunks that were to be shared with an earlier snapshot are gone; their files must be read again."""

    def __init__(self, ids: frozenset[bytes]) -> None:
        super().__init__(f"{len(ids)} chunks are gone")
        self.ids = ids


@attrs.frozen(kw_only=True)
class Trees:
    """What a finished run has stored: the roots of its manifest and of its change evidence."""

    manifest: TreeRef
    evidence: TreeRef


@attrs.define(kw_only=True)
class Run:
    """One run of a writer over a repository, from its first look to its last word."""

    id: bytes
    repository: Repository
    history: History
    index: ChunkIndex
    reader: ChunkReader
    started: int
    start_dooms: frozenset[str]
    start_suspects: frozenset[str]
    start_deaths: frozenset[str]
    heads: tuple[str, ...]  # of the journal, for what this run writes

    @classmethod
    def start(cls, repository: Repository) -> Run:
        """Look at the repository as it is now.

        Raises:
            ConfigurationError: writing to it takes a newer release.
        """
        repository.configurations.require("write")
        store, identity = repository.store, repository.identity
        snapshots = list_snapshots(store)  # before indexes, and before anything that judges them (I3)
        history, index = both(
            store,
            lambda: read_history(store, identity, snapshots=snapshots),
            lambda: ChunkIndex(store, identity, for_writing=True),
        )
        index.suspects.update(history.damaged_packs)
        return cls(
            id=repository.runtime.random(16),
            repository=repository,
            history=history,
            index=index,
            reader=ChunkReader(store, identity, index),
            started=repository.runtime.clock.now(),
            start_dooms=index.dooms,
            start_suspects=history.damaged_packs,
            start_deaths=frozenset(history.deaths) | frozenset(history.problems),
            heads=history.heads,
        )

    @property
    def label(self) -> str:
        """The run's id as events and logs show it."""
        return self.id.hex()


def commit(
    run: Run,
    writer: Writer,
    trees: Trees,
    describe: Callable[[bytes, tuple[str, ...]], SnapshotBody],
    *,
    parent: SnapshotBody | None,
    observer: Observer = ignore,
) -> str:
    """Publish a snapshot of `trees`; its name. `describe` is given what it avoids, and the configurations seen.

    Everything that `trees` need was found or stored by this run, or taken over from `parent`.

    Raises:
        ChunksLostError: something needed is gone and must be read from the source again; nothing was published.
        ConflictError: the run was declared dead while it slept; nothing of it counts.
        StorageError: something could not be stored; nothing was published, unless the store failed for good at the
            very put of the snapshot: then the snapshot may be there, whole.
    """
    _secure(run, writer, trees, parent, observer)
    configurations = read_configurations(run.repository.store, known=run.repository.configurations)
    configurations.require("write")
    body = describe(_avoided(run.index.dooms, run.start_suspects), tuple(sorted(configurations.records)))
    _require_alive(run)
    snapshot = _record(run, Kind.SNAPSHOT, body)
    _surely(lambda: writer.put(snapshot))
    _surely(lambda: _require_alive(run))
    return snapshot.name


def _avoided(dooms: frozenset[str], suspects: frozenset[str]) -> bytes:
    return sha256("\n".join(sorted(dooms | suspects)).encode()).digest()


def _secure(run: Run, writer: Writer, trees: Trees, parent: SnapshotBody | None, observer: Observer) -> None:
    # What this run found or stored lies outside of the packs that it knew at its start, and what it took over from
    # the parent outside of those that the parent's writer knew: while these are the same, nothing has to be looked up.
    settled = parent is None or parent.avoids == _avoided(run.start_dooms, run.start_suspects)
    # Steps 1 and 2: afterwards every deleter either sees the intent, or has doomed nothing that this run needs.
    for _ in range(_ROUNDS_MAX):
        writer.flush()
        intent = IntentBody(
            run=run.id,
            manifest=trees.manifest,
            evidence=trees.evidence,
            created=run.repository.runtime.clock.now(),
            host=run.repository.runtime.host,
        )
        writer.put(_record(run, Kind.INTENT, intent))
        run.index.refresh_dooms()
        seen, suspected = run.index.dooms, frozenset(run.index.suspects)
        if settled and seen == run.start_dooms and run.index.suspects <= run.start_suspects:
            return
        try:
            needed = Manifests(run.reader).needs(trees.manifest, trees.evidence)
            lost = {need for need in needed if run.index.find(need[1]) is None}
        except IntegrityError as problem:
            # A piece of the parent's manifest that was to be used again; its pack is suspect now.
            raise ChunksLostError(frozenset()) from problem
        if not lost and (run.index.dooms, frozenset(run.index.suspects)) == (seen, suspected):
            return  # a doom that came to light while looking was not held against what was looked up before it
        if lost:
            _rescue(run, writer, lost)
            observer(ChunksRescued(run=run.label, count=len(lost)))
    raise ConflictError(
        "other processes kept deleting what this run needs",
        code=Code.RUN_DECLARED_DEAD,
        hint="Wait until they are done; then run the backup again: what was stored will be found.",
    )


def _rescue(run: Run, writer: Writer, lost: Iterable[tuple[Kind, bytes, int]]) -> None:
    gone = set()
    for kind, chunk_id, length in lost:
        try:
            data = run.reader.read(chunk_id, length, kind=kind)
        except IntegrityError:
            gone.add(chunk_id)
            continue
        if writer.claim(chunk_id):
            writer.add_frame(writer.encode(data, [chunk_id], [len(data)]), kind)
    if gone:
        raise ChunksLostError(frozenset(gone))


def _require_alive(run: Run) -> None:
    identity = run.repository.identity
    store = run.repository.store
    for info in store.list("deaths/"):
        # What was there before the run began cannot speak of it.
        if info.name in run.start_deaths or not is_object_name(info.name):
            continue
        body = read_record(store.get(info.name), DeathBody, name=info.name, kind=Kind.DEATH, identity=identity)
        if body.run == run.id:
            raise ConflictError(
                f"run {run.label} was declared dead while it was silent, and does not count",
                code=Code.RUN_DECLARED_DEAD,
                hint="Run the backup again; what was stored and is still there will be found.",
            )


def _surely(step: Callable[[], None]) -> None:
    # Around the moment of publishing a passing fault is worth a second try: an answer can be lost although the snapshot
    # landed, and put_new of the same bytes tells.
    try:
        step()
    except StorageError:
        step()


def _record(run: Run, kind: Kind, body: object) -> StoredObject:
    return build_record(run.repository.identity, kind, body, salt=run.repository.runtime.random(32))


def announce(run: Run) -> None:
    """Leave word that this run is about to store much, so that the next one looks for it if this one dies."""
    record = journal_body(
        run.repository, run=run.id, kind="backup", outcome=STARTED, started=run.started, heads=run.heads
    )
    run.heads = (write_journal(run.repository, record),)


def write_journal(repository: Repository, body: JournalBody) -> str:
    """Put a journal record; its name."""
    record = build_record(repository.identity, Kind.JOURNAL, body, salt=repository.runtime.random(32))
    repository.store.put_new(record.name, record.data)
    return record.name


def journal_body(
    repository: Repository, *, run: bytes, kind: str, outcome: str, started: int, heads: tuple[str, ...]
) -> JournalBody:
    """A journal record of a run that ends now; the caller adds what is special about it."""
    return JournalBody(
        run=run,
        kind=kind,
        outcome=outcome,
        started=started,
        finished=repository.runtime.clock.now(),
        host=repository.runtime.host,
        heads=heads,
        snapshots=(),
        software=SOFTWARE,
    )
