"""Key slots: the secrets of a repository, wrapped under a passphrase or a key file (format.md, "Key slots")."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from safebackup.format.header import damaged
from safebackup.format.objects import decode, encode
from safebackup.format.records import KeySlot, Secrets

SCRYPT_COST = (1 << 16, 8, 1)  # 64 MiB and about 0.15 s: what a guess costs too
_SCRYPT_MEMORY_MAX = 1 << 30  # a hostile slot must not take more
_NONCE = bytes(12)


def wrapping_key(material: bytes, method: str, *, salt: bytes, cost: tuple[int, int, int], name: str) -> bytes:
    """The key that wraps a slot, from a passphrase or the content of a key file.

    Raises:
        IntegrityError: the slot names another method, or a cost that no release has written.
    """
    if method == "key-file":
        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"safebackup 1 key file").derive(material)
    n, r, p = cost
    if method != "scrypt" or n < 1 << 14 or n & (n - 1) or not 1 <= r <= 64 or not 1 <= p <= 16:
        raise damaged(name, f"its method is {method} at cost {cost}")
    memory = 128 * n * r * p + (1 << 20)
    if memory > _SCRYPT_MEMORY_MAX:
        raise damaged(name, f"it asks for {memory >> 20} MiB of memory")
    return hashlib.scrypt(material, salt=salt, n=n, r=r, p=p, maxmem=2 * memory, dklen=32)


def wrap_secrets(secrets: Secrets, key: bytes, *, repository: bytes) -> bytes:
    """Seal secrets under a wrapping key that is used for nothing else (its salt is fresh)."""
    return AESGCM(key).encrypt(_NONCE, encode(secrets), _bound(repository, max(secrets.classes)))


def _bound(repository: bytes, epoch: int) -> bytes:
    return b"safebackup 1 slot" + repository + epoch.to_bytes(8, "big")


def unwrap_secrets(slot: KeySlot, key: bytes, *, repository: bytes, name: str) -> Secrets | None:
    """What the slot holds, or None if this key does not open it."""
    try:
        plain = AESGCM(key).decrypt(_NONCE, slot.sealed, _bound(repository, slot.epoch))
    except (InvalidTag, OverflowError):
        return None
    return decode(plain, Secrets, name=name)
