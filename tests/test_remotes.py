"""Reaching URLs: what is local, what may be shown, and whose fault it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError
from safebackup.remotes import Remote, local_path, shown


@pytest.mark.parametrize(
    ("url", "path"),
    [("/srv/a", "/srv/a"), ("a:b", "a:b"), ("file:///srv/a", "/srv/a"), ("LOCAL:///a", "/a"), ("s3://bucket/a", None)],
)
def test_what_lies_on_this_machine_is_told_from_what_does_not(url: str, path: str | None) -> None:
    assert local_path(url, None) == path


@pytest.mark.parametrize("url", ["file://srv/a", "simplecache::s3://bucket/a"])
def test_a_url_that_could_mean_two_things_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        local_path(url, None)

    assert caught.value.code is Code.BAD_URL


def test_options_for_a_local_path_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="storage options"):
        local_path("/srv/a", {"key": "x"})


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("ftp://ann:hunter2@host/a", "ftp://***@host/a"),
        ("ftp://ann:hunt@er2@host/a", "ftp://***@host/a"),
        ("https://host/a?signature=s3cr3t", "https://host/a"),
        ("https://host/a#s3cr3t", "https://host/a"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(url: str, safe: str) -> None:
    assert shown(url) == safe


def test_a_library_that_repeats_a_secret_is_not_repeated() -> None:
    remote = Remote.reach("memory://remotes/a", {"secret": "s3cr3t", "port": 21})

    with pytest.raises(StorageError) as caught, remote.failing("reading"):
        raise ValueError("s3cr3t at port 21, ftp://ann:hunter2@host/a?x=1")

    assert "ValueError: *** at port 21, ftp://***@host/a" in str(caught.value)
    assert "hunter2" not in repr(remote) + str(caught.value)


@pytest.mark.parametrize(
    ("problem", "kind", "code"),
    [
        (FileNotFoundError("a"), NotFoundError, Code.NO_PATH),
        (PermissionError("a"), StorageError, Code.STORE_DENIED),
        (ConnectionResetError("a"), StorageError, Code.STORE_FAILED),
        (RuntimeError("a"), StorageError, Code.STORE_FAILED),
    ],
)
def test_each_failure_has_its_own_answer(problem: Exception, kind: type[SafeBackupError], code: Code) -> None:
    remote = Remote.reach("memory://remotes/a", None)

    with pytest.raises(kind) as caught, remote.failing("reading"):
        raise problem

    assert caught.value.code is code


def test_a_not_found_that_hides_a_refused_connection_is_a_failure() -> None:
    remote = Remote.reach("memory://remotes/a", None)

    with pytest.raises(StorageError), remote.failing("reading"):
        raise FileNotFoundError("a") from ConnectionRefusedError("b")


@pytest.mark.parametrize(("url", "says"), [("no-such://host/a", "cannot be used"), ("dask://host/a", "not installed")])
def test_a_scheme_that_is_not_there_says_what_to_do(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        Remote.reach(url, None)

    assert caught.value.hint


WITHOUT_PACKAGES = """
import sys
for package in ("s3fs", "aiohttp", "libarchive", "webdav4", "requests", "pygit2", "dask"):
    sys.modules[package] = None

from safebackup.errors import ConfigurationError
from safebackup.storage.places import open_place

for url in sys.argv[1:]:
    try:
        open_place(url)
    except ConfigurationError as error:
        print(error.hint)
"""


def test_a_missing_package_is_named_also_where_urls_are_chained_or_only_read() -> None:
    needs = {
        "simplecache::s3://bucket/x": "'safebackup[s3]'",
        "zip://a.txt::simplecache::s3://bucket/a.zip": "'safebackup[s3]'",
        "https://host/x": "aiohttp",
        "simplecache::https://host/x": "aiohttp",
        "libarchive://a.txt::s3://bucket/a.7z": "libarchive-c",
        "github://someone:something@main/x": "requests",
        "git:///tmp": "pygit2",
        "dask://host/x": "dask",
        "webdavs://host/x": "'safebackup[webdav]'",
    }

    told = subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES, *needs], capture_output=True, text=True, check=True)

    expected = [f"pip install {package}, into the environment that runs this." for package in needs.values()]
    assert told.stdout.splitlines() == expected


def test_nothing_is_remembered_between_two_connections() -> None:
    first, second = (Remote.reach("memory://remotes/a", None) for _ in range(2))

    assert first.files is not second.files
    assert not first.files.dircache.use_listings_cache
