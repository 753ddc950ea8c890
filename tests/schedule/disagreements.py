"""Every known disagreement with other schedulers near a change of the clocks, and whose it is.

A disagreement counts as explained if a row says so: by a policy, when a model of the other's policy gives exactly its
answer, or as an error of the other, within the bounds that the row states. docs/reference/schedule-oracles.md shows
the same rows: `python -m tests.schedule.oracles_page` writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import attrs

from tests.schedule.oracle import Change
from tests.schedule.rivals import Answer

HOUR, DAY = 3600, 86_400
NAMES = {
    "cronsim": "cronsim 2.8",
    "cronsim backwards": "cronsim 2.8, backwards",
    "croniter": "croniter 7.0.0",
    "systemd": "systemd 252",
}


@attrs.frozen(eq=False)
class Case:
    """One question to one of them near one change of the clocks; `modelled` is the brute-force model by policy."""

    oracle: str
    expression: str
    change: Change
    asked: int
    theirs: Answer
    ours: list[int]
    modelled: Callable[[str, str], list[int]]

    @property
    def low(self) -> int:
        """The first wall time that the change leaves out or repeats."""
        return self.change.at + min(self.change.before, self.change.after)

    @property
    def high(self) -> int:
        """The first one after those."""
        return self.change.at + max(self.change.before, self.change.after)

    @property
    def is_gap(self) -> bool:
        return self.change.after > self.change.before

    @property
    def is_wild(self) -> bool:
        """Whether the minute or the hour starts with `*`."""
        return any(field.startswith("*") for field in self.expression.split()[:2])

    @property
    def is_between_hours(self) -> bool:
        """Whether the change does not lead from one full hour on the wall to another."""
        return self.low % HOUR != 0 or self.high % HOUR != 0

    @property
    def lacks_only(self) -> bool:
        """Whether all of its answers are right, but some are missing."""
        return set(self.theirs) < set(self.ours)

    @property
    def never_ends(self) -> bool:
        return self.theirs[-1:] == [None] or self.theirs[:1] == [None]

    def is_as(self, in_gap: str, in_overlap: str) -> bool:
        """Whether the answer is exactly what that policy gives."""
        return self.theirs == self.modelled(in_gap, in_overlap)


class Example(NamedTuple):
    """A question whose answers are facts; times as the wall shows them, with the offset. "-": none within four days."""

    expression: str
    zone: str
    asked: str
    theirs: str
    ours: str


@attrs.frozen(eq=False)
class Row:
    """Why one of them answers otherwise: by its policy, or by an error of its own."""

    oracle: str
    by_policy: bool
    what: str
    why: str
    example: Example
    explains: Callable[[Case], bool]


def _sees_only_first(case: Case) -> bool:
    return not case.is_gap and any(case.is_as(gap, "first") for gap in ("after", "skip"))


ROWS = (
    Row(
        "croniter",
        True,
        "a fixed time in a repeated hour runs twice, and any time in a gap runs after it, unless the hour is `*`",
        "It knows no fixed times: its policy is `both`, with `after`, or with `skip` where the hour is `*`. "
        "`in_gap='after', in_overlap='both'` does the same here.",
        Example(
            "30 1 * * *", "America/New_York", "2026-11-01T00:00:00", "2026-11-01 01:30 -0500", "2026-11-02 01:30 -0500"
        ),
        lambda case: case.is_as("skip" if case.expression.split()[1] == "*" else "after", "both"),
    ),
    Row(
        "croniter",
        False,
        "the second pass of a repeated hour is lost",
        "It looks for it only if the offset changes until the time that it would name otherwise. A run on one date "
        "of the year would be named in the same season a year later, so that its second pass is never looked for.",
        Example("*/15 2 26 10 *", "Europe/Berlin", "2031-10-25T00:00:00", "-", "2031-10-26 02:00 +0100"),
        lambda case: _sees_only_first(case) and case.expression.split()[2:] != ["*", "*", "*"],
    ),
    Row(
        "croniter",
        False,
        "runs of a repeated stretch are lost if it does not begin and end at a full hour",
        "Such as 02:45 to 03:45 in Pacific/Chatham.",
        Example(
            "*/15 */2 * * *",
            "Pacific/Chatham",
            "2026-04-03T00:00:00",
            "2026-04-05 04:00 +1245",
            "2026-04-05 02:45 +1245",
        ),
        lambda case: case.is_between_hours and case.lacks_only,
    ),
    Row(
        "croniter",
        False,
        "runs are lost where clocks are put back by more than an hour",
        "Such as from 02:00 to 23:00 of the day before in Antarctica/Casey.",
        Example(
            "*/15 */2 * * *",
            "Antarctica/Casey",
            "2012-02-20T12:00:00",
            "2012-02-22 04:00 +0800",
            "2012-02-22 02:00 +0800",
        ),
        lambda case: (
            not case.is_gap and case.high - case.low > HOUR and set(case.theirs) < set(case.modelled("after", "both"))
        ),
    ),
    Row(
        "croniter",
        False,
        "takes seconds for one answer when a whole day was left out",
        "It tries each minute of that day.",
        Example("* * 30 12 *", "Pacific/Apia", "2011-12-28T22:00:00", "no end", "-"),
        lambda case: case.is_gap and case.high - case.low >= DAY and case.never_ends,
    ),
    Row(
        "cronsim",
        False,
        "with `*` in the minute or the hour a run appears at the end of a gap at midnight",
        "Its rule for such expressions is to skip what is left out, as ours is, and elsewhere it does. It happens when "
        "the search arrives at that day from another one.",
        Example(
            "0 */2 * * 0", "Asia/Beirut", "2026-03-28T00:00:00", "2026-03-29 01:00 +0300", "2026-03-29 02:00 +0300"
        ),
        lambda case: case.is_gap and case.is_wild and _holds_midnight(case) and case.is_as("after", "both"),
    ),
    Row(
        "cronsim",
        False,
        "runs are lost near a change that does not lead from a full hour to a full hour",
        "After a change by half an hour it steps by whole hours from the half hour, and passes over runs for the rest "
        "of the day.",
        Example(
            "5 */6 * * *",
            "Australia/Lord_Howe",
            "2026-10-02T16:00:00",
            "2026-10-04 12:05 +1100",
            "2026-10-04 06:05 +1100",
        ),
        lambda case: case.is_between_hours and case.lacks_only,
    ),
    Row(
        "cronsim",
        False,
        "turns in a circle where clocks are put back at another minute than 00, or past midnight",
        "It arrives before the change again, and names the same runs over and over.",
        Example(
            "*/15 3 * * *", "Pacific/Chatham", "2026-04-03T11:00:00", "2026-04-05 03:00 +1345", "2026-04-05 03:00 +1245"
        ),
        lambda case: not case.is_gap and (case.is_between_hours or _holds_midnight(case)) and case.never_ends,
    ),
    Row(
        "cronsim",
        False,
        "asked within the second pass of a repeated hour, the answer is earlier than the question",
        "It drops the offset of the question before it looks for a fixed time. Whoever sleeps until then runs at once, "
        "and again and again.",
        Example(
            "30 1 * * *", "America/New_York", "2026-11-01T06:15:00", "2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"
        ),
        lambda case: not case.is_gap and _first(case) <= case.asked,
    ),
    Row(
        "cronsim backwards",
        False,
        "the second pass is lost where it is the end of its day",
        "Coming from the next day it arrives in the first pass of the repeated hour.",
        Example(
            "*/15 23 * * 6",
            "America/Scoresbysund",
            "2026-10-26T12:00:00",
            "2026-10-24 23:45 -0100",
            "2026-10-24 23:45 -0200",
        ),
        lambda case: not case.is_gap and case.is_wild and case.high % DAY < 4 * HOUR and case.is_as("after", "first"),
    ),
    Row(
        "cronsim backwards",
        False,
        "turns in a circle at some changes at midnight, or by or at a part of an hour",
        "It arrives after the change again.",
        Example("0 * 28 3 *", "America/Nuuk", "2026-03-30T12:00:00", "no end", "2026-03-28 22:00 -0200"),
        lambda case: case.never_ends and (case.is_between_hours or case.high % DAY == 0 or _holds_midnight(case)),
    ),
    Row(
        "cronsim backwards",
        False,
        "runs are lost near a change that does not lead from a full hour to a full hour",
        "As forwards.",
        Example("* 3 5 * *", "Pacific/Chatham", "2026-04-06T11:00:00", "-", "2026-04-05 03:44 +1345"),
        lambda case: case.is_between_hours and case.lacks_only,
    ),
    Row(
        "systemd",
        True,
        "a time in a gap is skipped, and in a repeated hour nothing runs twice",
        "`like='systemd'` does the same here. For a timer each quarter of an hour it means an hour and a quarter "
        "without a run.",
        Example(
            "*-*-* 02:30:00", "Europe/Berlin", "2026-03-28T03:00:00", "2026-03-30 02:30 +0200", "2026-03-29 03:00 +0200"
        ),
        lambda case: case.is_as("skip", "first"),
    ),
    Row(
        "systemd",
        False,
        "gives up at a gap",
        'It names no further run. With open-ended steps such as `00/2` it says "Resource deadlock avoided".',
        Example("*-*-* 00/2:30:00", "Asia/Beirut", "2026-03-28T12:00:00", "-", "2026-03-29 01:00 +0300"),
        lambda case: case.is_gap and case.theirs == case.modelled("skip", "first")[: len(case.theirs)],
    ),
    Row(
        "systemd",
        False,
        "loses runs after a gap on the same day",
        "Such as with open-ended steps, or where winter time is the one called daylight saving (Dublin, Casablanca).",
        Example(
            "*-*-* 01/2:30:00",
            "Europe/Dublin",
            "2026-03-28T00:00:00",
            "2026-03-30 01:30 +0100",
            "2026-03-29 02:00 +0100",
        ),
        lambda case: case.is_gap and set(case.theirs) < set(case.modelled("skip", "first")),
    ),
    Row(
        "systemd",
        False,
        "of several times in a repeated hour some are taken in the first pass, some in the second",
        "Such as the first time in the first pass, and the others in the second.",
        Example(
            "*-*~01 02:30,45:00",
            "Europe/Berlin",
            "2027-10-30T00:00:00",
            "2027-10-31 02:45 +0100",
            "2027-10-31 02:45 +0200",
        ),
        lambda case: not case.is_gap and set(case.theirs) <= set(case.modelled("skip", "both")),
    ),
)


def _first(case: Case) -> float:
    return float("inf") if not case.theirs or case.theirs[0] is None else case.theirs[0]


def _holds_midnight(case: Case) -> bool:
    return case.low % DAY == 0 or case.low // DAY < (case.high - 1) // DAY


class Reading(NamedTuple):
    """An expression that not everyone reads alike: its runs in UTC in the forty days from 1 January 2026."""

    expression: str
    cronsim: str
    croniter: str
    ours: str
    why: str


READINGS = (
    Reading(
        "0 0 27-27 * *",
        "1 from 27 Jan 00:00",
        "40 from 01 Jan 00:00",
        "1 from 27 Jan 00:00",
        "a range of one value is that value; croniter takes it for every day",
    ),
    Reading(
        "59/15 0 1 * *",
        "2 from 01 Jan 00:59",
        "2 from 01 Jan 00:59",
        "refused",
        "a step needs a range; others read `59-59/15`, or from 59 on",
    ),
    Reading(
        "0 22-2 * * *",
        "refused",
        "200 from 01 Jan 00:00",
        "refused",
        "it could run backwards or around midnight; the error shows how to write the latter",
    ),
    Reading("0 0 * * 6-0", "refused", "12 from 03 Jan 00:00", "refused", "the same for weekdays"),
    Reading(
        "0 0 * * 0-7",
        "40 from 01 Jan 00:00",
        "40 from 01 Jan 00:00",
        "refused",
        "it counts Sunday twice; some programs read it as Sunday alone",
    ),
    Reading(
        "*/90 * * * *",
        "960 from 01 Jan 00:00",
        "960 from 01 Jan 00:00",
        "refused",
        "it runs each hour, which is not what 90 says",
    ),
    Reading("0 0 15W * *", "refused", "1 from 15 Jan 00:00", "1 from 15 Jan 00:00", "cronsim knows no `W`"),
    Reading("0 0 LW * *", "1 from 30 Jan 00:00", "refused", "1 from 30 Jan 00:00", "croniter knows no `LW`"),
    Reading("0 0 * * 5L", "1 from 30 Jan 00:00", "refused", "1 from 30 Jan 00:00", "croniter writes `L5`"),
    Reading("0 0 * * L5", "refused", "1 from 30 Jan 00:00", "refused", "as above"),
    Reading("0 0 * * ?", "refused", "40 from 01 Jan 00:00", "refused", "`?` is of Quartz"),
    Reading(
        "@daily",
        "refused",
        "40 from 01 Jan 00:00",
        "40 from 01 Jan 00:00",
        "cronsim knows no names for whole expressions",
    ),
    Reading(
        "0 12 1 1 * 30",
        "refused",
        "1 from 01 Jan 12:00",
        "refused",
        "croniter takes a sixth field for seconds, and puts them last",
    ),
)


def explanation(case: Case) -> Row | None:
    """The first row that explains it."""
    return next((row for row in ROWS if row.oracle == case.oracle and row.explains(case)), None)
