"""Sources: what a backup reads.

`source_of` is the one door from what a caller writes to a `Source`, or to a stream or command beside it, which
something other than `scanning` reads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

import attrs

from safebackup.backup.rules import Rules
from safebackup.backup.streams import AnyStream, CommandSource, StreamSource, commands_of
from safebackup.backup.url_source import UrlSource, without_end_slash
from safebackup.commands import Command
from safebackup.errors import Code, ConfigurationError, NotFoundError, StorageError
from safebackup.findings import AT_HOME, is_text, printable, starts_at_home
from safebackup.remotes import local_path, shown
from safebackup.streaming import Readable, reader_of

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_LONGEST_ROOT_BYTES = 4000  # Linux takes 4,095 in one call; below a root there is no limit
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]+://")


class Evidence(StrEnum):
    """What proves that a file has not changed since the last backup, so that it need not be read again."""

    INODE_CTIME = "inode"  # size, mtime, ctime and inode
    CTIME = "ctime"  # size, mtime and ctime: for NFS and FUSE, where inode numbers lie
    MTIME = "mtime"  # size and mtime: where ctime lies as well
    NONE = "none"  # nothing: every file is read each time


@attrs.frozen
class Root:
    """A place where reading begins: its real path, and the manifest path of its entry."""

    path: bytes
    name: bytes


@attrs.frozen(init=False)
class Source:
    """What to read: one or more paths, and what to leave out beneath them.

    Paths are made absolute here, once. A path that is a symbolic link, or lies behind one, stands for what it
    points to; links beneath it are stored as links. The paths themselves are always stored: `exclude`, `include`,
    `exclude_caches` and `larger_than` (bytes) speak of what lies beneath. `exclude` and `include` are gitignore lines
    relative to each path; one string is read as lines.

    Raises:
        ConfigurationError: a path or a line makes no sense, or one path lies within another.
    """

    paths: tuple[bytes, ...]
    name: str
    exclude: tuple[str, ...]
    include: tuple[str, ...]
    exclude_caches: bool
    one_file_system: bool
    larger_than: int | None
    evidence: Evidence
    allow_empty: bool

    def __init__(
        self,
        *paths: AnyPath,
        name: str = "",
        exclude: str | Iterable[str] = (),
        include: str | Iterable[str] = (),
        exclude_caches: bool = True,
        one_file_system: bool = False,
        larger_than: int | None = None,
        evidence: Evidence = Evidence.INODE_CTIME,
        allow_empty: bool = False,
    ) -> None:
        if not paths:
            raise ConfigurationError("a source needs at least one path", hint='For example Source("/srv/data").')
        absolute = tuple(_absolute(path) for path in paths)
        _refuse_overlap(absolute, absolute)
        self.__attrs_init__(
            paths=absolute,
            name=_name(name) or ", ".join(printable(path) for path in absolute),
            exclude=_lines("exclude", exclude),
            include=_lines("include", include),
            exclude_caches=exclude_caches,
            one_file_system=one_file_system,
            larger_than=_size("larger_than", larger_than),
            evidence=_evidence(evidence),
            allow_empty=allow_empty,
        )
        self.rules()

    @staticmethod
    def stream(name: str, fileobj: Readable, *, source: str = "", allow_empty: bool = False) -> StreamSource:
        """What an open binary stream gives until its end, as the file `name`; of the source `source`, or `name`.

        It can be read once. A stream that gives nothing is refused, unless `allow_empty`.

        Raises:
            ConfigurationError: the stream cannot be read, or gives text.
        """
        reader_of(fileobj, name)
        return StreamSource(file=name, name=_name(source) or _name(name), stream=fileobj, allow_empty=allow_empty)

    @staticmethod
    def command(
        *commands: Command | Sequence[Command],
        name: str = "",
        source: str = "",
        deadline: float | None = None,
        allow_empty: bool = False,
    ) -> CommandSource:
        """What a command writes to its standard output, as the file `name`; several commands make a pipeline.

        A command is a list, a program and its arguments; no shell is involved. Each one must end with status 0
        within `deadline` seconds, or nothing is published. Without a name the first program's is taken.

        Raises:
            ConfigurationError: that is no command.
        """
        checked = commands_of(commands)
        file = _name(name) or os.path.basename(checked[0][0])
        return CommandSource(
            file=file, name=_name(source) or file, commands=checked, deadline=deadline, allow_empty=allow_empty
        )

    @staticmethod
    def url(
        url: str,
        *,
        storage_options: Mapping[str, object] | None = None,
        name: str = "",
        exclude: str | Iterable[str] = (),
        include: str | Iterable[str] = (),
        larger_than: int | None = None,
        allow_empty: bool = False,
    ) -> UrlSource | Source:
        """What lies below a URL that fsspec can read: `s3://bucket/data`, `https://host/files/`, `zip://::a.zip`.

        `storage_options` go to fsspec, and nowhere else. Rules are as for paths. Connects to nothing yet. A `file://`
        URL is the path that it names.

        Raises:
            ConfigurationError: that is no URL, or a line makes no sense.
        """
        text: object = url
        if not isinstance(text, str) or not is_text(text) or ("://" not in text and "::" not in text):
            raise ConfigurationError(
                f"{url!r} is no URL", code=Code.BAD_URL, hint='For example "s3://bucket/data"; a path is Source(path).'
            )
        local = None if "::" in url else local_path(url, storage_options)
        if local is not None:
            return Source(
                local, name=name, exclude=exclude, include=include, larger_than=larger_than, allow_empty=allow_empty
            )
        source = UrlSource(
            url=url,
            name=_name(name) or shown(without_end_slash(url)),
            storage_options=dict(storage_options or {}),
            exclude=_lines("exclude", exclude),
            include=_lines("include", include),
            larger_than=_size("larger_than", larger_than),
            allow_empty=allow_empty,
        )
        source.rules()
        return source

    def rules(self) -> Rules:
        """The `exclude` and `include` lines, ready to be asked."""
        return Rules.of(exclude=self.exclude, include=self.include)

    def roots(self) -> tuple[Root, ...]:
        """Where reading begins, in manifest order; asks the file system what each path is.

        One directory has the name b"": what is in it lies directly under the snapshot's root. A single file
        has its own name, and several paths have theirs.

        Raises:
            NotFoundError: a path does not exist.
            ConfigurationError: two paths have the same name, or one lies within another once links are followed.
        """
        real = tuple(_resolved(path) for path in self.paths)
        _refuse_overlap(self.paths, real)
        if len(real) == 1:
            return (Root(real[0], b"" if os.path.isdir(real[0]) else os.path.basename(self.paths[0])),)
        named: dict[bytes, bytes] = {}
        for path in self.paths:
            earlier = named.setdefault(os.path.basename(path), path)
            if earlier is not path:
                raise ConfigurationError(
                    f'"{printable(earlier)}" and "{printable(path)}" would have the same name in the snapshot',
                    hint="Back them up as two sources, or name the directory that holds both and exclude the rest.",
                )
        roots = (Root(where, os.path.basename(path)) for where, path in zip(real, self.paths, strict=True))
        return tuple(sorted(roots, key=lambda root: root.name))

    def contains(self, path: AnyPath) -> bool:
        """Whether a scan would come to `path`, which need not exist: a repository there would be backed up into itself.

        What an `exclude` line or `one_file_system` keeps the scan from does not count.
        """
        real = os.path.realpath(_absolute(path))
        return any(self._comes_to(root, real) for root in self.roots())

    def _comes_to(self, root: Root, real: bytes) -> bool:
        below = _below(root.path, real)
        if below is None:
            return _is_same_or_above(root.path, real)
        if self.rules().excludes_from_above(below):
            return False
        return not (self.one_file_system and _device_of(real) != os.stat(root.path).st_dev)


AnySource: TypeAlias = Source | UrlSource | AnyStream


def is_url(text: str) -> bool:
    """Whether a text is a URL and no path: it begins with a scheme and two slashes."""
    return _URL.match(os.fsencode(text)) is not None


def source_of(thing: AnySource | AnyPath | Iterable[AnyPath]) -> AnySource:
    """`thing` as a source: a source, a stream or a command as it is, a path, several, or a URL with the defaults.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(thing, Source | UrlSource | StreamSource | CommandSource):
        return thing
    if isinstance(thing, str) and is_url(thing):
        return Source.url(thing)
    if isinstance(thing, str | bytes | os.PathLike):
        return Source(thing)
    if isinstance(thing, Iterable):
        return Source(*thing)
    raise ConfigurationError(
        f"{thing!r} is not something to back up", hint="Give a path, a list of paths, or a Source(...)."
    )


def _absolute(path: AnyPath) -> bytes:
    if not isinstance(path, str | bytes | os.PathLike):
        raise ConfigurationError(
            f"{path!r} is not a path", hint="Paths are str, bytes or os.PathLike; write a list as Source(*paths)."
        )
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{path!r} cannot be the name of a file here: {error}") from error
    if not raw:
        raise ConfigurationError(
            "a path is empty: it would mean the current directory",
            hint='Was a variable not set? For the current directory write ".".',
        )
    if b"\0" in raw:
        raise ConfigurationError(
            f"the path {path!r} holds a NUL byte, which no file name can", hint="Where does the path come from?"
        )
    if starts_at_home(raw):
        raise ConfigurationError(f"the path {path!r} begins with ~, which only a shell expands", hint=AT_HOME)
    if _URL.match(raw):
        raise ConfigurationError(
            f"{path!r} is a URL, where a path on this machine was expected",
            code=Code.BAD_URL,
            hint="Write Source.url(…), which takes one URL.",
        )
    absolute = os.path.abspath(raw)
    if len(absolute) > _LONGEST_ROOT_BYTES:
        raise ConfigurationError(
            f"the path is {len(absolute):,} bytes long, and a source's own may have {_LONGEST_ROOT_BYTES:,}",
            hint="Name a directory nearer to the root and exclude the rest.",
        )
    # POSIX gives two leading slashes a meaning of their own, which Linux does not use.
    return b"/" + absolute.lstrip(b"/")


def _resolved(path: bytes) -> bytes:
    try:
        return os.path.realpath(path, strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        target = os.path.realpath(path)
        through = f' (through links: "{printable(target)}")' if target != path else ""
        raise NotFoundError(
            f'"{printable(path)}"{through} does not exist',
            code=Code.NO_SOURCE,
            hint="Check its spelling, and whether its disk is mounted. Nothing was backed up.",
        ) from error
    except OSError as error:
        raise StorageError.from_os(f'"{printable(path)}" cannot be reached', error) from error


def _refuse_overlap(written: tuple[bytes, ...], real: tuple[bytes, ...]) -> None:
    for number, outer in enumerate(real):
        for other, inner in enumerate(real):
            if number == other or _below(outer, inner) is None:
                continue
            outer_text, inner_text = printable(written[number]), printable(written[other])
            if outer == inner:
                raise ConfigurationError(f'"{outer_text}" and "{inner_text}" are the same path', hint="Name it once.")
            raise ConfigurationError(
                f'"{inner_text}" lies within "{outer_text}", so that it would be stored twice',
                hint="Name the outer one alone, or back them up as two sources.",
            )


def _below(outer: bytes, path: bytes) -> bytes | None:
    """The part of `path` beneath `outer`, b"" if they are the same, None if it lies elsewhere."""
    if path == outer:
        return b""
    head = outer.rstrip(b"/") + b"/"
    return path[len(head) :] if path.startswith(head) else None


def _is_same_or_above(root: bytes, path: bytes) -> bool:
    """Whether `root` is `path` or holds it under another name, as bind mounts do."""
    mark = os.stat(root)
    while True:
        try:
            if os.path.samestat(os.stat(path), mark):
                return True
        except OSError:
            pass  # not there yet, or not to be looked into: its parents decide
        if path == os.path.dirname(path):
            return False
        path = os.path.dirname(path)


def _device_of(path: bytes) -> int:
    """The device on which `path` is, or would be made."""
    while True:
        try:
            return os.stat(path).st_dev
        except OSError:
            path = os.path.dirname(path)


def _name(name: object) -> str:
    if not isinstance(name, str) or not is_text(name):
        raise ConfigurationError(f"name={name!r} is no text", hint='For example name="orders", or leave it out.')
    return name


def _lines(option: str, lines: object) -> tuple[str, ...]:
    if not isinstance(lines, Iterable):
        raise ConfigurationError(f"{option}={lines!r} is no list of lines", hint=f'For example {option}=["*.tmp"].')
    found = tuple(lines.split("\n")) if isinstance(lines, str) else tuple(lines)
    for line in found:
        if not isinstance(line, str):
            raise ConfigurationError(
                f"{line!r} in {option} is not text", hint=f'For example {option}=["*.tmp", "/build/"].'
            )
        if "\n" in line.removesuffix("\n"):
            raise ConfigurationError(
                f"{line!r} in {option} is more than one line", hint="Give one string, or one line each."
            )
    return found


def _size(option: str, size: object) -> int | None:
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ConfigurationError(
            f"{option}={size!r} is not a number of bytes", hint=f"For example {option}=2**30, or None."
        )
    return size


def _evidence(evidence: Evidence) -> Evidence:
    try:
        return Evidence(evidence)
    except ValueError as error:
        known = ", ".join(f'"{each}"' for each in Evidence)
        hint = "Leave it out, unless inode numbers or ctimes lie there, as on NFS and FUSE."
        raise ConfigurationError(f"evidence={evidence!r} is none of {known}", hint=hint) from error
