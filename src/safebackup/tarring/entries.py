"""Files, folders and links as entries of a tar, with what could not be read as findings."""

from __future__ import annotations

import errno
import grp
import hashlib
import io
import os
import pwd
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from safebackup.errors import Code
from safebackup.events import Progress
from safebackup.findings import Finding, Severity, printable
from safebackup.tarring.names import checksum_line, comment_line
from safebackup.tarring.spooling import Spool
from safebackup.tarring.temporaries import Temporary, failing, is_temporary

SMALL_BYTES = 8 << 20  # read at once, and again if it changed meanwhile
_TRIES = 3
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_COPY_BYTES = 1 << 20
_GONE = (errno.ENOENT, errno.ENXIO)
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)


class Entries:
    """The tar: what is added becomes an entry of it and, if it is a file, a line of the list of checksums."""

    def __init__(self, spool: Spool, listing: Temporary, progress: Progress) -> None:
        self.count = 0
        self.findings: list[Finding] = []
        self._listing = listing
        self._progress = progress
        # Two names of one file: where its content is, and the checksum of it.
        self._linked: dict[tuple[int, int], tuple[str, str]] = {}
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._tar = tarfile.TarFile(
            fileobj=cast(IO[bytes], spool),
            mode="w",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
            copybufsize=_COPY_BYTES,
        )

    def close(self) -> None:
        """Write the end of the tar."""
        self._tar.close()

    def add_content(self, name: str, content: IO[bytes], size: int, *, now: int) -> None:
        """A file that is not on a disk, for its owner alone."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.uid, info.gid = size, 0o600, os.getuid(), os.getgid()
        self._set_time(info, now)
        self._put_file(info, _Content(content, size))

    def add_tree(self, path: str, name: str) -> None:
        """A file, or a folder with everything beneath it, in the order of the names' bytes."""
        pending = [iter([(path, name)])]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            children = self._add(*found)
            if children:
                pending.append(_joined(*found, children))

    def _add(self, path: str, name: str) -> list[str]:
        """One entry; the names of what is in it."""
        with self._missing(path):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                self._add_file(path, name)
            elif stat.S_ISDIR(status.st_mode):
                return self._add_folder(path, name, status)
            elif not stat.S_ISSOCK(status.st_mode):  # a socket is nothing without the process behind it
                self._add_special(path, name, status)
        return []

    def _add_folder(self, path: str, name: str, status: os.stat_result) -> list[str]:
        info = self._info(name, status, path)
        info.type = tarfile.DIRTYPE
        self._put(info)
        try:
            return sorted((one for one in os.listdir(path) if not is_temporary(one)), key=os.fsencode)
        except OSError as error:
            self._missed(path, error, "could not be listed, so nothing in it is in the tar")
            return []

    def _add_special(self, path: str, name: str, status: os.stat_result) -> None:
        info = self._info(name, status, path)
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        elif stat.S_ISFIFO(status.st_mode):
            info.type = tarfile.FIFOTYPE
        else:
            info.type = tarfile.CHRTYPE if stat.S_ISCHR(status.st_mode) else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            first, _ = self._linked.setdefault(key, (name, ""))
            if first != name:
                info.type, info.linkname = tarfile.LNKTYPE, first
        self._put(info)

    def _add_file(self, path: str, name: str) -> None:
        with open(os.open(path, _READ), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENXIO, "it became something else")
            key = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and key in self._linked:
                self._add_hard_link(name, status, *self._linked[key])
                return
            digest = self._add_small(path, name, file) or self._add_large(path, name, file)
        if status.st_nlink > 1:
            self._linked[key] = (name, digest)

    def _add_hard_link(self, name: str, status: os.stat_result, first: str, digest: str) -> None:
        info = self._info(name, status, None)
        info.type, info.linkname = tarfile.LNKTYPE, first
        self._put(info)
        self._list(digest, name)

    def _add_small(self, path: str, name: str, file: IO[bytes]) -> str:
        """The checksum of a file that fits into memory, or "" if it does not fit."""
        read = _read_at_once(file)
        if read is None:
            return ""
        data, status, torn = read
        info = self._info(name, status, path)
        info.size = len(data)
        if torn:
            self._torn(path, name, "kept changing while it was read; the copy may mix its states")
        return self._put_file(info, _Content(io.BytesIO(data), len(data)))

    def _add_large(self, path: str, name: str, file: IO[bytes]) -> str:
        """Write as many bytes as the file has now: the size comes before the content."""
        file.seek(0)
        before = os.fstat(file.fileno())
        info = self._info(name, before, path)
        info.size = before.st_size
        content = _Content(file, before.st_size)
        digest = self._put_file(info, content, listed=False)
        if content.error is not None:
            self._missed(path, content.error, f"could be read up to byte {content.got} only; zeros stand for the rest")
            self._list_line(comment_line("unreadable", name))
            return digest
        if content.got < before.st_size:
            self._torn(path, name, f"was cut to {content.got} bytes while it was read; zeros stand for the rest")
        elif _changed(before, os.fstat(file.fileno())) or file.read(1):
            self._torn(path, name, "changed while it was read; the copy may mix its states")
        self._list(digest, name)
        return digest

    def _info(self, name: str, status: os.stat_result, path: str | None) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid = status.st_uid, status.st_gid
        info.uname, info.gname = self._user(status.st_uid), self._group(status.st_gid)
        self._set_time(info, status.st_mtime_ns)
        records: dict[str, str] = {}
        if path is not None:
            for key, value in self._attributes(path):
                records[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
        info.pax_headers = {**info.pax_headers, **records}
        return info

    def _set_time(self, info: tarfile.TarInfo, nanoseconds: int) -> None:
        info.mtime, rest = divmod(nanoseconds, 1_000_000_000)
        if rest:
            # As text: a float would lose the last digits. Before 1970 seconds and fraction count in one direction.
            sign, whole = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
            info.pax_headers = {
                **info.pax_headers,
                "mtime": f"{sign}{whole // 1_000_000_000}.{whole % 1_000_000_000:09d}",
            }

    def _attributes(self, path: str) -> list[tuple[str, bytes]]:
        try:
            names = os.listxattr(path, follow_symlinks=False)
            return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names)]
        except OSError as error:
            if error.errno not in (*_NO_ATTRIBUTES, errno.ENOENT):
                self._missed(path, error, "has attributes that could not be read", code=Code.METADATA_UNREADABLE)
            return []

    def _user(self, uid: int) -> str:
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = ""
        return self._users[uid]

    def _group(self, gid: int) -> str:
        if gid not in self._groups:
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._groups[gid] = ""
        return self._groups[gid]

    def _put(self, info: tarfile.TarInfo, content: _Content | None = None) -> None:
        self._tar.addfile(info, cast(IO[bytes], content) if content is not None else None)
        self._tar.getmembers().clear()  # they would be kept for a second look, and there may be millions
        self.count += 1

    def _put_file(self, info: tarfile.TarInfo, content: _Content, *, listed: bool = True) -> str:
        content.progress = self._progress
        self._put(info, content)
        digest = content.hash.hexdigest()
        if listed:
            self._list(digest, info.name)
        return digest

    def _list(self, digest: str, name: str) -> None:
        self._list_line(checksum_line(digest, name))

    def _list_line(self, line: bytes) -> None:
        with failing("writing the list of checksums"):
            self._listing.write(line)

    @contextmanager
    def _missing(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._missed(path, error, "is not in the tar")

    def _missed(self, path: str, error: OSError, what: str, *, code: Code = Code.PATH_UNREADABLE) -> None:
        gone = error.errno in _GONE and code is Code.PATH_UNREADABLE
        subject = printable(os.fsencode(path))
        self.findings.append(
            Finding(
                code=Code.PATH_VANISHED if gone else code,
                severity=Severity.WARNING if gone else Severity.ERROR,
                what=f'"{subject}" was there when it was found and is gone'
                if gone
                else f'"{subject}" {what}: {error.strerror} (errno {error.errno})',
                action="Nothing, if it is a temporary file." if gone else "Let the user of the backup read it.",
                subject=subject,
            )
        )

    def _torn(self, path: str, name: str, what: str) -> None:
        subject = printable(os.fsencode(path))
        self.findings.append(
            Finding(
                code=Code.PATH_TORN,
                severity=Severity.WARNING,
                what=f'"{subject}" {what}',
                action="Add it while nobody writes to it: from a file-system snapshot, or from a dump.",
                subject=subject,
            )
        )
        self._list_line(comment_line("torn", name))


class _Content:
    """Gives exactly `size` bytes, hashed: a tar has announced them already."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.hash = hashlib.sha256()
        self.got = 0
        self.error: OSError | None = None
        self.progress: Progress | None = None
        self._file = file
        self._left = size
        self._at_end = False

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        data = b"" if self._at_end else self._read(wanted)
        self._at_end = len(data) < wanted
        self.got += len(data)
        self._left -= wanted
        data = data.ljust(wanted, b"\0")
        self.hash.update(data)
        if self.progress is not None:
            self.progress.relative_update(wanted)
        return data

    def _read(self, wanted: int) -> bytes:
        try:
            return _read_up_to(self._file, wanted)
        except OSError as error:
            self.error = error
            return b""


def _read_at_once(file: IO[bytes]) -> tuple[bytes, os.stat_result, bool] | None:
    """Content and status, and whether they are of two states after all tries; None if it is too large."""
    tries = 0
    while True:
        file.seek(0)
        before = os.fstat(file.fileno())
        tries += 1
        if before.st_size > SMALL_BYTES:
            return None
        # One byte more than there should be shows what grows, and /proc has files of "0 bytes" with content.
        data = _read_up_to(file, before.st_size + 1 if tries < _TRIES else SMALL_BYTES + 1)
        if len(data) > SMALL_BYTES:
            return None
        after = os.fstat(file.fileno())
        torn = len(data) != after.st_size or _changed(before, after)
        if not torn or tries == _TRIES:
            return data, after, torn


def _read_up_to(file: IO[bytes], most: int) -> bytes:
    data = file.read(most)
    while len(data) < most and (more := file.read(most - len(data))):
        data += more
    return data


def _joined(path: str, name: str, children: list[str]) -> Iterator[tuple[str, str]]:
    return ((f"{path.rstrip('/')}/{child}", f"{name}/{child}") for child in children)


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
