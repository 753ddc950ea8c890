"""The founding incident, minute by minute: what starts the script reads its time in another zone, or does not start it.

Each case is noticed; its healthy twin raises nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from safebackup.errors import Code
from safebackup.guarding import GuardReport, check_guard
from tests.guarding.scene import HandClock, Started, at, firings, start

FIRST, LAST = at("2023-10-08 12:00"), at("2023-10-11 12:00")  # three nights
NIGHTS = ["20231009T000000Z", "20231010T000000Z", "20231011T000000Z"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "orders.json"


def nights(
    state: Path, zone: str, *, label: str = "", hour: int = 1, first: datetime = FIRST, last: datetime = LAST
) -> list[Started]:
    """What the cron of a host starts; `label` is its TZ where that is not the zone by which it fires."""
    return [start(state, moment, host_zone=label or zone) for moment in firings(hour, 0, zone, first, last)]


def checked(state: Path, moment: datetime, host_zone: str = "Africa/Lagos") -> GuardReport:
    return check_guard(state, clock=HandClock(moment), host_zone=host_zone)


def assert_nothing_is_wrong(runs: list[Started], state: Path) -> None:
    assert [run.run_id for run in runs] == NIGHTS
    assert [finding for run in runs for finding in run.findings] == []
    report = checked(state, LAST)
    assert (report.passed, report.findings, report.missing) == (True, (), ())


def test_a_healthy_host_raises_nothing(state: Path) -> None:
    assert_nothing_is_wrong(nights(state, "Africa/Lagos"), state)


def test_a_host_in_los_angeles_is_refused_and_its_zone_is_named(state: Path) -> None:
    runs = nights(state, "America/Los_Angeles")

    assert [run.code for run in runs] == [Code.START_SHIFTED] * 3
    message = runs[1].message
    assert "fired 2023-10-10 09:00:02 +01:00, due 2023-10-10 01:00:00 +01:00" in message
    assert "8 h late matches a host in America/Los_Angeles" in message
    assert "inside the forbidden 08:00-18:00" in message


def test_of_the_zones_that_match_the_hosts_own_is_named_first(state: Path) -> None:
    runs = nights(state, "America/Phoenix")

    assert "8 h late matches a host in America/Phoenix, America/Los_Angeles" in runs[0].message


def test_a_refusal_gives_both_times_on_all_clocks_with_numbers(state: Path) -> None:
    (run,) = nights(state, "America/Los_Angeles", first=at("2023-10-10 06:00"), last=at("2023-10-10 18:00"))

    lines = [line.strip() for line in run.message.splitlines()]
    assert (
        "due 2023-10-10 01:00:00 +01:00 in Africa/Lagos = 2023-10-09 17:00:00 -07:00 on this host "
        "(America/Los_Angeles) = 2023-10-10T00:00:00Z" in lines
    )
    assert (
        "started 2023-10-10 09:00:02 +01:00 in Africa/Lagos = 2023-10-10 01:00:02 -07:00 on this host "
        "(America/Los_Angeles) = 2023-10-10T08:00:02Z" in lines
    )
    assert "PDT" not in run.message
    assert "WAT" not in run.message


def test_every_refused_night_is_missing_from_outside_with_its_reason(state: Path) -> None:
    nights(state, "America/Los_Angeles")

    report = checked(state, LAST, "America/Los_Angeles")

    # The first was due before the first start, which was taken for it.
    assert [one.run_id for one in report.missing] == NIGHTS
    assert not report.passed
    assert "was refused: fired 2023-10-10 09:00:02 +01:00" in report.findings[1].what
    assert "= 2023-10-09 17:00:00 -07:00 on this host" in report.findings[1].what


def test_a_host_in_los_angeles_whose_crontab_says_so_is_healthy(state: Path) -> None:
    assert_nothing_is_wrong(nights(state, "America/Los_Angeles", hour=17), state)


def test_a_host_in_utc_is_refused(state: Path) -> None:
    runs = nights(state, "UTC")

    assert [run.code for run in runs] == [Code.START_SHIFTED] * 3
    assert "1 h late matches a host in UTC" in runs[0].message


def test_a_host_in_utc_whose_crontab_says_so_is_healthy(state: Path) -> None:
    assert_nothing_is_wrong(nights(state, "UTC", hour=0), state)


def test_a_fake_zone_is_refused_and_named(state: Path) -> None:
    """`TZ=WAT` is UTC under another label, for cron as for everybody else on that host."""
    runs = nights(state, "UTC", label="WAT")

    assert [run.code for run in runs] == [Code.START_SHIFTED] * 3
    assert "TZ=WAT on this host is no zone" in runs[0].message
    assert "00:00:00 +00:00 on this host (TZ=WAT, which is no zone)" in runs[0].message


def test_a_fake_zone_of_a_start_at_the_right_instant_is_a_warning(state: Path) -> None:
    runs = nights(state, "Africa/Lagos", label="WAT")

    assert [run.run_id for run in runs] == NIGHTS
    assert [run.codes for run in runs] == [["host-zone-fake"]] * 3


def test_a_zone_that_changed_overnight_is_refused_and_both_are_named(state: Path) -> None:
    before = nights(state, "Africa/Lagos", last=at("2023-10-10 12:00"))
    after = nights(state, "America/Los_Angeles", first=at("2023-10-10 12:00"))

    assert [run.run_id for run in before] == NIGHTS[:2]
    assert [run.code for run in after] == [Code.START_SHIFTED]
    assert "the host's zone was Africa/Lagos at the run before and is America/Los_Angeles now" in after[0].message
    assert [one.run_id for one in checked(state, LAST).missing] == NIGHTS[2:]


def test_a_zone_that_changed_overnight_is_told_even_if_the_start_is_right(state: Path) -> None:
    nights(state, "Africa/Lagos", last=at("2023-10-10 12:00"))
    after = nights(state, "Africa/Lagos", label="America/Los_Angeles", first=at("2023-10-10 12:00"))

    assert [run.codes for run in after] == [["host-zone-changed"]]


def test_a_run_that_is_missing_altogether_is_named_on_three_clocks(state: Path) -> None:
    nights(state, "Africa/Lagos", last=at("2023-10-10 12:00"))

    before, after = (checked(state, at(moment), "UTC") for moment in ("2023-10-11 00:30", "2023-10-11 00:31"))

    assert before.passed  # it may still be started
    assert not after.passed
    (finding,) = after.findings
    assert finding.code is Code.RUN_MISSING
    assert finding.what == (
        "missing: due 2023-10-11 01:00:00 +01:00 in Africa/Lagos = 2023-10-11 00:00:00 +00:00 on this host (UTC) = "
        "2023-10-11T00:00:00Z; it was never started"
    )


def test_the_next_start_tells_of_a_run_that_is_missing(state: Path) -> None:
    nights(state, "Africa/Lagos", last=at("2023-10-09 12:00"))

    (run,) = nights(state, "Africa/Lagos", first=at("2023-10-10 12:00"))

    assert run.codes == ["run-missing"]
    assert "due 2023-10-10 01:00:00 +01:00" in run.findings[0].what


def test_a_long_grace_that_hides_a_wrong_zone_is_told(state: Path) -> None:
    wrong = start(state, at("2023-10-09 01:00"), grace=timedelta(hours=2), host_zone="UTC")
    late = start(state, at("2023-10-10 01:00"), grace=timedelta(hours=2), host_zone="Africa/Lagos")

    assert wrong.codes == ["start-shifted"]
    assert "showed the scheduled time" in wrong.findings[0].what
    assert "start-shifted" not in late.codes


def test_clocks_that_change_in_the_night_move_nothing(state: Path) -> None:
    """Neither those of the job nor those of the host: the start is judged by its instant."""
    from safebackup.schedule import Schedule

    schedule = Schedule.cron("30 2 * * *", tz="Europe/Berlin")
    runs = [
        start(state, moment, schedule=schedule, host_zone="America/New_York")
        for moment in [at("2026-03-28 01:30"), at("2026-03-29 01:00"), at("2026-03-30 00:30")]
    ]

    assert [run.run_id for run in runs] == ["20260328T013000Z", "20260329T010000Z", "20260330T003000Z"]
    assert [run.findings for run in runs] == [()] * 3
