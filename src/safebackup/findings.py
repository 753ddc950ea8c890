"""Findings: what a run noticed and survived, as data."""

from __future__ import annotations

from enum import StrEnum

import attrs

from safebackup.errors import Code


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"  # worth knowing; nothing is missing
    WARNING = "warning"  # look at it; what was promised still holds
    ERROR = "error"  # something expected is missing or damaged


@attrs.frozen(kw_only=True)
class Finding:
    """One thing noticed: a stable code, how much it matters, what it is and what to do first.

    `subject` names the path, object or snapshot that it is about, escaped so that it prints on one line.
    """

    code: Code
    severity: Severity
    what: str
    action: str = ""
    subject: str = ""


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no stray half of a character, as undecodable paths do."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


AT_HOME = "Write the whole path, or os.path.expanduser(…)."


def starts_at_home(path: bytes) -> bool:
    """Whether a path begins with `~`, which a shell would have expanded and nobody means as a name."""
    return path == b"~" or path.startswith(b"~/")


def printable(name: bytes) -> str:
    r"""A raw path as text that prints on one line: `\xff` for a byte that is not UTF-8."""
    text = name.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
