"""Monitors that expect a sign of life by a cron expression: Healthchecks and Sentry.

Both read it with cronsim, which does as Debian's cron does, in the zone that is named. Of times that a gap moves to the
same moment it expects one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from safebackup.schedule.cron import parse_cron
from safebackup.schedule.exporting.choosing import Candidate, Choice, choose
from safebackup.schedule.exporting.cron_text import CRONSIM, cron_texts, wild_or_not
from safebackup.schedule.exporting.exports import Draft, Request, divergences_of, remarks
from safebackup.schedule.exporting.lines import Line, lines_of, on_clocks_of
from safebackup.schedule.exporting.pieces import impossible
from safebackup.schedule.exporting.simulating import Simulated, off_the_hour, steps_off_the_hour
from safebackup.schedule.policies import ELAPSED, ONCE
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import zone


def write_healthchecks(request: Request) -> Draft:
    """The body of a POST to `/api/v3/checks/`."""
    choice = _choice(request)
    divergences = divergences_of(request, choice.differences)
    content = {
        "name": request.name,
        "slug": request.name,
        "desc": "\n".join(remarks(request, divergences)),
        "schedule": choice.candidate.texts[0],
        "tz": choice.candidate.tz,
        "grace": request.grace,
        "unique": ["name"],
    }
    return Draft({f"{request.name}.json": json.dumps(content, indent=2) + "\n"}, divergences)


def write_sentry(request: Request) -> Draft:
    """The body of a POST to `/api/0/organizations/<organization>/monitors/`, where `project` is still to be named."""
    choice = _choice(request)
    divergences = divergences_of(request, choice.differences)
    content = {
        "name": request.name,
        "slug": request.name,
        "type": "cron_job",
        "config": {
            "schedule_type": "crontab",
            "schedule": choice.candidate.texts[0],
            "timezone": choice.candidate.tz,
            "checkin_margin": -(-request.grace // 60),
        },
    }
    return Draft({f"{request.name}.json": json.dumps(content, indent=2) + "\n"}, divergences)


def _choice(request: Request) -> Choice:
    choice = choose(request, _candidates(request, lines_of(request.schedule.rule, request.schedule.zone)))
    if choice.differences and steps_off_the_hour(request.schedule.zone, request.start, request.end):
        raise off_the_hour(request, request.target)
    return choice


def _candidates(request: Request, lines: list[Line]) -> Iterator[Candidate]:
    several = 0
    for named in dict.fromkeys([request.schedule.zone, zone("UTC")]):
        there = on_clocks_of(lines, named, request.start)
        if there is None or steps_off_the_hour(named, request.start, request.end):
            continue
        for wild in wild_or_not(request.schedule.rule):
            texts = cron_texts(there, CRONSIM, wild=wild)
            if texts is None:
                continue
            several = max(several, len(texts))
            if len(texts) == 1:
                read = parse_cron(texts[0])
                rule = Walls(read, named, ELAPSED if read.is_wild else ONCE)
                yield Candidate((texts[0],), Simulated((rule,)), named.key)
    if several > 1:
        raise impossible(
            f"{request.schedule} needs {several} cron expressions, and a check has one",
            "Choose times that share their minutes, or make a check for each of them.",
        )
