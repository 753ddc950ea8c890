"""ScopedStore: one folder and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from safebackup.errors import ConfigurationError, RefusedError
from safebackup.storage import DeleteStore, ObjectInfo, open_store
from safebackup.storage.scoped import ScopedStore

pytestmark = pytest.mark.portable


@pytest.fixture
def whole() -> DeleteStore:
    store = open_store(f"memory://{uuid.uuid4().hex}", create=True)
    store.put_new("packs/one", b"data")
    store.put_new("keys-old/one", b"old")
    store.put_new("keys/one", b"slot")
    return store


def test_inside_its_folder_it_is_the_store_itself(whole: DeleteStore) -> None:
    keys = ScopedStore(whole, "keys/")

    keys.put_new("keys/two", b"second")
    keys.delete("keys/one")

    assert keys.get("keys/two", start=1, length=2) == b"ec"
    assert keys.list("keys/") == [ObjectInfo("keys/two", 6)]
    assert whole.list("keys/") == keys.list("keys/")
    assert keys.url == whole.url


@pytest.mark.parametrize("name", ["packs/one", "keys-old/one", "key", "keys", "", "keysone"])
def test_outside_its_folder_every_verb_is_refused(whole: DeleteStore, name: str) -> None:
    keys = ScopedStore(whole, "keys/")
    before = {info.name: whole.get(info.name) for info in whole.list("")}
    calls: list[Callable[[], object]] = [
        lambda: keys.get(name),
        lambda: keys.list(name),
        lambda: keys.put_new(name, b"x"),
        lambda: keys.delete(name),
    ]

    for call in calls:
        with pytest.raises(RefusedError):
            call()

    assert {info.name: whole.get(info.name) for info in whole.list("")} == before


def test_a_name_that_climbs_out_is_no_name(whole: DeleteStore) -> None:
    with pytest.raises(ConfigurationError):
        ScopedStore(whole, "keys/").delete("keys/../packs/one")


@pytest.mark.parametrize("prefix", ["", "/", "keys"])
def test_a_prefix_that_is_not_one_folder_is_refused(whole: DeleteStore, prefix: str) -> None:
    with pytest.raises(ConfigurationError):
        ScopedStore(whole, prefix)
