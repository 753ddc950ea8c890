"""Recurrence rules beside RFC 5545, dateutil and a model of our own, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice, takewhile
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, zone
from safebackup.schedule.rrule import RRule, parse_rrule

EXAMPLES_TRIED = 2000 if os.environ.get("SAFEBACKUP_LONG") == "1" else 100
NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
EPOCH = datetime(1970, 1, 1)
EVER = datetime(9998, 1, 1, tzinfo=UTC)
RFC: dict[str, Any] = {"in_gap": "skip", "in_overlap": "first"}
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def walls(rule: RRule) -> Iterator[datetime]:
    """Its wall times, in order."""
    found = rule.at_or_after(rule.start)
    while found is not None:
        yield EPOCH + timedelta(seconds=found)
        found = rule.at_or_after(found + 1)


def parsed(rule: str, start: datetime) -> RRule:
    """A rule in UTC, where wall times and instants are the same."""
    return parse_rrule(rule, start.replace(tzinfo=UTC), zone("UTC"))


# The examples of RFC 5545, section 3.8.5.3, all from 1997-09-02 09:00 in New York unless they say otherwise: how many
# there are, if they end, and the first ones.
EXAMPLES = {
    "FREQ=DAILY;COUNT=10": (10, "1997-09-02 1997-09-03"),
    "FREQ=DAILY;UNTIL=19971224T000000Z": (113, "1997-09-02 1997-09-03"),
    "FREQ=DAILY;INTERVAL=2": (None, "1997-09-02 1997-09-04 1997-09-06"),
    "FREQ=DAILY;INTERVAL=10;COUNT=5": (5, "1997-09-02 1997-09-12 1997-09-22 1997-10-02 1997-10-12"),
    "FREQ=WEEKLY;COUNT=10": (10, "1997-09-02 1997-09-09 1997-09-16"),
    "FREQ=WEEKLY;INTERVAL=2;WKST=SU": (None, "1997-09-02 1997-09-16 1997-09-30"),
    "FREQ=WEEKLY;UNTIL=19971007T000000Z;WKST=SU;BYDAY=TU,TH": (10, "1997-09-02 1997-09-04 1997-09-09"),
    "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH": (8, "1997-09-02 1997-09-04 1997-09-16 1997-09-18"),
    "FREQ=MONTHLY;COUNT=10;BYDAY=1FR": (10, "1997-09-05 1997-10-03 1997-11-07"),
    "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU": (10, "1997-09-07 1997-09-28 1997-11-02 1997-11-30"),
    "FREQ=MONTHLY;COUNT=6;BYDAY=-2MO": (6, "1997-09-22 1997-10-20 1997-11-17"),
    "FREQ=MONTHLY;BYMONTHDAY=-3": (None, "1997-09-28 1997-10-29 1997-11-28 1997-12-29"),
    "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=2,15": (10, "1997-09-02 1997-09-15 1997-10-02"),
    "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1": (10, "1997-09-30 1997-10-01 1997-10-31"),
    "FREQ=MONTHLY;INTERVAL=18;COUNT=10;BYMONTHDAY=10,11,12,13,14,15": (10, "1997-09-10 1997-09-11 1997-09-12"),
    "FREQ=MONTHLY;INTERVAL=2;BYDAY=TU": (None, "1997-09-02 1997-09-09 1997-09-16 1997-09-23 1997-09-30 1997-11-04"),
    "FREQ=YEARLY;COUNT=10;BYMONTH=6,7": (10, "1998-06-02 1998-07-02 1999-06-02"),
    "FREQ=YEARLY;INTERVAL=2;COUNT=10;BYMONTH=1,2,3": (10, "1999-01-02 1999-02-02 1999-03-02 2001-01-02"),
    "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200": (10, "2000-01-01 2000-04-09 2000-07-18 2003-01-01"),
    "FREQ=YEARLY;BYDAY=20MO": (None, "1998-05-18 1999-05-17 2000-05-15"),
    "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO": (None, "1998-05-11 1999-05-17 2000-05-15"),
    "FREQ=YEARLY;BYMONTH=3;BYDAY=TH": (None, "1998-03-05 1998-03-12 1998-03-19 1998-03-26 1999-03-04"),
    "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13": (None, "1998-02-13 1998-03-13 1998-11-13 1999-08-13 2000-10-13"),
    "FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13": (None, "1997-09-13 1997-10-11 1997-11-08"),
    "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8": (None, "1997-11-04 2001-11-06 2005-11-08"),
    "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3": (3, "1997-09-04 1997-10-07 1997-11-06"),
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2": (None, "1997-09-29 1997-10-30 1997-11-27 1997-12-30"),
    "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5": (5, "1997-09-15 1997-09-30 1997-10-15 1997-10-30 1997-11-15"),
}


@pytest.mark.parametrize(("rule", "wanted"), EXAMPLES.items())
def test_the_examples_of_the_rfc_come_out_as_printed_there(rule: str, wanted: tuple[int | None, str]) -> None:
    count, first = wanted
    schedule = Schedule.rrule(rule, start=datetime(1997, 9, 2, 9, tzinfo=NEW_YORK), tz="America/New_York")

    runs = schedule.between(datetime(1990, 1, 1, tzinfo=UTC), EVER)
    found = list(runs if count is not None else islice(runs, 10))

    assert all(f"{run.in_timezone('America/New_York'):HH:mm}" == "09:00" for run in found)
    dates = [run.in_timezone("America/New_York").date().isoformat() for run in found]
    assert dates[: len(first.split())] == first.split()
    if count is not None:
        assert len(found) == count
        assert schedule.previous_before(EVER) == found[-1]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    {
        "FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z": "09:00 12:00 15:00",
        "FREQ=MINUTELY;INTERVAL=15;COUNT=6": "09:00 09:15 09:30 09:45 10:00 10:15",
        "FREQ=MINUTELY;INTERVAL=90;COUNT=4": "09:00 10:30 12:00 13:30",
        "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,20,40;COUNT=6": "09:00 09:20 09:40 10:00 10:20 10:40",
        "FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10;COUNT=6": "09:00 09:20 09:40 10:00 10:20 10:40",
    }.items(),
)
def test_the_examples_of_the_rfc_within_a_day_come_out_as_printed_there(rule: str, wanted: str) -> None:
    start = datetime(1997, 9, 2, 9, tzinfo=NEW_YORK)
    schedule = Schedule.rrule(rule, start=start, tz="America/New_York")

    runs = schedule.between(start, start + timedelta(days=1))

    assert [run.in_timezone("America/New_York").strftime("%H:%M") for run in runs] == wanted.split()


@pytest.mark.parametrize(("week_start", "wanted"), [("MO", "5 10 19 24"), ("SU", "5 17 19 31")])
def test_the_start_of_the_week_decides_which_weeks_are_counted(week_start: str, wanted: str) -> None:
    start = datetime(1997, 8, 5, 9)

    rule = parsed(f"FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST={week_start}", start)

    for read in (rule, parsed(rule.rule, start)):
        assert [str(wall.day) for wall in walls(read)] == wanted.split()


def test_the_first_days_of_a_year_can_lie_in_the_last_week_of_the_one_before() -> None:
    rule = parsed("FREQ=YEARLY;BYWEEKNO=53;BYDAY=TH,FR", datetime(2020, 6, 1))

    assert [f"{wall:%Y-%m-%d}" for wall in islice(walls(rule), 4)] == [
        "2020-12-31",
        "2021-01-01",
        "2026-12-31",
        "2027-01-01",
    ]


@st.composite
def several(draw: st.DrawFn, low: int, high: int, *, most: int = 4, signed: bool = False) -> str:
    numbers = st.integers(low, high)
    chosen = st.one_of(numbers, numbers.map(lambda number: -number)) if signed else numbers
    return ",".join(map(str, draw(st.lists(chosen, min_size=1, max_size=most, unique=True))))


def maybe(draw: st.DrawFn, one_in: int) -> bool:
    return draw(st.integers(1, one_in)) == 1


@st.composite
def days(draw: st.DrawFn, frequency: str, *, mixed: bool) -> list[str]:
    """The parts of a rule that pick days."""
    parts = []
    if maybe(draw, 3):
        parts.append(f"BYMONTH={draw(several(1, 12))}")
    weeks = frequency == "YEARLY" and maybe(draw, 4)
    if weeks:
        parts.append(f"BYWEEKNO={draw(several(1, 53 if mixed else 51, signed=mixed))}")
    if frequency not in ("DAILY", "WEEKLY", "MONTHLY") and maybe(draw, 6):
        parts.append(f"BYYEARDAY={draw(several(1, 366, most=8, signed=True))}")
    if frequency != "WEEKLY" and maybe(draw, 4):
        parts.append(f"BYMONTHDAY={draw(several(1, 31, most=6, signed=True))}")
    if maybe(draw, 2) or (weeks and not mixed):
        named = draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4, unique=True))
        if frequency in ("YEARLY", "MONTHLY") and not weeks and maybe(draw, 2):
            nths = st.sampled_from(("", "1", "2", "-1", "5", "-5") if mixed else ("1", "2", "-1", "5", "-5"))
            named = [draw(nths) + day for day in named]
        parts.append(f"BYDAY={','.join(named)}")
    return parts


@st.composite
def rules(draw: st.DrawFn, frequencies: tuple[str, ...], *, mixed: bool = False) -> str:
    """Rules without an end. With `mixed` also such as dateutil reads otherwise."""
    frequency = draw(st.sampled_from(frequencies))
    parts = [f"FREQ={frequency}"]
    if maybe(draw, 2):
        parts.append(f"INTERVAL={draw(st.sampled_from((1, 2, 3, 4, 5, 7, 12, 13, 24, 25, 60)))}")
    parts += draw(days(frequency, mixed=mixed))
    for name, highest in (("HOUR", 23), ("MINUTE", 59), ("SECOND", 59)):
        if maybe(draw, 3):
            parts.append(f"BY{name}={draw(several(0, highest, most=3))}")
    sets = any(part.startswith("BY") for part in parts) and (frequency != "WEEKLY" or mixed)
    if sets and maybe(draw, 3):
        parts.append(f"BYSETPOS={draw(several(1, draw(st.sampled_from((3, 10))), most=2, signed=True))}")
    if maybe(draw, 3):
        parts.append(f"WKST={draw(st.sampled_from(WEEKDAYS))}")
    return ";".join(parts)


starts = st.one_of(
    st.just(datetime(2026, 1, 1)),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(microsecond=0)),
)
HORIZONS = {
    "YEARLY": timedelta(days=20_000),
    "MONTHLY": timedelta(days=4_000),
    "WEEKLY": timedelta(days=3_000),
    "DAILY": timedelta(days=2_000),
    "HOURLY": timedelta(days=500),
    "MINUTELY": timedelta(days=20),
    "SECONDLY": timedelta(hours=12),
}


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(rules(tuple(HORIZONS)), starts)
def test_wall_times_are_those_of_dateutil(text: str, start: datetime) -> None:
    rule = parsed_or_discarded(text, start)
    horizon = start + HORIZONS[text.partition(";")[0].removeprefix("FREQ=")]
    ours = list(islice(takewhile(lambda wall: wall < horizon, walls(rule)), 30))
    assume(ours)  # dateutil would look for the next one for minutes

    theirs = rrulestr(f"{text};UNTIL={ours[-1]:%Y%m%dT%H%M%S}", dtstart=start)

    assert ours == list(theirs)


def parsed_or_discarded(text: str, start: datetime) -> RRule:
    try:
        return parsed(text, start)
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES, error
        assume(False)
        raise


class Model:
    """The RFC's table for rules of whole days, day by day: no search, no arithmetic with intervals of days."""

    def __init__(self, text: str, start: datetime) -> None:
        self.parts = dict(part.split("=") for part in text.split(";"))
        self.start = start
        self.frequency = self.parts["FREQ"]
        self.week_start = WEEKDAYS.index(self.parts.get("WKST", "MO"))
        self.interval = int(self.parts.get("INTERVAL", "1"))

    def numbers(self, name: str) -> list[int]:
        return [int(number) for number in self.parts[name].split(",")] if name in self.parts else []

    def week_of(self, day: date) -> date:
        return day - timedelta(days=(day.weekday() - self.week_start) % 7)

    def week_number(self, day: date) -> tuple[int, int]:
        """The number of its week, and how many weeks that year has."""
        of = (self.week_of(day) + timedelta(days=3)).year
        begins = [self.week_of(date(of + more, 1, 4)) for more in (0, 1)]
        return (day - begins[0]).days // 7 + 1, (begins[1] - begins[0]).days // 7

    def period(self, day: date) -> object:
        return {"YEARLY": day.year, "MONTHLY": (day.year, day.month), "WEEKLY": self.week_of(day)}[self.frequency]

    def counts(self, day: date) -> bool:
        """Whether its period is one of each `INTERVAL`."""
        first = self.start.date()
        distance = {
            "YEARLY": day.year - first.year,
            "MONTHLY": (day.year - first.year) * 12 + day.month - first.month,
            "WEEKLY": (self.week_of(day) - self.week_of(first)).days // 7,
        }[self.frequency]
        return distance % self.interval == 0

    def fits(self, day: date) -> bool:
        length = (date(day.year + day.month // 12, day.month % 12 + 1, 1) - timedelta(days=1)).day
        year_length = date(day.year, 12, 31).timetuple().tm_yday
        year_day = day.timetuple().tm_yday
        week, weeks = self.week_number(day)
        checks = {
            "BYMONTH": {day.month},
            "BYMONTHDAY": {day.day, day.day - length - 1},
            "BYYEARDAY": {year_day, year_day - year_length - 1},
            "BYWEEKNO": {week, week - weeks - 1},
        }
        if any(name in self.parts and not found & {*self.numbers(name)} for name, found in checks.items()):
            return False
        return self.fits_by_weekday(day, length, year_day, year_length)

    def fits_by_weekday(self, day: date, length: int, year_day: int, year_length: int) -> bool:
        name = WEEKDAYS[day.weekday()]
        if "BYDAY" in self.parts:
            place, size = (year_day, year_length)
            if self.frequency == "MONTHLY" or "BYMONTH" in self.parts:
                place, size = day.day, length
            names = {name, f"{(place - 1) // 7 + 1}{name}", f"-{(size - place) // 7 + 1}{name}"}
            return bool(names & {*self.parts["BYDAY"].split(",")})
        if "BYMONTHDAY" in self.parts or "BYYEARDAY" in self.parts:
            return True
        if self.frequency == "WEEKLY" or "BYWEEKNO" in self.parts:
            return day.weekday() == self.start.weekday()
        same_month = self.frequency == "MONTHLY" or "BYMONTH" in self.parts or day.month == self.start.month
        return same_month and day.day == self.start.day

    def times(self, day: date) -> list[datetime]:
        hours = self.numbers("BYHOUR") or [self.start.hour]
        minutes = self.numbers("BYMINUTE") or [self.start.minute]
        seconds = self.numbers("BYSECOND") or [self.start.second]
        return [
            datetime(day.year, day.month, day.day, hour, minute, second)
            for hour in sorted(hours)
            for minute in sorted(minutes)
            for second in sorted(seconds)
        ]

    def walls(self, end: datetime) -> list[datetime]:
        first = date(self.start.year, 1, 1) - timedelta(days=7)
        days = (first + timedelta(days=more) for more in range((end.date() - first).days + 370))
        found: list[datetime] = []
        for _, period in groupby(days, self.period):
            members = [time for day in period if self.counts(day) and self.fits(day) for time in self.times(day)]
            if "BYSETPOS" in self.parts:
                places = {number - 1 if number > 0 else len(members) + number for number in self.numbers("BYSETPOS")}
                members = [member for place, member in enumerate(members) if place in places]
            found += members
        return [wall for wall in found if self.start <= wall < end]


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(rules(("YEARLY", "MONTHLY", "WEEKLY"), mixed=True), starts)
def test_wall_times_are_those_of_a_model_that_looks_at_every_day(text: str, start: datetime) -> None:
    end = start + timedelta(days=3_000)
    wanted = Model(text, start).walls(end)

    try:
        ours = list(takewhile(lambda wall: wall < end, walls(parsed(text, start))))
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES
        ours = []

    assert ours == wanted


class Disagreement(NamedTuple):
    rule: str
    start: str
    dateutil: str  # its first two times
    ours: str
    why: str


# Where dateutil 2.9 and this library differ away from changes of the clocks.
DISAGREEMENTS = [
    Disagreement(
        "FREQ=YEARLY;BYWEEKNO=20",
        "1997-09-02 09:00:00",
        "1998-05-11 1998-05-12",
        "1998-05-12 1999-05-18",
        "what a rule does not say comes from its start, here a Tuesday; dateutil takes each day of the week",
    ),
    Disagreement(
        "FREQ=MONTHLY;BYDAY=MO,1WE",
        "2026-01-01 00:00:00",
        "",
        "2026-01-05 2026-01-07",
        "a list means any of its values; dateutil wants a day that is a Monday and also the first Wednesday",
    ),
    Disagreement(
        "FREQ=WEEKLY;BYDAY=MO,SA;BYSETPOS=2",
        "2026-01-01 00:00:00",
        "2026-01-10 2026-01-17",
        "2026-01-03 2026-01-10",
        "positions count in the whole week, as they do in whole months; dateutil cuts the first week at the start",
    ),
    Disagreement(
        "FREQ=YEARLY;BYWEEKNO=52;BYDAY=TH;WKST=SA",
        "2026-01-01 00:00:00",
        "2026-12-31 2027-12-30",
        "2026-01-01 2026-12-31",
        "2026-01-01 lies in week 52 of 2025, counted from Saturdays; dateutil takes the length of the wrong year",
    ),
    Disagreement(
        "FREQ=YEARLY;BYWEEKNO=-53;BYDAY=MO",
        "2019-06-01 00:00:00",
        "",
        "2019-12-30 2025-12-29",
        "2019-12-30 lies in the first of the 53 weeks of 2020; dateutil does not count those days from the end",
    ),
]


def first_two(found: Iterator[datetime], until: datetime) -> str:
    return " ".join(f"{wall:%Y-%m-%d}" for wall in islice(takewhile(lambda wall: wall < until, found), 2))


@pytest.mark.parametrize("row", DISAGREEMENTS, ids=lambda row: row.rule)
def test_both_sides_of_every_known_disagreement_hold(row: Disagreement) -> None:
    start = datetime.fromisoformat(row.start)
    until = datetime(2040, 1, 1)

    assert first_two(walls(parsed(row.rule, start)), until) == row.ours
    assert first_two(iter(rrulestr(f"{row.rule};UNTIL=20400101T000000", dtstart=start)), until) == row.dateutil


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(rules(tuple(HORIZONS), mixed=True), starts, st.one_of(st.none(), st.integers(1, 40)))
def test_both_directions_agree_and_everything_survives_being_written(
    text: str, start: datetime, count: int | None
) -> None:
    ended = text if count is None else f"{text};COUNT={count}"
    rule = parsed_or_discarded(ended, start)
    forwards = list(islice(walls(rule), 12))

    back: list[datetime] = []
    at = rule.at_or_before(int((forwards[-1] - EPOCH).total_seconds()))
    while at is not None:
        back.append(EPOCH + timedelta(seconds=at))
        at = rule.at_or_before(at - 1)

    assert back[::-1] == forwards
    again = parsed(rule.rule, start)
    assert (again, hash(again), again.text()) == (rule, hash(rule), rule.text())
    assert list(islice(walls(again), 12)) == forwards
    schedule = Schedule.rrule(ended, start=start.replace(tzinfo=UTC), tz="UTC")
    for copy in (Schedule.from_dict(schedule.to_dict()), pickle.loads(pickle.dumps(schedule))):
        assert (copy, str(copy)) == (schedule, str(schedule))
        assert copy.next_after(datetime(2020, 1, 1, tzinfo=UTC)) == schedule.next_after(
            datetime(2020, 1, 1, tzinfo=UTC)
        )


def test_the_last_of_a_count_is_found_from_the_far_end() -> None:
    schedule = Schedule.rrule("FREQ=DAILY;COUNT=1000", start=datetime(2026, 1, 1, 1, tzinfo=UTC), tz="UTC")

    assert schedule.previous_before(EVER) == datetime(2026, 1, 1, 1, tzinfo=UTC) + timedelta(days=999)
    assert schedule.next_after(datetime(2028, 9, 26, 1, tzinfo=UTC)) is None


def test_by_default_what_the_clocks_leave_out_is_skipped_and_not_counted() -> None:
    start = datetime(2026, 3, 27, 2, 30, tzinfo=BERLIN)

    skipping = Schedule.rrule("FREQ=DAILY;COUNT=3", start=start, tz="Europe/Berlin")
    moving = Schedule.rrule("FREQ=DAILY;COUNT=3", start=start, tz="Europe/Berlin", in_gap="after")

    ever = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    assert [f"{run:%d %H:%M}" for run in skipping.between(*ever)] == ["27 01:30", "28 01:30", "30 00:30"]
    assert [f"{run:%d %H:%M}" for run in moving.between(*ever)] == ["27 01:30", "28 01:30", "29 01:00"]


def test_hours_are_those_of_the_wall_clock_and_a_repeated_one_counts_once() -> None:
    schedule = Schedule.rrule("FREQ=HOURLY", start=datetime(2026, 10, 24, 0, tzinfo=BERLIN), tz="Europe/Berlin")

    night = schedule.between(datetime(2026, 10, 24, 23, tzinfo=UTC), datetime(2026, 10, 25, 3, tzinfo=UTC))

    assert [f"{run:%H:%M}" for run in night] == ["23:00", "00:00", "02:00"]


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20261025T003000Z", "2026-10-25 00:30"),
        ("20261025T002959Z", "2026-10-24 00:30"),
        ("20261025T011000Z", "2026-10-25 00:30"),  # 02:10 for the second time: 02:30 was due the first time
        ("20261025T010000Z", "2026-10-25 00:30"),  # 02:00 for the second time
        ("99991231T235959Z", None),
    ],
)
def test_until_includes_its_instant_also_in_a_repeated_hour(until: str, last: str | None) -> None:
    start = datetime(2026, 10, 20, 2, 30, tzinfo=BERLIN)

    schedule = Schedule.rrule(f"FREQ=DAILY;UNTIL={until}", start=start, tz="Europe/Berlin")

    found = schedule.previous_before(datetime(2030, 1, 1, tzinfo=UTC))
    assert found is not None
    assert f"{found:%Y-%m-%d %H:%M}" == (last or "2029-12-31 01:30")


def test_a_start_in_the_first_pass_of_a_repeated_hour_is_the_first_run() -> None:
    start = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)

    assert Schedule.rrule("FREQ=DAILY", start=start, tz="Europe/Berlin").is_due_at(start)


def test_a_start_that_does_not_fit_is_no_run_and_is_not_counted() -> None:
    rule = parsed("FREQ=WEEKLY;BYDAY=MO;COUNT=2", datetime(2026, 1, 1, 1))

    assert [f"{wall:%m-%d}" for wall in walls(rule)] == ["01-05", "01-12"]


@pytest.mark.parametrize("text", ["RRULE:FREQ=DAILY;INTERVAL=2", "freq=daily;interval=02", " INTERVAL=2;FREQ=DAILY\n"])
def test_ways_of_writing_one_rule_are_equal(text: str) -> None:
    start = datetime(2026, 1, 1)

    assert parsed(text, start) == parsed("FREQ=DAILY;INTERVAL=2", start)
    assert parsed(text, start).text() == "rrule 'FREQ=DAILY;INTERVAL=2' from 2026-01-01T00:00:00"


NEVER = [
    "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1",
    "FREQ=DAILY;INTERVAL=7;BYDAY=WE",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=3",
    "FREQ=HOURLY;INTERVAL=7;BYHOUR=9;BYDAY=SU",
    "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=30",
    "FREQ=SECONDLY;INTERVAL=86399;BYHOUR=3;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2",
    "FREQ=WEEKLY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11;BYDAY=MO;BYSETPOS=2",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=24",
    "FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=DAILY;BYHOUR=3;BYSETPOS=2",
    "FREQ=DAILY;UNTIL=19960101T000000Z",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_never_fires_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.rrule(text, start=datetime(1997, 9, 2, 9, tzinfo=NEW_YORK), tz="America/New_York")

    assert refused.value.code == Code.NEVER_FIRES


REFUSED = {
    "": "is empty",
    "FREQ=DAILY;": "is empty",
    "FREQ": "'FREQ' in",
    "INTERVAL=2": "no FREQ",
    "FREQ=FORTNIGHTLY": "FREQ=FORTNIGHTLY",
    "FREQ=DAILY;FREQ=DAILY": "twice",
    "FREQ=DAILY;BYEASTER=1": "BYEASTER",
    "FREQ=DAILY;TZID=Europe/Berlin": "tz=",
    "FREQ=MONTHLY;RSCALE=GREGORIAN": "Gregorian",
    "FREQ=DAILY;INTERVAL=0": "INTERVAL=0",
    "FREQ=DAILY;INTERVAL=-1": "INTERVAL=-1",
    "FREQ=DAILY;INTERVAL=1.5": "INTERVAL=1.5",
    "FREQ=DAILY;INTERVAL=99999999999999999999999": "999999999",
    "FREQ=DAILY;COUNT=0": "COUNT=0",
    "FREQ=DAILY;COUNT=10001": "UNTIL",
    "FREQ=DAILY;COUNT=3;UNTIL=20271224T000000Z": "both",
    "FREQ=DAILY;UNTIL=20271224": "UNTIL=20271223T230000Z or UNTIL=20271224T225959Z",
    "FREQ=DAILY;UNTIL=20271399T000000Z": "no date-time",
    "FREQ=DAILY;UNTIL=tomorrow": "is not a date-time",
    "FREQ=DAILY;BYHOUR=24": "24 is out of range",
    "FREQ=DAILY;BYHOUR=+3": "'+3' is not a number",
    "FREQ=DAILY;BYHOUR=1,,2": "a number is missing",
    "FREQ=DAILY;BYMINUTE=60": "60 is out of range",
    "FREQ=DAILY;BYSECOND=60": "leap seconds",
    "FREQ=DAILY;BYMONTHDAY=0": "0 is out of range",
    "FREQ=DAILY;BYMONTH=13": "13 is out of range",
    "FREQ=DAILY;BYDAY=MON": "'MON' is not a weekday",
    "FREQ=DAILY;BYDAY=MO,": "a weekday is missing",
    "FREQ=YEARLY;BYDAY=54MO": "beyond 1 to 53",
    "FREQ=YEARLY;BYDAY=0MO": "beyond 1 to 53",
    "FREQ=MONTHLY;BYDAY=6MO": "more than five",
    "FREQ=WEEKLY;BYDAY=1MO": "FREQ=WEEKLY",
    "FREQ=YEARLY;BYWEEKNO=3;BYDAY=1MO": "BYWEEKNO",
    "FREQ=DAILY;BYWEEKNO=3": "goes with FREQ=YEARLY",
    "FREQ=MONTHLY;BYYEARDAY=3": "BYYEARDAY has no meaning",
    "FREQ=WEEKLY;BYMONTHDAY=3": "BYMONTHDAY has no meaning",
    "FREQ=DAILY;BYSETPOS=1": "BYSETPOS",
    "FREQ=DAILY;WKST=1": "WKST=1",
    "FREQ=DAILY; COUNT=3": "spaces",
    "FREQ=DAILY;COUNT=\uff13": "plain ASCII",
    "DTSTART;TZID=Europe/Berlin:20260902T090000\nRRULE:FREQ=DAILY": "start=",
    "DTSTART=20260902T090000;FREQ=DAILY": "start=",
    "RRULE:FREQ=DAILY\nEXDATE:20260903T090000": "without(",
    "RRULE:FREQ=DAILY\nRDATE:20260903T090000": "|",
    "RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY": "2 lines",
    "FREQ=DAILY;BYHOUR=" + "1," * 2000: "characters",
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=lambda text: text[:30])
def test_what_is_malformed_or_doubtful_is_refused_with_the_part_and_the_value(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.rrule(text, start=datetime(2026, 9, 2, 9, tzinfo=BERLIN), tz="Europe/Berlin")

    assert refused.value.code == Code.BAD_SCHEDULE
    assert told in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


def test_an_until_without_a_zone_is_refused_with_both_readings() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.rrule(
            "FREQ=DAILY;UNTIL=20271224T000000", start=datetime(2026, 9, 2, 9, tzinfo=BERLIN), tz="Europe/Berlin"
        )

    assert refused.value.code == Code.NAIVE_TIME
    assert "2027-12-23T23:00:00Z" in refused.value.message
    assert "2027-12-24T00:00:00Z" in refused.value.message


@pytest.mark.parametrize(
    "start",
    [
        datetime(2026, 1, 1),
        datetime(2026, 1, 1, microsecond=1, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 0, fold=1, tzinfo=BERLIN),
        datetime(2026, 10, 25, 2, 59, 59, fold=1, tzinfo=BERLIN),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
        None,
        "2026-01-01T00:00:00Z",
    ],
)
def test_a_start_that_is_no_wall_time_is_refused(start: datetime) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.rrule("FREQ=DAILY", start=start, tz="Europe/Berlin")

    assert refused.value.hint


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.lists(
            st.tuples(
                st.sampled_from(("FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYHOUR", "BYSETPOS", "WKST", "X")),
                st.one_of(
                    st.text("0123456789+-,TZMO", max_size=9),
                    st.sampled_from(("DAILY", "HOURLY", "MONTHLY", "MO,TU", "20300101T000000Z", "999999999", "100000")),
                ),
            ).map("=".join),
            max_size=6,
        ).map(";".join),
    )
)
def test_no_text_raises_anything_but_a_configuration_error(text: str) -> None:
    try:
        rule = parsed(text, datetime(2026, 1, 1))
    except ConfigurationError as error:
        assert error.hint
    else:
        assert rule.at_or_after(rule.start) is not None
        assert parsed(rule.rule, datetime(2026, 1, 1)).rule == rule.rule


@pytest.mark.parametrize(
    "damage",
    [
        {"until": 5},
        {"last": 5},
        {"last": "soon"},
        {"start": "soon"},
        {"start": "2026-01-01"},
        {"start": "2026-01-01T00:00:00+05:00"},
        {"rule": "FREQ=DAILY;UNTIL=20300101T000000Z"},
        {"rule": "FREQ=DAILY;COUNT=4"},  # without its end
    ],
    ids=str,
)
def test_a_damaged_record_is_refused(damage: dict[str, object]) -> None:
    record = Schedule.rrule("FREQ=DAILY", start=datetime(2026, 1, 1, tzinfo=UTC), tz="UTC").to_dict()
    record["rule"]["recurrence"].update(damage)  # type: ignore[index]

    with pytest.raises(ConfigurationError) as refused:
        Schedule.from_dict(record)

    assert refused.value.code == Code.BAD_SCHEDULE


UNTIL = [
    ("second", "20261025T003000Z", "10-24 00:30"),
    ("second", "20261025T011500Z", "10-24 00:30"),
    ("second", "20261025T013000Z", "10-25 01:30"),
    ("both", "20261025T002959Z", "10-24 00:30"),
    ("both", "20261025T003000Z", "10-25 00:30"),
    ("both", "20261025T012959Z", "10-25 00:30"),
    ("both", "20261025T013000Z", "10-25 01:30"),
]


@pytest.mark.parametrize(("in_overlap", "until", "last"), UNTIL)
def test_nothing_is_due_after_until_in_a_repeated_hour(in_overlap: Any, until: str, last: str) -> None:
    start = datetime(2026, 10, 23, 2, 30, tzinfo=BERLIN)

    schedule = Schedule.rrule(f"FREQ=DAILY;UNTIL={until}", start=start, tz="Europe/Berlin", in_overlap=in_overlap)

    for copy in (schedule, Schedule.from_dict(schedule.to_dict()), pickle.loads(pickle.dumps(schedule))):
        assert f"{list(copy.between(start, EVER))[-1]:%m-%d %H:%M}" == last
        assert f"{copy.previous_before(EVER):%m-%d %H:%M}" == last
        assert str(copy) == str(schedule)


@pytest.mark.parametrize(
    ("in_gap", "until", "last"),
    [
        ("shift", "20260329T011500Z", "03-28 01:30"),
        ("shift", "20260329T013000Z", "03-29 01:30"),
        ("after", "20260329T005959Z", "03-28 01:30"),
        ("after", "20260329T010000Z", "03-29 01:00"),
    ],
)
def test_nothing_is_due_after_until_behind_a_gap(in_gap: Any, until: str, last: str) -> None:
    start = datetime(2026, 3, 27, 2, 30, tzinfo=BERLIN)

    schedule = Schedule.rrule(f"FREQ=DAILY;UNTIL={until}", start=start, tz="Europe/Berlin", in_gap=in_gap)

    assert f"{list(schedule.between(start, EVER))[-1]:%m-%d %H:%M}" == last


def test_an_until_ends_its_own_rule_only() -> None:
    start = datetime(2026, 10, 23, 2, 30, tzinfo=BERLIN)
    ending = Schedule.rrule(
        "FREQ=DAILY;UNTIL=20261025T003000Z", start=start, tz="Europe/Berlin", in_gap="after", in_overlap="both"
    )
    weekly = Schedule.cron("30 2 * * 0", tz="Europe/Berlin", in_gap="after", in_overlap="both")

    night = (ending | weekly).between(datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC))

    assert [f"{run:%H:%M}" for run in night] == ["00:30", "01:30"]


@pytest.mark.parametrize("policy", [{"in_gap": "after"}, {"in_gap": "shift"}, {"in_overlap": "both"}], ids=str)
@pytest.mark.parametrize("joined", [False, True])
def test_another_policy_counts_as_if_the_rule_was_built_with_it(policy: dict[str, Any], joined: bool) -> None:
    start = datetime(2026, 3, 27, 2, 30, tzinfo=BERLIN)
    span: dict[str, Any] = {"start": start, "end": datetime(2027, 1, 1, tzinfo=UTC)}

    def built(**more: Any) -> Schedule:
        counted = Schedule.rrule("FREQ=DAILY;COUNT=4", start=start, tz="Europe/Berlin", **more)
        return counted | Schedule.daily(at="12:00", tz="Europe/Berlin", **{**RFC, **more}) if joined else counted

    assert built().diff(**policy, **span) == built().diff(built(**policy), **span)


def test_a_count_that_the_calendar_cannot_hold_survives_being_written() -> None:
    rare = Schedule.rrule("FREQ=YEARLY;COUNT=10000", start=datetime(2026, 1, 1, tzinfo=UTC), tz="UTC")

    assert Schedule.from_dict(rare.to_dict()) == rare
    assert rare.previous_before(EVER) == datetime(9997, 1, 1, tzinfo=UTC)
