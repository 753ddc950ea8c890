"""open_store: from what a person writes to a store here, or to a clear refusal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from safebackup.errors import Code, ConfigurationError, StorageError
from safebackup.storage import LocalStore, MemoryStore, open_store

pytestmark = pytest.mark.portable


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "local://{path}", "FILE://{path}", "{path}/", "{path}/."])
def test_every_way_to_write_a_folder_opens_it(tmp_path: Path, form: str) -> None:
    store = open_store(form.format(path=tmp_path))

    assert isinstance(store, LocalStore)
    assert store.url == f"file://{tmp_path}"


def test_a_url_opens_the_same_store_again(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20c é"
    open_store(odd, create=True).put_new("a", b"1")

    assert open_store(open_store(odd).url).get("a") == b"1"


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("here", create=True)
    monkeypatch.chdir("/")

    store.put_new("a", b"1")

    assert (tmp_path / "here" / "a").read_bytes() == b"1"


def test_opening_creates_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "not-there")

    with pytest.raises(StorageError):
        store.put_new("a", b"1")

    assert list(tmp_path.iterdir()) == []


def test_creating_makes_the_folders_that_lead_there(tmp_path: Path) -> None:
    store = open_store(tmp_path / "hosts" / "one" / "repository", create=True)

    assert store.list("") == []
    assert (tmp_path / "hosts" / "one" / "repository").stat().st_mode & 0o077 == 0


def test_creating_keeps_what_is_there(tmp_path: Path) -> None:
    open_store(tmp_path, create=True).put_new("a", b"1")

    assert open_store(tmp_path, create=True).get("a") == b"1"


def test_creating_where_a_file_is_fails_and_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")

    for place in ("file", "file/below"):
        with pytest.raises(StorageError):
            open_store(tmp_path / place, create=True)

    assert (tmp_path / "file").read_bytes() == b"precious"


def test_memory_opens_by_name() -> None:
    store = open_store("memory://trial-1")

    assert isinstance(store, MemoryStore)
    assert store.url == "memory://trial-1"


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("backup@nas:/srv/backups", "sftp://backup@nas/srv/backups"),
        ("backup@nas.local:backups/orders", "sftp://backup@nas.local/backups/orders"),
        ("backup@nas:", "sftp://backup@nas/"),
    ],
)
def test_a_place_as_scp_writes_it_is_answered_with_its_url(text: str, offered: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(text)

    assert f"{offered} " in caught.value.hint + " "
    assert "whole path" in caught.value.hint


def test_a_password_in_such_a_place_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store("backup:secret@nas:/srv/backups")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/srv/backups\n",
        " /srv/backups",
        "/srv/a\0b",
        "file:/srv",
        "file:srv",
        "file://srv",
        "file://",
        "memory:trial",
        "memory://",
        "memory://a/b",
        "memory:///a",
        "s3:/bucket/x",
        "host:/srv",
        "~/backups",
        "~root/backups",
        "simplecache::s3://bucket/x",
        "zip://a.zip::file:///srv",
        "/srv/a::b",
        "://x",
        "C:\\backups",
        "C:/backups",
    ],
    ids=repr,
)
@pytest.mark.skipif(os.name == "nt", reason="drive letters are paths there")
def test_a_typo_is_refused_and_nothing_is_made(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError) as caught:
        open_store(text, create=True)

    assert caught.value.code is Code.BAD_URL
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", ["anon", ["anon"], [("anon", True)], {1: True}, {None: 1}, 5], ids=repr)
@pytest.mark.parametrize("place", ["memory://trial", "/srv/nothing", "s3://bucket/x"])
def test_options_without_names_are_refused(place: str, options: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(place, storage_options=options)

    assert caught.value.hint


@pytest.mark.parametrize("place", ["memory://trial", "/srv/nothing"])
def test_options_that_would_be_ignored_are_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match="auto_mkdir"):
        open_store(place, create=True, storage_options={"auto_mkdir": True})
    open_store("memory://trial", storage_options={})
