"""What may be asked of a store: valid names (S6), folders, and ranges of bytes (S4)."""

from __future__ import annotations

import re

from safebackup.errors import Code, ConfigurationError, IntegrityError, StorageError
from safebackup.storage.store import OBJECT_BYTES_MAX

_SEGMENT = r"[a-z0-9][a-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")

# What lies in a repository for people in an emergency: no objects. The text has the one name with upper case.
EMERGENCY_TEXT = "RESTORE.md"
_EMERGENCY_SCRIPT = re.compile(r"restore-[a-z0-9._-]{1,64}\.py")


def is_emergency_name(name: str) -> bool:
    """Whether this is the name of the text or of a script for restoring without safebackup."""
    return name == EMERGENCY_TEXT or _EMERGENCY_SCRIPT.fullmatch(name) is not None


def require_name(name: str) -> str:
    """`name`, if it is one that every store can hold.

    Raises:
        ConfigurationError: it has upper case, a space, an empty or dotted segment, or more than four segments.
    """
    if name != EMERGENCY_TEXT and (not _NAME.fullmatch(name) or name.endswith(".")):
        raise ConfigurationError(f"{name!r} is not an object name", code=Code.BAD_ARGUMENT)
    return name


def require_object_name(name: str) -> str:
    """`name`, if an object may have it: a valid name outside `tmp/`, where stores keep what is not published yet.

    Raises:
        ConfigurationError: it may not.
    """
    if require_name(name).split("/", 1)[0] == "tmp":
        raise ConfigurationError(f"{name!r} lies in tmp/, which is for temporaries and never listed")
    return name


def is_object_name(name: str) -> bool:
    """Whether an object may have this name; what else lies in a store is not ours."""
    try:
        require_object_name(name)
    except ConfigurationError:
        return False
    return True


def require_prefix(prefix: str) -> str:
    """`prefix`, if it is a folder with its `/`, or empty for everything.

    Raises:
        ConfigurationError: it is neither; `packs/a` would mean different things on different stores.
    """
    if prefix and (not prefix.endswith("/") or prefix[:-1] == EMERGENCY_TEXT):
        raise ConfigurationError(f"{prefix!r} is not a folder of objects: it has to end in '/'")
    if prefix:
        require_object_name(prefix[:-1])
    return prefix


def require_range(name: str, start: int, length: int | None, size: int) -> int:
    """Where the bytes asked for end, in an object of `size` bytes.

    Raises:
        ConfigurationError: a number is negative.
        StorageError: the object is shorter than that.
        IntegrityError: no object is as long as that.
    """
    if start < 0 or (length is not None and length < 0):
        raise ConfigurationError(f"{name} has no {length} bytes from {start} on: neither number may be negative")
    end = max(start, size) if length is None else start + length
    if end > size:
        raise StorageError(
            f"{name} has {size} bytes, and bytes up to {end} were asked for",
            code=Code.SHORT_READ,
            hint="Verify the repository: the object may have been cut short.",
        )
    if end - start > OBJECT_BYTES_MAX:
        raise IntegrityError(
            f"{name} has {size} bytes, and an object at most {OBJECT_BYTES_MAX}",
            code=Code.DAMAGED_OBJECT,
            hint="Nothing of it was read. Somebody else wrote it: bring the object back from a copy, or remove it.",
        )
    return end
