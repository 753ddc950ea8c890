"""The error tree and its registry: stable names, explained in full, and errors that cross processes whole."""

from __future__ import annotations

import errno
import inspect
import pickle
import tomllib
from pathlib import Path

import pytest

from safebackup import errors
from safebackup.errors import Code, ConfigurationError, NotFoundError, SafeBackupError, StorageError

TOLD = tomllib.loads((Path(__file__).parents[1] / "docs" / "errors.toml").read_text(encoding="utf-8"))
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SafeBackupError)]

# The codes of each release. Never take one out: scripts and stored records compare them.
RELEASED = {
    "0.1.0": """
        bad-argument bad-url key-required key-not-wanted key-file-exposed key-file-bad naive-time bad-time
        slow-chunker no-repository no-object no-snapshot no-source no-path repository-exists creation-contested
        object-exists run-declared-dead store-failed store-full store-denied store-missing short-read wrong-key
        key-file-missing refused damaged-object damaged-manifest missing-chunk foreign-object encoding-mismatch
        format-too-new unknown-feature empty-source target-not-empty target-in-repository repository-in-source
        unsafe-path path-unreadable path-vanished path-torn metadata-unreadable empty-mount-point
        metadata-not-set device-not-made path-not-restored path-kept missing-object wrong-size broken-history
        manifest-mismatch index-mismatch unknown-object run-is-dead internal condemned-pack emergency-changed
        bad-zone zone-data-missing bad-cron bad-schedule schedule-too-new never-fires dst-refused forbidden-window
        gap overlap gap-clash wildcard-dst midnight-gap host-tz utc-intent host-zone-disagrees ambiguous-abbrev
        tzdata-old tzdata-skew tzdata-changed alias-zone rare uneven-step dom-dow-or star-step-and dialect-dow
        rpo-exceeded overrun contention
        process-lost command-failed command-not-found command-deadline command-said
        export-diverges export-impossible
        key-exists key-still-needed key-outdated keys-changed keys-contradict key-may-be-known no-key-slot
        path-missing path-extra path-differs path-drifted not-compared nothing-compared one-and-the-same
        socket-left-out
        scratch-unsafe drill-differs drill-missing drill-extra drill-no-reference drill-check-failed
        drill-check-not-done drill-cleanup
        artifact-empty artifact-cut artifact-damaged artifact-part-missing artifact-unfinished artifact-mislabelled
        artifact-unknown artifact-unreadable artifact-journal-missing artifact-journal-beside
        start-outside-window start-forbidden start-shifted already-done run-active clock-not-sane guard-state-damaged
        guard-state-foreign guard-state-missing guard-schedule-changed host-zone-fake host-zone-changed run-missing
        run-failed run-unfinished
        store-check-failed store-test-left store-clock-drifts store-differs credential-can-delete
        credential-can-overwrite credential-appends-only readable-by-anyone
        path-unfit change-evidence not-held guard-reach-cut snapshot-incomplete target-in-source
    """,
}


@pytest.mark.parametrize("release", RELEASED)
def test_no_code_of_a_release_is_ever_lost(release: str) -> None:
    assert set(RELEASED[release].split()) - {str(code) for code in Code} == set()


def test_every_code_is_explained_and_nothing_else_is() -> None:
    assert sorted(TOLD) == sorted(str(code) for code in Code)


@pytest.mark.parametrize("code", list(TOLD))
def test_an_explanation_has_one_sentence_or_two_and_says_what_to_do(code: str) -> None:
    assert set(TOLD[code]) == {"means", "do"}
    for text in TOLD[code].values():
        assert text.rstrip("`").endswith((".", "?"))
        assert "\n" not in text


def test_a_code_is_spelled_as_its_name() -> None:
    assert [str(code) for code in Code] == [code.name.lower().replace("_", "-") for code in Code]


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_comes_out_of_a_pickle_as_it_went_in(kind: type[SafeBackupError]) -> None:
    error = kind("what was found", code=Code.NO_PATH, hint="What to do.")
    error.add_note("seen in a worker")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is kind
    assert str(copy) == str(error) == "what was found [no-path] What to do."
    assert (copy.code, copy.hint, copy.message, copy.__notes__) == (
        Code.NO_PATH,
        "What to do.",
        "what was found",
        ["seen in a worker"],
    )


def test_a_retryable_error_is_retryable_after_a_pickle() -> None:
    assert pickle.loads(pickle.dumps(StorageError("busy", retryable=True))).retryable is True
    assert pickle.loads(pickle.dumps(StorageError("broken"))).retryable is False


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_a_code_of_its_own_accord(kind: type[SafeBackupError]) -> None:
    assert kind("what was found").code is kind.default_code


def test_two_classes_are_also_what_python_programmers_catch() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(NotFoundError, LookupError)


@pytest.mark.parametrize(
    ("number", "code", "retryable"),
    [
        (errno.ENOSPC, Code.STORE_FULL, False),
        (errno.EDQUOT, Code.STORE_FULL, False),
        (errno.EACCES, Code.STORE_DENIED, False),
        (errno.EROFS, Code.STORE_DENIED, False),
        (errno.EIO, Code.STORE_FAILED, False),
        (errno.ETIMEDOUT, Code.STORE_FAILED, True),
    ],
)
def test_a_failed_system_call_says_whether_waiting_may_help(number: int, code: Code, retryable: bool) -> None:
    error = StorageError.from_os("storing data/1", OSError(number, "as the system says it"))

    assert (error.code, error.retryable) == (code, retryable)
    assert "storing data/1" in error.message
    assert "as the system says it" in error.message
