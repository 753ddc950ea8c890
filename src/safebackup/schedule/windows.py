"""Windows: hours of the day in which something must not be due."""

from __future__ import annotations

import attrs

from safebackup.schedule.civil import bad, read_time, write_time
from safebackup.schedule.turns import DAY


@attrs.frozen
class Window:
    """From a time of day to before another, in seconds; across midnight where the end is not later."""

    start: int
    end: int

    def holds(self, wall: int) -> bool:
        """Whether a wall time lies in it."""
        second = wall % DAY
        if self.start < self.end:
            return self.start <= second < self.end
        return second >= self.start or second < self.end

    def end_after(self, wall: int) -> int:
        """The wall time at which the window that holds `wall` ends."""
        return wall + (self.end - wall) % DAY

    def __str__(self) -> str:
        return f"{write_time(self.start)}-{write_time(self.end) if self.end else '24:00'}"


def read_window(text: object, name: str) -> Window:
    """A window such as "08:00-18:00" or "22:00-06:00"."""
    if not isinstance(text, str) or text.count("-") != 1:
        raise bad(f"{name}={text!r} is not a window of the day", 'Write its start and its end: "08:00-18:00".')
    start, _, end = (part.strip() for part in text.partition("-"))
    window = Window(read_time(start, name), 0 if end == "24:00" else read_time(end, name))
    if window.start == window.end:
        raise bad(f"{name}={text!r} is empty or the whole day", "Its start and end must differ.")
    return window
