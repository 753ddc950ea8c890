"""How far a snapshot is to be trusted, as the journal tells it; pure.

"Later" is what the journal's graph says: a record is later than those that it names as heads, and theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import attrs

from safebackup.format.records import JournalBody
from safebackup.repository.history import DRILL, VERIFICATION, History

_LEVELS: Sequence[str] = ("structure", "sample", "full")


class Standing(StrEnum):
    """How far a snapshot is to be trusted."""

    INCOMPLETE = "incomplete"  # some expected path is missing
    COMPLETE = "complete"
    VERIFIED = "verified"  # a verification passed for it; the level is told beside
    PROVEN = "proven"  # a drill ended "proved", and none failed since


@attrs.frozen
class Judgement:
    """What the journal says of one snapshot. A suspect one was found damaged, and not found whole since."""

    standing: Standing
    level: str  # of the deepest verification that it passed, or ""
    suspect: bool
    drill_failed: bool = False  # and none has proved it since


def judge(name: str, *, complete: bool, history: History) -> Judgement:
    """The standing of a snapshot.

    Damage found outweighs every record that is not later, and only a verification as deep takes it back.
    """
    drills = {key: body for key, body in history.mentions.get(name, {}).items() if body.kind == DRILL}
    is_proven = _is_proven(drills, name, history.journal)
    failed = not is_proven and any(body.outcome == "failed" for body in drills.values())
    judgement = _verified(name, complete=complete, history=history)
    if is_proven and complete and not judgement.suspect:
        judgement = attrs.evolve(judgement, standing=Standing.PROVEN)
    return attrs.evolve(judgement, drill_failed=failed)


def _verified(name: str, *, complete: bool, history: History) -> Judgement:
    """The standing by verifications alone."""
    journal = history.journal
    mentions = history.mentions.get(name, {})
    verifications = {key: body for key, body in mentions.items() if body.kind == VERIFICATION}
    damage = {key: body for key, body in verifications.items() if name in body.affected}
    passed = {key: body for key, body in verifications.items() if name in body.snapshots and _depth(body) >= 0}
    if damage:
        passed = {key: body for key, body in passed.items() if _settles(key, body, damage, journal)}
        if not passed:
            return Judgement(Standing.COMPLETE if complete else Standing.INCOMPLETE, "", suspect=True)
    depth = max((_depth(body) for body in passed.values()), default=-1)
    level = _LEVELS[depth] if depth >= 0 else ""
    if not complete:
        return Judgement(Standing.INCOMPLETE, level, suspect=False)
    return Judgement(Standing.VERIFIED if level else Standing.COMPLETE, level, suspect=False)


def _is_proven(drills: Mapping[str, JournalBody], name: str, journal: Mapping[str, JournalBody]) -> bool:
    """Whether a drill proved it, later than every drill that failed."""
    failed = {key for key, body in drills.items() if body.outcome == "failed"}
    proved = [key for key, body in drills.items() if body.outcome == "proved" and name in body.snapshots]
    return any(not failed or failed <= ancestors(key, journal) for key in proved)


def _depth(body: JournalBody) -> int:
    level = body.facts.get("level")
    return _LEVELS.index(str(level)) if level in _LEVELS else -1


def _settles(
    key: str, body: JournalBody, damage: Mapping[str, JournalBody], journal: Mapping[str, JournalBody]
) -> bool:
    """Whether a verification came after all damage that was found, and looked as closely."""
    before = ancestors(key, journal)
    return all(found in before and _depth(body) >= _depth(found_body) for found, found_body in damage.items())


def ancestors(key: str, journal: Mapping[str, JournalBody]) -> set[str]:
    """The records that came before one: those that it names as heads, and theirs."""
    seen: set[str] = set()
    waiting = list(journal[key].heads)
    while waiting:
        name = waiting.pop()
        if name not in seen and name in journal:
            seen.add(name)
            waiting.extend(journal[name].heads)
    return seen
