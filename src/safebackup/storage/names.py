"""Valid object names (S6): what every store can hold, and nothing that any store reads differently."""

from __future__ import annotations

import re

from safebackup.errors import Code, ConfigurationError

_SEGMENT = r"[a-z0-9][a-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT}){{0,3}}")


def require_name(name: str) -> str:
    """`name`, if it is one that every store can hold.

    Raises:
        ConfigurationError: it has upper case, a space, an empty or dotted segment, or more than four segments.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise ConfigurationError(f"{name!r} is not an object name", code=Code.BAD_ARGUMENT)
    return name
