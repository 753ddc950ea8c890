"""Seals: how the frames and the table of an object are protected (format.md, "Seals").

A sealed object has a key of its own, derived from the class key of its epoch and its 32-byte random salt.
Nonces are ordinals: 0 for the table, 1, 2, … for the frames. As no salt recurs, nothing is ever sealed twice
under one key and nonce. Associated data are the first 72 bytes of the header, so that no part can be moved to
another object, kind, epoch or repository.

In a repository without a key the same 16 bytes hold a digest over the same things. That finds damage, not malice.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import cached_property

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from safebackup.errors import Code, ConfigurationError
from safebackup.format.header import BOUND_BYTES, KEY_CLASS, Header, KeyClass, KeyWrap, damaged

TAG_BYTES = 16
TABLE_ORDINAL = 0
Buffer = bytes | bytearray | memoryview


@attrs.frozen
class Keyring:
    """The secrets of one repository, as far as this key opens them.

    `classes[epoch][key class]` are 32-byte keys; an empty mapping means a repository without a key.
    """

    identity: bytes = attrs.field(repr=False)  # keys the chunk ids
    chunker_seed: int = attrs.field(repr=False)
    classes: Mapping[int, Mapping[str, bytes]] = attrs.field(repr=False)

    @property
    def epoch(self) -> int:
        """The epoch under which new objects are sealed; 0 without a key."""
        return max(self.classes, default=0)

    @property
    def wrap(self) -> KeyWrap:
        """How new objects are sealed."""
        return KeyWrap.EPOCH if self.classes else KeyWrap.NONE

    def class_key(self, key_class: KeyClass, epoch: int, *, name: str) -> bytes:
        """The key for a class of objects.

        Raises:
            ConfigurationError: this key does not open that class or epoch.
        """
        try:
            return self.classes[epoch][key_class]
        except KeyError:
            raise ConfigurationError(
                f"{name} is sealed with the {key_class} key of epoch {epoch}, which was not opened",
                code=Code.KEY_REQUIRED,
                hint="If keys were rotated since the repository was opened, open it again. "
                "Otherwise give another key: this one was left out.",
            ) from None


@attrs.define
class Seal:
    """Seals and opens the parts of one object."""

    header: Header
    key: bytes | None = attrs.field(repr=False)

    @cached_property
    def _cipher(self) -> AESGCM:
        assert self.key is not None
        info = b"safebackup 1 object"
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=self.header.salt, info=info).derive(self.key))

    @cached_property
    def _bound(self) -> bytes:
        return self.header.to_bytes()[:BOUND_BYTES]

    def seal_into(self, target: memoryview, plain: Buffer, ordinal: int) -> None:
        """Write the sealed form of `plain`, 16 bytes longer, into `target`; both are given by the caller."""
        nonce = ordinal.to_bytes(12, "big")
        if self.key is not None:
            self._cipher.encrypt_into(nonce, plain, self._bound, target)
            return
        target[: len(plain)] = plain
        target[len(plain) :] = self._digest(nonce, plain)

    def open(self, sealed: Buffer, ordinal: int, *, name: str) -> bytes | memoryview:
        """The plain form of one part of the object called `name`.

        Raises:
            IntegrityError: it is not what was sealed in this place, or the key is another.
        """
        if len(sealed) < TAG_BYTES:
            raise damaged(name, f"part {ordinal} has {len(sealed)} bytes")
        nonce = ordinal.to_bytes(12, "big")
        if self.key is not None:
            try:
                return self._cipher.decrypt(nonce, sealed, self._bound)
            except InvalidTag:
                raise damaged(name, f"part {ordinal} was not sealed by this repository's key") from None
        plain = memoryview(sealed)[:-TAG_BYTES]
        if not hmac.compare_digest(self._digest(nonce, plain), bytes(sealed[-TAG_BYTES:])):
            raise damaged(name, f"part {ordinal} does not match its digest")
        return plain

    def _digest(self, nonce: bytes, plain: Buffer) -> bytes:
        digest = hashlib.sha256(self._bound)
        digest.update(nonce)
        digest.update(plain)
        return digest.digest()[:TAG_BYTES]


def seal_for(header: Header, keyring: Keyring, *, name: str) -> Seal:
    """The seal of an object with this header.

    Raises:
        ConfigurationError: the key does not open objects of this class or epoch.
        IntegrityError: a plain object in a sealed repository, or the reverse.
    """
    key_class = KEY_CLASS[header.kind]
    expected = KeyWrap.NONE if key_class is KeyClass.NONE else keyring.wrap
    if header.wrap is not expected:
        raise damaged(name, f"its key wrap is {header.wrap.name} where this repository uses {expected.name}")
    if header.wrap is KeyWrap.NONE:
        return Seal(header, None)
    return Seal(header, keyring.class_key(key_class, header.epoch, name=name))
