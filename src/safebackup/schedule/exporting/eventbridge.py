"""Schedules for AWS EventBridge Scheduler.

It skips what a gap leaves out and runs the first of two. Six fields: one of the day fields is `?`, days of the week run
from 1, Sunday, and the last field is the year.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from safebackup.schedule.cron import parse_cron
from safebackup.schedule.days import ALL_MONTHS, members
from safebackup.schedule.exporting.choosing import Candidate, choose
from safebackup.schedule.exporting.cron_text import ranges, starred
from safebackup.schedule.exporting.exports import Draft, Request, divergences_of, numbered, remarks
from safebackup.schedule.exporting.lines import Line, lines_of, on_clocks_of
from safebackup.schedule.exporting.pieces import ALL_NUMBERS, Piece, impossible
from safebackup.schedule.exporting.simulating import Simulated
from safebackup.schedule.policies import RFC5545
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone, zone

_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LONGEST_DESCRIPTION = 512


def write_eventbridge(request: Request) -> Draft:
    """The schedule part of `aws scheduler create-schedule --cli-input-json`; several where one cannot say it.

    What they start, `Target`, is for their owner to add.
    """
    choice = choose(request, _candidates(request, lines_of(request.schedule.rule, request.schedule.zone)))
    divergences = divergences_of(request, choice.differences)
    about = "; ".join(remarks(request, divergences))
    if len(about) > _LONGEST_DESCRIPTION:
        about = about[: _LONGEST_DESCRIPTION - 3] + "..."
    texts = choice.candidate.texts
    files = {}
    for index, text in enumerate(texts):
        name = numbered(request.name, index, len(texts))
        content = {
            "Name": name,
            "Description": about,
            "ScheduleExpression": text,
            "ScheduleExpressionTimezone": choice.candidate.tz,
            "FlexibleTimeWindow": {"Mode": "OFF"},
        }
        files[f"{name}.json"] = json.dumps(content, indent=2) + "\n"
    return Draft(files, divergences)


def _candidates(request: Request, lines: list[Line]) -> Iterator[Candidate]:
    for named in dict.fromkeys([request.schedule.zone, zone("UTC")]):
        there = on_clocks_of(lines, named, request.start)
        if there is not None:
            texts = tuple(_text(line) for line in there)
            rules = tuple(as_eventbridge_does(text, named) for text in texts)
            yield Candidate(texts, Simulated(rules, adds_up=True), named.key)


def _text(line: Line) -> str:
    piece = line.days
    if line.seconds != 1:
        raise impossible(
            f"EventBridge knows minutes, but a run is due at second {ranges(line.seconds)}", "Export to systemd."
        )
    if not (piece.has_any_date or piece.has_any_weekday):
        raise impossible("EventBridge takes a date or a weekday, where both must hold", "Export to systemd.")
    if piece.years:
        raise impossible("a schedule of single years is not exported to EventBridge", "Export to systemd.")
    minute = starred(line.minutes, 0, 59) or ranges(line.minutes)
    hour = starred(line.hours, 0, 23) or ranges(line.hours)
    months = "*" if piece.months == ALL_MONTHS else ranges(piece.months)
    date, weekday = ("?", _weekday(piece)) if not piece.has_any_weekday else (_date(piece), "?")
    return f"cron({minute} {hour} {date} {months} {weekday} *)"


def _date(piece: Piece) -> str:
    if piece.nearest:
        return f"{piece.nearest}W"
    if piece.from_end == 0b10:
        return "L"
    if piece.from_end or piece.last_workday:
        raise impossible("EventBridge knows the last day of a month, but none before it", "Export to systemd.")
    return "*" if piece.numbers == ALL_NUMBERS else ranges(piece.numbers)


def _weekday(piece: Piece) -> str:
    if not piece.nth:
        return ",".join(_NAMES[day] for day in members(piece.weekdays))
    number = members(piece.weekdays)[0] + 1
    return f"{number}L" if piece.nth == -1 else f"{number}#{piece.nth}"


def as_eventbridge_does(text: str, named: Zone) -> Walls:
    """What EventBridge reads in one of the expressions above."""
    minute, hour, date, months, weekday, _ = text.removeprefix("cron(").removesuffix(")").split()
    if weekday[0].isdigit():
        weekday = f"{int(weekday[0]) - 1}{weekday[1:]}"
    fields = (minute, hour, date.replace("?", "*"), months, weekday.replace("?", "*"))
    return Walls(parse_cron(" ".join(fields)), named, RFC5545)
