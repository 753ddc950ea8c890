"""Tampering changes what it says, or no test of damage means anything."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from safebackup.errors import ConflictError
from safebackup.storage import open_store
from safebackup.testing import RecordingStore
from tests.faults import tampered

pytestmark = pytest.mark.portable


@pytest.mark.parametrize("place", ["memory", "local"])
def test_tampering_changes_what_the_contract_would_protect(place: str, tmp_path: Path) -> None:
    store = open_store(tmp_path if place == "local" else f"memory://{uuid.uuid4().hex}", create=True)
    store.put_new("packs/one", b"genuine")

    tampered(store, "packs/one", b"forged")
    tampered(store, "snapshots/foreign", b"never stored")

    assert store.get("packs/one") == b"forged"
    assert [info.name for info in store.list("")] == ["packs/one", "snapshots/foreign"]
    with pytest.raises(ConflictError):
        store.put_new("packs/one", b"genuine")


def test_tampering_through_a_wrapper_is_refused() -> None:
    with pytest.raises(TypeError):
        tampered(RecordingStore(open_store("memory://trial")), "old", b"")
