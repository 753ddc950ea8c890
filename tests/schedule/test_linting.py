"""Lint: each code where it belongs, with its dates, and silence where it does not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from importlib import resources

import attrs
import pendulum
import pytest

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Finding, Severity
from safebackup.host_time import HostTime, ZoneCopy
from safebackup.schedule import Schedule, zone
from safebackup.schedule.old_names import TODAY
from tests.schedule.test_diffing import casablanca

START = pendulum.datetime(2026, 11, 23)
BERLIN = "Europe/Berlin"
BEGIN = pendulum.datetime(2026, 1, 31, 4, 10, tz="UTC")


def zone_file(name: str) -> bytes:
    return (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).read_bytes()


def host(name: str) -> HostTime:
    return HostTime(localtime=name, localtime_file=zone_file(name), timezone=name, timezone_file=zone_file(name))


def found(schedule: Schedule, **more: object) -> dict[Code, Finding]:
    findings = schedule.lint(start=START, **more)  # type: ignore[arg-type]
    by_code = {finding.code: finding for finding in findings}
    assert len(by_code) == len(findings)
    return by_code


def cron(expression: str, tz: str = BERLIN, **more: object) -> Schedule:
    return Schedule.cron(expression, tz=tz, **more)  # type: ignore[arg-type]


HEALTHY = [
    cron("30 1 * * *", "Africa/Lagos"),
    cron("30 1 * * *", "UTC"),
    cron("30 4 * * *"),
    cron("30 1 * * 1-5"),
    cron("*/15 * * * *"),
    cron("*/15 * * * *", "Asia/Beirut"),
    cron("7 * * * *", "Australia/Lord_Howe", like="once").without("01:00-04:00"),
    cron("30 4 1 * *"),
    cron("30 4 L * *"),
    cron("30 4 28-31 * *"),
    cron("30 4 * * 5#2"),
    cron("30 4 1-7 * *") & cron("30 4 * * 1"),
    cron("30 4 */31 * *"),
    cron("30 4 1 */3 *"),
    cron("*/20 4 * * *"),
    cron("*/25 4 * * *"),
    cron("30 4 * * */7"),
    cron("0 4 * * *").spread(timedelta(hours=1), key="host7"),
    cron("30 2,5 * * *").without("01:00-04:00"),
    Schedule.hourly(minute=20, tz=BERLIN),
    Schedule.daily(at="04:30", tz="America/New_York"),
    Schedule.weekly(day="sunday", at="23:10", tz="Africa/Cairo"),
    Schedule.monthly(day=31, at="04:30", short_months="last", tz=BERLIN),
    Schedule.monthly(day=31, at="04:30", short_months="skip", tz=BERLIN),
    Schedule.every(hours=7, start=BEGIN, tz=BERLIN),
    Schedule.on_calendar("Mon..Fri *-*-* 04:30", tz=BERLIN),
    Schedule.on_calendar("*-*-* 04:00/20", tz=BERLIN),
    Schedule.rrule("FREQ=MONTHLY;BYMONTHDAY=-1", start=BEGIN, tz=BERLIN),
    Schedule.rrule("FREQ=WEEKLY;BYDAY=SU;BYHOUR=4", start=BEGIN, tz=BERLIN),
]


@pytest.mark.parametrize("schedule", HEALTHY, ids=str)
def test_a_healthy_schedule_on_a_healthy_host_raises_nothing(schedule: Schedule) -> None:
    copy = ZoneCopy(name=schedule.zone.key, source="/zones", release="2026f", data=schedule.zone.data)
    healthy = attrs.evolve(host("Etc/UTC"), copies=(copy,)) if schedule.zone.key == "UTC" else None

    assert schedule.lint(start=START, rpo=timedelta(days=93), duration=timedelta(minutes=7), host=healthy) == ()


@pytest.mark.parametrize("key", [BERLIN, "Africa/Lagos", "Asia/Beirut", "Australia/Lord_Howe"])
def test_a_host_in_the_schedules_own_zone_raises_nothing(key: str) -> None:
    own = zone(key)
    copy = ZoneCopy(name=key, source="/zones", release="2026f", data=own.data)
    same = HostTime(localtime=key, localtime_file=own.data, timezone=key, timezone_file=own.data, copies=(copy,))

    assert cron("30 4 * * *", key).lint(start=START, host=same) == ()


def test_a_time_in_a_gap_is_said_with_its_days_and_what_becomes_of_it() -> None:
    finding = found(cron("30 2 * * *"))[Code.GAP]

    assert finding.severity is Severity.INFO
    assert finding.what.startswith("2027-03-28 in Europe/Berlin: the clocks leave out 02:00:00 to 03:00:00")
    assert "02:30:00 runs at 03:00:00 +02:00" in finding.what
    assert "so too on 2028-03-26, 2029-03-25 and 7 more days up to 2036-03-30" in finding.what


@pytest.mark.parametrize(
    ("policy", "severity", "said"),
    [
        ("shift", Severity.INFO, "02:30:00 runs at 03:30:00 +02:00"),
        ("skip", Severity.WARNING, "02:30:00 is left out"),
    ],
)
def test_a_run_that_is_lost_in_a_gap_weighs_more(policy: str, severity: Severity, said: str) -> None:
    finding = found(cron("30 2 * * *", in_gap=policy))[Code.GAP]

    assert finding.severity is severity
    assert said in finding.what


@pytest.mark.parametrize(
    ("policy", "severity", "said"),
    [
        ("first", Severity.INFO, "runs once, the first time, at 02:30:00 +02:00"),
        ("second", Severity.INFO, "runs once, the second time, at 02:30:00 +01:00"),
        ("both", Severity.WARNING, "runs twice, at 02:30:00 +02:00 and 02:30:00 +01:00"),
    ],
)
def test_a_repeated_time_is_said_with_its_days(policy: str, severity: Severity, said: str) -> None:
    finding = found(cron("30 2 * * *", in_overlap=policy))[Code.OVERLAP]

    assert finding.severity is severity
    assert finding.what.startswith("2027-10-31 ")
    assert said in finding.what


def test_an_hour_without_runs_is_an_overlap_for_what_runs_each_quarter() -> None:
    finding = found(cron("*/15 * * * *", like="systemd"))[Code.OVERLAP]

    assert finding.severity is Severity.WARNING
    assert "no run for 1 h 15 min from 2027-10-31T00:45:00Z, otherwise at most 15 min" in finding.what


def test_times_that_become_one_run_are_said() -> None:
    finding = found(cron("0,30 2 * * *"))[Code.GAP_CLASH]

    assert "one run, at 2027-03-28 03:00:00 +02:00, for 02:00:00 and 02:30:00" in finding.what
    assert "for 02:30:00 and 03:00:00" in found(cron("30 2 * * *") | cron("0 3 * * *"))[Code.GAP_CLASH].what
    assert Code.GAP_CLASH not in found(cron("30 2 * * *"))
    assert Code.GAP_CLASH not in found(cron("10,30 2 * * *", in_gap="shift"))


def test_a_wildcard_that_loses_a_night_is_said() -> None:
    finding = found(cron("*/20 2 * * *"))[Code.WILDCARD_DST]

    assert finding.severity is Severity.WARNING
    assert "2027-03-28" in finding.what
    assert "02:40:00 is left out" in finding.what
    assert Code.WILDCARD_DST in found(cron("13 */2 * * *"))
    assert Code.WILDCARD_DST not in found(cron("*/20 2 * * *", in_gap="after"))


def test_a_midnight_that_does_not_exist_is_said() -> None:
    after, skipped = (found(cron("15 0 * * *", "Asia/Beirut", like=like)) for like in ("once", "systemd"))

    assert after[Code.MIDNIGHT_GAP].severity is Severity.INFO
    assert "2027-03-28 in Asia/Beirut" in after[Code.MIDNIGHT_GAP].what
    assert skipped[Code.MIDNIGHT_GAP].severity is Severity.WARNING
    assert Code.GAP not in skipped


def test_days_that_are_left_out_anyway_are_not_said() -> None:
    away = [day for year in range(2026, 2037) for day in (date(year, 3, n) for n in range(24, 32))]

    assert Code.GAP not in found(cron("30 2 * * *").without(dates=away))
    assert Code.GAP not in found(cron("30 2 * * *", in_gap="skip").without(dates=away))
    assert Code.OVERLAP in found(cron("30 2 * * *").without(dates=away))


def test_hours_that_are_left_out_count_by_the_clock_when_it_would_run() -> None:
    moved = cron("30 2,5 * * *").without("02:00-03:00")

    assert "02:30:00 runs at 03:00:00 +02:00" in found(moved)[Code.GAP].what
    assert moved.is_due_at(pendulum.datetime(2027, 3, 28, 1))


def test_a_schedule_that_is_over_is_an_error_and_all_that_is_said() -> None:
    findings = found(Schedule.on_calendar("2026-01-01 02:30", tz=BERLIN))

    assert list(findings) == [Code.NEVER_FIRES]
    assert "never due from 2026-11-23T00:00:00Z on; the last time was 2026-01-01T01:30:00Z" in (
        findings[Code.NEVER_FIRES].what
    )


@pytest.mark.parametrize(
    ("schedule", "months"),
    [
        (cron("30 4 31 * *"), "2027-02, 2027-04, 2027-06"),
        (cron("30 4 29-31 2 *"), "2027-02, 2029-02, 2030-02"),
        (cron("30 4 * * 5#5"), "2026-12, 2027-02, 2027-03"),
        (Schedule.on_calendar("Fri *-*-01 00:00", tz=BERLIN), "2026-12, 2027-02, 2027-03"),
        (Schedule.on_calendar("*-02-29 04:30", tz=BERLIN), "2027-02, 2029-02, 2030-02"),
        (Schedule.rrule("FREQ=MONTHLY;BYMONTHDAY=31", start=BEGIN, tz=BERLIN), "2027-02, 2027-04, 2027-06"),
        (Schedule.rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", start=BEGIN, tz=BERLIN), "2027-02, 2029-02, 2030-02"),
    ],
    ids=str,
)
def test_months_without_a_day_are_named(schedule: Schedule, months: str) -> None:
    assert f"has no day in {months}" in found(schedule)[Code.RARE].what


@pytest.mark.parametrize(("start", "first"), [("2027-02-01", "2027-02"), ("2027-02-02", "2027-04")])
def test_only_months_that_lie_whole_in_the_span_are_named(start: str, first: str) -> None:
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)

    (finding,) = cron("30 4 31 * *", "UTC").lint(start=begin, years=1)

    assert f"has no day in {first}, " in finding.what


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (cron("*/25 * * * *"), "from 2026-11-23 00:50:00 to 2026-11-23 01:00:00 are only 10 min"),
        (cron("*/45 * * * *"), "only 15 min"),
        (cron("15 */5 * * *"), "every 5th hour begins anew: from 2026-11-23 20:00:00 to 2026-11-24 00:00:00"),
        (cron("30 4 */2 * *"), "from 2026-12-31 00:00:00 to 2027-01-01 00:00:00 are only 1 day"),
        (cron("30 4 1 */5 *"), "from 2027-11-01 00:00:00 to 2028-01-01 00:00:00"),
        (cron("30 4 * * */2"), "from 2026-11-28 00:00:00 to 2026-11-29 00:00:00"),
        (cron("*/7 30 4 * * *", seconds=True), None),
        (cron("*/7 * 4 * * *", seconds=True), "only 4 s"),
        (Schedule.on_calendar("*-*-* *:00/25", tz=BERLIN, in_gap="skip", in_overlap="both"), "only 10 min"),
        (Schedule.on_calendar("*-*-* 00/5:15", tz=BERLIN), "only 4 h"),
        (cron("0,25,50 * * * *"), None),
    ],
    ids=str,
)
def test_a_step_that_does_not_fit_is_said_with_its_first_short_distance(schedule: Schedule, said: str | None) -> None:
    findings = found(schedule)

    if said is None:
        assert Code.UNEVEN_STEP not in findings
    else:
        assert said in findings[Code.UNEVEN_STEP].what


def test_either_day_field_is_enough_and_the_first_such_day_is_said() -> None:
    finding = found(cron("30 4 13 * 5"))[Code.DOM_DOW_OR]

    assert "due on Friday 2026-11-27" in finding.what
    assert Code.STAR_STEP_AND not in found(cron("30 4 13 * 5"))


def test_a_star_with_a_step_makes_both_day_fields_count() -> None:
    finding = found(cron("30 4 */10 * 1"))[Code.STAR_STEP_AND]

    assert "not due on Monday 2026-11-23" in finding.what
    assert Code.DOM_DOW_OR not in found(cron("30 4 */10 * 1"))


@pytest.mark.parametrize(
    ("expression", "target", "said"),
    [
        ("30 4 * * 1", "quartz", "'1' is Monday here, next on 2026-11-23, and Sunday to quartz"),
        ("30 4 * * 0", "apscheduler", "'0' is Sunday here, next on 2026-11-29, and Monday to apscheduler"),
        ("30 4 * * 5L", "eventbridge", "Friday here"),
        ("30 4 * * *", "quartz", None),
        ("30 4 * * 0-6", "quartz", None),
    ],
)
def test_numbers_of_weekdays_are_said_only_for_a_program_that_reads_them_otherwise(
    expression: str, target: str, said: str | None
) -> None:
    findings = found(cron(expression), target=target)

    assert Code.DIALECT_DOW not in found(cron(expression))
    if said is None:
        assert Code.DIALECT_DOW not in findings
    else:
        assert said in findings[Code.DIALECT_DOW].what


def test_a_loss_that_is_too_great_is_an_error_with_both_runs() -> None:
    daily = cron("30 2 * * *", in_gap="skip")

    finding = found(daily, rpo=timedelta(hours=26))[Code.RPO_EXCEEDED]

    assert finding.severity is Severity.ERROR
    assert "1 day 23 h from 2027-03-27T01:30:00Z to 2027-03-29T00:30:00Z" in finding.what
    assert Code.RPO_EXCEEDED not in found(daily, rpo=timedelta(hours=47))
    assert "not two runs" in found(cron("30 4 29 2 *"), years=2, rpo=timedelta(days=400))[Code.RPO_EXCEEDED].what


def test_a_run_that_lasts_into_the_next_is_said_with_both() -> None:
    twice = cron("30 2 * * *", in_overlap="both")

    finding = found(twice, duration=timedelta(minutes=61))[Code.OVERRUN]

    assert "only 1 h from 2027-10-31T00:30:00Z to 2027-10-31T01:30:00Z" in finding.what
    assert Code.OVERRUN not in found(twice, duration=timedelta(hours=1))


def test_runs_on_the_full_hour_are_worth_knowing() -> None:
    finding = found(cron("0 4 * * *"))[Code.CONTENTION]

    assert finding.severity is Severity.INFO
    assert "2026-11-23 04:00:00 +01:00" in finding.what
    assert Code.CONTENTION in found(cron("0 4 * * *", "Asia/Kathmandu"))
    assert Code.CONTENTION not in found(cron("0,30 4 * * *"))


def test_an_old_name_of_a_zone_is_said_with_todays() -> None:
    assert "tz='America/New_York'" in found(cron("30 4 * * *", "US/Eastern"))[Code.ALIAS_ZONE].action


@pytest.mark.parametrize(("old", "today"), sorted(TODAY.items()))
def test_every_old_name_has_the_clocks_of_todays(old: str, today: str) -> None:
    listed = (resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text()
    start = datetime(2026, 1, 1, tzinfo=UTC)

    one, other = zone(old).tzinfo, zone(today).tzinfo

    days = [start + timedelta(days=n) for n in range(366)]
    assert f"\t{today}" in listed
    assert [day.astimezone(one).utcoffset() for day in days] == [day.astimezone(other).utcoffset() for day in days]


def test_a_host_on_another_clock_is_said_with_the_first_run_that_would_differ() -> None:
    finding = found(cron("30 1 * * *", "Africa/Lagos"), host=host("Etc/UTC"))[Code.HOST_TZ]

    assert finding.severity is Severity.WARNING
    assert "this host shows Etc/UTC (/etc/localtime is a link to Etc/UTC)" in finding.what
    assert "2026-11-23T00:30:00Z (+01:00) and 2026-11-23T01:30:00Z (+00:00), 1:00:00 later" in finding.what


@pytest.mark.parametrize(
    "schedule",
    [cron("*/15 * * * *", "Africa/Lagos"), Schedule.every(hours=7, start=BEGIN, tz="Africa/Lagos")],
    ids=str,
)
def test_a_host_on_another_clock_does_not_matter_to_what_runs_alike_on_both(schedule: Schedule) -> None:
    assert found(schedule, host=host("Etc/UTC")) == {}


def test_two_zones_that_keep_the_same_time_do_not_differ() -> None:
    assert found(cron("30 4 * * *", BERLIN), host=host("Europe/Paris")) == {}


def test_the_founding_incident_is_said_twice_over() -> None:
    incident = attrs.evolve(host("Africa/Lagos"), tz="WAT")

    findings = found(cron("30 1 * * *", "Africa/Lagos"), host=incident)

    assert set(findings) == {Code.HOST_ZONE_FAKE, Code.HOST_TZ}
    assert "this host shows UTC (TZ=WAT)" in findings[Code.HOST_TZ].what


def test_utc_on_a_host_that_shows_another_time_may_not_be_meant() -> None:
    findings = found(cron("30 2 * * *", "UTC"), host=host("Africa/Lagos"))

    assert list(findings) == [Code.UTC_INTENT]
    assert findings[Code.UTC_INTENT].severity is Severity.INFO
    assert "1:00:00 earlier" in findings[Code.UTC_INTENT].what


def test_a_host_whose_clock_a_promise_does_not_know_is_no_crash() -> None:
    refusing = cron("30 1 * * *", "Africa/Lagos", in_gap="refuse", forbid="08:00-18:00")
    gaps_at_one = host("Europe/London")

    assert "does not exist in Europe/London" in found(refusing, host=gaps_at_one)[Code.HOST_TZ].what


def test_two_releases_that_give_other_runs_are_a_skew_with_the_dates() -> None:
    old, new = (casablanca(release) for release in ("2025b", "2026f"))
    copies = tuple(
        ZoneCopy(name=each.key, source=source, release=each.release, data=each.data)
        for each, source in ((old, "/usr/share/zoneinfo"), (new, "the tzdata package"))
    )
    same = attrs.evolve(host("Etc/UTC"), localtime_file=old.data, localtime=old.key, timezone=old.key, copies=copies)

    findings = found(Schedule.cron("30 4 * * *", tz=old), host=same)

    assert list(findings) == [Code.TZDATA_SKEW]
    assert "2026-11-23 04:30:00 as written" in findings[Code.TZDATA_SKEW].what
    assert found(Schedule.cron("*/15 * * * *", tz=old), host=same) == {}


def test_copies_of_other_zones_are_none_of_its_business() -> None:
    other = ZoneCopy(name="Asia/Tokyo", source="/zones", release="2026f", data=zone_file("Asia/Tokyo"))

    assert found(cron("30 4 * * *"), host=attrs.evolve(host(BERLIN), copies=(other,))) == {}


def test_old_data_are_said_for_the_year_that_is_looked_from() -> None:
    lagos = zone("Africa/Lagos")
    copy = ZoneCopy(name=lagos.key, source="/zones", release="2024a", data=lagos.data)
    there = attrs.evolve(host("Africa/Lagos"), copies=(copy,))

    assert list(found(cron("30 1 * * *", lagos.key), host=there)) == [Code.TZDATA_OLD]


def test_arguments_that_make_no_sense_are_refused() -> None:
    for wrong in ({"years": 0}, {"years": 1.5}, {"target": "vixie"}):
        with pytest.raises(ConfigurationError, match="is not"):
            cron("30 1 * * *").lint(start=START, **wrong)
    with pytest.raises(ConfigurationError, match="without a time zone"):
        cron("30 1 * * *").lint(start=datetime(2026, 1, 1))


def test_every_finding_names_its_schedule_and_what_to_do() -> None:
    for schedule in (cron("*/20 2 13 * 5", "US/Eastern"), cron("0,30 2 31 */5 *")):
        for finding in schedule.lint(start=START, rpo=timedelta(hours=1), duration=timedelta(days=1)):
            assert finding.subject == str(schedule)
            assert finding.action
            assert "20" in finding.what or finding.code is Code.ALIAS_ZONE


@pytest.mark.parametrize(
    ("schedule", "hours", "said"),
    [
        (Schedule.daily(at="07:45", tz="Africa/Lagos", forbid="08:00-18:00"), 2, "2026-11-23 07:45:00 +01:00"),
        (Schedule.daily(at="01:30", tz="Africa/Lagos", forbid=["08:00-18:00", "03:00-04:00"]), 2, "03:00-04:00"),
        # Only where the clocks leave out an hour does it reach them.
        (Schedule.daily(at="01:30", tz=BERLIN, forbid="04:00-05:00"), 2, "2027-03-28 01:30:00 +01:00"),
        (Schedule.daily(at="01:30", tz=BERLIN, forbid="01:00-01:10"), 24, "01:30:00"),
    ],
    ids=str,
)
def test_a_run_that_lasts_into_forbidden_hours_is_said(schedule: Schedule, hours: int, said: str) -> None:
    finding = found(schedule, duration=timedelta(hours=hours))[Code.FORBIDDEN_WINDOW]

    assert said in finding.what and finding.severity is Severity.WARNING


def test_a_run_that_is_over_when_forbidden_hours_begin_is_not_said() -> None:
    until_eight = Schedule.daily(at="07:45", tz="Africa/Lagos", forbid="08:00-18:00")

    assert Code.FORBIDDEN_WINDOW not in found(until_eight, duration=timedelta(minutes=15))
    assert Code.FORBIDDEN_WINDOW in found(until_eight, duration=timedelta(minutes=15, seconds=1))


@pytest.mark.parametrize(
    ("schedule", "target", "code"),
    [
        (cron("30 2 * * *"), "kubernetes", Code.EXPORT_DIVERGES),
        (cron("30 4 * * *"), "kubernetes", None),
        (cron("30 4 L * *"), "crontab", Code.EXPORT_IMPOSSIBLE),
        (cron("30 4 15W * *"), "systemd", Code.EXPORT_IMPOSSIBLE),
        (cron("30 4 * * *", "Africa/Lagos"), "crontab", Code.EXPORT_DIVERGES),
        (cron("30 4 * * *"), "crontab", None),
    ],
    ids=str,
)
def test_a_schedule_that_a_target_cannot_say_is_found(schedule: Schedule, target: str, code: Code | None) -> None:
    exports = {Code.EXPORT_DIVERGES, Code.EXPORT_IMPOSSIBLE}

    findings = found(schedule, target=target, host=host(BERLIN), years=2)

    assert exports & {*findings} == ({code} if code else set())


def test_a_crontab_is_looked_at_only_with_its_host() -> None:
    with pytest.raises(ConfigurationError, match="clock of its host") as refused:
        cron("30 4 * * *").lint(start=START, target="crontab")
    assert refused.value.code == Code.BAD_SCHEDULE
