"""A source that is edited, backed up, restored, cut off and deleted from, in any order that hypothesis can think of.

The model of a snapshot is the description of the tree when it was backed up. Files are never too young to be trusted
here, so each backup has to find what changed from evidence alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from safebackup import restore, verify
from safebackup.errors import StorageError
from safebackup.testing import CrashingStore, FaultyStore, SimulatedCrash
from tests.simulation.conftest import quick_folder
from tests.simulation.scheduling import PausingStore
from tests.simulation.trees import Tree, describe
from tests.simulation.world import World, forget

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
_TICK = 0.011  # seconds; the kernel stamps files by the tick, so that two edits within one look like none

names = st.sampled_from(["a", "b", "c", "d", "é", "x y"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
# Small, in frames with others; or large enough to be cut. Few contents, so that many are shared.
contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"same" * 200, bytes(5000), b"\1" * 300_000]),
    st.integers(0, 3).map(lambda seed: bytes(range(seed, seed + 200)) * 2000),
)
numbers = st.integers(0, 1000)
moments = st.integers(1, 40)


class Machine(RuleBasedStateMachine):
    """The tree is at `self.source`; what was backed up is in `self.world.expected`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="safebackup-machine-", dir=quick_folder()))
        self.source = self.folder / "source"
        self.world = World.founded(self.folder)
        self.restores = 0

    @initialize(data=contents)
    def begin(self, data: bytes) -> None:
        self.source.mkdir()
        (self.source / "a").write_bytes(data)

    def teardown(self) -> None:
        try:
            self.world.delete(ends=True)
            self.world.require_sound()
        finally:
            forget(self.world.store)
            shutil.rmtree(self.folder)

    # Edits

    def _entries(self) -> list[Path]:
        return sorted(path for path in self.source.rglob("*") if not _is_behind_link(path, self.source))

    def _pick(self, number: int, fits: Callable[[Path], bool]) -> Path | None:
        found = [path for path in self._entries() if fits(path)]
        return found[number % len(found)] if found else None

    def _free(self, path: str) -> Path | None:
        """A path for something new, with the directories above it."""
        place = self.source / path
        folder = place.parent
        while not folder.is_relative_to(self.source) or not os.path.lexists(folder):
            folder = folder.parent
        if folder.is_symlink() or not folder.is_dir() or os.path.lexists(place):
            return None
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    @rule(path=paths, data=contents)
    def write(self, path: str, data: bytes) -> None:
        place = self.source / path
        if _is_plain(place) or (place := self._free(path)) is not None:  # type: ignore[assignment]
            place.write_bytes(data)

    @rule(number=numbers, data=contents)
    def append(self, number: int, data: bytes) -> None:
        if (path := self._pick(number, _is_plain)) is not None:
            with path.open("ab") as file:
                file.write(data)

    @rule(number=numbers, size=st.integers(0, 700_000))
    def truncate(self, number: int, size: int) -> None:
        if (path := self._pick(number, _is_plain)) is not None:
            os.truncate(path, size)  # beyond its end this makes a hole

    @rule(number=numbers, data=st.binary(min_size=1, max_size=20), offset=st.integers(0, 500_000))
    def overwrite(self, number: int, data: bytes, offset: int) -> None:
        """Change a file in its middle, and put its times back."""
        if (path := self._pick(number, _is_plain)) is not None:
            before = path.stat()
            with path.open("r+b") as file:
                file.seek(min(offset, before.st_size))
                file.write(data)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        if (path := self._pick(number, lambda path: path.is_symlink() or not path.is_dir())) is not None:
            path.unlink()

    @rule(number=numbers)
    def delete_directory(self, number: int) -> None:
        if (path := self._pick(number, _is_directory)) is not None:
            shutil.rmtree(path)

    @rule(path=paths)
    def make_directory(self, path: str) -> None:
        if (place := self._free(path)) is not None:
            place.mkdir()

    @rule(number=numbers, path=paths)
    def rename(self, number: int, path: str) -> None:
        old, new = self._pick(number, lambda _: True), self.source / path
        if old is not None and not new.is_relative_to(old) and self._free(path) is not None:
            old.rename(new)

    @rule(number=numbers, mode=st.sampled_from([0o600, 0o644, 0o700, 0o4755]))
    def change_mode(self, number: int, mode: int) -> None:
        if (path := self._pick(number, lambda path: not path.is_symlink())) is not None:
            path.chmod(mode | (0o700 if path.is_dir() else 0))

    @rule(number=numbers, mtime=st.integers(-(10**18), 4 * 10**18))
    def change_time(self, number: int, mtime: int) -> None:
        if (path := self._pick(number, lambda _: True)) is not None:
            os.utime(path, ns=(mtime, mtime), follow_symlinks=False)

    @rule(path=paths, to=st.sampled_from(["a", "../b", "/nowhere", "."]))
    def link_symbolically(self, path: str, to: str) -> None:
        if (place := self._free(path)) is not None:
            place.symlink_to(to)

    @rule(number=numbers, path=paths)
    def link(self, number: int, path: str) -> None:
        existing = self._pick(number, _is_plain)
        if existing is not None and (place := self._free(path)) is not None:
            place.hardlink_to(existing)

    @rule(number=numbers, value=st.binary(max_size=20))
    def set_xattr(self, number: int, value: bytes) -> None:
        if (path := self._pick(number, lambda path: not path.is_symlink())) is not None:
            with suppress(OSError):  # where the file system has none
                os.setxattr(path, "user.test", value)

    # Verbs

    @rule()
    def back_up(self) -> None:
        self._settle()
        assert self.world.back_up(self.source).complete

    @rule(moment=moments)
    def back_up_and_crash(self, moment: int) -> None:
        self._settle()
        try:
            self.world.back_up(self.source, CrashingStore(self.world.store, before=moment))
        except SimulatedCrash:
            self._accept_unreported(describe(self.source))

    @rule(moment=moments, times=st.sampled_from([1, 2, None]), answer_lost=st.booleans())
    def back_up_with_faults(self, moment: int, times: int | None, answer_lost: bool) -> None:
        self._settle()
        store = FaultyStore(self.world.store, at=moment, times=times, answer_lost=answer_lost)
        try:
            self.world.back_up(self.source, store)
        except StorageError:
            self._accept_unreported(describe(self.source))

    @rule(moment=moments, ends=st.booleans())
    def back_up_while_packs_are_deleted(self, moment: int, ends: bool) -> None:
        self._settle()
        store = PausingStore(self.world.store, before=moment, meanwhile=lambda: self.world.delete(ends=ends))
        try:
            self.world.back_up(self.source, store)
        except Exception as error:
            if not ends or getattr(error, "code", "") != "run-declared-dead":
                raise
            self._accept_unreported(describe(self.source))

    @precondition(lambda self: self.world.expected)
    @rule(number=numbers)
    def restore(self, number: int) -> None:
        snapshots = self.world.reach().snapshots()
        if not snapshots:
            return
        snapshot = snapshots[number % len(snapshots)]
        self.restores += 1
        target = self.folder / f"restored-{self.restores}"
        assert restore(snapshot, target, workers=1).complete
        assert describe(target) == self.world.expected[snapshot.name]
        shutil.rmtree(target)

    @rule(number=numbers)
    def remove_snapshot(self, number: int) -> None:
        if snapshots := self.world.snapshots():
            self.world.remove(snapshots[number % len(snapshots)])

    @rule(ends=st.booleans(), share=st.integers(0, 3))
    def delete_packs(self, ends: bool, share: int) -> None:
        self.world.delete(ends=ends, choose=lambda packs: [pack for pack in packs if int(pack[-1], 16) % 4 <= share])

    @rule(moment=moments)
    def delete_packs_and_crash(self, moment: int) -> None:
        with suppress(SimulatedCrash):
            self.world.delete(CrashingStore(self.world.store, before=moment), ends=True)

    @rule(level=st.sampled_from(["structure", "sample", "full"]))
    def verify(self, level: str) -> None:
        if not self.world.deletion_was_cut_off():
            assert verify(self.world.reach(), level=level).passed  # type: ignore[arg-type]

    @invariant()
    def nothing_is_violated(self) -> None:
        assert not self.world.store.violations

    def _settle(self) -> None:
        time.sleep(_TICK)

    def _accept_unreported(self, tree: Tree) -> None:
        for name in self.world.snapshots():
            self.world.expected.setdefault(name, tree)


def _is_plain(path: Path) -> bool:
    return os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_behind_link(path: Path, root: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root))


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    settings.get_profile("long" if LONG else "ci"),
    max_examples=500 if LONG else 40,
    stateful_step_count=60 if LONG else 30,
    # Shrinking takes minutes, and more than the time in which a test must end.
    phases=tuple(Phase) if LONG else (Phase.explicit, Phase.reuse, Phase.generate),
)
