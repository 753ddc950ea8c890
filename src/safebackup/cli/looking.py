"""`snapshots` and `ls`."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from safebackup.cli.opening import open_repository
from safebackup.cli.options import OfSource, Where, command
from safebackup.cli.output import Result, one_line, plain, table
from safebackup.cli.running import Screen
from safebackup.cli.sizes import size_text
from safebackup.errors import ConfigurationError
from safebackup.findings import printable
from safebackup.statuses import ExitStatus

if TYPE_CHECKING:
    from datetime import datetime

    from safebackup.format.manifest import Entry
    from safebackup.repository import Snapshot

_TYPES = (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)  # by EntryKind

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="The beginning of its id; without it the newest.", show_default=False)
]


def add_commands(app: typer.Typer) -> None:
    """Make `snapshots` and `ls` commands of `app`."""
    command(app, "snapshots")(snapshots)
    command(app, "ls")(ls)


def snapshots(screen: Screen, where: Where, source: OfSource = None) -> Result:
    """List the snapshots, oldest first."""
    repository = open_repository(where)
    history = repository.history()
    found = repository.snapshots_of(history, source=source)
    harmed = bool(history.lost_snapshots or history.unreadable_snapshots)
    columns = ("id", "time", "host", "source", "files", "size", "standing", "tags")
    rows = [
        (
            one.id[:12],
            time_text(one.finished),
            one.host,
            one.source,
            f"{one.files:,}",
            size_text(one.content_bytes),
            standing_text(one),
            ", ".join(one.tags),
        )
        for one in found
    ]
    lines = table(columns, rows, right=("files", "size")) if rows else []
    return Result(
        outcome="damaged" if harmed else "ok",
        status=ExitStatus.DAMAGE if harmed else ExitStatus.OK,
        report={
            "snapshots": found,
            "gone": sorted(history.lost_snapshots),
            "unreadable": sorted(history.unreadable_snapshots),
        },
        listing=() if screen.as_json else lines,
        summary="" if rows else _none(source, harmed=harmed),
    )


def _none(source: str | None, *, harmed: bool) -> str:
    left = "left" if harmed else "yet"
    return f"there is no snapshot {left}" if source is None else f"no snapshot of {one_line(source)} {left}"


def standing_text(snapshot: Snapshot) -> str:
    """How far it is to be trusted."""
    level = f" ({snapshot.verified_level})" if snapshot.verified_level else ""
    failed = ", drill failed" if snapshot.drill_failed else ""
    return ("SUSPECT, " if snapshot.suspect else "") + str(snapshot.standing) + level + failed


def time_text(instant: datetime) -> str:
    """An instant with its offset, which is always that of UTC: `2026-03-29 00:30:00+00:00`."""
    return instant.strftime("%Y-%m-%d %H:%M:%S+00:00")


def ls(
    screen: Screen,
    where: Where,
    snapshot: SnapshotArgument = "latest",
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="Only this, and what is in it.", show_default=False)
    ] = None,
    long: Annotated[bool, typer.Option("-l", "--long", help="Also mode, owner, size and time.")] = False,
    source: OfSource = None,
) -> Result:
    """List what is in a snapshot."""
    chosen = open_repository(where).snapshot(snapshot, source=source)
    entries = (entry for entry in chosen.walk(path) if entry.path)
    if screen.as_json:
        return Result(outcome="ok", report={"snapshot": chosen, "entries": [described(entry) for entry in entries]})
    return Result(outcome="ok", listing=_long(entries) if long else (printable(entry.path) for entry in entries))


def _long(entries: Iterator[Entry]) -> Iterator[str]:
    for entry in entries:
        target = f" -> {printable(entry.target)}" if entry.target is not None else ""
        moment = _moment(entry)
        yield (
            f"{stat.filemode(_TYPES[entry.kind] | stat.S_IMODE(entry.mode))} {entry.uid:>5} {entry.gid:>5} "
            f"{entry.size:>14,} {time_text(moment) if moment else '?':<25} {printable(entry.path)}{target}"
        )


def _moment(entry: Entry) -> datetime | None:
    """When it was last changed; None where no calendar reaches."""
    from safebackup.instants import from_nanoseconds

    try:
        return from_nanoseconds(entry.mtime_ns)
    except ConfigurationError:
        return None


def described(entry: Entry) -> dict[str, object]:
    """An entry for JSON; a name that is no text is told a second time, byte for byte."""
    from safebackup.format.manifest import EntryKind

    fields: dict[str, object] = {
        **raw_name("path", entry.path),
        "kind": EntryKind(entry.kind).name.lower(),
        "mode": f"{stat.S_IMODE(entry.mode):04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime": plain(_moment(entry)),
        "mtime_ns": entry.mtime_ns,
    }
    if entry.target is not None:
        fields |= raw_name("target", entry.target)
    return fields


def raw_name(field: str, name: bytes) -> dict[str, str]:
    """A raw name as text, and where that is not the whole truth also in base64."""
    text = printable(name)
    fields = {field: text}
    if text.encode() != name:
        fields[f"{field}_base64"] = base64.b64encode(name).decode("ascii")
    return fields
