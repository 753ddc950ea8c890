"""Exports given to the real programs: systemd, Debian's cron through the nights of DST, and a YAML reader."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
import yaml

from safebackup.errors import Code, ConfigurationError
from safebackup.schedule import Schedule
from safebackup.schedule.exporting import How
from safebackup.schedule.exporting.crontab import as_debian_does
from safebackup.schedule.exporting.simulating import Simulated, instants, runs
from safebackup.schedule.exporting.systemd import as_systemd_does
from safebackup.schedule.turns import turns_of
from safebackup.schedule.zones import zone

START = pendulum.datetime(2026, 11, 23, tz="UTC")
NIGHTLY = Schedule.cron("30 1 * * *", tz="Africa/Lagos")
NEW_YORK = "America/New_York"
# What a shell, a crontab, a unit file, Kubernetes and YAML each give a meaning to.
COMMANDS = [
    "printf '%s|' \"$1\" 'a b' 100%",
    "echo \"$HOME\" '${HOME}' $$ `echo x` $(echo y) %h %% %n",
    "echo 'back\\slash' \\\\ # comment ; [Install]",
    "echo a: b - {c} [d] 'e' & true || !x",
    "echo Grüße 日本 😀",
    "/bin/true --option=\"quoted 'twice'\"",
]
LINES = ["echo one\necho two", "printf 'tab\\t\ttab'\n", "echo \x85 \u2028 \x7f \x1b[0m"]

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def units(tmp_path: Path, schedule: Schedule, **more: Any) -> tuple[Path, Path]:
    export = schedule.export("systemd", start=START, **{"command": "/bin/true", "name": "orders", **more})
    for name, text in export.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / "orders.timer", tmp_path / "orders.service"


@needs_systemd
@pytest.mark.parametrize(
    "schedule",
    [
        NIGHTLY,
        Schedule.daily(at="02:30", tz="Europe/Berlin"),
        Schedule.cron("*/15 1-5 * * *", tz=NEW_YORK),
        Schedule.cron("30 2 LW * *", tz=NEW_YORK),
        Schedule.monthly(day=31, at="00:30", short_months="last", tz="Africa/Cairo"),
    ],
    ids=str,
)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, schedule: Schedule) -> None:
    files = units(tmp_path, schedule, command=COMMANDS[0])

    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_would_find_a_wrong_line(tmp_path: Path) -> None:
    timer, _ = units(tmp_path, NIGHTLY)
    timer.write_text(timer.read_text().replace("01:30:00", "25:30:00"))

    done = subprocess.run(["systemd-analyze", "verify", timer], capture_output=True, text=True, check=False)

    assert "25:30:00" in done.stderr


def elapses(expression: str, base: datetime, count: int = 1) -> list[datetime]:
    """When systemd says that a calendar expression elapses after a moment."""
    done = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC",
            f"--iterations={count}",
            expression,
        ],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w{3} (\S+ \S+) UTC", done.stdout)
    return [datetime.fromisoformat(at).replace(tzinfo=UTC) for at in found]


# Zones that change at other hours, by other lengths, at midnight, and backwards in summer.
ZONES = [NEW_YORK, "America/Havana", "America/St_Johns", "Europe/Berlin", "Europe/Dublin", "Africa/Cairo"]
ZONES += [
    "Africa/Casablanca",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Antarctica/Troll",
    "Africa/Lagos",
]


@needs_systemd
@pytest.mark.parametrize("tz", ZONES)
def test_systemd_computes_what_was_simulated(tz: str) -> None:
    named = zone(tz)
    begin = int(START.timestamp())
    turns = [turn.at for turn in turns_of(named).between(begin, begin + 500 * 86_400)] or [begin + 86_400]
    for text in ("*-*-* 00,01,02,03:10,30:00", "Sun *-*-* 02:00,15:00", "*-*~01,02,03,04,05 23,00:45:00"):
        for at in turns[:3]:
            base = datetime.fromtimestamp(at - 86_400, UTC)

            found = elapses(f"{text} {tz}", base, 12)

            end = int(found[-1].timestamp()) + 1
            simulated = list(instants(as_systemd_does(text, named), at - 86_400 + 1, end))
            assert [int(each.timestamp()) for each in found] == simulated, (text, base)


@needs_systemd
@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.daily(at="01:30", tz=NEW_YORK, in_overlap="both"),
        Schedule.daily(at="02:30", tz=NEW_YORK),
        Schedule.cron("*/20 1-3 * * *", tz=NEW_YORK),
        Schedule.cron("*/15 * * * *", tz=NEW_YORK),
        Schedule.cron("0 */2 * * *", tz="Europe/Berlin"),
        Schedule.daily(at="01:30", tz=NEW_YORK) | Schedule.every(hours=1, start=START, tz=NEW_YORK),
        Schedule.daily(at="02:10", tz="Australia/Lord_Howe"),
        Schedule.daily(at="00:30", tz="Asia/Beirut"),
    ],
    ids=str,
)
def test_a_timer_elapses_when_the_schedule_is_due_all_through_the_nights_of_change(
    tmp_path: Path, schedule: Schedule
) -> None:
    """As systemd does: from each run the earliest of what its lines say comes next."""
    export = schedule.export("systemd", start=START, years=2, command="/bin/true", accept=True)
    lines = re.findall("OnCalendar=(.*)", export.files["backup.timer"])
    begin = int(START.timestamp())
    for turn in turns_of(schedule.zone).between(begin, begin + 365 * 86_400):
        last = datetime.fromtimestamp(turn.at, UTC) - timedelta(hours=3, minutes=10)
        start, end = last, last + timedelta(hours=6)
        ran = []
        while last < end:
            last = min(at for line in lines for at in elapses(line, last))
            ran.append(last)

        wrong = {each.instant: each.how for each in export.divergences}
        due = [at for at in schedule.between(start, ran[-1] + timedelta(seconds=1)) if wrong.get(at) is not How.MISSING]
        due += [at for at, how in wrong.items() if how is How.EXTRA and start < at <= ran[-1]]
        assert ran == sorted(due)


SYSTEMD = "/lib/systemd/systemd"


def read_by_systemd(files: Mapping[str, str]) -> str:
    """The command of orders.service as systemd prints it, which has to run as somebody else than root for that."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        Path(folder).chmod(0o777)
        paths = {"SYSTEMD_UNIT_PATH": f"{folder}:", "XDG_RUNTIME_DIR": folder, "HOME": folder, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*as_nobody, SYSTEMD, "--test", "--user", "--unit=orders.service", "--no-pager"],
            env={"PATH": os.environ["PATH"], **paths},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    found = re.search(r"Command Line: /bin/sh -c (.*)", done.stdout.partition("Unit orders.service")[2])
    if found is None:
        pytest.skip(f"systemd does not test units here: {done.stderr[-200:]}")
    return found[1]


def unquoted(shown: str) -> str:
    """What systemd prints, which is quoted as a shell would have it."""
    if shown.startswith('"'):
        return str(ast.literal_eval(shown.replace("\\$", "$").replace("\\`", "`")))
    if shown.startswith("$'"):
        return str(ast.literal_eval(shown[1:]))
    return shown


@pytest.mark.skipif(not Path(SYSTEMD).exists(), reason="systemd is not installed")
@pytest.mark.parametrize("command", COMMANDS + LINES)
def test_systemd_reads_the_command_that_was_given(command: str) -> None:
    export = NIGHTLY.export("systemd", start=START, command=command, name="orders")

    shown = unquoted(read_by_systemd(export.files))

    assert shown.replace("$$", "$") == command, "and of two $ systemd makes one when it starts it"


@pytest.mark.parametrize("command", COMMANDS + LINES)
def test_a_yaml_reader_finds_the_command_that_was_given(command: str) -> None:
    twice = Schedule.daily(at=["02:00", "13:45"], tz="Africa/Lagos")
    export = twice.export("kubernetes", start=START, command=command, image='x"\\$(y)')

    jobs = list(yaml.safe_load_all(export.text))

    assert [job["spec"]["schedule"] for job in jobs] == ["0 2 * * *", "45 13 * * *"]
    assert [job["metadata"]["name"] for job in jobs] == ["backup-1", "backup-2"]
    for job in jobs:
        (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == 'x"\\$(y)'
        assert container["command"][:2] == ["/bin/sh", "-c"]
        assert container["command"][2].replace("$$", "$") == command, "and of two $ Kubernetes makes one"


@pytest.mark.parametrize("target", ["crontab", "systemd", "kubernetes"])
@pytest.mark.parametrize("command", ["echo \0", "echo \udcff"])
def test_a_command_that_no_file_can_hold_is_refused(target: str, command: str) -> None:
    refuse_command(target, command)


@pytest.mark.parametrize(
    "command",
    ["echo a\necho b", "echo a\r", "echo \x1b[0m", " echo", "x" * 999, "%" * 500],
)
def test_a_command_that_a_crontab_line_cannot_hold_is_refused(command: str) -> None:
    refuse_command("crontab", command)


def refuse_command(target: str, command: str) -> None:
    more = {"crontab": {"host_tz": "Africa/Lagos"}, "kubernetes": {"image": "x"}}.get(target, {})
    with pytest.raises(ConfigurationError) as refused:
        NIGHTLY.export(target, start=START, command=command, **more)  # type: ignore[arg-type]

    assert refused.value.code is Code.EXPORT_IMPOSSIBLE
    assert "script" in refused.value.hint


# What the cron of Debian 12 did under libfaketime, with its host in that zone: recorded in November 2026.
RECORDED = [
    (NEW_YORK, "2026-03-08", "30 2 * * *", ["03:00-0400"]),
    (NEW_YORK, "2026-03-08", "0,30 2 * * *", ["03:00-0400", "03:00-0400"]),
    (NEW_YORK, "2026-03-08", "*/20 2 * * *", []),
    (NEW_YORK, "2026-03-08", "30 1-3 * * *", ["01:30-0500", "03:00-0400", "03:30-0400"]),
    (NEW_YORK, "2026-03-08", "0 */2 * * *", ["04:00-0400"]),
    (NEW_YORK, "2026-11-01", "30 1 * * *", ["01:30-0400"]),
    (NEW_YORK, "2026-11-01", "*/20 1 * * *", [f"01:{m}-{o}" for o in ("0400", "0500") for m in ("00", "20", "40")]),
    (NEW_YORK, "2026-11-01", "0 * * * *", ["01:00-0400", "01:00-0500", "02:00-0500", "03:00-0500", "04:00-0500"]),
    ("Asia/Beirut", "2026-03-29", "0 0 * * *", ["01:00+0300"]),
    ("Asia/Beirut", "2026-03-29", "30 0 * * *", ["01:00+0300"]),
    ("Asia/Beirut", "2026-03-29", "15 0 * * 0", ["01:00+0300"]),
]


@pytest.mark.parametrize(("host", "night", "expression", "ran"), RECORDED)
def test_a_crontab_is_simulated_as_debians_cron_did_it(host: str, night: str, expression: str, ran: list[str]) -> None:
    start = datetime.fromisoformat(night).replace(hour=0, minute=45, tzinfo=ZoneInfo(host))
    if host == "Asia/Beirut":
        start -= timedelta(hours=1)
    end = datetime.fromisoformat(night).replace(hour=4, minute=15, tzinfo=ZoneInfo(host))

    rule = as_debian_does(expression, zone(host))
    simulated = Simulated((rule,), adds_up=True, runs_each=True)

    found = [(at, count) for at, count in runs(simulated, int(start.timestamp()), int(end.timestamp()))]
    shown = [f"{datetime.fromtimestamp(at, ZoneInfo(host)):%H:%M%z}" for at, count in found for _ in range(count)]
    assert shown == ran


CRON = shutil.which("cron", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
# A machine of its own for cron: nothing of the real one's crontabs is seen or touched.
NIGHT = r"""
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/cron.d
mount --bind /dev/null /etc/crontab
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
install -m 600 "$1" /var/spool/cron/crontabs/root
date +%s.%N > begun
exec env LD_PRELOAD='/usr/$LIB/faketime/libfaketime.so.1' FAKETIME="@$2" "$3" -f
"""
SPEED = 360


def can_fake_a_night() -> str:
    """Why cron cannot be run through a night here; empty if it can."""
    if CRON is None or not list(Path("/usr/lib").glob("**/faketime/libfaketime.so.1")):
        return "cron and libfaketime are not installed"
    if "3.0pl1" not in subprocess.run(["dpkg", "-s", "cron"], capture_output=True, text=True, check=False).stdout:
        return "this is not Debian's cron"
    if os.geteuid() != 0:
        return "only root can give cron a machine of its own"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if done.returncode == 0 else "mount namespaces are not allowed here"


def through_a_night(
    tmp_path: Path, crontab: str, host: str, start: str, minutes: int
) -> Iterator[tuple[str, datetime]]:
    """What cron ran, by what its jobs wrote: a name, and the real time, of which the faked one follows."""
    (tmp_path / "tab").write_text(crontab, encoding="utf-8")
    cron = subprocess.Popen(
        ["unshare", "--mount", "bash", "-c", NIGHT, "night", "tab", f"{start} x{SPEED}", str(CRON)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TZ": host},
    )
    try:
        cron.wait(minutes * 60 / SPEED)
        pytest.fail("cron ended by itself")
    except subprocess.TimeoutExpired:
        pass
    finally:
        cron.terminate()
        cron.wait()
        for left in Path("/dev/shm").glob(f"*faketime_s*_{cron.pid}"):
            left.unlink()
    begun = float((tmp_path / "begun").read_text())
    first = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(host)).astimezone(UTC)
    for line in (tmp_path / "ran").read_text().splitlines():
        name, _, at = line.partition(" ")
        yield name, first + timedelta(seconds=(float(at) - begun) * SPEED)


def undisturbed_night(tmp_path: Path, crontab: str, start: str, minutes: int) -> list[tuple[str, datetime]]:
    """The same, again if this machine was so busy that cron saw the clock jump by minutes."""
    beat = f"* * * * *  echo beat $(date +\\%s.\\%N) >> {tmp_path}/ran\n"
    for _ in range(4):
        ran = sorted(through_a_night(tmp_path, crontab + beat, NEW_YORK, start, minutes))
        (tmp_path / "ran").unlink()
        beats = [at for name, at in ran if name == "beat"]
        if all(later - earlier < timedelta(minutes=4) for earlier, later in pairwise(beats)):
            return [(name, at) for name, at in ran if name != "beat"]
    pytest.skip("this machine is too busy to run a night in seconds")


@pytest.mark.parametrize(
    ("start", "minutes", "expressions"),
    [
        ("2026-03-08 01:25:30", 72, ["30 2 * * *", "0,30 2 * * *", "*/20 2 * * *", "30 1-3 * * *", "45 1 1-7 * */7"]),
        ("2026-11-01 00:55:30", 131, ["30 1 * * *", "*/20 1 * * *", "0 * * * *", "45 1 1-7 * */7"]),
    ],
)
def test_debians_cron_runs_through_a_night_of_change_what_the_export_says(
    tmp_path: Path, start: str, minutes: int, expressions: list[str]
) -> None:
    why_not = can_fake_a_night()
    if why_not:
        pytest.skip(why_not)
    before = pendulum.datetime(2026, 1, 1)
    schedules = [Schedule.cron(expression, tz=NEW_YORK) for expression in expressions]
    schedules.append(Schedule.daily(at=["01:30", "02:30"], tz=NEW_YORK, like="kubernetes"))
    exports = [
        schedule.export(
            "crontab",
            start=before,
            years=1,
            host_tz=NEW_YORK,
            accept=True,
            command=f'echo "{index} $(date +%s.%N)" >> {tmp_path}/ran',
        )
        for index, schedule in enumerate(schedules)
    ]

    ran = undisturbed_night(tmp_path, "".join(export.text for export in exports), start, minutes)

    first = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
    last = first + timedelta(minutes=minutes - 4)
    expected = []
    for index, (schedule, export) in enumerate(zip(schedules, exports, strict=True)):
        wrong = {each.instant: each.how for each in export.divergences}
        due = [at for at in schedule.between(first, last) if wrong.get(at) is not How.MISSING]
        due += [at for at, how in wrong.items() if how in (How.EXTRA, How.AT_ONCE) and first < at < last]
        expected += [(str(index), f"{at:%H:%M}") for at in sorted(due)]
    # Jobs start within seconds, which are minutes here: to the last multiple of five minutes.
    found = [(name, at - timedelta(minutes=at.minute % 5, seconds=at.second - 30)) for name, at in ran]
    assert [(name, f"{at:%H:%M}") for name, at in found if at < last] == expected


TEXTS = [
    "100% of $HOME",
    "%%",
    '\\n \\"x\\" `y` $(z) # ;',
    "Grüße 😀",
    r"\%",
    r"\\% \\\% \n \\ \\\ \\\\n %\% %\\%",
    "x" * 800,
]


@pytest.mark.parametrize("text", TEXTS)
def test_debians_cron_gives_the_shell_the_command_that_was_given(tmp_path: Path, text: str) -> None:
    why_not = can_fake_a_night()
    if why_not:
        pytest.skip(why_not)
    command = f"cd {tmp_path}; printf %s {shlex.quote(text)} > said; echo 0 $(date +%s.%N) > ran"
    once = Schedule.cron("27 1 * * *", tz=NEW_YORK)
    tab = once.export("crontab", start=START, years=1, host_tz=NEW_YORK, command=command).text

    list(through_a_night(tmp_path, tab, NEW_YORK, "2026-03-08 01:25:30", 8))

    assert (tmp_path / "said").read_text(encoding="utf-8") == text
