"""Progress on standard error: a bar where somebody watches a terminal, with --verbose plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safebackup.cli.output import note
from safebackup.cli.running import Screen
from safebackup.cli.sizes import duration_text, size_text
from safebackup.clock import SystemClock
from safebackup.events import Event, FilesCounted

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_SECONDS = 10.0
_BAR_EVERY_SECONDS = 0.1
_BAR_AFTER_SECONDS = 0.5


@contextmanager
def watching(screen: Screen, label: str) -> Iterator[Counter]:
    """What counts bytes and files while the block works."""
    if screen.quiet:
        yield Counter()
    elif sys.stderr.isatty():
        with _shown_after_a_while(_bars()) as bars:
            yield _Bar(bars, label)
    elif screen.verbose:
        yield _Lines(label)
    else:
        yield Counter()


class Counter:
    """Counts bytes and files from any thread; how they are shown now and then, if at all, is its subclasses' affair."""

    every_seconds = LINE_EVERY_SECONDS

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self.began = self._clock.monotonic()
        self._shown = self.began
        self.done = 0
        self.expected = 0
        self.files = 0

    def set_size(self, size: int) -> None:
        """So many bytes are to be expected."""
        self.expected = size

    def observe(self, event: Event) -> None:
        """Take the number of files from events."""
        if isinstance(event, FilesCounted):
            self.files = event.files

    def relative_update(self, inc: int = 1) -> None:
        """So many more are done."""
        with self._lock:
            self.done += inc
            now = self._clock.monotonic()
            if now - self._shown < self.every_seconds:
                return
            self._shown = now
        self.show(now - self.began)

    def show(self, seconds: float) -> None:
        """Show it; `seconds` have passed since the beginning."""


class _Lines(Counter):
    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def show(self, seconds: float) -> None:
        """One line."""
        rate = self.done / seconds
        of = f" of about {size_text(self.expected)}" if self.expected else ""
        left = max(self.expected - self.done, 0) / rate if rate else 0
        until = f", {duration_text(left)} left" if left else ""
        files = f", {self.files:,} files" if self.files else ""
        note(f"{self._label}: {size_text(self.done)}{of}{files}, {size_text(rate)}/s{until}")


class _Bar(Counter):
    every_seconds = _BAR_EVERY_SECONDS

    def __init__(self, bars: Bars, label: str) -> None:
        super().__init__()
        self._bars = bars
        self._task: TaskID = bars.add_task(label, total=None, amount="", files="", rate="")

    def set_size(self, size: int) -> None:
        """So many bytes are to be expected; that is shown before the first of them."""
        super().set_size(size)
        self.show(0)

    def show(self, seconds: float) -> None:
        """Move the bar."""
        # More than was expected may come: the source has grown since the last backup.
        total = max(self.expected, self.done) if self.expected else None
        self._bars.update(
            self._task,
            completed=self.done,
            total=total,
            amount=size_text(self.done) + (f" of {size_text(total)}" if total else ""),
            files=f"{self.files:,} files" if self.files else "",
            rate=f"{size_text(speed)}/s" if (speed := self._bars.tasks[0].speed) else "",
        )


@contextmanager
def _shown_after_a_while(bars: Bars) -> Iterator[Bars]:
    """Show bars while the block works, unless it is done before anybody could read them."""
    timer = threading.Timer(_BAR_AFTER_SECONDS, bars.start)
    timer.daemon = True
    timer.start()
    try:
        yield bars
    finally:
        timer.cancel()
        timer.join()
        if bars.live.is_started:
            bars.stop()


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        # Sizes and rates are ours, not rich's: both in units of 1024, and no "?" for what nobody knows yet.
        TextColumn("{task.fields[amount]}", markup=False),
        TextColumn("{task.fields[files]}", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
