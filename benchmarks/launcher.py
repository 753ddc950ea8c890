"""Runs one command and writes down what it took: wall and CPU seconds, and peak memory.

    python -I -S launcher.py REPORT COMMAND…

A process of its own, and a small one: the kernel hands the peak memory of who starts a program on to it, so that a
large harness would show up in every tool. What remains of that is a floor of about 10 MiB.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path

SAMPLE_MILLISECONDS = 50
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    report, *command = sys.argv[1:]
    began = time.monotonic()
    child = os.posix_spawnp(command[0], command, os.environ)
    sampled = watch(child)
    _, status, usage = os.wait4(child, 0)
    took = {
        "wall_seconds": time.monotonic() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": max(usage.ru_maxrss * 1024, sampled) / (1 << 20),
    }
    Path(report).write_text(json.dumps(took), encoding="utf-8")
    return os.waitstatus_to_exitcode(status)


def watch(child: int) -> int:
    """Wait for the end of a process; the most bytes that it and its descendants had together in any sample."""
    handle = os.pidfd_open(child)
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    most = 0
    while not ended.poll(SAMPLE_MILLISECONDS):
        most = max(most, resident(child))
    os.close(handle)
    return most


def resident(process: int) -> int:
    """Bytes in memory of a process and its descendants; pages that they share count for each."""
    home = Path("/proc") / str(process)
    try:
        pages = int((home / "statm").read_text().split()[1])
        children = [
            int(child) for task in (home / "task").iterdir() for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError):  # it has just ended, or this kernel does not tell
        return 0
    return pages * PAGE_BYTES + sum(resident(child) for child in children)


if __name__ == "__main__":
    sys.exit(main())
