"""drill: proved, failed or could not check, on real repositories; and nothing is left behind."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings

from safebackup import KeyFile, Repository, Snapshot, Source, back_up, verify
from safebackup.errors import Code, ConfigurationError, NotFoundError, RefusedError, SafeBackupError, StorageError
from safebackup.events import Event, FindingRaised, RunFinished, RunStarted
from safebackup.findings import Severity
from safebackup.format.records import JournalBody
from safebackup.recovery.checks import Check, Outcome
from safebackup.recovery.drill_report import DrillReport
from safebackup.recovery.drilling import drill
from safebackup.repository.history import DRILL
from safebackup.repository.standings import Standing
from safebackup.storage import LocalStore
from safebackup.testing import FaultyStore, RecordingStore
from tests.attack.world import LONG, make_source
from tests.properties.test_round_trip import TREES, Node, make, stage

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@attrs.frozen
class World:
    """A repository with one snapshot of a source, and a room for scratch folders that is checked to be empty."""

    base: Path
    snapshot: Snapshot

    @property
    def source(self) -> Path:
        return self.base / "work" / "source"

    @property
    def repository(self) -> Repository:
        return self.snapshot.require_repository()

    @property
    def room(self) -> Path:
        return self.base / "room"

    def standing(self) -> Standing:
        return self.repository.snapshot(self.snapshot.id).standing

    def records(self) -> list[JournalBody]:
        return [body for body in self.repository.history().journal.values() if body.kind == DRILL]

    def packs(self, folder: str = "data") -> list[Path]:
        return [path for path in (self.base / "repository" / folder).rglob("*") if path.is_file()]


plain_and_sealed = pytest.mark.parametrize("world", ["plain", "sealed"], indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "work").mkdir()
    (tmp_path / "room").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "room"))
    make_source(tmp_path / "work" / "source")
    key = KeyFile.create(tmp_path / "key") if getattr(request, "param", "plain") == "sealed" else None
    repository = Repository.create(tmp_path / "repository", key=key)
    world = World(tmp_path, back_up(tmp_path / "work" / "source", into=repository).snapshot)
    yield world
    assert os.listdir(world.room) == [], "a drill has left something behind"


def codes(report: DrillReport) -> set[Code]:
    return {finding.code for finding in report.findings}


def at_end_of_restore(act: Callable[[Path], object], room: Path) -> Callable[[Event], None]:
    """An observer that changes what was restored, before it is compared."""

    def observe(event: Event) -> None:
        if isinstance(event, RunFinished) and event.verb == "restore":
            (restored,) = room.glob("safebackup-drill-*/restored")
            act(restored)

    return observe


# Proved


@plain_and_sealed
def test_a_whole_snapshot_is_proved_and_stands_as_proven(world: World) -> None:
    report = drill(world.snapshot, checks=[lambda folder: (folder / "small").read_bytes() == b"hello"])

    assert report.outcome is Outcome.PROVED
    assert report.findings == ()
    assert report.recorded
    assert (report.files, report.content_bytes) == (world.snapshot.files, world.snapshot.content_bytes)
    assert "came back as it was read at the backup (paths: 10, files: 7, bytes: " in report.statement
    assert report.statement.endswith("1 of 1 checks passed.")
    assert world.standing() is Standing.PROVEN


def test_the_report_shows_the_snapshot_as_the_journal_has_it_after_the_drill(world: World) -> None:
    for check in ("false", "true", "false"):
        report = drill(world.snapshot, checks=[[check]])

        assert report.snapshot == world.repository.snapshot()
        assert report.snapshot.drill_failed == (check == "false")
        assert report.snapshot.require_repository() is world.repository


def test_a_drill_that_is_not_recorded_leaves_the_snapshot_as_it_was(world: World) -> None:
    assert drill(world.snapshot, record=False).snapshot == world.snapshot


def test_the_report_costs_no_second_look_at_the_journal(world: World) -> None:
    store = RecordingStore(LocalStore(world.base / "repository"))
    drill(attrs.evolve(world.snapshot, repository=attrs.evolve(world.repository, store=store)))

    assert store.calls.count(("list", "journal/")) == 1


def test_without_checks_the_statement_says_that_none_was_made(world: World) -> None:
    report = drill(world.snapshot)

    assert report.outcome is Outcome.PROVED
    assert report.statement.endswith("No application check was made.")


def test_each_phase_is_measured_and_recovery_is_restore_and_checks(world: World) -> None:
    report = drill(world.snapshot, checks=[["sleep", "0.2"]])

    seconds = {phase.name: phase.seconds for phase in report.phases}
    read = {phase.name: phase.bytes for phase in report.phases}
    assert list(seconds) == ["restore", "compare", "checks", "clean_up"]
    assert seconds["checks"] >= 0.2
    assert report.recovery_seconds == seconds["restore"] + seconds["checks"]
    assert sum(seconds.values()) <= report.seconds
    assert read["restore"] == read["compare"] == world.snapshot.content_bytes
    assert report.phases[0].bytes_per_second == read["restore"] / seconds["restore"]


@plain_and_sealed
def test_the_journal_keeps_outcome_phases_and_checks(world: World) -> None:
    heads = world.repository.history().heads
    report = drill(world.snapshot, checks=[["true"], Check("a question", ["false"])])

    (record,) = world.records()
    assert (record.kind, record.outcome, record.snapshots) == ("drill", "failed", (world.snapshot.name,))
    assert record.heads == heads
    assert record.started < record.finished
    assert [(row.code, row.severity, row.subject) for row in record.findings] == [
        ("drill-check-failed", "error", "a question")
    ]
    facts = dict(record.facts)
    measured = {name: facts.pop(name) for name in list(facts) if name.endswith("_ms")}
    assert measured.keys() == {"restore_ms", "compare_ms", "checks_ms", "clean_up_ms", "recovery_ms"}
    assert report.recovery_seconds is not None
    assert measured["recovery_ms"] == round(report.recovery_seconds * 1000)
    assert facts == {
        "files": 7,
        "content_bytes": world.snapshot.content_bytes,
        "findings": 1,
        "checks": 2,
        "check_1": "proved: true",
        "check_2": "failed: a question",
    }
    assert verify(world.repository, record=False).passed


@plain_and_sealed
def test_what_a_check_printed_is_in_the_report_and_not_in_the_journal(world: World) -> None:
    def spills(_folder: Path) -> None:
        raise AssertionError("row 17: 4111-1111")

    def breaks(_folder: Path) -> None:
        raise KeyError("4111-1111")

    report = drill(world.snapshot, checks=[["sh", "-c", "echo 4111-1111; false"], spills, breaks])

    assert all("4111-1111" in result.what for result in report.checks)
    (record,) = world.records()
    assert [row.subject for row in record.findings] == ["sh", "spills", "breaks"]
    assert "4111" not in repr(record)


def test_without_a_record_nothing_is_written_to_the_repository(world: World) -> None:
    before = sorted((world.base / "repository").rglob("*"))

    report = drill(world.snapshot, record=False)

    assert report.outcome is Outcome.PROVED
    assert not report.recorded
    assert sorted((world.base / "repository").rglob("*")) == before


def test_progress_counts_each_byte_twice(world: World) -> None:
    counter = Counter()

    drill(world.snapshot, callback=counter)

    assert counter.sizes == [2 * world.snapshot.content_bytes]
    # Of a file with two names one is linked, so that its bytes are counted once where it is restored.
    assert 2 * world.snapshot.content_bytes - counter.done in (0, len(b"hello"))


class Counter:
    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.done = 0

    def set_size(self, size: int) -> None:
        self.sizes.append(size)

    def relative_update(self, inc: int = 1) -> None:
        self.done += inc


def test_a_report_survives_a_pickle_without_the_keys(world: World) -> None:
    report = drill(world.snapshot)

    copy = pickle.loads(pickle.dumps(report))

    assert copy == report
    assert copy.snapshot.repository is None


@settings(max_examples=150 if LONG else 12)
@given(tree=TREES)
def test_any_tree_is_proved(tree: list[Node]) -> None:
    with stage(sealed=False) as (base, repository):
        make(os.fsencode(base / "source"), tree, [])
        (base / "room").mkdir()

        report = drill(back_up(base / "source", into=repository).snapshot, scratch=base / "room" / "scratch")

        assert (report.outcome, report.findings) == (Outcome.PROVED, ())
        assert os.listdir(base / "room") == []


# Failed


@plain_and_sealed
def test_a_flipped_byte_in_a_pack_fails_the_drill(world: World) -> None:
    for pack in world.packs():
        data = bytearray(pack.read_bytes())
        data[100] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(data)

    report = drill(world.snapshot, checks=[lambda _folder: True])

    assert report.outcome is Outcome.FAILED
    assert {Code.PATH_NOT_RESTORED, Code.DRILL_MISSING} <= codes(report)
    assert report.statement.startswith(f"The drill of snapshot {world.snapshot.id[:12]} failed: ")
    assert world.standing() is Standing.COMPLETE


@pytest.mark.parametrize("folder", ["data", "metadata"])
def test_lost_packs_fail_the_drill(world: World, folder: str) -> None:
    for pack in world.packs(folder):
        pack.unlink()

    report = drill(world.snapshot, checks=[lambda _folder: True])

    assert report.outcome is Outcome.FAILED
    assert any(finding.severity is Severity.ERROR for finding in report.findings)
    assert world.standing() is Standing.COMPLETE


def test_a_damaged_snapshot_record_fails_the_drill(world: World) -> None:
    (record,) = world.packs("snapshots")
    record.chmod(0o600)
    record.write_bytes(record.read_bytes()[:-1] + b"?")

    report = drill(world.snapshot)

    assert report.outcome is Outcome.FAILED
    assert Code.DAMAGED_OBJECT in codes(report)
    assert report.phases == ()


def test_what_was_not_restored_fails_the_drill_even_where_nothing_could_be_compared(world: World) -> None:
    for pack in world.packs():
        pack.unlink()

    report = drill(world.snapshot, observer=at_end_of_restore(shutil.rmtree, world.room))

    assert report.outcome is Outcome.FAILED
    assert Code.DRILL_MISSING not in codes(report)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda top: flip(top / "noise"), Code.DRILL_DIFFERS),
        (lambda top: (top / "small").unlink(), Code.DRILL_MISSING),
        (lambda top: (top / "extra").touch(), Code.DRILL_EXTRA),
        (lambda top: (top / "below").chmod(0o700), Code.DRILL_DIFFERS),
    ],
    ids=["flipped", "missing", "extra", "mode"],
)
def test_what_came_back_otherwise_fails_the_drill_although_the_restore_was_content(
    world: World, act: Callable[[Path], object], code: Code
) -> None:
    report = drill(world.snapshot, observer=at_end_of_restore(act, world.room), checks=[["true"]])

    assert report.outcome is Outcome.FAILED
    assert code in codes(report)
    assert [result.outcome for result in report.checks] == [Outcome.PROVED]
    assert world.standing() is Standing.COMPLETE
    assert world.records()[0].outcome == "failed"


def flip(path: Path) -> None:
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))


def test_thousands_of_deviations_are_counted_and_the_first_are_kept(tmp_path: Path) -> None:
    (tmp_path / "work" / "source" / "many").mkdir(parents=True)
    (tmp_path / "room").mkdir()
    for number in range(1500):
        (tmp_path / "work" / "source" / "many" / f"{number}").touch()
    snapshot = back_up(tmp_path / "work" / "source", into=Repository.create(tmp_path / "repository", key=None)).snapshot

    def act(event: Event) -> None:
        if isinstance(event, RunFinished) and event.verb == "restore":
            (many,) = tmp_path.glob("room/scratch/safebackup-drill-*/restored/many")
            shutil.rmtree(many)

    report = drill(snapshot, scratch=tmp_path / "room" / "scratch", observer=act)

    assert report.outcome is Outcome.FAILED
    assert report.findings_total == 1502  # the folder, and the time of the root
    assert len(report.findings) == 1000
    (body,) = [body for body in snapshot.require_repository().history().journal.values() if body.kind == DRILL]
    assert len(body.findings) == 100


# Checks


def test_all_checks_are_asked_in_order_and_a_failure_outweighs_what_could_not_be_asked(world: World) -> None:
    asked: list[str] = []

    def breaks(folder: Path) -> None:
        asked.append("breaks")
        raise LookupError("nothing to connect to")

    def denies(folder: Path) -> bool:
        asked.append("denies")
        return False

    def agrees(folder: Path) -> None:
        asked.append("agrees")

    unasked = drill(world.snapshot, checks=[breaks, agrees])
    failed = drill(world.snapshot, checks=[denies, breaks, agrees])

    assert asked == ["breaks", "agrees", "denies", "breaks", "agrees"]
    assert unasked.outcome is Outcome.COULD_NOT_CHECK
    assert codes(unasked) == {Code.DRILL_CHECK_NOT_DONE}
    assert unasked.statement.startswith("Nothing is proved of snapshot ")
    assert failed.outcome is Outcome.FAILED
    assert codes(failed) == {Code.DRILL_CHECK_FAILED, Code.DRILL_CHECK_NOT_DONE}
    assert [(one.name, one.outcome) for one in failed.checks] == [
        ("denies", Outcome.FAILED),
        ("breaks", Outcome.COULD_NOT_CHECK),
        ("agrees", Outcome.PROVED),
    ]
    assert failed.statement.endswith("1 of 3 checks passed.")
    assert world.standing() is Standing.COMPLETE


def test_a_check_that_ends_the_program_does_not_end_the_drill(world: World) -> None:
    report = drill(world.snapshot, checks=[lambda _folder: sys.exit(0), ["true"]])

    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert [result.outcome for result in report.checks] == [Outcome.COULD_NOT_CHECK, Outcome.PROVED]
    assert [record.outcome for record in world.records()] == ["could_not_check"]


def test_a_check_may_write_and_nothing_of_it_is_taken_for_a_deviation(world: World) -> None:
    (world.source / "letters").chmod(0o444)
    world.source.chmod(0o555)
    snapshot = back_up(world.source, into=world.repository).snapshot

    def start_a_database(folder: Path) -> None:
        assert folder.stat().st_mode & 0o700 == 0o700
        (folder / "small").write_text("changed")
        (folder / "database").mkdir()
        (folder / "database" / "journal").touch()
        shutil.rmtree(folder / "below")

    report = drill(snapshot, checks=[start_a_database, lambda folder: not (folder / "below").exists()])

    assert report.outcome is Outcome.PROVED


# Could not check


def test_a_store_that_is_gone_could_not_be_checked(world: World) -> None:
    (world.base / "repository").rename(world.base / "unplugged")

    report = drill(world.snapshot, checks=[["true"]])

    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert Code.STORE_MISSING in codes(report)
    assert report.phases == ()
    assert not report.recorded
    assert [one.outcome for one in report.checks] == [Outcome.COULD_NOT_CHECK]
    assert report.statement.endswith("0 of 1 checks passed. The journal does not know of it.")
    (world.base / "unplugged").rename(world.base / "repository")
    assert world.standing() is Standing.COMPLETE


@plain_and_sealed
def test_whenever_the_store_fails_nothing_is_proved_unless_everything_was_compared(world: World) -> None:
    store = LocalStore(world.base / "repository")
    outcomes = []
    for at in range(1, 1000):
        faulty = FaultyStore(store, at=at, times=None)
        repository = attrs.evolve(world.repository, store=faulty)
        report = drill(attrs.evolve(world.snapshot, repository=repository), workers=1)
        outcomes.append((report.outcome, report.recorded))
        if not faulty.faults:
            break
        assert not report.recorded
        assert world.standing() is Standing.COMPLETE
    assert set(outcomes[:-2]) == {(Outcome.COULD_NOT_CHECK, False)}
    assert outcomes[-2:] == [(Outcome.PROVED, False), (Outcome.PROVED, True)]  # the record alone was lost
    assert world.standing() is Standing.PROVEN


def test_a_record_that_could_not_be_written_is_told(world: World) -> None:
    class Refusing:
        """Takes no journal records."""

        def __getattr__(self, name: str) -> object:
            return getattr(world.repository.store, name)

        def put_new(self, name: str, data: bytes) -> None:
            raise StorageError(f"{name} is not taken")

    repository = attrs.evolve(world.repository, store=Refusing())  # type: ignore[arg-type]

    report = drill(attrs.evolve(world.snapshot, repository=repository))

    assert (report.outcome, report.recorded) == (Outcome.PROVED, False)
    assert codes(report) == {Code.STORE_FAILED}
    assert report.statement.endswith("The journal does not know of it.")


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("may not mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(world: World) -> None:
    (world.source / "big").write_bytes(random.Random(1).randbytes(3 << 20))
    snapshot = back_up(world.source, into=world.repository).snapshot
    with disk(world.base / "disks" / "small", "size=2m") as small:
        mtime = small.stat().st_mtime_ns

        report = drill(snapshot, scratch=small)

        assert small.stat().st_mtime_ns == mtime
    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert codes(report) == {Code.STORE_FULL}
    assert report.phases == ()
    assert [body.outcome for body in world.records()] == ["could_not_check"]


def test_holes_need_no_room(world: World) -> None:
    with open(world.source / "huge", "wb") as file:
        file.truncate(1 << 32)
    snapshot = back_up(world.source, into=world.repository).snapshot
    with disk(world.base / "disks" / "small", "size=4m") as small:
        report = drill(snapshot, scratch=small)

    assert report.outcome is Outcome.PROVED


@pytest.mark.parametrize("folder", ["", "data"])
def test_where_not_all_came_back_no_time_is_measured(world: World, folder: str) -> None:
    for pack in world.packs(folder) if folder else ():
        pack.unlink()

    report = drill(world.snapshot, scratch=None if folder else world.base / "not-mounted" / "scratch")

    assert (report.restored, report.recovery_seconds) == (False, None)
    assert all("recovery_ms" not in record.facts for record in world.records())


def test_a_check_that_fails_leaves_the_data_restored(world: World) -> None:
    report = drill(world.snapshot, checks=[["false"]])

    assert report.restored and report.recovery_seconds


def test_a_disk_that_runs_full_on_the_way_could_not_be_checked_and_is_left_empty(world: World) -> None:
    for number in range(60):
        (world.source / f"tiny {number}").touch()
    snapshot = back_up(world.source, into=world.repository).snapshot
    with disk(world.base / "disks" / "few", "size=9m,nr_inodes=30") as few:
        report = drill(snapshot, scratch=few)

        assert os.listdir(few) == []
    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert codes(report) == {Code.STORE_FULL}


def test_a_scratch_disk_that_is_not_mounted_could_not_be_checked(world: World) -> None:
    report = drill(world.snapshot, scratch=world.base / "not-mounted" / "scratch")

    assert report.outcome is Outcome.COULD_NOT_CHECK
    assert codes(report) == {Code.STORE_MISSING}
    assert not (world.base / "not-mounted").exists()


@needs_root
def test_an_incomplete_snapshot_is_compared_and_never_proved() -> None:
    with foreign_world() as (base, repository):
        source = base / "work" / "source"
        source.mkdir()
        (source / "file").write_text("here")
        (source / "secret").touch(mode=0o000)
        back_up(source, into=repository)  # whatever is imported late is imported now
        subprocess.run(["chmod", "-R", "777", base / "repository"], check=True)
        os.seteuid(65534)
        try:
            snapshot = back_up(source, into=repository).snapshot
        finally:
            os.seteuid(0)

        report = drill(snapshot, scratch=base / "room" / "scratch")

        assert not snapshot.complete
        assert report.outcome is Outcome.COULD_NOT_CHECK
        assert codes(report) == {Code.SNAPSHOT_INCOMPLETE, Code.DRILL_NO_REFERENCE}
        assert report.files == 1
        assert repository.snapshot(snapshot.id).standing is Standing.INCOMPLETE


def test_torn_files_are_told_and_do_not_stand_in_the_way(world: World) -> None:
    report = drill(torn(world))

    assert report.outcome is Outcome.PROVED
    assert codes(report) == {Code.PATH_TORN}
    assert report.findings[0].severity is Severity.WARNING


def torn(world: World) -> Snapshot:
    """A snapshot of a file that grew while it was read."""
    script = 'while :; do printf more >> "$1"; done'
    (world.source / "growing").write_bytes(random.Random(3).randbytes(1 << 20))
    with subprocess.Popen(["sh", "-c", script, "sh", world.source / "growing"]) as writer:
        try:
            for _ in range(20):
                snapshot = back_up(world.source, into=world.repository).snapshot
                if any(row.code == "path-torn" for row in snapshot.body.findings):
                    return snapshot
        finally:
            writer.kill()
    pytest.skip("no backup met the file while it grew")


# What is raised


def test_the_scratch_folder_is_refused_near_the_source_and_nothing_is_written(world: World) -> None:
    before = sorted(world.base.rglob("*"))
    for scratch in (world.source / "new", world.source.parent / "beside", world.base / "repository" / "new"):
        with pytest.raises(RefusedError):
            drill(world.snapshot, scratch=scratch)

    assert sorted(world.base.rglob("*")) == before


def test_a_folder_for_temporary_files_beside_the_source_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(world.source.parent))

    with pytest.raises(RefusedError) as refused:
        drill(world.snapshot)

    assert refused.value.code is Code.SCRATCH_UNSAFE
    assert "scratch=" in refused.value.hint


@pytest.mark.parametrize(
    "arguments",
    [{"checks": "true"}, {"checks": ["true"]}, {"scratch": "~/x"}, {"workers": 0}],
    ids=["checks", "check", "scratch", "workers"],
)
def test_arguments_that_make_no_sense_are_refused(world: World, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        drill(world.snapshot, **arguments)  # type: ignore[arg-type]


def test_what_is_no_bound_snapshot_is_refused(world: World) -> None:
    for other in (world.repository, "latest", None, pickle.loads(pickle.dumps(world.snapshot))):
        with pytest.raises(ConfigurationError):
            drill(other)  # type: ignore[arg-type]


def test_a_snapshot_that_was_removed_is_not_drilled(world: World) -> None:
    (record,) = world.packs("snapshots")
    record.unlink()

    with pytest.raises(NotFoundError) as caught:
        drill(world.snapshot)

    assert caught.value.code is Code.NO_SNAPSHOT


# What is left


def test_the_folder_is_kept_on_request_and_named(world: World) -> None:
    report = drill(world.snapshot, keep=True, checks=[["false"]])

    kept = Path(report.scratch)
    assert kept.parent == world.room
    assert (kept / "restored" / "small").read_bytes() == b"hello"
    assert "clean_up" not in [phase.name for phase in report.phases]
    shutil.rmtree(kept)


def test_a_named_scratch_folder_is_left_as_it_was_found(world: World) -> None:
    world.room.chmod(0o755)

    old = drill(world.snapshot, scratch=world.room)
    new = drill(world.snapshot, scratch=world.room / "new")

    assert (old.outcome, new.outcome) == (Outcome.PROVED, Outcome.PROVED)
    assert os.listdir(world.room) == []


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interruption_leaves_no_folder_and_no_record(
    world: World, interruption: type[BaseException], keep: bool
) -> None:
    events: list[Event] = []

    def interrupted(_folder: Path) -> None:
        raise interruption

    def broken(inc: int = 1) -> None:
        raise interruption

    callback = Counter()
    callback.relative_update = broken  # type: ignore[method-assign]

    with pytest.raises(interruption):
        drill(world.snapshot, keep=keep, callback=callback, observer=events.append)
    if interruption is KeyboardInterrupt:  # of a check the others would be "could not be carried out"
        with pytest.raises(interruption):
            drill(world.snapshot, keep=keep, checks=[interrupted], observer=events.append)

    assert world.records() == []
    assert [event.outcome for event in events if isinstance(event, RunFinished) and event.verb == "drill"] == (
        ["raised", "raised"] if interruption is KeyboardInterrupt else ["raised"]
    )


@needs_root
def test_what_could_not_be_removed_is_told_and_the_outcome_stays(world: World) -> None:
    def mount(folder: Path) -> None:
        if subprocess.run(["mount", "--bind", world.source, folder / "below"], check=False).returncode:
            pytest.skip("may not mount here")

    report = drill(world.snapshot, checks=[mount])
    subprocess.run(["umount", Path(report.scratch) / "restored" / "below"], check=True)

    assert report.outcome is Outcome.PROVED
    assert [(one.code, one.severity) for one in report.findings] == [(Code.DRILL_CLEANUP, Severity.WARNING)]
    assert report.scratch in report.findings[0].action
    assert (world.source / "small").read_bytes() == b"hello"
    assert world.standing() is Standing.PROVEN
    shutil.rmtree(report.scratch)


# Events


def test_a_run_is_told_from_its_start_to_its_end_with_its_findings(world: World) -> None:
    events: list[Event] = []

    drill(world.snapshot, checks=[["false"]], observer=events.append)

    (started,) = [event for event in events if isinstance(event, RunStarted) and event.verb == "drill"]
    (finished,) = [event for event in events if isinstance(event, RunFinished) and event.verb == "drill"]
    own = [event for event in events if event.run == started.run]
    assert (own[0], own[-1]) == (started, finished)
    assert finished.outcome == "failed"
    assert [event.finding.code for event in own if isinstance(event, FindingRaised)] == [Code.DRILL_CHECK_FAILED]
    assert world.records()[0].run.hex() == started.run


def test_a_refused_drill_is_told_to_its_end_too(world: World) -> None:
    events: list[Event] = []

    with pytest.raises(SafeBackupError):
        drill(world.snapshot, scratch=world.source, observer=events.append)

    assert [type(event) for event in events] == [RunStarted, RunFinished]


# Checks that move what they were given


MOVES = {
    "the folder": 'mv "$(dirname "$SAFEBACKUP_RESTORED")" {away}',
    "the one above": "mv {room}/scratch {away}",
    "what was restored": 'mv "$SAFEBACKUP_RESTORED" {away}',
    "what was restored, from a folder that moves too": 'mv "$SAFEBACKUP_RESTORED" {away} && mv {room}/scratch {away}/s',
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_what_a_check_moves_away_is_removed_all_the_same_and_told(world: World, move: str) -> None:
    away = world.base / "away"
    script = move.format(away=away, room=world.room)

    report = drill(world.snapshot, scratch=world.room / "scratch", checks=[["sh", "-c", script]])

    assert report.outcome is Outcome.PROVED
    assert codes(report) == {Code.DRILL_CLEANUP}
    assert "was moved to " in report.findings[0].what
    assert str(away) in report.findings[0].what
    assert report.scratch == ""
    assert not [path for path in away.rglob("*") if not path.is_dir()]
    shutil.rmtree(away, ignore_errors=True)  # of folders only the one that the check itself named is left


def test_what_a_check_has_made_vanish_is_told(world: World) -> None:
    def vanish(folder: Path) -> None:
        shutil.rmtree(folder.parent)

    report = drill(world.snapshot, checks=[vanish])

    assert codes(report) == {Code.DRILL_CLEANUP}
    assert "is not there any more" in report.findings[0].what


def test_a_kept_folder_is_named_where_it_is(world: World) -> None:
    script = f'mv "$(dirname "$SAFEBACKUP_RESTORED")" {world.base}/away'

    report = drill(world.snapshot, keep=True, checks=[["sh", "-c", script]])

    assert report.scratch == str(world.base / "away")
    assert (world.base / "away" / "restored" / "small").exists()


@needs_root
def test_what_is_mounted_in_a_moved_folder_is_not_entered(world: World) -> None:
    (world.base / "precious").mkdir()
    (world.base / "precious" / "file").touch()
    script = (
        f'mkdir m && mount --bind {world.base}/precious m && mv "$(dirname "$SAFEBACKUP_RESTORED")" {world.base}/away'
    )

    report = drill(world.snapshot, checks=[["sh", "-c", script]])

    mounted = world.base / "away" / "restored" / "m"
    if subprocess.run(["umount", mounted], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    assert (world.base / "precious" / "file").exists()
    assert report.scratch == str(world.base / "away")
    assert [path.name for path in (world.base / "away" / "restored").iterdir()] == ["m"]


def test_a_check_that_goes_somewhere_else_leaves_the_caller_where_it_was(world: World) -> None:
    before = os.getcwd()

    report = drill(world.snapshot, checks=[os.chdir])

    assert report.outcome is Outcome.PROVED
    assert os.getcwd() == before


# Drills that were killed


@contextmanager
def drill_that_waits(world: World, scratch: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """A drill in a process of its own, in the middle of its check."""
    script = f"""
import tempfile, safebackup
tempfile.tempdir = {os.fspath(world.room)!r}
snapshot = safebackup.Repository.open({world.repository.url!r}, key=None).snapshot()
waits = lambda _: print("ready", flush=True) or input()
safebackup.drill(snapshot, scratch={scratch and os.fspath(scratch)!r}, checks=[waits])
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_named_folder_that_a_killed_drill_left_is_refused_with_what_it_is_and_how_to_remove_it(world: World) -> None:
    scratch = world.room / "scratch"
    with drill_that_waits(world, scratch), pytest.raises(RefusedError, match="a drill is at work in ") as at_work:
        drill(world.snapshot, scratch=scratch)
    with pytest.raises(RefusedError, match="holds restored data") as refused:
        drill(world.snapshot, scratch=scratch)

    assert "Wait" in at_work.value.hint
    assert refused.value.code is Code.TARGET_NOT_EMPTY
    subprocess.run(["sh", "-c", refused.value.hint.removeprefix("Run: ")], check=True)
    assert drill(world.snapshot, scratch=scratch).outcome is Outcome.PROVED
    scratch.rmdir()


def test_what_a_killed_drill_left_among_the_temporary_files_is_told_by_the_next_one(world: World) -> None:
    with drill_that_waits(world, None):
        assert codes(drill(world.snapshot)) == set()
    (world.room / "safebackup-drill-of-a-colleague").touch()

    report = drill(world.snapshot)

    (finding,) = report.findings
    assert report.outcome is Outcome.PROVED
    assert (finding.code, finding.severity) == (Code.DRILL_CLEANUP, Severity.WARNING)
    (world.room / "safebackup-drill-of-a-colleague").unlink()
    subprocess.run(["sh", "-c", finding.action.removeprefix("Run: ")], check=True)
    assert codes(drill(world.snapshot)) == set()


# Another user


@needs_root
def test_another_user_proves_all_but_owners_and_says_so(tmp_path: Path) -> None:
    with foreign_world() as (base, repository):
        source = base / "work" / "source"
        make_source(source)
        (source / "program").write_bytes(b"#!/bin/sh")
        (source / "program").chmod(0o4755)
        os.setxattr(
            source / "program", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
        )
        snapshot = back_up(source, into=repository).snapshot
        drill(snapshot, scratch=base / "room" / "first")  # whatever is imported late is imported now
        (source / "secret").touch(mode=0o000)
        hidden = back_up(source, into=repository).snapshot
        subprocess.run(["chmod", "-R", "777", base / "repository"], check=True)

        os.seteuid(65534)
        try:
            proved = drill(snapshot, scratch=base / "room" / "scratch")
            unread = drill(hidden, scratch=base / "room" / "scratch")
        finally:
            os.seteuid(0)

    assert proved.outcome is Outcome.PROVED, proved.findings
    assert codes(proved) == {Code.METADATA_NOT_SET}
    assert "came back as it was read at the backup, but for what only root restores (paths: " in proved.statement
    assert "Not compared, as the drill did not run as root: owners, setuid and setgid bits" in proved.statement
    assert unread.outcome is Outcome.COULD_NOT_CHECK
    assert [one.subject for one in unread.findings if one.code is Code.NOT_COMPARED] == ["secret"]


@contextmanager
def foreign_world() -> Iterator[tuple[Path, Repository]]:
    """A place that every user can reach."""
    base = Path(tempfile.mkdtemp(prefix="safebackup-test-"))
    base.chmod(0o755)
    try:
        (base / "work").mkdir()
        (base / "room").mkdir()
        (base / "room").chmod(0o777)
        yield base, Repository.create(base / "repository", key=None)
    finally:
        shutil.rmtree(base)


def test_a_source_of_several_roots_is_kept_clear_of_each(tmp_path: Path) -> None:
    for name in ("one/a", "two/b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    repository = Repository.create(tmp_path / "repository", key=None)
    snapshot = back_up(Source(tmp_path / "one" / "a", tmp_path / "two" / "b"), into=repository).snapshot

    for beside in ("one/new", "two/new"):
        with pytest.raises(RefusedError):
            drill(snapshot, scratch=tmp_path / beside)
    assert drill(snapshot, scratch=tmp_path / "three").outcome is Outcome.PROVED
