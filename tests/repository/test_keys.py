"""Changing keys: list, add, remove, rotate, cut off anywhere and by several at once.

Whatever happens, every epoch that was ever put stays open to somebody, and whoever changes keys keeps what he had.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import attrs
import msgspec
import pytest

from safebackup import Repository, back_up, restore, verify
from safebackup.errors import (
    AccessError,
    Code,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
    StorageError,
)
from safebackup.format.header import Kind
from safebackup.format.objects import Identity, build_record, read_record
from safebackup.format.records import KeySlot, Secrets, SnapshotBody
from safebackup.repository import KeyFile, Passphrase
from safebackup.repository.key_slots import KeyInfo, add_key, list_keys, remove_key, rotate_keys
from safebackup.repository.keys import EPOCH_MAX, NO_KEYS, Key, build_slot, next_epoch, read_slots, unite, unlock
from safebackup.repository.repository import attach, found
from safebackup.repository.runtime import Runtime
from safebackup.storage import DeleteStore, MemoryStore, ObjectInfo
from safebackup.testing import CrashingStore, FaultyStore, RecordingStore, SimulatedCrash
from tests import independent_reader
from tests.faults import tampered
from tests.simulation.scheduling import PausingStore, run_at_random, run_in_stages

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
_numbers = itertools.count()


class KeptStore(RecordingStore):
    """After every change of a key slot, every epoch that was ever put must be open to one of `keys`."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.keys: list[Key] = []
        self.seen: set[int] = set()
        self.violations: list[str] = []

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        super().put_new(name, data)
        self._check(name)

    def delete(self, name: str) -> None:
        super().delete(name)
        self._check(name)

    def _check(self, name: str) -> None:
        if not self.keys or not name.startswith("keys/"):
            return
        opened = set().union(*(epochs(self.store, key) for key in self.keys))
        self.seen |= opened | {slot.epoch for slot in _slots(self.store).values()}
        if self.seen - opened or not opened:
            self.violations.append(f"after a change of {name} nobody opens {self.seen - opened}")


def _configuration(store: DeleteStore) -> tuple[bytes, str]:
    (info,) = store.list("config/")
    return store.get(info.name, start=24, length=16), info.name


def _slots(store: DeleteStore) -> dict[str, KeySlot]:
    return read_slots(store, _configuration(store)[0])[0]


def epochs(store: DeleteStore, key: Key) -> set[int]:
    """What `key` opens; nothing, if it opens no slot."""
    repository, configuration = _configuration(store)
    try:
        return set(unlock(store, repository, key, configuration=configuration).classes)
    except AccessError:
        return set()


@attrs.frozen
class Ring:
    """A sealed repository that is opened by `a`, and key files to change that."""

    folder: Path
    store: KeptStore

    def key(self, name: str) -> KeyFile:
        path = self.folder / name
        return KeyFile(path) if path.exists() else KeyFile.create(path)

    def reach(self, store: DeleteStore | None = None, key: Key | None = None) -> Repository:
        return attach(store or self.store, key=key or self.key("a"), runtime=Runtime())

    def add(self, *names: str) -> dict[str, str]:
        """Add these keys; their slots' ids by name."""
        return {name: add_key(self.reach(), key=self.key("a"), new=self.key(name), label=name).id for name in names}

    def watched(self, *names: str) -> Ring:
        self.store.keys = [self.key(name) for name in names]
        self.store.seen = set()
        return self

    def copy(self) -> Ring:
        other = Ring(self.folder, KeptStore(_empty()))
        for info in self.store.list(""):
            other.store.store.put_new(info.name, self.store.get(info.name))
        other.store.keys = self.store.keys
        return other

    def opens(self, *names: str) -> dict[str, set[int]]:
        return {name: epochs(self.store.store, self.key(name)) for name in names}

    def forget(self) -> None:
        assert self.store.violations == []
        for info in self.store.store.list(""):
            self.store.store.delete(info.name)


def _empty() -> MemoryStore:
    store = MemoryStore(f"keys-{next(_numbers)}")
    store.create_root()
    return store


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    ring = Ring(tmp_path, KeptStore(_empty()))
    found(ring.store, key=ring.key("a"), runtime=Runtime())
    yield ring
    ring.forget()


def ids(infos: tuple[KeyInfo, ...]) -> set[str]:
    return {info.id for info in infos}


# Listing


def test_a_list_tells_which_slot_is_whose(ring: Ring) -> None:
    added = ring.add("b")

    listed = list_keys(ring.reach(), key=ring.key("b"))

    assert [(info.label, info.method, info.epoch, info.current, info.this) for info in listed.keys] == [
        ("", "key-file", 1, True, False),
        ("b", "key-file", 1, True, True),
    ]
    assert listed.keys[1].id == added["b"]
    assert ids(listed.keys) == {info.name.partition("/")[2] for info in ring.store.list("keys/")}
    assert not listed.findings


def test_a_list_takes_no_key_and_refuses_a_wrong_one(ring: Ring) -> None:
    assert [info.this for info in list_keys(ring.reach()).keys] == [False]
    with pytest.raises(AccessError):
        list_keys(ring.reach(), key=ring.key("other"))


def test_a_damaged_slot_is_a_finding_and_can_be_removed(ring: Ring) -> None:
    damaged = f"keys/{ring.add('b')['b']}"
    tampered(ring.store.store, damaged, b"no slot")
    repository = ring.reach()

    listed = list_keys(repository)

    assert [info.epoch for info in listed.keys] == [1]
    assert [(finding.code, finding.subject) for finding in listed.findings] == [(Code.DAMAGED_OBJECT, damaged)]
    assert damaged not in [f"keys/{each}" for each in ids(remove_key(repository, damaged[5:], key=ring.key("a")).keys)]
    assert not list_keys(repository).findings


def test_what_a_stranger_wrote_into_a_slot_prints_on_one_line(ring: Ring) -> None:
    repository = ring.reach()
    slot = KeySlot(epoch=1, method="scr\nypt", created=0, label="\x1b[2J" * 99, salt=b"", cost=(0, 0, 0), sealed=b"")
    forged = build_record(Identity(repository.identity.repository, NO_KEYS), Kind.KEY_SLOT, slot, salt=os.urandom(32))
    ring.store.put_new(forged.name, forged.data)

    (info,) = [info for info in list_keys(repository).keys if f"keys/{info.id}" == forged.name]

    assert (info.method + info.label).isprintable()
    assert len(info.label) < 2000


@pytest.mark.parametrize("epoch", [-1, 0, EPOCH_MAX + 1, 1 << 63])
def test_an_epoch_that_no_object_can_name_is_damage(ring: Ring, epoch: int) -> None:
    repository = ring.reach()
    slot = KeySlot(epoch=epoch, method="key-file", created=0, label="", salt=b"", cost=(0, 0, 0), sealed=b"")
    forged = build_record(Identity(repository.identity.repository, NO_KEYS), Kind.KEY_SLOT, slot, salt=os.urandom(32))
    ring.store.put_new(forged.name, forged.data)

    listed = list_keys(ring.reach())

    assert [info.current for info in listed.keys] == [True]
    assert [finding.subject for finding in listed.findings] == [forged.name]
    rotate_keys(ring.reach(), key=ring.key("a"))


def test_a_plain_repository_has_no_keys() -> None:
    store = _empty()
    repository = found(store, key=None, runtime=Runtime())
    key = Passphrase("any")
    changes: list[Callable[[], object]] = [
        lambda: list_keys(repository),
        lambda: add_key(repository, key=key, new=Passphrase("other")),
        lambda: remove_key(repository, "00", key=key),
        lambda: rotate_keys(repository, key=key),
    ]
    for change in changes:
        with pytest.raises(ConfigurationError) as caught:
            change()
        assert caught.value.code is Code.KEY_NOT_WANTED
        assert "not encrypted" in caught.value.message


# Adding


def test_an_added_key_opens_everything_of_all_epochs(ring: Ring) -> None:
    rotate_keys(ring.reach(), key=ring.key("a"))

    info = add_key(ring.reach(), key=ring.key("a"), new=ring.key("b"), label="laptop")

    assert ring.opens("a") == {"a": ring.opens("b")["b"]}
    assert len(ring.opens("b")["b"]) == 2
    assert (info.label, info.current, info.this) == ("laptop", True, False)
    assert ring.reach(key=ring.key("b")).keyring == ring.reach().keyring


def test_a_key_is_not_added_twice_nor_with_a_wrong_one(ring: Ring) -> None:
    ring.add("b")
    before = ring.store.list("keys/")
    with pytest.raises(ConflictError) as caught:
        ring.add("b")
    assert caught.value.code is Code.KEY_EXISTS
    with pytest.raises(AccessError):
        add_key(ring.reach(), key=ring.key("other"), new=ring.key("c"))
    assert ring.store.list("keys/") == before


def test_a_passphrase_is_added_beside_a_key_file(ring: Ring) -> None:
    phrase = Passphrase("five words are better than one")
    assert add_key(ring.reach(), key=ring.key("a"), new=phrase).method == "scrypt"
    assert epochs(ring.store, phrase) == {1}


def test_a_key_that_was_left_out_of_a_rotation_can_be_added_again(ring: Ring) -> None:
    ring.add("b")
    rotate_keys(ring.reach(), key=ring.key("a"))
    assert ring.opens("b") == {"b": {1}}

    ring.add("b")

    assert ring.opens("b")["b"] == ring.opens("a")["a"]


@pytest.mark.parametrize("label", ["x" * 201, "\udcff", 3, None])
def test_a_label_that_cannot_be_kept_is_refused(ring: Ring, label: object) -> None:
    with pytest.raises(ConfigurationError):
        add_key(ring.reach(), key=ring.key("a"), new=ring.key("b"), label=label)  # type: ignore[arg-type]
    assert len(ring.store.list("keys/")) == 1


@pytest.mark.parametrize("bad", [None, "a passphrase", b"x", 5])
def test_what_is_no_key_is_refused_by_each_argument(ring: Ring, bad: object) -> None:
    key, repository = ring.key("a"), ring.reach()
    changes: list[Callable[[], object]] = [
        lambda: add_key(repository, key=bad, new=key),  # type: ignore[arg-type]
        lambda: add_key(repository, key=key, new=bad),  # type: ignore[arg-type]
        lambda: remove_key(repository, "00", key=bad),  # type: ignore[arg-type]
        lambda: rotate_keys(repository, key=bad),  # type: ignore[arg-type]
        lambda: rotate_keys(repository, key=key, keep=[bad]),  # type: ignore[list-item]
        lambda: rotate_keys(repository, key=key, keep=bad if bad != b"x" else "x"),  # type: ignore[arg-type]
    ]
    for change in changes:
        with pytest.raises(ConfigurationError):
            change()
    assert len(ring.store.list("keys/")) == 1


# Removing


def test_a_removed_key_opens_nothing_and_the_others_do(ring: Ring) -> None:
    added = ring.add("b", "c")

    listed = remove_key(ring.reach(), added["b"][:8].upper(), key=ring.key("a"))

    assert ring.opens("a", "b", "c") == {"a": {1}, "b": set(), "c": {1}}
    assert len(listed.keys) == 2
    assert [info.label for info in listed.keys if info.this] == [""]
    assert [finding.code for finding in listed.findings] == [Code.KEY_MAY_BE_KNOWN]


def test_a_passphrase_is_changed_by_adding_and_removing(ring: Ring) -> None:
    added = add_key(ring.reach(), key=ring.key("a"), new=ring.key("b"))
    (old,) = [info.id for info in list_keys(ring.reach()).keys if info.id != added.id]

    remove_key(ring.reach(), old, key=ring.key("b"))

    assert ring.opens("a", "b") == {"a": set(), "b": {1}}


def test_no_key_removes_itself(ring: Ring) -> None:
    (own,) = ids(list_keys(ring.reach()).keys)
    with pytest.raises(RefusedError) as caught:
        remove_key(ring.reach(), own, key=ring.key("a"))
    assert caught.value.code is Code.KEY_STILL_NEEDED
    assert ids(list_keys(ring.reach()).keys) == {own}


def test_a_key_does_not_remove_what_opens_a_newer_epoch(ring: Ring) -> None:
    ring.add("b")
    (current,) = [info.id for info in rotate_keys(ring.reach(), key=ring.key("a")).keys if info.current]
    with pytest.raises(RefusedError) as caught:
        remove_key(ring.reach(key=ring.key("b")), current, key=ring.key("b"))
    assert caught.value.code is Code.KEY_STILL_NEEDED
    assert len(ring.opens("a")["a"]) == 2


@pytest.mark.parametrize("prefix", ["", "zz", "keys/", None])
def test_an_id_that_is_none_is_refused(ring: Ring, prefix: object) -> None:
    with pytest.raises(NotFoundError if prefix else ConfigurationError):
        remove_key(ring.reach(), prefix, key=ring.key("a"))  # type: ignore[arg-type]
    assert len(ring.store.list("keys/")) == 1


def test_an_id_that_fits_several_slots_is_refused(ring: Ring) -> None:
    added = ring.add(*(f"k{number}" for number in range(20)))
    first = next(each[0] for each in added.values() if sum(other[0] == each[0] for other in added.values()) > 1)
    with pytest.raises(NotFoundError) as caught:
        remove_key(ring.reach(), first, key=ring.key("a"))
    assert caught.value.code is Code.NO_KEY_SLOT
    assert len(ring.store.list("keys/")) == 21


def test_the_label_of_the_key_that_stays_is_kept(ring: Ring) -> None:
    added = ring.add("b", "c")
    remove_key(ring.reach(), added["c"], key=ring.key("b"))
    assert sorted(info.label for info in list_keys(ring.reach()).keys) == ["", "b"]


class AppendOnly:
    """A store without `delete`."""

    def __init__(self, store: DeleteStore) -> None:
        self._store = store
        self.url = store.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._store.get(name, start=start, length=length)

    def list(self, prefix: str) -> list[ObjectInfo]:
        return self._store.list(prefix)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._store.put_new(name, data)


def test_where_nothing_can_be_deleted_keys_are_added_and_not_removed(ring: Ring) -> None:
    repository = attrs.evolve(ring.reach(), store=AppendOnly(ring.store))
    added = add_key(repository, key=ring.key("a"), new=ring.key("b"))
    before = ring.store.list("keys/")
    for change in (partial(remove_key, id_prefix=added.id), rotate_keys):
        with pytest.raises(ConfigurationError, match="cannot delete"):
            change(repository, key=ring.key("a"))
    assert ring.store.list("keys/") == before


def test_changes_of_keys_touch_nothing_but_keys(ring: Ring) -> None:
    ring.store.calls.clear()
    added = ring.add("b", "c")
    remove_key(ring.reach(), added["c"], key=ring.key("a"))
    rotate_keys(ring.reach(), key=ring.key("a"), keep=[ring.key("b")])
    changed = {name.partition("/")[0] for verb, name in ring.store.calls if verb in ("put_new", "delete")}
    assert changed == {"keys"}


class Forgetful(RecordingStore):
    """What is put into it is gone, or other, when it is read."""

    def __init__(self, store: KeptStore, damage: Callable[[KeptStore, str], object]) -> None:
        super().__init__(store)
        self._kept = store
        self._damage = damage

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        super().put_new(name, data)
        self._damage(self._kept, name)


@pytest.mark.parametrize("change", ["remove", "rotate"])
def test_nothing_is_removed_until_the_fresh_slot_was_read_back(ring: Ring, change: str) -> None:
    added = ring.add("b")
    before = ring.opens("a", "b")
    cases: list[tuple[Callable[[KeptStore, str], object], type[SafeBackupError]]] = [
        (lambda store, name: store.delete(name), ConflictError),
        (lambda store, name: tampered(store.store, name, b"other"), IntegrityError),
    ]
    for damage, error in cases:
        repository = ring.reach(Forgetful(ring.store, damage))
        with pytest.raises(error):
            if change == "remove":
                remove_key(repository, added["b"], key=ring.key("a"))
            else:
                rotate_keys(repository, key=ring.key("a"))
        assert ring.opens("a", "b") == before


# Rotating


def test_a_rotation_starts_an_epoch_for_the_keys_that_are_kept(ring: Ring) -> None:
    ring.add("b", "c")
    before = ring.reach().keyring

    listed = rotate_keys(ring.reach(), key=ring.key("a"), keep=[ring.key("b"), ring.key("a"), ring.key("b")])

    after = ring.reach().keyring
    assert sorted((info.label, info.current, info.this) for info in listed.keys) == [
        ("", True, True),
        ("b", True, False),
        ("c", False, False),
    ]
    assert [finding.code for finding in listed.findings] == [Code.KEY_MAY_BE_KNOWN]
    assert ring.opens("a", "b", "c") == {"a": {1, after.epoch}, "b": {1, after.epoch}, "c": {1}}
    assert after.classes[1] == before.classes[1]
    assert (after.identity, after.chunker_seed) == (before.identity, before.chunker_seed)
    assert not set(after.classes[1].values()) & set(after.classes[after.epoch].values())


def test_a_rotation_with_every_key_leaves_nothing_behind(ring: Ring) -> None:
    ring.add("b")
    listed = rotate_keys(ring.reach(), key=ring.key("a"), keep=[ring.key("b")])
    assert [info.current for info in listed.keys] == [True, True]
    assert not listed.findings


def test_a_wrong_key_to_keep_changes_nothing(ring: Ring) -> None:
    before = ring.store.list("keys/")
    with pytest.raises(AccessError):
        rotate_keys(ring.reach(), key=ring.key("a"), keep=[ring.key("other")])
    assert ring.store.list("keys/") == before


def test_a_key_that_was_left_out_rotates_and_adds_nothing(ring: Ring) -> None:
    ring.add("b")
    rotate_keys(ring.reach(), key=ring.key("a"))
    old = ring.reach(key=ring.key("b"))
    before = ring.store.list("keys/")
    for change in (rotate_keys, partial(add_key, new=ring.key("c"))):
        with pytest.raises(RefusedError) as caught:
            change(old, key=ring.key("b"))
        assert caught.value.code is Code.KEY_OUTDATED
    assert ring.store.list("keys/") == before
    rotate_keys(old, key=ring.key("b"), keep=[ring.key("a")])
    assert ring.opens("b")["b"] == ring.opens("a")["a"]


def test_epochs_rise_by_steps_that_nobody_can_tell(ring: Ring) -> None:
    secrets = Secrets(configuration="", identity=b"", chunker_seed=0, classes={7: {}})
    steps = {max(next_epoch(secrets, Runtime()).classes) - 7 for _ in range(50)}
    assert len(steps) > 40
    assert 1 <= min(steps) <= max(steps) <= 1 << 20
    with pytest.raises(RefusedError):
        next_epoch(msgspec.structs.replace(secrets, classes={EPOCH_MAX: {}}), Runtime())


def test_the_secrets_of_slots_are_united_class_by_class() -> None:
    def secrets(identity: bytes, classes: dict[int, dict[str, bytes]], configuration: str = "c") -> Secrets:
        return Secrets(configuration=configuration, identity=identity, chunker_seed=len(identity), classes=classes)

    status = secrets(b"", {1: {"status": b"s1"}, 3: {"status": b"s3"}})
    first = secrets(b"i", {1: {"data": b"d1", "status": b"s1"}})
    second = secrets(b"i", {2: {"data": b"d2"}})
    whole = {1: {"data": b"d1", "status": b"s1"}, 2: {"data": b"d2"}, 3: {"status": b"s3"}}
    for order in itertools.permutations([("x", status), ("y", first), ("z", second)]):
        assert unite(dict(order)) == secrets(b"i", whole)
    for other in (secrets(b"j", {}), secrets(b"i", {1: {"status": b"t1"}})):
        with pytest.raises(IntegrityError) as caught:
            unite({"x": first, "y": other})
        assert caught.value.code is Code.KEYS_CONTRADICT


# In use


def test_what_was_written_before_and_after_a_rotation_is_restored(tmp_path: Path) -> None:
    key, other = KeyFile.create(tmp_path / "key"), KeyFile.create(tmp_path / "other")
    repository = Repository.create(tmp_path / "repository", key=key)
    add_key(repository, key=key, new=other)
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"before")
    back_up(source, into=repository)
    rotate_keys(repository, key=key)
    (source / "file").write_bytes(b"with the handle of before")
    back_up(source, into=repository)
    (source / "file").write_bytes(b"after")
    (source / "new").write_bytes(os.urandom(1000))
    back_up(source, into=Repository.open(tmp_path / "repository", key=key))

    reopened = Repository.open(tmp_path / "repository", key=key)

    contents = []
    for number, snapshot in enumerate(reopened.snapshots()):
        assert restore(snapshot, to=tmp_path / str(number)).complete
        contents.append((tmp_path / str(number) / "file").read_bytes())
    assert contents == [b"before", b"with the handle of before", b"after"]
    assert len(Repository.open(tmp_path / "repository", key=other).snapshots()) == 2
    independent = independent_reader.Repository(str(tmp_path / "repository"), key_file=(tmp_path / "key").read_bytes())
    assert len(independent.snapshots) == 3
    assert independent.problems == {}


def test_a_handle_of_before_a_rotation_is_told_to_open_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = KeyFile.create(tmp_path / "key")
    repository = Repository.create(tmp_path / "repository", key=key)
    (tmp_path / "source").mkdir()
    rotate_keys(repository, key=key)
    (tmp_path / "source" / "file").write_bytes(b"content")
    snapshot = back_up(tmp_path / "source", into=Repository.open(tmp_path / "repository", key=key)).snapshot

    assert repository.snapshots() == []
    assert "open it again" in caplog.text
    with pytest.raises(ConfigurationError, match="open it again") as caught:
        read_record(
            repository.store.get(snapshot.name),
            SnapshotBody,
            name=snapshot.name,
            kind=Kind.SNAPSHOT,
            identity=repository.identity,
        )
    assert caught.value.code is Code.KEY_REQUIRED


# Cut off anywhere

Act = Callable[[Ring, DeleteStore], object]


def _adding(ring: Ring, store: DeleteStore) -> object:
    return add_key(ring.reach(store), key=ring.key("a"), new=ring.key("n"))


def _removing(ring: Ring, store: DeleteStore) -> object:
    (target,) = [info.id for info in list_keys(ring.reach()).keys if info.label == "b"] or ["none"]
    return remove_key(ring.reach(store), target, key=ring.key("a"))


def _rotating(ring: Ring, store: DeleteStore) -> object:
    return rotate_keys(ring.reach(store), key=ring.key("a"), keep=[ring.key("b")])


ACTS = {"adding": _adding, "removing": _removing, "rotating": _rotating}
FAULTS: dict[str, Callable[[DeleteStore, int], DeleteStore]] = {
    "crash": lambda store, moment: CrashingStore(store, before=moment),
    "once": lambda store, moment: FaultyStore(store, at=moment),
    "for ever": lambda store, moment: FaultyStore(store, at=moment, times=None),
    "answer lost": lambda store, moment: FaultyStore(store, at=moment, answer_lost=True),
    "answers lost for ever": lambda store, moment: FaultyStore(store, at=moment, times=None, answer_lost=True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("act", ACTS)
def test_whatever_is_cut_off_anywhere_locks_nobody_out(ring: Ring, act: str, fault: str) -> None:
    ring.add("b", "c")
    rotate_keys(ring.reach(), key=ring.key("a"), keep=[ring.key("b"), ring.key("c")])
    ring.watched("a", "b", "c")
    recorded = RecordingStore(ring.copy().store)
    ACTS[act](ring, recorded)
    assert len(recorded.calls) > 8
    for moment in range(1, len(recorded.calls) + 2):
        world = ring.copy()
        before = world.opens("a", "c")
        with suppress(SimulatedCrash, StorageError):
            ACTS[act](world, FAULTS[fault](world.store, moment))
        assert world.store.violations == []
        after = world.opens("a", "b", "c", "n")
        assert before["a"] <= after["a"] >= after["b"] | after["c"] | after["n"]
        assert before["c"] <= after["c"]
        with suppress(ConflictError, NotFoundError):  # it was added, or removed, before the cut
            ACTS[act](world, world.store)
        _require_done(world, act)
        world.forget()


def _require_done(ring: Ring, act: str) -> None:
    opens = ring.opens("a", "b", "n")
    if act == "adding":
        assert opens["n"] == opens["a"] == opens["b"]
    elif act == "removing":
        assert opens["b"] == set() != opens["a"]
    else:
        assert opens["b"] == opens["a"]
        assert len(opens["a"]) > 2
        # Nothing is left of what was cut off: one slot for each of a and b, and that of c.
        assert len(ring.store.list("keys/")) == 3


def test_data_written_after_a_cut_rotation_is_readable_by_the_key_that_rotated(ring: Ring, tmp_path: Path) -> None:
    ring.add("b")
    source = tmp_path / "source"
    source.mkdir()
    for moment in itertools.count(1):
        world = ring.copy()
        store = CrashingStore(world.store, before=moment)
        with suppress(SimulatedCrash):
            _rotating(world, store)
        for name in ("b", "a"):
            (source / "file").write_bytes(name.encode() + os.urandom(20))
            back_up(source, into=world.reach(key=world.key(name)), workers=1)
        assert len(world.reach().snapshots()) == 2
        _rotating(world, world.store)
        assert len(world.reach(key=world.key("b")).snapshots()) == 2
        world.forget()
        if not store.crashed:
            break
    assert moment > 8


# Several at once


def test_a_reader_opens_it_wherever_a_rotation_comes_between(ring: Ring) -> None:
    for moment in itertools.count(1):
        world = ring.copy()
        store = PausingStore(world.store, before=moment, meanwhile=partial(_rotate, world, world.store, "a"))
        attach(store, key=world.key("a"), runtime=Runtime())
        world.forget()
        if not store.paused:
            break
    assert moment > 3


def _told(ring: Ring, change: Callable[[], object], told: list[BaseException | None]) -> None:
    try:
        change()
    except SafeBackupError as error:
        told.append(error)
    else:
        told.append(None)


def _remove(ring: Ring, store: DeleteStore, id: str, key: str) -> object:
    return remove_key(ring.reach(store, ring.key(key)), id, key=ring.key(key))


def _rotate(ring: Ring, store: DeleteStore, key: str, *keep: str) -> object:
    return rotate_keys(ring.reach(store, ring.key(key)), key=ring.key(key), keep=[ring.key(each) for each in keep])


def _add(ring: Ring, store: DeleteStore, key: str, new: str) -> object:
    return add_key(ring.reach(store, ring.key(key)), key=ring.key(key), new=ring.key(new))


def test_two_who_remove_each_other_never_remove_the_last_key(ring: Ring) -> None:
    added = ring.add("b")
    (own,) = ids(list_keys(ring.reach()).keys) - {added["b"]}
    ring.watched("a", "b")
    for moment in itertools.count(1):
        world = ring.copy()
        told: list[BaseException | None] = []
        meanwhile = partial(_told, world, partial(_remove, world, world.store, own, "b"), told)
        store = PausingStore(world.store, before=moment, meanwhile=meanwhile)
        _told(world, partial(_remove, world, store, added["b"], "a"), told)
        assert any(world.opens("a", "b").values())
        assert None in told
        world.forget()
        if not store.paused:
            break
    assert moment > 8


@pytest.mark.parametrize("crash", [False, True])
def test_two_who_remove_each_other_in_any_two_steps_never_remove_the_last_key(ring: Ring, crash: bool) -> None:
    """So many operations of one, so many of the other, then the rest of both, or nothing more."""
    added = ring.add("b")
    (own,) = ids(list_keys(ring.reach()).keys) - {added["b"]}
    ring.watched("a", "b")
    for first, second in itertools.product(range(6, 22), repeat=2):
        world = ring.copy()

        def removal(target: str, key: str, last: int, world: Ring = world) -> Callable[[DeleteStore], object]:
            before = last + 1 if crash else 1 << 30
            return lambda store: _remove(world, CrashingStore(store, before=before), target, key)

        processes = {"a": removal(added["b"], "a", first), "b": removal(own, "b", second)}
        run_in_stages(world.store, processes, [("a", first), ("b", second)])
        assert world.store.violations == [], (first, second)
        assert any(world.opens("a", "b").values())
        world.forget()


@pytest.mark.parametrize("crash", [0.0, 0.6])
def test_any_three_changes_in_any_order_lock_nobody_out(ring: Ring, crash: float) -> None:
    """Each process may also have its key removed by another before it comes to its turn."""
    added = ring.add("b", "c")
    (own,) = ids(list_keys(ring.reach()).keys) - set(added.values())
    targets = {"a": own, **added}
    ring.watched("a", "b", "c", "n")
    for seed in range(3000 if LONG else 60):
        world, random = ring.copy(), Random(seed)
        processes = {f"{number}": _some_change(world, random, targets) for number in range(3)}
        outcomes = run_at_random(world.store, processes, random=random, crash=crash)
        for outcome in outcomes.values():
            assert isinstance(outcome.error, SafeBackupError | SimulatedCrash | None), f"seed {seed}"
            assert not isinstance(outcome.error, IntegrityError | StorageError), f"seed {seed}: {outcome.error}"
        assert world.store.violations == [], f"seed {seed}"
        world.forget()


def _some_change(ring: Ring, random: Random, targets: Mapping[str, str]) -> Callable[[DeleteStore], object]:
    key, other = random.sample(sorted(targets), 2)
    return random.choice(
        [
            lambda store: _remove(ring, store, targets[other], key),
            lambda store: _rotate(ring, store, key),
            lambda store: _rotate(ring, store, key, other),
            lambda store: _add(ring, store, key, "n"),
        ]
    )


def test_of_two_who_rotate_at_once_and_part_one_at_least_is_told(ring: Ring) -> None:
    """Each leaves out the other's key. Whoever is not told has rotated as if one had come after the other."""
    ring.add("b", "c")
    ring.watched("a", "b", "c")
    parted = 0
    for moment in itertools.count(1):
        world = ring.copy()
        told: list[BaseException | None] = []
        meanwhile = partial(_told, world, partial(_rotate, world, world.store, "b", "c"), told)
        store = PausingStore(world.store, before=moment, meanwhile=meanwhile)
        _told(world, partial(_rotate, world, store, "a", "c"), told)
        opens = world.opens("a", "b", "c")
        assert opens["c"] == opens["a"] | opens["b"]
        if not (opens["a"] >= opens["b"] or opens["b"] >= opens["a"]):
            parted += 1
            assert Code.KEYS_CHANGED in [error.code for error in told if isinstance(error, ConflictError)]
        _rotate(world, world.store, "a", "b", "c")
        opens = world.opens("a", "b", "c")
        assert opens["a"] == opens["b"] == opens["c"]
        world.forget()
        if not store.paused:
            break
    assert parted > 0


def test_two_who_rotate_with_one_key_at_once_keep_it_whole(ring: Ring) -> None:
    ring.watched("a")
    for seed in range(1000 if LONG else 60):
        world = ring.copy()
        processes = {each: partial(_rotate, world, key="a") for each in "12"}
        outcomes = run_at_random(world.store, processes, random=Random(seed))
        errors = [outcome.error for outcome in outcomes.values() if outcome.error]
        assert all(isinstance(error, ConflictError) and error.code is Code.KEYS_CHANGED for error in errors), errors
        assert len(errors) < 3
        _rotate(world, world.store, "a")
        assert len(world.store.list("keys/")) == 1
        assert len(world.opens("a")["a"]) == 4
        world.forget()


def test_who_adds_a_key_during_a_rotation_is_told(ring: Ring) -> None:
    left_out = 0
    for moment in itertools.count(1):
        world = ring.copy()
        told: list[BaseException | None] = []
        operations = RecordingStore(world.store)
        store = PausingStore(operations, before=moment, meanwhile=partial(_rotate, world, world.store, "a"))
        _told(world, partial(_add, world, store, "a", "n"), told)
        listed_again = operations.calls.count(("list", "keys/")) > 2  # to open it, to look, and after the put
        if told != [None]:
            assert [error.code for error in told if isinstance(error, SafeBackupError)] == [Code.KEYS_CHANGED]
            left_out += 1
            _add(world, world.store, "a", "n")
            assert world.opens("a")["a"] == world.opens("n")["n"]
        assert told != [None] or world.opens("a")["a"] == world.opens("n")["n"] or listed_again
        world.forget()
        if not store.paused:
            break
    assert left_out > 0


def test_two_copies_that_were_rotated_apart_contradict_each_other_only_in_one_number(ring: Ring) -> None:
    """Should two rotations ever draw one number, nobody decides in silence which keys are meant."""
    repository, configuration = _configuration(ring.store)
    secrets = unlock(ring.store, repository, ring.key("a"), configuration=configuration)
    apart = []
    for _ in range(2):
        one = msgspec.structs.replace(secrets, classes={**secrets.classes, 2: {"data": os.urandom(32)}})
        apart.append(build_slot(repository, one, ring.key("a"), Runtime()))
        ring.store.put_new(apart[-1].name, apart[-1].data)

    with pytest.raises(IntegrityError) as caught:
        ring.reach()

    assert caught.value.code is Code.KEYS_CONTRADICT
    ring.store.delete(apart[0].name)
    assert ring.opens("a") == {"a": {1, 2}}


def test_a_key_file_for_a_change_is_checked_like_any_other(ring: Ring) -> None:
    key = ring.key("b")
    os.chmod(key.path, stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(AccessError) as caught:
        add_key(ring.reach(), key=ring.key("a"), new=key)
    assert caught.value.code is Code.KEY_FILE_EXPOSED


def test_a_key_left_out_of_a_rotation_is_never_given_an_older_snapshot_as_the_latest(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("a")
    mine, theirs = KeyFile.create(tmp_path / "mine"), KeyFile.create(tmp_path / "theirs")
    repository = Repository.create(tmp_path / "repository", key=mine)
    first = back_up(tmp_path / "data", into=repository).snapshot
    add_key(repository, key=mine, new=theirs)
    rotate_keys(repository, key=mine)
    back_up(tmp_path / "data", into=Repository.open(tmp_path / "repository", key=mine))

    left_out = Repository.open(tmp_path / "repository", key=theirs)

    with pytest.raises(ConfigurationError) as caught:
        left_out.snapshot()
    assert caught.value.code is Code.KEY_REQUIRED
    assert [one.id for one in left_out.snapshots()] == [first.id]
    with pytest.raises(ConfigurationError, match="left out"):
        verify(left_out)
    assert left_out.snapshot(first.id[:12]).id == first.id
    assert verify(first).passed
    assert back_up(tmp_path / "data", into=left_out, parent=None).complete, "a key left out still adds"
