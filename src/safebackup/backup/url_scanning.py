"""The scan of a URL: every file and folder below it, in manifest order, each once.

Object stores have no folders, only names with slashes; folders are what leads to a file, and what an empty object
with a slash at its end marks. A name that cannot be a path is a finding, and the snapshot is incomplete.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import pairwise

import attrs

from safebackup.backup.own_repository import own_repository
from safebackup.backup.scanning import Found
from safebackup.backup.url_source import UrlSource
from safebackup.errors import Code, RefusedError
from safebackup.findings import Finding, Severity, printable
from safebackup.storage.places import Listing, Place, RemoteFile

_FILE_MODE = stat.S_IFREG | 0o600
_FOLDER_MODE = stat.S_IFDIR | 0o700
_END = RemoteFile("", None)


@attrs.define
class Proofs:
    """By what the next backup will tell that files have not changed: how many of each kind."""

    tagged: int = 0
    timed: int = 0
    unproven: int = 0

    def count(self, file: RemoteFile) -> None:
        """The next file."""
        if file.size_bytes is not None and file.tag:
            self.tagged += 1
        elif file.size_bytes is not None and file.modified is not None:
            self.timed += 1
        else:
            self.unproven += 1


class UrlScan:
    """One pass over a place; as `Scan` is one over folders."""

    def __init__(self, source: UrlSource, place: Place, *, own: str = "") -> None:
        self.source = source
        self.findings: list[Finding] = []
        self.excluded: dict[str, int] = {}
        self.proofs = Proofs()
        self._own = own  # a name that only the repository itself holds
        self._place = place
        self._rules = source.rules()
        self._owner = (os.getuid(), os.getgid())
        self._finished = False

    @property
    def complete(self) -> bool:
        """Whether the scan came to its end and saw everything that no rule leaves out (I10)."""
        return self._finished and all(finding.severity is not Severity.ERROR for finding in self.findings)

    def is_in_place(self) -> bool:
        """Whether what is gone was deleted: a place that is gone itself is an error, and ends the run."""
        return True

    def __iter__(self) -> Iterator[Found]:
        listing = self._place.listing()
        try:
            if not listing.count and not listing.left_out_total and not self.source.allow_empty:
                raise RefusedError(
                    f"nothing lies below {self._place.where}; nothing was backed up",
                    code=Code.EMPTY_SOURCE,
                    hint="Check its spelling; of one object name the folder, and include the object alone. "
                    "If it is meant to be empty, say so with allow_empty=True.",
                )
            self._report_left_out(listing)
            if not self._place.file_name:
                yield self._folder("")
            yield from self._walk(listing)
        finally:
            listing.close()
        self._finished = True

    def _walk(self, listing: Listing) -> Iterator[Found]:
        above: list[str] = []  # the folders that lead to the last path, the nearest last
        closed = ""  # a folder that a rule leaves out
        for file, following in pairwise(_with_end(listing)):
            path = file.path
            if closed and path.startswith(closed):
                continue
            while above and not path.startswith(above[-1]):
                above.pop()
            for folder in _folders_to(path, is_folder=file.is_folder, known=len(above[-1]) if above else 0):
                if self._is_excluded(folder, is_folder=True):
                    closed = folder + "/"
                    break
                above.append(folder + "/")
                yield self._folder(folder)
            else:
                if not file.is_folder and not self._is_excluded(path, size_bytes=file.size_bytes):
                    yield from self._taken(file, following)

    def _taken(self, file: RemoteFile, following: RemoteFile) -> Iterator[Found]:
        if self._own and ("/" + file.path).endswith("/" + self._own):
            raise own_repository(self._place.where, file.path.removesuffix(self._own))
        is_folder_too = following.path == file.path or following.path.startswith(file.path + "/")
        if is_folder_too and self._verdict(file.path, is_folder=True) is None:
            self._miss(Code.PATH_UNFIT, file.path, "is an object and a folder too, and a path can be only one of them")
            return
        self.proofs.count(file)
        size = file.size_bytes if file.size_bytes is not None else -1
        yield Found(_raw(file.path), _raw(file.path), status_of(file, _FILE_MODE, self._owner, size))

    def _folder(self, path: str) -> Found:
        return Found(_raw(path), _raw(path), status_of(RemoteFile(path, 0), _FOLDER_MODE, self._owner, 0))

    def _is_excluded(self, path: str, *, is_folder: bool = False, size_bytes: int | None = None) -> bool:
        rule = self._verdict(path, is_folder=is_folder)
        limit = self.source.larger_than
        if rule is None and limit is not None and (size_bytes or 0) > limit:
            rule = f"larger than {limit} bytes"
        if rule is None:
            return False
        self.excluded[rule] = self.excluded.get(rule, 0) + 1
        return True

    def _verdict(self, path: str, *, is_folder: bool) -> str | None:
        return self._rules.verdict(_raw(path), is_dir=is_folder) if self._rules.exist else None

    def _report_left_out(self, listing: Listing) -> None:
        for one in listing.left_out:
            if rule := self._rule_about(one.path):
                self.excluded[rule] = self.excluded.get(rule, 0) + 1
            elif one.is_unfit:
                self._miss(Code.PATH_UNFIT, one.path, f"cannot be a path in a snapshot: {one.why}")
            else:
                self._miss(Code.PATH_UNREADABLE, one.path, f"could not be examined: {one.why}")
        if more := listing.left_out_total - len(listing.left_out):
            self._miss(Code.PATH_UNFIT, "", f"holds {more:,} more names that cannot be taken")

    def _rule_about(self, name: str) -> str | None:
        """The rule that leaves out a name which is no path, read without what makes it none."""
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        path = "/".join(parts)
        for folder in _folders_to(path, is_folder=False, known=0):
            if rule := self._verdict(folder, is_folder=True):
                return rule
        return self._verdict(path, is_folder=False) if path else None

    def _miss(self, code: Code, path: str, what: str) -> None:
        subject = printable(path.encode("utf-8", "surrogatepass")) or self._place.where
        self.findings.append(
            Finding(
                code=code,
                severity=Severity.ERROR,
                what=f'"{subject}" {what}; it is not in this snapshot',
                action="Rename it there, or copy it by other means."
                if code is Code.PATH_UNFIT
                else "Let the user of the backup read it, or exclude it on purpose.",
                subject=subject,
            )
        )


def status_of(file: RemoteFile, mode: int, owner: tuple[int, int], size: int) -> os.stat_result:
    """What a listing says, in the form in which the pipeline compares it with the last backup (decision 0013).

    The tag stands where the inode number does, the time of the last change in both times; a folder has none.
    """
    modified = file.modified or 0
    seconds = modified // 1_000_000_000
    numbers = (mode, file.tag, 0, 1, *owner, size, 0, seconds, seconds)
    return os.stat_result(numbers, {"st_mtime_ns": modified, "st_ctime_ns": modified})


def _with_end(listing: Listing) -> Iterator[RemoteFile]:
    yield from listing
    yield _END


def _folders_to(path: str, *, is_folder: bool, known: int) -> Iterator[str]:
    """The folders that lead to a path, and it itself if it is one, without those up to the length `known`."""
    cut = path.find("/", known)
    while cut >= 0:
        yield path[:cut]
        cut = path.find("/", cut + 1)
    if is_folder:
        yield path


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
