"""What a backup asks of a store that is far away: how many requests, and how many of them wait for one another.

`SAFEBACKUP_LONG=1` does it with 80,000 files. An operation of the store is one request: on a `RemoteStore` a listing
is one for each page, and one more if it is empty; a put is two where the server does not refuse by itself what is
there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import attrs
import pytest

from safebackup import Repository, Source, back_up, restore, verify
from safebackup.errors import StorageError
from safebackup.events import NoProgress
from safebackup.repository import KeyFile
from safebackup.repository.repository import attach, found
from safebackup.repository.runtime import Runtime
from safebackup.repository.tidying import CATALOGUE_RECORDS_MIN
from safebackup.storage import DeleteStore, MemoryStore, ObjectInfo
from safebackup.testing import CrashingStore, FaultyStore, SimulatedCrash
from safebackup.testing.faults import FarStore
from tests.simulation.world import ClockAhead

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
FILES = 80_000 if LONG else 20_000
INDEXES = max(1, FILES // 32_768)  # of the first backup: a long run puts one now and then
LISTINGS = 11  # of a backup: 7 to begin with, 4 around the commit
OTHERS = 9  # configuration, snapshot, journal, manifest; intent, snapshot, journal; text and script
OTHERS_MAX = 20  # whatever a backup that finds nothing changed asks beside listings, however many there were before
RUNTIME = Runtime(clock=ClockAhead(), host="host")
_numbers = itertools.count()


@attrs.frozen
class Scene:
    """A repository in memory, its key, and a tree of files."""

    store: MemoryStore
    key: KeyFile | None
    tree: Path

    @property
    def files(self) -> list[Path]:
        """All of them, in the order of the manifest."""
        return sorted(self.tree.rglob("*.txt"))

    def back_up(self, store: DeleteStore | None = None) -> None:
        """A run of a process of its own, from opening the repository to the end."""
        report = back_up(Source(self.tree, name="tree"), into=self.reach(store))
        assert report.complete

    def reach(self, store: DeleteStore | None = None) -> Repository:
        """Open the repository."""
        return attach(store or self.store, key=self.key, runtime=RUNTIME)

    def asked(self, act: Callable[[FarStore], object], *, latency: float = 0.0) -> Asked:
        """What something asks of the store."""
        far = FarStore(self.store, latency=latency)
        act(far)
        listings = sum(verb == "list" for verb, _ in far.calls)
        return Asked(listings, len(far.calls) - listings, far)

    def asked_for_backup(self, *, latency: float = 0.0) -> Asked:
        """What a backup asks of the store."""
        return self.asked(self.back_up, latency=latency)

    def copy(self) -> Scene:
        """The same in a store of its own."""
        copied = MemoryStore(f"counted-{next(_numbers)}")
        copied.create_root()
        for info in self.store.list(""):
            copied.put_new(info.name, self.store.get(info.name))
        return attrs.evolve(self, store=copied)


@attrs.frozen
class Asked:
    """Numbers of requests."""

    listings: int
    others: int
    store: FarStore


def founded(tree: Path, key: KeyFile | None = None) -> Scene:
    """A new repository, and a source that is there already."""
    store = MemoryStore(f"counted-{next(_numbers)}")
    store.create_root()
    found(store, key=key, runtime=RUNTIME)
    return Scene(store, key, tree)


def make_files(tree: Path, count: int) -> None:
    """Files of some bytes, 200 to a folder."""
    for number in range(count):
        folder = tree / f"d{number // 10_000:02}" / f"d{number // 200:04}"
        if number % 200 == 0:
            folder.mkdir(parents=True)
        (folder / f"{number:06}.txt").write_bytes(b"content of file %d\n" % number)


def change(files: list[Path], seed: int) -> None:
    """Other bytes in each."""
    random = Random(seed)
    for path in files:
        path.write_bytes(random.randbytes(100))


@pytest.fixture(scope="module")
def memory_folder() -> Iterator[Path]:
    """A folder in memory where there is one, as many small files are made."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module", params=["plain", "sealed"])
def large(request: pytest.FixtureRequest, memory_folder: Path) -> Scene:
    """Many files, backed up once. Nobody changes them."""
    tree = memory_folder / "many"
    if not tree.exists():
        make_files(tree, FILES)
    key = KeyFile.create(memory_folder / "key") if request.param == "sealed" else None
    scene = founded(tree, key)
    scene.back_up()
    return scene


@pytest.fixture
def small(memory_folder: Path) -> Scene:
    """A thousand files, not backed up yet."""
    tree = memory_folder / f"small-{next(_numbers)}"
    make_files(tree, 1000)
    return founded(tree)


def test_a_backup_that_finds_nothing_changed_asks_little(large: Scene) -> None:
    scene = large.copy()

    asked = scene.asked_for_backup()

    sealed = scene.key is not None
    assert asked.listings == LISTINGS + sealed
    assert asked.others <= OTHERS + sealed + INDEXES <= OTHERS_MAX
    listed = {name for verb, name in asked.store.calls if verb == "list"}
    assert listed.isdisjoint({"", "data/", "metadata/"})


def test_what_need_not_wait_for_one_another_does_not(large: Scene) -> None:
    scene = large.copy()

    # The better of two, as threads are not always on time.
    asked = min((scene.copy().asked_for_backup(latency=0.1) for _ in range(2)), key=lambda one: one.store.rounds)

    assert asked.store.at_once >= 3
    # Two to open; snapshots, the rest of lists, indexes or records; the manifest; intent, dooms, configuration, deaths,
    # snapshot, deaths; text and script. Two more for a key, and one to spare.
    assert asked.store.rounds <= 16 + 2 * (scene.key is not None) < asked.listings + asked.others


def test_requests_grow_with_what_changed_and_not_with_what_is_there(memory_folder: Path) -> None:
    tree = memory_folder / "changing"
    make_files(tree, FILES // 4)
    scene = founded(tree)
    scene.back_up()
    files = scene.files

    change(files[:1], seed=1)
    one = scene.copy().asked_for_backup()
    change(Random(1).sample(files, len(files) // 100), seed=2)
    many = scene.copy().asked_for_backup()

    for asked in (one, many):
        assert asked.listings == LISTINGS
        # A pack of data, one of metadata, an index, and one in which it is merged with another small one.
        assert asked.others <= OTHERS + 1 + 4
    assert many.others == one.others  # what so many more files need still fits into one pack of each kind


def test_one_file_is_restored_with_few_requests(large: Scene, tmp_path: Path) -> None:
    wanted = large.files[FILES // 2].relative_to(large.tree)

    asked = large.asked(lambda far: restore(large.reach(far).snapshot(), tmp_path / "to", paths=[wanted]))

    assert (tmp_path / "to" / wanted).read_bytes() == (large.tree / wanted).read_bytes()
    assert asked.listings <= 7 + (large.key is not None)
    assert asked.others <= 16


def test_a_hundred_snapshots_are_listed_with_few_requests_and_backups_ask_no_more_than_before(small: Scene) -> None:
    small.back_up()
    others = []
    for _ in range(100):
        asked = small.asked_for_backup()
        assert asked.listings == LISTINGS
        loose = [name for verb, name in asked.store.calls if verb == "get" and name.startswith(("snap", "journal/"))]
        assert len(loose) <= CATALOGUE_RECORDS_MIN - 2  # a run's own two records are in the catalogue that it puts
        others.append(asked.others)

    listed = small.asked(lambda far: small.reach(far).snapshots())

    assert len(small.reach().snapshots()) == 101
    assert max(others) <= OTHERS_MAX
    assert (listed.listings, listed.others) <= (5, 12)
    assert verify(small.reach(), level="full").passed


def test_a_hundred_backups_that_each_found_a_change_ask_little_more(small: Scene) -> None:
    files = small.files
    small.back_up()
    others = []
    for number in range(100):
        change(Random(number).sample(files, 3), seed=number)
        asked = small.asked_for_backup()
        assert asked.listings == LISTINGS
        # Pieces of the manifest lie in as many packs as there were days on which they changed last.
        manifest = [name for verb, name in asked.store.calls if verb == "get" and name.startswith("metadata/")]
        assert len(manifest) <= 2 * len(set(manifest))
        others.append(asked.others - len(manifest))

    # Up to 4 loose records, and a binary digit's worth each of 34 catalogues and 100 indexes; what the change needs.
    assert max(others) <= OTHERS + 4 + 6 + 7 + 4
    assert sum(others) / len(others) <= OTHERS_MAX
    assert verify(small.reach(), level="full").passed


class SnapshotsFirst(FarStore):
    """Notes what was listed before an answer to the listing of snapshots was there."""

    def __init__(self, store: DeleteStore) -> None:
        super().__init__(store, latency=0.02)
        self.too_early: list[str] = []
        self._is_answered = False

    def list(self, prefix: str) -> list[ObjectInfo]:
        if not self._is_answered and prefix in ("journal/", "deaths/", "catalogues/", "dooms/", "index/"):
            self.too_early.append(prefix)
        found = super().list(prefix)
        self._is_answered = self._is_answered or prefix == "snapshots/"
        return found


def test_snapshots_are_listed_before_indexes_and_all_that_judges_them_over_a_line(small: Scene) -> None:
    small.back_up()
    store = SnapshotsFirst(small.store)

    small.back_up(store)

    assert not store.too_early  # I3


def test_the_order_of_writes_holds_over_a_line(small: Scene) -> None:
    small.back_up()
    change(small.files[:3], seed=1)

    calls = small.asked_for_backup(latency=0.002).store.calls

    steps = [(verb, name if verb == "list" else name.split("/")[0] + "/") for verb, name in calls]
    assert steps[:3] == [("list", "config/"), ("get", "config/"), ("list", "snapshots/")]  # before all that judges (I3)
    commit = steps.index(("put_new", "intents/"))
    assert set(steps[:commit]) >= {("put_new", "data/"), ("put_new", "metadata/"), ("put_new", "index/")}
    assert steps[commit : commit + 6] == [
        ("put_new", "intents/"),
        ("list", "dooms/"),
        ("list", "config/"),
        ("list", "deaths/"),
        ("put_new", "snapshots/"),
        ("list", "deaths/"),
    ]
    assert ("put_new", "journal/") in steps[commit + 6 :]


CUTS: list[Callable[[DeleteStore, int], CrashingStore | FaultyStore]] = [
    lambda store, moment: CrashingStore(store, before=moment),
    lambda store, moment: FaultyStore(store, at=moment, times=None),
    lambda store, moment: FaultyStore(store, at=moment, times=None, answer_lost=True),
]


@pytest.mark.parametrize("cut", CUTS, ids=["crash", "fault", "lost answer"])
def test_a_backup_that_is_cut_off_at_any_request_over_a_line_leaves_every_snapshot_whole(
    small: Scene, cut: Callable[[DeleteStore, int], CrashingStore | FaultyStore]
) -> None:
    small.back_up()
    change(small.files[::100], seed=1)
    for _ in range(2):
        small.back_up()  # so that the run that crashes puts a catalogue, too
    change(small.files[::50], seed=2)
    for moment in itertools.count(1):
        scene = small.copy()
        store = cut(FarStore(scene.store, latency=0.0), moment)
        with contextlib.suppress(SimulatedCrash, StorageError):
            scene.back_up(store)
        assert verify(scene.reach(), level="full", record=False).passed
        scene.back_up()
        if not (store.crashed if isinstance(store, CrashingStore) else store.faults):
            break
    assert moment > LISTINGS


def test_packs_go_over_a_line_and_come_back_several_at_a_time(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(7):
        (tree / f"{number}").write_bytes(Random(number).randbytes(9 << 20))
    scene = founded(tree)
    storing, verifying, restoring = (FarStore(scene.store, latency=0.1) for _ in range(3))

    scene.back_up(storing)
    assert verify(scene.reach(verifying), level="full").passed
    assert restore(scene.reach(restoring).snapshot(), to=tmp_path / "restored").complete

    assert storing.at_once >= 3
    assert verifying.at_once >= 4
    assert restoring.at_once >= 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "restored").iterdir()} == {
        path.name: path.read_bytes() for path in tree.iterdir()
    }


def test_a_backup_that_fails_leaves_no_thread_behind_while_its_error_is_kept(tmp_path: Path) -> None:
    class Stopping(NoProgress):
        def relative_update(self, inc: int = 1) -> None:
            raise EOFError

    make_files(tmp_path, 10)
    scene = founded(tmp_path)
    scene.back_up()
    far = FarStore(scene.store, latency=0.0)

    with pytest.raises(EOFError) as kept:
        back_up(Source(tmp_path, name="tree"), into=scene.reach(far), callback=Stopping())

    assert [each.name for each in threading.enumerate() if each.name.startswith("safebackup")] == []
    assert kept.value.__traceback__ is not None
