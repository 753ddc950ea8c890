"""Host time: which zone the clocks of a host show, and which zone data it has.

Facts are values, judged by the functions that begin with `check_`; `read_host_time` looks at the machine, and so does
a `HostTime` that is given a zone by its name alone.
"""

from __future__ import annotations

import io
import os
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from zoneinfo import ZoneInfo

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.instants import require_instant

_OFFSET = r"[+-]?\d{1,3}(?::\d{2}){0,2}"
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_POSIX = re.compile(rf"{_NAME}{_OFFSET}(?:(?P<summer>{_NAME})(?:{_OFFSET})?(?P<rules>,[^,]+,[^,]+)?)?")
_RULES_WITHOUT_WORD = ",M3.2.0,M11.1.0"  # what glibc takes where summer time is named and its rules are not
_ABBREVIATIONS = {"CET", "CST6CDT", "EET", "EST", "EST5EDT", "HST", "MET", "MST", "MST7MDT", "PST8PDT", "WET"}
_RELEASE = re.compile(r"(\d{4})[a-z]+")
_MAGIC = b"TZif"


@attrs.frozen(kw_only=True)
class ZoneCopy:
    """One copy of a zone file on a host: where it is, and of which release of the zone data ("" where it is unsaid)."""

    name: str
    source: str
    release: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class HostTime:
    """What a host says about its zone.

    `tz` is the variable TZ, None where it is not set; `localtime` the zone that /etc/localtime is a link to, empty if
    it is none; `timezone` what /etc/timezone says. The bytes of the zone file behind each are beside it, empty where
    there is none; where they are not given, those of this machine for that name. `copies` are zone files in the order
    in which Python looks for them.
    """

    tz: str | None = None
    tz_file: bytes = attrs.field(repr=False)
    localtime: str = ""
    localtime_file: bytes = attrs.field(repr=False)
    timezone: str = ""
    timezone_file: bytes = attrs.field(repr=False)
    copies: tuple[ZoneCopy, ...] = ()

    @tz_file.default
    def _find_tz_file(self) -> bytes:
        return _own_file((self.tz or "").removeprefix(":"))

    @localtime_file.default
    def _find_localtime_file(self) -> bytes:
        return _own_file(self.localtime)

    @timezone_file.default
    def _find_timezone_file(self) -> bytes:
        return _own_file(self.timezone)

    @property
    def is_fake(self) -> bool:
        """Whether TZ names nothing that exists: glibc then shows UTC under that label, and says nothing."""
        return bool(self.tz) and not self.tz_file and not _own_rules(self.tz or "")

    @property
    def zone_name(self) -> str:
        """What programs started here take for the zone; "UTC" for a fake one, empty where it has no name."""
        if self.tz is None:
            return self.localtime if self.localtime_file else "UTC"
        if not self.tz or self.is_fake:
            return "UTC"
        name = _below_zoneinfo(self.tz.removeprefix(":")) if self.tz_file else ""
        return "" if name.startswith("/") else name

    @property
    def zone_file(self) -> bytes:
        """The zone file that programs started here follow; a made one for UTC, and where TZ carries its own rules."""
        found = self.localtime_file if self.tz is None else self.tz_file
        return found or _own_rules(self.tz or "") or _made_zone_file("UTC0")

    def __str__(self) -> str:
        if self.tz is None:
            where = f"a link to {self.localtime}" if self.localtime else "a copy of some zone file"
            return f"/etc/localtime is {where}" if self.localtime_file else "/etc/localtime is missing"
        return f"TZ={self.tz}"


def read_host_time(
    zones: Iterable[str] = (), *, environment: Mapping[str, str] | None = None, root: Path | None = None
) -> HostTime:
    """What this machine says, with all its copies of the files of some zones.

    `root` is the folder in which its `etc` and `usr` are.
    """
    environment = os.environ if environment is None else environment
    top = Path("/") if root is None else root
    folder = top / environment.get("TZDIR", "/usr/share/zoneinfo").lstrip("/")
    tz = environment.get("TZ")
    timezone = _first_line(top / "etc/timezone")
    return HostTime(
        tz=tz,
        tz_file=_file_of((tz or "").removeprefix(":"), folder, top),
        localtime=_linked(top / "etc/localtime"),
        localtime_file=_zone_bytes(top / "etc/localtime"),
        timezone=timezone,
        timezone_file=_file_of(timezone, folder, top),
        copies=tuple(copy for name in zones for copy in _copies(name, top)),
    )


def check_host_time(host: HostTime, *, start: datetime, years: int = 10) -> tuple[Finding, ...]:
    """All that is doubtful about the time of a host, over some years from `start`."""
    return (*check_host_zone(host, start=start, years=years), *check_data_age(host, start), *_skews(host, start, years))


def check_host_zone(host: HostTime, *, start: datetime, years: int = 10) -> tuple[Finding, ...]:
    """A zone that is none, names that mislead, and places that contradict each other."""
    return (*_fakes(host), *_abbreviations(host), *_disagreements(host, require_instant(start, name="start"), years))


def check_data_age(host: HostTime, start: datetime) -> tuple[Finding, ...]:
    """Zone data that are certainly older than a year: clocks have changed their rules since, somewhere."""
    at = require_instant(start, name="start")
    used = {(copy.source, copy.release) for copy in _used(host)}
    return tuple(
        Finding(
            code=Code.TZDATA_OLD,
            severity=Severity.WARNING,
            what=f"the zone data in {source} are release {release}, more than a year old on {at:%Y-%m-%d}",
            action="Update the package tzdata of the system; a newer tzdata from PyPI is not looked at while the "
            "system has its own.",
        )
        for source, release in sorted(used)
        if (found := _RELEASE.fullmatch(release)) is not None and at.year - int(found[1]) > 1
    )


def _used(host: HostTime) -> list[ZoneCopy]:
    first: dict[str, ZoneCopy] = {}
    for copy in host.copies:
        first.setdefault(copy.name, copy)
    return list(first.values())


def _skews(host: HostTime, start: datetime, years: int) -> Iterator[Finding]:
    at = require_instant(start, name="start")
    for used in _used(host):
        for other in host.copies:
            if other.name != used.name or other.data == used.data:
                continue
            parting = first_parting(used.data, other.data, at, years)
            if parting is not None:
                yield Finding(
                    code=Code.TZDATA_SKEW,
                    severity=Severity.WARNING,
                    what=f"two copies of {used.name} on this machine part on {parting}: {_said(used)} against "
                    f"{_said(other)}; the first is used",
                    action="Update the package tzdata of the system, so that all programs here agree.",
                )


def _said(copy: ZoneCopy) -> str:
    return f"{copy.source} ({copy.release or 'release unknown'})"


def _fakes(host: HostTime) -> Iterator[Finding]:
    if host.is_fake:
        yield Finding(
            code=Code.HOST_ZONE_FAKE,
            severity=Severity.WARNING,
            what=f"TZ={host.tz} on this host is no zone: its programs show UTC (+00:00) under that label",
            action="Set TZ to the name of a place, such as Africa/Lagos, or unset it.",
        )


def _abbreviations(host: HostTime) -> Iterator[Finding]:
    said = [("TZ", (host.tz or "").removeprefix(":"))] if host.tz is not None else []
    said += [("/etc/localtime", host.localtime), ("/etc/timezone", host.timezone)]
    places = [f"{place} says {name}" for place, name in said if name in _ABBREVIATIONS]
    if places:
        yield Finding(
            code=Code.AMBIGUOUS_ABBREV,
            severity=Severity.WARNING,
            what=f"{' and '.join(places)}, which is an abbreviation: it follows the clocks of no named place",
            action="Name the place whose clocks this host is to show, such as Europe/Berlin.",
        )


def _disagreements(host: HostTime, at: datetime, years: int) -> Iterator[Finding]:
    local = host.localtime or "a copy of another zone file"
    if host.localtime_file and host.timezone and host.timezone != host.localtime:
        parting = first_parting(host.localtime_file, host.timezone_file, at, years) if host.timezone_file else None
        if parting is not None or not host.timezone_file:
            yield Finding(
                code=Code.HOST_ZONE_DISAGREES,
                severity=Severity.WARNING,
                what=f"/etc/timezone says {host.timezone}, /etc/localtime is {local}: "
                + (f"they part on {parting}" if parting else "and the former is no zone"),
                action="Set both at once: timedatectl set-timezone Africa/Lagos. Restart cron after it.",
            )
    if host.tz is not None and not host.is_fake and host.localtime_file:
        parting = first_parting(host.zone_file, host.localtime_file, at, years)
        if parting is not None:
            yield Finding(
                code=Code.HOST_ZONE_DISAGREES,
                severity=Severity.INFO,
                what=f"TZ={host.tz} here, and /etc/localtime is {local}: they part on {parting}",
                action="What cron or systemd starts does not see this TZ: let scripts name their zone themselves.",
            )


def first_parting(one: bytes, other: bytes, start: datetime, years: int) -> str | None:
    """Where two zone files first show different times, looking at each day of some years: day and both offsets."""
    left, right = ZoneInfo.from_file(io.BytesIO(one)), ZoneInfo.from_file(io.BytesIO(other))
    day = start.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    for ahead in range(years * 366):
        moment = day + timedelta(days=ahead)
        here, there = moment.astimezone(left), moment.astimezone(right)
        if here.utcoffset() != there.utcoffset():
            return f"{moment:%Y-%m-%d} ({here.isoformat()[19:]} against {there.isoformat()[19:]})"
    return None


def _own_rules(tz: str) -> bytes:
    """A zone file for the rules that a POSIX TZ string carries itself; empty if it is none."""
    parsed = _POSIX.fullmatch(tz.removeprefix(":"))
    if parsed is None:
        return b""
    rules = parsed[0] + (_RULES_WITHOUT_WORD if parsed["summer"] and not parsed["rules"] else "")
    return _checked(_made_zone_file(rules))


def _made_zone_file(rules: str) -> bytes:
    """A zone file (RFC 9636) that holds nothing but a POSIX TZ string."""
    header = _MAGIC + b"2" + bytes(15) + bytes(4 * 4) + (1).to_bytes(4, "big") + (4).to_bytes(4, "big")
    block = header + bytes(6) + b"UTC\0"
    return block + block + b"\n" + rules.encode("ascii") + b"\n"


def _below_zoneinfo(path: str) -> str:
    return path.partition("/zoneinfo/")[2] or path


def _file_of(name: str, folder: Path, top: Path) -> bytes:
    if not name:
        return b""
    return _zone_bytes(top / name.lstrip("/") if name.startswith("/") else folder / name)


def _zone_bytes(path: Path | Traversable) -> bytes:
    try:
        return _checked(path.read_bytes())
    except (OSError, ValueError):  # not there, a folder, unreadable; or no path at all
        return b""


def _checked(data: bytes) -> bytes:
    """The bytes if they are a zone file, else none."""
    try:
        ZoneInfo.from_file(io.BytesIO(data))
    except (ValueError, IndexError, EOFError, OSError, ArithmeticError, MemoryError):
        return b""
    return data


def _linked(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    return target.partition("/zoneinfo/")[2]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _own_file(name: str) -> bytes:
    """The file of a zone that is used on this machine, empty where there is none."""
    found = _copies(name, Path("/")) if name else iter(())
    return next((copy.data for copy in found), b"")


def _copies(name: str, top: Path) -> Iterator[ZoneCopy]:
    for folder in zoneinfo.TZPATH:
        place = top / folder.lstrip("/")
        data = _zone_bytes(place / name)
        if data:
            yield ZoneCopy(name=name, source=folder, release=_release(place), data=data)
    try:
        package = import_module("tzdata")
    except ModuleNotFoundError:
        return
    data = _zone_bytes((resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")))
    if data:
        release = str(getattr(package, "IANA_VERSION", ""))
        yield ZoneCopy(name=name, source="the tzdata package", release=release, data=data)


def _release(place: Path) -> str:
    words = _first_line(place / "tzdata.zi").split()
    return words[2] if words[:2] == ["#", "version"] and len(words) > 2 else _first_line(place / "+VERSION")
