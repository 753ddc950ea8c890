"""Files, folders and links as entries of a tar, with what could not be read as findings."""

from __future__ import annotations

import errno
import grp
import io
import os
import pwd
import stat
import tarfile
from typing import IO, TypeAlias, cast

from safebackup.errors import Code
from safebackup.events import Progress
from safebackup.findings import Finding, Severity, is_text, printable
from safebackup.tarring.contents import Content, changed, read_at_once
from safebackup.tarring.folders import Folder, first_lost, next_found, still_leads_to
from safebackup.tarring.names import checksum_line, comment_line
from safebackup.tarring.spooling import Spool
from safebackup.tarring.temporaries import Temporary, failing, is_temporary

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_COPY_BYTES = 1 << 20
_GONE = (errno.ENOENT, errno.ENXIO)
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)

# What makes two names one file. The number of a file that was deleted meanwhile may be another's: size and time tell.
_Link: TypeAlias = tuple[int, int, int, int, int]


class Entries:
    """The tar: what is added becomes an entry of it and, if it is a file, a line of the list of checksums."""

    def __init__(self, spool: Spool, listing: Temporary, progress: Progress) -> None:
        self.count = 0
        self.findings: list[Finding] = []
        self._listing = listing
        self._progress = progress
        # Two names of one file: where its content is, and the checksum of it.
        self._linked: dict[_Link, tuple[str, str]] = {}
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
        self._put_file(info, Content(content, size))

    def add_tree(self, path: str, name: str, status: os.stat_result) -> None:
        """A file, or a folder with everything beneath it, in the order of the names' bytes.

        `status` is what the path had when it was named: if it leads elsewhere at the end, something is missing.
        """
        folders: list[Folder] = []
        lost: set[str] = set()
        found: tuple[str, str] | None = (path, name)
        while found is not None:
            try:
                folder = self._add(*found)
            except OSError as error:
                folder = None
                if error.errno not in _GONE:
                    self._missed(found[0], error, "is not in the tar")
                elif (gone := self._vanished(found[0], folders)) is not None:
                    lost.add(gone)
            if folder is not None:
                folders.append(folder)
            found = next_found(folders)
        if path not in lost and not still_leads_to(path, status):
            self._lost(path)

    def _add(self, path: str, name: str) -> Folder | None:
        """One entry; if it is a folder, what is to be read in it."""
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode):
            self._add_file(path, name)
        elif stat.S_ISDIR(status.st_mode):
            return self._add_folder(path, name, status)
        elif not stat.S_ISSOCK(status.st_mode):  # a socket is nothing without the process behind it
            self._add_special(path, name, status)
        return None

    def _add_folder(self, path: str, name: str, status: os.stat_result) -> Folder | None:
        try:
            # What is listed is then what the entry tells of, even if another disk is mounted here meanwhile.
            at = os.open(path, _READ | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _GONE:
                raise
            self._put_folder(name, status, path)
            self._missed(path, error, "could not be listed, so nothing in it is in the tar")
            return None
        try:
            status = os.fstat(at)
            self._put_folder(name, status, path, at)
            children = [one for one in os.listdir(at) if not is_temporary(one)]
        except OSError as error:
            self._missed(path, error, "could not be listed, so nothing in it is in the tar")
            return None
        finally:
            os.close(at)
        return Folder.listed(path, name, status, children)

    def _put_folder(self, name: str, status: os.stat_result, path: str, at: int | None = None) -> None:
        info = self._info(name, status, path, at)
        info.type = tarfile.DIRTYPE
        self._put(info)

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
            key = _link(status)
            first, _ = self._linked.setdefault(key, (name, ""))
            if first != name:
                info.type, info.linkname = tarfile.LNKTYPE, first
        self._put(info)

    def _add_file(self, path: str, name: str) -> None:
        with open(os.open(path, _READ), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENXIO, "it became something else")
            key = _link(status)
            if status.st_nlink > 1 and key in self._linked:
                self._add_hard_link(name, status, *self._linked[key])
                return
            digest = self._add_small(path, name, file) or self._add_large(path, name, file)
        if status.st_nlink > 1 and digest:  # what is not whole is read again under its next name
            self._linked[key] = (name, digest)

    def _add_hard_link(self, name: str, status: os.stat_result, first: str, digest: str) -> None:
        info = self._info(name, status, None)
        info.type, info.linkname = tarfile.LNKTYPE, first
        self._put(info)
        self._list(digest, name)

    def _add_small(self, path: str, name: str, file: IO[bytes]) -> str:
        """The checksum of a file that fits into memory, or "" if it does not fit."""
        read = read_at_once(file)
        if read is None:
            return ""
        data, status, torn = read
        info = self._info(name, status, path, file.fileno())
        info.size = len(data)
        if torn:
            self._torn(path, name, "kept changing while it was read; the copy may mix its states")
        return self._put_file(info, Content(io.BytesIO(data), len(data)))

    def _add_large(self, path: str, name: str, file: IO[bytes]) -> str:
        """Write as many bytes as the file has now: the size comes before the content. The checksum, "" if cut short."""
        file.seek(0)
        before = os.fstat(file.fileno())
        info = self._info(name, before, path, file.fileno())
        info.size = before.st_size
        content = Content(file, before.st_size)
        digest = self._put_file(info, content, listed=False)
        if content.error is not None:
            what = f"could be read up to byte {content.got} only; zeros stand for the rest"
            self._missed(path, content.error, what)
            self._list_line(comment_line("unreadable", name))
            return ""
        if content.got < before.st_size:
            what = f"was cut to {content.got} bytes while it was read; zeros stand for the other"
            self._torn(path, name, f"{what} {before.st_size - content.got}", severity=Severity.ERROR)
            return ""
        if changed(before, os.fstat(file.fileno())) or file.read(1):
            self._torn(path, name, "changed while it was read; the copy may mix its states")
        self._list(digest, name)
        return digest

    def _info(self, name: str, status: os.stat_result, path: str | None, opened: int | None = None) -> tarfile.TarInfo:
        """The head of an entry; its attributes are those of `opened`, or of `path`, or none."""
        info = tarfile.TarInfo(name)
        info.mode = stat.S_IMODE(status.st_mode)
        info.uid, info.gid = status.st_uid, status.st_gid
        info.uname, info.gname = self._user(status.st_uid), self._group(status.st_gid)
        self._set_time(info, status.st_mtime_ns)
        records: dict[str, str] = {}
        if path is not None:
            for key, value in self._attributes(path, opened):
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

    def _attributes(self, path: str, opened: int | None) -> list[tuple[str, bytes]]:
        """Their names, as a pax header has to have them, and values."""
        where, follow = (path, False) if opened is None else (opened, True)
        try:
            names = os.listxattr(where, follow_symlinks=follow)
            found = [(name, os.getxattr(where, name, follow_symlinks=follow)) for name in sorted(names)]
        except OSError as error:
            if error.errno not in (*_NO_ATTRIBUTES, errno.ENOENT):
                self._missed(path, error, "has attributes that could not be read", code=Code.METADATA_UNREADABLE)
            return []
        for name, _ in found:
            if not is_text(name):
                self._left_out(path, f"an attribute named {printable(os.fsencode(name))}, as a tar has UTF-8 only")
        # A header's key ends at the first "=", so that tar writes that one, and its mark, as in URLs.
        return [(name.replace("%", "%25").replace("=", "%3D"), value) for name, value in found if is_text(name)]

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

    def _put(self, info: tarfile.TarInfo, content: Content | None = None) -> None:
        self._tar.addfile(info, cast(IO[bytes], content) if content is not None else None)
        self._tar.getmembers().clear()  # they would be kept for a second look, and there may be millions
        self.count += 1

    def _put_file(self, info: tarfile.TarInfo, content: Content, *, listed: bool = True) -> str:
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

    def _vanished(self, path: str, folders: list[Folder]) -> str | None:
        """Tell that a path is gone: what had to be given up as lost with it, or None if it alone was deleted."""
        place = first_lost(folders)
        if place is None and folders:
            subject = printable(os.fsencode(path))
            what = f'"{subject}" was there when it was found and is gone'
            action = "Nothing, if it is a temporary file."
            self._find(Code.PATH_VANISHED, Severity.WARNING, subject, what, action)
            return None
        lost = path if place is None else folders[place].path
        del folders[place:]  # each of the paths that are left in there would say the same
        self._lost(lost)
        return lost

    def _lost(self, path: str) -> None:
        subject = printable(os.fsencode(path))
        what = f'"{subject}" is gone, or another than it was when it was found; the tar lacks what was not read by then'
        action = "Look whether its disk was unmounted, or who moved or replaced it, and start again."
        self._find(Code.PATH_VANISHED, Severity.ERROR, subject, what, action)

    def _missed(self, path: str, error: OSError, what: str, *, code: Code = Code.PATH_UNREADABLE) -> None:
        subject = printable(os.fsencode(path))
        what = f'"{subject}" {what}: {error.strerror} (errno {error.errno})'
        self._find(code, Severity.ERROR, subject, what, "Let the user of the backup read it.")

    def _left_out(self, path: str, what: str) -> None:
        subject = printable(os.fsencode(path))
        action = "Rename it, or store it by other means."
        self._find(Code.METADATA_UNREADABLE, Severity.ERROR, subject, f'"{subject}" lacks {what}', action)

    def _torn(self, path: str, name: str, what: str, *, severity: Severity = Severity.WARNING) -> None:
        subject = printable(os.fsencode(path))
        action = "Add it while nobody writes to it: from a file-system snapshot, or from a dump."
        self._find(Code.PATH_TORN, severity, subject, f'"{subject}" {what}', action)
        self._list_line(comment_line("torn" if severity is Severity.WARNING else "cut short", name))

    def _find(self, code: Code, severity: Severity, subject: str, what: str, action: str) -> None:
        self.findings.append(Finding(code=code, severity=severity, what=what, action=action, subject=subject))


def _link(status: os.stat_result) -> _Link:
    kind = stat.S_IFMT(status.st_mode)
    return status.st_dev, status.st_ino, kind, status.st_size, status.st_mtime_ns
