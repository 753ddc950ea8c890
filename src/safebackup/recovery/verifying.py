"""verify: read what is there, compare it with what was promised, and say where it is damaged.

Levels are named by what is read. `structure`: every record, every index, the whole manifest of each snapshot, and
the size of every pack. `sample`: also a part of all packs, each byte of them decoded and hashed; the parts take turns,
so that everything has been read after twenty runs. `full`: every object, every byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import Literal

import attrs
import msgspec

from safebackup.emergency import changed_emergency
from safebackup.errors import Code, ConfigurationError, IntegrityError, NotFoundError, SafeBackupError
from safebackup.events import FindingRaised, NoProgress, Observer, Progress, RunFinished, RunStarted, ignore, logged
from safebackup.findings import Finding, Severity, printable
from safebackup.format.header import FOLDER, Kind, is_object_name, require_digest
from safebackup.format.manifest import (
    Entry,
    EntryKind,
    EvidenceSegment,
    NodeRef,
    PathChecker,
    PathState,
    read_nodes,
    read_refs,
    read_segment,
)
from safebackup.format.objects import decode
from safebackup.format.pack import ChunkPlace
from safebackup.format.records import JournalBody, SnapshotBody
from safebackup.recovery.pack_reading import PackReading, PackResult, Promises
from safebackup.recovery.record_findings import differing_copies, gaps, strangers, void_snapshots
from safebackup.repository import Repository, Snapshot
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.history import VERIFICATION, History, read_history
from safebackup.repository.keys import read_slots
from safebackup.repository.manifests import Manifests, require_same_shape
from safebackup.repository.reading import ChunkReader, kind_of_pack
from safebackup.repository.requesting import is_far
from safebackup.repository.writing import salvage_pack, worker_count
from safebackup.storage import ObjectInfo

SLICES = 20
_FINDINGS_KEPT = 10_000
_PATHS_NAMED = 20
_TRIES = 3
_FOUND_MAX = 1 << 17  # 200 bytes of memory each
_WORKERS_FAR = 4  # which wait for a network most of the time; each has a pack in memory
_PACK_FOLDERS = (f"{FOLDER[Kind.DATA_PACK]}/", f"{FOLDER[Kind.METADATA_PACK]}/")


class Level(StrEnum):
    """How much a verification reads."""

    STRUCTURE = "structure"
    SAMPLE = "sample"
    FULL = "full"


@attrs.frozen(kw_only=True)
class VerifyReport:
    """What was read and what was found. `passed` means that nothing of severity error was.

    `statement` says in one sentence what that proves. `affected` names the damaged snapshots by id.
    """

    level: Level
    passed: bool
    findings: tuple[Finding, ...]
    findings_total: int
    statement: str
    snapshots: int
    affected: tuple[str, ...]
    objects_read: int
    bytes_read: int
    packs_read: int
    packs_total: int
    seconds: float


def verify(
    what: Repository | Snapshot,
    *,
    level: Level | Literal["structure", "sample", "full"] = Level.FULL,
    record: bool = True,
    workers: int | None = None,
    callback: Progress | None = None,
    observer: Observer = ignore,
) -> VerifyReport:
    """Verify a repository, or one snapshot in it; leaves a record in the journal unless `record` is false.

    Damage is returned as findings. `callback` follows fsspec's convention and counts bytes of packs.

    Raises:
        StorageError: the store could not be read, so that nothing was proved.
        NotFoundError: the snapshot is not there any more.
        ConfigurationError: the key does not open everything in the repository (`Code.KEY_REQUIRED`).
    """
    if not isinstance(what, Repository | Snapshot):
        raise ConfigurationError(
            f"{type(what).__name__} cannot be verified", hint="Give a repository, or a snapshot of one."
        )
    repository = what if isinstance(what, Repository) else what.require_repository()
    workers = worker_count(workers, least=_WORKERS_FAR if is_far(repository.store) else 2)
    try:
        level = Level(level)
    except ValueError:
        raise ConfigurationError(
            f"level={level!r} is none of 'structure', 'sample', 'full'",
            hint='"full" reads every byte; "sample" a twentieth of the packs; "structure" records and manifests.',
        ) from None
    clock = repository.runtime.clock
    began, started = clock.monotonic(), clock.now()
    observer = logged(observer)
    run = repository.runtime.random(16)
    observer(RunStarted(run=run.hex(), verb="verify", subject=f"{repository.url} at level {level}"))

    def begin() -> _Verification:
        history = read_history(repository.store, repository.identity, copies=False)
        closed = next((one for one in history.problems.values() if one.code is Code.KEY_REQUIRED), None)
        if closed is not None and isinstance(what, Repository):
            raise closed  # what this key does not open is not damaged, and cannot be verified
        return _Verification(
            repository=repository,
            history=history,
            reader=repository.reader(),
            level=level,
            callback=callback or NoProgress(),
            observer=observer,
            run=run,
            workers=workers,
            chosen=_chosen(what, history),
            whole=isinstance(what, Repository),
        )

    work = _perform(begin, repository)
    report = work.finish(clock.monotonic() - began)
    if record:
        try:
            write_journal(repository, _journal(repository, work, report, started))
        except SafeBackupError as problem:
            report = attrs.evolve(report, findings=(*report.findings, _unrecorded(problem)))
    observer(
        RunFinished(
            run=run.hex(), verb="verify", outcome="passed" if report.passed else "damaged", seconds=report.seconds
        )
    )
    return report


def _perform(begin: Callable[[], _Verification], repository: Repository) -> _Verification:
    """Verify; beside a deletion things move while they are looked at, and what is wrong then is looked at again."""
    tries = 0
    while True:
        tries += 1
        before = _deletions(repository)
        work = begin()
        work.perform()
        if not work.failed or tries == _TRIES or _deletions(repository) == before:
            return work


def _unrecorded(problem: SafeBackupError) -> Finding:
    return Finding(
        code=problem.code,
        severity=Severity.WARNING,
        what=f"the result could not be recorded in the journal: {problem.message}",
        action="Mend the store, then verify again, so that later backups know of it.",
    )


def _deletions(repository: Repository) -> set[str]:
    """What changes when somebody deletes: doom records are added, snapshots go."""
    return {info.name for folder in ("dooms/", "snapshots/") for info in repository.store.list(folder)}


def _chosen(what: Repository | Snapshot, history: History) -> dict[str, SnapshotBody]:
    if isinstance(what, Repository):
        return dict(history.snapshots)
    if what.name in history.snapshots:
        return {what.name: history.snapshots[what.name]}
    if what.name in history.problems:
        raise history.problems[what.name]
    raise NotFoundError(f"snapshot {what.id[:12]} is not there any more", code=Code.NO_SNAPSHOT)


def _journal(repository: Repository, work: _Verification, report: VerifyReport, started: int) -> JournalBody:
    body = journal_body(
        repository,
        run=work.run,
        kind=VERIFICATION,
        outcome="passed" if report.passed else "damaged",
        started=started,
        heads=work.history.heads,
    )
    return msgspec.structs.replace(
        body,
        snapshots=tuple(sorted(name for name in work.chosen if name.partition("/")[2] not in report.affected)),
        affected=tuple(sorted(work.affected)),
        damaged=tuple(sorted(work.damaged_packs)),
        facts={
            "level": str(report.level),
            "findings": report.findings_total,
            "whole": work.whole,
            "packs_read": report.packs_read,
            "packs_total": report.packs_total,
            "slice": work.slice if report.level is Level.SAMPLE else -1,
        },
    )


@attrs.define(kw_only=True, eq=False)
class _Verification:
    repository: Repository
    history: History
    reader: ChunkReader
    level: Level
    callback: Progress
    observer: Observer
    run: bytes
    workers: int
    chosen: dict[str, SnapshotBody]
    whole: bool  # the repository, not one snapshot
    findings: list[Finding] = attrs.field(factory=list)
    findings_total: int = 0
    failed: bool = False
    affected: set[str] = attrs.field(factory=set)
    objects_read: int = 0
    bytes_read: int = 0
    packs_read: int = 0
    packs_total: int = 0
    slice: int = 0
    _sizes: dict[str, int] = attrs.field(factory=dict)
    damaged_packs: set[str] = attrs.field(factory=set)  # gone, cut short, or damaged somewhere
    _bad_places: set[tuple[str, bytes]] = attrs.field(factory=set)  # pack, chunk id
    _needed_packs: set[str] = attrs.field(factory=set)
    # Segments that were looked at, with what came before them: their files, and what comes behind.
    _checked: dict[tuple[bytes, bytes, PathState], tuple[int, PathState]] = attrs.field(factory=dict)
    _bad_chunks: set[bytes] = attrs.field(factory=set)
    # Contents of small files that have a good place, and their sizes: a snapshot shares most with the one before.
    _found: set[tuple[bytes, int]] = attrs.field(factory=set)
    _condemned: set[str] = attrs.field(factory=set)  # doomed packs that hold the only copy of something
    _promises: Promises = attrs.field(factory=Promises)
    _readings: list[PackReading] = attrs.field(factory=list)

    def perform(self) -> None:
        """Read what the level asks for."""
        objects = self.repository.store.list("")
        self._sizes = {info.name: info.size_bytes for info in objects}
        self._check_records(objects)
        self._check_indexes()
        try:
            self._check_content_of_all()
        finally:
            for reading in self._readings:
                reading.close()

    def _check_content_of_all(self) -> None:
        early: list[str] = []
        if self.whole:
            self._check_pack_sizes()
            if self.level is Level.FULL:
                # All of these will be read whatever the snapshots need, so threads begin at once.
                early = self._pack_names()
                self._start_reading(early)
        for name, body in self.chosen.items():
            self._check_snapshot(name, body)
        for name in sorted(self._condemned):
            self._find(
                Code.CONDEMNED_PACK,
                Severity.WARNING,
                f"{name} is condemned and holds the only copy of something that a snapshot needs",
                "If a deletion is under way, let it finish; otherwise make a new backup, which stores that again.",
                name,
            )
        self._read_packs(early)
        if self._bad_chunks or self._bad_places:
            self._locate()

    def finish(self, seconds: float) -> VerifyReport:
        """The report."""
        return VerifyReport(
            level=self.level,
            passed=not self.failed,
            findings=tuple(self.findings),
            findings_total=self.findings_total,
            statement=self._statement(),
            snapshots=len(self.chosen),
            affected=tuple(sorted(name.partition("/")[2] for name in self.affected)),
            objects_read=self.objects_read,
            bytes_read=self.bytes_read,
            packs_read=self.packs_read,
            packs_total=self.packs_total,
            seconds=seconds,
        )

    # Records

    def _check_records(self, objects: list[ObjectInfo]) -> None:
        for name, problem in self.history.problems.items():
            if problem.code is not Code.KEY_REQUIRED:  # newer than this key: no damage, and not of this snapshot
                self._damaged(name, problem)
        found = [gaps(self.history)]
        if self.whole:
            found += [differing_copies(self.history), void_snapshots(self.history), strangers(objects)]
            found.append(changed_emergency(self.repository.store, self._sizes))
            slots = read_slots(self.repository.store, self.repository.configurations.repository)
            for name, problem in slots[1].items():
                self._damaged(name, problem)
        for finding in chain.from_iterable(found):
            self._take(finding)
        if self.whole and self.level is Level.FULL:
            for info in objects:
                if is_object_name(info.name) and not info.name.startswith(_PACK_FOLDERS):
                    self._check_digest(info)

    def _check_digest(self, info: ObjectInfo) -> None:
        try:
            data = self.repository.store.get(info.name)
            self._was_read(data)
            require_digest(info.name, data)
        except (IntegrityError, NotFoundError) as problem:
            if info.name not in self.history.problems and info.name not in self.reader.index.problems:
                self._damaged(info.name, problem)

    # Indexes

    def _check_indexes(self) -> None:
        index = self.reader.index
        for loaded in index.visible.values():
            previous = b""
            try:
                promises = Promises()
                for entry in index.entries(loaded):
                    if entry[0] < previous:
                        raise IntegrityError(f"{loaded.name} is not sorted", code=Code.INDEX_MISMATCH)
                    previous = entry[0]
                    promises.add(entry)
            except (IntegrityError, NotFoundError) as caught:
                index.problems[loaded.name] = caught
            else:
                self._promises.add_all(promises)
        for name, problem in index.problems.items():
            self._damaged(name, problem)

    def _check_pack_sizes(self) -> None:
        doomed = self.reader.index.doomed
        for loaded in self.reader.index.visible.values():
            for row in loaded.table.packs:
                if row.name in doomed or row.name in self.damaged_packs:
                    continue
                found = self._sizes.get(row.name)
                if found is None:
                    self.damaged_packs.add(row.name)
                    self._find(
                        Code.MISSING_OBJECT,
                        Severity.ERROR,
                        f"{row.name} is named by an index and is not there",
                        "Bring it back from a copy of the repository.",
                        row.name,
                    )
                elif found != row.size_bytes:
                    self.damaged_packs.add(row.name)
                    self._find(
                        Code.WRONG_SIZE,
                        Severity.ERROR,
                        f"{row.name} has {found} bytes where its index says {row.size_bytes}",
                        "Bring it back from a copy of the repository.",
                        row.name,
                    )

    # Snapshots

    def _check_snapshot(self, name: str, body: SnapshotBody) -> None:
        entries = files = content_bytes = 0
        try:
            checker = PathChecker()
            fetch = self.reader.read_metadata
            evidence = read_refs(fetch, body.evidence)
            if self.reader.index.doomed:
                for chunk, _ in chain(read_nodes(fetch, body.manifest), read_nodes(fetch, body.evidence)):
                    if self.reader.index.find(chunk) is None:
                        self._condemn(place.pack for place in self.reader.index.find_all(chunk))
            for ref, evidence_ref in zip(read_refs(fetch, body.manifest), evidence, strict=True):
                entries += ref.entries
                content_bytes += ref.content_bytes
                files += self._check_segment(ref, evidence_ref, checker)
        except ConfigurationError:
            raise  # it cannot be judged with this key or this release
        except (IntegrityError, ValueError, NotFoundError) as problem:
            self.affected.add(name)
            message = problem.message if isinstance(problem, SafeBackupError) else str(problem)
            self._find(
                problem.code if isinstance(problem, SafeBackupError) else Code.DAMAGED_MANIFEST,
                Severity.ERROR,
                f"the manifest of snapshot {name.partition('/')[2][:12]} cannot be read whole: {message}",
                "Restore what can be restored; use an earlier snapshot or a replica for the rest.",
                name,
            )
            return
        if (entries, files, content_bytes) != (body.entries, body.files, body.content_bytes):
            self.affected.add(name)
            self._find(
                Code.MANIFEST_MISMATCH,
                Severity.ERROR,
                f"snapshot {name.partition('/')[2][:12]} promises {body.entries} entries, {body.files} files and "
                f"{body.content_bytes} bytes; its manifest has {entries}, {files} and {content_bytes}",
                "Treat it as incomplete; make a new backup.",
                name,
            )

    def _check_segment(self, ref: NodeRef, evidence_ref: NodeRef, checker: PathChecker) -> int:
        """The number of files in a segment; one that follows the same paths as before is not read twice."""
        key = (ref.chunk, evidence_ref.chunk, checker.state)
        if (known := self._checked.get(key)) is not None:
            files, checker.state = known
            return files
        segment = read_segment(self.reader.read_metadata(ref.chunk, ref.chunk_bytes), ref)
        rows = self.reader.read_metadata(evidence_ref.chunk, evidence_ref.chunk_bytes)
        require_same_shape(segment, decode(rows, EvidenceSegment, name="change evidence"))
        size = files = 0
        for entry in segment.entries:
            checker.check(entry)
            files += entry.kind == EntryKind.FILE
            size += entry.size
            self._check_content(entry)
        if size != ref.content_bytes:
            raise IntegrityError(
                f"a segment of {size} bytes is listed with {ref.content_bytes}", code=Code.MANIFEST_MISMATCH
            )
        self._checked[key] = files, checker.state
        return files

    def _condemn(self, packs: Iterable[str]) -> None:
        """Packs that hold the only copy of something, as far as they are doomed and still there."""
        self._condemned.update(pack for pack in packs if pack in self.reader.index.doomed and pack in self._sizes)

    def _check_content(self, entry: Entry) -> None:
        """Look for a place of every chunk; places that turn out bad are found when packs are read."""
        content = (entry.content, entry.size) if isinstance(entry.content, bytes) else None
        if content in self._found:
            return
        index = self.reader.index
        doomed = index.doomed
        needs = [content] if content is not None else (need[1:] for need in Manifests(self.reader).entry_needs(entry))
        for chunk_id, length in needs:
            good = []
            for place in index.find_all(chunk_id):
                if self._is_good(place, chunk_id, length):
                    good.append(place.pack)
                    if self.whole and place.pack not in doomed:
                        break  # others make no difference
            self._needed_packs.update(() if self.whole else good)
            if not good:
                self._bad_chunks.add(chunk_id)
                continue
            if doomed.issuperset(good):
                self._condemned.update(good)
            if content is not None:
                if len(self._found) == _FOUND_MAX:
                    self._found.clear()
                self._found.add(content)

    def _is_good(self, place: ChunkPlace, chunk_id: bytes, length: int) -> bool:
        return (
            place.chunk_bytes == length
            and place.pack in self._sizes
            and place.offset + place.stored_bytes <= self._sizes[place.pack]
            and (place.pack, chunk_id) not in self._bad_places
        )

    # Packs

    def _start_reading(self, names: Iterable[str]) -> None:
        self._readings.append(
            PackReading(self.repository.store, self.repository.identity, names, self._promises, workers=self.workers)
        )

    def _read_packs(self, early: list[str]) -> None:
        names = self._pack_names()
        self.packs_total = len(names)
        if self.level is Level.STRUCTURE:
            return
        if self.level is Level.SAMPLE:
            names = self._sampled(names)
        self.callback.set_size(sum(self._sizes[name] for name in names))
        self._start_reading(sorted({*names}.difference(early)))
        for result in chain.from_iterable(self._readings):
            self._take_pack(result)

    def _take_pack(self, result: PackResult) -> None:
        name, places = result.name, result.places
        self.packs_read += 1
        self.objects_read += 1
        self.bytes_read += result.size_bytes
        if result.problem is not None:
            self.damaged_packs.add(name)
            self._damaged(name, result.problem)
            self._compare(name, self._salvage(name))
        elif places is not None and self._confirmed(places) != self._promises.count(name):
            self._compare(name, places)
        self.callback.relative_update(self._sizes[name])

    def _pack_names(self) -> list[str]:
        doomed = self.reader.index.doomed - self._condemned
        return [
            name
            for name in sorted(self._sizes)
            if name.startswith(_PACK_FOLDERS)
            and is_object_name(name)
            and name not in doomed
            and (self.whole or name in self._needed_packs)
        ]

    def _sampled(self, names: list[str]) -> list[str]:
        """The packs of this turn's part; parts that are empty are passed over."""
        self.slice = self._next_slice()
        for _ in range(SLICES):
            chosen = [name for name in names if int(name.rpartition("/")[2][:8], 16) % SLICES == self.slice]
            if chosen:
                return chosen
            self.slice = (self.slice + 1) % SLICES
        return []

    def _next_slice(self) -> int:
        """The part after that of the last sample, so that all have had their turn after twenty."""
        taken = [
            (body.started, part)
            for body in self.history.journal.values()
            if body.kind == VERIFICATION and body.facts.get("level") == str(Level.SAMPLE)
            if body.facts.get("whole") == self.whole
            if isinstance(part := body.facts.get("slice"), int) and 0 <= part < SLICES
        ]
        if not taken:
            return int.from_bytes(self.repository.runtime.random(4), "big") % SLICES
        return (max(taken)[1] + 1) % SLICES

    def _confirmed(self, places: dict[bytes, ChunkPlace]) -> int:
        """How many entries of indexes say of these chunks just what was found."""
        find_all = self.reader.index.find_all
        return sum(found == place for chunk_id, place in places.items() for found in find_all(chunk_id))

    def _salvage(self, name: str) -> dict[bytes, ChunkPlace]:
        """The chunks of a damaged pack that still decode to their ids."""
        try:
            data = self.repository.store.get(name)
        except (IntegrityError, NotFoundError):
            return {}
        kind = kind_of_pack(name)
        places = list(self._all_indexed(name))
        return dict(salvage_pack(name, data, kind, self.repository.identity, self.reader.ids, places))

    def _all_indexed(self, name: str) -> Iterator[tuple[bytes, ChunkPlace]]:
        for loaded in self.reader.index.visible.values():
            if loaded.name in self.reader.index.problems:
                continue
            for chunk_id, place in self.reader.index.entries(loaded):
                if place.pack == name:
                    yield chunk_id, place

    def _compare(self, name: str, found: dict[bytes, ChunkPlace]) -> None:
        """Name the chunks that an index promises in a pack and that are not there as promised."""
        promised = list(self._all_indexed(name))
        wrong = [chunk_id for chunk_id, place in promised if found.get(chunk_id) != place]
        if not wrong:
            return
        self.damaged_packs.add(name)
        self._bad_places.update((name, chunk_id) for chunk_id in wrong)
        self._find(
            Code.INDEX_MISMATCH,
            Severity.ERROR,
            f"{name} lacks {len(wrong)} of the {len(promised)} chunks that an index says it holds",
            "Bring the pack back from a copy of the repository.",
            name,
        )

    # Where the damage is

    def _locate(self) -> None:
        """Name the files that lost something: a chunk is lost where no good place is left."""
        for name, body in self.chosen.items():
            paths: list[str] = []
            total = 0
            try:
                for _, entries in Manifests(self.reader).segments(body.manifest):
                    for entry in entries:
                        if self._has_lost(entry):
                            total += 1
                            if len(paths) < _PATHS_NAMED:
                                paths.append(printable(entry.path))
            except (IntegrityError, NotFoundError):
                pass  # its manifest was reported already
            if total:
                self.affected.add(name)
                more = f" and {total - len(paths)} more" if total > len(paths) else ""
                self._find(
                    Code.MISSING_CHUNK,
                    Severity.ERROR,
                    f"snapshot {name.partition('/')[2][:12]} cannot restore {total} files: {', '.join(paths)}{more}",
                    "Restore them from another snapshot or a copy of the repository; a new backup stores them again.",
                    name,
                )

    def _has_lost(self, entry: Entry) -> bool:
        return any(
            not any(self._is_good(place, chunk_id, length) for place in self.reader.index.find_all(chunk_id))
            for _, chunk_id, length in Manifests(self.reader).entry_needs(entry)
        )

    # Findings

    def _damaged(self, name: str, problem: SafeBackupError) -> None:
        self._find(problem.code, Severity.ERROR, problem.message, problem.hint, name)
        if name.startswith("snapshots/"):
            self.affected.add(name)

    def _find(self, code: Code, severity: Severity, what: str, action: str, subject: str) -> None:
        self._take(Finding(code=code, severity=severity, what=what, action=action, subject=subject))

    def _take(self, finding: Finding) -> None:
        self.findings_total += 1
        self.failed = self.failed or finding.severity is Severity.ERROR
        if len(self.findings) < _FINDINGS_KEPT:
            self.findings.append(finding)
        self.observer(FindingRaised(run=self.run.hex(), finding=finding))

    def _was_read(self, data: bytes) -> None:
        self.objects_read += 1
        self.bytes_read += len(data)

    def _statement(self) -> str:
        count = len(self.chosen)
        scope = f"{count} snapshot" + ("" if count == 1 else "s")
        if self.failed:
            lost = f"{len(self.affected)} of {scope} cannot be restored whole" if self.affected else ""
            if gone := len(self.history.lost_snapshots):
                which = "snapshot that was published is" if gone == 1 else "snapshots that were published are"
                lost += f"{', ' if lost else ''}{gone} {which} gone"
            lost = lost or "no snapshot needs what is damaged"
            return f"Damage was found: {lost}. {self.packs_read} of {self.packs_total} packs were read."
        if not self.chosen:
            return "There is no snapshot to verify; what is there was read."
        if self.level is Level.STRUCTURE:
            return f"Every record, index and manifest of {scope} was read; of {self.packs_total} packs only the size."
        if self.level is Level.FULL or self.packs_read == self.packs_total:
            packs = f"{self.packs_read} pack" + ("" if self.packs_read == 1 else "s")
            return f"Every byte of {scope} in {packs} was read, decoded and hashed."
        if not self.packs_read:
            return f"There are no packs of {scope}; structure alone was read."
        power = self.packs_read / self.packs_total
        bound = 1 - 0.05 ** (1 / self.packs_read)
        return (
            f"{self.packs_read} of {self.packs_total} packs were read, part {self.slice + 1} of {SLICES}. If all were "
            f"good: with 95 % confidence fewer than {bound:.1%} of packs are bad; one bad pack would have been found "
            f"with p = {power:.0%}. All are read after {SLICES} samples."
        )
