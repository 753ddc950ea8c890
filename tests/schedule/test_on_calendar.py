"""OnCalendar expressions beside the real systemd, and what is refused."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule
from safebackup.schedule.on_calendar import OnCalendar, parse_on_calendar

EXAMPLES_TRIED = 2000 if os.environ.get("SAFEBACKUP_LONG") == "1" else 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SYSTEMD = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
LAST_OF_SYSTEMD = datetime(2200, 1, 1, tzinfo=UTC)


class Answer(NamedTuple):
    normal: str | None  # None: refused
    times: list[datetime]


def ask_systemd(expression: str, base: datetime, count: int = 5) -> Answer:
    """What the real program says: the normal form, and the next times after `base`."""
    assert SYSTEMD is not None
    told = subprocess.run(
        [
            SYSTEMD,
            "calendar",
            f"--iterations={count}",
            f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC",
            "--",
            expression,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"TZ": "UTC", "LC_ALL": "C", "PATH": os.environ["PATH"]},
    ).stdout
    normal = re.search(r"Normalized form: (.*)", told)
    times = re.findall(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w{3} (\S+ \S+) UTC", told)
    return Answer(normal and normal[1], [datetime.fromisoformat(time).replace(tzinfo=UTC) for time in times])


def next_times(schedule: Schedule, base: datetime, count: int = 5) -> list[datetime]:
    found: list[datetime] = []
    at = schedule.next_after(base)
    while at is not None and at < LAST_OF_SYSTEMD and len(found) < count:
        found.append(at)
        at = schedule.next_after(at)
    return found


class Disagreement(NamedTuple):
    expression: str
    base: str
    systemd: str  # its first time, or "refused"
    ours: str
    why: str


# Where systemd 252 and this library differ away from changes of the clocks.
DISAGREEMENTS = [
    Disagreement(
        "*-*-8/19 12:00:00",
        "2026-12-28 00:00:00",
        "2027-01-27 12:00:00",
        "2027-01-08 12:00:00",
        "systemd loses days of January after a step of days without an end ran past 31 December (its issue 22665)",
    ),
    Disagreement(
        "*-11,12-8/19 12:00:00",
        "2026-12-28 00:00:00",
        "2027-11-08 12:00:00",
        "2027-11-08 12:00:00",
        "the same without January: nothing is lost",
    ),
    Disagreement(
        "*-*~19,26 00:00:00",
        "2026-01-01 00:00:00",
        "refused",
        "2026-01-06 00:00:00",
        "in a list with ~ systemd allows 28, then 25, then 22, …: three less for each item",
    ),
    Disagreement(
        "*-*-* 00:00:40..40",
        "2026-01-01 00:00:00",
        "refused",
        "2026-01-01 00:00:40",
        "a range of one value is read by systemd in every part but the seconds",
    ),
    Disagreement(
        "*-02-29 00:00:00",
        "2197-01-01 00:00:00",
        "never",
        "2204-02-29 00:00:00",
        "systemd knows no year after 2199",
    ),
]


@pytest.mark.parametrize("row", DISAGREEMENTS, ids=lambda row: row.expression)
def test_our_side_of_every_known_disagreement_holds(row: Disagreement) -> None:
    schedule = Schedule.on_calendar(row.expression, tz="UTC")

    found = schedule.next_after(datetime.fromisoformat(row.base).replace(tzinfo=UTC))

    assert found is not None
    assert f"{found:%Y-%m-%d %H:%M:%S}" == row.ours


def is_252() -> bool:
    return SYSTEMD is not None and "systemd 252" in subprocess.check_output([SYSTEMD, "--version"], text=True)


@pytest.mark.skipif(not is_252(), reason="the table is about systemd 252")
@pytest.mark.parametrize("row", DISAGREEMENTS, ids=lambda row: row.expression)
def test_systemds_side_of_every_known_disagreement_holds(row: Disagreement) -> None:
    normal, times = ask_systemd(row.expression, datetime.fromisoformat(row.base), 1)

    told = "refused" if normal is None else f"{times[0]:%Y-%m-%d %H:%M:%S}" if times else "never"

    assert told == row.systemd


WEEKDAYS = ("Mon", "Tuesday", "wed", "THU", "Friday", "Sat", "Sun")


@st.composite
def parts(draw: st.DrawFn, low: int, high: int, *, open_ended: bool = True, equal_ends: bool = True) -> str:
    """One part of a date or a time."""
    if draw(st.booleans()):
        return "*"
    items = []
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        start = draw(st.integers(low, high))
        forms = ["value"]
        if start < high:
            forms += ["range", "stepped range"]
        elif equal_ends:
            forms.append("range")
        if open_ended and start < high:
            forms.append("step")
        form = draw(st.sampled_from(forms))
        is_stepped = form == "stepped range"
        lowest = start if equal_ends and not is_stepped else start + 1
        end = draw(st.integers(lowest, high)) if "range" in form else 0
        text = draw(st.sampled_from((f"{start}", f"{start:02}")))
        text += f"..{end}" if end else ""
        if form == "step":
            text += f"/{draw(st.integers(1, high - start))}"
        elif form == "stepped range":
            text += f"/{draw(st.integers(1, min(9, end - start)))}"
        items.append(text)
    return ",".join(items)


@st.composite
def from_the_end(draw: st.DrawFn) -> str:
    start = draw(st.integers(1, 28))
    end = draw(st.integers(start, 28))
    step = draw(st.integers(1, 9))
    forms = [f"{start}", f"{start}..{end}"]
    forms += [f"{start}..{end}/{min(step, end - start)}"] if end > start else []
    return draw(st.sampled_from([*forms, f"{start}/{min(step, start - 1)}"] if start > 1 else forms))


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Any calendar expression that systemd 252 reads without an error of its own."""
    words = []
    if draw(st.booleans()):
        days = []
        for _ in range(draw(st.integers(1, 3))):
            first = draw(st.integers(0, 6))
            last = draw(st.integers(first, 6))
            days.append(draw(st.sampled_from((WEEKDAYS[first], f"{WEEKDAYS[first]}..{WEEKDAYS[last]}"))))
        words.append(",".join(days) + draw(st.sampled_from(("", "", ","))))
    if draw(st.booleans()):
        year = draw(st.one_of(st.just(""), st.just("*-"), parts(2024, 2034).map(lambda text: f"{text}-")))
        day = st.one_of(parts(1, 31, open_ended=False).map("-{}".format), from_the_end().map("~{}".format))
        words.append(year + draw(parts(1, 12)) + draw(day))
    if not words or draw(st.booleans()):
        second = draw(st.one_of(st.just(""), parts(0, 59, equal_ends=False).map(":{}".format)))
        words.append(f"{draw(parts(0, 23))}:{draw(parts(0, 59))}{second}")
    return " ".join(words)


@needs_systemd
@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(
    expressions(),
    st.datetimes(datetime(2023, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)),
    st.sampled_from(("UTC", "Africa/Lagos", "Asia/Kolkata")),
)
def test_the_normal_form_and_the_times_are_those_of_systemd(expression: str, base: datetime, tz: str) -> None:
    wanted = ask_systemd(f"{expression} {tz}", base)
    assert wanted.normal is not None, expression

    try:
        schedule = Schedule.on_calendar(expression, tz=tz)
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES
        assert not wanted.times
        return

    assert schedule.rule.text().startswith(f"on-calendar '{wanted.normal.removesuffix(f' {tz}')}'")
    assert next_times(schedule, base) == wanted.times


NORMAL_FORMS = {
    # of the manual page systemd.time(7)
    "Sat,Thu,Mon..Wed,Sat..Sun": "Mon..Thu,Sat,Sun *-*-* 00:00:00",
    "Mon,Sun 12-*-* 2,1:23": "Mon,Sun 2012-*-* 01,02:23:00",
    "Wed *-1": "Wed *-*-01 00:00:00",
    "Wed..Wed,Wed *-1": "Wed *-*-01 00:00:00",
    "Wed, 17:48": "Wed *-*-* 17:48:00",
    "*-*-7 0:0:0": "*-*-07 00:00:00",
    "10-15": "*-10-15 00:00:00",
    "monday *-12-* 17:00": "Mon *-12-* 17:00:00",
    "Mon,Fri *-*-3,1,2 *:30:45": "Mon,Fri *-*-01,02,03 *:30:45",
    "12,14,13,12:20,10,30": "*-*-* 12,13,14:10,20,30:00",
    "12..14:10,20,30": "*-*-* 12..14:10,20,30:00",
    "mon,fri *-1/2-1,3 *:30:45": "Mon,Fri *-01/2-01,03 *:30:45",
    "03-05 08:05:40": "*-03-05 08:05:40",
    "08:05:40": "*-*-* 08:05:40",
    "05:40": "*-*-* 05:40:00",
    "Sat,Sun 12-05 08:05:40": "Sat,Sun *-12-05 08:05:40",
    "Sat,Sun 08:05:40": "Sat,Sun *-*-* 08:05:40",
    "2003-03-05 05:40": "2003-03-05 05:40:00",
    "2003-02..04-05": "2003-02..04-05 00:00:00",
    "2003-03-05": "2003-03-05 00:00:00",
    "*:2/3": "*-*-* *:02/3:00",
    "Mon *-05~07/1": "Mon *-05~07/1 00:00:00",
    "*-02~03": "*-02~03 00:00:00",
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "weekly": "Mon *-*-* 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    # what was asked of the real program
    "Mon-Fri 3:0": "Mon..Fri *-*-* 03:00:00",
    "98..03/2-1-1": "1998..2002/2-01-01 00:00:00",
    "1..10/4,1..9/4:0": "*-*-* 01..09/4:00:00",
    "5/3,5,5..7:0": "*-*-* 05,05/3,05..07:00:00",
    "*:*:5,0/1": "*-*-* *:*:*",
    "*:*:0..59": "*-*-* *:*:00..59",
    "*:0/1": "*-*-* *:00/1:00",
    "*-*~*": "*-*-* 00:00:00",
    "WEEKLY": "Mon *-*-* 00:00:00",
    "001:0": "*-*-* 01:00:00",
    "69-1-1": "2069-01-01 00:00:00",
    "70-1-1": "1970-01-01 00:00:00",
}


@pytest.mark.parametrize(("expression", "normal"), NORMAL_FORMS.items())
def test_the_text_is_systemds_normal_form_and_reads_as_the_same(expression: str, normal: str) -> None:
    read = parse_on_calendar(expression)

    assert read.expression == normal
    again = parse_on_calendar(normal)
    assert (again, hash(again), again.days, again.times) == (read, hash(read), read.days, read.times)


@needs_systemd
@pytest.mark.parametrize(("expression", "normal"), NORMAL_FORMS.items())
def test_systemd_prints_these_normal_forms_too(expression: str, normal: str) -> None:
    assert ask_systemd(expression, EPOCH, 1).normal == normal


@needs_systemd
@pytest.mark.skipif(not is_252(), reason="later releases may mend it")
@pytest.mark.parametrize("expression", ["*-*-* 02:30", "hourly", "Sun *-*-* 02:15,45", "*:0/20"])
def test_like_systemd_does_what_systemd_does_where_the_clocks_change(expression: str) -> None:
    schedule = Schedule.on_calendar(expression, tz="Europe/Berlin", like="systemd")

    for base in (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)):
        assert next_times(schedule, base, 20) == ask_systemd(f"{expression} Europe/Berlin", base, 20).times


def test_by_default_each_named_time_runs_once_also_where_the_clocks_leave_it_out() -> None:
    schedule = Schedule.on_calendar("*-*-* 02:30", tz="Europe/Berlin")

    gap = schedule.between(datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC))
    overlap = schedule.between(datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC))

    assert [f"{run:%H:%M}" for run in gap] == ["01:00"]
    assert [f"{run:%H:%M}" for run in overlap] == ["00:30"]


def test_the_last_days_of_months_are_counted_from_their_ends() -> None:
    schedule = Schedule.on_calendar("*-02~1..3", tz="UTC")

    runs = schedule.between(datetime(2027, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))

    assert [f"{run:%m-%d}" for run in runs] == ["02-26", "02-27", "02-28", "02-27", "02-28", "02-29"]


@pytest.mark.parametrize("tz", ["Europe/Berlin", "UTC"])
def test_a_zone_at_the_end_is_taken_only_if_it_is_the_one_of_tz(tz: str) -> None:
    plain = Schedule.on_calendar("Mon 03:00", tz=tz)

    assert Schedule.on_calendar(f"Mon 03:00 {tz}", tz=tz) == plain
    with pytest.raises(ConfigurationError) as refused:
        Schedule.on_calendar("Mon 03:00 Africa/Lagos", tz=tz)
    assert "'Africa/Lagos'" in refused.value.message
    assert repr(tz) in refused.value.message


REFUSED = {
    "": "empty",
    "   ": "empty",
    "10": "'10' is not understood",
    "*": "'*' is not understood",
    "30 1 * * *": "'30' is not understood",
    "@1234567890": "'@1234567890' is not understood",
    "Mon Tue": "'Tue' is not understood",
    "weekly 3:00": "'weekly' stands alone",
    "Mon daily": "'Mon daily': 'daily' stands alone",
    "Fri..Mon": "runs backwards",
    "Thurs": "weekday 'Thurs'",
    "Mon,,Tue": "weekday ''",
    "Mon..": "weekday 'Mon..'",
    "Mon/2": "weekday 'Mon/2'",
    "Mon-Wed-Fri": "weekday 'Mon-Wed-Fri'",
    "24:00": "hour '24'",
    "23:60": "minute '60'",
    "1:2:60": "second '60'",
    "1:2:0.5": "whole seconds",
    "1:2:3:4": "time '1:2:3:4'",
    "1-3:0": "written with two dots",
    "22..2:0": "22..23,0..2",
    "*/5:0": "write 0/5",
    "0/0:0": "counts from 1",
    "0/24:0": "never taken",
    "59/1:0": "59 is not from 0 to 23",
    "*:59/15": "never taken",
    "1,,2:0": "a value is missing",
    "1,*:0": "* stands alone",
    "-1:0": "hour '-1'",
    "+1:0": "hour '+1'",
    "1:00Z": "minute '00Z': the zone is said by tz=",
    "1:00+01:00": "minute '00+01': the zone is said by tz=",
    "2003-03-05T05:40": "a space between them",
    "13-1": "month '13'",
    "*-*-0": "day of the month '0'",
    "*-*-32": "day of the month '32'",
    "*-*~29": "from the end of the month '29'",
    "*-*-1-3": "date '*-*-1-3'",
    "*--1": "a value is missing",
    "1969-1-1": "year '1969'",
    "2200-1-1": "year '2200'",
    "2005..2003-1-1": "runs backwards",
    "99999999999999999999:0": "is not from 0 to 23",
    "999999999999999999999:0": "is not a number",
    "\uff11:00": "plain ASCII",
    "1:00\n2:00": "line break",
    "1:" + "0," * 1000: "characters",
}


@pytest.mark.parametrize(("expression", "told"), REFUSED.items(), ids=lambda text: text[:20])
def test_what_is_malformed_or_doubtful_is_refused_with_the_part_and_the_value(expression: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.on_calendar(expression, tz="UTC")

    assert refused.value.code == Code.BAD_SCHEDULE
    assert told in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


def test_an_expression_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Schedule.on_calendar(5, tz="UTC")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expression",
    [
        "*-02-30",
        "*-04,06,09,11-31",
        "2025-02-29",
        "Sun 2024-02-29",
        "2001/4-02-29",
        "Sun 2000/100-02-29",
        "Wed..Sat,Tue 12-10-15 1:2:3",  # an example of the manual page: that day was a Monday
    ],
)
def test_what_never_fires_is_refused(expression: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.on_calendar(expression, tz="UTC")

    assert refused.value.code == Code.NEVER_FIRES


@pytest.mark.parametrize("month", [1, 6, 12])
def test_years_begin_and_end(month: int) -> None:
    schedule = Schedule.on_calendar(f"2027..2031/2-{month}-*", tz="UTC")
    ends = datetime(1, 6, 1, tzinfo=UTC), datetime(9998, 6, 1, tzinfo=UTC)
    first, last = datetime(2027, month, 1, tzinfo=UTC), datetime(2031, month, 30 if month == 6 else 31, tzinfo=UTC)

    runs = list(schedule.between(*ends))

    assert sorted({run.year for run in runs}) == [2027, 2029, 2031]
    assert (runs[0], runs[-1]) == (first, last)
    assert schedule.next_after(last) is None
    assert schedule.previous_before(first) is None
    assert schedule.previous_before(ends[1]) == last
    assert schedule.previous_before(datetime(2029, 1, 1, tzinfo=UTC)) == runs[len(runs) // 3 - 1]


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(expressions(), st.integers(0, 2_100_000_000))
def test_both_directions_agree_and_everything_survives_being_written(expression: str, wall: int) -> None:
    try:
        read = parse_on_calendar(expression)
    except ConfigurationError as error:
        assert error.code == Code.NEVER_FIRES
        return
    forwards = walk(read, wall)

    assert forwards == walk_back(read, forwards[-1], wall) if forwards else read.at_or_after(wall) is None
    schedule = Schedule.on_calendar(expression, tz="Africa/Lagos")
    for again in (Schedule.from_dict(schedule.to_dict()), pickle.loads(pickle.dumps(schedule))):
        assert (again, str(again)) == (schedule, str(schedule))


def walk(read: OnCalendar, wall: int) -> list[int]:
    found: list[int] = []
    at = read.at_or_after(wall)
    while at is not None and len(found) < 8:
        found.append(at)
        at = read.at_or_after(at + 1)
    assert all(early < late for early, late in pairwise(found))
    return found


def walk_back(read: OnCalendar, wall: int, until: int) -> list[int]:
    found: list[int] = []
    at = read.at_or_before(wall)
    while at is not None and at >= until:
        found.append(at)
        at = read.at_or_before(at - 1)
    return found[::-1]


@settings(max_examples=EXAMPLES_TRIED, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("0123456789*/.,:-~ MonTueSdaily@TZ", max_size=30)))
def test_no_text_raises_anything_but_a_configuration_error(text: str) -> None:
    try:
        read = parse_on_calendar(text)
    except ConfigurationError as error:
        assert error.hint
    else:
        assert parse_on_calendar(read.expression) == read
        assert read.at_or_after(0) is not None or read.at_or_before(4_000_000_000) is not None


def test_schedules_without_years_can_be_intersected_and_others_are_refused() -> None:
    mondays = Schedule.on_calendar("Mon 03:00", tz="UTC")
    firsts = Schedule.on_calendar("*-*~7/1 03:00", tz="UTC")

    both = mondays & firsts

    assert both.next_after(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 26, 3, tzinfo=UTC)
    with pytest.raises(ConfigurationError) as refused:
        mondays & Schedule.on_calendar("2026-*-* 03:00", tz="UTC")
    assert refused.value.code == Code.BAD_SCHEDULE
