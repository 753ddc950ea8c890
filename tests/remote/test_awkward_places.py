"""Places as people have them: shared buckets, wrong names and keys, two at once, clocks that are off."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from safebackup import Repository, back_up, verify
from safebackup.errors import Code, ConflictError, SafeBackupError, StorageError
from safebackup.storage import open_store
from tests.remote.places import Place, Server, finish, make_tree, place_on, start
from tests.servers import S3Server, SshServer


@pytest.fixture(params=["s3_server", "ssh_server"])
def place(request: pytest.FixtureRequest) -> Place:
    return place_on(request.getfixturevalue(request.param))


def create(place: Place) -> Repository:
    return Repository.create(place.url, key=None, storage_options=dict(place.options))


def put(place: Place, name: str, data: bytes) -> None:
    open_store(place.url, create=True, storage_options=dict(place.options)).put_new(name, data)


def test_other_data_beside_a_repository_is_left_alone(place: Place, tmp_path: Path) -> None:
    outside = Place(f"{place.url}/shared", place.options)
    put(outside, "invoices/2026", b"not ours")
    repository = create(Place(f"{place.url}/shared/backups", place.options))

    assert back_up(make_tree(tmp_path / "tree", 1), into=repository).complete

    checked = verify(repository, level="full")
    assert checked.passed
    assert [finding.code for finding in checked.findings] == []
    assert open_store(outside.url, storage_options=dict(place.options)).get("invoices/2026") == b"not ours"


def test_a_place_with_other_data_gets_no_repository(place: Place) -> None:
    put(place, "invoices/2026", b"not ours")

    with pytest.raises(SafeBackupError) as caught:
        create(place)

    assert caught.value.code is Code.TARGET_NOT_EMPTY
    assert "invoices/2026" in str(caught.value)
    assert [each.name for each in open_store(place.url, storage_options=dict(place.options)).list("")] == [
        "invoices/2026"
    ]


def test_a_second_repository_in_the_same_place_is_refused(place: Place) -> None:
    first = create(place)

    with pytest.raises(ConflictError) as caught:
        create(Place(place.url + "/", place.options))

    assert caught.value.code is Code.REPOSITORY_EXISTS
    assert Repository.open(place.url + "/", key=None, storage_options=dict(place.options)).id == first.id


def test_a_repository_within_another_harms_neither(place: Place, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree", 1)
    outer = create(place)
    inner = create(Place(f"{place.url}/inner", place.options))

    assert back_up(tree, into=outer).complete
    assert back_up(tree, into=inner).complete

    assert verify(outer, level="full").passed
    assert verify(inner, level="full").passed
    assert len(outer.snapshots()) == len(inner.snapshots()) == 1


def test_of_machines_that_create_at_the_same_moment_one_succeeds_or_none(place: Place, tmp_path: Path) -> None:
    outcomes = [finish(each) for each in [start("create", place) for _ in range(4)]]

    created = [each["created"] for each in outcomes if "created" in each]
    refused = {each.get("error") for each in outcomes} - {None}
    assert len(created) <= 1, outcomes
    assert refused <= {str(Code.REPOSITORY_EXISTS), str(Code.CREATION_CONTESTED)}, outcomes
    if created:
        repository = Repository.open(place.url, key=None, storage_options=dict(place.options))
        assert repository.id == created[0]
        assert back_up(make_tree(tmp_path / "tree", 1), into=repository).complete


def test_a_bucket_that_is_missing_is_told_at_once(s3_server: S3Server) -> None:
    url = s3_server.url("x").replace("://tests/", "://no-such-bucket-here/")

    with pytest.raises(StorageError) as caught:
        Repository.create(url, key=None, storage_options=s3_server.options)

    assert caught.value.code is Code.STORE_MISSING
    assert not caught.value.retryable
    assert "no-such-bucket-here" in str(caught.value)


def test_a_root_that_is_missing_is_no_repository(ssh_server: SshServer) -> None:
    with pytest.raises(SafeBackupError) as caught:
        Repository.open(ssh_server.url("no/such/folder"), key=None, storage_options=ssh_server.options)

    assert caught.value.code is Code.NO_REPOSITORY


def test_wrong_credentials_are_told_at_once_and_not_repeated(s3_server: S3Server) -> None:
    options = {**s3_server.options, "secret": "not-the-secret-of-this-server"}

    with pytest.raises(StorageError) as caught:
        Repository.open(s3_server.url("x"), key=None, storage_options=options)

    assert caught.value.code is Code.STORE_DENIED
    assert "not-the-secret-of-this-server" not in repr(caught.value) + str(caught.value)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="takes faketime")
def test_a_clock_that_is_an_hour_off_changes_nothing(ssh_server: Server, tmp_path: Path) -> None:
    place = place_on(ssh_server)
    tree = make_tree(tmp_path / "tree", 1)
    repository = create(place)

    ahead = finish(start("back_up", place, str(tree), under=("faketime", "+1 hour")))
    behind = finish(start("back_up", place, str(tree), under=("faketime", "-1 hour")))
    now = back_up(tree, into=repository)

    assert ahead["complete"], ahead
    assert behind["complete"], behind
    assert now.complete
    assert [each.id for each in repository.snapshots()] == [ahead["snapshot"], behind["snapshot"], now.snapshot.id]
    assert verify(repository, level="full").passed
