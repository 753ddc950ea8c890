"""The door: what may be compared with what, and the arguments of a comparison."""

from __future__ import annotations

import os
import re
import stat
from contextlib import ExitStack
from datetime import datetime
from typing import TypeAlias

from safebackup.comparing.reading import Node
from safebackup.comparing.report import TreeComparison
from safebackup.comparing.walking import Options, Walk
from safebackup.errors import Code, ConfigurationError, NotFoundError, RefusedError, StorageError
from safebackup.findings import AT_HOME, printable, starts_at_home

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# The kernel stamps files with the time of its last tick, which is up to this much behind the time that a clock tells.
_TICK = 10_000_000
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]+://")


def compare_trees(
    expected: AnyPath,
    restored: AnyPath,
    *,
    since: datetime | None = None,
    content: bool = True,
    metadata: bool = True,
    owners: bool = True,
    allow_empty: bool = False,
) -> TreeComparison:
    """Whether a restored folder or file is what it should be: the same paths, content and metadata.

    Both sides are read, every byte of every file unless `content` is false; nothing is written. Compared are the sets
    of paths, kinds, sizes, link targets and device numbers; with `metadata` also modes, modification times, extended
    attributes, which names are hard links of one file and, with `owners`, user and group.

    With `since`, the moment at which the backup began, what was made, changed or deleted on the expected side at or
    after it is reported apart, in `drifted`. What changed is told by ctime, which no program can set.

    Two empty folders are the same with `allow_empty` only: an empty one is what a disk that is not mounted looks like.

    Raises:
        ConfigurationError: an argument makes no sense, or `since` is without a time zone.
        NotFoundError: one of the two does not exist.
        RefusedError: both are the same folder or file.
        StorageError: one of the two cannot be reached.
    """
    threshold = None if since is None else _threshold(since)
    walk = Walk(Options(since=threshold, content=content, metadata=metadata, owners=owners))
    with ExitStack() as opened:
        left = _root(expected, "expected", opened)
        right = _root(restored, "restored", opened)
        _refuse_unfit(left, right)
        walk.run(left, right)
    return walk.tally.result(empty_is_fine=allow_empty and walk.both_empty, scope=_scope(walk.options))


def _threshold(since: datetime) -> int:
    if not isinstance(since, datetime):
        raise ConfigurationError(
            f"since is {since!r}, which is no date-time",
            hint="Give the moment at which the backup began: snapshot.started.",
        )
    from safebackup.instants import require_instant, to_nanoseconds

    return to_nanoseconds(require_instant(since, name="since")) - _TICK


def _root(path: AnyPath, side: str, opened: ExitStack) -> Node:
    raw = _raw(path, side)
    try:
        node = Node.at(raw, side)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f'{side}: there is no "{printable(raw)}"',
            code=Code.NO_PATH,
            hint="Check its spelling and whether its disk is mounted. Nothing was compared.",
        ) from error
    except OSError as error:
        raise StorageError.from_os(f'{side}: "{printable(raw)}"', error) from error
    opened.callback(node.close)
    return node


def _raw(path: AnyPath, side: str) -> bytes:
    try:
        raw = os.fsencode(path)
    except (TypeError, UnicodeEncodeError) as error:
        raise ConfigurationError(
            f"{side} is {path!r}, which is no path",
            hint="Paths are str, bytes or os.PathLike; compare them one by one.",
        ) from error
    if not raw or b"\0" in raw:
        raise ConfigurationError(
            f"{side} is {path!r}, which is no path", hint='Was a variable not set? For the current directory write ".".'
        )
    if starts_at_home(raw):
        raise ConfigurationError(f"{side} is {path!r}, and only a shell expands ~", hint=AT_HOME)
    if _URL.match(raw):
        raise ConfigurationError(
            f'{side} is the URL "{printable(raw)}": trees are compared in local folders',
            code=Code.BAD_URL,
            hint="Restore or mount it locally, and give that folder.",
        )
    return raw


def _refuse_unfit(expected: Node, restored: Node) -> None:
    for node in (expected, restored):
        if not node.is_folder and not stat.S_ISREG(node.status.st_mode):
            raise ConfigurationError(
                f"{node.side} is neither a folder nor a file", hint="Name the folder that holds it, or its parent."
            )
    if os.path.samestat(expected.status, restored.status):
        raise RefusedError(
            "expected and restored are one and the same, so that comparing them proves nothing",
            code=Code.ONE_AND_THE_SAME,
            hint="Restore to a folder of its own and compare with that.",
        )
    if not os.path.exists(b"/proc/self/fd"):
        raise ConfigurationError("/proc is not mounted, and nothing can be read without it", hint="Mount /proc.")


def _scope(options: Options) -> str:
    left_out = [
        what
        for what, is_in in (("content", options.content), ("metadata", options.metadata), ("owners", options.owners))
        if not is_in
    ]
    return f" Not compared: {', '.join(left_out)}." if left_out else ""
