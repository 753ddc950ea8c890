"""SnapshotWriter: a snapshot put together piece by piece, from files, streams and commands."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import attrs

from safebackup.backup.merging import Known, ManifestBuilder, Previous
from safebackup.backup.metadata import Owners
from safebackup.backup.own_repository import refuse_own_repository
from safebackup.backup.pipeline import Pipeline
from safebackup.backup.publishing import (
    FINDINGS_KEPT,
    BackupReport,
    ParentChoice,
    Publication,
    Stored,
    require_files,
    require_level,
    require_tags,
)
from safebackup.backup.scanning import Scan
from safebackup.backup.source import AnyPath, Evidence, Source
from safebackup.backup.streams import commands_of, said_by
from safebackup.commands import Command, Ended, start
from safebackup.errors import Code, ConfigurationError, ConflictError, RefusedError
from safebackup.events import FindingRaised, NoProgress, Observer, Progress, ignore
from safebackup.findings import Finding, is_text, printable
from safebackup.format.compressing import LEVEL_DEFAULT
from safebackup.format.manifest import Entry, EntryKind, path_key, time_to_stored
from safebackup.repository import Repository
from safebackup.repository.committing import ChunksLostError
from safebackup.repository.manifests import Manifests
from safebackup.repository.writing import worker_count
from safebackup.streaming import Readable, reader_of

_SLASH = re.compile(rb"/")
_NAME_BYTES_MAX = 255  # what file systems take


class SnapshotWriter:
    """Stores files, streams and the output of commands as one snapshot, which appears at the end or not at all.

    Use it in a `with` statement; leaving that by an exception publishes nothing. Afterwards `report` tells what was
    stored. Everything is read when it is added, nothing is compared with an earlier snapshot, and about 1 KiB is
    held in memory for each entry until the end: for a large folder that hardly changes `back_up` is the right verb.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        source: str,
        tags: Iterable[str] = (),
        parent: ParentChoice = "latest",
        level: int = LEVEL_DEFAULT,
        workers: int | None = None,
        callback: Progress | None = None,
        observer: Observer = ignore,
    ) -> None:
        if not isinstance(repository, Repository):
            raise ConfigurationError(
                f"{repository!r} is no repository", hint="Open one first: Repository.open(url, key=…), or create it."
            )
        self.report: BackupReport | None = None
        self._repository = repository
        self._source = _source_name(source)
        self._tags = require_tags(tags)
        self._parent = parent
        self._level = require_level(level)
        self._workers = worker_count(workers)
        self._callback = callback or NoProgress()
        self._observer = observer
        self._work: _Work | None = None
        self._broken: BaseException | None = None
        self._used = False
        self._busy = threading.Lock()

    def __enter__(self) -> Self:
        if self._used:
            raise ConfigurationError("a snapshot writer makes one snapshot", hint="Make a new one for the next.")
        self._used = True
        publication = Publication.begin(
            self._repository,
            source=self._source,
            evidence=str(Evidence.NONE),
            roots=None,
            parent=self._parent,
            tags=self._tags,
            level=self._level,
            workers=self._workers,
            observer=self._observer,
        )
        try:
            publication.adopt()
            self._work = _Work.on(publication, self._callback)
        except BaseException as error:
            publication.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        if error is not None:
            work.publication.__exit__(kind, error, trace)
            return
        with work.publication, self._alone():
            if self._broken is not None:
                raise RefusedError(
                    f"nothing was published, as a part of it had failed: {self._broken}",
                    hint="Let the error leave the with block, or make a new writer and leave that part out.",
                ) from self._broken
            self.report = work.publish()

    def add(self, path: Source | AnyPath, *, name: str | bytes | None = None, allow_empty: bool = False) -> None:
        """Add a file or a folder with everything in it, as `name` or under its own name.

        A `Source` of one path brings rules of what to leave out.

        Raises:
            ConfigurationError: the name is no plain relative path, or taken.
            NotFoundError: the path does not exist.
            RefusedError: it is empty, or its rules leave no file, unless `allow_empty` (`Code.EMPTY_SOURCE`).
        """
        with self._part() as work:
            source = path if isinstance(path, Source) else Source(path)
            source = _allowing_empty(source) if allow_empty else source
            if len(source.paths) != 1:
                raise ConfigurationError(
                    f"add takes one path, and this source has {len(source.paths)}", hint="Call add for each of them."
                )
            refuse_own_repository(source, self._repository)
            work.add(source, work.claim(name if name is not None else os.path.basename(source.paths[0])))

    def write(self, name: str | bytes, stream: Readable | bytes, *, allow_empty: bool = False) -> None:
        """Add what a stream gives until its end, as the file `name`, readable by its owner alone once restored.

        Raises:
            RefusedError: the stream gave nothing, unless `allow_empty`.
            StorageError: it could not be read to its end; nothing will be published.
        """
        with self._part() as work:
            path = work.claim(name)
            size = work.store(path, io.BytesIO(stream) if isinstance(stream, bytes) else stream)
            work.require_content(path, size, allow_empty)

    def command(
        self, name: str | bytes, *commands: Command, deadline: float | None = None, allow_empty: bool = False
    ) -> None:
        """Add what a command writes to its standard output; several commands make a pipeline. `deadline` in seconds.

        Raises:
            CommandError: one of them could not start, ended with another status than 0, or took too long;
                nothing will be published.
        """
        with self._part() as work:
            path = work.claim(name)
            with start(*commands_of(commands), deadline=deadline) as running:
                size = work.store(path, running.output)
                ended = running.finish()  # first: why a command failed says more than that it gave nothing
            work.hear(ended, path)
            work.require_content(path, size, allow_empty)

    @contextlib.contextmanager
    def _part(self) -> Iterator[_Work]:
        if self._work is None:
            raise ConfigurationError(
                "the snapshot writer is not open", hint="Write: with SnapshotWriter(…) as writer: writer.add(…)"
            )
        try:
            with self._alone():
                yield self._work
        except BaseException as error:
            # Whoever swallows the error of a part still gets no snapshot without it.
            self._broken = self._broken or error
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # Two parts at once, by threads or by a stream that calls the writer, would be mixed up.
        if not self._busy.acquire(blocking=False):
            self._broken = ConfigurationError(
                "a part was added to a snapshot writer while another one was being read",
                hint="Add one part after the other; to read several at once, make several snapshots.",
            )
            raise self._broken
        try:
            yield
        finally:
            self._busy.release()


@attrs.frozen
class _Collected:
    """An entry that waits for the end, when all of them are known and can be put in order."""

    entry: Entry
    ctime: int | bytes
    inode: int
    young: bool


class _Collector:
    """Takes entries in any order, where a `ManifestBuilder` wants them sorted."""

    def __init__(self) -> None:
        self.entries: dict[bytes, _Collected] = {}

    def add(
        self,
        entry: Entry,
        *,
        ctime: int | bytes,
        inode: int,
        young: bool,
        known: Known | None,
        same_evidence: bool,
    ) -> None:
        """The next entry; `known` and `same_evidence` speak of a parent, and there is none here."""
        self.entries[entry.path] = _Collected(entry, ctime, inode, young)

    def in_order(self) -> list[_Collected]:
        """All entries in manifest order."""
        return [self.entries[path] for path in sorted(self.entries, key=path_key)]


@attrs.define(kw_only=True, eq=False)
class _Work:
    """What a writer holds between `with` and its end."""

    publication: Publication
    collector: _Collector
    pipeline: Pipeline
    roots: dict[bytes, bytes] = attrs.field(factory=dict)  # path in the snapshot, path on the host or b""
    above: set[bytes] = attrs.field(factory=set)  # the folders above those
    excluded: dict[str, int] = attrs.field(factory=dict)
    complete: bool = True
    said: list[Finding] = attrs.field(factory=list)  # by programs that succeeded

    @classmethod
    def on(cls, publication: Publication, callback: Progress) -> Self:
        """Everything that a fresh snapshot needs."""
        repository = publication.run.repository
        collector = _Collector()
        pipeline = Pipeline(
            publication.writer,
            collector,
            Previous(Manifests(publication.run.reader), None),
            chunker=repository.chunker,
            evidence=Evidence.NONE,
            clock=repository.runtime.clock,
            report=publication.findings.add,
            callback=callback,
        )
        return cls(publication=publication, collector=collector, pipeline=pipeline)

    def claim(self, name: object) -> bytes:
        """The name as a path in the snapshot, now taken."""
        path = _plain(name)
        above = {path[: cut.start()] for cut in _SLASH.finditer(path)}
        if path in self.roots or path in self.above or not above.isdisjoint(self.roots):
            raise ConfigurationError(
                f"{printable(path)!r} is taken: it is, or lies in or above, something that was added before",
                hint="Give each part a name of its own, such as name='first/orders'.",
            )
        self.roots[path] = b""
        self.above |= above
        return path

    def add(self, source: Source, name: bytes) -> None:
        """Read a file or a tree; its paths begin with `name`."""
        root = source.roots()[0]
        self.roots[name] = root.path
        scan = Scan(source)
        files = 0
        for found in scan:
            beneath = found.path.removeprefix(root.name).lstrip(b"/")
            named = found._replace(path=name + b"/" + beneath if beneath else name)
            self.pipeline.add(named, scan.is_in_place)
            files += stat.S_ISREG(found.status.st_mode)
        require_files(source.name, scan.excluded, files, allow_empty=source.allow_empty)
        for finding in scan.findings:
            self.publication.findings.add(finding)
        self.complete = self.complete and scan.complete
        for rule, count in scan.excluded.items():
            text = printable(os.fsencode(rule))
            self.excluded[text] = self.excluded.get(text, 0) + count

    def store(self, path: bytes, stream: object) -> int:
        """Read a stream to its end; the number of its bytes."""
        return self.pipeline.add_stream(path, reader_of(stream, printable(path)))

    def require_content(self, path: bytes, size: int, allow_empty: bool) -> None:
        """Refuse what gave no bytes."""
        if not size and not allow_empty:
            raise RefusedError(
                f"the stream for {printable(path)!r} gave no bytes; nothing was published",
                code=Code.EMPTY_SOURCE,
                hint="An empty dump is a dump that failed: look at what makes it. "
                "If it may be empty, say so with allow_empty=True.",
            )

    def hear(self, ended: Sequence[Ended], path: bytes) -> None:
        """Tell what programs said that succeeded."""
        for finding in said_by(ended, printable(path)):
            self.said.append(finding)
            self.publication.observer(FindingRaised(run=self.publication.run.label, finding=finding))

    def publish(self) -> BackupReport:
        """Put everything in order and publish it."""
        if not self.roots:
            raise RefusedError(
                "nothing was added, so nothing was published",
                code=Code.EMPTY_SOURCE,
                hint="Call add, write or command within the with block.",
            )
        self.pipeline.finish()
        publication, counts = self.publication, self.pipeline.counts
        for folder in self._folders():
            counts.entries += 1
            self.collector.add(folder, ctime=folder.mtime, inode=0, young=True, known=None, same_evidence=False)
        builder = ManifestBuilder(publication.writer, Owners())
        for one in self.collector.in_order():
            builder.add(one.entry, ctime=one.ctime, inode=one.inode, young=one.young, known=None, same_evidence=False)
        stored = Stored(
            trees=builder.finish(),
            counts=counts,
            excluded=self.excluded,
            removed=0,
            complete=self.complete and not publication.findings.missing,
            roots=tuple((name, self.roots[name]) for name in sorted(self.roots, key=path_key)),
        )
        try:
            return self._with_said(publication.publish(stored, reused=False))
        except ChunksLostError as gone:
            raise ConflictError(
                "a deletion took what this snapshot shares with earlier ones, and a stream cannot be read again",
                code=Code.RUN_DECLARED_DEAD,
                hint="Nothing was published. Run the backup again.",
            ) from gone

    def _with_said(self, report: BackupReport) -> BackupReport:
        """The report with what programs said, which is in no record: it may be data, and headers are read by more."""
        findings = (*report.findings, *self.said)[:FINDINGS_KEPT]
        return attrs.evolve(report, findings=findings, findings_total=report.findings_total + len(self.said))

    def _folders(self) -> list[Entry]:
        """The folders above what was added, which nobody added themselves."""
        now = time_to_stored(self.publication.run.started)
        return [
            Entry(path=path, kind=EntryKind.DIRECTORY, mode=0o755, uid=os.getuid(), gid=os.getgid(), mtime=now)
            for path in self.above - self.collector.entries.keys()
        ]


def _allowing_empty(source: Source) -> Source:
    rules = {field.name: getattr(source, field.name) for field in attrs.fields(Source) if field.name != "paths"}
    return Source(*source.paths, **{**rules, "allow_empty": True})


def _source_name(source: object) -> str:
    if not isinstance(source, str) or not source or not is_text(source):
        raise ConfigurationError(f"source={source!r} is no name", hint='For example source="orders".')
    return source


def _plain(name: object) -> bytes:
    if not isinstance(name, str | bytes):
        raise ConfigurationError(f"{name!r} is no name in a snapshot", hint="Names are str or bytes.")
    try:
        path = os.fsencode(name)
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{name!r} cannot be the name of a file: {error}") from error
    parts = path.split(b"/")
    unfit = any(part in (b"", b".", b"..") or len(part) > _NAME_BYTES_MAX for part in parts)
    if unfit or b"\0" in path:
        raise ConfigurationError(
            f"{printable(path)!r} is no name in a snapshot",
            hint="Write a relative path such as 'orders.sql' or 'db/orders.sql': no '..', nothing empty, "
            f"no part longer than {_NAME_BYTES_MAX} bytes.",
        )
    return path
