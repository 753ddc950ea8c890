"""Tiers: how derived objects (indexes, catalogues) are merged by writers without deleting any; pure.

Objects of tier 0 are written by runs. Two small ones of a tier are merged into one of a higher tier, as in counting
with binary digits; of large ones eight, as merging them costs more than reading them. What is merged names all that it
replaces, directly or not. A reader goes from the highest tier down and passes over what a readable object above
replaces, so it reads a logarithm of the number of runs; if the merged object is damaged, those that it replaces are
still there.
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
    read: Callable[[Sequence[str]], Iterable[T | None]],
    replaces: Callable[[T], Iterable[str]],
    beside: Callable[[T], Iterable[str]] = lambda _: (),
) -> dict[str, T]:
    """Read the objects that nothing readable replaces, highest tier first; `read` gives None for each damaged one.

    What one replaces is passed over only if all that stand `beside` it can be read too.
    """
    listed = set(names)
    values: dict[str, T | None] = {}

    def look_at(wanted: Iterable[str]) -> None:
        unread = [name for name in wanted if name not in values]
        there = [name for name in unread if name in listed]
        values.update(dict.fromkeys(unread))
        values.update(zip(there, read(there), strict=True))

    visible: dict[str, T] = {}
    replaced: set[str] = set()
    for _, tier in groupby(sorted(listed, key=lambda name: (-tier_of(name), name)), key=tier_of):
        wanted = [name for name in tier if name not in replaced]
        look_at(wanted)
        found = {name: value for name in wanted if (value := values[name]) is not None}
        visible.update(found)
        for value in found.values():
            parts = list(beside(value))
            look_at(parts)
            if all(values[part] is not None for part in parts):
                replaced.update(replaces(value))
    return visible


@attrs.frozen
class Merge:
    """These objects should become one of this tier."""

    names: Sequence[str]
    tier: int


def due_merge(sizes: Mapping[str, int], *, full: int) -> Merge | None:
    """The merge that is due: the lowest tier with at least eight objects smaller than `full`, or None."""
    tiers = _tiers(sizes, full)
    for tier in sorted(tiers):
        if len(tiers[tier]) >= FAN_IN and tier < TIERS_MAX:
            return Merge(sorted(tiers[tier]), tier + 1)
    return None


def due_carry(sizes: Mapping[str, int], *, small: int) -> Merge | None:
    """The merge of small objects that is due, or None: as a carry ripples through binary digits.

    The lowest tier with two objects smaller than `small`, and each tier above it that has one already: so no more than
    one small object stays in each tier, for one put.
    """
    tiers = _tiers(sizes, small)
    tier = next((tier for tier in sorted(tiers) if len(tiers[tier]) > 1 and 0 <= tier < TIERS_MAX), None)
    if tier is None:
        return None
    names: list[str] = []
    while tier < TIERS_MAX and tier in tiers:
        names += tiers[tier]
        tier += 1
    return Merge(sorted(names), tier)


def _tiers(sizes: Mapping[str, int], limit: int) -> dict[int, list[str]]:
    """By tier the names of those that are smaller than `limit`."""
    tiers: dict[int, list[str]] = {}
    for name, size in sizes.items():
        if size < limit:
            tiers.setdefault(tier_of(name), []).append(name)
    return tiers
