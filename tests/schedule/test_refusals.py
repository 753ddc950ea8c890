"""What is refused when a schedule is built: each with the field, the value and what is allowed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule, Verdict, zone, zone_from_data, zones
from safebackup.schedule.cron import parse_cron

LAGOS: dict[str, Any] = {"tz": "Africa/Lagos"}

CRON = [
    ("22-2 * * * *", "minute '22-2'", "backwards"),
    ("0 22-2 * * *", "hour '22-2'", "write 22-23,0-2"),
    ("0 0 * * SAT-SUN", "day of the week 'SAT-SUN'", "backwards"),
    ("59/15 * * * *", "minute '59/15'", "a step needs a range"),
    ("6/1 * * * *", "minute '6/1'", "a step needs a range"),
    ("0 0 * * 0-7", "day of the week '0-7'", "counts Sunday twice"),
    ("\uff11 2 * * *", "'\uff11'", "plain ASCII"),
    ("1 2 * *\u00a0 *", "'\\xa0'", "plain ASCII"),
    ("* * * *", "4 fields", "minute, hour"),
    ("", "0 fields", "minute, hour"),
    ("* * * * * *", "6 fields", "seconds=True"),
    ("0 0 1 1 * 2027", "6 fields", "year"),
    ("CRON_TZ=UTC 0 0 * * *", "6 fields", "tz="),
    ("60 * * * *", "minute '60'", "0 to 59"),
    ("0 24 * * *", "hour '24'", "0 to 23"),
    ("0 0 0 * *", "day of the month '0'", "1 to 31"),
    ("0 0 32 * *", "day of the month '32'", "1 to 31"),
    ("0 0 * 13 *", "month '13'", "1 to 12"),
    ("0 0 * 0 *", "month '0'", "1 to 12"),
    ("0 0 * * 8", "day of the week '8'", "0 to 7"),
    ("0 0 * JAN-13 *", "month 'JAN-13'", "1 to 12"),
    ("0 0 MON * *", "day of the month 'MON'", "not a number"),
    ("0 0 * MON *", "month 'MON'", "JAN to DEC"),
    ("*/0 * * * *", "minute '*/0'", "from 1 on"),
    ("*/90 * * * *", "minute '*/90'", "never be taken"),
    ("0 */24 * * *", "hour '*/24'", "never be taken"),
    ("*/ * * * *", "minute '*/'", "step"),
    ("*/-5 * * * *", "minute '*/-5'", "step"),
    ("*/5/5 * * * *", "minute '*/5/5'", "step"),
    ("-5 * * * *", "minute '-5'", "not a number"),
    ("+5 * * * *", "minute '+5'", "not a number"),
    ("1_0 * * * *", "minute '1_0'", "not a number"),
    ("1.5 * * * *", "minute '1.5'", "not a number"),
    ("1,,2 * * * *", "minute '1,,2'", "comma"),
    ("0 0 1, * *", "day of the month '1,'", "comma"),
    ("0 0 * * ,1", "day of the week ',1'", "comma"),
    ("0-30/45 * * * *", "minute '0-30/45'", "never be taken"),
    ("0 0-20/22 * * *", "hour '0-20/22'", "goes beyond 20"),
    ("10-20/11 * * * *", "minute '10-20/11'", "never be taken"),
    ("0 0 * * 1-5/5", "day of the week '1-5/5'", "never be taken"),
    ("0 0 * */12 *", "month '*/12'", "goes beyond 12"),
    ("1e1 * * * *", "minute '1e1'", "is not a number"),
    ("0 0 0x1 * *", "day of the month '0x1'", "is not a number"),
    ("** * * * *", "minute '**'", "not a number"),
    ("*5 * * * *", "minute '*5'", "not a number"),
    ("*-5 * * * *", "minute '*-5'", "not a number"),
    ("1-2-3 * * * *", "minute '1-2-3'", "not a number"),
    ("? * * * *", "minute '?'", "write *"),
    ("H * * * *", "minute 'H'", "no meaning"),
    ("0~30 * * * *", "minute '0~30'", "random"),
    ("L * * * *", "minute 'L'", "no meaning"),
    ("0 0 L-3 * *", "day of the month 'L-3'", "no meaning"),
    ("0 0 5L * *", "day of the month '5L'", "no meaning"),
    ("0 0 W * *", "day of the month 'W'", "no meaning"),
    ("0 0 0W * *", "day of the month '0W'", "1 to 31"),
    ("0 0 1-5W * *", "day of the month '1-5W'", "no meaning"),
    ("0 0 * * L", "day of the week 'L'", "5L"),
    ("0 0 * * 5#6", "day of the week '5#6'", "1 to 5"),
    ("0 0 * * 5#0", "day of the week '5#0'", "1 to 5"),
    ("0 0 * * 8#1", "day of the week '8#1'", "0 to 7"),
    ("0 0 * * #1", "day of the week '#1'", "not a number"),
    ("0 0 * * 1#L", "day of the week '1#L'", "1 to 5"),
    ("0 0 * * MONDAY", "day of the week 'MONDAY'", "SUN to SAT"),
    ("@reboot", "'@reboot'", "Schedule.every"),
    ("@every 5m", "'@every 5m'", "Schedule.every"),
    ("@dayly", "'@dayly'", "@daily"),
    ("0 0 * * *\n0 1 * * *", "line break", "one line"),
    ("0\x000 * * * *", "control character", "one line"),
    ("1," * 400 + "1 * * * *", "characters", "under 500"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "found", "allowed"), CRON)
def test_a_doubtful_expression_is_refused_with_field_value_and_what_is_allowed(
    expression: str, found: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.cron(expression, **LAGOS)

    assert refused.value.code == Code.BAD_CRON
    assert found in refused.value.message
    assert allowed in str(refused.value)


@pytest.mark.parametrize(
    "expression",
    ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31W 4 *", "0 0 30 2 */1", "0 0 30,31 2 */2", "0 0 */29 2 1#5,2#4"],
)
def test_what_never_fires_is_refused(expression: str) -> None:
    with pytest.raises(ConfigurationError, match="never fires") as refused:
        Schedule.cron(expression, **LAGOS)
    assert refused.value.code == Code.NEVER_FIRES


@pytest.mark.parametrize(
    "expression",
    ["0 0 29 2 *", "0 0 30 2 1", "0 0 31 1,2 *", "0 0 * 2 1#5", "0 0 29 2 */1", "0 0 29W 2 *", "0 0 L 2 *"],
)
def test_what_fires_rarely_is_accepted(expression: str) -> None:
    assert Schedule.cron(expression, **LAGOS).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


SOON = datetime(2026, 1, 1, tzinfo=UTC)
ARGUMENTS = [
    (lambda: Schedule.daily(at="24:00", **LAGOS), "at='24:00'"),
    (lambda: Schedule.daily(at="1:30", **LAGOS), "at='1:30'"),
    (lambda: Schedule.daily(at="01:30 ", **LAGOS), "at='01:30 '"),
    (lambda: Schedule.daily(at="\u0660\u0661:\u0663\u0660", **LAGOS), "not a time of day"),
    (lambda: Schedule.daily(at=[], **LAGOS), "no time of day"),
    (lambda: Schedule.daily(at=time(1, tzinfo=UTC), **LAGOS), "zone"),
    (lambda: Schedule.daily(at=130, **LAGOS), "at=130"),  # type: ignore[arg-type]
    (lambda: Schedule.daily(at=None, **LAGOS), "at=None"),  # type: ignore[arg-type]
    (lambda: Schedule.hourly(minute=60, **LAGOS), "minute=60"),
    (lambda: Schedule.hourly(minute=[], **LAGOS), "minute=[]"),
    (lambda: Schedule.hourly(minute="5", **LAGOS), "minute='5'"),  # type: ignore[arg-type]
    (lambda: Schedule.hourly(minute=True, **LAGOS), "minute=True"),
    (lambda: Schedule.weekly(day=1, at="01:30", **LAGOS), "day=1"),  # type: ignore[arg-type]
    (lambda: Schedule.weekly(day="sonntag", at="01:30", **LAGOS), "day='sonntag'"),
    (lambda: Schedule.weekly(day=[], at="01:30", **LAGOS), "no weekday"),
    (lambda: Schedule.monthly(day=0, at="01:30", **LAGOS), "day=0"),
    (lambda: Schedule.monthly(day=32, at="01:30", **LAGOS), "day=32"),
    (lambda: Schedule.monthly(day=-1, at="01:30", **LAGOS), "day=-1"),
    (lambda: Schedule.monthly(day=(6, "sunday"), at="01:30", **LAGOS), "day=(6, 'sunday')"),
    (lambda: Schedule.monthly(day=31, at="01:30", **LAGOS), "not every month"),
    (lambda: Schedule.monthly(day=29, at="01:30", **LAGOS), "not every month"),
    (lambda: Schedule.monthly(day=(5, "sunday"), at="01:30", **LAGOS), "not every month"),
    (lambda: Schedule.monthly(day=31, at="01:30", short_months="next", **LAGOS), "short_months='next'"),  # type: ignore[arg-type]
    (lambda: Schedule.every(start=SOON, **LAGOS), "empty"),
    (lambda: Schedule.every(start=SOON, hours=-1, **LAGOS), "hours=-1"),
    (lambda: Schedule.every(start=SOON, hours=1.5, **LAGOS), "hours=1.5"),  # type: ignore[arg-type]
    (lambda: Schedule.every(start=SOON, days=10**12, **LAGOS), "longer"),
    (lambda: Schedule.every(start=SOON.replace(microsecond=1), hours=1, **LAGOS), "parts of a second"),
    (lambda: Schedule.cron("0 1 * * *", in_gap="later", **LAGOS), "in_gap='later'"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("0 1 * * *", in_overlap="once", **LAGOS), "in_overlap='once'"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("0 1 * * *", like="cronie", **LAGOS), "like='cronie'"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("0 1 * * *", like="systemd", in_gap="skip", **LAGOS), "already says"),
    (lambda: Schedule.cron("0 1 * * *", forbid="08:00", **LAGOS), "forbid='08:00'"),
    (lambda: Schedule.cron("0 1 * * *", forbid="08:00-08:00", **LAGOS), "empty or the whole day"),
    (lambda: Schedule.cron("0 1 * * *", forbid="8-18", **LAGOS), "forbid='8'"),
    (lambda: Schedule.cron("0 1 * * *", checked_from=SOON, **LAGOS), "checked_from"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).without(), "nothing is to be left out"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).without(dates=[SOON]), "not all dates"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).spread(timedelta(0), key="a"), "less than a second"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).spread(timedelta(hours=1), key=""), "names nothing"),
    (lambda: Schedule.daily(at="01:30", **LAGOS) | Schedule.daily(at="01:30", tz="UTC"), "the same zone"),
    (lambda: Schedule.daily(at="01:30", **LAGOS) | 3, "not a Schedule"),  # type: ignore[operator]
    (lambda: Schedule.daily(at="01:30", **LAGOS) & Schedule.every(start=SOON, hours=1, **LAGOS), "intersected"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).classify(SOON, timedelta(-1)), "negative"),
    (lambda: Schedule.daily(at="01:30", **LAGOS).missed(SOON, SOON, timedelta(-1)), "negative"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "found"), ARGUMENTS, ids=map(str, range(len(ARGUMENTS))))
def test_a_wrong_argument_is_named(build: Any, found: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build()

    assert refused.value.code == Code.BAD_SCHEDULE
    assert found in str(refused.value)
    assert refused.value.hint


def test_a_schedule_without_a_zone_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="tz"):
        Schedule.cron("0 1 * * *")  # type: ignore[call-arg]


QUESTIONS: list[Any] = [
    lambda schedule, naive: schedule.next_after(naive),
    lambda schedule, naive: schedule.previous_before(naive),
    lambda schedule, naive: schedule.between(naive, SOON),
    lambda schedule, naive: schedule.occurrences(SOON, naive),
    lambda schedule, naive: schedule.is_due_at(naive),
    lambda schedule, naive: schedule.max_gap(naive, SOON),
    lambda schedule, naive: schedule.min_gap(SOON, naive),
    lambda schedule, naive: schedule.missed(naive, SOON),
    lambda schedule, naive: schedule.missed(SOON, naive),
    lambda schedule, naive: schedule.classify(naive, timedelta(hours=1)),
    lambda schedule, naive: Schedule.every(start=naive, hours=1, tz="Europe/Berlin"),
]


@pytest.mark.parametrize("ask", QUESTIONS, ids=map(str, range(len(QUESTIONS))))
def test_a_naive_time_is_refused_with_every_reading(ask: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ask(Schedule.daily(at="01:30", tz="Europe/Berlin"), datetime(2026, 10, 25, 2, 30))

    assert refused.value.code == Code.NAIVE_TIME
    for reading in ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"):
        assert reading in refused.value.message


def test_a_naive_time_in_a_gap_is_said_to_be_there() -> None:
    with pytest.raises(ConfigurationError, match="a time that the clocks left out"):
        Schedule.daily(at="01:30", tz="Europe/Berlin").next_after(datetime(2026, 3, 29, 2, 30))


@pytest.mark.parametrize("moment", ["2026-01-01", 0, None, date(2026, 1, 1)])
def test_what_is_no_date_time_is_refused(moment: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a date-time"):
        Schedule.daily(at="01:30", tz="Europe/Berlin").next_after(moment)


def test_forbidden_hours_are_a_promise() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Schedule.cron("0 9 * * *", forbid="08:00-18:00", **LAGOS)
    assert refused.value.code == Code.FORBIDDEN_WINDOW
    assert "2026-01-01 09:00:00 +01:00" in refused.value.message

    Schedule.cron("0 18 * * *", forbid="08:00-18:00", **LAGOS)
    Schedule.cron("59 7 * * *", forbid=["08:00-18:00", "22:00-02:00"], **LAGOS)
    with pytest.raises(ConfigurationError, match="inside the forbidden 22:00-02:00"):
        Schedule.cron("0 1 * * *", forbid=["08:00-18:00", "22:00-02:00"], **LAGOS)
    Schedule.cron("*/15 18-23,0-7 * * *", forbid="08:00-18:00", tz="Europe/Berlin")


def test_a_run_that_a_gap_moves_into_forbidden_hours_is_found() -> None:
    schedule = {"tz": "Europe/Berlin", "forbid": "03:00-04:00"}
    Schedule.daily(at="02:30", in_gap="skip", **schedule)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"2026-03-29 03:00:00 \+02:00"):
        Schedule.daily(at="02:30", **schedule)  # type: ignore[arg-type]


def test_elapsed_time_drifts_into_forbidden_hours_with_the_clocks() -> None:
    with pytest.raises(ConfigurationError, match=r"2026-03-29 08:00:00 \+02:00"):
        Schedule.every(days=1, start=datetime(2026, 1, 1, 6, tzinfo=UTC), tz="Europe/Berlin", forbid="08:00-18:00")


def test_refuse_is_checked_for_ten_years_and_kept_for_ever() -> None:
    with pytest.raises(ConfigurationError, match="2026-03-29 02:30:00, which does not exist in Europe/Berlin") as gap:
        Schedule.daily(at="02:30", tz="Europe/Berlin", in_gap="refuse")
    with pytest.raises(ConfigurationError, match="2026-10-25 02:30:00, which occurs twice in Europe/Berlin"):
        Schedule.daily(at="02:30", tz="Europe/Berlin", in_overlap="refuse")
    assert gap.value.code == Code.DST_REFUSED
    Schedule.daily(at="01:30", tz="Europe/Berlin", in_gap="refuse", in_overlap="refuse")

    quiet = Schedule.daily(at="00:30", tz="America/Sao_Paulo", in_gap="refuse", checked_from=date(2026, 1, 1))
    with pytest.raises(ConfigurationError, match="2018-11-04 00:30:00, which does not exist"):
        quiet.next_after(datetime(2018, 11, 4, tzinfo=UTC))
    with pytest.raises(ConfigurationError, match="2010-10-17"):
        Schedule.daily(at="00:30", tz="America/Sao_Paulo", in_gap="refuse", checked_from=date(2010, 1, 1))


@given(
    st.one_of(
        st.text(max_size=40),
        st.text("0123456789*/,-LW#?~ \t@ABCDEFGHIJMNORSTUVY", max_size=40),
        st.lists(st.text("0123456789*/,-LW#MONJAFEB", min_size=1, max_size=8), min_size=5, max_size=6).map(" ".join),
    ),
    st.booleans(),
)
def test_any_text_is_read_or_refused_and_what_is_read_is_due_again(expression: str, seconds: bool) -> None:
    try:
        schedule = Schedule.cron(expression, seconds=seconds, tz="Europe/Berlin")
    except ConfigurationError as error:
        assert error.code in (Code.BAD_CRON, Code.NEVER_FIRES)
        return
    now = pendulum.datetime(2026, 1, 1)
    later = schedule.next_after(now)
    earlier = schedule.previous_before(now)
    assert earlier is not None and later is not None and earlier < now < later
    recurrence = parse_cron(expression, seconds=seconds)
    again = parse_cron(recurrence.expression, seconds=seconds)
    assert again == recurrence
    assert (again.days, again.times, again.is_wild) == (recurrence.days, recurrence.times, recurrence.is_wild)


def test_fixed_offsets_of_both_libraries_are_no_zones() -> None:
    for tz in (UTC, timezone(timedelta(hours=1)), pendulum.FixedTimezone(3600)):
        with pytest.raises(ConfigurationError, match="fixed offset") as refused:
            Schedule.daily(at="01:30", tz=tz)
        assert refused.value.code == Code.BAD_ZONE


@pytest.mark.parametrize("minute", [[[1]], [1, "x"], [], 60, -1, True, None, "5"])
def test_what_is_no_minute_is_refused(minute: object) -> None:
    with pytest.raises(ConfigurationError, match="minute="):
        Schedule.hourly(minute=minute, tz="UTC")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "\ud800", None, 5])
def test_a_key_that_names_nothing_is_refused(key: object) -> None:
    with pytest.raises(ConfigurationError, match="names nothing"):
        Schedule.daily(at="01:30", tz="UTC").spread(timedelta(hours=1), key=key)  # type: ignore[arg-type]


@pytest.mark.parametrize("expression", ["0 0 */31 * 1", "0 0 1-7 * */7", "10-20/10 * * * *"])
def test_a_star_whose_step_is_the_whole_field_of_days_is_what_crontabs_write(expression: str) -> None:
    assert Schedule.cron(expression, **LAGOS).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_a_forbidden_hour_is_refused_also_when_it_was_never_checked() -> None:
    moved = Schedule.daily(
        at="02:30", tz="Europe/Berlin", forbid="03:00-04:00", checked_from=date(1950, 1, 1)
    )  # before summer time came back
    saturday, monday = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)
    asked: list[Any] = [
        lambda: moved.next_after(saturday),
        lambda: moved.previous_before(monday),
        lambda: list(moved.between(saturday, monday)),
        lambda: moved.is_due_at(datetime(2026, 3, 29, 1, tzinfo=UTC)),
        lambda: moved.missed(saturday, saturday),
    ]

    for ask in asked:
        with pytest.raises(ConfigurationError, match="inside the forbidden 03:00-04:00") as refused:
            ask()
        assert refused.value.code == Code.FORBIDDEN_WINDOW
    judged = moved.classify(datetime(2026, 3, 29, 1, tzinfo=UTC), timedelta(minutes=5))
    assert judged.verdict is Verdict.OUT_OF_WINDOW


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Schedule.daily(at=b"01:30", **LAGOS), "at=b'01:30'"),  # type: ignore[arg-type]
        (lambda: Schedule.daily(at="01:30", **LAGOS).without(dates=date(2026, 12, 25)), "Give a list"),  # type: ignore[arg-type]
        (lambda: Schedule.daily(at="01:30", **LAGOS).without(dates=5), "dates=5"),  # type: ignore[arg-type]
        (lambda: Schedule.cron(None, **LAGOS), 'Write "30 1'),  # type: ignore[arg-type]
        (lambda: Schedule.daily(at="01:30", **LAGOS).next_after(datetime.min), "outside the years 2 to 9998"),
        (lambda: zone_from_data("Africa/Lagos", b"", source="a test"), "Give the bytes"),
        (lambda: Schedule.from_crontab("@DAILY /x", host_tz="Africa/Lagos"), "small letters"),
        (lambda: Schedule.from_crontab("30 0 * * *", host_tz="Africa/Lagos"), "has no command"),
        (lambda: Schedule.on_calendar("*-*-*T02:30", **LAGOS), "a space between them"),
        (lambda: Schedule.on_calendar("10..20/30:00", **LAGOS), "never taken"),
        (lambda: Schedule.on_calendar("0..23/24:00", **LAGOS), "goes beyond 23"),
    ],
)
def test_what_is_refused_says_why_and_what_to_do(build: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build()
    assert said in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("tz", "said", "unsaid"),
    [
        ("Etc/GMT+0", "an old name", "turned round"),
        ("Etc/Unknown", "a placeholder", "fixed offset"),
        ("Etc/Nowhere", "there is no zone", "fixed offset"),
        ("KST", "Did you mean tz='Asia/Seoul'", "nothing"),
        ("GST", "abbreviation, not a zone: people write it for Asia/Dubai", "print"),
        ("ICT", "Asia/Bangkok, Asia/Ho_Chi_Minh", "print"),
        ("CLT", "America/Santiago", "print"),
        ("BRT", "America/Sao_Paulo", "print"),
        ("WAST", "Africa/Windhoek", "print"),
        ("AMT", "America/Manaus, Asia/Yerevan", "print"),
    ],
)
def test_what_is_no_zone_is_called_what_it_is(tz: str, said: str, unsaid: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        zone(tz)
    told = f"{refused.value.message} {refused.value.hint}"
    assert said in told and unsaid not in told


def test_what_people_call_a_zone_names_places_that_are() -> None:
    for places in zones.SAID.values():
        assert [zone(place).key for place in places] == list(places)
