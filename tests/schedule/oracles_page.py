"""Writes docs/reference/schedule-oracles.md from the rows that the tests check.

python -m tests.schedule.oracles_page
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.schedule.disagreements import NAMES, READINGS, ROWS, Row
from tests.schedule.test_on_calendar import DISAGREEMENTS as CALENDARS
from tests.schedule.test_rrule import DISAGREEMENTS as RULES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "schedule-oracles.md"
ASKED = {"cronsim": "after", "cronsim backwards": "before", "croniter": "after", "systemd": "from"}

HEAD = """# Schedules beside other programs

<!-- Made by tests/schedule/oracles_page.py: change the rows there, and run it again. -->

Is a schedule due when it should be? The tests ask three kinds of witnesses, near the changes of the clocks of all
IANA zones from 1970 to 2037.

* **A model by brute force.** It steps through UTC, minute by minute or by second, asks Python's `zoneinfo` what a clock
  on the wall shows, and matches that. It has no table of changes and shares no code with the library. Every
  constructor, with each `in_gap` and each `in_overlap`, forwards and backwards, gives what it gives: there is no
  disagreement, and none is allowed.
* **Other schedulers**: cronsim, croniter, and `systemd-analyze calendar`. Where they answer otherwise, a row below must
  say why, or the tests fail. In each such case the model is asked again, and has the answer of this library.
* **dateutil**, for recurrence rules away from changes of the clocks, as it does not know them.

A disagreement is **by policy** when the model, told to follow the other program's policy, gives exactly its answer.
Otherwise it is **an error** of the other program. Each row has an example that the tests run on both sides. Times are
those of the clock on the wall with its offset; "-" means no run, or no other run, within four days, and "no end" no
answer within a second of computing, or the same ones over and over.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for oracle, name in NAMES.items():
        parts.append(f"## {name}\n")
        rows = (row for row in ROWS if row.oracle == oracle)
        parts.append(_table(["by", "what it does", "example", "theirs", "ours"], map(_cells, rows)))
    parts.append("## Expressions that not everyone reads alike\n")
    parts.append("Runs in the forty days from 1 January 2026, a Thursday, in UTC.\n")
    cells = ([f"`{row.expression}`", row.cronsim, row.croniter, row.ours, row.why] for row in READINGS)
    parts.append(_table(["expression", NAMES["cronsim"], NAMES["croniter"], "here", "why"], cells))
    parts.append("## Calendar expressions away from changes of the clocks\n")
    calendars = ([f"`{row.expression}`", row.base, row.systemd, row.ours, row.why] for row in CALENDARS)
    parts.append(_table(["expression", "after, in UTC", NAMES["systemd"], "here", "why"], calendars))
    parts.append("## Recurrence rules away from changes of the clocks\n")
    rules = ([f"`{row.rule}`", row.start, row.dateutil or "-", row.ours, row.why] for row in RULES)
    parts.append(_table(["rule", "start", "dateutil 2.9.0", "here", "why"], rules))
    return "\n".join(parts).rstrip() + "\n"


def _cells(row: Row) -> list[str]:
    example = row.example
    asked = f"{ASKED[row.oracle]} {example.asked.replace('T', ' ')[:16]} UTC"
    question = f"`{example.expression}` {example.zone}, {asked}"
    return [
        "policy" if row.by_policy else "error",
        f"**{_sentence(row.what)}** {row.why}",
        question,
        example.theirs,
        example.ours,
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
