"""Placing what is restored to a URL; does for it what `Placer` does for a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from safebackup.errors import Code, ConflictError, StorageError
from safebackup.findings import Finding, Severity, printable
from safebackup.format.manifest import Entry, path_key
from safebackup.recovery.metadata import Owner, Shortfalls
from safebackup.recovery.placing import Buffer, Report
from safebackup.recovery.target import Overwrite
from safebackup.recovery.url_target import Spool, UrlTarget
from safebackup.storage.places import RemoteFile

_FILES_ALONE = "a URL holds files and their content alone"


class UrlPlacer:
    """Creates objects; all threads of a restore share it.

    Where a path cannot be placed, that is reported as a finding and the answer is False; the others go on.
    """

    def __init__(self, target: UrlTarget, *, overwrite: Overwrite, report: Report, shortfalls: Shortfalls) -> None:
        self._target = target
        self._overwrite = overwrite
        self._report = report
        self._shortfalls = shortfalls
        self._empty: set[bytes] = set()  # folders in which nothing was met yet
        self._told: set[bytes] = set()  # files of which a finding tells

    def close(self) -> None:
        """Nothing: the target is closed by who opened it."""

    def make_directory(self, entry: Entry) -> bool:
        """Take note of a folder; there is nothing to make."""
        self._meet(entry)
        if entry.path:
            self._empty.add(entry.path)
        return True

    def finish_directory(self, entry: Entry, _owner: Owner) -> bool:
        """Count it if nothing lay in it."""
        if entry.path in self._empty:
            self._empty.discard(entry.path)
            self._lacks("empty folders", entry)
        return True

    def place_file(self, entry: Entry, pieces: Sequence[Buffer], _owner: Owner) -> bool:
        """Create an object of these bytes, already checked; False where one was kept or it could not be placed.

        Raises:
            StorageError: the store failed.
        """
        name = self._free_name(entry)
        if name is None:
            return False
        data = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces)).cast("B")
        return self._settle(entry, lambda: self._target.put(name, data, replace=self._replaces))

    def open_file(self, entry: Entry) -> UrlFile | None:
        """A large file to be written in pieces; None where it is kept or cannot be placed."""
        name = self._free_name(entry)
        return None if name is None else UrlFile(self, entry, name)

    def place_spooled(self, entry: Entry, name: str, spool: Spool) -> bool:
        """Create an object of a file that was put together."""
        return self._settle(
            entry,
            lambda: self._target.put_file(name, spool.fd, entry.size, spool.path, replace=self._replaces),
        )

    def place_symlink(self, entry: Entry, _owner: Owner) -> bool:
        """Count it: no URL holds links."""
        self._meet(entry)
        self._lacks("symbolic links", entry)
        return False

    def place_special(self, entry: Entry, _owner: Owner) -> bool:
        """Count it: no URL holds devices."""
        self._meet(entry)
        self._lacks("fifos and devices", entry)
        return False

    def place_hard_link(self, entry: Entry, _existing_path: bytes) -> bool:
        """Count it; it becomes an object of its own."""
        self._lacks("hard links (now copies)", entry)
        return False

    def confirm(self, files: Iterable[Entry]) -> None:
        """List the target, and report what is not there with its size; `files` are all that were to be placed."""
        listing = self._target.listing()
        try:
            found = iter(listing)
            current = next(found, None)
            for entry in files:
                while current is not None and _comes_before(current, entry):
                    current = next(found, None)
                if entry.path in self._told:
                    continue
                if current is None or current.path.encode("utf-8", "surrogateescape") != entry.path:
                    self._not_restored(entry, "it was written, and the target does not list it")
                elif current.size_bytes != entry.size:
                    self._not_restored(
                        entry, f"the target lists it with {current.size_bytes} bytes instead of {entry.size}"
                    )
        finally:
            listing.close()

    @property
    def _replaces(self) -> bool:
        return self._overwrite is Overwrite.REPLACE

    def _free_name(self, entry: Entry) -> str | None:
        """The name of the object to make; None, with a finding, if there can be none or what has it is kept."""
        self._meet(entry)
        try:
            name = entry.path.decode("utf-8")
        except UnicodeDecodeError:
            self._not_restored(entry, "its name is not UTF-8, and names of objects are")
            return None
        if self._overwrite is not Overwrite.KEEP or (size := self._target.size_of(name)) is None:
            return name
        self._told.add(entry.path)
        if size == entry.size:
            self._find(entry, Code.PATH_KEPT, Severity.INFO, "was there with the same size and was kept")
        else:
            self._find(
                entry,
                Code.PATH_KEPT,
                Severity.ERROR,
                f"was there and was kept, but it has {size} bytes, and in the snapshot {entry.size}",
                "Restore this path to another name and compare, or replace it.",
            )
        return None

    def _settle(self, entry: Entry, act: Callable[[], None]) -> bool:
        try:
            act()
        except ConflictError:
            return self._not_restored(
                entry, "the name appeared during the restore: somebody else writes here, or two names are the same here"
            )
        except StorageError as error:
            if error.retryable or error.code is not Code.STORE_FAILED:
                raise
            return self._not_restored(entry, error.message)  # of this name, or of this size
        self._lacks("permissions, owners and times", entry)
        if entry.xattrs:
            self._lacks("extended attributes", entry)
        return True

    def _meet(self, entry: Entry) -> None:
        self._empty.discard(entry.path.rpartition(b"/")[0])

    def _lacks(self, aspect: str, entry: Entry) -> None:
        self._shortfalls.add(Code.NOT_HELD, aspect, _FILES_ALONE, entry.path)

    def _not_restored(self, entry: Entry, why: str) -> bool:
        self._told.add(entry.path)
        self._find(
            entry,
            Code.PATH_NOT_RESTORED,
            Severity.ERROR,
            f"not restored: {why}",
            "Restore this path to a folder, or to another URL.",
        )
        return False

    def _find(self, entry: Entry, code: Code, severity: Severity, what: str, action: str = "") -> None:
        self._report(Finding(code=code, severity=severity, what=what, action=action, subject=printable(entry.path)))


class UrlFile:
    """A large file on its way to a URL; use it in a `with` statement, after which nothing of it is left here."""

    def __init__(self, placer: UrlPlacer, entry: Entry, name: str) -> None:
        self._placer = placer
        self._entry = entry
        self._name = name
        self._spool = Spool(entry.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spool.close()

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write `data` at `offset`; what is never written stays zero."""
        self._spool.write_at(offset, data)

    def finish(self, _owner: Owner) -> bool:
        """Let it appear; False where it could not be placed after all."""
        return self._placer.place_spooled(self._entry, self._name, self._spool)


def _comes_before(file: RemoteFile, entry: Entry) -> bool:
    place, wanted = path_key(file.path.encode("utf-8", "surrogateescape")), path_key(entry.path)
    return place < wanted or (place == wanted and file.is_folder)
