"""What happened to a repository: its snapshots, its journal, and the runs that were declared dead.

Order in time comes from parents, sequence numbers and heads, never from clocks. Thousands of records are read
with few requests through catalogues, which hold copies of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TypeVar

import attrs
import msgspec

from safebackup.errors import ConfigurationError, IntegrityError, NotFoundError, SafeBackupError
from safebackup.format.header import FOLDER, Kind, damaged, is_object_name
from safebackup.format.objects import Identity, decode, read_record
from safebackup.format.records import SEQUENCE_MAX, CatalogueBody, DeathBody, JournalBody, SnapshotBody
from safebackup.repository.requesting import at_once
from safebackup.repository.tiering import read_visible, tier_of
from safebackup.storage import ReadStore

T = TypeVar("T")
# Kinds of journal records, and what some of them say.
BACKUP = "backup"
VERIFICATION = "verification"
DRILL = "drill"
REMOVAL = "removal"  # of the snapshots that it names
STORE_TEST = "store-test"  # what the store was seen to be capable of
STARTED = "started"  # outcome of the record that a run leaves before it stores its first full pack
ADOPTED = "adopted"  # fact: the interrupted runs whose packs this run has taken over, hexadecimal, by spaces


@attrs.frozen(kw_only=True)
class History:
    """The records of a repository at one moment, by full name.

    `snapshots` are those that count: none of a dead run. `problems` are records that could not be read.
    """

    snapshots: Mapping[str, SnapshotBody]
    void: Mapping[str, SnapshotBody]  # of dead runs: never published, whenever they arrived
    journal: Mapping[str, JournalBody]
    deaths: Mapping[str, DeathBody]
    catalogues: Mapping[str, CatalogueBody]
    raw: Mapping[str, msgspec.Raw]  # snapshots and journal records as they were written
    problems: Mapping[str, SafeBackupError]
    later: frozenset[str] = frozenset()  # snapshots that were published while all this was read, of a later moment

    @cached_property
    def mentions(self) -> Mapping[str, Mapping[str, JournalBody]]:
        """For each snapshot the journal records that speak of it."""
        found: dict[str, dict[str, JournalBody]] = {}
        for key, body in self.journal.items():
            for name in (*body.snapshots, *body.affected):
                found.setdefault(name, {})[key] = body
        return found

    @property
    def heads(self) -> tuple[str, ...]:
        """The journal records that no other record names."""
        named = {head for record in self.journal.values() for head in record.heads}
        return tuple(sorted(name for name in self.journal if name not in named))

    @property
    def interrupted(self) -> frozenset[bytes]:
        """Runs that began to store much and never published: what they stored can be used by the next."""
        begun = {body.run for body in self.journal.values() if body.outcome == STARTED}
        done = {body.run for body in self.snapshots.values()}
        done.update(body.run for body in self.journal.values() if body.kind == BACKUP and body.snapshots)
        adopted = {run for body in self.journal.values() for run in str(body.facts.get(ADOPTED, "")).split()}
        return frozenset(run for run in begun - done if run.hex() not in adopted)

    @property
    def damaged_packs(self) -> frozenset[str]:
        """Packs that some verification has found damaged or missing."""
        return frozenset(pack for body in self.journal.values() for pack in body.damaged)

    @property
    def lost_snapshots(self) -> frozenset[str]:
        """Snapshots that the journal reports as made, not as removed, and that are not there: a finding."""
        made = {name for body in self.journal.values() if body.kind == BACKUP for name in body.snapshots}
        removed = {name for body in self.journal.values() if body.kind == REMOVAL for name in body.snapshots}
        there = {*self.snapshots, *self.void, *self.problems, *self.later}
        return frozenset(made - removed - there)

    @property
    def unreadable_snapshots(self) -> frozenset[str]:
        """Snapshots that are there, and that nobody can read."""
        return frozenset(name for name in self.problems if name.startswith(f"{FOLDER[Kind.SNAPSHOT]}/"))

    def perhaps_newer(self, snapshot: SnapshotBody | None, *, source: str | None = None) -> tuple[str, ...]:
        """Lost or unreadable snapshots of which this one's writer need not have known; of one source, where it is told.

        Those that the journal names before it are older. A record that is lost, too, leaves that open.
        """
        known = set(snapshot.parents) if snapshot is not None else set()
        upcoming = list(snapshot.heads) if snapshot is not None else []
        seen: set[str] = set()
        while upcoming:
            name = upcoming.pop()
            if name not in seen and (record := self.journal.get(name)) is not None:
                known.update(record.snapshots)
                upcoming.extend(record.heads)
            seen.add(name)
        others = (self.lost_snapshots | self.unreadable_snapshots) - known
        return tuple(sorted(name for name in others if source is None or self._copied_source(name) in (None, source)))

    def _copied_source(self, name: str) -> str | None:
        """The source of a snapshot that is lost, if a catalogue has kept a copy."""
        for catalogue in self.catalogues.values():
            if name in catalogue.snapshots:
                with suppress(IntegrityError):
                    return decode(bytes(catalogue.snapshots[name]), SnapshotBody, name=name).source
        return None

    @property
    def missing(self) -> frozenset[str]:
        """Journal records that others name and that are not there: a finding."""
        named = {head for record in self.journal.values() for head in record.heads}
        named.update(head for snapshot in self.snapshots.values() for head in snapshot.heads)
        return frozenset(named) - self.journal.keys() - self.problems.keys()

    @property
    def next_sequence(self) -> int:
        """One more than any snapshot has, up to the last that a record can hold."""
        bodies = [*self.snapshots.values(), *self.void.values()]
        return min(1 + max((body.sequence for body in bodies), default=0), SEQUENCE_MAX)

    @property
    def uncatalogued(self) -> int:
        """How many records no catalogue holds yet."""
        held = {name for body in self.catalogues.values() for name in (*body.snapshots, *body.journal)}
        return len((self.snapshots.keys() | self.journal.keys()) - held)


def list_snapshots(store: ReadStore) -> list[str]:
    """The names of all snapshots now, for `read_history`. Indexes that are loaded afterwards know their chunks (I3)."""
    return [info.name for info in store.list("snapshots/")]


def read_history(
    store: ReadStore, identity: Identity, *, copies: bool = True, snapshots: Iterable[str] | None = None
) -> History:
    """Read all records. Costs four listings and a read for each record that no catalogue holds.

    With `copies=False` every record is read itself, whatever catalogues say of it. `snapshots` are the names of
    those to read, if they were listed just now.

    Raises:
        StorageError: the store could not be reached, so that the history would be quietly short.
    """
    problems: dict[str, SafeBackupError] = {}
    # Snapshots are listed before anything that judges them is read (I3).
    snapshot_names = list_snapshots(store) if snapshots is None else list(snapshots)
    # These come after that, and in any order among themselves: a death that they show was put before it was judged,
    # copies count only for names that are listed, and what the journal tells of itself comes from one listing.
    journal_names, death_names, catalogue_names = at_once(
        store, lambda prefix: [info.name for info in store.list(prefix)], ("journal/", "deaths/", "catalogues/")
    )
    catalogues = read_catalogues(store, identity, problems, catalogue_names)
    copied = {
        name: raw for body in catalogues.values() for name, raw in [*body.snapshots.items(), *body.journal.items()]
    }
    source = _Records(store, identity, copied if copies else {}, problems)
    raw = source.fetch({Kind.DEATH: death_names, Kind.SNAPSHOT: snapshot_names, Kind.JOURNAL: journal_names})
    deaths = source.decode(death_names, raw, DeathBody)
    published = source.decode(snapshot_names, raw, SnapshotBody)
    journal = source.decode(journal_names, raw, JournalBody)
    dead = {body.run for body in deaths.values() if body.final}
    history = History(
        snapshots={name: body for name, body in published.items() if body.run not in dead},
        void={name: body for name, body in published.items() if body.run in dead},
        journal=journal,
        deaths=deaths,
        catalogues=catalogues,
        raw={name: raw[name] for name in (*published, *journal)},
        problems=problems,
    )
    if history.lost_snapshots:  # or just not listed yet, as the journal was read after they were
        history = attrs.evolve(history, later=frozenset(list_snapshots(store)) - set(snapshot_names))
    return history


def read_catalogues(
    store: ReadStore, identity: Identity, problems: dict[str, SafeBackupError], names: Iterable[str]
) -> dict[str, CatalogueBody]:
    """The catalogues that no other replaces; what is damaged is passed over, as catalogues hold copies alone."""

    def read(name: str) -> CatalogueBody | None:
        try:
            data = store.get(name)
            body = read_record(data, CatalogueBody, name=name, kind=Kind.CATALOGUE, identity=identity)
            if body.tier != tier_of(name):
                raise damaged(name, f"it is of tier {body.tier}")
        except (IntegrityError, NotFoundError, ConfigurationError) as problem:
            problems[name] = problem
            return None
        return body

    return read_visible(names, lambda some: at_once(store, read, some), lambda body: body.replaces)


@attrs.frozen
class _Records:
    """Where records are read from: the objects, or copies of them."""

    store: ReadStore
    identity: Identity
    copies: Mapping[str, msgspec.Raw]
    problems: dict[str, SafeBackupError]

    def fetch(self, names: Mapping[Kind, Iterable[str]]) -> dict[str, msgspec.Raw]:
        """All of these records as they were written; what could not be read is among the problems."""
        wanted = [(name, kind) for kind, some in names.items() for name in some if is_object_name(name)]
        raw = {name: self.copies[name] for name, _ in wanted if name in self.copies}
        missing = [(name, kind) for name, kind in wanted if name not in raw]
        for (name, _), found in zip(missing, at_once(self.store, self._read, missing), strict=True):
            if isinstance(found, msgspec.Raw):
                raw[name] = found
            else:
                self.problems[name] = found
        return raw

    def decode(self, names: Iterable[str], raw: dict[str, msgspec.Raw], shape: type[T]) -> dict[str, T]:
        """The bodies of those that could be read."""
        bodies: dict[str, T] = {}
        for name in names:
            if name in raw:
                try:
                    bodies[name] = decode(bytes(raw[name]), shape, name=name)
                except IntegrityError as problem:
                    self.problems[name] = problem
        return bodies

    def _read(self, record: tuple[str, Kind]) -> msgspec.Raw | SafeBackupError:
        name, kind = record
        try:
            data = self.store.get(name)
            return read_record(data, msgspec.Raw, name=name, kind=kind, identity=self.identity).copy()
        except (IntegrityError, NotFoundError, ConfigurationError) as problem:
            return problem
