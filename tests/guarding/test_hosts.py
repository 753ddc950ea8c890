"""What the guard knows of the machine: its zone as its programs see it, and which recorded run still lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from safebackup.guarding.hosts import Life, Process, life_of, system_zone, this_process, with_script, zone_of_host
from safebackup.host_time import HostTime
from safebackup.schedule import zone
from tests.guarding.scene import at

WINTER, SUMMER = (int(at(f"2026-{month}-15 12:00").timestamp()) for month in ("01", "07"))
SEEN = """
from safebackup.guarding.hosts import this_host_zone
zone = this_host_zone()
print(zone.name, zone.fake, zone.offset_at({winter}), zone.offset_at({summer}))
"""


def seen_with(tz: str) -> str:
    """What a process with that TZ says of its zone."""
    done = subprocess.run(
        [sys.executable, "-c", SEEN.format(winter=WINTER, summer=SUMMER)],
        env=os.environ | {"TZ": tz},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("tz", "seen"),
    [
        ("Africa/Lagos", "Africa/Lagos False 3600 3600"),
        (":America/New_York", "America/New_York False -18000 -14400"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin False 3600 7200"),
        ("EST5EDT", "EST5EDT False -18000 -14400"),
        ("WAT-1", "WAT-1 False 3600 3600"),
        ("", "UTC False 0 0"),
        ("WAT", "WAT True 0 0"),
        ("Africa/Lagoss", "Africa/Lagoss True 0 0"),
        ("CEST", "CEST True 0 0"),
    ],
)
def test_the_zone_is_what_programs_on_this_host_see(tz: str, seen: str) -> None:
    assert seen_with(tz) == seen


def test_without_tz_the_zone_is_that_of_the_system() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TZ"}
    code = SEEN.format(winter=WINTER, summer=SUMMER)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    name, fake, winter, _summer = done.stdout.split(" ")
    assert fake == "False"
    if os.path.islink("/etc/localtime"):
        assert os.path.realpath("/etc/localtime").endswith(name) or "zoneinfo" not in os.readlink("/etc/localtime")
    shown = subprocess.run(["date", "-d", f"@{WINTER}", "+%z"], env=environment, capture_output=True, check=True)
    sign, hours, minutes = shown.stdout[:1], int(shown.stdout[1:3]), int(shown.stdout[3:5])
    assert int(winter) == (hours * 3600 + minutes * 60) * (-1 if sign == b"-" else 1)


BERLIN, LAGOS = (zone(name).data for name in ("Europe/Berlin", "Africa/Lagos"))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (HostTime(localtime="Europe/Berlin", localtime_file=BERLIN, timezone="Africa/Lagos"), "Europe/Berlin"),
        (HostTime(localtime_file=BERLIN, timezone="Europe/Berlin", timezone_file=BERLIN), "Europe/Berlin"),
        (HostTime(), "UTC"),
        (HostTime(localtime="Europe/Berlin", localtime_file=b""), "UTC"),  # a link to nothing
    ],
    ids=["a link", "a copy", "nothing", "a broken link"],
)
def test_the_zone_of_the_system_is_what_its_files_agree_on(host: HostTime, name: str) -> None:
    assert system_zone(host) == name


def test_a_copy_that_nothing_names_is_known_by_its_content() -> None:
    """/etc/timezone is not believed where it contradicts the file that programs read."""
    berlin, lagos = (HostTime(localtime_file=data, timezone="UTC", timezone_file=b"x") for data in (BERLIN, LAGOS))

    assert system_zone(berlin) == system_zone(berlin)
    assert system_zone(berlin) != system_zone(lagos)
    assert system_zone(berlin).startswith("/etc/localtime ")


@pytest.mark.parametrize(
    ("tz", "fake", "summer"), [("Europe/Berlin", False, 7200), ("WAT", True, 0), ("../x", True, 0)]
)
def test_a_host_can_be_described(tz: str, fake: bool, summer: int) -> None:
    host = zone_of_host(tz)

    assert (host.name, host.fake, host.offset_at(SUMMER)) == (tz, fake, summer)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def recorded(process: subprocess.Popen[bytes]) -> Process:
    """The process as a guard with that number would have recorded itself."""
    of_script = with_script(this_process(), process.pid)
    return attrs.evolve(of_script, pid=process.pid, begun=of_script.script_begun, script=0, script_begun=0)


def test_this_process_is_alive() -> None:
    assert life_of(this_process(), this_process()) is Life.ALIVE


def test_a_process_that_was_killed_is_dead_also_while_nobody_has_waited_for_it(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = recorded(sleeper)
    assert life_of(process, this_process()) is Life.ALIVE

    sleeper.kill()
    until = time.monotonic() + 10
    while life_of(process, this_process()) is Life.ALIVE and time.monotonic() < until:
        time.sleep(0.01)

    assert life_of(process, this_process()) is Life.DEAD


def test_another_process_with_its_number_is_not_it(sleeper: subprocess.Popen[bytes]) -> None:
    process = attrs.evolve(recorded(sleeper), begun=12345)

    assert life_of(process, this_process()) is Life.DEAD


def test_a_run_lives_on_in_its_script(sleeper: subprocess.Popen[bytes]) -> None:
    killed = attrs.evolve(this_process(), pid=1 << 22, begun=1)

    assert life_of(killed, this_process()) is Life.DEAD
    assert life_of(with_script(killed, sleeper.pid), this_process()) is Life.ALIVE


def test_a_run_before_the_last_boot_of_this_host_is_dead() -> None:
    assert life_of(attrs.evolve(this_process(), boot="before"), this_process()) is Life.DEAD


@pytest.mark.parametrize(
    "changes",
    [{"host": "other", "boot": "its"}, {"machine": "other", "boot": "its"}, {"boot": ""}, {"space": "pid:[5]"}],
    ids=str,
)
def test_a_run_where_nobody_here_can_look_is_unknown(changes: dict[str, Any]) -> None:
    assert life_of(attrs.evolve(this_process(), **changes), this_process()) is Life.UNKNOWN


def test_a_lock_that_is_free_tells_of_a_run_in_another_container() -> None:
    process = attrs.evolve(this_process(), space="pid:[5]")

    assert life_of(process, this_process(), lock_is_free=True) is Life.DEAD


def test_where_boots_have_no_number_only_the_lock_tells() -> None:
    here = attrs.evolve(this_process(), boot="", space="")

    assert life_of(here, here) is Life.UNKNOWN
    assert life_of(here, here, lock_is_free=True) is Life.DEAD
    assert life_of(attrs.evolve(here, host="other"), here, lock_is_free=True) is Life.UNKNOWN
