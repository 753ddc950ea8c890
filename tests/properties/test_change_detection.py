"""Change detection: what has changed is read, and evidence speaks only of what was read under it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from safebackup import Repository, Source, back_up, restore
from safebackup.backup import BackupReport, Evidence
from safebackup.errors import Code
from safebackup.format.manifest import TORN, EvidenceSegment, NodeRef
from safebackup.repository.manifests import Manifests
from safebackup.repository.runtime import Runtime
from tests.attack.forging import Forger, Tree
from tests.attack.world import tree_of

LONG_AGO = 1_000_000_000_000_000_000
BEFORE, AFTER = b"before", b"AFTER."
TRUSTING = [Evidence.INODE_CTIME, Evidence.CTIME, Evidence.MTIME]
CAREFUL = [Evidence.INODE_CTIME, Evidence.CTIME]


class LaterClock:
    """Ten seconds ahead, so that nothing that was just written is too young to trust."""

    def now(self) -> int:
        return time.time_ns() + 10_000_000_000

    def monotonic(self) -> float:
        return time.monotonic()


@attrs.frozen
class Stage:
    """A source, and a repository for each kind of evidence; files are never too young."""

    base: Path
    evidence: Evidence
    repository: Repository

    @property
    def source(self) -> Path:
        return self.base / "source"

    @property
    def changing(self) -> Path:
        return self.source / "changing"

    def back_up(self, evidence: Evidence | None = None) -> BackupReport:
        return back_up(Source(self.source, evidence=evidence or self.evidence), into=self.repository)

    def require_truth(self, report: BackupReport, name: str = "restored") -> None:
        assert restore(report.snapshot, self.base / name).complete
        assert tree_of(self.base / name) == tree_of(self.source)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "changing").write_bytes(BEFORE)
    (tmp_path / "source" / "steady").write_bytes(b"steady")
    (tmp_path / "source" / "large").write_bytes(os.urandom(600_000))
    os.utime(tmp_path / "source" / "changing", ns=(LONG_AGO, LONG_AGO))
    repository = Repository.create(tmp_path / "repository", key=None, runtime=Runtime(clock=LaterClock()))
    return Stage(tmp_path, request.param, repository)


def with_each(evidence: list[Evidence]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", evidence, indirect=True, ids=str)


@with_each(TRUSTING)
def test_what_has_not_changed_is_not_read_again(stage: Stage) -> None:
    first = stage.back_up()

    second = stage.back_up()

    assert (first.files_new, first.read_bytes) == (3, 600_000 + 12)
    assert (second.files_unchanged, second.files_changed, second.files_new, second.read_bytes) == (3, 0, 0, 0)
    assert second.snapshot.body.manifest == first.snapshot.body.manifest


@with_each([Evidence.NONE])
def test_without_evidence_everything_is_read_and_found_unchanged(stage: Stage) -> None:
    first = stage.back_up()

    second = stage.back_up()

    assert (second.files_unchanged, second.read_bytes) == (3, first.read_bytes)
    assert second.snapshot.body.manifest == first.snapshot.body.manifest


def grow(path: Path) -> None:
    path.write_bytes(BEFORE + b" and more")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def touch(path: Path) -> None:
    os.utime(path, ns=(LONG_AGO + 1, LONG_AGO + 1))


def rewrite(path: Path) -> None:
    path.write_bytes(AFTER)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(AFTER)
    os.utime(other, ns=(LONG_AGO, LONG_AGO))
    os.rename(other, path)


def add_attribute(path: Path) -> None:
    os.setxattr(path, "user.new", b"value")


def add_link(path: Path) -> None:
    os.link(path, path.with_name("link"))


def change_mode(path: Path) -> None:
    path.chmod(0o700)


def become_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("steady")
    os.utime(path, ns=(LONG_AGO, LONG_AGO), follow_symlinks=False)


EVERYWHERE: list[Callable[[Path], None]] = [grow, touch, change_mode, add_link, become_link]
BY_CTIME: list[Callable[[Path], None]] = [rewrite, replace, add_attribute]


@with_each([*TRUSTING, Evidence.NONE])
@pytest.mark.parametrize("change", EVERYWHERE)
def test_every_mode_notices_another_size_time_mode_kind_or_number_of_names(
    stage: Stage, change: Callable[[Path], None]
) -> None:
    first = stage.back_up()
    change(stage.changing)

    report = stage.back_up()

    assert report.snapshot.body.manifest != first.snapshot.body.manifest
    stage.require_truth(report)


@with_each([*CAREFUL, Evidence.NONE])
@pytest.mark.parametrize("change", BY_CTIME)
def test_modes_that_look_at_ctime_notice_what_hides_behind_the_same_size_and_mtime(
    stage: Stage, change: Callable[[Path], None]
) -> None:
    stage.back_up()
    change(stage.changing)

    report = stage.back_up()

    assert report.files_changed == 1
    stage.require_truth(report)


@with_each([Evidence.MTIME])
def test_the_weakest_mode_is_as_blind_as_it_says(stage: Stage) -> None:
    stage.back_up()
    rewrite(stage.changing)

    report = stage.back_up()

    assert (report.files_changed, report.read_bytes) == (0, 0)


@with_each([*TRUSTING, Evidence.NONE])
def test_another_owner_is_noticed(stage: Stage) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    stage.back_up()
    os.chown(stage.changing, 12345, 54321)

    report = stage.back_up()

    assert report.files_changed == 1
    stage.require_truth(report)


@with_each([Evidence.INODE_CTIME, Evidence.CTIME])
def test_only_the_mode_that_looks_at_inodes_reads_again_when_they_lie(stage: Stage) -> None:
    report = stage.back_up()
    publish_other_inodes(stage, report)

    again = stage.back_up()

    reads_again = stage.evidence is Evidence.INODE_CTIME
    assert again.read_bytes == (report.read_bytes if reads_again else 0)
    assert again.files_unchanged == 3


def publish_other_inodes(stage: Stage, report: BackupReport) -> None:
    """Put a newer snapshot of the same entries, whose evidence names other inodes."""
    forger, body = Forger(stage.repository), report.snapshot.body
    manifests = Manifests(stage.repository.reader())
    refs = []
    for ref in manifests.refs(body.evidence):
        evidence = manifests.evidence(ref)
        lie = EvidenceSegment(evidence.ctimes, [inode + 1 for inode in evidence.inodes], evidence.young)
        refs.append(NodeRef(ref.first, ref.entries, 0, *forger.metadata(lie)))
    tree = Tree(
        manifest=body.manifest,
        evidence=forger.node(refs),
        entries=body.entries,
        files=body.files,
        content_bytes=body.content_bytes,
    )
    forger.publish(tree, body)


@pytest.mark.parametrize("evidence", TRUSTING)
def test_a_file_that_was_too_young_to_trust_is_read_again_once(tmp_path: Path, evidence: Evidence) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "young").write_bytes(BEFORE)
    url = tmp_path / "repository"
    Repository.create(url, key=None)
    later = Runtime(clock=LaterClock())

    first = back_up(Source(source, evidence=evidence), into=Repository.open(url, key=None))
    second = back_up(Source(source, evidence=evidence), into=Repository.open(url, key=None, runtime=later))
    third = back_up(Source(source, evidence=evidence), into=Repository.open(url, key=None, runtime=later))

    assert [one.read_bytes for one in (first, second, third)] == [6, 6, 0]
    assert [one.files_unchanged for one in (first, second, third)] == [0, 1, 1]


@with_each([Evidence.INODE_CTIME])
def test_a_file_that_changed_while_it_was_read_is_marked_and_read_again(stage: Stage) -> None:
    append = (
        "import sys\nwith open(sys.argv[1], 'ab', buffering=0) as f:\n while f.tell() < 1 << 30: f.write(b'line\\n')"
    )
    (stage.source / "large").write_bytes(bytes(64 << 20))  # long enough to read that the writer gets its turn
    writer = subprocess.Popen([sys.executable, "-c", append, stage.source / "large"])
    try:
        while (stage.source / "large").stat().st_size == 64 << 20:
            time.sleep(0.01)
        torn = stage.back_up()
    finally:
        writer.kill()
        writer.wait()

    whole = stage.back_up()

    flags = {entry.path: entry.flags for entry in torn.snapshot.walk()}
    assert flags[b"large"] == TORN
    assert Code.PATH_TORN in {finding.code for finding in torn.findings}
    assert {entry.flags for entry in whole.snapshot.walk()} == {0}
    assert whole.files_changed == 1
    stage.require_truth(whole)


@with_each(TRUSTING)
def test_names_of_a_file_that_come_and_go_are_noticed(stage: Stage) -> None:
    stage.back_up()
    os.link(stage.changing, stage.source / "second name")
    os.link(stage.changing, stage.source / "a first name")
    linked = stage.back_up()
    stage.require_truth(linked, "linked")
    (stage.source / "a first name").unlink()
    fewer = stage.back_up()
    stage.require_truth(fewer, "fewer")
    (stage.source / "second name").unlink()
    alone = stage.back_up()

    stage.require_truth(alone, "alone")
    assert {entry.path: entry.link for entry in alone.snapshot.walk()}[b"changing"] is None


@with_each([Evidence.INODE_CTIME])
def test_holes_are_kept_filled_and_dug_as_they_are_in_the_source(stage: Stage) -> None:
    sparse = stage.source / "sparse"
    with open(sparse, "wb") as file:
        file.write(b"begins")
        file.truncate(8 << 20)
    holey = stage.back_up()
    stage.require_truth(holey, "holey")
    taken = (stage.base / "holey" / "sparse").stat().st_blocks * 512
    sparse.write_bytes(b"begins" + bytes((8 << 20) - 6))
    filled = stage.back_up()
    stage.require_truth(filled, "filled")

    assert taken < 1 << 20
    assert holey.read_bytes < 2 << 20
    assert filled.files_changed == 1


def test_a_strict_mode_reads_what_a_weak_mode_before_it_had_passed_over(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    changing = source / "changing"
    changing.write_bytes(BEFORE)
    os.utime(changing, ns=(LONG_AGO, LONG_AGO))
    repository = Repository.create(tmp_path / "repository", key=None, runtime=Runtime(clock=LaterClock()))
    back_up(Source(source, evidence=Evidence.MTIME), into=repository)
    rewrite(changing)
    (source / "another").touch()  # so that the segment is written anew
    back_up(Source(source, evidence=Evidence.MTIME), into=repository)

    report = back_up(Source(source, evidence=Evidence.INODE_CTIME), into=repository)

    restore(report.snapshot, tmp_path / "restored")
    assert (tmp_path / "restored" / "changing").read_bytes() == AFTER
