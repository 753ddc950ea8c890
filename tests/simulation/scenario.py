"""A repository that has been used: shared, dead and orphaned chunks, and two sources that want all of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs

from safebackup.repository import KeyFile
from safebackup.testing import SimulatedCrash
from tests.simulation.scheduling import GatedStore
from tests.simulation.trees import Tree, describe, write_files
from tests.simulation.world import World

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Scenario:
    """`used` is copied for each simulation; nobody changes the sources any more."""

    used: World
    first: Path
    second: Path

    @property
    def trees(self) -> dict[Path, Tree]:
        """What a snapshot of each source must hold."""
        return {self.first: describe(self.first), self.second: describe(self.second)}


class CutAtCommit(GatedStore):
    """The power fails before a snapshot is put."""

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if name.startswith("snapshots/"):
            raise SimulatedCrash("the power failed before the commit")
        super().put_new(name, data)

    def _pass(self, operation: str, act: Callable[[], T]) -> T:
        return act()


def used_repository(folder: Path, *, key: KeyFile | None = None) -> Scenario:
    """Make the scenario.

    One snapshot is there. A removed one left the chunk of "old" behind, a run that was cut off at its commit that of
    "orphan". Both sources hold both, and `first` also what its snapshot has.
    """
    first, second, lost = folder / "first", folder / "second", folder / "lost"
    old, orphan = os.urandom(3000), os.urandom(4000)
    world = World.founded(folder, key=key)
    write_files(first, {"kept": os.urandom(5000), "folder/text": b"many lines\n" * 300, "old": old})
    world.back_up(first)
    (first / "old").unlink()
    write_files(first, {"later": os.urandom(2000)})
    world.back_up(first)
    write_files(lost, {"orphan": orphan})
    with contextlib.suppress(SimulatedCrash):
        world.back_up(lost, CutAtCommit(world.store))
    world.remove(world.snapshots()[0])
    write_files(first, {"old": old, "orphan": orphan, "folder/first": os.urandom(2500)})
    write_files(second, {"old": old, "orphan": orphan, "second": os.urandom(2500)})
    return Scenario(used=world, first=first, second=second)
