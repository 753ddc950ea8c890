"""Exit statuses: one table for all commands, and how an error finds its place in it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Self

from safebackup.errors import (
    AccessError,
    Code,
    CommandError,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    InternalError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
    StorageError,
)


class ExitStatus(IntEnum):
    """What the process ends with; `meaning` says what it tells a script. Numbers never change."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> Self:
        """A number that knows what it means."""
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member

    OK = 0, "All is well."
    FAILED = 1, "It failed; what was there before is unchanged."
    USAGE = 2, "The command line or the configuration is wrong; nothing was begun."
    INCOMPLETE = 3, "A snapshot was made, or files were restored, but something that was expected is missing."
    REFUSED = 4, "A safety rule said no; nothing was changed."
    DAMAGE = 5, "Damage was found: bytes are not what was written, or a dump is not whole."
    DRILL_FAILED = 6, "A drill failed: what was restored is not what was backed up, or a check said no."
    NOT_VERIFIED = 7, "It could not be verified, or the proof could not be recorded. Never a success."
    NO_REPOSITORY = 10, "There is no repository at that place, or its disk is not mounted."
    ACTIVE = 11, "Another run is active."
    WRONG_KEY = 12, "The key does not open the repository."
    TRY_AGAIN = 75, "It failed for now; the same command may succeed later without anybody's help."
    DEADLINE = 124, "It was not done before its deadline and was stopped."
    INTERRUPTED = 130, "It was interrupted at the keyboard (SIGINT)."
    TERMINATED = 143, "It was asked to end (SIGTERM, SIGHUP)."

    @property
    def word(self) -> str:
        """The outcome in one word, for errors in JSON."""
        return self.name.lower()


# What the reader of an error does next is what its class says; so the class decides, and some codes know better.
STATUS_OF_CLASS: Mapping[type[SafeBackupError], ExitStatus] = {
    ConfigurationError: ExitStatus.USAGE,
    NotFoundError: ExitStatus.FAILED,
    ConflictError: ExitStatus.FAILED,
    StorageError: ExitStatus.FAILED,
    CommandError: ExitStatus.FAILED,
    AccessError: ExitStatus.WRONG_KEY,
    IntegrityError: ExitStatus.DAMAGE,
    RefusedError: ExitStatus.REFUSED,
    InternalError: ExitStatus.FAILED,
}
STATUS_OF_CODE: Mapping[Code, ExitStatus] = {
    Code.NO_REPOSITORY: ExitStatus.NO_REPOSITORY,
    Code.KEY_FILE_MISSING: ExitStatus.USAGE,
    Code.KEY_FILE_BAD: ExitStatus.USAGE,
    Code.KEY_FILE_EXPOSED: ExitStatus.USAGE,
    Code.RUN_DECLARED_DEAD: ExitStatus.TRY_AGAIN,
    Code.KEYS_CHANGED: ExitStatus.TRY_AGAIN,
    Code.COMMAND_NOT_FOUND: ExitStatus.USAGE,
    Code.COMMAND_DEADLINE: ExitStatus.DEADLINE,
    Code.RUN_ACTIVE: ExitStatus.ACTIVE,
}


def status_of(error: SafeBackupError, *, proving: bool = False) -> ExitStatus:
    """The exit status for an error; while something is being proved, a store that fails proves nothing."""
    if error.code in STATUS_OF_CODE:
        return STATUS_OF_CODE[error.code]
    if isinstance(error, StorageError) and proving:
        return ExitStatus.NOT_VERIFIED
    if isinstance(error, StorageError) and error.retryable:
        return ExitStatus.TRY_AGAIN
    return next((status for kind, status in STATUS_OF_CLASS.items() if isinstance(error, kind)), ExitStatus.FAILED)
