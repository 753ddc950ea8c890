"""Pictures of a year: what is drawn is when it runs, in little, for eyes and for readers of descriptions."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pendulum
import pytest

from safebackup.errors import ConfigurationError
from safebackup.schedule import Schedule

BERLIN = "Europe/Berlin"
NIGHTLY = Schedule.cron("30 2 * * *", tz=BERLIN, forbid="08:00-18:00")
COMMITTED = Path(__file__).parents[2] / "docs/images/nightly-2027.svg"
SVG = "{http://www.w3.org/2000/svg}"
LEFT, TOP = 52, 64


def cells(svg: str) -> set[tuple[int, int]]:
    """(day of the year, five minutes of the day) of all that is drawn, read as a renderer would."""
    path = ElementTree.fromstring(svg).find(f"{SVG}path[@class='runs']")
    assert path is not None
    found = set()
    x = y = 0
    for command, numbers in re.findall(r"([Mmhv])([-\d ]+)", path.attrib["d"]):
        values = [int(number) for number in numbers.split()]
        if command in "Mm":
            x, y = (values[0], values[1]) if command == "M" else (x + values[0], y + values[1])
            continue
        for step in range(0, values[0], 2):
            at = (x + step, y) if command == "h" else (x, y + step)
            found.add(((at[0] - LEFT) // 2, (at[1] - TOP) // 2))
        x, y = (x + values[0], y) if command == "h" else (x, y + values[0])
    return found


def expected(schedule: Schedule, year: int, key: str) -> set[tuple[int, int]]:
    tz = ZoneInfo(key)
    start, end = datetime(year, 1, 1, tzinfo=tz), datetime(year + 1, 1, 1, tzinfo=tz)
    found = set()
    for at in schedule.between(start, end):
        local = at.astimezone(tz)
        found.add((local.toordinal() - date(year, 1, 1).toordinal(), (local.hour * 60 + local.minute) // 5))
    return found


@pytest.mark.parametrize("shown", [None, "UTC", "America/St_Johns"])
@pytest.mark.parametrize(
    "schedule",
    [
        NIGHTLY,
        Schedule.cron("*/15 * * * *", tz="America/New_York"),
        Schedule.cron("*/10 */2 * * 1,3,5", tz="Australia/Lord_Howe"),
        Schedule.cron("4-59/7 9-17 */2 * *", tz="Asia/Beirut"),
        Schedule.every(hours=7, minutes=13, start=pendulum.datetime(2026, 1, 1), tz=BERLIN),
    ],
    ids=str,
)
def test_what_is_drawn_is_when_it_runs(schedule: Schedule, shown: str | None) -> None:
    svg = schedule.picture(year=2028, tz=shown)

    assert cells(svg) == expected(schedule, 2028, shown or schedule.zone.key)


@pytest.mark.parametrize("expression", ["*/15 * * * *", "* * * * *", "*/4 * */2 * *", "3-59/7 * */2 * *"])
def test_a_dense_year_is_small(expression: str) -> None:
    assert len(Schedule.cron(expression, tz=BERLIN).picture(year=2027)) < 150_000


def test_a_change_of_the_clocks_within_five_minutes_loses_nothing() -> None:
    # Newfoundland changed its clocks at one minute past midnight.
    schedule = Schedule.cron("0-4 * * * *", tz="America/St_Johns")

    assert cells(schedule.picture(year=2008)) == expected(schedule, 2008, "America/St_Johns")


def test_it_is_well_formed_described_and_runs_nothing() -> None:
    svg = NIGHTLY.picture(year=2027, tz="UTC")

    root = ElementTree.fromstring(svg)

    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names == {"svg", "title", "desc", "style", "rect", "text", "path", "circle"}
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == ["title", "desc"]
    described = root.findtext(f"{SVG}desc") or ""
    assert "At 02:30 every day." in described
    assert "change on 2027-03-28 from +01:00 to +02:00 and 2027-10-31 from +02:00 to +01:00" in described
    assert "Runs on 365 of 365 days" in described
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme:dark" in style
    assert not re.search(r"script|href|url\(|@import|on\w+=", svg)


def test_runs_that_a_change_of_the_clocks_moved_are_ringed_and_told() -> None:
    root = ElementTree.fromstring(NIGHTLY.picture(year=2027))

    told = [ring.findtext(f"{SVG}title") for ring in root.iter(f"{SVG}circle")]
    assert told == [
        "2027-03-28 03:00:00 +02:00: moved out of a gap, written 02:30:00",
        "2027-10-31 02:30:00 +02:00: first of two, written 02:30:00",
    ]


def test_forbidden_hours_move_with_the_clock_that_is_shown() -> None:
    own, utc = (ElementTree.fromstring(NIGHTLY.picture(year=2027, tz=tz)) for tz in (None, "UTC"))

    drawn = [
        [(int(box.attrib["y"]) - TOP) / 24 for box in root.iter(f"{SVG}rect") if box.attrib.get("class") == "closed"]
        for root in (own, utc)
    ]

    assert drawn == [[8.0], [7.0, 6.0, 7.0]]


def test_a_window_across_midnight_is_drawn_in_two() -> None:
    schedule = Schedule.daily(at="12:30", tz=BERLIN).spread(timedelta(minutes=5), key="<b>&\x00")
    closed = Schedule.daily(at="12:30", tz=BERLIN, forbid="22:00-06:00")

    boxes = [line for line in closed.picture(year=2027).splitlines() if 'class="closed"' in line]

    assert [re.findall(r'(?:y|height)="(\d+)"', box) for box in boxes] == [["64", "144"], ["592", "48"]]
    assert "&lt;b&gt;&amp;\\x00" in schedule.picture(year=2027)
    ElementTree.fromstring(schedule.picture(year=2027))


def test_two_changes_near_each_other_have_their_words_on_two_lines() -> None:
    svg = Schedule.daily(at="01:30", tz="Africa/Casablanca").picture(year=2025)

    heights = re.findall(r'class="turned" x="\d+" y="(\d+)"', svg)
    assert len(heights) == 2
    assert len(set(heights)) == 2


def test_a_year_without_runs_is_an_empty_sheet() -> None:
    svg = Schedule.on_calendar("2030-01-01 04:30", tz=BERLIN).picture(year=2027)

    assert "Runs on 0 of 365 days" in svg
    assert cells(svg) == set()


def test_the_same_question_gives_the_same_bytes() -> None:
    again = Schedule.from_dict(NIGHTLY.to_dict())

    assert again.picture(year=2027, tz="UTC") == NIGHTLY.picture(year=2027, tz="UTC")


@pytest.mark.parametrize("year", [2, 9998, "2027", True])
def test_a_year_that_makes_no_sense_is_refused(year: int) -> None:
    with pytest.raises(ConfigurationError, match="is not a year"):
        NIGHTLY.picture(year=year)


def test_the_committed_picture_is_current() -> None:
    expected_text = NIGHTLY.picture(year=2027, tz="UTC")

    assert COMMITTED.read_text(encoding="utf-8") == expected_text, "write the text of NIGHTLY.picture(…) to that file"
