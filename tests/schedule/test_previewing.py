"""Previews: the next runs on several clocks, as data and as a table that cannot be misread."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pendulum
import pytest

from safebackup.errors import ConfigurationError
from safebackup.schedule import Schedule

BERLIN = "Europe/Berlin"
AFTER = pendulum.datetime(2026, 10, 23)
DAILY = Schedule.cron("30 2 * * *", tz=BERLIN)


def test_the_table_is_aligned_and_marks_days_and_changes_of_the_clocks() -> None:
    preview = DAILY.preview(4, after=AFTER, zones=["America/Los_Angeles"])

    assert str(preview).splitlines() == [
        "   Europe/Berlin                     America/Los_Angeles                 UTC",
        "1  Fri 2026-10-23 02:30:00 +02:00    Thu 2026-10-22 17:30:00 -07:00 -1d  Fri 2026-10-23 00:30:00 +00:00",
        "2  Sat 2026-10-24 02:30:00 +02:00    Fri 2026-10-23 17:30:00 -07:00 -1d  Sat 2026-10-24 00:30:00 +00:00",
        "3  Sun 2026-10-25 02:30:00 +02:00    Sat 2026-10-24 17:30:00 -07:00 -1d  Sun 2026-10-25 00:30:00 +00:00  "
        "first of two: written 02:30:00",
        "4  Mon 2026-10-26 02:30:00 +01:00 ~  Sun 2026-10-25 18:30:00 -07:00 -1d  Mon 2026-10-26 01:30:00 +00:00",
        "~ the clocks were changed since the run before; -1d, +1d the day before, the day after that in Europe/Berlin",
    ]


def test_the_first_run_of_each_day_is_marked_where_a_day_has_several() -> None:
    preview = Schedule.cron("0,30 2,3 * * *", tz=BERLIN).preview(6, after=pendulum.datetime(2027, 3, 27))

    lines = str(preview).splitlines()
    assert [line.split()[0] for line in lines[1:7]] == ["1+", "2", "3", "4", "5+", "6"]
    assert lines[5].endswith("regular: written 03:00:00, together with 02:00:00 and 02:30:00")
    assert lines[7] == "+ first run of a day; ~ the clocks were changed since the run before"


def test_the_rows_are_the_next_runs_and_the_cells_what_clocks_show() -> None:
    zones = ["Asia/Kathmandu", "Pacific/Apia", BERLIN]
    schedule = Schedule.cron("*/20 * * * *", tz="Australia/Lord_Howe")

    preview = schedule.preview(300, after=pendulum.datetime(2027, 4, 2), zones=zones)

    assert preview.zones == ("Australia/Lord_Howe", *zones, "UTC")
    start, end = pendulum.datetime(2027, 4, 2, 0, 0, 1), preview.rows[-1].run.instant.add(seconds=1)
    assert [row.run.instant for row in preview.rows] == list(schedule.between(start, end))
    for row in preview.rows:
        for cell in row.cells:
            local = row.run.instant.astimezone(ZoneInfo(cell.zone))
            assert cell.wall == local.replace(tzinfo=None, fold=0)
            assert cell.offset == local.utcoffset()
            assert cell.days == (cell.wall.date() - row.cells[0].wall.date()).days
    changes = {cell.changed for row in preview.rows for cell in row.cells}
    assert changes == {timedelta(0), timedelta(minutes=-30)}


def test_each_zone_has_one_column() -> None:
    assert Schedule.daily(at="01:30", tz="UTC").preview(1, after=AFTER, zones=["UTC"]).zones == ("UTC",)
    assert DAILY.preview(1, after=AFTER, zones=[BERLIN, "UTC"]).zones == (BERLIN, "UTC")


def test_what_ends_has_fewer_rows_and_what_is_over_says_so() -> None:
    ending = Schedule.on_calendar("2026-10-24..25 04:30", tz=BERLIN)

    assert len(ending.preview(after=AFTER).rows) == 2
    assert str(ending.preview(after=AFTER.add(days=3))) == "It is never due again."


def test_no_abbreviation_is_ever_printed() -> None:
    text = str(Schedule.daily(at="01:30", tz="Africa/Lagos").preview(3, after=AFTER, zones=["America/New_York"]))

    assert not {"WAT", "EST", "EDT"} & set(text.split())


@pytest.mark.parametrize("n", [0, -1, True, 1.5, 10_001])
def test_a_number_of_rows_that_makes_no_sense_is_refused(n: int) -> None:
    with pytest.raises(ConfigurationError, match="is not a number of rows"):
        DAILY.preview(n, after=AFTER)


def test_one_name_in_place_of_a_list_and_an_abbreviation_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is one name and not a list"):
        DAILY.preview(after=AFTER, zones="UTC")
    with pytest.raises(ConfigurationError, match="abbreviation"):
        DAILY.preview(after=AFTER, zones=["WAT"])


def test_the_first_row_is_compared_with_the_run_before_it() -> None:
    schedule = Schedule.hourly(minute=[0, 45], tz="Pacific/Chatham")

    lines = str(schedule.preview(3, after=pendulum.datetime(2027, 3, 27))).splitlines()

    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]  # none is the first of its day, and no legend
    later = str(schedule.preview(3, after=pendulum.datetime(2027, 3, 27, 9, 30))).splitlines()
    assert [line.split()[:2] for line in later[1:4]] == [["1", "Sat"], ["2+", "Sun"], ["3", "Sun"]]


def test_a_change_of_the_clocks_before_the_instant_that_was_asked_from_is_marked_once() -> None:
    after_the_change = pendulum.datetime(2027, 3, 28, 12)
    monthly = Schedule.monthly(day="last", at="04:30", tz=BERLIN)

    assert [bool(row.cells[0].changed) for row in monthly.preview(2, after=after_the_change).rows] == [True, False]
    assert not any(row.cells[0].changed for row in DAILY.preview(2, after=after_the_change).rows)
