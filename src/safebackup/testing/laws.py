"""The laws that hold for every schedule at every moment, whatever the clocks do."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice, pairwise

import attrs

from safebackup.instants import Instant
from safebackup.schedule import Occurrence, Schedule, Why, moments
from safebackup.schedule.policies import Gap, Overlap, Policy
from safebackup.schedule.turns import turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import zone
from safebackup.testing.promises import Breach

_MOST = 40  # so many runs after a moment are looked at
_SECOND = timedelta(seconds=1)
_ELSEWHERE = ("America/New_York", "Asia/Kathmandu")


@attrs.frozen
class Probe:
    """A schedule and a moment, with the runs from then on; none of them is at `end` or later."""

    schedule: Schedule
    moment: Instant
    runs: tuple[Occurrence, ...]
    end: Instant

    @property
    def instants(self) -> list[Instant]:
        """The instants of the runs."""
        return [run.instant for run in self.runs]


def probe(schedule: Schedule, second: int) -> Probe:
    """Look at a schedule from a second on, for two days or some runs, whichever is shorter."""
    moment = moments.instant(second)
    found = list(islice(schedule.occurrences(moment, moment + timedelta(days=2)), _MOST))
    end = found[-1].instant + _SECOND if len(found) == _MOST else moment + timedelta(days=2)
    return Probe(schedule, moment, tuple(found), end)


Law = Callable[[Probe], Iterator[Breach]]


def _breach(what: str, *at: Instant | None) -> Breach:
    return Breach(what, tuple(int(each.timestamp()) for each in at if each is not None))


def next_is_later_and_previous_is_earlier(found: Probe) -> Iterator[Breach]:
    """The next run is later than the moment asked about, the previous one earlier, and both are due."""
    later, earlier = found.schedule.next_after(found.moment), found.schedule.previous_before(found.moment)
    if later is not None and not (later > found.moment and found.schedule.is_due_at(later)):
        yield _breach("asked at the first, the next run is said to be the second", found.moment, later)
    if earlier is not None and not (earlier < found.moment and found.schedule.is_due_at(earlier)):
        yield _breach("asked at the first, the previous run is said to be the second", found.moment, earlier)


def next_and_previous_lead_back(found: Probe) -> Iterator[Breach]:
    """No run lies between a moment and its next run, nor between it and its previous run."""
    later, earlier = found.schedule.next_after(found.moment), found.schedule.previous_before(found.moment)
    if later is not None:
        before = found.schedule.previous_before(later)
        if before is not None and before > found.moment:
            yield _breach(
                "from the first, the second is said to be next; back from there, the third", found.moment, later, before
            )
    if earlier is not None:
        after = found.schedule.next_after(earlier)
        if after is not None and after < found.moment:
            yield _breach(
                "back from the first, the second is said to be previous; from there, the third",
                found.moment,
                earlier,
                after,
            )


def a_run_is_met_from_the_seconds_beside_it(found: Probe) -> Iterator[Breach]:
    """A run is the next one of the second before it, and the previous one of the second after it."""
    for at in found.instants[:3]:
        if found.schedule.next_after(at - _SECOND) != at:
            yield _breach("asked at the first, the next run is not the second", at - _SECOND, at)
        if found.schedule.previous_before(at + _SECOND) != at:
            yield _breach("asked at the first, the previous run is not the second", at + _SECOND, at)


def runs_are_in_order(found: Probe) -> Iterator[Breach]:
    """Runs follow each other strictly later in real time, and each has a name of its own."""
    for earlier, later in pairwise(found.runs):
        if not (earlier.instant < later.instant and earlier.run_id < later.run_id):
            yield _breach("the second is said to follow the first", earlier.instant, later.instant)


def forwards_and_backwards_agree(found: Probe) -> Iterator[Breach]:
    """Step by step, forwards and backwards, the same runs are met as in one go."""
    wanted = found.instants
    forwards: list[Instant] = []
    moment = found.moment - timedelta(microseconds=1)
    while (later := found.schedule.next_after(moment)) is not None and later < found.end and len(forwards) <= _MOST:
        forwards.append(later)
        moment = later
    backwards: list[Instant] = []
    moment = found.end
    while (earlier := found.schedule.previous_before(moment)) is not None and earlier >= found.moment:
        backwards.append(earlier)
        moment = earlier
        if len(backwards) > _MOST:
            break
    for way, met in (("forwards", forwards), ("backwards", backwards[::-1])):
        odd = sorted(set(wanted) ^ set(met))
        if odd or wanted != met:
            yield _breach(f"stepping {way} meets other runs, among them", *odd[:2])


def spans_add_up(found: Probe) -> Iterator[Breach]:
    """What is due in a span is what is due in its two parts, wherever it is cut."""
    for cut in {found.moment + (found.end - found.moment) / 3, *found.instants[1:3]}:
        parts = [*found.schedule.between(found.moment, cut), *found.schedule.between(cut, found.end)]
        if parts != found.instants:
            yield _breach(
                "cut at the first, the span has other runs", cut, *sorted(set(parts) ^ set(found.instants))[:2]
            )


def due_is_what_is_listed(found: Probe) -> Iterator[Breach]:
    """It is due at the instants that are listed, and at no others."""
    due = set(found.instants)
    for each in sorted({found.moment, *due, *(at + away for at in due for away in (-_SECOND, _SECOND))}):
        if found.moment <= each < found.end and found.schedule.is_due_at(each) is not (each in due):
            yield _breach("listed as a run, it is not due" if each in due else "due, but not listed as a run", each)


def wall_times_are_real(found: Probe) -> Iterator[Breach]:
    """A run that was not moved is due when a clock in the zone shows its wall time."""
    offset_at = turns_of(found.schedule.zone).offset_at
    for run in found.runs:
        second = int(run.instant.timestamp())
        offset = offset_at(second)
        shown = moments.wall_time(second + offset)
        is_moved = run.why in (Why.MOVED, Why.SHIFTED)
        if run.offset != timedelta(seconds=offset) or (
            isinstance(found.schedule.rule, Walls) and not is_moved and shown != run.wall
        ):
            yield _breach(f"said to be due at {run.wall} on the wall", run.instant)


def the_zone_of_the_question_does_not_matter(found: Probe) -> Iterator[Breach]:
    """The same moment written in another zone, also in a repeated hour, has the same answers."""
    expected = found.schedule.next_after(found.moment)
    for place in (found.schedule.zone, *map(zone, _ELSEWHERE)):
        if found.schedule.next_after(found.moment.astimezone(place.tzinfo)) != expected:
            yield _breach(f"asked in {place}, the next run is another one", found.moment)


def both_is_first_and_second(found: Probe) -> Iterator[Breach]:
    """With in_overlap "first" and "second" the runs of "both" are shared out."""
    rule = found.schedule.rule
    if not isinstance(rule, Walls) or rule.refuses:
        return
    first, second, both = (
        set(attrs.evolve(found.schedule, rule=_with(rule, overlap)).between(found.moment, found.end))
        for overlap in (Overlap.FIRST, Overlap.SECOND, Overlap.BOTH)
    )
    if first | second != both:
        yield _breach("only in one of them", *sorted((first | second) ^ both))


def _with(rule: Walls, overlap: Overlap) -> Walls:
    return attrs.evolve(rule, policy=Policy(rule.policy.in_gap, overlap))


def a_named_time_runs_once(found: Probe) -> Iterator[Breach]:
    """With "after" or "shift" and "first" or "second" each wall time as written runs exactly once."""
    rule = found.schedule.rule
    if not isinstance(rule, Walls) or rule.policy.in_gap not in (Gap.AFTER, Gap.SHIFT):
        return
    if rule.policy.in_overlap not in (Overlap.FIRST, Overlap.SECOND):
        return
    begin, end = (int(at.timestamp()) for at in (found.moment, found.end))
    for turn in turns_of(found.schedule.zone).between(begin, end):
        reach = timedelta(seconds=abs(turn.after - turn.before) + 1)
        at = moments.instant(turn.at)
        ran = Counter(
            wall for run in found.schedule.occurrences(at - reach, at + reach) for wall in (run.wall, *run.merged)
        )
        for wall in islice(map(moments.wall_time, rule.touched(turn)), _MOST):
            if ran[wall] != 1:
                yield _breach(f"{wall} on the wall has {ran[wall]} runs where the clocks change", at)


def gaps_are_bounded(found: Probe) -> Iterator[Breach]:
    """The longest and the shortest distance that are told are those of the runs."""
    distances = [later - earlier for earlier, later in pairwise(found.instants)]
    longest, shortest = (each(found.moment, found.end) for each in (found.schedule.max_gap, found.schedule.min_gap))
    told = [None if each is None else each.duration for each in (longest, shortest)]
    if told != [max(distances, default=None), min(distances, default=None)]:
        yield _breach(f"said to be {told[0]} and {told[1]} in the span between", found.moment, found.end)


def what_was_caught_up_is_not_missed(found: Probe) -> Iterator[Breach]:
    """All and only what was due is missed; after it has been caught up nothing is."""
    missed = found.schedule.missed(found.moment - _SECOND, found.end - _SECOND)
    if [run.instant for run in (*missed.runs, *missed.pending)] != found.instants:
        yield _breach("other runs are missed than were due between", found.moment, found.end)
    if found.schedule.missed(missed.now, missed.now):
        yield _breach("a run is missed right after a success", missed.now)


def it_comes_back_from_plain_data(found: Probe) -> Iterator[Breach]:
    """Written as plain data, or copied, it comes back equal and with the same answers."""
    record = json.loads(json.dumps(found.schedule.to_dict()))
    for again in (Schedule.from_dict(record).in_zone_data(found.schedule.zone), copy.copy(found.schedule)):
        same = again == found.schedule and hash(again) == hash(found.schedule)
        if not same or again.next_after(found.moment) != found.schedule.next_after(found.moment):
            yield _breach("what comes back is another schedule", found.moment)


LAWS: tuple[Law, ...] = (
    next_is_later_and_previous_is_earlier,
    next_and_previous_lead_back,
    a_run_is_met_from_the_seconds_beside_it,
    runs_are_in_order,
    forwards_and_backwards_agree,
    spans_add_up,
    due_is_what_is_listed,
    wall_times_are_real,
    the_zone_of_the_question_does_not_matter,
    both_is_first_and_second,
    a_named_time_runs_once,
    gaps_are_bounded,
    what_was_caught_up_is_not_missed,
)
# What does not depend on the moment is looked at once.
TIMELESS: tuple[Law, ...] = (it_comes_back_from_plain_data,)
