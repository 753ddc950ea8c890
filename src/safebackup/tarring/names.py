"""Names: of artefacts, of what is within them, and in lists that `sha256sum -c` reads; pure."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from safebackup.errors import Code, ConfigurationError
from safebackup.findings import AT_HOME, printable
from safebackup.remotes import shown

_SEGMENT_BYTES_MAX = 255  # what file systems take
_NEWLINES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_URL_HINT = "For example /srv/backups/orders-{utc}.tar.zst, or sftp://host/backups/orders-{utc}.tar.zst."


def require_url(url: object, now: int) -> str:
    """The URL or path of an artefact with `{utc}` filled in; `now` in nanoseconds since 1970.

    Raises:
        ConfigurationError: it is none, or does not end in .tar.zst or .zst.
    """
    text = os.fspath(url) if isinstance(url, str | os.PathLike) else None
    if not isinstance(text, str):
        raise bad_url(f"a path or a URL was expected, and {type(url).__name__} was given")
    if not text or text != text.strip() or not text.isprintable():
        raise bad_url(f"{shown(text)!r} is empty, or begins or ends with white space, or holds what does not print")
    if "::" in text:
        raise bad_url(f"{shown(text)!r} chains URLs with '::', and one place was expected")
    if text.startswith("~"):
        raise bad_url(f"{shown(text)!r} begins with '~', which only a shell expands", hint=AT_HOME)
    when = datetime.fromtimestamp(now // 1_000_000_000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
    filled = text.replace("{utc}", when)
    if "{" in filled or "}" in filled:
        raise bad_url(f"{shown(text)!r} has braces, and {{utc}} is all that is filled in", hint=_URL_HINT)
    name = filled.rpartition("/")[2]
    if not re.fullmatch(r".+\.zst", name) or name == ".tar.zst" or re.search(r"[?#]", name):
        raise bad_url(
            f"{shown(filled)!r} does not end in NAME.tar.zst (files and folders) or NAME.zst (one stream)",
            hint=_URL_HINT,
        )
    return filled


def bad_url(what: str, *, hint: str = _URL_HINT) -> ConfigurationError:
    """The error for a place that cannot be written to."""
    return ConfigurationError(what, code=Code.BAD_URL, hint=hint)


def require_name(name: object) -> str:
    """A name within an artefact: relative, without `.` and `..`, so that it stays where it is unpacked.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(name, str | bytes):
        raise ConfigurationError(f"a name is text, and {type(name).__name__} was given", hint='Such as "orders.sql".')
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        raise ConfigurationError("a name holds half a character", hint="Give it as bytes.") from None
    if b"\0" in raw or any(part in (b"", b".", b"..") for part in raw.split(b"/")):
        raise ConfigurationError(
            f"{printable(raw)!r} is no plain relative name",
            code=Code.UNSAFE_PATH,
            hint='Write it without a leading or trailing slash, "." and "..": "database/orders.sql".',
        )
    if max(map(len, raw.split(b"/"))) > _SEGMENT_BYTES_MAX:
        raise ConfigurationError(
            f"{printable(raw[:40])!r}… has a part of more than {_SEGMENT_BYTES_MAX} bytes",
            hint="No file system could unpack it: shorten it.",
        )
    return os.fsdecode(raw)


class Taken:
    """The names given so far: none may be, or lie above or below, another."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._above: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def take(self, name: str) -> None:
        """Claim `name`.

        Raises:
            ConfigurationError: it would mix with something that was added before.
        """
        parts = name.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if name in self._names or name in self._above or above & self._names:
            raise ConfigurationError(
                f"{printable(os.fsencode(name))!r} is, or lies in or above, something that was added before",
                hint="Give each a name of its own: name='first/orders'.",
            )
        self._names.add(name)
        self._above |= above


def checksum_line(digest: str, name: str) -> bytes:
    """A line for `sha256sum -c`, which wants names with a line break marked and escaped."""
    escaped = re.sub(r"[\\\n\r]", lambda found: _NEWLINES[found[0]], name)
    mark = "\\" if escaped != name else ""
    # A lone dash would mean its standard input.
    return os.fsencode(f"{mark}{digest}  {'./' if name == '-' else ''}{escaped}\n")


def comment_line(what: str, name: str) -> bytes:
    """A line that `sha256sum -c` passes over."""
    return f"# {what}: {printable(os.fsencode(name))}\n".encode()
