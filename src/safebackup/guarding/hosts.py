"""What the guard knows of the machine: which zone its clocks show, who this is, and whether another run still lives."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import attrs

from safebackup.errors import ConfigurationError
from safebackup.host_time import HostTime, read_host_time

_POSIX = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)[+-]?\d")


@attrs.frozen
class HostZone:
    """The zone that the clocks of a host show.

    It is `fake` where TZ names no zone: glibc then shows UTC and prints that name beside it. `offset_at` gives the
    offset in seconds at an instant.
    """

    name: str
    fake: bool
    offset_at: Callable[[int], int] = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        if self.fake:
            return f"TZ={self.name}, which is no zone"
        return self.name


def host_zone_of(tz: str | None) -> HostZone:
    """The zone of a host that is described, or of this one."""
    return this_host_zone() if tz is None else zone_of_host(tz)


def zone_of_host(tz: str) -> HostZone:
    """The zone of a host whose TZ is `tz`: what nobody knows is UTC under that label, as glibc has it.

    Raises:
        ConfigurationError: it is no text.
    """
    if not isinstance(tz, str):
        raise ConfigurationError(f"host_zone is {tz!r}, no name", hint="Write what TZ would be: America/New_York.")
    named = _zone_file(tz)
    if named is None:
        return HostZone(tz, True, lambda _instant: 0)

    def offset_at(instant: int) -> int:
        offset = datetime.fromtimestamp(instant, named).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())

    return HostZone(tz, False, offset_at)


def this_host_zone() -> HostZone:
    """The zone of this machine as this process sees it."""
    tz = os.environ.get("TZ")
    fake = False
    if tz is None:
        name = system_zone(read_host_time())
    else:
        name = _below_zoneinfo(tz.removeprefix(":")) or "UTC"
        fake = _zone_file(name) is None and not os.path.isabs(name) and _POSIX.match(name) is None
    return HostZone(name, fake, lambda instant: time.localtime(instant).tm_gmtoff)


def system_zone(host: HostTime) -> str:
    """The name of the zone that a system is set to; for a copy of a zone file that nothing names, one by its content.

    /etc/timezone is believed only where it names the same rules: programs do not read it.
    """
    if not host.localtime_file:
        return "UTC"
    if host.localtime:
        return host.localtime
    if host.timezone_file == host.localtime_file:
        return host.timezone
    return f"/etc/localtime {hashlib.sha256(host.localtime_file).hexdigest()[:12]}"


def _below_zoneinfo(path: str) -> str:
    return path.partition("/zoneinfo/")[2] or path


def _zone_file(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found; no name at all; a folder
        return None


class Life(StrEnum):
    """What can be said of a run that was recorded as active."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"  # it runs, or ran, where this process cannot look


@attrs.frozen(kw_only=True)
class Process:
    """A process, told apart from every other one that ever had its number.

    `boot` and `space` say within what the number means something: one boot of one kernel, one namespace of numbers.
    `begun` is the start in ticks since that boot. `script` is what the process runs, 0 if it runs nothing.
    """

    host: str = attrs.field(validator=attrs.validators.instance_of(str))
    machine: str = attrs.field(validator=attrs.validators.instance_of(str))
    boot: str = attrs.field(validator=attrs.validators.instance_of(str))
    space: str = attrs.field(validator=attrs.validators.instance_of(str))
    pid: int = attrs.field(validator=attrs.validators.instance_of(int))
    begun: int = attrs.field(validator=attrs.validators.instance_of(int))
    script: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    script_begun: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" (its script is {self.script})" if self.script else "")


def this_process() -> Process:
    """This process."""
    pid = os.getpid()
    machine = _first_line("/etc/machine-id")
    return Process(
        host=socket.gethostname(),
        # The number itself is not meant to be given away.
        machine=hashlib.sha256(machine.encode()).hexdigest()[:16] if machine else "",
        boot=_first_line("/proc/sys/kernel/random/boot_id"),
        space=_link("/proc/self/ns/pid"),
        pid=pid,
        begun=_begun(pid) or 0,
    )


def with_script(process: Process, pid: int) -> Process:
    """The process, with the script that it runs."""
    return attrs.evolve(process, script=pid, script_begun=_begun(pid) or 0)


def life_of(process: Process, here: Process, *, lock_is_free: bool = False) -> Life:
    """Whether a run that was recorded is still there; its script counts as the run, also without its guard.

    `lock_is_free` says that no process of this kernel holds the lock that the run took.
    """
    same_host = (process.host, process.machine) == (here.host, here.machine)
    if process.boot != here.boot:
        return Life.DEAD if same_host and process.boot and here.boot else Life.UNKNOWN
    if not process.boot:  # a system that does not number its boots
        return Life.DEAD if same_host and lock_is_free else Life.UNKNOWN
    if process.space != here.space:
        return Life.DEAD if lock_is_free else Life.UNKNOWN
    alive = _begun(process.pid) == process.begun or (
        process.script != 0 and _begun(process.script) == process.script_begun
    )
    return Life.ALIVE if alive else Life.DEAD


def user_name() -> str:
    """Who started this, as far as the system says."""
    # Not getpass: it believes LOGNAME, which anybody can set.
    try:
        import pwd

        name = pwd.getpwuid(os.getuid()).pw_name
    except ImportError:
        name = os.environ.get("USERNAME", "?")
    except KeyError:
        name = f"user {os.getuid()}"
    sudo = os.environ.get("SUDO_USER")
    return f"{name} (by sudo: {sudo})" if sudo and sudo != name else name


def _begun(pid: int) -> int | None:
    """When a process started, in ticks since the boot; None if there is none of that number, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
