"""File systems as strangers write them for fsspec: one with folders, one without, and what may be wrong with them."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from fsspec import register_implementation
from fsspec.spec import AbstractFileSystem


class DiskFiles(AbstractFileSystem):  # type: ignore[misc]
    """Folders and files below `base`. `fault` is what is wrong with it, and `faults_left` how often it shows."""

    protocol = "strangedisk"
    faults_left: ClassVar[int] = 1 << 30

    def __init__(self, base: str, fault: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.base = Path(base)
        self.fault = fault
        self._maker = threading.get_ident()
        if fault == "does not open":
            raise ConnectionRefusedError("nobody listens")

    def at(self, path: str) -> Path:
        if self._maker != threading.get_ident():
            raise RuntimeError("used by two threads")
        return self.base / str(self._strip_protocol(path))

    def strikes(self, fault: str, path: str = "") -> bool:
        if self.fault != fault or DiskFiles.faults_left <= 0 or not path.endswith(("packs", "one", "")):
            return False
        DiskFiles.faults_left -= 1
        return True

    def facts(self, path: str) -> dict[str, Any]:
        where = self.at(path)
        status = where.stat()
        return {"name": path, "size": status.st_size, "type": "directory" if where.is_dir() else "file"}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        self.meet(path)
        if self.strikes("never has anything"):
            raise FileNotFoundError(path)
        if path.endswith("/one") and self.strikes("misses what it lists"):
            raise FileNotFoundError(path)
        facts = self.facts(path)
        if facts["type"] == "file" and self.strikes("knows no sizes"):
            facts["size"] = None
        return facts

    def meet(self, path: str) -> None:
        """Raise or wait where every request would."""
        if self.strikes("is away"):
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        if self.strikes("says not found when away"):
            raise FileNotFoundError(path)
        if self.strikes("denies"):
            raise PermissionError(errno.EACCES, path)
        if self.strikes("is odd"):
            raise KeyError("'Contents'")
        if self.strikes("hangs"):
            time.sleep(60)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        assert options == {"refresh": True}
        path = self._strip_protocol(path)
        self.meet(path)
        if path.endswith("packs") and self.strikes("denies a folder that it lists"):
            raise FileNotFoundError(path)
        if path.endswith("packs") and self.strikes("fails in a folder"):
            raise OSError(errno.EIO, path)
        if not self.at(path).is_dir() and self.fault == "lists no files as folders":
            raise NotADirectoryError(errno.ENOTDIR, path)
        if not self.at(path).is_dir():
            return [self.facts(path)]
        listed = [self.facts(f"{path}/{name}" if path else name) for name in sorted(os.listdir(self.at(path)))]
        for facts in listed:
            if self.fault == "lists others":
                facts["name"] = f"elsewhere/{facts['name']}"
            if self.fault == "lists what is neither" and facts["type"] == "file":
                facts["type"] = "other"
            if self.fault == "lists no sizes" and facts["type"] == "file":
                facts["size"] = None
            if self.fault == "lists with slashes":
                facts["name"] = f"/{facts['name']}" + ("/" if facts["type"] == "directory" else "")
        return listed if detail else [each["name"] for each in listed]

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.at(path).mkdir(parents=True, exist_ok=exist_ok)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        where = self.at(path)
        self.meet(path)
        if value and self.strikes("keeps too little"):
            value = value[:-1]
        if value and self.strikes("keeps something else"):
            value = value[:-1] + bytes([value[-1] ^ 1])
        if self.strikes("breaks while writing"):
            where.write_bytes(value[: len(value) // 2])
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        if self.strikes("is full"):
            raise OSError(errno.ENOSPC, "no space left")
        if self.strikes("only reads"):
            raise NotImplementedError
        with where.open("wb") as file:
            file.write(value)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        data = self.at(path).read_bytes()
        if self.strikes("cuts downloads"):
            return data[start:end][:-1]
        if self.fault == "ignores ranges":
            return data
        if self.fault == "counts ranges inclusively":
            return data[start : end + 1 if end is not None else None]
        return data[start:end]

    def rm_file(self, path: str) -> None:
        if not self.strikes("keeps what is removed"):
            self.at(path).unlink()


class FlatFiles(DiskFiles):
    """Names without folders, as object stores have them: a folder is what some name begins with."""

    protocol = "strangeflat"

    def at(self, path: str) -> Path:
        self.base.mkdir(exist_ok=True)
        return self.base / quote(self._strip_protocol(path), safe="")

    def facts(self, path: str) -> dict[str, Any]:
        if self.at(path).exists():
            return {"name": path, "size": self.at(path).stat().st_size, "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.names()):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def names(self) -> list[str]:
        self.base.mkdir(exist_ok=True)
        return [unquote(name) for name in os.listdir(self.base)]

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        below = f"{path}/" if path else ""
        found = {below + name[len(below) :].split("/")[0] for name in self.names() if name.startswith(below)}
        if not found and path:
            return [self.facts(path)]
        return [facts for name in sorted(found) if (facts := self.facts_or_none(name))]

    def facts_or_none(self, path: str) -> dict[str, Any] | None:
        try:
            return self.facts(path)
        except FileNotFoundError:  # removed by another meanwhile
            return None

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass


def register() -> None:
    for kind in (DiskFiles, FlatFiles):
        register_implementation(kind.protocol, kind, clobber=True)
