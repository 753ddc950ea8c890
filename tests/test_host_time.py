"""Host time: what a host says about its zone, compared with what its C library does, and what is wrong with it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs
import pytest

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.host_time import (
    HostTime,
    ZoneCopy,
    check_data_age,
    check_host_time,
    check_host_zone,
    first_parting,
    read_host_time,
)
from safebackup.schedule import zone

START = datetime(2026, 11, 23, tzinfo=UTC)
FOLDER = Path("usr/share/zoneinfo")


def zone_file(name: str) -> bytes:
    return (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).read_bytes()


def codes(findings: tuple[Finding, ...]) -> list[Code]:
    return [finding.code for finding in findings]


def machine(root: Path, *, link: str | None = "Africa/Lagos", timezone: str | None = "Africa/Lagos") -> Path:
    """A folder with an `etc` and a `usr` as a machine has them."""
    (root / "etc").mkdir()
    for name in ("Africa/Lagos", "Etc/UTC", "Europe/Berlin", "EST5EDT", "CET", "Africa/Casablanca"):
        path = root / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zone_file(name))
    (root / FOLDER / "tzdata.zi").write_text("# version 2025b\nR d 1916 o\n")
    if link is not None:
        (root / "etc/localtime").symlink_to(f"../{FOLDER}/{link}")
    if timezone is not None:
        (root / "etc/timezone").write_text(timezone + "\n")
    return root


def test_a_healthy_host_raises_nothing(tmp_path: Path) -> None:
    host = read_host_time(["Africa/Lagos"], environment={}, root=machine(tmp_path))

    assert (host.zone_name, host.is_fake) == ("Africa/Lagos", False)
    assert (host.localtime, host.timezone) == ("Africa/Lagos", "Africa/Lagos")
    assert check_host_time(host, start=START) == ()


def test_a_tz_that_repeats_the_zone_of_the_host_raises_nothing(tmp_path: Path) -> None:
    host = read_host_time(environment={"TZ": ":Africa/Lagos"}, root=machine(tmp_path))

    assert host.zone_name == "Africa/Lagos"
    assert check_host_time(host, start=START) == ()


def test_a_host_that_says_nothing_shows_utc(tmp_path: Path) -> None:
    host = read_host_time(environment={}, root=machine(tmp_path, link=None, timezone=None))

    assert host.zone_name == "UTC"
    assert shown(host) == "+0000"
    assert check_host_time(host, start=START) == ()


@pytest.mark.parametrize(
    "tz", ["WAT", "Africa/Lagoss", "africa/lagos", "Lagos", "UTC+1x", "WAT-99", "../../etc/passwd"]
)
def test_a_tz_that_names_nothing_is_a_fake_and_means_utc(tz: str, tmp_path: Path) -> None:
    host = read_host_time(environment={"TZ": tz}, root=machine(tmp_path))

    (finding,) = check_host_zone(host, start=START)

    assert (finding.code, finding.severity) == (Code.HOST_ZONE_FAKE, Severity.WARNING)
    assert f"TZ={tz}" in finding.what
    assert "+00:00" in finding.what
    assert (host.zone_name, shown(host)) == ("UTC", "+0000")


@pytest.mark.skipif(shutil.which("date") is None, reason="takes the program date")
@pytest.mark.parametrize(
    "tz",
    [
        *("WAT", "WAT-1", "Africa/Lagos", ":Africa/Lagos", "", "Africa/Lagoss", "EST5EDT", "<+0330>-3:30", "XYZ3ABC"),
        *("CET-1CEST,M3.5.0,M10.5.0/3", "UTC", "Europe/Berlin", "/usr/share/zoneinfo/Asia/Kathmandu", "Etc/GMT-1"),
    ],
)
@pytest.mark.parametrize("moment", [datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)])
def test_the_offset_is_what_the_c_library_shows(tz: str, moment: datetime) -> None:
    environment = {**os.environ, "TZ": tz}
    command = ["date", "-d", f"@{int(moment.timestamp())}", "+%z"]

    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert shown(read_host_time(environment=environment), moment) == printed


def shown(host: HostTime, moment: datetime = START) -> str:
    return moment.astimezone(ZoneInfo.from_file(io.BytesIO(host.zone_file))).strftime("%z")


def test_a_tz_with_rules_of_its_own_is_no_fake_but_has_no_name(tmp_path: Path) -> None:
    host = read_host_time(environment={"TZ": "WAT-1"}, root=machine(tmp_path))

    assert (host.is_fake, host.zone_name, shown(host)) == (False, "", "+0100")
    assert check_host_time(host, start=START) == ()


def test_a_timezone_file_that_was_forgotten_is_noticed_with_the_first_day(tmp_path: Path) -> None:
    host = read_host_time(environment={}, root=machine(tmp_path, link="Etc/UTC"))

    (finding,) = check_host_zone(host, start=START)

    assert (finding.code, finding.severity) == (Code.HOST_ZONE_DISAGREES, Severity.WARNING)
    assert "2026-11-23 (+00:00 against +01:00)" in finding.what


def test_a_timezone_file_that_names_no_zone_is_noticed(tmp_path: Path) -> None:
    host = read_host_time(environment={}, root=machine(tmp_path, timezone="WAT"))

    (finding,) = check_host_zone(host, start=START)

    assert finding.code is Code.HOST_ZONE_DISAGREES
    assert "/etc/timezone says WAT" in finding.what


def test_two_names_of_the_same_clocks_do_not_disagree(tmp_path: Path) -> None:
    root = machine(tmp_path, link="Etc/UTC", timezone="Zulu")
    shutil.copy(root / FOLDER / "Etc/UTC", root / FOLDER / "Zulu")

    assert check_host_time(read_host_time(environment={}, root=root), start=START) == ()


def test_a_localtime_that_is_a_copy_is_compared_by_what_it_shows(tmp_path: Path) -> None:
    root = machine(tmp_path, link=None, timezone="Africa/Lagos")
    shutil.copy(root / FOLDER / "Africa/Lagos", root / "etc/localtime")
    same = read_host_time(environment={}, root=root)
    shutil.copy(root / FOLDER / "Europe/Berlin", root / "etc/localtime")
    other = read_host_time(environment={}, root=root)

    assert (same.localtime, check_host_zone(same, start=START)) == ("", ())
    (finding,) = check_host_zone(other, start=START)
    assert "2027-03-28 (+02:00 against +01:00)" in finding.what


def test_a_tz_that_only_this_process_sees_is_worth_knowing(tmp_path: Path) -> None:
    host = read_host_time(environment={"TZ": "Europe/Berlin"}, root=machine(tmp_path))

    (finding,) = check_host_zone(host, start=START)

    assert (finding.code, finding.severity) == (Code.HOST_ZONE_DISAGREES, Severity.INFO)


@pytest.mark.parametrize("name", ["CET", "EST5EDT"])
def test_an_abbreviation_that_happens_to_be_a_file_is_noticed(name: str, tmp_path: Path) -> None:
    host = read_host_time(environment={}, root=machine(tmp_path, link=name, timezone=name))

    (finding,) = check_host_zone(host, start=START)

    assert finding.code is Code.AMBIGUOUS_ABBREV
    assert f"/etc/localtime says {name} and /etc/timezone says {name}" in finding.what


def test_a_tz_that_is_a_path_has_the_name_of_its_zone_if_it_is_one(tmp_path: Path) -> None:
    root = machine(tmp_path)

    named, other = (
        read_host_time(environment={"TZ": tz}, root=root)
        for tz in ("/usr/share/zoneinfo/Europe/Berlin", "/etc/localtime")
    )

    assert (named.zone_name, other.zone_name) == ("Europe/Berlin", "")
    assert shown(other) == "+0100"


def test_what_is_no_zone_file_counts_as_missing(tmp_path: Path) -> None:
    root = machine(tmp_path, link="Etc/UTC", timezone=None)
    (root / FOLDER / "Etc/UTC").write_bytes(b"TZif" + b"\xff" * 60)

    host = read_host_time(environment={"TZ": "Etc/UTC"}, root=root)

    assert (host.localtime_file, host.is_fake) == (b"", True)


def copy_of(data: bytes, *, source: str, release: str, name: str = "Africa/Casablanca") -> ZoneCopy:
    return ZoneCopy(name=name, source=source, release=release, data=data)


def test_two_copies_that_part_are_noticed_with_the_day_and_both_offsets() -> None:
    lagos, utc = zone_file("Africa/Lagos"), zone_file("Etc/UTC")
    copies = (copy_of(lagos, source="/zones", release="2026a"), copy_of(utc, source="a package", release="2026f"))

    (finding,) = check_host_time(HostTime(copies=copies), start=START)

    assert finding.code is Code.TZDATA_SKEW
    assert "2026-11-23 (+01:00 against +00:00): /zones (2026a) against a package (2026f)" in finding.what


def test_copies_that_differ_only_in_the_past_are_no_skew() -> None:
    # Both have kept the same time since 1981.
    old, new = zone_file("Europe/Berlin"), zone_file("Europe/Zurich")
    assert old != new
    copies = (copy_of(old, source="/zones", release="2026a"), copy_of(new, source="a package", release="2026f"))

    assert check_host_time(HostTime(copies=copies), start=START) == ()


@pytest.mark.parametrize(
    ("release", "year", "is_old"),
    [
        ("2025b", 2026, False),
        ("2025b", 2027, True),
        ("2026f", 2026, False),
        ("", 2040, False),
        ("rolling", 2040, False),
    ],
)
def test_data_are_old_only_when_they_certainly_are(release: str, year: int, is_old: bool) -> None:
    host = HostTime(copies=(copy_of(zone_file("Africa/Lagos"), source="/zones", release=release),))

    found = check_data_age(host, datetime(year, 6, 1, tzinfo=UTC))

    assert codes(found) == [Code.TZDATA_OLD] * is_old


def test_only_the_data_that_are_used_can_be_too_old() -> None:
    lagos = zone_file("Africa/Lagos")
    used, other = (copy_of(lagos, source=f"/{release}", release=release) for release in ("2026f", "2020a"))

    assert check_data_age(HostTime(copies=(used, other)), START) == ()
    assert codes(check_data_age(HostTime(copies=(other, used)), START)) == [Code.TZDATA_OLD]


def test_copies_come_in_the_order_in_which_python_looks(tmp_path: Path) -> None:
    host = read_host_time(["Africa/Lagos", "Mars/Olympus"], environment={}, root=machine(tmp_path))

    assert [(copy.name, copy.source, bool(copy.data)) for copy in host.copies] == [
        ("Africa/Lagos", "/usr/share/zoneinfo", True),
        ("Africa/Lagos", "the tzdata package", True),
    ]
    assert host.copies[0].release == "2025b"


def test_this_machine_can_be_read() -> None:
    host = read_host_time(["UTC"])

    assert host.copies
    assert isinstance(check_host_time(host, start=START), tuple)
    assert attrs.evolve(host, tz="WAT", tz_file=b"").is_fake


def test_the_first_parting_is_the_first_day() -> None:
    berlin, lagos = zone_file("Europe/Berlin"), zone_file("Africa/Lagos")
    turn = datetime(2027, 3, 28, 1, tzinfo=UTC)

    assert first_parting(berlin, lagos, turn - timedelta(days=30), 1) == "2027-03-28 (+02:00 against +01:00)"
    assert first_parting(berlin, berlin, turn, 1) is None


@pytest.mark.parametrize("field", ["tz", "localtime", "timezone"])
def test_a_zone_that_is_given_by_name_alone_has_this_machines_file(field: str) -> None:
    host = HostTime(**{field: "America/Los_Angeles"})  # type: ignore[arg-type]

    assert getattr(host, f"{field}_file") == zone("America/Los_Angeles").data
    assert not host.is_fake
    assert host.zone_name == ("UTC" if field == "timezone" else "America/Los_Angeles")


def test_a_file_that_is_said_to_be_missing_is_missing() -> None:
    assert HostTime(tz="America/Los_Angeles", tz_file=b"").is_fake
    assert HostTime(tz="WAT").is_fake
    assert HostTime(localtime="America/Los_Angeles", localtime_file=b"").zone_name == "UTC"
