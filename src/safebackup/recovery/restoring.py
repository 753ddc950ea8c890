"""restore: put a snapshot, or parts of it, into a folder, or below a URL.

Entries come in manifest order and are handled in windows, so that memory does not grow with their number. Within
a window frames are fetched in the order in which they are stored, each once; every chunk is hashed against its id
before a byte of it is written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Literal, TypeAlias, TypeVar

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError, NotFoundError, RefusedError
from safebackup.events import (
    FILES_PER_COUNT,
    FilesCounted,
    FindingRaised,
    NoProgress,
    Observer,
    Progress,
    RunFinished,
    RunStarted,
    ignore,
    logged,
)
from safebackup.findings import AT_HOME, Finding, Severity, printable, starts_at_home
from safebackup.format.manifest import Entry, EntryKind, Segment, path_key
from safebackup.format.pack import ChunkPlace
from safebackup.format.sealing import Buffer
from safebackup.recovery.owners import OwnerMap, Owners
from safebackup.recovery.placing import (
    Overwrite,
    Owner,
    PartialFile,
    Placer,
    Shortfalls,
    open_target,
    sync_target,
)
from safebackup.recovery.target import require_target
from safebackup.recovery.url_placing import UrlFile, UrlPlacer
from safebackup.recovery.url_target import UrlTarget
from safebackup.remotes import is_remote, shown
from safebackup.repository import Repository, Snapshot
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.selecting import not_in_snapshot, path_in_snapshot
from safebackup.repository.writing import worker_count

WINDOW_ENTRIES = 4096
WINDOW_BYTES = 64 << 20
RUN_BYTES = 4 << 20  # adjacent frames are fetched together up to this
_FINDINGS_KEPT = 1000
_URL_WORKERS = 8  # which wait for answers most of the time

_AnyPlacer: TypeAlias = Placer | UrlPlacer

Choice = TypeVar("Choice", bound=StrEnum)
AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


@attrs.frozen(kw_only=True)
class RestoreReport:
    """What a restore did. `complete` means that every selected path is there as recorded.

    What was there and was kept counts as that if its kind, size and time are those recorded; its content was not read.

    Findings of severity warning (an owner that only root can set, …) leave it complete.
    """

    snapshot: Snapshot
    target: str
    dry_run: bool
    complete: bool
    findings: tuple[Finding, ...]
    findings_total: int
    entries: int
    files: int
    content_bytes: int
    seconds: float


def restore(
    snapshot: Snapshot,
    to: AnyPath,
    *,
    storage_options: Mapping[str, object] | None = None,
    paths: Iterable[AnyPath] | None = None,
    overwrite: Overwrite | Literal["refuse", "keep", "replace"] = Overwrite.REFUSE,
    owners: Owners | Literal["names", "ids"] = Owners.NAMES,
    devices: bool = False,
    dry_run: bool = False,
    workers: int | None = None,
    callback: Progress | None = None,
    observer: Observer = ignore,
) -> RestoreReport:
    """Restore a snapshot into the folder `to`, which must be missing or empty unless `overwrite` says otherwise.

    `to` may be a URL, for which `storage_options` are: files become objects, each of which appears whole, and what a
    URL cannot hold (links, permissions, empty folders, …) is a finding. At the end it is listed and compared.
    `paths` selects parts by their path in the snapshot; each is restored under that path, its directories above it
    included. A dry run writes nothing and tells what would be refused or missing. Nothing outside of `to` is ever
    written.

    Raises:
        NotFoundError: a selected path is not in the snapshot (`Code.NO_PATH`); nothing was written.
        RefusedError: the target is not empty, or lies in the repository; nothing was written.
        StorageError: the store could not be read or the target could not be written.
        IntegrityError: the manifest itself is damaged or hostile.
    """
    if not isinstance(snapshot, Snapshot):
        raise ConfigurationError(
            f"{type(snapshot).__name__} is no snapshot", hint="Ask for one: Repository.open(…).snapshot()."
        )
    repository = snapshot.require_repository()
    url = _target_url(to, storage_options)
    workers = _URL_WORKERS if url is not None and workers is None else worker_count(workers)
    target = shown(url).encode("utf-8", "surrogateescape") if url is not None else _target_path(to)
    _refuse_repository(target, repository)
    clock = repository.runtime.clock
    began = clock.monotonic()
    observer = logged(observer)
    run = repository.runtime.random(16).hex()
    observer(RunStarted(run=run, verb="restore", subject=f"{snapshot.id[:12]} to {printable(target)}"))
    reader = repository.reader()
    plan = _Selection(Manifests(reader), snapshot, paths)
    work = _Restore(
        reader=reader,
        manifests=Manifests(reader),
        owners=OwnerMap(_choice(Owners, owners, "owners")),
        overwrite=_choice(Overwrite, overwrite, "overwrite"),
        devices=devices,
        callback=callback or NoProgress(),
        observer=observer,
        run=run,
    )
    if paths is None:
        work.callback.set_size(snapshot.content_bytes)
    if url is not None:
        _restore_to_url(work, plan, UrlTarget(url, storage_options), workers, dry_run=dry_run)
    elif dry_run:
        require_target(target, work.overwrite)
        work.rehearse(plan)
    else:
        work.perform(plan, target, workers)
    report = RestoreReport(
        snapshot=snapshot,
        target=printable(target),
        dry_run=dry_run,
        complete=not work.missing,
        findings=tuple(work.findings),
        findings_total=work.findings_total,
        entries=work.entries,
        files=work.files,
        content_bytes=work.content_bytes,
        seconds=clock.monotonic() - began,
    )
    outcome = "complete" if report.complete else "incomplete"
    observer(RunFinished(run=run, verb="restore", outcome=outcome, seconds=report.seconds))
    return report


def _as_path(path: object, what: str) -> bytes:
    if not isinstance(path, str | bytes | os.PathLike):
        raise ConfigurationError(f"{what} is {path!r}, which is no path", hint="Paths are str, bytes or os.PathLike.")
    return os.fsencode(path)


def _target_url(to: AnyPath, storage_options: Mapping[str, object] | None) -> str | None:
    """The URL that is restored to; None for a folder of this machine."""
    text = _as_path(to, "the target").decode("utf-8", "surrogateescape")
    if is_remote(text):
        return text
    if storage_options:
        raise ConfigurationError(
            f"storage options are given for a folder: {', '.join(sorted(storage_options))}",
            hint="Leave them out, or write the URL that they are for.",
        )
    return None


def _restore_to_url(work: _Restore, plan: _Selection, target: UrlTarget, workers: int, *, dry_run: bool) -> None:
    try:
        target.require(work.overwrite)
        if dry_run:
            work.rehearse(plan)
        else:
            work.perform_at_url(plan, target, workers)
    finally:
        target.close()


def _target_path(to: AnyPath) -> bytes:
    path = _as_path(to, "the target")
    if path.startswith(b"file://"):
        path = path[len(b"file://") :]
    if b"://" in path:
        raise ConfigurationError(
            f"{shown(os.fsdecode(path))} is no place that can be written to",
            code=Code.BAD_URL,
            hint="Name a folder, or one URL such as s3://bucket/restored.",
        )
    if starts_at_home(path):
        raise ConfigurationError(
            f"the target {printable(path)} begins with ~, which only a shell expands", hint=AT_HOME
        )
    if not path or b"\0" in path:
        raise ConfigurationError("the target is no path", code=Code.BAD_ARGUMENT, hint="Name a new folder.")
    return os.path.abspath(path)


def _refuse_repository(target: bytes, repository: Repository) -> None:
    home = os.fsencode(repository.url.removeprefix("file://"))
    real = target
    if home.startswith(b"/") and target.startswith(b"/"):
        real, home = os.path.realpath(target), os.path.realpath(home)
    if real == home or real.startswith(home + b"/"):
        raise RefusedError(
            f"the target {printable(target)} lies in the repository",
            code=Code.TARGET_IN_REPOSITORY,
            hint="Restore to a folder outside of it.",
        )


def _choice(kind: type[Choice], value: str, name: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(str(one)) for one in kind)
        raise ConfigurationError(
            f"{name}={value!r} is none of {known}", hint=f"Leave {name} out, or write one of them."
        ) from None


@attrs.frozen
class _Selected:
    """An entry that is wanted, with the segment that knows its owners' names."""

    entry: Entry
    segment: Segment


class _Selection:
    """The entries that a restore is about, in manifest order; directories above selected paths come first."""

    def __init__(self, manifests: Manifests, snapshot: Snapshot, paths: Iterable[AnyPath] | None) -> None:
        self._manifests = manifests
        self._tree = snapshot.body.manifest
        self._above: list[_Selected] = []
        self._paths: list[bytes] | None = None
        if paths is not None:
            self._paths = self._resolve(snapshot, [paths] if isinstance(paths, str | bytes | os.PathLike) else paths)

    def __iter__(self) -> Iterator[_Selected]:
        above = {one.entry.path: one for one in self._above}
        for path in self._paths if self._paths is not None else [None]:
            for parent in _parents(path or b""):
                if parent in above:
                    yield above.pop(parent)
            for segment, entries in self._manifests.segments(self._tree, below=path):
                for entry in entries:
                    yield _Selected(entry, segment)

    def _resolve(self, snapshot: Snapshot, paths: Iterable[AnyPath]) -> list[bytes]:
        if not isinstance(paths, Iterable):
            raise ConfigurationError(f"paths={paths!r} is no list of paths", hint='For example paths=["etc/hosts"].')
        wanted = sorted({path_in_snapshot(path) for path in paths}, key=path_key)
        if not wanted:
            raise ConfigurationError("paths is empty: nothing was selected", hint="Leave it out to restore everything.")
        chosen: list[bytes] = []
        for path in wanted:
            if path == b"":
                return [b""]
            if chosen and path_key(path).startswith(path_key(chosen[-1]) + b"\0"):
                continue
            if self._manifests.find(self._tree, path) is None:
                raise not_in_snapshot(path, snapshot.id, snapshot.body)
            chosen.append(path)
        for path in chosen:
            for parent in _parents(path):
                if all(parent != one.entry.path for one in self._above):
                    self._add_above(parent)
        return chosen

    def _add_above(self, parent: bytes) -> None:
        found = self._manifests.find(self._tree, parent)
        if found is not None:
            self._above.append(_Selected(found[1], found[0]))
        elif parent:
            raise IntegrityError(
                f"the manifest lacks the directory {printable(parent)} of a path in it", code=Code.DAMAGED_MANIFEST
            )


def _parents(path: bytes) -> list[bytes]:
    if path == b"":
        return []
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(len(parts))]


@attrs.define(eq=False)
class _Window:
    """Entries that are handled together."""

    small: list[tuple[Entry, Owner]] = attrs.field(factory=list)
    large: list[tuple[Entry, Owner]] = attrs.field(factory=list)
    links: list[tuple[Entry, Owner, bytes]] = attrs.field(factory=list)
    finished: list[tuple[Entry, Owner]] = attrs.field(factory=list)  # directories that nothing comes into any more
    size_bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Whether to go to work; bounds what is held in memory."""
        count = len(self.small) + len(self.large) + len(self.links) + len(self.finished)
        return count >= WINDOW_ENTRIES or self.size_bytes >= WINDOW_BYTES


@attrs.define(kw_only=True, eq=False)
class _Restore:
    reader: ChunkReader
    manifests: Manifests
    owners: OwnerMap
    overwrite: Overwrite
    devices: bool
    callback: Progress
    observer: Observer
    run: str
    findings: list[Finding] = attrs.field(factory=list)
    findings_total: int = 0
    missing: bool = False
    lost: set[bytes] = attrs.field(factory=set)  # paths whose content cannot be read
    entries: int = 0
    files: int = 0
    content_bytes: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def report(self, finding: Finding) -> None:
        """Take note of a finding; called by all workers."""
        with self._lock:
            self.findings_total += 1
            self.missing = self.missing or finding.severity is Severity.ERROR
            if len(self.findings) < _FINDINGS_KEPT:
                self.findings.append(finding)
        self.observer(FindingRaised(run=self.run, finding=finding))

    def miss(self, entry: Entry, problem: IntegrityError) -> None:
        """Report a path whose content cannot be read."""
        self.lost.add(entry.path)
        self.report(_not_restored(entry, problem))

    def rehearse(self, plan: _Selection) -> None:
        """Look whether everything could be restored, from manifests and indexes alone."""
        for selected in plan:
            entry = selected.entry
            self._count(entry)
            try:
                for kind, chunk_id, _ in self.manifests.entry_needs(entry):
                    if next(self.reader.index.find_all(chunk_id), None) is None:
                        raise IntegrityError(f"{kind.name} chunk {chunk_id.hex()} is not in this repository")
            except IntegrityError as problem:
                self.miss(entry, problem)

    def perform(self, plan: _Selection, path: bytes, workers: int) -> None:
        """Restore everything that is selected."""
        shortfalls = Shortfalls()
        with open_target(path, self.overwrite) as target:

            def placer() -> Placer:
                return Placer(
                    target,
                    overwrite=self.overwrite,
                    devices=self.devices,
                    report=self.report,
                    shortfalls=shortfalls,
                )

            crew = _Crew(self, placer, workers)
            try:
                self._restore_all(plan, crew)
            finally:
                crew.close()
            sync_target(target)
        for finding in shortfalls.findings():
            self.report(finding)

    def perform_at_url(self, plan: _Selection, target: UrlTarget, workers: int) -> None:
        """The same below a URL; then see that everything is there."""
        shortfalls = Shortfalls()
        target.create()
        placer = UrlPlacer(target, overwrite=self.overwrite, report=self.report, shortfalls=shortfalls)
        crew = _Crew(self, lambda: placer, workers)
        try:
            self._restore_all(plan, crew)
        finally:
            crew.close()
        files = (one.entry for one in plan if one.entry.kind == EntryKind.FILE)
        placer.confirm(entry for entry in files if entry.path not in self.lost)
        for finding in shortfalls.findings():
            self.report(finding)

    def _restore_all(self, plan: _Selection, crew: _Crew) -> None:
        placer = crew.placer()
        open_directories: list[tuple[Entry, Owner]] = []
        leaders: dict[bytes, Entry] = {}
        window = _Window()
        for selected in plan:
            entry, owner = selected.entry, self.owners.of(selected.entry, selected.segment)
            self._count(entry)
            while open_directories and not _is_within(entry.path, open_directories[-1][0].path):
                window.finished.append(open_directories.pop())
            if entry.kind == EntryKind.DIRECTORY:
                if placer.make_directory(entry):
                    open_directories.append((entry, owner))
            elif entry.link is not None and self._is_linked(entry, leaders):
                window.links.append((entry, owner, leaders[entry.link].path))
            elif entry.kind == EntryKind.FILE:
                self._take_file(window, entry, owner)
            else:
                crew.restore_node(entry, owner)
            if window.is_full:
                crew.restore(window)
                window = _Window()
        window.finished.extend(reversed(open_directories))
        crew.restore(window)

    def _is_linked(self, entry: Entry, leaders: dict[bytes, Entry]) -> bool:
        """Whether this is a further name of a file whose first name was restored before, with the same content."""
        assert entry.link is not None
        leader = leaders.setdefault(entry.link, entry)
        facts = [(one.kind, one.size, one.content, one.target, one.device) for one in (leader, entry)]
        return leader is not entry and facts[0] == facts[1]

    def _take_file(self, window: _Window, entry: Entry, owner: Owner) -> None:
        if entry.content is None or isinstance(entry.content, bytes):
            window.small.append((entry, owner))
            window.size_bytes += entry.size
        else:
            window.large.append((entry, owner))

    def _count(self, entry: Entry) -> None:
        self.entries += 1
        if entry.kind == EntryKind.FILE:
            self.files += 1
            self.content_bytes += entry.size
            if self.files % FILES_PER_COUNT == 0:
                self.observer(FilesCounted(run=self.run, files=self.files))


class _Crew:
    """The workers of a restore, each with its own hands on the target."""

    def __init__(self, work: _Restore, new_placer: Callable[[], _AnyPlacer], workers: int) -> None:
        self._work = work
        self._new_placer = new_placer
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="safebackup-restore")
        self._local = threading.local()
        self._placers: list[_AnyPlacer] = []
        self._leaders_placed: set[bytes] = set()

    def placer(self) -> _AnyPlacer:
        """The calling thread's own placer."""
        placer: _AnyPlacer | None = getattr(self._local, "placer", None)
        if placer is None:
            placer = self._local.placer = self._new_placer()
            self._placers.append(placer)
        return placer

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for placer in self._placers:
            placer.close()

    def restore(self, window: _Window) -> None:
        """Restore a window: files as their frames come, then links, then what is known to be finished."""
        runs, elsewhere = self._plan(window.small)
        futures = [self._pool.submit(self._restore_run, run) for run in runs]
        _wait(futures)
        for entry, owner in elsewhere:
            self._restore_single(entry, owner)
        for entry, owner in window.large:
            self._restore_large(entry, owner)
        placer = self.placer()
        for entry, owner, leader in window.links:
            # A leader that was kept by policy is somebody else's file, and one that failed is not there.
            if leader not in self._leaders_placed or not placer.place_hard_link(entry, leader):
                self._restore_copy(entry, owner)
        for entry, owner in window.finished:
            placer.finish_directory(entry, owner)

    def _plan(self, files: Sequence[tuple[Entry, Owner]]) -> tuple[list[_FrameRun], list[tuple[Entry, Owner]]]:
        """Group files by the frames that hold them, frames by nearness; files without content are among the rest."""
        frames: dict[tuple[str, int], _FrameWork] = {}
        elsewhere = []
        index = self._work.reader.index
        for entry, owner in files:
            content = entry.content
            place = index.find(content) if isinstance(content, bytes) else None
            if place is None:
                elsewhere.append((entry, owner))
                continue
            work = frames.setdefault((place.pack, place.offset), _FrameWork(place))
            work.files.append((entry, owner, place))
        runs: list[_FrameRun] = []
        for key in sorted(frames):
            work = frames[key]
            if not runs or not runs[-1].take(work):
                runs.append(_FrameRun([work]))
        return runs, elsewhere

    def _restore_run(self, run: _FrameRun) -> None:
        reader, work = self._work.reader, self._work
        try:
            sealed = memoryview(reader.fetch(run.pack, run.start, run.size_bytes))
        except (IntegrityError, NotFoundError):
            sealed = None
        for frame in run.frames:
            decoded: Buffer | None = None
            if sealed is not None:
                at = frame.place.offset - run.start
                try:
                    decoded = reader.decode(sealed[at : at + frame.place.stored_bytes], frame.place)
                except (IntegrityError, NotFoundError):
                    decoded = None  # each file asks for its own chunk then, and may find another copy
            for entry, owner, place in frame.files:
                self._restore_from(decoded, entry, owner, place)
                work.callback.relative_update(entry.size)

    def _restore_from(self, frame: Buffer | None, entry: Entry, owner: Owner, place: ChunkPlace) -> None:
        if frame is not None:
            assert isinstance(entry.content, bytes)
            try:
                data = self._work.reader.check(frame, place, entry.content, entry.size)
            except IntegrityError:
                frame = None
            else:
                self._placed(entry, self.placer().place_file(entry, [data], owner))
                return
        self._restore_single(entry, owner)

    def restore_node(self, entry: Entry, owner: Owner) -> None:
        """A symbolic link, fifo or device."""
        place = self.placer().place_symlink if entry.kind == EntryKind.SYMLINK else self.placer().place_special
        self._placed(entry, place(entry, owner))

    def _placed(self, entry: Entry, placed: bool) -> None:
        if placed and entry.link is not None:
            self._leaders_placed.add(entry.path)

    def _restore_single(self, entry: Entry, owner: Owner) -> None:
        try:
            pieces = [self._work.reader.read(entry.content, entry.size)] if isinstance(entry.content, bytes) else []
            if not pieces and entry.size:
                raise IntegrityError(f"{printable(entry.path)} has {entry.size} bytes and no content")
        except IntegrityError as problem:
            self._work.miss(entry, problem)
            return
        self._placed(entry, self.placer().place_file(entry, pieces, owner))

    def _restore_copy(self, entry: Entry, owner: Owner) -> None:
        if entry.kind != EntryKind.FILE:
            self.restore_node(entry, owner)
        elif entry.content is None or isinstance(entry.content, bytes):
            self._restore_single(entry, owner)
        else:
            self._restore_large(entry, owner)

    def _restore_large(self, entry: Entry, owner: Owner) -> None:
        partial = self.placer().open_file(entry)
        if partial is None:
            return
        with partial:
            try:
                self._write_extents(entry, partial)
            except IntegrityError as problem:
                self._work.miss(entry, problem)
                return
            self._placed(entry, partial.finish(owner))

    def _write_extents(self, entry: Entry, partial: PartialFile | UrlFile) -> None:
        # Chunks are fetched and checked by the workers, some at a time, and written in order by this thread.
        pending: list[tuple[int, int, Future[Buffer]]] = []
        offset = 0
        read = self._work.reader.read
        try:
            for chunk_id, length in self._work.manifests.extents(entry):
                if chunk_id is not None:
                    pending.append((offset, length, self._pool.submit(read, chunk_id, length)))
                else:
                    self._work.callback.relative_update(length)
                offset += length
                if len(pending) >= _CHUNKS_AHEAD:
                    self._write_one(partial, pending.pop(0))
            while pending:
                self._write_one(partial, pending.pop(0))
        finally:
            for _, _, future in pending:
                future.cancel()

    def _write_one(self, partial: PartialFile | UrlFile, piece: tuple[int, int, Future[Buffer]]) -> None:
        offset, length, future = piece
        partial.write_at(offset, future.result())
        self._work.callback.relative_update(length)


_CHUNKS_AHEAD = 8


@attrs.define(eq=False)
class _FrameWork:
    """A frame, and the files whose content lies in it."""

    place: ChunkPlace
    files: list[tuple[Entry, Owner, ChunkPlace]] = attrs.field(factory=list)


@attrs.define(eq=False)
class _FrameRun:
    """Frames that lie next to each other in one pack, fetched with one request."""

    frames: list[_FrameWork]

    @property
    def pack(self) -> str:
        """The pack that they lie in."""
        return self.frames[0].place.pack

    @property
    def start(self) -> int:
        """Where the first one begins."""
        return self.frames[0].place.offset

    @property
    def size_bytes(self) -> int:
        """From the beginning of the first to the end of the last."""
        last = self.frames[-1].place
        return last.offset + last.stored_bytes - self.start

    def take(self, frame: _FrameWork) -> bool:
        """Add a frame, if it is the next one and the run does not grow too long."""
        place = frame.place
        end = self.start + self.size_bytes
        if place.pack != self.pack or place.offset != end or self.size_bytes + place.stored_bytes > RUN_BYTES:
            return False
        self.frames.append(frame)
        return True


def _wait(futures: Sequence[Future[None]]) -> None:
    try:
        for future in futures:
            future.result()
    finally:
        for future in futures:
            future.cancel()


def _is_within(path: bytes, directory: bytes) -> bool:
    return directory == b"" or path.startswith(directory + b"/")


def _not_restored(entry: Entry, problem: IntegrityError) -> Finding:
    subject = printable(entry.path)
    return Finding(
        code=Code.PATH_NOT_RESTORED,
        severity=Severity.ERROR,
        what=f'"{subject}" was not restored: {problem.message} ({problem.code})',
        action="Restore it from an earlier snapshot or from a copy of the repository; verify this repository in full.",
        subject=subject,
    )
