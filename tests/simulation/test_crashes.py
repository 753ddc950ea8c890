"""A power cut, a fault, or a lost answer at any operation of the store.

Afterwards every snapshot that was published, or is now, restores to the byte, a full verification finds no error,
and the same run succeeds when it is repeated (I7). A run that fails has published nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from safebackup import verify
from safebackup.errors import Code, ConflictError, StorageError
from safebackup.repository import KeyFile
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.repository import attach, found
from safebackup.repository.tidying import CATALOGUE_RECORDS_MIN
from safebackup.repository.tiering import FAN_IN, tier_of
from safebackup.storage import DeleteStore
from safebackup.testing import CrashingStore, FaultyStore, RecordingStore, SimulatedCrash
from tests.simulation.scenario import used_repository
from tests.simulation.scheduling import GatedStore
from tests.simulation.trees import describe, write_files
from tests.simulation.world import World, forget

T = TypeVar("T")
LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
Act = Callable[[World, DeleteStore], object]


@attrs.frozen(kw_only=True)
class Case:
    """A repository that is prepared, and what is then cut off; `source` is what a run backs up, if it does."""

    before: World
    act: Act
    source: Path

    def moments(self) -> list[int]:
        """The operations to try, by number: all but reads that follow a read, and one that never comes."""
        world = self.before.copy()
        store = RecordingStore(world.store)
        self.act(world, store)
        verbs = ["", *(verb for verb, _ in store.calls)]
        numbers = range(1, len(verbs))
        chosen = [number for number in numbers if LONG or not verbs[number - 1] == verbs[number] == "get"]
        return [*chosen, len(verbs) + 50]

    def require_sound(self, world: World) -> None:
        """Whatever was published restores, now and after the act was repeated."""
        new = describe(self.source)
        world.require_sound(new=new, restored=3)
        self.act(world, world.store)
        world.require_sound(new=new, restored=3)
        forget(world.store)


def first_backup(folder: Path) -> Case:
    source = folder / "source"
    write_files(source, {"small": b"small", "folder/large": os.urandom(700_000), "empty": b""})
    return Case(before=World.founded(folder), act=lambda world, store: world.back_up(source, store), source=source)


def backup_with_changes(folder: Path) -> Case:
    scenario = used_repository(folder)
    return Case(
        before=scenario.used,
        act=lambda world, store: world.back_up(scenario.first, store),
        source=scenario.first,
    )


def backup_that_merges(folder: Path) -> Case:
    """Enough indexes, journal records and catalogues that the next run merges all three."""
    world, source = World.founded(folder), folder / "source"
    repository = world.reach()
    for number in range(FAN_IN - 1):
        for _ in range(CATALOGUE_RECORDS_MIN):
            body = journal_body(repository, run=os.urandom(16), kind="test", outcome="", started=0, heads=())
            write_journal(repository, body)
        write_files(source, {"changes": b"state %d" % number})
        world.back_up(source)
    for _ in range(CATALOGUE_RECORDS_MIN):
        write_journal(
            repository, journal_body(repository, run=os.urandom(16), kind="test", outcome="", started=0, heads=())
        )
    write_files(source, {"changes": b"the last state"})
    return Case(before=world, act=lambda world, store: world.back_up(source, store), source=source)


def deletion(folder: Path) -> Case:
    scenario = used_repository(folder)
    scenario.used.back_up(scenario.first)

    def act(world: World, store: DeleteStore) -> None:
        world.remove(*world.snapshots(), store=store)
        world.delete(store, ends=True)

    return Case(before=scenario.used, act=act, source=scenario.first)


CASES = [first_backup, backup_with_changes, backup_that_merges, deletion]
BACKUPS = [first_backup, backup_with_changes, backup_that_merges]


@pytest.fixture
def case(request: pytest.FixtureRequest, folder: Path) -> Case:
    make: Callable[[Path], Case] = request.param
    place = folder / f"{make.__name__}-{len(list(folder.iterdir()))}"
    place.mkdir()
    return make(place)


def test_the_backup_that_merges_does_merge(folder: Path) -> None:
    (folder / "merges").mkdir()
    case = backup_that_merges(folder / "merges")
    store = RecordingStore(case.before.store)
    case.act(case.before, store)
    put = [(name.split("/")[0], tier_of(name)) for verb, name in store.calls if verb == "put_new" and name[0] in "ic"]
    assert ("index", 0) in put
    assert {kind for kind, tier in put if tier > 1} == {"index", "catalogues"}  # the carry rippled through tiers


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_power_cut_anywhere_loses_nothing(case: Case) -> None:
    crashed = True
    for moment in case.moments():
        world = case.before.copy()
        store = CrashingStore(world.store, before=moment)
        with contextlib.suppress(SimulatedCrash):
            case.act(world, store)
        case.require_sound(world)
        crashed = store.crashed
    assert not crashed  # the last moment is beyond the end


@pytest.mark.parametrize("answer_lost", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "for ever"])
@pytest.mark.parametrize("case", CASES, indirect=True)
def test_a_fault_anywhere_loses_nothing(case: Case, times: int | None, answer_lost: bool) -> None:
    faults = 1
    for moment in case.moments():
        world = case.before.copy()
        store = FaultyStore(world.store, at=moment, times=times, answer_lost=answer_lost)
        with contextlib.suppress(StorageError):
            case.act(world, store)
        case.require_sound(world)
        faults = store.faults
    assert not faults  # the last moment is beyond the end


def failures_that_published(case: Case, *, times: int | None, answer_lost: bool) -> list[tuple[str, str]]:
    """Where a fault made a backup fail although its snapshot is there; every other failure published nothing."""
    before = set(case.before.snapshots())
    published = []
    for moment in case.moments():
        world = case.before.copy()
        store = RecordingStore(FaultyStore(world.store, at=moment, times=times, answer_lost=answer_lost))
        try:
            case.act(world, store)
        except StorageError:
            if set(world.snapshots()) != before:
                published.append(store.calls[moment - 1])
        else:
            assert len(world.snapshots()) == len(before) + 1
        forget(world.store)
    return published


@pytest.mark.parametrize("answer_lost", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("case", BACKUPS, indirect=True)
def test_a_store_that_is_gone_for_good_hides_a_publication_only_from_the_commit_on(
    case: Case, answer_lost: bool
) -> None:
    """The answer to the snapshot's own put, or to the last look, is lost: nobody can know, and failure is told."""
    published = failures_that_published(case, times=None, answer_lost=answer_lost)
    expected = [("put_new", "snapshots")] if answer_lost else []
    assert [(verb, name.split("/")[0]) for verb, name in published] == [*expected, ("list", "deaths")]


@pytest.mark.parametrize("answer_lost", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("case", BACKUPS, indirect=True)
def test_nothing_is_published_when_one_fault_makes_a_run_fail(case: Case, answer_lost: bool) -> None:
    assert failures_that_published(case, times=1, answer_lost=answer_lost) == []


def test_a_verification_after_a_deleter_was_cut_off_finds_no_damage(folder: Path) -> None:
    (folder / "deleter-cut-off").mkdir()
    case = deletion(folder / "deleter-cut-off")
    for moment in case.moments():
        world = case.before.copy()
        with contextlib.suppress(SimulatedCrash):
            case.act(world, CrashingStore(world.store, before=moment))
        report = verify(world.reach(), record=False)
        assert report.passed, report.findings
        forget(world.store)


def test_a_merge_of_indexes_after_a_deleter_was_cut_off_loses_nothing(folder: Path) -> None:
    """A doom alone condemns no chunk: until a deleter has copied it, the doomed pack is the only place of it."""
    source = folder / "merged-after-doom"
    write_files(source, {"first": b"the first state"})
    world = World.founded(folder)
    world.back_up(source)
    with pytest.raises(SimulatedCrash):
        world.delete(CutAfterDoom(world.store))
    for number in range(FAN_IN):
        write_files(source, {"changes": b"state %d" % number})
        world.back_up(source)
    assert any(tier_of(info.name) for info in world.store.store.list("index/"))
    world.require_sound()


FAULTS: list[Callable[[DeleteStore, int], DeleteStore]] = [
    lambda store, moment: CrashingStore(store, before=moment),
    lambda store, moment: FaultyStore(store, at=moment),
    lambda store, moment: FaultyStore(store, at=moment, times=None),
    lambda store, moment: FaultyStore(store, at=moment, answer_lost=True),
    lambda store, moment: FaultyStore(store, at=moment, times=None, answer_lost=True),
]


@pytest.mark.parametrize("sealed", [False, True])
def test_a_creation_that_was_cut_off_is_repeated(folder: Path, sealed: bool) -> None:
    key = KeyFile.create(folder / "key") if sealed else None
    source = folder / "created"
    write_files(source, {"file": b"content"})

    for make in FAULTS:
        for moment in range(1, 30):
            world = World(folder, key=key)
            with contextlib.suppress(SimulatedCrash, StorageError):
                found(make(world.store, moment), key=key, runtime=world.runtime)
            try:
                found(world.store, key=key, runtime=world.runtime)
            except ConflictError as error:
                assert error.code is Code.REPOSITORY_EXISTS
            world.store.repository = attach(world.store, key=key, runtime=world.runtime)
            world.back_up(source)
            world.require_sound()
            forget(world.store)


@pytest.mark.parametrize("finished", [1, 3])
@pytest.mark.parametrize("is_first", [True, False], ids=["first run", "later run"])
def test_an_interrupted_run_does_not_store_finished_packs_again(folder: Path, is_first: bool, finished: int) -> None:
    source = folder / "large"
    write_files(source, {"small": b"small"})
    world = World.founded(folder)
    if not is_first:
        world.back_up(source)
    write_files(source, {f"file-{number}": os.urandom(5 << 20) for number in range(12)})
    cut = CutAfterPacks(world.store, finished)
    with pytest.raises(SimulatedCrash):
        world.back_up(source, cut)
    assert len(world.store.store.list("data/")) == finished + (not is_first)
    stored = world.back_up(source).stored_bytes
    total = 60 << 20
    assert stored <= total - finished * (16 << 20) + (1 << 20)
    assert sum(info.size_bytes for info in world.store.store.list("data/")) <= total + (1 << 20)
    world.require_sound(restored=1)
    forget(world.store)
    shutil.rmtree(source)


class CutAfterDoom(GatedStore):
    """The power fails once a doom is there."""

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        result = act()
        if operation.startswith("put_new dooms/"):
            raise SimulatedCrash("the power failed")
        return result


class CutAfterPacks(GatedStore):
    """The power fails once so many data packs are there; no index names them yet."""

    def __init__(self, store: DeleteStore, packs: int) -> None:
        super().__init__(store)
        self._left = packs

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        is_pack = operation.startswith("put_new data/")
        if self._left == 0 and (is_pack or not operation.startswith("get ")):
            raise SimulatedCrash("the power failed")
        self._left -= is_pack
        return act()
