"""Stores that are broken in one way each, so that the checks of stores can be seen to notice.

They are local folders at heart. Another process opens one with `opened`, by name, as a store of a user's own would be.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
from safebackup.storage import DeleteStore, LocalStore, ObjectInfo
from safebackup.storage.conformance.subject import Address, Recipe, Subject
from safebackup.storage.names import require_object_name, require_prefix

Data = bytes | bytearray | memoryview


def opened(root: str, fault: str) -> DeleteStore:
    """The folder at `root`, made if need be, with a fault."""
    Path(root).mkdir(exist_ok=True)
    return FAULTS[fault](root)


def subject(root: Path, fault: str, *, folder: str = "") -> Subject:
    """What is tested: such a store."""
    return Subject(
        url=str(root),
        open=lambda: opened(str(root), fault),
        folder=folder,
        recipe=Recipe("tests.storage.broken:opened", {"root": str(root), "fault": fault}),
        unreachable=lambda: FAULTS[fault](root / "nothing" / "here"),
        address=None if folder else Address(url=str(root), options={}),
    )


class Whole(LocalStore):
    """Nothing is wrong with it; so nothing may be found."""


class KeepsOnDelete(LocalStore):
    def delete(self, name: str) -> None:
        require_object_name(name)


class DeletesLoudly(LocalStore):
    def delete(self, name: str) -> None:
        self.get(name)
        super().delete(name)


class DeletesTooMuch(LocalStore):
    def delete(self, name: str) -> None:
        for info in self.list(f"{name.rpartition('/')[0]}/"):
            super().delete(info.name)


class NeverDeletes(LocalStore):
    """What its credentials may not do: no fault, and nothing that it holds can be removed."""

    def delete(self, name: str) -> None:
        require_object_name(name)
        raise StorageError(f"removing {name}: not permitted", code=Code.STORE_DENIED)


class CutsAtBoundaries(LocalStore):
    """As a package for object stores really did."""

    def put_new(self, name: str, data: Data) -> None:
        super().put_new(name, bytes(data).partition(b"\n--==0==--")[0])


class RefusesEmpty(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        if not memoryview(data).nbytes:
            raise StorageError(f"{name} is empty")
        super().put_new(name, data)


class RefusesLarge(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        if memoryview(data).nbytes > 33 << 20:
            raise StorageError(f"{name} is too large")
        super().put_new(name, data)


class MissingIsEmpty(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start=start, length=length)
        except NotFoundError:
            return b""


class MissingIsUnreachable(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start=start, length=length)
        except NotFoundError as error:
            raise StorageError("something went wrong") from error


class MissingIsForeign(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start=start, length=length)
        except NotFoundError as error:
            raise FileNotFoundError(name) from error


class IgnoresRanges(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return super().get(name)


class ShortReads(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(name)[start:]
        return data if length is None else data[:length]


class Overwrites(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        require_object_name(name)
        path = Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / f".{threading.get_ident()}-{os.getpid()}"
        new.write_bytes(data)
        new.replace(path)


class KeepsSilently(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        try:
            super().put_new(name, data)
        except ConflictError:
            return


class AnyName(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        super().put_new(name.lower().replace(" ", "-"), data)


class FoldsCase(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return super().get(name.lower(), start=start, length=length)


class LosesLongNames(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        super().put_new("/".join(part[:100] for part in name.split("/")), data)


class RemembersLists(LocalStore):
    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self._listed: dict[str, list[ObjectInfo]] = {}

    def list(self, prefix: str) -> list[ObjectInfo]:
        if prefix not in self._listed:
            self._listed[prefix] = super().list(prefix)
        return self._listed[prefix]


class OnePage(LocalStore):
    def list(self, prefix: str) -> list[ObjectInfo]:
        return super().list(prefix)[:1000]


class Unsorted(LocalStore):
    def list(self, prefix: str) -> list[ObjectInfo]:
        return super().list(prefix)[::-1]


class PrefixIsText(LocalStore):
    """`a/` is asked for, and `a-b` is listed with it."""

    def list(self, prefix: str) -> list[ObjectInfo]:
        require_prefix(prefix)
        start = prefix[:-1]
        return [info for info in super().list("") if info.name.startswith(start)]


class MixesThreads(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        self._wanted = name
        time.sleep(0.002)
        return super().get(self._wanted, start=start, length=length)


class OwnToEachProcess(LocalStore):
    def __init__(self, root: str | os.PathLike[str]) -> None:
        own = Path(root, f"of-{os.getpid()}")
        own.mkdir(exist_ok=True)
        super().__init__(own)


class NoForks(LocalStore):
    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self._process = os.getpid()

    def put_new(self, name: str, data: Data) -> None:
        if os.getpid() != self._process:
            raise RuntimeError("this handle belongs to another process")
        super().put_new(name, data)


class HangsAfterForks(NoForks):
    def put_new(self, name: str, data: Data) -> None:
        if os.getpid() != self._process:
            time.sleep(1000)
        super().put_new(name, data)


class ForkEndsParent(LocalStore):
    """The child closes the session that its parent uses: a file stands for it."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self._process = os.getpid()
        self._session = Path(root).parent / f"session-{self._process}"
        self._session.touch()

    def put_new(self, name: str, data: Data) -> None:
        if os.getpid() != self._process:
            self._session.unlink(missing_ok=True)
        elif not self._session.exists():
            raise StorageError("the session was closed")
        super().put_new(name, data)


_one_at_a_time = threading.Lock()


class ConflictsWithTheSame(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        require_object_name(name)
        with _one_at_a_time:
            if Path(self.root, name).exists():
                raise ConflictError(f"{name} is there")
            super().put_new(name, data)


class LooksThenWrites(LocalStore):
    """Exclusive for whoever comes later, and not for those who come at once: allowed, and to be told."""

    def put_new(self, name: str, data: Data) -> None:
        require_object_name(name)
        path = Path(self.root, name)
        if path.exists():
            super().put_new(name, data)
            return
        time.sleep(0.002)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.parent / f".{threading.get_ident()}-{os.getpid()}"
        new.write_bytes(data)
        new.replace(path)


class NobodyWins(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        super().put_new(name, data)
        if "race" in name:
            raise ConflictError(f"{name} is there")


class WritesInPlace(LocalStore):
    """Without a temporary; the first half can be seen for a moment, and stays if its writer dies.

    Other processes take far longer than it was measured in this one: whenever one is killed, it is in the middle.
    """

    is_another_process = "pytest" not in sys.modules

    def put_new(self, name: str, data: Data) -> None:
        require_object_name(name)
        path = Path(self.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        view = memoryview(data).cast("B")
        with path.open("r+b" if path.exists() else "wb") as file:
            for start in range(0, len(view), piece := max(len(view) // 8, 1)):
                file.write(view[start : start + piece])
                file.flush()
                time.sleep(0.5 if self.is_another_process and len(view) >= 1 << 20 else 0.01)


class EmptyWhenGone(LocalStore):
    def list(self, prefix: str) -> list[ObjectInfo]:
        try:
            return super().list(prefix)
        except StorageError:
            return []


class MissingWhenGone(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start=start, length=length)
        except StorageError as error:
            raise NotFoundError(name) from error


class LivesInThePast(LocalStore):
    def put_new(self, name: str, data: Data) -> None:
        super().put_new(name, data)
        os.utime(Path(self.root, name), (0, time.time() - 600))


class Hangs(LocalStore):
    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        time.sleep(1000)
        return b""


class HangsWhenListed(LocalStore):
    def list(self, prefix: str) -> list[ObjectInfo]:
        time.sleep(1000)
        return []


class Fails(LocalStore):
    """The network is away for now."""

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        raise StorageError("no answer", retryable=True)


class Full(LocalStore):
    """No space is left there, which is no fault of a store."""

    def put_new(self, name: str, data: Data) -> None:
        raise StorageError(f"storing {name}: no space left", code=Code.STORE_FULL)


class ListsWhatIsGone(LocalStore):
    """What was deleted stays in its lists, as some servers do it with what several have written at once."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        self.gone: set[ObjectInfo] = set()

    def list(self, prefix: str) -> list[ObjectInfo]:
        shown = (info for info in self.gone if info.name.startswith(prefix))
        return sorted({*super().list(prefix), *shown}, key=lambda info: info.name)

    def delete(self, name: str) -> None:
        self.gone.update(info for info in super().list("") if info.name == name)
        super().delete(name)


FAULTS: dict[str, Callable[[str | os.PathLike[str]], DeleteStore]] = {
    found.__name__: found
    for found in list(globals().values())
    if isinstance(found, type) and issubclass(found, LocalStore)
}
