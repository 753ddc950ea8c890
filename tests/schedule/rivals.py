"""Other people's schedulers, asked the same questions: cronsim, croniter and systemd-analyze.

Every answer is a list of seconds since 1970. One that does not come to an end, or repeats itself, ends with None.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from croniter import croniter  # type: ignore[import-untyped]
from cronsim import CronSim

from tests.schedule.oracle import EPOCH, utc

Answer = list[int | None]
MOST = 7000  # runs in the span that is asked about; more means that it turns in a circle
_PATIENCE = 1.0
ANALYZE = shutil.which("systemd-analyze")


class _TooLong(Exception):
    pass


@contextmanager
def _patience() -> Iterator[Callable[[], object]]:
    """A second of computing for each answer, however busy the machine is; what it gives is called before each."""

    def give_up(_number: int, _frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, give_up)
    try:
        yield partial(signal.setitimer, signal.ITIMER_VIRTUAL, _PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _seconds(moment: datetime) -> int:
    return int((moment.astimezone(UTC) - EPOCH).total_seconds())


def _iterated(step: Callable[[], datetime], is_past: Callable[[int], bool]) -> Answer:
    found: Answer = []
    try:
        with _patience() as again:
            while len(found) < MOST:
                again()
                second = _seconds(step())
                if is_past(second):
                    return found
                found.append(second)
    except StopIteration:
        return found
    except (_TooLong, OverflowError):
        pass
    return [*found, None]


def cronsim_answers(expression: str, key: str, start: int, end: int) -> Answer:
    """After `start`, before `end`."""
    runs = CronSim(expression, utc(start).astimezone(ZoneInfo(key)))
    return _iterated(lambda: next(runs), lambda second: second >= end)


def cronsim_answers_backwards(expression: str, key: str, start: int, end: int) -> Answer:
    """Before `end`, after `start`; in order of time."""
    runs = CronSim(expression, utc(end).astimezone(ZoneInfo(key)), reverse=True)
    return _iterated(lambda: next(runs), lambda second: second <= start)[::-1]


def croniter_answers(expression: str, key: str, start: int, end: int) -> Answer:
    """After `start`, before `end`; days combined as Debian's cron does."""
    runs = croniter(expression, utc(start).astimezone(ZoneInfo(key)), implement_cron_bug=True)
    return _iterated(lambda: runs.get_next(datetime), lambda second: second >= end)


def systemd_answers(expression: str, key: str, start: int, number: int) -> list[int]:
    """The first so many at or after `start`, or all up to where it gives up, when it prints none of them."""
    found = _systemd_prints(expression, key, start, number)
    low, high = 0, number
    while found is None and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _systemd_prints(expression, key, start, middle) is None else (middle, high)
    if found is None and low:
        found = _systemd_prints(expression, key, start, low)
    return found or []


def _systemd_prints(expression: str, key: str, start: int, number: int) -> list[int] | None:
    """None: it failed."""
    assert ANALYZE is not None
    base = f"{utc(start - 1):%Y-%m-%d %H:%M:%S} UTC"
    argv = [ANALYZE, "calendar", f"--iterations={number}", f"--base-time={base}", f"{expression} {key}"]
    done = subprocess.run(argv, env={"TZ": "UTC", "LC_ALL": "C"}, capture_output=True, text=True, check=False)
    lines = re.findall(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w{3} ([-\d]+ [\d:]+) UTC", done.stdout)
    return None if done.returncode else [_seconds(datetime.fromisoformat(f"{line}+00:00")) for line in lines]
