"""A night under the guard: a clock that is set by hand, a host's cron, and what a start ends with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs

from safebackup.findings import Finding
from safebackup.guarding import StartRefusedError, guard
from safebackup.schedule import Schedule

GRACE = timedelta(minutes=30)
# 01:00 in Lagos is midnight in UTC. The promise of the founding incident: nothing in business hours.
NIGHTLY = Schedule.cron("0 1 * * *", tz="Africa/Lagos", forbid="08:00-18:00")


def at(text: str) -> datetime:
    """`2023-10-10 01:00` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class HandClock:
    """A clock that shows what it is told; both of its faces move together."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.asleep = timedelta(0)  # by so much less the monotonic face has moved

    def now(self) -> int:
        return int(self.moment.timestamp()) * 1_000_000_000 + self.moment.microsecond * 1000

    def monotonic(self) -> float:
        return (self.moment - self.asleep).timestamp()


@attrs.frozen
class Started:
    """How a start went: the run, or the code and the message of the refusal."""

    run_id: str = ""
    findings: tuple[Finding, ...] = ()
    code: str = ""
    message: str = ""

    @property
    def codes(self) -> list[str]:
        return [str(finding.code) for finding in self.findings]


def start(
    state: str | Path,
    moment: datetime,
    *,
    schedule: Schedule = NIGHTLY,
    grace: timedelta = GRACE,
    host_zone: str = "Africa/Lagos",
    override: str | None = None,
    minutes: float = 10,
    deadline: timedelta | None = None,
    job: str = "",
) -> Started:
    """Start something that takes some minutes; what went wrong inside is the caller's."""
    clock = HandClock(moment)
    try:
        with guard(
            schedule,
            grace=grace,
            state=state,
            host_zone=host_zone,
            override=override,
            deadline=deadline,
            job=job,
            clock=clock,
        ) as permit:
            clock.moment += timedelta(minutes=minutes)
    except StartRefusedError as refused:
        return Started(code=refused.code, message=refused.message)
    return Started(permit.run_id, permit.findings)


def firings(hour: int, minute: int, zone: str, first: datetime, last: datetime) -> Iterator[datetime]:
    """When the cron of a host in that zone starts a daily line, found by looking at its clock each minute."""
    clock = ZoneInfo(zone)
    moment = first
    while moment < last:
        shown = moment.astimezone(clock)
        if (shown.hour, shown.minute) == (hour, minute):
            yield moment + timedelta(seconds=2)
        moment += timedelta(minutes=1)
