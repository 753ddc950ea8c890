"""The history: complete with catalogues, without them, and with damaged ones."""

from __future__ import annotations

import itertools
import os

import attrs
import msgspec
import pytest

from safebackup.errors import StorageError
from safebackup.format.header import Kind
from safebackup.format.objects import Identity, build_record, encode
from safebackup.format.records import CatalogueBody, DeathBody, JournalBody, SnapshotBody, TreeRef
from safebackup.format.sealing import Keyring
from safebackup.repository.history import BACKUP, History, read_history
from safebackup.storage import MemoryStore
from safebackup.testing import FaultyStore, RecordingStore
from tests.faults import tampered

_numbers = itertools.count()
PLAIN = Identity(bytes(16), Keyring(identity=bytes(32), chunker_seed=0, classes={}))
NO_TREE = TreeRef(0, bytes(32), 0)


@attrs.define
class Records:
    """A store in which records are put directly."""

    store: MemoryStore = attrs.field(factory=lambda: MemoryStore(f"history-{next(_numbers)}"))
    snapshots: dict[str, SnapshotBody] = attrs.field(factory=dict)
    journal: dict[str, JournalBody] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.store.create_root()

    def put(self, kind: Kind, body: object, *, tier: int = 0) -> str:
        """Store one record; its name."""
        record = build_record(PLAIN, kind, body, salt=os.urandom(32), tier=tier)
        self.store.put_new(record.name, record.data)
        return record.name

    def snapshot(self, sequence: int, *, heads: tuple[str, ...] = ()) -> str:
        """Store a snapshot; its name."""
        body = SnapshotBody(
            run=sequence.to_bytes(16, "big"),
            sequence=sequence,
            parents=(),
            source="source",
            host="host",
            roots=((b"", b"/source"),),
            started=0,
            finished=0,
            zone="",
            order="components",
            manifest=NO_TREE,
            evidence=NO_TREE,
            evidence_kind="inode",
            entries=1,
            files=0,
            content_bytes=0,
            complete=True,
            excluded={},
            findings=(),
            findings_total=0,
            avoids=b"",
            heads=heads,
            configurations=(),
            software="test",
        )
        name = self.put(Kind.SNAPSHOT, body)
        self.snapshots[name] = body
        return name

    def record(self, *, heads: tuple[str, ...] = (), snapshots: tuple[str, ...] = (), run: bytes = b"") -> str:
        """Store a journal record; its name."""
        body = JournalBody(
            run=run,
            kind=BACKUP,
            outcome="complete",
            started=0,
            finished=0,
            host="host",
            heads=heads,
            snapshots=snapshots,
        )
        name = self.put(Kind.JOURNAL, body)
        self.journal[name] = body
        return name

    def catalogue(self, *, replaces: tuple[str, ...] = (), tier: int = 0) -> str:
        """Store a catalogue of all that is there; its name."""
        body = CatalogueBody(
            tier=tier,
            replaces=replaces,
            snapshots={name: msgspec.Raw(encode(body)) for name, body in self.snapshots.items()},
            journal={name: msgspec.Raw(encode(body)) for name, body in self.journal.items()},
        )
        return self.put(Kind.CATALOGUE, body, tier=tier)

    def read(self) -> History:
        """The history as it is now."""
        return read_history(self.store, PLAIN)


def many(count: int) -> Records:
    """So many snapshots, each with its journal record, one after another."""
    records = Records()
    heads: tuple[str, ...] = ()
    for sequence in range(1, count + 1):
        snapshot = records.snapshot(sequence, heads=heads)
        heads = (records.record(heads=heads, snapshots=(snapshot,)),)
    return records


def test_hundreds_of_snapshots_are_read_with_few_requests_through_catalogues() -> None:
    records = many(300)
    plain = records.read()
    lower = records.catalogue()
    records.catalogue(replaces=(lower,), tier=1)
    later = records.snapshot(301)
    counting = RecordingStore(records.store)
    history = read_history(counting, PLAIN)
    assert counting.counts["get"] == 2  # the upper catalogue and the snapshot that it does not hold
    assert history.snapshots == {**plain.snapshots, later: records.snapshots[later]}
    assert history.journal == plain.journal
    assert (history.next_sequence, history.uncatalogued) == (302, 1)
    assert not history.problems


@pytest.mark.parametrize("which", ["upper", "both"])
def test_damaged_catalogues_cost_requests_and_nothing_else(which: str) -> None:
    records = many(50)
    plain = records.read()
    lower = records.catalogue()
    upper = records.catalogue(replaces=(lower,), tier=1)
    for name in {"upper": [upper], "both": [upper, lower]}[which]:
        tampered(records.store, name, records.store.get(name)[:-1])
    history = records.read()
    assert (history.snapshots, history.journal) == (plain.snapshots, plain.journal)
    assert upper in history.problems


def test_a_catalogue_does_not_bring_back_a_snapshot_that_was_removed() -> None:
    records = many(5)
    records.catalogue()
    removed = min(records.snapshots, key=lambda name: records.snapshots[name].sequence)
    records.store.delete(removed)
    assert records.read().snapshots.keys() == records.snapshots.keys() - {removed}


def test_the_head_of_one_line_is_its_last_record() -> None:
    records = many(4)
    history = records.read()
    assert history.heads == (list(records.journal)[-1],)
    assert not history.missing


def test_forks_have_several_heads_until_a_record_names_them_all() -> None:
    records = Records()
    root = records.record()
    forks = [records.record(heads=(root,), run=bytes([number])) for number in range(3)]
    assert records.read().heads == tuple(sorted(forks))
    joined = records.record(heads=tuple(sorted(forks)))
    assert records.read().heads == (joined,)


def test_a_journal_record_that_others_name_and_that_is_gone_is_missing() -> None:
    records = many(6)
    names = list(records.journal)
    records.store.delete(names[2])
    assert records.read().missing == {names[2]}
    records.store.delete(names[-1])  # nobody names the last one; its snapshot is there without a record
    assert records.read().missing == {names[2]}


def test_a_head_that_a_snapshot_alone_names_is_missing_too() -> None:
    records = Records()
    head = records.record()
    records.snapshot(1, heads=(head,))
    assert not records.read().missing
    records.store.delete(head)
    assert records.read().missing == {head}


def test_damaged_records_are_problems_and_not_missing() -> None:
    records = many(3)
    name = next(iter(records.journal))
    tampered(records.store, name, records.store.get(name)[:-1])
    history = records.read()
    assert set(history.problems) == {name}
    assert not history.missing


def test_a_death_voids_a_snapshot_and_a_suspicion_does_not_with_catalogues_too() -> None:
    records = many(3)
    records.catalogue()
    first, second, third = records.snapshots
    for name, final in ((first, True), (second, False)):
        records.put(Kind.DEATH, DeathBody(run=records.snapshots[name].run, final=final, created=0))
    history = records.read()
    assert (set(history.void), set(history.snapshots)) == ({first}, {second, third})
    assert history.next_sequence == 4


def test_a_store_that_fails_gives_no_history_rather_than_a_short_one() -> None:
    records = many(3)
    for moment in range(1, 11):
        with pytest.raises(StorageError):
            read_history(FaultyStore(records.store, at=moment), PLAIN)


def test_a_catalogue_with_other_words_for_a_record_is_not_asked_where_copies_are_not_wanted() -> None:
    records = many(2)
    name = next(iter(records.snapshots))
    true = records.snapshots[name]
    records.snapshots[name] = msgspec.structs.replace(true, source="another")
    records.catalogue()
    assert read_history(records.store, PLAIN, copies=False).snapshots[name] == true
