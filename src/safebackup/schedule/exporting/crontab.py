"""Crontab lines for Debian's cron, and back.

cron(8) of Debian reads all times on the host's clock and ignores CRON_TZ. A job whose minute and hour do not start with
`*` runs once: after a gap at its first minute, in a repeated hour the first time; but two of its times in one gap are
started at the same moment. All others run whenever the clock shows their time. This holds for changes of the clocks of
more than five minutes and up to three hours; after 2011 there were no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NoReturn

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import moments
from safebackup.schedule.cron import Cron, parse_cron
from safebackup.schedule.days import MonthDays
from safebackup.schedule.exporting.choosing import Candidate, choose
from safebackup.schedule.exporting.cron_text import DEBIAN, cron_texts, wild_or_not
from safebackup.schedule.exporting.exports import Draft, Request, commented, divergences_of, remarks
from safebackup.schedule.exporting.lines import Line, lines_of, on_clocks_of
from safebackup.schedule.exporting.quoting import in_crontab
from safebackup.schedule.exporting.simulating import Simulated
from safebackup.schedule.policies import ELAPSED, ONCE
from safebackup.schedule.turns import turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.zones import Zone


def write_crontab(request: Request) -> Draft:
    """Lines for `crontab -e` on a host whose clock is that of `request.host`."""
    host = request.host
    assert host is not None
    command = in_crontab(request.command)
    lines = lines_of(request.schedule.rule, request.schedule.zone)
    choice = choose(request, _candidates(request, lines, host))
    divergences = divergences_of(request, choice.differences)
    about = remarks(request, divergences, choice.candidate.remarks)
    text = commented(about) + "".join(f"{expression}  {command}\n" for expression in choice.candidate.texts)
    return Draft({"crontab": text}, divergences)


def _candidates(request: Request, lines: list[Line], host: Zone) -> Iterator[Candidate]:
    there = on_clocks_of(lines, host, request.start)
    if there is None:
        return
    said = _about_clocks(request, lines, host)
    for wild in wild_or_not(request.schedule.rule):
        texts = cron_texts(there, DEBIAN, wild=wild)
        if texts is not None:
            rules = tuple(as_debian_does(text, host) for text in texts)
            yield Candidate(tuple(texts), Simulated(rules, adds_up=True, runs_each=True), host.key, said)


def as_debian_does(text: str, host: Zone) -> Walls:
    """What Debian's cron reads in an expression."""
    read = parse_cron(text)
    return Walls(read, host, ELAPSED if read.is_wild else ONCE)


def _about_clocks(request: Request, lines: list[Line], host: Zone) -> tuple[str, ...]:
    said = [f"For Debian's cron on a host in {host}: cron reads its times on the host's clock, so that must stay."]
    there = turns_of(host).offset_at(request.start)
    for line_zone in dict.fromkeys(line.zone for line in lines):
        here = turns_of(line_zone).offset_at(request.start)
        if line_zone != host:
            moved = moments.write_offset(there - here)
            said.append(
                f"Times of {line_zone} ({moments.write_offset(here)}) are moved by {moved} "
                f"to the clock of {host} ({moments.write_offset(there)})."
            )
    return tuple(said)


def read_line(line: str) -> str:
    """The cron expression of a crontab line.

    Raises:
        ConfigurationError: it is no line with a time, or not one that Debian's cron reads.
    """
    if not isinstance(line, str):
        _refuse(f"a crontab line is a text, not {line!r}", "Give a line with five fields and a command.")
    text = line.strip(" \t\r\n")
    if "\n" in text or "\r" in text:
        _refuse(f"{line!r} has more than one line", "Give one line at a time, without comments and variables.")
    if not text or text.startswith("#"):
        _refuse(f"{line!r} is a comment or empty", "Give a line with five fields and a command.")
    variable = re.match(r"""["']?(\w+)["']?\s*=""", text)
    if variable is not None:
        name = variable[1]
        hint = "Give a line with five fields and a command."
        if name in ("CRON_TZ", "TZ"):
            hint = f"Debian's cron does not read times by {name}: they are on the host's clock, host_tz=. " + hint
        _refuse(f"{line!r} sets the variable {name}", hint)
    fields = 1 if text.startswith("@") else 5
    words = text.split(None, fields)
    expression = " ".join(words[:fields])
    if fields == 1 and expression != expression.lower():
        hint = f"Cron reads small letters only here: {expression.lower()}."
        _refuse(f"{expression!r} is no time to Debian's cron", hint)
    _require_debian(parse_cron(expression), expression)
    if len(words) == fields:
        _refuse(f"{line!r} has no command", "Give the whole line; an expression alone is read by Schedule.cron.")
    return expression


def _require_debian(read: Cron, expression: str) -> None:
    days = read.days
    if isinstance(days, MonthDays) and (days.last or days.last_workday or days.workdays or days.nths):
        _refuse(
            f"{expression!r} has L, W or #, and Debian's cron refuses a crontab with these",
            "If another program reads the line, say Schedule.cron(..., tz=...) with its zone.",
        )


def _refuse(what: str, hint: str) -> NoReturn:
    raise ConfigurationError(what, code=Code.BAD_CRON, hint=hint)
