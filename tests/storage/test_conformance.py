"""The checks of stores: a good store passes, and each check is seen to fail on a store that is broken."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.findings import Severity
from safebackup.storage import open_store
from safebackup.storage.conformance import CHECKS, ConformanceReport, Outcome, check_store, checking, run_checks
from safebackup.storage.conformance.subject import Address, letting_go, subject_at
from safebackup.storage.conformance.trial import Check
from safebackup.storage.remote import Limits
from tests.servers import LiarServer, Server, start_ftp
from tests.storage.broken import FAULTS, subject

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
BY_NAME = {check.name: check for check in CHECKS}
CAUGHT = [
    ("delete", "KeepsOnDelete"),
    ("delete", "DeletesLoudly"),
    ("delete", "DeletesTooMuch"),
    ("round-trip", "CutsAtBoundaries"),
    ("round-trip", "RefusesEmpty"),
    ("round-trip", "ConflictsWithTheSame"),
    ("missing", "MissingIsEmpty"),
    ("missing", "MissingIsUnreachable"),
    ("missing", "MissingIsForeign"),
    ("ranges", "IgnoresRanges"),
    ("ranges", "ShortReads"),
    ("unchanged", "Overwrites"),
    ("unchanged", "KeepsSilently"),
    ("names", "AnyName"),
    ("names", "FoldsCase"),
    ("names", "LosesLongNames"),
    ("fresh-lists", "RemembersLists"),
    ("threads", "MixesThreads"),
    ("processes", "OwnToEachProcess"),
    ("fork", "NoForks"),
    ("fork", "HangsAfterForks"),
    ("fork", "ForkEndsParent"),
    ("race-with-the-same", "ConflictsWithTheSame"),
    ("race-of-threads", "NobodyWins"),
    ("race-of-threads", "WritesInPlace"),
    ("race-of-processes", "NobodyWins"),
    ("race-of-processes", "WritesInPlace"),
    ("no-part-visible", "WritesInPlace"),
    ("killed-writer", "WritesInPlace"),
    ("wrong-address", "EmptyWhenGone"),
    ("wrong-address", "MissingWhenGone"),
    ("large", "RefusesLarge"),
    ("complete-lists", "OnePage"),
    ("complete-lists", "Unsorted"),
    ("complete-lists", "PrefixIsText"),
]


def report_of(root: Path, fault: str, *names: str, thorough: bool = False) -> ConformanceReport:
    """What these checks find, or all of them, at a store with this fault."""
    root.mkdir(exist_ok=True)
    checks = [BY_NAME[name] for name in names] if names else CHECKS
    return run_checks(subject(root, fault), checks=checks, thorough=thorough)


@pytest.mark.parametrize(("name", "fault"), CAUGHT)
def test_a_check_notices_what_is_broken(tmp_path: Path, name: str, fault: str) -> None:
    report = report_of(tmp_path / "check-store", fault, name, thorough=BY_NAME[name].thorough)

    (result,) = report.checks
    assert (result.outcome, result.name) == (Outcome.FAILED, name), report.table()
    assert not report.passed
    assert [finding.code for finding in report.findings if finding.severity is Severity.ERROR] == [
        Code.STORE_CHECK_FAILED
    ]
    assert "Do not keep backups there" in report.table()


def test_every_check_but_the_one_that_only_measures_was_seen_to_fail() -> None:
    assert {check.name for check in CHECKS} - {name for name, _ in CAUGHT} == {"clock"}
    assert {fault for _, fault in CAUGHT} <= FAULTS.keys()


def test_a_good_store_passes_every_check(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "Whole")

    assert report.passed, report.table()
    assert {result.outcome for result in report.checks} == {Outcome.PASSED}
    assert report.findings == ()


# What it comes to


def test_what_a_store_can_do_is_what_it_was_seen_to_do(tmp_path: Path) -> None:
    report = check_store(str(tmp_path))

    capabilities = report.capabilities
    assert report.passed, report.table()
    assert capabilities.kind == "safebackup.storage.local.LocalStore"
    assert capabilities.durable == "synced"
    assert capabilities.exclusive_create is True
    assert 5 <= capabilities.exclusive_rounds <= 40  # as many as there was time for
    assert (capabilities.atomic, capabilities.exact_ranges, capabilities.fresh_listing) == (True, True, True)
    assert (capabilities.threads, capabilities.processes, capabilities.fork) == (True, True, True)
    assert capabilities.complete_listing == 1100
    assert capabilities.modified_times is True
    assert capabilities.clock_drift_seconds == 0
    assert report.seconds < 60


def test_who_is_not_exclusive_passes_and_is_told_to_be_so(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "LooksThenWrites", "race-of-threads", "race-of-processes")

    assert report.passed, report.table()
    assert report.capabilities.exclusive_create is False
    assert "NOT exclusive" in report.table()


def test_exclusive_is_only_what_processes_were_seen_to_be(tmp_path: Path) -> None:
    tried = report_of(tmp_path / "check-store", "Whole", "race-of-threads", "race-of-processes").capabilities
    untried = report_of(tmp_path / "check-store", "Whole", "race-of-threads").capabilities
    not_even_threads = report_of(tmp_path / "check-store", "LooksThenWrites", "race-of-threads").capabilities

    assert (tried.exclusive_create, tried.exclusive_rounds > 0) == (True, True)
    assert (untried.exclusive_create, untried.exclusive_rounds) == (None, 0)
    assert not_even_threads.exclusive_create is False


def test_a_store_that_lives_in_memory_is_tested_as_far_as_it_goes() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    store = open_store(url, create=True)
    store.put_new("packs/one", b"1")

    report = check_store(url)

    untried = {result.name for result in report.checks if result.outcome is Outcome.NOT_TRIED}
    assert untried == {"processes", "fork", "race-of-processes", "killed-writer", "wrong-address", "clock"}
    assert report.passed
    assert report.capabilities.durable == "process"
    assert report.capabilities.exclusive_create is True
    assert [info.name for info in store.list("")] == ["packs/one"]


def test_a_clock_that_is_wrong_is_a_finding_and_no_failure(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "LivesInThePast", "clock")

    assert report.passed
    assert report.capabilities.clock_drift_seconds == pytest.approx(-600, abs=2)
    (finding,) = report.findings
    assert (finding.code, finding.severity) == (Code.STORE_CLOCK_DRIFTS, Severity.WARNING)
    assert "this machine is ahead" in finding.what


@pytest.mark.skipif(not LONG, reason="takes a minute; SAFEBACKUP_LONG=1 runs it")
def test_the_thorough_mode_asks_for_more(tmp_path: Path) -> None:
    report = check_store(str(tmp_path), thorough=True)

    assert report.passed, report.table()
    assert report.capabilities.exclusive_rounds == 200
    assert report.capabilities.complete_listing == 5200
    assert {result.name for result in report.checks} == set(BY_NAME)


# What could not be tried


def test_a_store_that_does_not_answer_for_now_has_neither_passed_nor_failed(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "Fails", "ranges")

    (result,) = report.checks
    assert (result.outcome, result.cut_short) == (Outcome.NOT_TRIED, True)
    assert not report.passed
    assert not report.failed
    assert "could not be tried: ranges" in report.statement


@pytest.mark.parametrize("name", ["race-of-threads", "race-of-processes", "processes", "fork", "killed-writer"])
def test_a_disk_that_is_full_is_no_fault_of_the_store(tmp_path: Path, name: str) -> None:
    report = report_of(tmp_path / "check-store", "Full", name)

    (result,) = report.checks
    assert result.outcome is Outcome.NOT_TRIED, result.what
    assert "store-full" in result.what or "no space left" in result.what
    assert not report.failed


def test_a_store_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_GRACE_SECONDS", 1.0)
    monkeypatch.setattr(checking, "_HANGS_SECONDS", 2.0)
    (tmp_path / "check-store").mkdir()
    check = type(BY_NAME["ranges"])(name="ranges", guarantee="S4", seconds=2, act=BY_NAME["ranges"].act)

    report = run_checks(subject(tmp_path / "check-store", "Hangs"), checks=[check])

    (result,) = report.checks
    assert result.outcome is Outcome.FAILED
    assert result.what.startswith("S8: the store has not answered for ")


def test_a_store_that_hangs_while_it_is_cleaned_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "SECONDS", 8.0)
    began = time.monotonic()

    report = report_of(tmp_path / "check-store", "HangsWhenListed", "round-trip")

    assert time.monotonic() - began < 20
    assert [finding.code for finding in report.findings] == [Code.STORE_TEST_LEFT]


def test_without_time_nothing_is_tried_and_nothing_is_said_to_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "SECONDS", 1.0)

    report = check_store(str(tmp_path))

    assert {(result.outcome, result.what) for result in report.checks} == {
        (Outcome.NOT_TRIED, "no time was left for it")
    }
    assert not report.passed


def test_where_nothing_can_be_removed_little_is_written_and_named(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "NeverDeletes")

    assert not report.passed
    assert not report.failed
    left = sorted(str(path.relative_to(tmp_path / "check-store")) for path in (tmp_path / "check-store").rglob("*/*"))
    assert left == []  # the folder itself is the test's own, and goes as a whole on a disk
    assert [finding.code for finding in report.findings] == [Code.STORE_TEST_LEFT]
    assert "delete/one and 1 more" in report.findings[0].what
    assert {result.what for result in report.checks[1:]} == {"what it writes could not be removed again"}


def test_what_only_a_list_still_shows_is_not_left_behind(tmp_path: Path) -> None:
    report = report_of(tmp_path / "check-store", "ListsWhatIsGone", "round-trip")

    assert report.findings == ()


# What it touches


def everything_in(root: Path) -> dict[str, tuple[bytes | None, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns)
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("has_its_own_store", [True, False])
@pytest.mark.parametrize("fault", ["Whole", "DeletesTooMuch", "Overwrites"])
def test_only_its_own_folder_is_touched_and_removed_afterwards(
    tmp_path: Path, fault: str, has_its_own_store: bool
) -> None:
    (tmp_path / "packs" / "ab").mkdir(parents=True)
    (tmp_path / "packs" / "ab" / "one").write_bytes(b"precious")
    (tmp_path / "check-0123456789abcdef").mkdir()
    (tmp_path / "check-0123456789abcdef" / "mine").write_bytes(b"somebody else's test")
    before = everything_in(tmp_path)
    own = "check-fedcba9876543210"
    tested = subject(tmp_path / own, fault) if has_its_own_store else subject(tmp_path, fault, folder=f"{own}/")

    run_checks(tested, checks=[BY_NAME[name] for name in ("delete", "names", "fresh-lists", "threads")])

    assert everything_in(tmp_path) == before


def test_a_place_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        check_store(str(tmp_path / "nothing"))

    assert caught.value.code is Code.STORE_MISSING
    assert list(tmp_path.iterdir()) == []


def test_no_url_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ConfigurationError):
        check_store("http://example.com/backups")


def test_who_interrupts_it_finds_nothing_left(tmp_path: Path) -> None:
    code = "import sys; from safebackup.storage.conformance import check_store; check_store(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.rglob("race-of-processes/*")):
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode != 0
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() < 50


def test_credentials_are_in_no_text_of_it(tmp_path: Path) -> None:
    address = Address(url=str(tmp_path), options={"password": "hunter2"})

    assert "hunter2" not in repr(address) + repr(address.recipe())


def test_a_report_is_written_as_a_table_for_people(tmp_path: Path) -> None:
    lines = report_of(tmp_path / "check-store", "Whole", "delete", "ranges").table().splitlines()

    assert lines[0].split() == ["check", "outcome", "what", "was", "seen"]
    assert lines[1].startswith("delete  S3  passed   removes what it should")
    assert any(line.split(maxsplit=2)[:2] == ["exact", "ranges"] for line in lines)
    assert lines[-1] == "It kept all that was asked of it; --thorough asks for more."


# Behind a network


@pytest.mark.parametrize(
    "server", ["s3_server", "gcs_server", "azure_server", "ssh_server", "ftp_server", "webdav_server"]
)
def test_a_server_is_tested_in_a_folder_of_its_own(server: str, request: pytest.FixtureRequest) -> None:
    there: Server = request.getfixturevalue(server)
    url = there.url(f"tested-{uuid.uuid4().hex}")
    store = open_store(url, create=True, storage_options=there.options)
    with letting_go(store):
        store.put_new("packs/one", b"1")
    quick = ("delete", "ranges", "names", "fresh-lists", "threads", "processes", "fork", "clock")
    checks = CHECKS if LONG else [BY_NAME[name] for name in quick]

    report = run_checks(subject_at(Address(url=url, options=there.options)), checks=checks, thorough=LONG)

    assert report.passed, report.table()
    assert report.capabilities.modified_times is True
    assert abs(report.capabilities.clock_drift_seconds or 0) < 5
    assert set(there.peek(url.rpartition("/")[2])) == {"packs/one"}


def test_an_s3_that_ignores_conditions_is_told_to_be_not_exclusive(liar_server: LiarServer) -> None:
    url = liar_server.url(f"tested-{uuid.uuid4().hex}")

    report = run_checks(
        subject_at(Address(url=url, options=liar_server.options)),
        checks=[BY_NAME["delete"], BY_NAME["race-of-threads"]],
        thorough=True,  # as much time as it takes
    )

    assert report.capabilities.exclusive_create is False
    assert report.passed, report.table()


def test_no_check_waits_for_a_server_that_is_down(tmp_path: Path) -> None:
    with start_ftp(tmp_path / "ftp") as server:
        url, options = server.url("tested"), server.options
        with letting_go(open_store(url, create=True, storage_options=options)):
            pass
        tested = subject_at(Address(url=url, options=options, limits=Limits(request=1, deadline=1, first_answer=1)))
        server.stop()
        began = time.monotonic()

        report = run_checks(tested, checks=[BY_NAME["ranges"], BY_NAME["missing"]])

    assert [(result.outcome, result.cut_short) for result in report.checks] == [(Outcome.NOT_TRIED, True)] * 2
    assert not report.passed
    assert time.monotonic() - began < 40


# The class of tests that users inherit

A_PROJECT = """
    import threading
    from pathlib import Path

    from safebackup.errors import Code, ConflictError, NotFoundError, StorageError
    from safebackup.storage import LocalStore
    from safebackup.testing import StoreConformance

    ROOT = Path(__file__).parent / "root"


    class MyStore(LocalStore):
        def get(self, name, *, start=0, length=None):
            return super().get(name, start=start, length=length)[:BYTES]


    class TestAtAUrl(StoreConformance):
        store_url = str(ROOT)


    class TestOfMyOwn(StoreConformance):
        def open_store(self):
            return MyStore(ROOT)

        def open_unreachable(self):
            return MyStore(ROOT / "nothing")


    class TestInOneProcess(TestOfMyOwn):
        lives_in_one_process = True
"""


def run_project(folder: Path, *, bytes_read: str, only: str) -> tuple[int, dict[str, str]]:
    """How pytest ends in a project of a user's, and what became of each test."""
    (folder / "root").mkdir(parents=True)
    (folder / "root" / "precious").write_bytes(b"1")
    (folder / "test_stores.py").write_text(textwrap.dedent(A_PROJECT).replace("BYTES", bytes_read))
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [str(folder), "-k", only]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    outcomes = re.findall(r"^(PASSED|FAILED|SKIPPED|ERROR) (?:test_stores.py::)?(\S+)", done.stdout, flags=re.MULTILINE)
    assert [path.name for path in (folder / "root").iterdir()] == ["precious"]
    return done.returncode, {name: outcome for outcome, name in outcomes}


def test_a_user_tests_a_store_by_inheriting_one_class(tmp_path: Path) -> None:
    only = "TestAtAUrl or delete or processes or fork or wrong-address"
    status, outcomes = run_project(tmp_path / "project", bytes_read="", only=only)

    assert status == 0
    passed = {name for name, outcome in outcomes.items() if outcome == "PASSED"}
    checks = {check.name for check in CHECKS if not check.thorough}
    assert {f"TestAtAUrl::test_store[{name}]" for name in checks} <= passed
    with_others = {"race-of-processes", "processes", "fork"}
    for name in ("delete", "wrong-address", *with_others):
        assert f"TestOfMyOwn::test_store[{name}]" in passed
        assert (f"TestInOneProcess::test_store[{name}]" in passed) == (name not in with_others)


def test_a_user_is_told_which_guarantee_the_store_breaks(tmp_path: Path) -> None:
    status, outcomes = run_project(tmp_path / "project", bytes_read="100", only="round-trip")

    assert status == 1
    assert outcomes == {
        "TestAtAUrl::test_store[round-trip]": "PASSED",
        "TestOfMyOwn::test_store[round-trip]": "FAILED",
        "TestInOneProcess::test_store[round-trip]": "FAILED",
    }


def test_a_class_that_names_no_store_says_so() -> None:
    from safebackup.testing import StoreConformance

    with pytest.raises(NotImplementedError, match="neither store_url nor open_store"):
        StoreConformance().open_store()


@pytest.mark.parametrize("check", [check for check in CHECKS if not check.thorough], ids=lambda check: check.name)
def test_the_store_that_the_contract_shows_passes(check: Check) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "store-contract.md"
    names: dict[str, Any] = {"__name__": "shown"}
    for shown in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(shown, names)

    with contextlib.suppress(pytest.skip.Exception):
        names["TestDictionaryStore"]().test_store(check)

    assert set(names["store"].objects) == {"packs/one"}
