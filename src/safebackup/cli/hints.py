"""What to do next, in the words of the command line.

The library's hints speak to people who write Python. Those that do are replaced here, by what is to be typed instead.
"""

from __future__ import annotations

import re
import shlex

import attrs

from safebackup.errors import Code, SafeBackupError

KEY_OPTIONS = "--key-file FILE or --passphrase-file FILE"
# A PRAGMA of SQLite's, or an option of another program, has its = too.
_PYTHON = re.compile(
    r"\w\([^ )]|\w\(\)|\b(?<!PRAGMA )(?<!--)[a-z_]+=[\w\"'\[…(]"
    r"|\b(?:True|None|list_keys|add_key|remove_key|rotate_keys)\b"
)
# Arguments of schedules, which are options of the same name here. `in_gap=after` is how schedules are printed.
_ARGUMENT = re.compile(
    r"\b(tz|forbid|like|in_gap|in_overlap|rpo|host_tz|command|image|name|accept)="
    r"(?:([\"'])(?P<value>.*?)\2|True|(?=[\s.,;:)]|$))"
)

_RELY_ON_ANOTHER = "Run: safebackup verify; until then rely on another snapshot."
_HINTS = {
    Code.BAD_ARGUMENT: "See: safebackup {verb} --help",
    Code.KEY_REQUIRED: f"Give its key: {KEY_OPTIONS}, or set SAFEBACKUP_KEY_FILE, SAFEBACKUP_PASSPHRASE_FILE or "
    "SAFEBACKUP_PASSPHRASE where this runs (cron and systemd have an environment of their own).",
    Code.KEY_NOT_WANTED: "If you expected it to be sealed, look whether this is the right URL; "
    "else leave the key out, and unset SAFEBACKUP_KEY_FILE, SAFEBACKUP_PASSPHRASE_FILE and SAFEBACKUP_PASSPHRASE.",
    Code.KEY_FILE_MISSING: "Check the path, and whether its disk is mounted; a key that is lost cannot be replaced. "
    "For a new repository: safebackup init URL --new-key-file FILE",
    Code.KEY_FILE_BAD: "A key file is made by --new-key-file FILE, which never overwrites one; a key file goes with "
    "--key-file, a text file whose first line is a passphrase with --passphrase-file.",
    Code.NO_REPOSITORY: "Check the place, and whether its disk is mounted; was the folder above meant? "
    "To make a new repository there: "
    "safebackup init {url} {key}",
    Code.REPOSITORY_EXISTS: "Use it, with the key of whoever created it: safebackup snapshots -r {url}; "
    "or make yours at another place.",
    Code.NO_SNAPSHOT: "safebackup snapshots -r {url} lists those that are there; "
    "to make one: safebackup backup FOLDER -r {url}",
    Code.NO_PATH: "Paths are relative to what was backed up: safebackup ls SNAPSHOT lists them all.",
    Code.EMPTY_SOURCE: "Is its disk mounted? Look at --exclude and --include. "
    "If it is meant to be empty: --allow-empty",
    Code.TARGET_NOT_EMPTY: "Restore to a new folder. To complete an interrupted restore: --overwrite keep",
    Code.STORE_FULL: "Make room there; then run the same again: restore with --overwrite keep, "
    "drill with --scratch FOLDER on a larger disk.",
    Code.TARGET_IN_REPOSITORY: "Name a folder outside of it.",
    Code.SCRATCH_UNSAFE: "Name a folder elsewhere, new or empty, best on another disk: --scratch FOLDER",
    Code.KEYS_CHANGED: "Look at safebackup key list; then run the same command again, with every key that shall stay.",
    Code.KEY_EXISTS: "Open the repository with it; to add another one, name that.",
    Code.KEY_STILL_NEEDED: "Give a key that stays, by --key-file or --passphrase-file: not the one to be removed.",
    Code.KEY_OUTDATED: "Use a key that opens everything: safebackup key list shows which do.",
    Code.DRILL_CHECK_FAILED: "Look at what was restored: run the drill again with --keep.",
    Code.NO_KEY_SLOT: "safebackup key list shows their ids.",
    Code.MISSING_CHUNK: "safebackup verify --level structure tells which snapshots it affects; "
    "bring the object back from a copy of the repository.",
    Code.DAMAGED_OBJECT: "safebackup verify tells which snapshots it affects; "
    "bring the object back from a copy of the repository.",
    Code.DAMAGED_MANIFEST: "Run: safebackup verify; restore another snapshot, or from a copy of the repository.",
    Code.DRILL_DIFFERS: _RELY_ON_ANOTHER,
    Code.DRILL_MISSING: _RELY_ON_ANOTHER,
    Code.DRILL_EXTRA: _RELY_ON_ANOTHER,
    Code.NAIVE_TIME: "Write it with Z or with an offset: 2026-03-28T00:00:00Z or 2026-03-28T01:00:00+01:00.",
    Code.UNEVEN_STEP: "Take a step that divides the range, or write the values out.",
    Code.RARE: "For the end of each month write L.",
    Code.CONTENTION: "Move it by some minutes.",
    Code.BAD_CRON: "Write five fields: minute, hour, day of the month, month, day of the week.",
}
# Who verifies already is not told to.
_BRING_IT_BACK = "Bring it back from a copy of the repository."
_WHILE_VERIFYING = {
    Code.MISSING_CHUNK: _BRING_IT_BACK,
    Code.DAMAGED_OBJECT: _BRING_IT_BACK,
    Code.DAMAGED_MANIFEST: "Restore another snapshot, or from a copy of the repository.",
}
_ELSE = "See: safebackup {verb} --help"


@attrs.frozen(kw_only=True)
class Typed:
    """What was typed: the command, and the repository and key that it names."""

    verb: str
    url: str = ""
    key: str = ""

    def fill(self, hint: str) -> str:
        """A hint of the table with what was typed in its places."""
        key = self.key or "--key-file FILE (or --passphrase-file FILE, or --no-key)"
        return hint.format(verb=self.verb, url=shlex.quote(self.url) if self.url else "URL", key=key)


def advice(error: SafeBackupError, typed: Typed) -> str:
    """What to do about an error."""
    return in_commands(error.hint, error.code, typed)


def in_commands(hint: str, code: Code, typed: Typed) -> str:
    """A hint of the library as it is, or, if it speaks Python, what to type instead."""
    hint = in_options(hint, typed)
    if hint and (hint.startswith("Run: ") or not speaks_python(hint)):
        return hint
    if not hint and code not in _HINTS:
        return ""
    known = _HINTS | _WHILE_VERIFYING if typed.verb == "verify" else _HINTS
    return typed.fill(known.get(code, _ELSE))


def in_options(text: str, typed: Typed) -> str:
    """A text about a schedule with its arguments written as options; others are as they were."""
    if not typed.verb.startswith(("schedule", "guard")):
        return text
    return _ARGUMENT.sub(_as_option, text)


def _as_option(found: re.Match[str]) -> str:
    value = "" if found["value"] is None else f" {shlex.quote(found['value'])}"
    return f"--{found[1].replace('_', '-')}{value}"


def speaks_python(hint: str) -> bool:
    """Whether a hint has to be said differently on a command line."""
    return _PYTHON.search(hint) is not None
