"""Zones: what is accepted, what is refused and with which names, and what is known of the zone data."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zoneinfo
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Zone, loading, zone, zone_from_data
from safebackup.schedule.zones import zones_printing

REFUSED = [
    ("WAT", "'WAT' is an abbreviation, not a zone: Africa/Lagos", "Did you mean tz='Africa/Lagos'?"),
    ("wat", "abbreviation", "Africa/Lagos"),
    ("EST", "abbreviation", "America/New_York"),
    ("MST", "abbreviation", "America/Denver"),
    ("HST", "abbreviation", "Pacific/Honolulu"),
    ("CET", "abbreviation", "Europe/Berlin"),
    ("CEST", "abbreviation", "Europe/Berlin"),
    ("BST", "abbreviation", "Europe/London"),
    ("IST", "abbreviation", "Asia/Kolkata"),
    ("EST5EDT", "POSIX TZ string", "Africa/Lagos"),
    ("WAT-1", "POSIX TZ string", ""),
    ("<+01>-1", "POSIX TZ string", ""),
    ("CET-1CEST,M3.5.0,M10.5.0/3", "POSIX TZ string", ""),
    ("+01:00", "offset", "Africa/Lagos"),
    ("-0330", "offset", ""),
    ("UTC+1", "offset", "Africa/Lagos"),
    ("GMT-5", "offset", "America/"),
    ("Z", "offset", "UTC"),
    ("Etc/GMT+1", "sign turned round: it means UTC-01:00", "Atlantic/Cape_Verde"),
    ("Etc/GMT-14", "sign turned round: it means UTC+14:00", "Pacific/Kiritimati"),
    ("Etc/GMT", "old name", "UTC"),
    ("GMT", "old name", "UTC"),
    ("Zulu", "old name", "UTC"),
    ("local", "whichever machine", ""),
    ("Localtime", "whichever machine", ""),
    ("posix/Africa/Lagos", "second copy", "tz='Africa/Lagos'"),
    ("right/Africa/Lagos", "second copy", "tz='Africa/Lagos'"),
    ("Factory", "placeholder", ""),
    ("posixrules", "placeholder", ""),
    ("africa/lagos", "names are written exactly", "tz='Africa/Lagos'"),
    ("AMERICA/NEW_YORK", "names are written exactly", "tz='America/New_York'"),
    ("utc", "names are written exactly", "tz='UTC'"),
    ("Lagos", "there is no zone", "Africa/Lagos"),
    ("new york", "there is no zone", "America/New_York"),
    ("Africa/Lagoss", "there is no zone", "Africa/Lagos"),
    ("Europe", "there is no zone", ""),
    ("Mars/Olympus", "there is no zone", ""),
    ("", "empty", ""),
    (" ", "empty", ""),
    ("../../etc/passwd", "there is no zone", ""),
    ("/etc/localtime", "there is no zone", ""),
    ("Africa/../Africa/Lagos", "there is no zone", ""),
    ("Africa/Lagos\n", "there is no zone", "Africa/Lagos"),
    ("Africa/Lagos\0", "there is no zone", "Africa/Lagos"),
    ("Åfrica/Lagos", "there is no zone", "Africa/Lagos"),
    (None, "tz=None", ""),
    (1, "not a zone", ""),
    (b"Africa/Lagos", "not a zone", ""),
]  # fmt: skip


@pytest.mark.parametrize(("tz", "found", "meant"), REFUSED)
def test_what_is_no_place_is_refused_with_the_names_that_could_be_meant(tz: Any, found: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        zone(tz)

    assert refused.value.code == Code.BAD_ZONE
    assert found in refused.value.message
    assert meant in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    "tz",
    [ZoneInfo("Africa/Lagos"), pendulum.timezone("Africa/Lagos"), zone("Africa/Lagos")],
    ids=["zoneinfo", "pendulum", "ours"],
)
def test_a_named_zone_of_any_library_is_accepted_by_its_name(tz: Any) -> None:
    assert zone(tz) == zone("Africa/Lagos")
    assert str(zone(tz)) == "Africa/Lagos"


@pytest.mark.parametrize(
    "key", ["UTC", "Etc/UTC", "Japan", "US/Central", "Asia/Calcutta", "America/Argentina/Buenos_Aires"]
)
def test_names_of_places_and_utc_are_accepted(key: str) -> None:
    assert zone(key).key == key


def test_the_facts_of_the_zone_data_are_those_of_the_file() -> None:
    lagos = zone("Africa/Lagos")

    files = [Path(folder) / "Africa/Lagos" for folder in zoneinfo.TZPATH]
    data = next((file.read_bytes() for file in files if file.exists()), lagos.data)
    assert lagos.fingerprint == hashlib.sha256(data).hexdigest()
    assert lagos.source in (*zoneinfo.TZPATH, "the tzdata package")
    assert len(lagos.release) == 5 and lagos.release[:2] == "20"


def test_zones_are_equal_when_name_and_file_are() -> None:
    other = zone_from_data("Africa/Lagos", zone("UTC").data, source="a test")

    assert other != zone("Africa/Lagos")
    assert Zone("Africa/Lagos", zone("Africa/Lagos").data, "elsewhere", "2000a") == zone("Africa/Lagos")


@pytest.mark.parametrize(
    "data", [b"", b"TZif", b"TZif2" + bytes(39), zone("Europe/Berlin").data[:100], b"no zone file"]
)
def test_bytes_that_are_no_zone_file_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError) as refused:
        zone_from_data("Africa/Lagos", data, source="a test")
    assert refused.value.code == Code.BAD_ZONE


def test_abbreviations_come_from_the_rule_in_force() -> None:
    assert zones_printing("WAT")[0] == "Africa/Lagos"
    assert "Africa/Windhoek" not in zones_printing("WAT")  # it printed WAT until 2017
    assert zones_printing("XYZ") == ()


WITHOUT_DATA = """
import sys
{first}
sys.modules["tzdata"] = None
try:
    {act}
except ValueError as error:
    print(error.code)
"""


@pytest.mark.parametrize(
    ("first", "act"),
    [
        ("", "import safebackup.schedule"),  # pendulum cannot even be imported without zone data
        ("", "import safebackup.instants"),
        ("import pendulum", "from safebackup.schedule import Schedule; Schedule.cron('0 1 * * *', tz='UTC')"),
    ],
)
def test_a_machine_without_zone_data_is_an_error_and_never_utc(first: str, act: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DATA.format(first=first, act=act)],
        env={"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "zone-data-missing\n"


def test_the_tzdata_package_is_read_where_the_system_has_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tzdata")
    script = "from safebackup.schedule import zone; z = zone('Africa/Lagos'); print(z.source, z.release[:2])"

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "the tzdata package 20\n"


def listed_changes(data: bytes) -> list[int]:
    """The instants at which a zone file lists another offset."""

    def counts(at: int) -> tuple[int, ...]:
        return struct.unpack(">6l", data[at + 20 : at + 44])

    isut, isstd, leap, times, types, characters = counts(0)
    second = 44 + times * 5 + types * 6 + characters + leap * 8 + isstd + isut
    _, _, _, times, types, _ = counts(second)
    start = second + 44
    instants = struct.unpack(f">{times}q", data[start : start + 8 * times])
    kinds = data[start + 8 * times : start + 9 * times]
    table = start + 9 * times
    offsets = [struct.unpack(">l", data[table + 6 * kind : table + 6 * kind + 4])[0] for kind in range(types)]
    found, before = [], offsets[0]
    for instant, kind in zip(instants, kinds, strict=True):
        if offsets[kind] != before and instant > -(2**55):
            found.append(instant)
        before = offsets[kind]
    return found


def test_no_zone_changes_twice_in_a_day_nor_before_1800() -> None:
    """What the search for changes takes for granted."""
    for name in loading.all_names():
        found = loading.find_zone(name)
        assert found is not None
        changes = listed_changes(found.data)
        assert all(late - early > 2 * 86_400 for early, late in pairwise(changes)), name
        assert all(-5_364_662_400 < change < 16_725_225_600 for change in changes), name
