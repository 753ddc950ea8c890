"""Checks of lists: complete, fresh, and never quietly short."""

from __future__ import annotations

from safebackup.storage.conformance.trial import NotTriedError, Trial, check, in_threads, require
from safebackup.storage.store import ObjectInfo

# One more page than the largest that servers give: 1,000 names on most, 5,000 on some.
_NAMES = 1_100
_NAMES_THOROUGH = 5_200
_FOLDERS = 7


@check("fresh-lists", "S3")
def fresh(trial: Trial) -> str:
    """A list shows what another handle has stored or deleted a moment ago, also where it was listed before."""
    other = trial.reopened()
    folder = trial.name("f/")
    require(trial.store.list(folder) == [], "a new folder is not empty")
    for number in range(5):
        name = f"{folder}{number}"
        other.put_new(name, b"1" * number)
        require(trial.store.list(folder) == [ObjectInfo(name, number)], "what was just stored is not in the list")
        require(trial.store.get(name) == b"1" * number, "what was just stored cannot be read")
        other.delete(name)
        require(trial.store.list(folder) == [], "what was just deleted is still in the list")
        trial.store.put_new(name, b"22" * (number + 1))
        require(
            other.list(folder) == [ObjectInfo(name, 2 * number + 2)], "the list has the size from before a deletion"
        )
        trial.store.delete(name)
    return "another handle's changes show at once"


@check("complete-lists", "S3", seconds=32)
def complete(trial: Trial) -> str:
    """A list of more names than a page holds is complete and in order, with sizes; a prefix is a folder."""
    wanted = _NAMES_THOROUGH if trial.thorough else _NAMES
    sizes = {trial.name(f"{number % _FOLDERS:x}/{number:05d}"): number % 50 for number in range(wanted)}
    sizes[trial.name("0-beside")] = 1  # before "0/" in the order of bytes, and in no folder
    stored: list[str] = []
    storing_until = trial.until - trial.seconds_left() / 2  # removing them takes as long

    def store(name: str) -> None:
        if trial.clock.monotonic() > storing_until:
            raise NotTriedError(f"in the time for it {len(stored)} of {wanted} names could be stored", cut_short=True)
        trial.store.put_new(name, b"x" * sizes[name])
        stored.append(name)

    in_threads(store, sizes, trial)
    expected = [ObjectInfo(name, sizes[name]) for name in sorted(sizes)]
    for handle in (trial.store, trial.reopened()):
        _require_list(handle.list(trial.folder), expected)
    inside = [info for info in expected if info.name.startswith(trial.name("0/"))]
    _require_list(trial.store.list(trial.name("0/")), inside)
    trial.learn(complete_listing=wanted)
    in_threads(trial.store.delete, sizes, trial)
    _require_list(trial.store.list(trial.folder), [])
    return f"{wanted:,} names were listed, none missing, none twice"


def _require_list(found: list[ObjectInfo], expected: list[ObjectInfo]) -> None:
    if found == expected:
        return
    missing = {info.name for info in expected} - {info.name for info in found}
    require(not missing, f"the list lacks {len(missing)} of {len(expected)} names")
    require(len(found) == len(expected), f"the list has {len(found)} names where there are {len(expected)}")
    require({*found} == {*expected}, "the list has wrong sizes")
    require(False, "the list is not in the order of names")
