"""open_store: from a URL of a network's to the class that serves it, or to a clear refusal that repeats no secret."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from safebackup.errors import Code, ConfigurationError
from safebackup.storage import open_store
from safebackup.storage.remote import Limits, RemoteStore


@contextmanager
def refused(match: str | None = None) -> Iterator[pytest.ExceptionInfo[ConfigurationError]]:
    """What has to end as a bad URL, with a hint."""
    with pytest.raises(ConfigurationError, match=match) as caught:
        yield caught
    assert caught.value.code is Code.BAD_URL
    assert caught.value.hint


PLACES = {
    "s3://bucket": "s3fs.core.S3FileSystem",
    "s3://bucket/folder": "s3fs.core.S3FileSystem",
    "gs://bucket/folder": "gcsfs.",
    "az://container/folder": "adlfs.spec.AzureBlobFileSystem",
    "abfss://container@account.dfs.core.windows.net/folder": "adlfs.spec.AzureBlobFileSystem",
    "sftp://backup@host/srv/a": "sshfs.spec.SSHFileSystem",
    "ssh://host:2222/srv/a@b": "sshfs.spec.SSHFileSystem",
    "ftp://host/a": "fsspec.implementations.ftp.FTPFileSystem",
    "webdav://host/a": "webdav4.fsspec.WebdavFileSystem",
    "davs://host:8443/a": "webdav4.fsspec.WebdavFileSystem",
    "smb://host/share/a": "fsspec.implementations.smb.SMBFileSystem",
    "s3://bucket/two words/Grüße 猫/a@b:c": "s3fs.core.S3FileSystem",
    "sftp://host/two words/Grüße 猫/a@b:c": "sshfs.spec.SSHFileSystem",
}


@pytest.mark.parametrize("url", PLACES)
def test_a_url_is_opened_by_the_class_that_serves_it_and_nothing_is_asked(url: str) -> None:
    store = open_store(url)

    assert isinstance(store, RemoteStore)
    assert store.kind.startswith(PLACES[url])
    assert store.url == url


@pytest.mark.parametrize("written", ["S3://bucket/a", "s3://bucket/a/", "s3://bucket/a//", "s3://bucket/a"])
def test_every_way_to_write_a_url_names_the_same_place(written: str) -> None:
    assert open_store(written).url == "s3://bucket/a"


def test_a_password_is_used_and_not_shown() -> None:
    store = open_store("ftp://ann:hush@host/a@b")

    assert store.url == "ftp://***@host/a@b"
    assert "hush" not in repr(store)


READ_ONLY = ["http", "https", "zip", "tar", "github", "git", "data", "simplecache", "filecache", "reference"]


@pytest.mark.parametrize("scheme", READ_ONLY)
def test_what_can_only_be_read_holds_no_repository(scheme: str) -> None:
    with refused(match="is for reading"):
        open_store(f"{scheme}://bucket/x", create=True)


@pytest.mark.parametrize("url", ["simplecache::s3://bucket/x", "s3://bucket/x::zip://a", "zip://a.zip::sftp://host/b"])
def test_chained_urls_hold_no_repository(url: str) -> None:
    with refused(match="chains URLs"):
        open_store(url, create=True)


@pytest.mark.parametrize("scheme", ["nosuch", "s4", "ftps", "dav+http"])
def test_a_scheme_that_nobody_knows_is_refused_with_those_that_are_known(scheme: str) -> None:
    with refused(match="no package of this machine knows") as caught:
        open_store(f"{scheme}://host/x")

    assert "s3://" in caught.value.hint


def test_a_package_that_breaks_when_it_is_imported_is_refused_in_its_words() -> None:
    with refused(match="cannot be used: .*retired"):
        open_store("adl://store/x")


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///",
        "s3:///folder",
        "s3://bucket//folder",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a/..",
        "s3://bucket/./a",
        "s3://..",
        "sftp://host//srv",
        "sftp://host/srv/../etc",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a#b",
        "s3://bucket/a\nb",
        "s3://bucket/a\tb",
        "s3://bucket/a\x7fb",
        "s3://bucket/a\udcffb",
        "s3://key@bucket/a",
        "gs://token@bucket/a",
        "sftp://host:ssh/a",
        "sftp://host:/a",
        "ftp://:21/a",
        "webdav://host:80:80/a",
    ],
    ids=ascii,
)
def test_a_url_with_detours_or_extras_is_refused(url: str) -> None:
    with refused():
        open_store(url, create=True)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hush@bucket/x",
        "s3://hush@bucket/x",
        "gs://hush@bucket/x",
        "user:hush@host:/srv",
        "s3:/key:hush@x",
        "file://u:hush@h/x",
        "http://u:hush@host/x",
        "https://hush@host/x",
        "nosuch://u:hush@host/x",
        "nosuch://hush@host/x",
        "sftp://u:hush@host/../x",
        "sftp://u:hush/hush@host/x",
        "sftp://u:hu sh hush@host//x",
        "sftp://u:hush?hush@host/x",
        "sftp://u:hush#hush@host/x",
        "sftp://u:hush@hush@host/../x",
        "s3://bucket/x?token=hush",
        "s3://bucket/x?token=a hush",
        "s3://bucket/x#hush",
        "simplecache::ftp://u:hush@host/x",
        "ftp://u:hush@host/a::b",
        " ftp://u:hush@host/a",
        "hdfs://u:hush@host/x",
    ],
    ids=ascii,
)
def test_a_refusal_repeats_no_password(url: str) -> None:
    with refused() as caught:
        open_store(url, create=True)

    error: BaseException | None = caught.value
    while error is not None:
        assert "hush" not in str(error) + repr(error)
        error = error.__context__


@pytest.mark.parametrize("url", ["sftp://host/~/x", "ssh://ann@host/~ann", "ftp://host/~/x"])
def test_a_home_that_no_server_would_find_is_refused(url: str) -> None:
    with refused(match="begins with '~'") as caught:
        open_store(url, create=True)

    assert "/home/" in caught.value.hint


@pytest.mark.parametrize("url", ["s3://bucket/~x", "webdav://host/~ann/x", "sftp://host/srv/~x"])
def test_a_tilde_elsewhere_is_a_name_like_others(url: str) -> None:
    assert open_store(url).url == url


def test_a_server_whose_key_nobody_checks_is_refused() -> None:
    with refused(match="known_hosts=None") as caught:
        open_store("sftp://host/srv", storage_options={"known_hosts": None})
    assert "known hosts" in caught.value.hint

    assert isinstance(open_store("sftp://host/srv", storage_options={"known_hosts": "hosts"}), RemoteStore)


def test_what_is_not_proven_needs_consent() -> None:
    with refused(match="not proven") as caught:
        open_store("hdfs://host/folder")
    assert "--allow-unproven-store" in caught.value.hint

    store = open_store("hdfs://host/folder", allow_unproven=True)

    assert isinstance(store, RemoteStore)
    assert store.kind == "fsspec.implementations.arrow.HadoopFileSystem"


WITHOUT_PACKAGES = """
import importlib.metadata, sys
for package in ("s3fs", "gcsfs", "adlfs", "sshfs", "asyncssh", "paramiko", "webdav4", "smbclient", "smbprotocol"):
    sys.modules[package] = None

from safebackup.errors import Code, ConfigurationError
from safebackup.storage import open_store

for url in sys.argv[1:]:
    try:
        open_store(url)
    except ConfigurationError as error:
        print(url, error.code, error.hint)
"""


def test_a_missing_package_is_told_by_the_extra_that_brings_it() -> None:
    extras = {"s3": "s3", "gs": "gcs", "az": "azure", "abfss": "azure", "sftp": "sftp", "ssh": "sftp", "smb": "smb"}
    extras |= {"webdav": "webdav", "davs": "webdav"}

    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, *(f"{scheme}://place/x" for scheme in extras), "ftp://host/x"],
        capture_output=True,
        text=True,
        check=True,
    )

    expected = [
        f"{scheme}://place/x bad-url pip install 'safebackup[{extra}]', into the environment that runs this."
        for scheme, extra in extras.items()
    ]
    assert told.stdout.splitlines() == expected  # and FTP needs nothing


def test_a_store_with_credentials_is_opened_again_and_never_pickled() -> None:
    plain = open_store("s3://bucket/a", storage_options={"anon": True}, limits=Limits(request=7))
    arrived = pickle.loads(pickle.dumps(plain))
    assert (arrived.url, arrived.limits) == ("s3://bucket/a", Limits(request=7))

    for url, options in (
        ("ftp://u:hush@host/x", {}),
        ("s3://bucket/a", {"key": "k", "secret": "hush"}),
        ("s3://bucket/a", {"client_kwargs": {"aws_secret_access_key": "hush"}}),
        ("sftp://host/a", {"password": "hush"}),
        ("davs://host/a", {"auth": ("ann", "hush")}),
    ):
        store = open_store(url, storage_options=options)
        assert "hush" not in repr(store)
        with pytest.raises(ConfigurationError, match="credentials") as caught:
            pickle.dumps(store)
        assert "hush" not in str(caught.value)
