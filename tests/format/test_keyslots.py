"""Key slots: the right key opens them, in their own repository, at a cost that readers accept."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safebackup.errors import IntegrityError
from safebackup.format.keyslots import SCRYPT_COST, unwrap_secrets, wrap_secrets, wrapping_key
from safebackup.format.objects import encode
from safebackup.format.records import KeySlot, Secrets
from tests import independent_reader

REPOSITORY = b"r" * 16
SALT = b"s" * 32
CHEAP = (1 << 14, 8, 1)
SECRETS = Secrets(
    configuration="config/x",
    identity=b"i" * 32,
    chunker_seed=5,
    classes={1: {"data": b"d" * 32}, 2: {"data": b"e" * 32}},
)


def _slot(material: bytes, method: str, cost: tuple[int, int, int]) -> KeySlot:
    key = wrapping_key(material, method, salt=SALT, cost=cost, name="x")
    return KeySlot(
        epoch=2,
        method=method,
        created=1,
        label="",
        salt=SALT,
        cost=cost,
        sealed=wrap_secrets(SECRETS, key, repository=REPOSITORY),
    )


SLOTS = [("scrypt", CHEAP), ("key-file", (0, 0, 0))]


@pytest.mark.parametrize(("method", "cost"), SLOTS)
def test_a_slot_opens_with_its_key_alone(method: str, cost: tuple[int, int, int]) -> None:
    slot = _slot(b"secret", method, cost)
    for material, expected in ((b"secret", SECRETS), (b"other", None)):
        key = wrapping_key(material, method, salt=SALT, cost=cost, name="x")
        assert unwrap_secrets(slot, key, repository=REPOSITORY, name="x") == expected


@pytest.mark.parametrize(("method", "cost"), SLOTS)
def test_slots_are_those_of_the_page(method: str, cost: tuple[int, int, int]) -> None:
    slot = _fields(_slot(b"secret", method, cost))
    found = independent_reader.unlock(slot, b"secret", method, REPOSITORY)
    assert found == {
        "configuration": "config/x",
        "identity": b"i" * 32,
        "chunker_seed": 5,
        "classes": {1: {"data": b"d" * 32}, 2: {"data": b"e" * 32}},
    }


def _fields(slot: KeySlot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in slot.__struct_fields__}


def test_a_slot_opens_in_its_own_repository_alone() -> None:
    key = wrapping_key(b"secret", "key-file", salt=SALT, cost=(0, 0, 0), name="x")
    slot = _slot(b"secret", "key-file", (0, 0, 0))
    assert unwrap_secrets(slot, key, repository=b"q" * 16, name="x") is None


@pytest.mark.parametrize("epoch", [1, 3, 1 << 40, -1, 1 << 64])
def test_a_slot_whose_epoch_was_altered_does_not_open(epoch: int) -> None:
    key = wrapping_key(b"secret", "key-file", salt=SALT, cost=(0, 0, 0), name="x")
    slot = msgspec.structs.replace(_slot(b"secret", "key-file", (0, 0, 0)), epoch=epoch)
    assert unwrap_secrets(slot, key, repository=REPOSITORY, name="x") is None
    with suppress(independent_reader.FormatError):
        assert independent_reader.unlock(_fields(slot), b"secret", "key-file", REPOSITORY) is None


def test_methods_and_salts_give_keys_of_their_own() -> None:
    keys = {
        wrapping_key(b"secret", method, salt=salt, cost=cost, name="x")
        for method, cost in SLOTS
        for salt in (SALT, b"t" * 32)
    }
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize(
    "cost",
    [
        (1 << 13, 8, 1),
        ((1 << 14) + 1, 8, 1),
        (1 << 14, 0, 1),
        (1 << 14, 65, 1),
        (1 << 14, 8, 0),
        (1 << 14, 8, 17),
        (1 << 20, 8, 1),
        (1 << 24, 64, 16),
        (-(1 << 14), 8, 1),
        (0, 0, 0),
    ],
    ids=str,
)
def test_a_cost_that_no_release_has_written_is_refused_before_it_is_paid(cost: tuple[int, int, int]) -> None:
    with pytest.raises(IntegrityError):
        wrapping_key(b"secret", "scrypt", salt=SALT, cost=cost, name="x")


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(IntegrityError):
        wrapping_key(b"secret", "argon3", salt=SALT, cost=CHEAP, name="x")


def test_the_cost_in_use_is_one_that_readers_accept() -> None:
    assert len(wrapping_key(b"secret", "scrypt", salt=SALT, cost=SCRYPT_COST, name="x")) == 32


def test_a_slot_that_opens_to_nonsense_is_damage() -> None:
    key = wrapping_key(b"secret", "key-file", salt=SALT, cost=(0, 0, 0), name="x")
    bound = b"safebackup 1 slot" + REPOSITORY + (2).to_bytes(8, "big")
    sealed = AESGCM(key).encrypt(bytes(12), encode({"configuration": 1}), bound)
    slot = msgspec.structs.replace(_slot(b"secret", "key-file", (0, 0, 0)), sealed=sealed)
    with pytest.raises(IntegrityError):
        unwrap_secrets(slot, key, repository=REPOSITORY, name="x")
