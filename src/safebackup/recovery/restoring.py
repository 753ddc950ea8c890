"""restore: put a snapshot, or parts of it, into a folder, or below a URL.

Entries come in manifest order and are handled in windows, so that memory does not grow with their number. Within
a window frames are fetched in the order in which they are stored, each once; every chunk is hashed against its id
before a byte of it is written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Literal, TypeVar

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError, RefusedError
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
from safebackup.format.manifest import Entry, EntryKind
from safebackup.recovery.crew import AnyPlacer, Crew, Placed, Window
from safebackup.recovery.owners import OwnerMap, Owners
from safebackup.recovery.placing import (
    Overwrite,
    Owner,
    Placer,
    Shortfalls,
    open_target,
    sync_target,
)
from safebackup.recovery.placing_process import PlacingProcess
from safebackup.recovery.selection import AnyPath, Selection
from safebackup.recovery.target import require_target
from safebackup.recovery.url_placing import UrlPlacer
from safebackup.recovery.url_target import UrlTarget
from safebackup.remotes import is_remote, shown
from safebackup.repository import Repository, Snapshot
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.requesting import is_far
from safebackup.repository.writing import worker_count

FILES_FOR_PROCESSES = 2000  # below, starting a process costs more than it brings
_FINDINGS_KEPT = 1000
_WORKERS_FAR = 8  # which wait for a network most of the time

Choice = TypeVar("Choice", bound=StrEnum)


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
    is_waiting = url is not None or is_far(repository.store)
    workers = worker_count(workers, least=_WORKERS_FAR if is_waiting else 2)
    target = shown(url).encode("utf-8", "surrogateescape") if url is not None else _target_path(to)
    _refuse_repository(target, repository)
    clock = repository.runtime.clock
    began = clock.monotonic()
    observer = logged(observer)
    run = repository.runtime.random(16).hex()
    observer(RunStarted(run=run, verb="restore", subject=f"{snapshot.id[:12]} to {printable(target)}"))
    reader = repository.reader()
    plan = Selection(Manifests(reader), snapshot, paths)
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
    for finding in _remarks(snapshot, target if url is None else b""):
        work.report(finding)
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


def _restore_to_url(work: _Restore, plan: Selection, target: UrlTarget, workers: int, *, dry_run: bool) -> None:
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


def _remarks(snapshot: Snapshot, target: bytes) -> Iterator[Finding]:
    """What is worth knowing before anything is restored; `target` is empty where it is no folder of this machine."""
    if not snapshot.complete:
        yield Finding(
            code=Code.SNAPSHOT_INCOMPLETE,
            severity=Severity.WARNING,
            what=f"snapshot {snapshot.id[:12]} was incomplete when it was made: paths that could not be read then are "
            "not in it",
            action="If something is missing, look for it in an older snapshot, or in another backup.",
            subject=snapshot.id[:12],
        )
    is_here = snapshot.host == snapshot.require_repository().runtime.host
    roots = [root for _, root in snapshot.body.roots if root.startswith(b"/") and root != b"/" and b"\0" not in root]
    for root in roots if is_here and target else ():
        if os.path.realpath(target).startswith(os.path.realpath(root) + b"/"):
            yield Finding(
                code=Code.TARGET_IN_SOURCE,
                severity=Severity.WARNING,
                what=f"the target {printable(target)} lies in {printable(root)}, which the snapshot was made of",
                action="Move it elsewhere before the next backup, which would store it again.",
                subject=printable(target),
            )


def _choice(kind: type[Choice], value: str, name: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(repr(str(one)) for one in kind)
        raise ConfigurationError(
            f"{name}={value!r} is none of {known}", hint=f"Leave {name} out, or write one of them."
        ) from None


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

    def rehearse(self, plan: Selection) -> None:
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

    def perform(self, plan: Selection, path: bytes, workers: int) -> None:
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

            def process(placed: Placed) -> PlacingProcess | None:
                if plan.files < FILES_FOR_PROCESSES or workers == 1:
                    return None
                return PlacingProcess.start(
                    target, overwrite=self.overwrite, devices=self.devices, report=self.report, placed=placed
                )

            self._restore_all(plan, self._crew(workers, placer, process, can_read_again=True), shortfalls)
            sync_target(target)
        for finding in shortfalls.findings():
            self.report(finding)

    def perform_at_url(self, plan: Selection, target: UrlTarget, workers: int) -> None:
        """The same below a URL; then see that everything is there."""
        shortfalls = Shortfalls()
        target.create()
        placer = UrlPlacer(target, overwrite=self.overwrite, report=self.report, shortfalls=shortfalls)
        self._restore_all(plan, self._crew(workers, lambda: placer, lambda _: None, can_read_again=False), shortfalls)
        files = (one.entry for one in plan if one.entry.kind == EntryKind.FILE)
        placer.confirm(entry for entry in files if entry.path not in self.lost)
        for finding in shortfalls.findings():
            self.report(finding)

    def _crew(
        self,
        workers: int,
        placer: Callable[[], AnyPlacer],
        process: Callable[[Placed], PlacingProcess | None],
        *,
        can_read_again: bool,
    ) -> Crew:
        return Crew(
            self.reader,
            workers=workers,
            new_placer=placer,
            new_process=process,
            miss=self.miss,
            callback=self.callback,
            can_read_again=can_read_again,
        )

    def _restore_all(self, plan: Selection, crew: Crew, shortfalls: Shortfalls) -> None:
        try:
            self._restore_entries(plan, crew)
            crew.finish(shortfalls)
        finally:
            crew.close()

    def _restore_entries(self, plan: Selection, crew: Crew) -> None:
        placer = crew.placer()
        open_directories: list[tuple[Entry, Owner]] = []
        leaders: dict[bytes, Entry] = {}
        window = Window()
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
                window = Window()
        window.finished.extend(reversed(open_directories))
        crew.restore(window)

    def _is_linked(self, entry: Entry, leaders: dict[bytes, Entry]) -> bool:
        """Whether this is a further name of a file whose first name was restored before, with the same content."""
        assert entry.link is not None
        leader = leaders.setdefault(entry.link, entry)
        facts = [(one.kind, one.size, one.content, one.target, one.device) for one in (leader, entry)]
        return leader is not entry and facts[0] == facts[1]

    def _take_file(self, window: Window, entry: Entry, owner: Owner) -> None:
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
