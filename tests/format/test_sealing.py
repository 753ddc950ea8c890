"""Seals: what was sealed opens in its own place, with its own key, and nowhere else."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError, IntegrityError
from safebackup.format.header import Header, KeyClass, KeyWrap, Kind
from safebackup.format.sealing import TAG_BYTES, Keyring, Seal, seal_for
from tests import independent_reader

KEYS = {
    epoch: {str(key_class): bytes([epoch]) * 31 + key_class[0].encode() for key_class in KeyClass} for epoch in (1, 2)
}
SEALED = Keyring(identity=b"i" * 32, chunker_seed=0, classes=KEYS)
PLAIN = Keyring(identity=b"i" * 32, chunker_seed=0, classes={})
HEADER = Header(
    kind=Kind.DATA_PACK,
    wrap=KeyWrap.EPOCH,
    epoch=1,
    repository=b"r" * 16,
    salt=b"s" * 32,
    table_offset=88,
    table_length=16,
)
PLAIN_HEADER = attrs.evolve(HEADER, wrap=KeyWrap.NONE, epoch=0)


def _seal(seal: Seal, plain: bytes, ordinal: int) -> bytes:
    target = bytearray(len(plain) + TAG_BYTES)
    seal.seal_into(memoryview(target), plain, ordinal)
    return bytes(target)


def _seals() -> list[Seal]:
    return [seal_for(HEADER, SEALED, name="x"), seal_for(PLAIN_HEADER, PLAIN, name="x")]


@given(st.binary(max_size=1000), st.integers(0, 1 << 20))
def test_what_was_sealed_opens(plain: bytes, ordinal: int) -> None:
    for seal in _seals():
        assert bytes(seal.open(_seal(seal, plain, ordinal), ordinal, name="x")) == plain


@given(st.binary(max_size=300), st.integers(0, 100))
def test_seals_are_those_of_the_page(plain: bytes, ordinal: int) -> None:
    for header, keyring, key in ((HEADER, SEALED, KEYS[1]["data"]), (PLAIN_HEADER, PLAIN, None)):
        sealed = _seal(seal_for(header, keyring, name="x"), plain, ordinal)
        theirs = independent_reader.read_header(header.to_bytes())
        assert independent_reader.unseal(header.to_bytes(), theirs, key, ordinal, sealed) == plain


@given(st.binary(min_size=1, max_size=100), st.integers(min_value=0))
def test_a_flipped_bit_is_found(plain: bytes, position: int) -> None:
    for seal in _seals():
        sealed = bytearray(_seal(seal, plain, 1))
        position %= len(sealed) * 8
        sealed[position // 8] ^= 1 << position % 8
        with pytest.raises(IntegrityError):
            seal.open(sealed, 1, name="x")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Kind.METADATA_PACK},
        {"epoch": 2},
        {"repository": b"q" * 16},
        {"salt": b"t" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_part_opens_in_no_other_object(change: dict[str, Any], sealed: bool) -> None:
    header, keyring = (HEADER, SEALED) if sealed else (PLAIN_HEADER, PLAIN)
    part = _seal(seal_for(header, keyring, name="x"), b"content", 1)
    with pytest.raises(IntegrityError):
        seal_for(attrs.evolve(header, **change), keyring, name="x").open(part, 1, name="x")


def test_a_part_opens_in_no_other_place() -> None:
    for seal in _seals():
        with pytest.raises(IntegrityError):
            seal.open(_seal(seal, b"content", 1), 2, name="x")


@pytest.mark.parametrize("size", range(TAG_BYTES))
def test_less_than_a_tag_is_damaged(size: int) -> None:
    for seal in _seals():
        with pytest.raises(IntegrityError):
            seal.open(bytes(size), 0, name="x")


def test_another_key_opens_nothing() -> None:
    other = Keyring(identity=b"i" * 32, chunker_seed=0, classes={1: {"data": b"o" * 32}})
    part = _seal(seal_for(HEADER, SEALED, name="x"), b"content", 1)
    with pytest.raises(IntegrityError):
        seal_for(HEADER, other, name="x").open(part, 1, name="x")


def test_classes_have_keys_of_their_own() -> None:
    part = _seal(seal_for(HEADER, SEALED, name="x"), b"content", 1)
    swapped = Keyring(identity=b"i" * 32, chunker_seed=0, classes={1: {"data": KEYS[1]["status"]}})
    with pytest.raises(IntegrityError):
        seal_for(HEADER, swapped, name="x").open(part, 1, name="x")


def test_a_key_without_that_class_or_epoch_says_so() -> None:
    monitor = Keyring(identity=b"", chunker_seed=0, classes={1: {"status": b"k" * 32}})
    for header in (HEADER, attrs.evolve(HEADER, kind=Kind.SNAPSHOT, epoch=9)):
        with pytest.raises(ConfigurationError) as caught:
            seal_for(header, monitor, name="data/x")
        assert caught.value.code is Code.KEY_REQUIRED


def test_a_plain_object_has_no_place_in_a_sealed_repository_nor_the_reverse() -> None:
    with pytest.raises(IntegrityError):
        seal_for(PLAIN_HEADER, SEALED, name="x")
    with pytest.raises(IntegrityError):
        seal_for(HEADER, PLAIN, name="x")


def test_configuration_key_slots_and_founding_are_never_sealed() -> None:
    for kind in (Kind.CONFIGURATION, Kind.KEY_SLOT, Kind.FOUNDING):
        assert seal_for(attrs.evolve(PLAIN_HEADER, kind=kind), SEALED, name="x").key is None
        with pytest.raises(IntegrityError):
            seal_for(attrs.evolve(HEADER, kind=kind), SEALED, name="x")


def test_new_objects_are_sealed_under_the_highest_epoch() -> None:
    assert SEALED.epoch == 2
    assert (PLAIN.epoch, PLAIN.wrap) == (0, KeyWrap.NONE)


def test_no_secret_is_printed() -> None:
    shown = repr(SEALED) + repr(seal_for(HEADER, SEALED, name="x"))
    assert not any(repr(key)[2:-1] in shown for keys in KEYS.values() for key in keys.values())
    assert "iiii" not in shown
