"""Tiers: how derived objects (indexes, catalogues) are merged by writers without deleting any; pure.

Objects of tier 0 are written by runs. Eight or more visible objects of a tier are merged into one of the next,
which names all that it replaces, directly or not. A reader goes from the highest tier down and passes over what
a readable object above replaces, so it reads a logarithm of the number of runs; if the merged object is damaged, those
that it replaces are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

import attrs

T = TypeVar("T")
FAN_IN = 8
TIERS_MAX = 12


def tier_of(name: str) -> int:
    """The tier in the name of an index or a catalogue: `index/2/…`."""
    segment = name.split("/")[1]
    return int(segment) if segment.isdigit() else -1


def read_visible(
    names: Iterable[str],
    read: Callable[[str], T | None],
    replaces: Callable[[T], Iterable[str]],
    beside: Callable[[T], Iterable[str]] = lambda _: (),
) -> dict[str, T]:
    """Read the objects that nothing readable replaces, highest tier first; `read` answers None for a damaged one.

    What one replaces is passed over only if all that stand `beside` it can be read too.
    """
    listed = set(names)
    values: dict[str, T | None] = {}

    def value_of(name: str) -> T | None:
        if name not in values:
            values[name] = read(name) if name in listed else None
        return values[name]

    visible: dict[str, T] = {}
    replaced: set[str] = set()
    for _, tier in groupby(sorted(listed, key=lambda name: (-tier_of(name), name)), key=tier_of):
        found = {name: value for name in tier if name not in replaced and (value := value_of(name)) is not None}
        visible.update(found)
        for value in found.values():
            if all(value_of(part) is not None for part in beside(value)):
                replaced.update(replaces(value))
    return visible


@attrs.frozen
class Merge:
    """These objects should become one of this tier."""

    names: Sequence[str]
    tier: int


def due_merge(sizes: Mapping[str, int], *, full: int) -> Merge | None:
    """The merge that is due: the lowest tier with at least eight objects smaller than `full`, or None."""
    tiers: dict[int, list[str]] = {}
    for name, size in sizes.items():
        if size < full:
            tiers.setdefault(tier_of(name), []).append(name)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= FAN_IN and tier < TIERS_MAX:
            return Merge(sorted(tiers[tier]), tier + 1)
    return None
