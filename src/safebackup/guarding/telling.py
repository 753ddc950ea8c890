"""How the guard writes times: on the clock of the job, on that of the host, and in UTC; offsets always in numbers."""

from __future__ import annotations

from collections.abc import Sequence

from safebackup.guarding.hosts import HostZone
from safebackup.schedule import Schedule, moments
from safebackup.schedule.turns import turns_of


def on_job_clock(second: int, schedule: Schedule) -> str:
    """`2023-10-10 09:00:00 +01:00`."""
    return moments.write_in_zone(second, turns_of(schedule.zone).offset_at(second))


def on_all_clocks(second: int, schedule: Schedule, host: HostZone) -> str:
    """The instant three times."""
    return (
        f"{on_job_clock(second, schedule)} in {schedule.zone} = "
        f"{moments.write_in_zone(second, host.offset_at(second))} on this host ({host}) = "
        f"{moments.write_instant(second)}"
    )


def how_long(seconds: int) -> str:
    """`45 s`, `8 h`, `1 h 30 min`, `2 d 3 h`: the two largest units."""
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
        if len(parts) == 2 or (parts and not seconds):
            break
    return " ".join(parts) or "0 s"


def some_of(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" or {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
