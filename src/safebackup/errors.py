"""What can go wrong, grouped by what its reader does next.

    SafeBackupError               .code  .hint
    ├── ConfigurationError        (also ValueError)   correct the script
    ├── NotFoundError             (also LookupError)  name something that exists
    ├── ConflictError                                 someone else was first: look, then try again
    ├── StorageError              .retryable          the store or the disk failed: mend it, then try again
    ├── CommandError                                  another program failed: read what it said, mend that
    ├── AccessError                                   wrong key or missing permission
    ├── IntegrityError                                bytes are not what was written: stop, use a copy of the repository
    ├── RefusedError                                  a safety rule said no: read it before overriding it
    └── InternalError                                 a bug: report it

Every error carries a stable `Code` and a hint that says what to do next.
`Code` is the one registry for errors and findings; it only ever grows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """The stable name of a kind of error or finding; names are only ever added."""

    # Configuration
    BAD_ARGUMENT = "bad-argument"
    BAD_URL = "bad-url"
    KEY_REQUIRED = "key-required"
    KEY_NOT_WANTED = "key-not-wanted"
    KEY_FILE_EXPOSED = "key-file-exposed"
    KEY_FILE_BAD = "key-file-bad"
    KEY_FILE_MISSING = "key-file-missing"
    NAIVE_TIME = "naive-time"
    BAD_TIME = "bad-time"
    SLOW_CHUNKER = "slow-chunker"
    # Schedules
    BAD_ZONE = "bad-zone"
    ZONE_DATA_MISSING = "zone-data-missing"
    BAD_CRON = "bad-cron"
    BAD_SCHEDULE = "bad-schedule"
    SCHEDULE_TOO_NEW = "schedule-too-new"
    NEVER_FIRES = "never-fires"
    DST_REFUSED = "dst-refused"
    FORBIDDEN_WINDOW = "forbidden-window"
    EXPORT_DIVERGES = "export-diverges"
    EXPORT_IMPOSSIBLE = "export-impossible"
    GAP = "gap"
    OVERLAP = "overlap"
    GAP_CLASH = "gap-clash"
    WILDCARD_DST = "wildcard-dst"
    MIDNIGHT_GAP = "midnight-gap"
    HOST_TZ = "host-tz"
    UTC_INTENT = "utc-intent"
    HOST_ZONE_DISAGREES = "host-zone-disagrees"
    AMBIGUOUS_ABBREV = "ambiguous-abbrev"
    TZDATA_OLD = "tzdata-old"
    TZDATA_SKEW = "tzdata-skew"
    TZDATA_CHANGED = "tzdata-changed"
    ALIAS_ZONE = "alias-zone"
    RARE = "rare"
    UNEVEN_STEP = "uneven-step"
    DOM_DOW_OR = "dom-dow-or"
    STAR_STEP_AND = "star-step-and"
    DIALECT_DOW = "dialect-dow"
    RPO_EXCEEDED = "rpo-exceeded"
    OVERRUN = "overrun"
    CONTENTION = "contention"
    # Not there
    NO_REPOSITORY = "no-repository"
    NO_OBJECT = "no-object"
    NO_SNAPSHOT = "no-snapshot"
    NO_SOURCE = "no-source"
    NO_PATH = "no-path"
    # Someone else was first
    REPOSITORY_EXISTS = "repository-exists"
    CREATION_CONTESTED = "creation-contested"
    OBJECT_EXISTS = "object-exists"
    RUN_DECLARED_DEAD = "run-declared-dead"
    # The store or the disk
    STORE_FAILED = "store-failed"
    STORE_FULL = "store-full"
    STORE_DENIED = "store-denied"
    STORE_MISSING = "store-missing"
    SHORT_READ = "short-read"
    # Keys
    WRONG_KEY = "wrong-key"
    KEY_EXISTS = "key-exists"
    KEY_STILL_NEEDED = "key-still-needed"
    KEY_OUTDATED = "key-outdated"
    KEYS_CHANGED = "keys-changed"
    KEYS_CONTRADICT = "keys-contradict"
    KEY_MAY_BE_KNOWN = "key-may-be-known"
    NO_KEY_SLOT = "no-key-slot"
    # Bytes that are not what was written
    DAMAGED_OBJECT = "damaged-object"
    DAMAGED_MANIFEST = "damaged-manifest"
    MISSING_CHUNK = "missing-chunk"
    FOREIGN_OBJECT = "foreign-object"
    ENCODING_MISMATCH = "encoding-mismatch"
    # Made by something newer
    FORMAT_TOO_NEW = "format-too-new"
    UNKNOWN_FEATURE = "unknown-feature"
    # A safety rule said no
    EMPTY_SOURCE = "empty-source"
    TARGET_NOT_EMPTY = "target-not-empty"
    TARGET_IN_REPOSITORY = "target-in-repository"
    REFUSED = "refused"
    REPOSITORY_IN_SOURCE = "repository-in-source"
    UNSAFE_PATH = "unsafe-path"
    SCRATCH_UNSAFE = "scratch-unsafe"
    # Findings of a backup
    PATH_UNREADABLE = "path-unreadable"
    PATH_VANISHED = "path-vanished"
    PATH_TORN = "path-torn"
    METADATA_UNREADABLE = "metadata-unreadable"
    EMPTY_MOUNT_POINT = "empty-mount-point"
    PATH_UNFIT = "path-unfit"
    CHANGE_EVIDENCE = "change-evidence"
    # Findings of a restore
    METADATA_NOT_SET = "metadata-not-set"
    DEVICE_NOT_MADE = "device-not-made"
    PATH_NOT_RESTORED = "path-not-restored"
    PATH_KEPT = "path-kept"
    NOT_HELD = "not-held"
    SNAPSHOT_INCOMPLETE = "snapshot-incomplete"
    TARGET_IN_SOURCE = "target-in-source"
    # Findings of a verification
    MISSING_OBJECT = "missing-object"
    WRONG_SIZE = "wrong-size"
    BROKEN_HISTORY = "broken-history"
    MANIFEST_MISMATCH = "manifest-mismatch"
    INDEX_MISMATCH = "index-mismatch"
    UNKNOWN_OBJECT = "unknown-object"
    RUN_IS_DEAD = "run-is-dead"
    CONDEMNED_PACK = "condemned-pack"
    EMERGENCY_CHANGED = "emergency-changed"
    # Other programs
    PROCESS_LOST = "process-lost"
    COMMAND_FAILED = "command-failed"
    COMMAND_NOT_FOUND = "command-not-found"
    COMMAND_DEADLINE = "command-deadline"
    COMMAND_SAID = "command-said"
    # Findings of a comparison
    PATH_MISSING = "path-missing"
    PATH_EXTRA = "path-extra"
    PATH_DIFFERS = "path-differs"
    PATH_DRIFTED = "path-drifted"
    NOT_COMPARED = "not-compared"
    NOTHING_COMPARED = "nothing-compared"
    ONE_AND_THE_SAME = "one-and-the-same"
    SOCKET_LEFT_OUT = "socket-left-out"
    # Findings of an artefact
    ARTIFACT_EMPTY = "artifact-empty"
    ARTIFACT_CUT = "artifact-cut"
    ARTIFACT_DAMAGED = "artifact-damaged"
    ARTIFACT_PART_MISSING = "artifact-part-missing"
    ARTIFACT_UNFINISHED = "artifact-unfinished"
    ARTIFACT_MISLABELLED = "artifact-mislabelled"
    ARTIFACT_UNKNOWN = "artifact-unknown"
    ARTIFACT_UNREADABLE = "artifact-unreadable"
    ARTIFACT_JOURNAL_MISSING = "artifact-journal-missing"
    ARTIFACT_JOURNAL_BESIDE = "artifact-journal-beside"
    # Findings of a drill
    DRILL_DIFFERS = "drill-differs"
    DRILL_MISSING = "drill-missing"
    DRILL_EXTRA = "drill-extra"
    DRILL_NO_REFERENCE = "drill-no-reference"
    DRILL_CHECK_FAILED = "drill-check-failed"
    DRILL_CHECK_NOT_DONE = "drill-check-not-done"
    DRILL_CLEANUP = "drill-cleanup"
    # Findings of a store
    STORE_CHECK_FAILED = "store-check-failed"
    STORE_TEST_LEFT = "store-test-left"
    STORE_CLOCK_DRIFTS = "store-clock-drifts"
    STORE_DIFFERS = "store-differs"
    CREDENTIAL_CAN_DELETE = "credential-can-delete"
    CREDENTIAL_CAN_OVERWRITE = "credential-can-overwrite"
    CREDENTIAL_APPENDS_ONLY = "credential-appends-only"
    READABLE_BY_ANYONE = "readable-by-anyone"
    # The guard
    START_OUTSIDE_WINDOW = "start-outside-window"
    START_FORBIDDEN = "start-forbidden"
    START_SHIFTED = "start-shifted"
    ALREADY_DONE = "already-done"
    RUN_ACTIVE = "run-active"
    CLOCK_NOT_SANE = "clock-not-sane"
    GUARD_STATE_DAMAGED = "guard-state-damaged"
    GUARD_STATE_FOREIGN = "guard-state-foreign"
    GUARD_STATE_MISSING = "guard-state-missing"
    GUARD_SCHEDULE_CHANGED = "guard-schedule-changed"
    HOST_ZONE_FAKE = "host-zone-fake"
    HOST_ZONE_CHANGED = "host-zone-changed"
    RUN_MISSING = "run-missing"
    RUN_FAILED = "run-failed"
    RUN_UNFINISHED = "run-unfinished"
    GUARD_REACH_CUT = "guard-reach-cut"
    # A bug
    INTERNAL = "internal"


class SafeBackupError(Exception):
    """The root of everything that safebackup raises on purpose.

    `code` is stable and can be compared; `hint` says what to do next.
    The message and the hint are for people and may be reworded.
    """

    default_code = Code.INTERNAL

    def __init__(self, message: str, *, code: Code | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f" {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross processes in Airflow, Dask and multiprocessing; by default only positional arguments would.
        return (_rebuild, (type(self), self.message, self.__dict__))


def _rebuild(kind: type[SafeBackupError], message: str, state: dict[str, object]) -> SafeBackupError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class ConfigurationError(SafeBackupError, ValueError):
    """Something in the caller's script is wrong: correct it."""

    default_code = Code.BAD_ARGUMENT


class NotFoundError(SafeBackupError, LookupError):
    """What was named does not exist; the store was reached and said so."""

    default_code = Code.NO_OBJECT


class ConflictError(SafeBackupError):
    """Someone else was first; nothing of theirs was changed."""

    default_code = Code.OBJECT_EXISTS


class StorageError(SafeBackupError):
    """The store or the disk failed; whether the operation took effect is unknown.

    `retryable` is true where the same call may succeed later without anybody's help.
    """

    default_code = Code.STORE_FAILED

    def __init__(self, message: str, *, code: Code | None = None, hint: str = "", retryable: bool = False) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retryable = retryable

    @classmethod
    def from_os(cls, what: str, error: OSError) -> Self:
        """Our error for a failed system call; the caller raises it `from error`."""
        import errno

        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return cls(
                f"{what}: no space left ({error})",
                code=Code.STORE_FULL,
                hint="Free space there, or move the repository; then run the same command again: nothing was lost.",
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return cls(
                f"{what}: not permitted ({error})",
                code=Code.STORE_DENIED,
                hint="Check who runs this and what it may do there.",
            )
        return cls(f"{what}: {error}", retryable=error.errno in (errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT))


class CommandError(SafeBackupError):
    """Another program could not be started, failed or took too long; what it wrote was not used."""

    default_code = Code.COMMAND_FAILED


class AccessError(SafeBackupError):
    """A key does not fit, or a permission is missing."""

    default_code = Code.WRONG_KEY


class IntegrityError(SafeBackupError):
    """Bytes are not what was written; nothing of them was used."""

    default_code = Code.DAMAGED_OBJECT


class RefusedError(SafeBackupError):
    """A safety rule said no before anything was done."""

    default_code = Code.REFUSED


class InternalError(SafeBackupError):
    """safebackup contradicts itself: a bug, please report it."""
