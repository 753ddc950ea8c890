"""What a caller writes, as a path in a snapshot."""

from __future__ import annotations

import os

from safebackup.errors import Code, ConfigurationError, NotFoundError
from safebackup.findings import printable
from safebackup.format.records import SnapshotBody


def path_in_snapshot(path: object) -> bytes:
    """A path as manifests spell it: relative, without `.` and doubled or trailing slashes.

    Raises:
        ConfigurationError: it is no path, or leaves the snapshot by `..`.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise ConfigurationError(f"{path!r} is no path in a snapshot", hint="Paths are str, bytes or os.PathLike.")
    raw = os.fsencode(path)
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if b".." in parts or b"\0" in raw:
        raise ConfigurationError(
            f"{printable(raw)!r} is no path in a snapshot",
            hint="Write it relative to what was backed up, without '..': for /etc/hosts of a backup of /etc, 'hosts'.",
        )
    return b"/".join(parts)


def not_in_snapshot(path: bytes, snapshot: str, body: SnapshotBody) -> NotFoundError:
    """The error for a path that a snapshot does not have; it knows what people write instead."""
    hint = "Paths are relative to what was backed up: walk() lists them all."
    for name, root in body.roots:
        inside = root.strip(b"/") + b"/"
        if path.startswith(inside):
            meant = path.removeprefix(inside) if name == b"" else name + b"/" + path.removeprefix(inside)
            hint = f"The snapshot holds what was in {printable(root)}: write {printable(meant)!r}."
    return NotFoundError(f"{printable(path)!r} is not in snapshot {snapshot[:12]}", code=Code.NO_PATH, hint=hint)
