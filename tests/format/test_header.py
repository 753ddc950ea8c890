"""Headers: 88 bytes that are read back as written, or refused for what they are."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError, IntegrityError, SafeBackupError
from safebackup.format.header import (
    FOLDER,
    HEADER_BYTES,
    KEY_CLASS,
    TABLE_BYTES_MAX,
    Header,
    KeyWrap,
    Kind,
    digest_of,
    object_name,
    parse_header,
    require_digest,
)

HEADER = Header(
    kind=Kind.SNAPSHOT,
    wrap=KeyWrap.EPOCH,
    epoch=3,
    repository=bytes(range(16)),
    salt=bytes(range(32)),
    table_offset=88,
    table_length=100,
)

headers = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    wrap=st.sampled_from([KeyWrap.NONE, KeyWrap.EPOCH]),
    epoch=st.integers(0, (1 << 32) - 1),
    repository=st.binary(min_size=16, max_size=16),
    salt=st.binary(min_size=32, max_size=32),
    table_offset=st.integers(HEADER_BYTES, (1 << 64) - 1),
    table_length=st.integers(0, TABLE_BYTES_MAX),
)


def _changed(offset: int, value: bytes) -> bytes:
    data = bytearray(HEADER.to_bytes())
    data[offset : offset + len(value)] = value
    return bytes(data)


@given(headers)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    data = header.to_bytes()
    assert len(data) == HEADER_BYTES
    assert parse_header(data + b"what follows", name="x") == header


@given(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255))
def test_whatever_is_accepted_means_all_that_it_says(offset: int, value: int) -> None:
    data = _changed(offset, bytes([value]))
    try:
        header = parse_header(data, name="x")
    except SafeBackupError:
        return
    assert header.to_bytes() == data


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, b"S", id="magic"),
        pytest.param(7, b"\x1b", id="the end of the magic"),
        pytest.param(9, b"\x00", id="kind 0"),
        pytest.param(9, b"\x0d", id="kind 13"),
        pytest.param(20, b"\x01", id="reserved bytes"),
        pytest.param(23, b"\x01", id="the last of them"),
        pytest.param(72, bytes(7) + b"\x57", id="a table within the header"),
        pytest.param(80, (TABLE_BYTES_MAX + 1).to_bytes(8, "big"), id="a table that is too long"),
    ],
)
def test_a_header_that_cannot_be_is_damaged(offset: int, value: bytes) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_header(_changed(offset, value), name="snapshots/x")
    assert caught.value.code is Code.DAMAGED_OBJECT
    assert "snapshots/x" in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(8, b"\x02", id="version"),
        pytest.param(10, b"\x02", id="wrapped to a public key"),
        pytest.param(11, b"\x01", id="flags"),
        pytest.param(13, b"\x01", id="a wrapped key"),
        pytest.param(15, b"\x01", id="a signature"),
    ],
)
def test_what_is_reserved_is_a_newer_release(offset: int, value: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_header(_changed(offset, value), name="x")
    assert caught.value.code is Code.FORMAT_TOO_NEW


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1])
def test_less_than_a_header_is_damaged(size: int) -> None:
    with pytest.raises(IntegrityError):
        parse_header(HEADER.to_bytes()[:size], name="x")


def test_every_kind_has_a_folder_of_its_own_and_a_key() -> None:
    assert set(FOLDER) == set(KEY_CLASS) == set(Kind)
    assert len(set(FOLDER.values())) == len(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_the_name_of_an_object_ends_with_its_hash(kind: Kind) -> None:
    digest = digest_of(b"content")
    name = object_name(kind, digest, tier=7)
    between = {"data": digest[:2], "metadata": digest[:2], "index": "7", "catalogues": "7", "founding": "7"}
    parts = [FOLDER[kind], between.get(FOLDER[kind]), hashlib.sha256(b"content").hexdigest()]
    assert name.split("/") == [part for part in parts if part is not None]
    require_digest(name, b"content")
    with pytest.raises(IntegrityError):
        require_digest(name, b"contenu")
