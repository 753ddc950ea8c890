"""What a thief of credentials would do, done to an object of our own: past the contract, which has no verb for it."""

from __future__ import annotations

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from safebackup.events import logger
from safebackup.storage.capabilities import unwrapped
from safebackup.storage.conformance.subject import Address, raw_files
from safebackup.storage.local import LocalStore
from safebackup.storage.store import DeleteStore

OTHER_BYTES = b"something else"
_S3 = ("s3", "s3a")
# Where an object has a URL of its own, and what is behind its "?" is a signature, which is left out.
_SIGNED = (*_S3, "az", "abfs", "abfss", "adl")
_PLAIN = ("gs", "gcs")
_DENIED = (401, 403, 405, 409, 423)
_WAIT_SECONDS = 10.0


def overwritten(address: Address, store: DeleteStore, name: str) -> bool | None:
    """Whether an object can be given other bytes; None if it could not be found out."""
    innermost = unwrapped(store)
    try:
        if isinstance(innermost, LocalStore):
            with open(os.path.join(innermost.root, name), "r+b") as file:
                file.write(OTHER_BYTES)
        else:
            with raw_files(address, _in_time(address)) as (files, path):
                files.pipe_file(f"{path}/{name}", OTHER_BYTES)
    except Exception as error:
        logger.info("an object could not be overwritten: %s", type(error).__name__)
        return False if _is_denied(error) else None
    return store.get(name) == OTHER_BYTES


def keeps_versions(address: Address, name: str) -> bool | None:
    """Whether an earlier version of an object stays, whatever these credentials try; None if that is not known.

    S3 alone is asked. A version that may be removed is removed.
    """
    if address.scheme not in _S3:
        return None
    kept = False
    try:
        with raw_files(address, _in_time(address)) as (files, path):
            bucket, key, _ = files.split_path(f"{path}/{name}")
            found = files.call_s3("list_object_versions", Bucket=bucket, Prefix=key)
            for kind in ("Versions", "DeleteMarkers"):  # without its versions a marker hides nothing any more
                for each in found.get(kind, ()) if not kept else ():
                    kept |= not _removed(files, bucket, each)
    except Exception as error:
        logger.info("whether versions are kept could not be found out: %s", type(error).__name__)
        return None
    return kept


def _removed(files: Any, bucket: str, version: dict[str, str]) -> bool:
    try:
        files.call_s3("delete_object", Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    except Exception as error:
        if not _is_denied(error):
            raise
        return False
    return True


def read_by_anyone(address: Address, name: str, data: bytes) -> bool | None:
    """Whether plain HTTP without any credential gets an object; None where there is no such way, or no answer."""
    url = _public_url(address, name)
    if url is None:
        return None
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:
            return bytes(answer.read(len(data) + 1)) == data
    except urllib.error.HTTPError as error:
        error.close()
        return False if error.code in (400, 401, 403, 404) else None
    except OSError:
        return None


def _public_url(address: Address, name: str) -> str | None:
    if address.scheme not in (*_SIGNED, *_PLAIN):
        return None
    # What no URL can be made for has none.
    with contextlib.suppress(Exception), raw_files(address, _in_time(address)) as (files, path):
        parts = urlsplit(str(files.url(f"{path}/{name}")))
        if parts.scheme in ("http", "https"):
            return urlunsplit(parts if address.scheme in _PLAIN else parts._replace(query=""))
    return None


def _in_time(address: Address) -> dict[str, object]:
    """The options, and for S3 that nothing hangs."""
    options = dict(address.options)
    given = options.get("config_kwargs") or {}
    if address.scheme in _S3 and isinstance(given, dict):
        limits = {"connect_timeout": _WAIT_SECONDS, "read_timeout": _WAIT_SECONDS}
        checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
        options["config_kwargs"] = {**limits, **checksums, **given}
    return options


def _is_denied(error: BaseException) -> bool:
    """Whether a server, or a disk, said that this is not permitted; of libraries that each say it in their own way."""
    return any(
        isinstance(each, PermissionError)
        or type(each).__name__ == "error_perm"
        or any(getattr(each, name, None) in _DENIED for name in ("status", "status_code", "code"))
        for each in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
