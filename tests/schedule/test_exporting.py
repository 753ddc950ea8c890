"""Exports: what a target would do is found out beforehand, and said; what comes out is what the target reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from io import StringIO
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from cronsim import CronSim
from dateutil import rrule as dateutil_rrule
from dateutil import tz as dateutil_tz

from safebackup.errors import Code, ConfigurationError, RefusedError
from safebackup.schedule import Schedule
from safebackup.schedule.exporting import TARGETS, Export, How
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import zone

START = pendulum.datetime(2026, 11, 23, tz="UTC")
END = START.add(years=10)
NIGHTLY = Schedule.cron("30 1 * * *", tz="Africa/Lagos")
BERLIN = Schedule.cron("30 2 * * *", tz="Europe/Berlin")
# Each kind of day and of time that has a form somewhere.
SCHEDULES = {
    "lagos": NIGHTLY,
    "berlin": BERLIN,
    "quarters": Schedule.cron("*/15 * * * *", tz="America/New_York"),
    "even hours": Schedule.cron("0 */2 * * *", tz="Europe/Dublin"),
    "date or weekday": Schedule.cron("15 3 13 * 5", tz="Europe/Berlin"),
    "date and weekday": Schedule.cron("15 2 */10 * 1", tz="America/New_York"),
    "last day": Schedule.cron("30 2 L * *", tz="America/New_York"),
    "last workday": Schedule.cron("30 0 LW * *", tz="Africa/Cairo"),
    "nearest workday": Schedule.cron("30 2 15W * *", tz="Europe/Berlin"),
    "last sunday": Schedule.cron("30 2 * * 0L", tz="Europe/Berlin"),
    "nth friday": Schedule.cron("5 0 * * 5#2,5#5", tz="Asia/Beirut"),
    "two in one gap": Schedule.daily(at=["02:00", "02:30"], tz="Europe/Berlin"),
    "two grids": Schedule.daily(at=["02:00", "13:45"], tz="Africa/Casablanca"),
    "shift second": Schedule.daily(at="02:30", tz="Europe/Berlin", in_gap="shift", in_overlap="second"),
    "skip both": Schedule.daily(at="02:30", tz="Europe/Berlin", like="kubernetes"),
    "lord howe": Schedule.hourly(tz="Australia/Lord_Howe", minute=[0, 20]),
    "weekdays": Schedule.weekly(day=["sunday", "wednesday"], at="02:30", tz="America/St_Johns"),
    "clamped": Schedule.monthly(day=31, at="02:30", short_months="last", tz="Europe/Berlin"),
    "first sunday": Schedule.monthly(day=(1, "sunday"), at="02:10", tz="Europe/Berlin"),
    "fifth or last friday": Schedule.monthly(day=(5, "friday"), at="02:10", short_months="last", tz="Europe/Berlin"),
    "six hours": Schedule.every(hours=6, start=START, tz="Europe/Berlin"),
    "seven hours": Schedule.every(hours=7, start=START, tz="Europe/Berlin"),
    "without hours": Schedule.hourly(tz="Europe/Berlin").without("08:00-18:00"),
    "without dates": Schedule.daily(at="02:30", tz="Europe/Berlin").without(
        dates={date(2027, 3, 28), date(2026, 12, 25)}
    ),
    "spread": Schedule.weekly(day="sunday", at="23:30", tz="Europe/Berlin").spread(timedelta(hours=2), key="orders"),
    "union": Schedule.daily(at="01:15", tz="America/New_York") | Schedule.hourly(tz="America/New_York", minute=45),
    "years": Schedule.on_calendar("Mon..Fri 2026..2030-*-* 02:30", tz="Europe/Berlin"),
    "fortnight": Schedule.rrule(
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", start=START.set(hour=1), tz="Europe/Berlin", like="once"
    ),
    "counted": Schedule.rrule("FREQ=DAILY;COUNT=200", start=START.set(hour=1, minute=30), tz="Europe/Berlin"),
    "seconds": Schedule.cron("1 2 3 * * *", tz="Africa/Lagos", seconds=True),
}


# Those that a target has no words for.
NEVER = {"fortnight", "counted", "seven hours"}
NO_LAST = {
    "last day",
    "last workday",
    "nearest workday",
    "last sunday",
    "nth friday",
    "clamped",
    "fifth or last friday",
}
NO_SECONDS = {"seconds", "spread"}
MONITORS = {*NEVER, *NO_SECONDS, "years", "clamped", "nearest workday", "nth friday", "two grids", "union", "lord howe"}
NO_FORM = {
    "crontab": {*NEVER, *NO_LAST, *NO_SECONDS, "years"},
    "systemd": {*NEVER, "nearest workday"},
    "kubernetes": {*NEVER, *NO_LAST, *NO_SECONDS, "years", "date and weekday", "first sunday", "lord howe"},
    "eventbridge": {*NEVER, *NO_SECONDS, "years", "date and weekday", "last workday"},
    "icalendar": {"years", "nearest workday"},
    "healthchecks": MONITORS,
    "sentry": MONITORS,
}


def with_a_form(*targets: str) -> list[tuple[str, str]]:
    return [(target, name) for target in targets for name in SCHEDULES if name not in NO_FORM[target]]


def exported(schedule: Schedule, target: Any, **more: Any) -> Export:
    needed: dict[str, dict[str, Any]] = {
        "crontab": {"command": "/usr/local/bin/backup", "host_tz": schedule.zone},
        "systemd": {"command": "/usr/local/bin/backup"},
        "kubernetes": {"command": "/usr/local/bin/backup", "image": "backup:1"},
    }
    return schedule.export(target, start=START, **{**needed.get(target, {}), **more})


@cache
def three_years(target: str, name: str) -> Export:
    """The export of one of the schedules above, whatever differs."""
    return exported(SCHEDULES[name], target, years=3, accept=True)


def expected_of(export: Export, schedule: Schedule) -> list[datetime]:
    """What the target runs if the divergences are all there are: due, without what is missing, with what is extra."""
    due = set(schedule.between(export.start, export.end))
    for divergence in export.divergences:
        if divergence.how is How.MISSING:
            due.remove(divergence.instant)
        elif divergence.how is How.EXTRA:
            assert divergence.instant not in due
            due.add(divergence.instant)
    return sorted(due)


def test_the_founding_incident_becomes_a_line_for_that_host_and_says_by_how_much_it_was_moved() -> None:
    export = exported(NIGHTLY, "crontab", host_tz="Etc/UTC")

    assert export.exact
    assert export.text.splitlines()[-1] == "30 0 * * *  /usr/local/bin/backup"
    assert "Times of Africa/Lagos (+01:00) are moved by -01:00 to the clock of Etc/UTC (+00:00)." in export.text
    assert "Compared from 2026-11-23 to 2036-11-23" in export.text


def test_a_host_whose_distance_changes_is_refused_with_the_first_dates() -> None:
    with pytest.raises(RefusedError) as refused:
        exported(BERLIN, "crontab", host_tz="Etc/UTC")

    assert refused.value.code is Code.EXPORT_DIVERGES
    assert "2027-03-28 03:00:00 +02:00: due, but not run" in str(refused.value)
    assert "accept=True" in refused.value.hint


def test_what_is_accepted_is_written_into_the_export() -> None:
    export = exported(BERLIN, "kubernetes", accept=True)

    comments = [line for line in export.text.splitlines() if line.startswith("#")]
    assert not export.exact
    assert len(export.divergences) == 20
    assert "#   2027-03-28 03:00:00 +02:00: due, but not run" in comments
    assert "#   2027-10-31 02:30:00 +01:00: run, but not due" in comments
    assert any("it differs 20 times, in Europe/Berlin" in line for line in comments)


def test_only_true_accepts() -> None:
    with pytest.raises(RefusedError):
        exported(BERLIN, "kubernetes", accept="no")


def test_two_times_in_one_gap_are_started_at_once_by_cron_and_by_no_monitor_expected_twice() -> None:
    twice = Schedule.daily(at=["02:00", "02:30"], tz="Europe/Berlin")

    export = exported(twice, "crontab", accept=True)

    assert {divergence.how for divergence in export.divergences} == {How.AT_ONCE}
    assert str(export.divergences[0]) == "2027-03-28 03:00:00 +02:00: run more than once, at the same time"
    assert exported(twice, "healthchecks").exact


def test_lines_that_meet_are_two_runs_in_a_crontab_and_one_in_a_timer() -> None:
    meeting = Schedule.cron("0 4 1 * *", tz="Africa/Lagos") | Schedule.cron("0 4,5 * * *", tz="Africa/Lagos")

    assert {each.how for each in exported(meeting, "crontab", accept=True).divergences} == {How.AT_ONCE}
    assert exported(meeting, "systemd").exact


def test_systemd_gets_the_runs_after_gaps_singly_until_a_date() -> None:
    export = exported(BERLIN, "systemd")

    timer = export.files["backup.timer"]
    assert export.exact
    assert export.expires == END
    assert timer.count("OnCalendar=") == 11
    assert "OnCalendar=*-*-* 02:30:00 Europe/Berlin\n" in timer
    assert "OnCalendar=2027-03-28 01:00:00 UTC\n" in timer
    assert "make this anew before then" in timer


def test_a_dense_schedule_goes_to_systemd_in_utc_where_no_hour_is_silent() -> None:
    export = exported(Schedule.cron("*/15 * * * *", tz="America/New_York"), "systemd")

    assert re.findall("OnCalendar=(.*)", export.text) == ["*-*-* *:00,15,30,45:00 UTC"]
    assert export.exact
    assert export.expires is None


@pytest.mark.parametrize(("target", "name"), with_a_form("systemd"))
def test_a_timer_has_no_step_and_never_leaves_a_run_for_later(target: str, name: str) -> None:
    timer = three_years(target, name).files["backup.timer"]

    assert all("/" not in re.sub(r" \S+$", "", text) for text in re.findall("OnCalendar=(.*)", timer))
    assert "\nPersistent=true\n" in timer
    assert "\nAccuracySec=1s\n" in timer


def test_a_run_in_the_second_pass_makes_systemd_go_on_there() -> None:
    mixed = Schedule.daily(at="01:30", tz="America/New_York") | Schedule.every(
        hours=1, start=START, tz="America/New_York"
    )

    export = exported(mixed, "systemd", accept=True)

    assert [str(each) for each in export.divergences[:1]] == ["2027-11-07 01:30:00 -05:00: run, but not due"]


@pytest.mark.parametrize("tz", ["Australia/Lord_Howe", "Pacific/Chatham"])
@pytest.mark.parametrize("target", ["kubernetes", "healthchecks", "sentry"])
def test_programs_that_search_hour_by_hour_get_no_zone_that_changes_by_parts_of_one(target: str, tz: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        exported(Schedule.daily(at="06:00", tz=tz), target)

    assert refused.value.code is Code.EXPORT_IMPOSSIBLE
    assert tz in str(refused.value)


def test_kubernetes_gets_numbers_and_a_zone() -> None:
    text = exported(Schedule.cron("0 4 * * SUN,7,MON", tz="Africa/Lagos"), "kubernetes").text

    assert '  schedule: "0 4 * * 0,1"\n  timeZone: "Africa/Lagos"\n' in text
    assert "concurrencyPolicy: Forbid\n  startingDeadlineSeconds: 3600\n" in text


def test_kubernetes_is_not_given_more_missed_runs_than_it_stands() -> None:
    with pytest.raises(ConfigurationError, match="within the grace"):
        exported(Schedule.cron("* * * * *", tz="Africa/Lagos"), "kubernetes", grace=timedelta(hours=2))


@pytest.mark.parametrize(
    ("schedule", "texts"),
    [
        (NIGHTLY, ["cron(30 1 * * ? *)"]),
        (Schedule.cron("0 4 * * 7", tz="Africa/Lagos"), ["cron(0 4 ? * SUN *)"]),
        (Schedule.cron("0 4 * 6-8 1-5", tz="Africa/Lagos"), ["cron(0 4 ? 6-8 MON,TUE,WED,THU,FRI *)"]),
        (Schedule.cron("0 4 * * 5L", tz="Africa/Lagos"), ["cron(0 4 ? * 6L *)"]),
        (Schedule.cron("0 4 * * 0#2", tz="Africa/Lagos"), ["cron(0 4 ? * 1#2 *)"]),
        (Schedule.cron("0 4 15W * *", tz="Africa/Lagos"), ["cron(0 4 15W * ? *)"]),
        (Schedule.daily(at=["02:00", "13:45"], tz="Africa/Lagos"), ["cron(0 2 * * ? *)", "cron(45 13 * * ? *)"]),
    ],
    ids=str,
)
def test_eventbridge_has_a_question_mark_its_own_weekdays_and_a_year(schedule: Schedule, texts: list[str]) -> None:
    export = exported(schedule, "eventbridge")

    written = [json.loads(text) for text in export.files.values()]
    assert [each["ScheduleExpression"] for each in written] == texts
    assert {each["ScheduleExpressionTimezone"] for each in written} == {"Africa/Lagos"}
    assert len({each["Name"] for each in written}) == len(texts)
    assert export.exact


def test_eventbridge_has_room_for_512_characters() -> None:
    export = exported(BERLIN, "eventbridge", accept=True)

    (text,) = export.files.values()
    assert len(json.loads(text)["Description"]) == 512


@pytest.mark.parametrize(("target", "name"), with_a_form("healthchecks", "sentry"))
def test_cronsim_reads_in_a_payload_what_was_simulated(target: str, name: str) -> None:
    schedule = SCHEDULES[name]

    export = three_years(target, name)

    content = json.loads(export.text)
    config = content.get("config", {"schedule": content.get("schedule"), "timezone": content.get("tz")})
    zone = ZoneInfo(config["timezone"])
    expected = expected_of(export, schedule)
    assert expected
    for start, end in around_turns(schedule, export):
        read = CronSim(config["schedule"], start.astimezone(zone))
        stream = (at.astimezone(UTC) for at in read)
        found = list(takewhile(lambda at, end=end: at < end, stream))  # type: ignore[misc]
        assert found == [at for at in expected if start < at < end]


def around_turns(schedule: Schedule, export: Export) -> Iterator[tuple[datetime, datetime]]:
    """A few days around each turn, and a month."""
    begin, end = int(export.start.timestamp()), int(export.end.timestamp())
    for turn in turns_of(schedule.zone).between(begin, end):
        at = datetime.fromtimestamp(turn.at, UTC)
        yield at - timedelta(days=2, minutes=7), at + timedelta(days=2)
    yield export.start.add(seconds=1), export.start.add(months=1)


@pytest.mark.parametrize(("target", "name"), with_a_form("icalendar"))
def test_a_calendar_has_the_runs_of_the_schedule(target: str, name: str) -> None:
    schedule = SCHEDULES[name]

    export = three_years(target, name)

    assert export.exact
    until = export.start.add(years=2)
    found = {at for event in events(export.text) for at in instants_of(event, until)}
    assert sorted(at for at in found if at >= export.start) == list(schedule.between(export.start, until))


def events(text: str) -> list[list[tuple[str, str]]]:
    """The properties of each event: names with parameters, and values."""
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    lines = text.replace("\r\n ", "").split("\r\n")
    found: list[list[tuple[str, str]]] = []
    for line in lines:
        name, _, value = line.partition(":")
        if line == "BEGIN:VEVENT":
            found.append([])
        elif found:
            found[-1].append((name, value))
    return found


def instants_of(event: list[tuple[str, str]], until: datetime) -> set[datetime]:
    """By dateutil on the wall, with the clocks of zoneinfo: what is left out is skipped, of two the first counts."""
    properties = dict(event)
    start_name = next(name for name in properties if name.startswith("DTSTART"))
    rule = properties["RRULE"]
    if "TZID=" not in start_name:
        ends = re.sub("(UNTIL=[^;]*)Z", r"\1", rule)
        walls = dateutil_rrule.rrulestr(ends, dtstart=datetime.strptime(properties[start_name], "%Y%m%dT%H%M%SZ"))
        found = {wall.replace(tzinfo=UTC) for wall in before(walls, until)}
    else:
        zone = ZoneInfo(start_name.partition("TZID=")[2])
        start = datetime.strptime(properties[start_name], "%Y%m%dT%H%M%S")
        ending = re.search("UNTIL=([^;]*)", rule)
        last = datetime.strptime(ending[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) if ending else until
        walls = dateutil_rrule.rrulestr(re.sub(";?UNTIL=[^;]*", "", rule), dtstart=start)
        shown = (wall.replace(tzinfo=zone) for wall in before(walls, until))
        found = {at.astimezone(UTC) for at in shown if dateutil_tz.datetime_exists(at)}
        found = {at for at in found if at <= last}
        assert start.replace(tzinfo=zone).astimezone(UTC) in found, "DTSTART is the first time of the rule"
    for name, value in event:
        if name == "RDATE":
            found.add(datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        elif name.startswith("EXDATE"):
            left_out = datetime.strptime(value, "%Y%m%dT%H%M%S").replace(tzinfo=ZoneInfo(name.partition("TZID=")[2]))
            if left_out < until:
                found.remove(left_out.astimezone(UTC))
    return {at for at in found if at < until}


def before(walls: Any, until: datetime) -> list[datetime]:
    return list(takewhile(lambda wall: wall < until.replace(tzinfo=None) + timedelta(days=1), walls))


@pytest.mark.parametrize(
    "tz", ["Europe/Berlin", "Africa/Casablanca", "Australia/Lord_Howe", "Europe/Dublin", "America/Havana"]
)
def test_a_calendar_carries_the_clocks_of_its_zone(tz: str) -> None:
    export = exported(Schedule.daily(at="02:30", tz=tz), "icalendar")

    read = dateutil_tz.tzical(StringIO(export.text)).get(tz)
    assert read is not None
    turns = turns_of(zone(tz)).between(int(export.start.timestamp()), int(export.end.timestamp()))
    assert len(turns) > 15
    for turn in turns:
        for minutes in range(-240, 240, 10):
            at = datetime(1970, 1, 1) + timedelta(seconds=turn.at + turn.before, minutes=minutes)
            assert read.utcoffset(at) == ZoneInfo(tz).utcoffset(at) or not unambiguous(at, tz), at


def test_an_observance_begins_on_the_clock_before_it() -> None:
    lines = exported(BERLIN, "icalendar", years=1).text.split("\r\n")

    begins = [
        (lines[at], lines[at + 1]) for at in range(len(lines)) if lines[at] in ("BEGIN:DAYLIGHT", "BEGIN:STANDARD")
    ]
    assert begins[1:] == [("BEGIN:DAYLIGHT", "DTSTART:20270328T020000"), ("BEGIN:STANDARD", "DTSTART:20271031T030000")]


def unambiguous(wall: datetime, tz: str) -> bool:
    at = wall.replace(tzinfo=ZoneInfo(tz))
    return dateutil_tz.datetime_exists(at) and not dateutil_tz.datetime_ambiguous(at)


@pytest.mark.parametrize("target", ["kubernetes", "eventbridge", "icalendar", "systemd", "healthchecks"])
def test_a_schedule_that_repeats_what_a_target_does_is_exact_there(target: str) -> None:
    preset: Any = {"kubernetes": "kubernetes", "healthchecks": "debian"}.get(target, "rfc5545")

    assert exported(Schedule.daily(at="02:30", tz="Europe/Berlin", like=preset), target).exact


@pytest.mark.parametrize(
    "expression",
    [
        "30 1 * * *",
        "*/15 * * * *",
        "0 */2 * * *",
        "15 3 13 * 5",
        "15 2 */10 * 1",
        "0 2-5 1,15 */3 *",
        "@weekly",
        "5 4 * 1-3 0,6",
    ],
)
@pytest.mark.parametrize("host", ["Europe/Berlin", "Africa/Lagos", "Africa/Casablanca"])
def test_a_crontab_line_that_was_exported_is_read_back_as_the_same(expression: str, host: str) -> None:
    schedule = Schedule.cron(expression, tz=host)

    line = exported(schedule, "crontab", command="echo 100% && true").text.splitlines()[-1]
    again = Schedule.from_crontab(line, host_tz=host)

    assert list(again.between(START, START.add(years=2))) == list(schedule.between(START, START.add(years=2)))
    assert exported(again, "crontab", command="echo 100% && true").text.splitlines()[-1] == line


def test_a_day_that_begins_earlier_on_the_host_is_the_day_before_there() -> None:
    export = exported(
        Schedule.weekly(day=["sunday", "monday"], at=["00:30", "04:00"], tz="Africa/Lagos"), "crontab", host_tz="UTC"
    )

    assert [line for line in export.text.splitlines() if line[0] != "#"] == [
        "30 23 * * 0,6  /usr/local/bin/backup",
        "0 3 * * 0,1  /usr/local/bin/backup",
    ]


def test_a_day_of_the_month_that_begins_earlier_on_the_host_has_no_form() -> None:
    with pytest.raises(ConfigurationError, match="has no form") as refused:
        exported(Schedule.monthly(day=1, at="00:30", tz="Africa/Lagos"), "crontab", host_tz="UTC")

    assert refused.value.code is Code.EXPORT_IMPOSSIBLE


@pytest.mark.parametrize(("target", "name"), with_a_form("systemd", "icalendar"))
def test_where_clocks_never_change_no_single_date_is_needed(target: str, name: str) -> None:
    """Single dates added around changes of the clocks would also hide a wrong rule."""
    schedule = SCHEDULES[name].in_zone_data(zone("Africa/Lagos"))

    export = exported(schedule, target, years=5, accept=name == "without dates")

    assert export.expires is None or (target, name) == ("icalendar", "without dates")
    assert "RDATE" not in export.text


@pytest.mark.parametrize("target", ["systemd", "kubernetes", "eventbridge", "icalendar", "healthchecks", "sentry"])
def test_what_goes_by_elapsed_time_goes_by_utc(target: str) -> None:
    export = exported(SCHEDULES["six hours"], target)

    assert export.exact
    assert re.search(r"\bUTC\b|DTSTART:\d{8}T\d{6}Z", export.text)


def test_hours_that_are_left_out_are_those_of_the_schedule_and_not_of_utc() -> None:
    elapsed = Schedule.every(hours=6, start=START, tz="Africa/Lagos")

    assert exported(elapsed.without("23:30-00:30"), "systemd").exact
    with pytest.raises(RefusedError, match=r"2026-11-23 01:00:00 \+01:00: run, but not due"):
        exported(elapsed.without("00:30-01:30"), "systemd")


def test_the_first_sunday_has_a_form_in_a_crontab() -> None:
    export = exported(Schedule.monthly(day=(1, "sunday"), at="04:00", tz="Europe/Berlin"), "crontab")

    assert export.exact
    assert export.text.splitlines()[-1].startswith("0 4 1-7 * */7 ")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("", "empty"),
        ("# 0 1 * * * backup", "comment"),
        ("CRON_TZ=Africa/Lagos", "CRON_TZ"),
        ("MAILTO = root", "MAILTO"),
        ("0 1 * * * one\n0 2 * * * two", "more than one line"),
        ("0 1 * *", "4 fields"),
        ("0 1 L * * backup", "Debian"),
        ("0 1 * * 5#2 backup", "Debian"),
        ("0 1 15W * * backup", "Debian"),
        ("@reboot backup", "@reboot"),
        ("60 1 * * * backup", "minute"),
    ],
)
def test_a_line_that_is_no_time_of_debians_cron_is_refused(line: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.from_crontab(line, host_tz="Europe/Berlin")

    assert refused.value.code is Code.BAD_CRON
    assert what in str(refused.value)


def test_a_crontab_line_needs_the_zone_of_its_host() -> None:
    with pytest.raises(ConfigurationError, match="WAT"):
        Schedule.from_crontab("0 1 * * * backup", host_tz="WAT")


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("crontab", {"command": "x"}),
        ("crontab", {"host_tz": "UTC"}),
        ("systemd", {"command": "x", "host_tz": "UTC"}),
        ("systemd", {}),
        ("systemd", {"command": " "}),
        ("systemd", {"command": 7}),
        ("kubernetes", {"command": "x"}),
        ("sentry", {"command": "x"}),
        ("cronie", {}),
        ("sentry", {"name": "Orders"}),
        ("sentry", {"name": "a\nb"}),
        ("sentry", {"name": "a" * 49}),
        ("sentry", {"grace": timedelta(seconds=5)}),
        ("sentry", {"grace": 60}),
        ("sentry", {"years": 0}),
        ("sentry", {"years": True}),
        ("sentry", {"start": pendulum.datetime(1900, 1, 1)}),
    ],
)
def test_an_argument_that_is_missing_or_makes_no_sense_is_refused(target: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        NIGHTLY.export(target, **{"start": START, **more})

    assert refused.value.code is Code.BAD_ARGUMENT
    assert refused.value.hint


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        NIGHTLY.export("sentry", start=datetime(2026, 11, 23))

    assert refused.value.code is Code.NAIVE_TIME


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_has_no_words_for_is_refused_with_a_reason(target: str, name: str) -> None:
    if name in NO_FORM[target]:
        with pytest.raises(ConfigurationError) as refused:
            exported(SCHEDULES[name], target, accept=True)

        assert refused.value.code is Code.EXPORT_IMPOSSIBLE
        assert refused.value.hint
    else:
        export = three_years(target, name)

        assert export.files
        assert all(content.endswith("\n") for content in export.files.values())


def test_the_same_recurrence_is_compared_near_turns_alone_and_nothing_is_overlooked() -> None:
    by_hour = Schedule.cron("0,30 * * * *", tz="Europe/Berlin", like="once")

    near_turns = exported(by_hour, "kubernetes", years=1, accept=True).divergences
    everywhere = exported(
        by_hour | by_hour.without("12:00-12:01", dates=()), "kubernetes", years=1, accept=True
    ).divergences

    assert [each.instant for each in near_turns] == [each.instant for each in everywhere if each.how is not How.AT_ONCE]
    assert near_turns


def test_only_what_is_listed_is_said_to_be_listed() -> None:
    nightly = Schedule.cron("30 4 * * *", tz="Europe/Berlin")
    moved = Schedule.cron("30 2 * * *", tz="Europe/Berlin")
    for_years = Schedule.on_calendar("2026..2100-01-01 04:30", tz="Africa/Lagos")

    assert "Changes of the clocks are listed up to" in unfolded(nightly.export("icalendar", start=START, years=2).text)
    assert "Single dates and changes of the clocks are listed" in unfolded(
        moved.export("icalendar", start=START, years=2).text
    )
    timer = for_years.export("systemd", start=START, years=2, command="backup")
    assert "# Years are listed up to" in timer.text and timer.expires is not None
    assert "listed" not in nightly.export("systemd", start=START, years=2, command="backup").text


def unfolded(text: str) -> str:
    return text.replace("\r\n ", "")
