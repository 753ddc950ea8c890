"""drill: rehearse a restore, compare what came back with what was read, ask the caller's checks, and keep the result.

It restores through `restore` itself, into a private folder far from the source. Three outcomes, of which one is a
success: proved; failed, when something came back wrong or a check said no; could not check, when nothing was learned.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError
from safebackup.events import NoProgress, Observer, Progress, RunFinished, RunStarted, ignore, logged
from safebackup.findings import printable
from safebackup.format.manifest import EntryKind
from safebackup.recovery.checks import AnyCheck, Check, CheckResult, Outcome, checks_of, run_check
from safebackup.recovery.drill_report import CHECKS, CLEAN_UP, COMPARE, RESTORE, DrillReport, Phase, with_report
from safebackup.recovery.leftovers import left_by_drills, removal_command
from safebackup.recovery.lessons import Lessons
from safebackup.recovery.matching import Conditions, Deviation, Matched, match_tree
from safebackup.recovery.restoring import RestoreReport, restore
from safebackup.recovery.scratch import (
    Place,
    Scratch,
    choose_place,
    make_scratch,
    remove,
    require_safe,
)
from safebackup.recovery.selection import AnyPath
from safebackup.repository import Repository, Snapshot
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.history import DRILL, History
from safebackup.repository.manifests import Manifests
from safebackup.repository.repository import bind
from safebackup.repository.writing import worker_count


def drill(
    snapshot: Snapshot,
    *,
    scratch: AnyPath | None = None,
    checks: Iterable[AnyCheck] = (),
    keep: bool = False,
    record: bool = True,
    workers: int | None = None,
    callback: Progress | None = None,
    observer: Observer = ignore,
) -> DrillReport:
    """Restore a snapshot to a safe place, compare every path with what was read at the backup, and run `checks`.

    `scratch` names a new or empty folder; without it a private one is made among the temporary files. What was
    restored is removed afterwards unless `keep`, and in any case if something is raised. A record is left in the
    journal unless `record` is false. `callback` counts each byte twice: restored, and compared.

    Raises:
        ConfigurationError: an argument makes no sense, or the snapshot is bound to no repository.
        RefusedError: the scratch folder holds something, or lies in the repository, or on, in, around or beside the
            source; nothing was written.
        NotFoundError: the snapshot is not there any more.
    """
    if not isinstance(snapshot, Snapshot):
        raise ConfigurationError(
            f"{type(snapshot).__name__} is no snapshot", hint="Ask for one: Repository.open(…).snapshot()."
        )
    repository = snapshot.require_repository()
    run = repository.runtime.random(16)
    work = _Drill(
        snapshot=snapshot,
        repository=repository,
        place=choose_place(scratch),
        checks=checks_of(checks),
        keep=keep,
        workers=worker_count(workers),
        callback=callback or NoProgress(),
        observer=observer,
        run=run,
        lessons=Lessons(run.hex(), logged(observer)),
    )
    clock = repository.runtime.clock
    began, outcome = clock.monotonic(), "raised"
    work.lessons.emit(RunStarted(run=run.hex(), verb="drill", subject=snapshot.id[:12]))
    try:
        report = work.perform(record=record)
        outcome = str(report.outcome)
    finally:
        seconds = clock.monotonic() - began
        work.lessons.emit(RunFinished(run=run.hex(), verb="drill", outcome=outcome, seconds=seconds))
    return report


@attrs.define(kw_only=True, eq=False)
class _Drill:
    snapshot: Snapshot
    repository: Repository
    place: Place
    checks: tuple[Check, ...]
    keep: bool
    workers: int
    callback: Progress
    observer: Observer
    run: bytes
    lessons: Lessons
    phases: list[Phase] = attrs.field(factory=list)
    results: list[CheckResult] = attrs.field(factory=list)
    history: History | None = None
    matched: Matched | None = None
    is_restored: bool = False
    left: str = ""

    def perform(self, *, record: bool) -> DrillReport:
        """The whole drill."""
        clock = self.repository.runtime.clock
        began, started = clock.monotonic(), clock.now()
        scratch = self._prepared()
        if scratch is not None:
            self._use(scratch)
        else:
            self._ask_nothing()
        lessons, matched = self.lessons, self.matched or Matched()
        report = DrillReport(
            outcome=lessons.outcome,
            snapshot=self.snapshot,
            statement=self._statement(),
            phases=tuple(self.phases),
            checks=tuple(self.results),
            findings=tuple(lessons.findings),
            findings_total=lessons.findings_total,
            restored=self.is_restored,
            files=matched.files,
            content_bytes=matched.content_bytes,
            scratch=self.left,
            recorded=False,
            seconds=clock.monotonic() - began,
        )
        return self._recorded(report, started) if record else report

    # Before anything is written

    def _prepared(self) -> Scratch | None:
        """The scratch folder; None where nothing can be restored."""
        scratch = history = None
        with self.lessons.learning():
            require_safe(self.place, [path for _, path in self.snapshot.body.roots], self.repository.url)
            history = self.repository.history()
        if history is not None:
            self._find(history)
        if self.lessons.outcome is Outcome.PROVED:
            with self.lessons.learning():
                self._require_space()
                self._tell_of_earlier_ones()
                scratch = make_scratch(self.place)
        return scratch

    def _tell_of_earlier_ones(self) -> None:
        paths = [] if self.place.named else left_by_drills(self.place.above)
        if paths:
            self.lessons.note(
                Code.DRILL_CLEANUP,
                f"earlier drills, killed or told to keep it, have left restored data in {printable(self.place.above)}: "
                + ", ".join(printable(os.path.basename(path)) for path in paths),
                action=f"Run: {removal_command(paths)}",
                subject=printable(paths[0]),
            )

    def _find(self, history: History) -> None:
        """Make sure that the snapshot is still there, and remember what the journal said when the drill began."""
        self.history = history
        if (problem := history.problems.get(self.snapshot.name)) is not None:
            self.lessons.learn(problem)
        elif self.snapshot.name not in history.snapshots:
            raise NotFoundError(
                f"snapshot {self.snapshot.id[:12]} is not there any more",
                code=Code.NO_SNAPSHOT,
                hint="Choose another one: Repository.open(…).snapshots() lists them.",
            )

    def _require_space(self) -> None:
        status = os.statvfs(self.place.nearest)
        free, needed = status.f_bavail * status.f_frsize, self.snapshot.content_bytes
        if needed > free:
            needed = self._bytes_without_holes()
        if needed > free:
            raise StorageError(
                f"{printable(self.place.nearest)} has {free:,} bytes free, and the snapshot needs {needed:,}",
                code=Code.STORE_FULL,
                hint="Free space there, or name a larger place: scratch=…",
            )

    def _bytes_without_holes(self) -> int:
        manifests, total, seen = Manifests(self.repository.reader()), 0, set[bytes]()
        for _, entries in manifests.segments(self.snapshot.body.manifest):
            for entry in entries:
                if entry.kind == EntryKind.FILE and (entry.link is None or entry.link not in seen):
                    total += sum(length for chunk, length in manifests.extents(entry) if chunk is not None)
                    seen.update({entry.link} if entry.link is not None else ())
        return total

    # In the scratch folder

    def _use(self, scratch: Scratch) -> None:
        is_kept = False
        try:
            report = self._restored(scratch)
            if report is not None:
                self._compare(scratch, report)
                self.is_restored = self.lessons.outcome is not Outcome.FAILED
                self._ask(scratch)
            else:
                self._ask_nothing()
            is_kept = self.keep
        finally:
            self._tell_if_moved(scratch)
            if is_kept:
                self.left = printable(scratch.path)
                scratch.release()
            else:
                self._clean_up(scratch)

    def _restored(self, scratch: Scratch) -> RestoreReport | None:
        self.callback.set_size(2 * self.snapshot.content_bytes)
        report = None
        with self.lessons.learning(), self._timed(RESTORE, self.snapshot.content_bytes):
            report = restore(
                self.snapshot,
                scratch.restored,
                workers=self.workers,
                callback=_Onward(self.callback),
                observer=self.observer,
            )
        if report is not None:
            self.lessons.keep(list(report.findings), total=report.findings_total)
            self.lessons.conclude(Outcome.PROVED if report.complete else Outcome.FAILED)
        return report

    def _compare(self, scratch: Scratch, report: RestoreReport) -> None:
        conditions = Conditions(
            holds_metadata=all(finding.code is not Code.METADATA_NOT_SET for finding in report.findings),
            is_root=os.geteuid() == 0,
            workers=self.workers,
            callback=self.callback,
        )
        with self.lessons.learning(), self._timed(COMPARE, self.snapshot.content_bytes):
            folder, manifests = scratch.hold_restored(), Manifests(self.repository.reader())
            self.matched = match_tree(folder, self.snapshot.body.manifest, manifests, conditions, self._take_deviation)
            self._weigh_snapshot(self.matched)

    def _take_deviation(self, deviation: Deviation) -> None:
        action = 'Run verify(repository, level="full"); until then rely on another snapshot.'
        if deviation.outcome is Outcome.COULD_NOT_CHECK:
            action = "Run the drill as root, with its scratch folder on a file system like that of the source."
        path = printable(deviation.path)
        self.lessons.note(
            deviation.code, f'"{path}" {deviation.what}', action=action, subject=path, outcome=deviation.outcome
        )

    def _weigh_snapshot(self, matched: Matched) -> None:
        """What the snapshot says of itself, and whether that lets it be proved."""
        body = self.snapshot.body
        promised = (body.entries, body.files, body.content_bytes)
        found = (matched.entries, matched.files, matched.content_bytes)
        if found != promised:
            self.lessons.note(
                Code.MANIFEST_MISMATCH,
                "the snapshot promises {:,} entries, {:,} files and {:,} bytes; ".format(*promised)
                + "its manifest has {:,}, {:,} and {:,}".format(*found),
                action="Treat it as incomplete; make a new backup.",
                outcome=Outcome.FAILED,
            )
        if not self.snapshot.complete:
            self.lessons.note(
                Code.DRILL_NO_REFERENCE,
                "the snapshot is incomplete: for what it lacks there is nothing to compare with",
                action="Mend what the backup could not read, back up again, and drill that snapshot.",
                outcome=Outcome.COULD_NOT_CHECK,
            )
        if matched.torn:
            self.lessons.note(
                Code.PATH_TORN,
                f"{matched.torn:,} files changed while they were read at the backup; they came back as they were read",
                action="Let a check open them, or back up a file-system snapshot or a dump instead.",
            )

    def _ask(self, scratch: Scratch) -> None:
        if not self.checks:
            return
        folder, clock = Path(os.fsdecode(scratch.restored)), self.repository.runtime.clock
        with self.lessons.learning(), self._timed(CHECKS, 0):
            folder.chmod(folder.stat().st_mode & 0o7777 | 0o700)  # checks may write; nothing is compared any more
            scratch.hold_restored()
            for check in self.checks:
                self._take_result(run_check(check, folder, snapshot=self.snapshot.id, clock=clock))

    def _ask_nothing(self) -> None:
        for check in self.checks:
            self._take_result(CheckResult(check.name, Outcome.COULD_NOT_CHECK, 0.0, "nothing was restored"))

    def _take_result(self, result: CheckResult) -> None:
        self.results.append(result)
        if result.outcome is Outcome.FAILED:
            self.lessons.note(
                Code.DRILL_CHECK_FAILED,
                f"the check {result.name!r} failed: {result.what}",
                action="Look at the restored data: drill(snapshot, keep=True, …).",
                subject=result.name,
                outcome=result.outcome,
            )
        elif result.outcome is Outcome.COULD_NOT_CHECK:
            self.lessons.note(
                Code.DRILL_CHECK_NOT_DONE,
                f"the check {result.name!r} could not be carried out: {result.what}",
                action="Mend the check, or what it needs. The search path of cron is short: write whole paths.",
                subject=result.name,
                outcome=result.outcome,
            )

    def _tell_if_moved(self, scratch: Scratch) -> None:
        if what := scratch.wandered():
            self.lessons.note(
                Code.DRILL_CLEANUP,
                f"{what}: what was restored can be removed only where it can be found",
                action="Look whether restored data are left elsewhere, and let no check move the restored folder.",
                subject=what.partition(" ")[0],
            )

    def _clean_up(self, scratch: Scratch) -> None:
        path = printable(scratch.path)
        with self._timed(CLEAN_UP, 0):
            left = remove(scratch)
        if left.count:
            self.left = path
            self.lessons.note(
                Code.DRILL_CLEANUP,
                f"{left.count:,} paths in {path} could not be removed: {', '.join(left.first)}",
                action="Unmount what is mounted there, take away immutable flags (chattr -R -i), then: "
                f"rm -r --one-file-system {path}",
                subject=path,
            )

    @contextmanager
    def _timed(self, name: str, content_bytes: int) -> Iterator[None]:
        clock = self.repository.runtime.clock
        began, done = clock.monotonic(), 0
        try:
            yield
            done = content_bytes
        finally:
            self.phases.append(Phase(name, clock.monotonic() - began, done))

    # What is left of it

    def _statement(self) -> str:
        label, matched = f"snapshot {self.snapshot.id[:12]}", self.matched
        if self.lessons.outcome is Outcome.FAILED:
            parts = [f"The drill of {label} failed: {self.lessons.reason}."]
        elif self.lessons.outcome is Outcome.COULD_NOT_CHECK or matched is None:
            parts = [f"Nothing is proved of {label}: {self.lessons.reason}."]
        else:
            but = "" if os.geteuid() == 0 else ", but for what only root restores"
            parts = [
                f"Every path of {label} came back as it was read at the backup{but} "
                f"(paths: {matched.entries - matched.left_out:,}, files: {matched.files:,}, "
                f"bytes: {matched.content_bytes:,})."
            ]
        if matched is not None and matched.left_out:
            parts.append(f"Device nodes that were not made and not looked at: {matched.left_out:,}.")
        if matched is not None and os.geteuid() != 0:
            parts.append(
                "Not compared, as the drill did not run as root: owners, setuid and setgid bits of other users' files, "
                "and attributes that root alone sets."
            )
        passed = sum(result.outcome is Outcome.PROVED for result in self.results)
        parts.append(
            f"{passed} of {len(self.checks)} checks passed." if self.checks else "No application check was made."
        )
        return " ".join(parts)

    def _recorded(self, report: DrillReport, started: int) -> DrillReport:
        try:
            history = self.history or self.repository.history()
            outcome, heads = str(report.outcome), history.heads
            body = with_report(
                journal_body(self.repository, run=self.run, kind=DRILL, outcome=outcome, started=started, heads=heads),
                report,
            )
            name = write_journal(self.repository, body)
        except SafeBackupError as problem:
            self.lessons.note(
                problem.code,
                f"the result could not be recorded in the journal: {problem.message}",
                action="Mend the store, then drill again, so that the snapshot stands as proven.",
            )
            return attrs.evolve(
                report,
                findings=tuple(self.lessons.findings),
                findings_total=self.lessons.findings_total,
                statement=f"{report.statement} The journal does not know of it.",
            )
        after = attrs.evolve(history, journal={**history.journal, name: body})
        snapshot = bind(self.repository, self.snapshot.name, self.snapshot.body, after)
        return attrs.evolve(report, recorded=True, snapshot=snapshot)


class _Onward:
    """Hands bytes on; the size of the whole was set before."""

    def __init__(self, callback: Progress) -> None:
        self._callback = callback

    def set_size(self, size: int) -> None:
        """Ignore it."""

    def relative_update(self, inc: int = 1) -> None:
        """So many more are done."""
        self._callback.relative_update(inc)
