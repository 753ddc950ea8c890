"""A deleter for simulations: rules (2) and (4) of writing and deleting without locks, and nothing besides.

It keeps to docs/decisions/0002-deaths-in-two-steps.md. `Rules` leaves one of them out, so that a test can show that
the simulation would notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import attrs
import msgspec

from safebackup.errors import IntegrityError, NotFoundError
from safebackup.format.header import FOLDER, Kind
from safebackup.format.objects import build_record, read_record
from safebackup.format.records import DeathBody, DoomBody, IntentBody, SnapshotBody
from safebackup.repository import Repository
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.history import REMOVAL
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.writing import Writer
from safebackup.storage import DeleteStore

T = TypeVar("T")
Need = tuple[Kind, bytes, int]
Choose = Callable[[list[str]], Iterable[str]]


class RefusedToDeleteError(Exception):
    """A snapshot lacks a chunk; nothing was deleted."""


@attrs.frozen(kw_only=True)
class Rules:
    """What the deleter keeps to: each default is the protocol, every other value breaks it."""

    live_listed: Literal["after the doom", "before the doom"] = "after the doom"
    dooms_of_others: bool = True
    intents: bool = True
    death: Literal["after a suspicion", "after listing snapshots", "at once"] = "after a suspicion"
    copies: bool = True


PROTOCOL = Rules()


def everything(packs: list[str]) -> list[str]:
    """Choose every pack, so that all that lives must be copied."""
    return packs


def delete_packs(
    repository: Repository,
    store: DeleteStore,
    *,
    choose: Choose = everything,
    ends: bool = False,
    rules: Rules = PROTOCOL,
) -> None:
    """Delete the packs that `choose` picks; what lives in them is copied first.

    With `ends`, every run that has an intent and no snapshot is taken for one that never came back.

    Raises:
        RefusedToDeleteError: a snapshot lacks a chunk; the packs stay, doomed.
    """
    _Deletion(repository, store, rules).perform(choose, ends=ends)


def remove_snapshots(repository: Repository, store: DeleteStore, names: Iterable[str]) -> list[str]:
    """Remove those of `names` that are older than the newest settled snapshot; the names that were removed."""
    history = repository.history()  # lists snapshots first, deaths and suspicions afterwards
    in_doubt = {body.run for body in history.deaths.values()}
    settled = [(body.sequence, name) for name, body in history.snapshots.items() if body.run not in in_doubt]
    newest = max(settled, default=(0, ""))
    removed = [
        name for name in names if name in history.snapshots and (history.snapshots[name].sequence, name) < newest
    ]
    if removed:
        record = journal_body(
            repository,
            run=repository.runtime.random(16),
            kind=REMOVAL,
            outcome="removed",
            started=repository.runtime.clock.now(),
            heads=history.heads,
        )
        write_journal(repository, msgspec.structs.replace(record, snapshots=tuple(removed)))
    for name in removed:
        store.delete(name)
    return removed


class _Deletion:
    def __init__(self, repository: Repository, store: DeleteStore, rules: Rules) -> None:
        self.repository = repository
        self.identity = repository.identity
        self.store = store
        self.rules = rules

    def perform(self, choose: Choose, *, ends: bool) -> None:
        """The steps in their order."""
        folders = (FOLDER[Kind.DATA_PACK], FOLDER[Kind.METADATA_PACK])
        packs = [info.name for folder in folders for info in self.store.list(f"{folder}/")]
        targets = frozenset(choose(packs))
        if not targets:
            return
        doom = DoomBody(packs=tuple(sorted(targets)), created=self._now())
        if self.rules.live_listed == "after the doom":
            self._put(Kind.DOOM, doom)
        intents = list(self._read_all("intents/", IntentBody, Kind.INTENT)) if self.rules.intents else []
        if ends:
            for run in sorted({intent.run for intent in intents} - self._published() - self._dead()):
                self._end(run)
        snapshots = list(self._read_all("snapshots/", SnapshotBody, Kind.SNAPSHOT))
        if self.rules.live_listed == "before the doom":
            self._put(Kind.DOOM, doom)
        index = ChunkIndex(self.store, self.identity)  # lists the dooms of all deleters
        dead = self._dead()
        index.refresh()
        self._copy(
            index,
            targets,
            [body for body in snapshots if body.run not in dead],
            [body for body in intents if body.run not in dead],
        )
        for name in sorted(targets):
            self.store.delete(name)

    def _end(self, run: bytes) -> None:
        """Suspicion, a look whether a snapshot came, death."""
        if self.rules.death == "after a suspicion":
            self._put(Kind.DEATH, DeathBody(run=run, final=False, created=self._now()))
        if self.rules.death != "at once" and run in self._published():
            return
        self._put(Kind.DEATH, DeathBody(run=run, final=True, created=self._now()))

    def _published(self) -> set[bytes]:
        return {body.run for body in self._read_all("snapshots/", SnapshotBody, Kind.SNAPSHOT)}

    def _dead(self) -> set[bytes]:
        return {body.run for body in self._read_all("deaths/", DeathBody, Kind.DEATH) if body.final}

    def _copy(
        self,
        index: ChunkIndex,
        targets: frozenset[str],
        snapshots: list[SnapshotBody],
        intents: list[IntentBody],
    ) -> None:
        if not self.rules.copies:
            return
        reader = ChunkReader(self.store, self.identity, index)
        firm: set[Need] = set()
        for snapshot in snapshots:
            firm |= self._needs(reader, snapshot, firm=True)
        live = set(firm)
        for intent in intents:
            live |= self._needs(reader, intent, firm=False)
        writer = Writer(self.store, self.identity, index, self.repository.runtime, workers=1)
        try:
            for need in sorted(live):
                self._copy_chunk(need, reader, writer, targets, firm=need in firm)
            writer.flush()  # the packs, then an index of them
        finally:
            writer.close()

    def _needs(self, reader: ChunkReader, body: SnapshotBody | IntentBody, *, firm: bool) -> set[Need]:
        needs: set[Need] = set()
        try:
            for need in Manifests(reader).needs(body.manifest, body.evidence):
                needs.add(need)
        except IntegrityError as problem:
            # Of an intent this is no damage: its writer finds the doom and stores anew all that it needs.
            if firm:
                raise RefusedToDeleteError(f"a snapshot of run {body.run.hex()} cannot be read") from problem
        return needs

    def _copy_chunk(
        self, need: Need, reader: ChunkReader, writer: Writer, targets: frozenset[str], *, firm: bool
    ) -> None:
        kind, chunk_id, length = need
        doomed = reader.index.doomed if self.rules.dooms_of_others else targets
        if any(place.pack not in doomed for place in reader.index.find_all(chunk_id)):
            return
        try:
            data = reader.read(chunk_id, length, kind=kind)
        except IntegrityError as problem:
            if firm:
                raise RefusedToDeleteError(f"a snapshot needs chunk {chunk_id.hex()}") from problem
            return
        if writer.claim(chunk_id):
            writer.add_frame(writer.encode(data, [chunk_id], [len(data)]), kind)

    def _read_all(self, folder: str, shape: type[T], kind: Kind) -> Iterable[T]:
        for info in self.store.list(folder):
            try:
                data = self.store.get(info.name)
            except NotFoundError:
                continue  # a snapshot that somebody removed meanwhile
            yield read_record(data, shape, name=info.name, kind=kind, identity=self.identity)

    def _put(self, kind: Kind, body: object) -> None:
        record = build_record(self.identity, kind, body, salt=self.repository.runtime.random(32))
        self.store.put_new(record.name, record.data)

    def _now(self) -> int:
        return self.repository.runtime.clock.now()
