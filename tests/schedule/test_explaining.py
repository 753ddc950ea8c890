"""Explanations: the words mean what the schedule does, and the numbers are those of its runs."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule
from safebackup.schedule.touches import touches
from safebackup.schedule.turns import turns_of
from safebackup.schedule.wording import how_long, words_of

BERLIN = "Europe/Berlin"
AFTER = pendulum.datetime(2026, 10, 23)
BEGIN = pendulum.datetime(2026, 1, 5, 0, 30)


def cron(expression: str, tz: str = BERLIN, **more: object) -> Schedule:
    return Schedule.cron(expression, tz=tz, **more)  # type: ignore[arg-type]


def rrule(rule: str) -> Schedule:
    return Schedule.rrule(rule, start=BEGIN, tz=BERLIN)


def on_calendar(expression: str) -> Schedule:
    return Schedule.on_calendar(expression, tz=BERLIN)


DAILY = Schedule.daily(at="01:30", tz=BERLIN)
WORDS = [
    (cron("30 1 * * *"), "at 01:30 every day"),
    (cron("5,35 1,13 * * *"), "at 01:05, 01:35, 13:05 and 13:35 every day"),
    (cron("* * * * *"), "every minute of every hour, every day"),
    (cron("*/15 * * * *"), "every 15 minutes of every hour, every day"),
    (cron("*/25 * * * *"), "at :00, :25 and :50 of every hour, every day"),
    (cron("5 * * * *"), "at :05 of every hour, every day"),
    (cron("3-40 3 * * *"), "at the minutes 3 to 40 of the hour 03, every day"),
    (cron("*/10 9-17 * * 1-5"), "every 10 minutes of the hours 09 to 17, on Monday to Friday"),
    (cron("0 */2 * * *"), "at :00 of every 2nd hour from 00 to 22, every day"),
    (cron("*/20 * * * * *", seconds=True), "every 20 seconds every minute of every hour, every day"),
    (cron("5,7-9 * 4 * * *", seconds=True), "at the seconds 5 and 7 to 9 every minute of the hour 04, every day"),
    (cron("0 4 13 * *"), "at 04:00 on the 13th of the month"),
    (cron("0 4 1-7,22 * *"), "at 04:00 on the 1st to 7th and the 22nd of the month"),
    (cron("0 4 L * *"), "at 04:00 on the last day of the month"),
    (cron("0 4 LW * *"), "at 04:00 on the last day from Monday to Friday of the month"),
    (
        cron("0 4 15W 1,7 *"),
        "at 04:00 on the day from Monday to Friday nearest to the 15th of the month, in January and July",
    ),
    (cron("0 4 * * 5#2"), "at 04:00 on the 2nd Friday of the month"),
    (cron("0 4 * * 1,5L"), "at 04:00 on Monday and the last Friday of the month"),
    (cron("0 4 * * 0,6"), "at 04:00 on Saturday and Sunday"),
    (cron("0 4 13 * 5"), "at 04:00 on the 13th of the month, and also on every Friday"),
    (cron("0 4 */10 * 1"), "at 04:00 on each Monday that is also the 1st, the 11th, the 21st or the 31st of the month"),
    (cron("0 4 29 2 *"), "at 04:00 on the 29th of the month, in February"),
    (DAILY, "at 01:30 every day"),
    (Schedule.hourly(minute=[5, 35], tz=BERLIN), "at :05 and :35 of every hour, every day"),
    (Schedule.weekly(day=["sunday", "wednesday"], at="03:00", tz=BERLIN), "at 03:00 on Wednesday and Sunday"),
    (
        Schedule.monthly(day=31, at="02:00", short_months="last", tz=BERLIN),
        "at 02:00 on the 31st of the month (its last day where it is shorter)",
    ),
    (Schedule.monthly(day=("last", "sunday"), at="02:00", tz=BERLIN), "at 02:00 on the last Sunday of the month"),
    (
        Schedule.monthly(day=(5, "monday"), at="02:00", short_months="last", tz=BERLIN),
        "at 02:00 on the 5th Monday of the month (the last where there is none)",
    ),
    (
        Schedule.every(hours=36, start=BEGIN, tz=BERLIN),
        "every 1 day 12 h of real time, counted from 2026-01-05T00:30:00Z",
    ),
    (on_calendar("Mon..Fri *-*-* 02:30"), "at 02:30 on Monday to Friday"),
    (on_calendar("*-*~03 02:30"), "at 02:30 on the 3rd last day of the month"),
    (on_calendar("Sun *-*-1..7 03:00"), "at 03:00 on each Sunday that is also the 1st to 7th of the month"),
    (on_calendar("2027,2028-01-01 03:00"), "at 03:00 on the 1st of the month, in January, in the years 2027 and 2028"),
    (
        on_calendar("2026/2-01-01 03:00"),
        "at 03:00 on the 1st of the month, in January, in the years 2026, 2028, 2030, 2032, 2034 and 2036 and so on",
    ),
    (
        rrule("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TH"),
        "every 2 weeks, on Monday and Thursday, weeks begin on Monday; what this leaves open is as in its start, "
        "2026-01-05 01:30:00",
    ),
    (
        rrule("FREQ=MONTHLY;BYDAY=-1FR;COUNT=4"),
        "every month, on the last Friday; what this leaves open is as in its start, 2026-01-05 01:30:00, "
        "4 times in all",
    ),
    (
        rrule("FREQ=MONTHLY;BYMONTHDAY=1,-2;BYHOUR=3;BYMINUTE=15"),
        "every month, on the 2nd last and 1st day of the month, at the hour 3, at the minute 15; "
        "what this leaves open is as in its start, 2026-01-05 01:30:00",
    ),
    (
        rrule("FREQ=YEARLY;BYMONTH=3;BYDAY=MO,TU;BYSETPOS=-1;UNTIL=20301231T000000Z"),
        "every year, in March, on Monday and Tuesday, of these the last of each year; "
        "what this leaves open is as in its start, 2026-01-05 01:30:00, until 2030-12-31 01:00:00",
    ),
    (DAILY | Schedule.hourly(tz=BERLIN), "at 01:30 every day; and also at :00 of every hour, every day"),
    (DAILY | Schedule.daily(at="05:00", tz=BERLIN), "at 01:30 every day; and also at 05:00 every day"),
    (
        cron("0 4 * * 1") & cron("0 4 1-7 * *"),
        "at 04:00 on those days that are all of these: on Monday; on the 1st to 7th of the month",
    ),
    (
        DAILY.without("08:00-18:00", dates={date(2026, 12, 25)}),
        "at 01:30 every day; but not from 08:00-18:00 on any day or on 2026-12-25",
    ),
    (
        DAILY.without(dates={date(2026, 12, day) for day in range(1, 31)}),
        "at 01:30 every day; but not on 2026-12-01, on 2026-12-02, on 2026-12-03, on 2026-12-04, on 2026-12-05 "
        "or on 25 more dates",
    ),
    (
        DAILY.spread(timedelta(minutes=30), key="x"),
        "at 01:30 every day; each run 4 min 36 s later (spread over 30 min by the key 'x'), but always before the next",
    ),
]


@pytest.mark.parametrize(("schedule", "words"), WORDS, ids=lambda value: str(value)[:40])
def test_a_rule_is_said_in_plain_english(schedule: Schedule, words: str) -> None:
    explanation = schedule.explain()

    assert words_of(schedule.rule) == words
    assert explanation.rule == f"{words[0].upper()}{words[1:]}."


@given(st.data())
def test_every_cron_expression_can_be_said(data: st.DataObject) -> None:
    field = st.sampled_from(["*", "*/7", "1-5", "3", "2,4-6"])
    expression = " ".join(data.draw(field) for _ in range(5))

    text = cron(expression).explain(after=AFTER).text

    assert "None" not in text
    assert "  of" not in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (4500, "1 h 15 min"), (86_400, "1 day"), (2 * 86_400 + 61, "2 days 1 min 1 s")],
)
def test_a_duration_is_said_in_words(seconds: int, said: str) -> None:
    assert how_long(seconds) == said


def test_without_an_instant_it_says_the_rule_and_the_policy_and_nothing_of_days() -> None:
    explanation = cron("30 2 * * *", forbid="08:00-18:00").explain()

    lines = str(explanation).splitlines()
    assert lines[0] == "At 02:30 every day."
    assert lines[1].startswith("On the clocks of Europe/Berlin (zone data 2")
    assert lines[2:] == [
        "A time that the clocks leave out runs at the first instant after the gap (in_gap=after).",
        "A time that they repeat runs once, the first time (in_overlap=first).",
        "Never due from 08:00-18:00: promised, and checked.",
    ]
    assert (explanation.runs, explanation.changes, explanation.longest) == ((), (), None)


def test_from_an_instant_it_says_the_next_runs_on_three_clocks() -> None:
    explanation = cron("30 2 * * *").explain(after=AFTER, host_tz="America/Los_Angeles")

    assert explanation.text == str(explanation)
    assert (
        "  Fri 2026-10-23 02:30:00 +02:00 in Europe/Berlin = 2026-10-22 17:30:00 -07:00 in America/Los_Angeles (host) "
        "= 2026-10-23T00:30:00Z\n"
    ) in explanation.text
    assert [run.instant for run in explanation.runs] == [AFTER.add(minutes=30, days=day) for day in range(3)]
    assert "(first of two; written 02:30:00)" in explanation.text


def test_a_run_at_the_very_instant_is_not_next() -> None:
    explanation = cron("30 2 * * *").explain(after=AFTER.add(minutes=30))

    assert explanation.runs[0].instant == AFTER.add(days=1, minutes=30)


@pytest.mark.parametrize(
    ("in_gap", "in_overlap", "effects"),
    [
        ("after", "first", ["runs once, the first time, at 02:30:00 +02:00", "runs at 03:00:00 +02:00"]),
        ("shift", "second", ["runs once, the second time, at 02:30:00 +01:00", "runs at 03:30:00 +02:00"]),
        ("skip", "both", ["runs twice, at 02:30:00 +02:00 and 02:30:00 +01:00", "is left out"]),
    ],
)
def test_the_effects_of_a_change_are_what_happens_then(in_gap: str, in_overlap: str, effects: list[str]) -> None:
    schedule = cron("30 2 * * *", in_gap=in_gap, in_overlap=in_overlap)

    autumn, spring, _ = schedule.explain(after=AFTER).changes

    assert [autumn.effects, spring.effects] == [(f"02:30:00 {effect}",) for effect in effects]
    assert autumn.text.startswith(
        "Sun 2026-10-25: from +02:00 to +01:00 at 2026-10-25T01:00:00Z; times from 02:00:00 to 03:00:00 occur twice: "
    )
    assert (spring.before, spring.after) == (timedelta(hours=1), timedelta(hours=2))
    assert spring.at == pendulum.datetime(2027, 3, 28, 1)


@given(
    st.sampled_from(["30 2 * * *", "0,30 0-3 * * *", "*/20 * * * *", "15 */2 * * *", "15 0,23 * * 0"]),
    st.sampled_from([BERLIN, "Australia/Lord_Howe", "Asia/Beirut", "Pacific/Apia", "Africa/Monrovia"]),
    st.sampled_from(["after", "shift", "skip"]),
    st.sampled_from(["first", "second", "both"]),
    st.sampled_from([1971, 2010, 2011, 2026]),
)
def test_what_is_said_of_touched_times_is_when_they_are_due(
    expression: str, key: str, in_gap: str, in_overlap: str, year: int
) -> None:
    schedule = cron(expression, key, in_gap=in_gap, in_overlap=in_overlap)
    start = pendulum.datetime(year, 1, 2)

    for turn in turns_of(schedule.zone).between(int(start.timestamp()), int(start.add(years=2).timestamp())):
        low, high = sorted((turn.at + turn.before, turn.at + turn.after))
        size = high - low
        around = (pendulum.from_timestamp(turn.at + side) for side in (-size, size + 1))
        due = {
            int(run.instant.timestamp())
            for run in schedule.occurrences(*around)
            if any(low <= (wall - datetime(1970, 1, 1)).total_seconds() < high for wall in (run.wall, *run.merged))
        }
        assert {instant for touch in touches(schedule.rule, turn) for instant in touch.instants} == due


def test_what_a_change_does_not_touch_is_said_too() -> None:
    explanation = cron("30 4 * * *").explain(after=AFTER)

    assert [change.effects for change in explanation.changes] == [(), (), ()]
    assert "do not exist: no run is touched." in explanation.text


def test_a_zone_that_keeps_its_time_says_until_when_that_is_known() -> None:
    text = cron("30 1 * * *", "Africa/Lagos").explain(after=AFTER).text

    assert "On the clocks of Africa/Lagos, +01:00 on 2026-10-23 (zone data " in text
    assert "Its clocks do not change before 2027-11-27." in text
    assert "WAT" not in text


def test_the_longest_time_between_runs_is_that_of_the_year_ahead() -> None:
    schedule = cron("30 2 * * *", in_gap="skip")

    explanation = schedule.explain(after=AFTER)

    assert explanation.longest == schedule.max_gap(AFTER, AFTER.add(days=400))
    assert "Longest time between two runs: 1 day 23 h, from 2027-03-27T01:30:00Z to 2027-03-29T00:30:00Z" in (
        explanation.text
    )


def test_of_equal_times_between_runs_the_earliest_is_told() -> None:
    schedule = Schedule.hourly(minute=5, tz="UTC")

    assert schedule.explain(after=AFTER).longest == schedule.max_gap(AFTER, AFTER.add(days=2))


def test_a_change_at_the_very_instant_is_not_ahead() -> None:
    turn = pendulum.datetime(2026, 10, 25, 1)

    assert DAILY.explain(after=turn).changes[0].at == pendulum.datetime(2027, 3, 28, 1)
    assert DAILY.explain(after=turn.subtract(seconds=1)).changes[0].at == turn


def test_a_dense_schedule_says_how_far_it_was_looked_at() -> None:
    schedule = cron("* * * * *")

    explanation = schedule.explain(after=AFTER)

    assert explanation.looked_until == AFTER.add(minutes=19_999)
    assert "(looked at 2026-10-23 to 2026-11-05)" in explanation.text


def test_many_touched_times_are_cut_short() -> None:
    assert cron("*/5 * * * *").explain(after=AFTER).changes[0].effects[-1] == "and 9 more times"


def test_a_refusing_schedule_that_is_never_touched_is_explained() -> None:
    text = cron("30 4 * * *", in_gap="refuse", in_overlap="refuse").explain(after=AFTER).text

    assert "A time that the clocks leave out is refused (in_gap=refuse)." in text


def test_what_is_over_says_so() -> None:
    explanation = on_calendar("2026-01-01 02:30").explain(after=AFTER)

    assert "It is never due again." in explanation.text
    assert (explanation.runs, explanation.longest) == ((), None)


def test_elapsed_time_has_no_policy() -> None:
    assert Schedule.every(hours=6, start=BEGIN, tz=BERLIN).explain().policy == (
        "Changes of the clocks do not matter to it: it counts real time.",
    )


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        DAILY.explain(after=datetime(2026, 10, 25, 2, 30))

    assert caught.value.code is Code.NAIVE_TIME


def test_the_second_friday_is_not_said_to_be_every_one() -> None:
    combined = Schedule.cron("15 */6 15W,LW 1-6 5#2", tz="Africa/Lagos").explain().rule
    starred = Schedule.cron("15 0 */2 * 5#2", tz="Africa/Lagos").explain().rule
    several = Schedule.cron("15 0 1 * 1,5#2", tz="Africa/Lagos").explain().rule

    assert "and also on the 2nd Friday of the month" in combined
    assert "on the 2nd Friday of the month that is also" in starred
    assert "and also on every Monday and the 2nd Friday of the month" in several
