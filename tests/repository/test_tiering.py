"""Tiers: nothing that is readable goes unseen, and what is merged is not read again."""

from __future__ import annotations

from random import Random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.repository.tiering import FAN_IN, TIERS_MAX, due_carry, due_merge, read_visible, tier_of

NEVER_FULL = 1 << 30


@attrs.frozen
class Part:
    """An object that holds items, as indexes hold entries."""

    items: frozenset[int]
    replaces: frozenset[str] = frozenset()
    beside: tuple[str, ...] = ()


Stored = dict[str, Part]


def grow(runs: int, *, full: int = NEVER_FULL, small: int = 0) -> Stored:
    """What so many runs leave, each adding an object and merging once, in the way in which writers merge indexes."""
    stored: Stored = {}
    for run in range(runs):
        visible = look(stored)
        stored[f"index/0/{run:04}"] = Part(frozenset([run]))
        sizes = {name: len(part.items) for name, part in visible.items()}
        due = due_carry(sizes, small=small) or due_merge(sizes, full=full)
        if due is None:
            continue
        items = sorted(item for name in due.names for item in visible[name].items)
        replaced = frozenset({*due.names, *(name for merged in due.names for name in visible[merged].replaces)})
        names = [f"index/{due.tier}/{run:04}-{number}" for number in range(0, len(items), full)]
        for number, name in enumerate(names):
            held = frozenset(items[number * full : (number + 1) * full])
            last = number + 1 == len(names)
            stored[name] = Part(held, replaced if last else frozenset(), tuple(names[:-1]) if last else ())
    return stored


def look(stored: Stored, damaged: frozenset[str] = frozenset()) -> Stored:
    """What a reader sees."""
    return read_visible(
        stored,
        lambda names: [None if name in damaged else stored[name] for name in names],
        lambda part: part.replaces,
        lambda part: part.beside,
    )


def items_of(visible: Stored) -> frozenset[int]:
    """All that can be found."""
    return frozenset().union(*(part.items for part in visible.values()))


@pytest.mark.parametrize("runs", [1, 7, 8, 9, 64, 100, 600, 1000])
def test_a_thousand_runs_are_read_through_few_objects(runs: int) -> None:
    visible = look(grow(runs))
    assert items_of(visible) == frozenset(range(runs))
    assert len(visible) <= 4 * FAN_IN


@pytest.mark.parametrize("runs", [1, 2, 3, 63, 64, 100, 127, 600])
def test_small_objects_are_as_few_as_binary_digits(runs: int) -> None:
    visible = look(grow(runs, small=NEVER_FULL))
    assert items_of(visible) == frozenset(range(runs))
    assert len(visible) <= runs.bit_length() + 1  # the last run merges what was there before it


def test_what_is_no_longer_small_is_merged_by_eight_and_small_ones_beside_it_by_two() -> None:
    visible = look(grow(600, small=20))
    assert items_of(visible) == frozenset(range(600))
    sizes = sorted(len(part.items) for part in visible.values())
    assert len([size for size in sizes if size < 20]) <= 6
    assert len(visible) <= 6 + 2 * FAN_IN


@given(st.integers(1, 150), st.integers(0, 1 << 32), st.sampled_from([8, 40, NEVER_FULL]))
def test_damaged_carries_hide_nothing(runs: int, seed: int, small: int) -> None:
    require_nothing_hidden(grow(runs, small=small), runs, Random(seed))


def test_a_carry_ripples_through_all_tiers_that_have_one_and_stops_at_the_first_that_has_none() -> None:
    sizes = dict.fromkeys(["index/0/a", "index/0/b", "index/1/c", "index/2/d", "index/4/e"], 1)
    due = due_carry(sizes, small=2)
    assert due is not None
    assert (due.tier, list(due.names)) == (3, ["index/0/a", "index/0/b", "index/1/c", "index/2/d"])
    assert due_carry({**sizes, "index/0/a": 2}, small=2) is None
    alone = {name: size for name, size in sizes.items() if name != "index/0/a"}
    assert due_carry(alone, small=2) is None


def test_a_carry_never_goes_beyond_the_last_tier_nor_takes_what_is_none_of_ours() -> None:
    last = dict.fromkeys([f"index/{TIERS_MAX}/a", f"index/{TIERS_MAX}/b"], 1)
    assert due_carry(last, small=2) is None
    due = due_carry({**last, f"index/{TIERS_MAX - 1}/c": 1, f"index/{TIERS_MAX - 1}/d": 1}, small=2)
    assert due is not None
    assert (due.tier, len(due.names)) == (TIERS_MAX, 2)
    assert due_carry({"index/two/a": 1, "index/two/b": 1}, small=2) is None


@pytest.mark.parametrize("runs", [9, 100, 1000])
def test_merges_that_are_too_large_for_one_object_are_read_whole(runs: int) -> None:
    visible = look(grow(runs, full=50))
    assert items_of(visible) == frozenset(range(runs))
    assert len(visible) <= 4 * FAN_IN + runs // 50


@given(st.integers(1, 150), st.integers(0, 1 << 32))
def test_damaged_merged_objects_hide_nothing(runs: int, seed: int) -> None:
    require_nothing_hidden(grow(runs), runs, Random(seed))


def test_a_damaged_part_hides_nothing_after_the_last_part_was_merged_again() -> None:
    """As `tidy` leaves it: the full part stays, and the last one goes into the next tier with all that it replaces."""
    stored = {
        "index/0/a": Part(frozenset([1, 2, 3])),
        "index/1/full": Part(frozenset([1, 2])),
        "index/1/last": Part(frozenset([3]), frozenset(["index/0/a"]), ("index/1/full",)),
        "index/2/b": Part(frozenset([3, 4]), frozenset(["index/1/last", "index/0/a"]), ("index/1/full",)),
    }
    assert set(look(stored)) == {"index/1/full", "index/2/b"}
    assert items_of(look(stored, frozenset(["index/1/full"]))) == {1, 2, 3, 4}


def require_nothing_hidden(stored: Stored, runs: int, random: Random) -> None:
    share = random.random()
    damaged = frozenset(name for name in stored if tier_of(name) > 0 and random.random() < share)
    visible = look(stored, damaged)
    assert items_of(visible) == frozenset(range(runs))
    assert not damaged & visible.keys()


def test_what_is_replaced_stays_in_sight_until_every_part_of_the_merge_is_there() -> None:
    first, last = Part(frozenset([1])), Part(frozenset([2]), frozenset(["index/0/a"]), ("index/1/a",))
    whole = {"index/0/a": Part(frozenset([1, 2])), "index/1/a": first, "index/1/b": last}
    assert set(look(whole)) == {"index/1/a", "index/1/b"}
    assert set(look(whole, frozenset(["index/1/a"]))) == {"index/0/a", "index/1/b"}
    assert set(look(whole, frozenset(["index/1/b"]))) == {"index/0/a", "index/1/a"}


def test_the_lowest_tier_with_eight_is_merged_and_never_beyond_the_last() -> None:
    low = {f"index/0/{number}": 1 for number in range(FAN_IN)}
    high = {f"index/1/{number}": 1 for number in range(FAN_IN)}
    last = {f"index/{TIERS_MAX}/{number}": 1 for number in range(FAN_IN)}
    due = due_merge({**high, **low}, full=NEVER_FULL)
    assert due is not None
    assert (due.tier, list(due.names)) == (1, sorted(low))
    assert due_merge(dict(list(low.items())[1:]), full=NEVER_FULL) is None
    assert due_merge(last, full=NEVER_FULL) is None


def test_what_is_full_is_not_merged() -> None:
    sizes = {f"index/0/{number}": 5 for number in range(FAN_IN)}
    assert due_merge(sizes, full=5) is None
    assert due_merge(sizes, full=6) is not None


def test_a_name_that_is_none_of_ours_is_read_last() -> None:
    assert tier_of("index/2/ab") == 2
    assert tier_of("index/two/ab") == -1
