"""MemoryStore: the reference for the contract."""

from __future__ import annotations

import pickle
import subprocess
import sys
import uuid

import pytest

from safebackup.storage import DeleteStore, MemoryStore, open_store
from tests.storage.contract import StoreContract

pytestmark = pytest.mark.portable


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> DeleteStore:
        return open_store(f"memory://{uuid.uuid4().hex}", create=True)

    @pytest.fixture
    def unreachable(self) -> DeleteStore:
        return MemoryStore(uuid.uuid4().hex)


def test_stores_of_different_names_share_nothing() -> None:
    one, two = (open_store(f"memory://{uuid.uuid4().hex}", create=True) for _ in range(2))

    one.put_new("a", b"1")

    assert two.list("") == []


def test_creating_it_again_keeps_what_is_there() -> None:
    store = MemoryStore(uuid.uuid4().hex)
    store.create_root()
    store.put_new("a", b"1")

    store.create_root()

    assert store.get("a") == b"1"


def test_a_pickled_store_is_the_same_store() -> None:
    store = MemoryStore(uuid.uuid4().hex)
    store.create_root()
    store.put_new("a", b"1")

    assert pickle.loads(pickle.dumps(store)).get("a") == b"1"


def test_another_process_cannot_reach_it_and_is_told_so() -> None:
    store = MemoryStore(uuid.uuid4().hex)
    store.create_root()
    code = f"from safebackup.storage import open_store; open_store({store.url!r}).list('')"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert child.returncode == 1
    assert "[store-missing]" in child.stderr
