"""`store test` and `store probe`, the storage options of all commands, and credentials that can only append."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest

from safebackup import KeyFile, Repository, back_up, verify
from safebackup.errors import Code
from safebackup.repository.history import STORE_TEST
from safebackup.repository.repository import attach
from safebackup.repository.runtime import Runtime
from safebackup.repository.store_tests import capabilities_of, record_store_test
from safebackup.statuses import ExitStatus
from safebackup.storage import AppendStore, LocalStore, ObjectInfo, open_store
from safebackup.storage.conformance import ConformanceReport, check_store, probe_store
from safebackup.storage.local import publish_renamed
from tests.cli.program import Done, safebackup, started
from tests.servers import S3Server, start_ssh


def store_tests_of(repository: Repository) -> list[Any]:
    """What the journal knows of tests of the store."""
    return [body for body in repository.history().journal.values() if body.kind == STORE_TEST]


# store test


def test_a_repository_keeps_what_its_store_was_seen_to_do(repository: Path, data: Path, tmp_path: Path) -> None:
    back_up(data, into=Repository.open(repository, key=None))
    objects = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}

    key = KeyFile.create(tmp_path / "other.key").path  # for other repositories of this machine: no mistake here

    done = safebackup("store", "test", "-r", repository, "--json", folder=tmp_path, SAFEBACKUP_KEY_FILE=str(key))

    assert done.status == ExitStatus.OK
    document = done.document
    assert (document["outcome"], document["passed"], document["recorded"]) == ("passed", True, True)
    assert document["url"] == f"file://{repository}"
    assert document["capabilities"]["exclusive_create"] is True
    assert {check["outcome"] for check in document["checks"]} == {"passed"}
    opened = Repository.open(repository, key=None)
    (body,) = store_tests_of(opened)
    assert body.outcome == "passed"
    assert body.facts["class"] == "safebackup.storage.local.LocalStore"
    assert (body.facts["thorough"], body.facts["exact_ranges"]) == (False, True)
    recorded = attrs.asdict(capabilities_of(body))
    assert recorded == document["capabilities"]
    assert {path: path.read_bytes() for path in objects} == objects
    assert len([path for path in repository.rglob("*") if path.is_file()]) == len(objects) + 1
    assert verify(opened).passed


def test_a_sealed_repository_needs_its_key_for_that_and_is_tested_without(sealed: Path, tmp_path: Path) -> None:
    without = safebackup("store", "test", sealed, folder=tmp_path)
    with_key = safebackup("store", "test", sealed, "--quiet", "--key-file", "my.key", folder=tmp_path)

    assert without.status == ExitStatus.OK, without.out
    assert re.search(r"^race-of-processes   S2  passed   exclusive: in \d+ races", without.out, flags=re.MULTILINE)
    assert "exclusive create      yes" in without.out
    assert without.out.endswith("It kept all that was asked of it; --thorough asks for more.\n")
    assert "warning: the result is not kept in the journal" in without.err
    assert (with_key.status, with_key.out, with_key.err) == (ExitStatus.OK, "", "")
    assert len(store_tests_of(Repository.open(sealed, key=KeyFile(tmp_path / "my.key")))) == 1
    assert not list(sealed.glob("check-*"))


def test_a_wrong_key_is_noticed_before_anything_is_tested(sealed: Path, tmp_path: Path) -> None:
    KeyFile.create(tmp_path / "other.key")

    done = safebackup("store", "test", sealed, "--key-file", "other.key", folder=tmp_path)

    assert done.status == ExitStatus.WRONG_KEY
    assert done.out == ""


def test_a_place_that_is_not_there_is_not_called_anything(tmp_path: Path) -> None:
    done = safebackup("store", "test", "nothing", folder=tmp_path)

    assert done.status == ExitStatus.NOT_VERIFIED
    assert "[store-missing]" in done.err
    assert not (tmp_path / "nothing").exists()


def test_a_url_for_reading_is_refused(tmp_path: Path) -> None:
    done = safebackup("store", "test", "https://example.com/backups", folder=tmp_path)

    assert done.status == ExitStatus.USAGE
    assert "[bad-url]" in done.err


def test_who_stops_it_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()

    with started("store", "test", "place", folder=tmp_path) as process:
        while not list((tmp_path / "place").rglob("race-of-processes/*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)

    assert process.returncode == ExitStatus.TERMINATED
    assert b"Traceback" not in err
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="takes root, to become somebody else")
def test_a_place_where_one_may_not_write_is_told_so() -> None:
    with TemporaryDirectory() as place:  # where others may pass, unlike the folders of pytest
        Path(place).chmod(0o755)

        done = safebackup(
            "store", "test", place, folder=Path(place), prefix=("setpriv", "--reuid=65534", "--clear-groups")
        )

    assert done.status == ExitStatus.NOT_VERIFIED
    assert "[store-denied]" in done.err


# store probe


def test_credentials_that_can_do_everything_are_judged(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()

    done = safebackup("store", "probe", "place", folder=tmp_path)
    as_json = safebackup("store", "probe", "place", "--json", folder=tmp_path).document

    assert done.status == ExitStatus.OK
    assert "warning: these credentials can delete: a thief of them could, too" in done.out
    assert (as_json["outcome"], as_json["can_delete"], as_json["can_overwrite"]) == ("probed", True, True)
    assert [finding["code"] for finding in as_json["findings"]] == ["credential-can-delete", "credential-can-overwrite"]
    assert list((tmp_path / "place").iterdir()) == []


# What was recorded, held against what is there


@pytest.fixture(scope="module")
def local_report(tmp_path_factory: pytest.TempPathFactory) -> ConformanceReport:
    """What a test of a local folder comes to."""
    return check_store(str(tmp_path_factory.mktemp("tested")))


def other(report: ConformanceReport, **capabilities: Any) -> ConformanceReport:
    """The same report with other capabilities."""
    return attrs.evolve(report, capabilities=attrs.evolve(report.capabilities, **capabilities))


def findings_of_a_backup(repository: Repository, data: Path) -> list[str]:
    """What the next backup says of the store."""
    report = back_up(data, into=repository)
    assert report.complete
    found = [finding for finding in report.findings if finding.code is Code.STORE_DIFFERS]
    assert len(found) == len(report.findings)
    assert all("safebackup store test" in finding.action for finding in found)
    return [finding.what for finding in found]


@pytest.fixture
def opened(repository: Path) -> Repository:
    """A repository that is open."""
    return Repository.open(repository, key=None)


def test_a_store_that_was_never_tested_is_no_matter(opened: Repository, data: Path) -> None:
    assert findings_of_a_backup(opened, data) == []


def test_a_store_that_is_as_it_was_is_no_matter(
    opened: Repository, data: Path, local_report: ConformanceReport
) -> None:
    record_store_test(opened, local_report)
    record_store_test(opened, local_report)

    assert findings_of_a_backup(opened, data) == []


def test_another_class_than_the_one_that_was_tested_is_a_finding_of_the_next_backup(
    opened: Repository, data: Path, local_report: ConformanceReport
) -> None:
    record_store_test(opened, other(local_report, kind="sshfs.spec.SSHFileSystem"))

    assert findings_of_a_backup(opened, data) == [
        "the store is served by safebackup.storage.local.LocalStore here, and was tested with sshfs.spec.SSHFileSystem"
    ]
    record_store_test(opened, local_report)
    assert findings_of_a_backup(opened, data) == []


def test_a_capability_less_than_before_is_a_finding_until_a_test_says_it_again(
    opened: Repository, data: Path, local_report: ConformanceReport
) -> None:
    record_store_test(opened, local_report)
    record_store_test(opened, other(local_report, exclusive_create=False, fork=None))

    (found,) = findings_of_a_backup(opened, data)
    assert found.endswith("shows less than the one before: exclusive create")
    record_store_test(opened, other(local_report, exclusive_create=False))
    assert findings_of_a_backup(opened, data) == []


def test_a_test_that_failed_is_a_finding_until_one_has_passed(
    opened: Repository, data: Path, tmp_path: Path, local_report: ConformanceReport
) -> None:
    from tests.storage.test_conformance import report_of

    failed = report_of(tmp_path / "check-broken", "OnePage", "complete-lists")
    record_store_test(opened, attrs.evolve(failed, capabilities=local_report.capabilities))

    (found,) = findings_of_a_backup(opened, data)
    assert found.endswith("failed: complete-lists")
    record_store_test(opened, local_report)
    assert findings_of_a_backup(opened, data) == []


def test_a_disk_without_hard_links_is_noticed_where_there_were_some(
    opened: Repository, data: Path, local_report: ConformanceReport
) -> None:
    class WithoutLinks(LocalStore):
        kind = "safebackup.storage.local.LocalStore"
        ways = (publish_renamed,)

    record_store_test(opened, local_report)
    elsewhere = attach(WithoutLinks(opened.url.removeprefix("file://")), key=None, runtime=Runtime())

    assert findings_of_a_backup(elsewhere, data) == ["the store was tested to be exclusive, and here it is not"]


def test_the_finding_is_kept_with_the_snapshot(opened: Repository, data: Path, local_report: ConformanceReport) -> None:
    record_store_test(opened, other(local_report, kind="s3fs.core.S3FileSystem"))

    report = back_up(data, into=opened)

    assert [row.code for row in report.snapshot.body.findings] == ["store-differs"]
    assert report.snapshot.complete


# Storage options of all commands


def test_storage_options_for_a_folder_are_refused(repository: Path, tmp_path: Path) -> None:
    for verb in (("snapshots",), ("store", "test")):
        done = safebackup(*verb, "-r", repository, "--storage-option", "anon=true", folder=tmp_path)

        assert done.status == ExitStatus.USAGE, verb
        assert "takes no storage options" in done.err


def test_a_secret_is_never_an_argument(tmp_path: Path) -> None:
    done = safebackup("snapshots", "-r", "s3://bucket/x", "--storage-option", "secret=hunter2", folder=tmp_path)

    assert done.status == ExitStatus.USAGE
    assert "secret=@FILE" in done.err
    assert "hunter2" not in done.out + done.err


def test_a_store_that_nobody_has_proven_takes_consent(tmp_path: Path) -> None:
    refused = safebackup("init", "hdfs://host/x", "--no-key", folder=tmp_path)

    assert refused.status == ExitStatus.USAGE


def test_every_step_works_in_a_bucket_with_options_of_the_command_line(
    s3_server: S3Server, data: Path, tmp_path: Path
) -> None:
    url = s3_server.url("by-command")
    option = f"endpoint_url=http://127.0.0.1:{s3_server.port}"

    def run(*words: str | Path) -> Done:
        done = safebackup(
            *words,
            *("--storage-option", option),
            folder=tmp_path,
            AWS_ACCESS_KEY_ID="tests",
            AWS_SECRET_ACCESS_KEY=s3_server.secret,
            AWS_DEFAULT_REGION="us-east-1",
        )
        assert done.status == ExitStatus.OK, done.err
        return done

    assert f"--storage-option {option}" in run("init", url, "--no-key", "-v").out
    run("backup", data, "-r", url, "--limit-bandwidth", "10M")
    run("verify", "-r", url)
    run("restore", "latest", "-r", url, "--to", "back")
    probed = run("store", "probe", url, "--json").document

    assert (tmp_path / "back" / "ledger.csv").read_bytes() == (data / "ledger.csv").read_bytes()
    assert (probed["can_delete"], probed["read_by_anyone"], probed["keeps_versions"]) == (True, False, False)
    assert not [name for name in s3_server.peek("by-command") if name.startswith("check-")]


# Credentials that can only append


class AppendOnly:
    """What a store is without `delete`: there is no such method."""

    def __init__(self, store: AppendStore) -> None:
        self._inner = store

    @property
    def url(self) -> str:
        return self._inner.url

    def get(self, name: str, *, start: int = 0, length: int | None = None) -> bytes:
        return self._inner.get(name, start=start, length=length)

    def list(self, prefix: str) -> list[ObjectInfo]:
        return self._inner.list(prefix)

    def put_new(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._inner.put_new(name, data)


def test_a_backup_needs_no_delete_from_the_first_to_the_last(repository: Path, data: Path) -> None:
    opened = attach(AppendOnly(open_store(repository)), key=None, runtime=Runtime())

    for number in range(20):  # far enough that indexes and catalogues are merged
        (data / f"{number}").write_bytes(os.urandom(100))
        assert back_up(data, into=opened).complete

    assert verify(opened).passed
    assert not hasattr(opened.store, "delete")


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "append-only-access.md").read_text(encoding="utf-8")


def chattr(*arguments: str | Path) -> bool:
    """Whether the system could do it."""
    return subprocess.run(["chattr", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(shutil.which("chattr") is None, reason="takes chattr")
def test_a_backup_works_where_root_has_locked_what_is_there(repository: Path, data: Path) -> None:
    if not chattr("+a", repository):
        pytest.skip("takes root, and a file system that has append-only folders")
    chattr("-a", repository)
    (command,) = re.findall(r"^find /srv/backups/orders (.*)$", PAGE, flags=re.MULTILINE)
    opened = Repository.open(repository, key=None)
    back_up(data, into=opened)
    try:
        subprocess.run(["bash", "-c", f"find {shlex.quote(str(repository))} {command}"], check=True)
        (data / "new").write_text("1")
        assert back_up(data, into=opened).complete

        (name, *_) = (info.name for info in opened.store.list("snapshots/"))
        locked = [path for path in repository.rglob("*") if path.is_file() and "i" in flags_of(path)]
        assert repository / name in locked or len(locked) >= 5
        for path in locked:
            with pytest.raises(PermissionError):
                path.unlink()
            with pytest.raises(PermissionError):
                path.open("r+b")
        assert verify(opened).passed
    finally:
        chattr("-R", "-a", repository)
        chattr("-R", "-i", repository)


def flags_of(path: Path) -> str:
    """What lsattr says of a file."""
    return subprocess.run(["lsattr", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]


def test_a_server_that_refuses_to_delete_by_ssh_is_enough_for_a_backup(tmp_path: Path, data: Path) -> None:
    (line,) = re.findall(r"^ +(ForceCommand internal-sftp .*)$", PAGE, flags=re.MULTILINE)
    with start_ssh(tmp_path / "ssh") as server:
        url, options = server.url("orders"), server.options
        repository = Repository.create(url, key=None, storage_options=options)
        server.stop()
        with (tmp_path / "ssh" / "sshd_config").open("a") as config:
            config.write(f"{line}\n")
        server.start()

        for number in range(2):
            (data / f"{number}").write_text("1")
            assert back_up(data, into=Repository.open(url, key=None, storage_options=options)).complete
        report = probe_store(url, storage_options=options)

        assert verify(repository).passed
        assert (report.can_delete, report.can_overwrite) == (False, True)
        assert [name.endswith("/probe/one") for name in report.left_behind] == [True]
        assert {finding.code for finding in report.findings} == {Code.CREDENTIAL_CAN_OVERWRITE, Code.STORE_TEST_LEFT}
        assert report.left_behind[0] in server.peek("orders")


# The same in a bucket, as docs/how-to/append-only-access.md shows it


def policy_of_the_page(bucket: str) -> str:
    """The policy that the page shows, for this bucket and for everybody: the server knows no roles."""
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    policy = json.loads(shown.replace("orders-backups", bucket))
    for statement in policy["Statement"]:
        assert statement["Principal"] == {"AWS": "arn:aws:iam::111122223333:role/orders-job"}
        statement["Principal"] = "*"
    return json.dumps(policy)


def owner_of(server: S3Server) -> Any:
    """A file system that makes buckets."""
    import s3fs

    return s3fs.S3FileSystem(**server.options, skip_instance_cache=True)


def test_a_bucket_policy_lets_a_job_add_and_nothing_else(s3_server: S3Server, data: Path) -> None:
    bucket = f"appended-{os.urandom(4).hex()}"
    owner = owner_of(s3_server)
    owner.call_s3("create_bucket", Bucket=bucket)
    options = {**s3_server.options}
    repository = Repository.create(f"s3://{bucket}/orders", key=None, storage_options=options)
    owner.call_s3("put_bucket_policy", Bucket=bucket, Policy=policy_of_the_page(bucket))

    assert back_up(data, into=repository).complete
    (data / "more").write_text("1")
    assert back_up(data, into=Repository.open(repository.url, key=None, storage_options=options)).complete

    report = probe_store(f"s3://{bucket}/orders", storage_options=options)
    assert report.can_delete is False
    assert (Code.CREDENTIAL_CAN_DELETE in {finding.code for finding in report.findings}) is False
    assert len(report.left_behind) == 1


def test_in_a_locked_bucket_what_was_there_stays_whoever_has_the_credentials(s3_server: S3Server, data: Path) -> None:
    bucket = f"locked-{os.urandom(4).hex()}"
    owner = owner_of(s3_server)
    owner.call_s3("create_bucket", Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"Mode": "COMPLIANCE", "Days": 1}
    lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    owner.call_s3("put_object_lock_configuration", Bucket=bucket, ObjectLockConfiguration=lock)
    options = {**s3_server.options}

    repository = Repository.create(f"s3://{bucket}/orders", key=None, storage_options=options)
    assert back_up(data, into=repository).complete
    assert back_up(data, into=repository).complete
    report = probe_store(f"s3://{bucket}/orders", storage_options=options)

    assert (report.can_delete, report.can_overwrite, report.keeps_versions) == (True, True, True)
    assert all("keeps what was there before" in finding.what for finding in report.findings)
    store = open_store(repository.url, storage_options=options)
    names = [info.name for info in store.list("snapshots/")]
    for name in names:
        store.delete(name)
    assert store.list("snapshots/") == []
    markers = owner.call_s3("list_object_versions", Bucket=bucket, Prefix="orders/snapshots/")["DeleteMarkers"]
    for marker in markers:  # how the owner brings everything back, as the page says
        owner.call_s3("delete_object", Bucket=bucket, Key=marker["Key"], VersionId=marker["VersionId"])
    assert [info.name for info in store.list("snapshots/")] == names
    assert verify(repository).passed
