"""S3 and what speaks its protocol, through the aiobotocore client that s3fs holds: one request for each thing done.

**Who may replace what.** An object is put under the condition `If-None-Match: *`, with which S3 refuses to replace one.
Some servers accept the condition and ignore it, and some do not know it, so that it is not believed until this server
has obeyed it once: after the first small object of a connection the same bytes are put there again. Refused, and from
then on a put is one request. Accepted, and nothing has changed, as the bytes are the same; but then `is_exclusive`
stays false, and `RemoteStore` looks before each put, as it does until the answer is known. That costs one small
request for each connection, leaves nothing behind, and needs no permission but the one to put. Of a server that says
that it does not know the condition, nothing more is asked.

**What is believed otherwise.** A put carries its MD5, which servers check before the object appears; the ETag has to
say the same, or else the size is asked for. An object is asked for its size by reading its first byte, because the
answer to a HEAD has no body, and cannot say whether the key, the bucket or the server behind a proxy is missing.
Some servers make a bucket for whoever puts into it: before the first put of a connection it is asked for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import os
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
)
from fsspec.asyn import get_loop, sync

from safebackup.errors import Code, ConfigurationError
from safebackup.remotes import open_files, secrets_of, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

_CONNECTIONS_MAX = 256  # as there may be workers: who waits for a connection cannot know that it is not the server
_SMALL_BYTES = 64 << 10  # what may be put twice, to see whether the server refuses
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"}
_BY_CODE = {
    "NoSuchKey": Trouble.MISSING,
    "NoSuchBucket": Trouble.NO_ROOT,
    "InvalidObjectState": Trouble.REFUSED,  # it was moved to where reading takes hours; its status is 403
    "QuotaExceeded": Trouble.FULL,
    "BadDigest": Trouble.UNREACHED,  # these three were damaged on their way, and their status is 400
    "IncompleteBody": Trouble.UNREACHED,
    "XAmzContentSHA256Mismatch": Trouble.UNREACHED,
    "RequestTimeout": Trouble.UNREACHED,  # also 400
    "SlowDown": Trouble.UNREACHED,
    **dict.fromkeys(_EXPIRED, Trouble.DENIED),
}
_BY_STATUS = {
    307: Trouble.UNREACHED,
    401: Trouble.DENIED,
    403: Trouble.DENIED,
    404: Trouble.UNKNOWN,  # whoever said so is perhaps no S3
    408: Trouble.UNREACHED,
    409: Trouble.UNREACHED,  # somebody else is putting or removing the same object
    412: Trouble.TAKEN,
    416: Trouble.BEYOND,
    429: Trouble.UNREACHED,
    501: Trouble.REFUSED,
    507: Trouble.FULL,
}


class UnusableAnswerError(Exception):
    """A server answered, and its answer makes no sense."""


class S3Transport:
    """Requests to one bucket, below one prefix. Credentials are found and renewed as the AWS tools do it."""

    is_shared = True
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        self.is_exclusive = False
        self._limits = limits
        self._loop = get_loop()
        self._files = self._connected(url, options)
        bucket, prefix, _ = self._files.split_path(url)
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix else ""
        self._condition = {"IfNoneMatch": "*"}
        self._is_condition_tried = False
        self._is_bucket_known = False
        self._has_worked = False
        self._close = weakref.finalize(self, _close, self._files, self._loop, os.getpid())

    def reach(self) -> None:
        """As `Transport.reach`."""
        _require_page(self._request("list_objects_v2", Prefix=self._prefix, MaxKeys=1))
        self._is_bucket_known = True

    def make_root(self) -> None:
        """Nothing: a prefix is there when something is below it."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        return self._read(path, start, length)[0]

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self.look(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        try:
            _, size, answer = self._read(path, 0, 1)
        except ClientError as error:
            if self.trouble_of(error) is not Trouble.BEYOND:
                raise
            answer = self._request("head_object", Key=self._prefix + path)  # it is there, and has no first byte
            size = answer["ContentLength"]
        return _listed(path, size, answer)

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`."""
        if not self._is_bucket_known:
            self.reach()
        body = data.obj if type(data.obj) is bytes and len(data.obj) == data.nbytes else bytes(data)
        try:
            self._put(path, body)
        except ClientError as error:
            if self.is_exclusive or not self._condition or _status(error) != 501:
                raise
            self._condition, self._is_condition_tried = {}, True
            self._put(path, body)
        if not self._is_condition_tried and len(body) <= _SMALL_BYTES:
            self._try_condition(path, body)

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`."""
        prefix = f"{self._prefix}{folder}/" if folder else self._prefix
        more: dict[str, Any] = {}
        while True:
            page = _require_page(self._request("list_objects_v2", Prefix=prefix, **more))
            for each in page.get("Contents", ()):
                key: str = each["Key"]
                if not key.startswith(prefix):
                    raise UnusableAnswerError(f"{prefix!r} was to be listed, and {key!r} was")
                if key != prefix:  # some tools leave an empty object there, so that a folder shows
                    yield _listed(key.removeprefix(self._prefix), each["Size"], each)
            if not page["IsTruncated"]:
                return
            token = page.get("NextContinuationToken")
            if not token or token == more.get("ContinuationToken"):
                raise UnusableAnswerError("a list was said to go on, and not where")
            more = {"ContinuationToken": token}

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        self._request("delete_object", Key=self._prefix + path)

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, ClientError):
            return self._trouble_of_answer(error)
        if isinstance(error, NoCredentialsError):
            return Trouble.DENIED
        if isinstance(error, ParamValidationError):
            return Trouble.REFUSED
        if isinstance(error, HTTPClientError | CredentialRetrievalError | aiohttp.ClientError | OSError):
            return Trouble.UNREACHED
        return Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        self._close()

    def _connected(self, url: str, options: dict[str, object]) -> Any:
        given = options.get("config_kwargs") or {}
        if not isinstance(given, Mapping):
            raise _bad_options(url, f"config_kwargs has to be a mapping, and is {type(given).__name__}")
        config = {
            "connect_timeout": self._limits.request,
            "read_timeout": self._limits.request,
            "max_pool_connections": _CONNECTIONS_MAX,
            # Of what S3 knows, many servers know MD5 alone, which each put carries.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            **given,
            "retries": {"total_max_attempts": 1},
        }
        # Asynchronous, so that it does not close itself: in a forked child that would wait for the parent's loop.
        files, _ = open_files(url, {**options, "config_kwargs": config, "asynchronous": True})
        files.retries = 1
        try:
            sync(self._loop, files.set_session, timeout=self._limits.request)
        except (HTTPClientError, CredentialRetrievalError):
            raise
        except (BotoCoreError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            for secret in secrets_of(url, options):
                said = said.replace(secret, "***")
            raise _bad_options(url, shown(said)) from None
        return files

    def _request(self, verb: str, *, size_bytes: int = 0, **parameters: object) -> dict[str, Any]:
        answer: dict[str, Any] = self._run(self._ask, verb, parameters, size_bytes=size_bytes)
        return answer

    def _run(self, coroutine_function: Any, *arguments: object, size_bytes: int) -> Any:
        result = sync(self._loop, coroutine_function, *arguments, timeout=self._limits.seconds_for(size_bytes))
        self._has_worked = True
        return result

    async def _ask(self, verb: str, parameters: dict[str, object]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._files._call_s3(verb, Bucket=self._bucket, **parameters)
        except OSError as error:
            if isinstance(error.__cause__, ClientError):  # what s3fs made of it says less
                raise error.__cause__ from None
            raise
        return answer

    def _read(self, path: str, start: int, length: int) -> tuple[bytes, int, dict[str, Any]]:
        """The bytes, the size of the whole object, and what else was answered."""
        data: bytes
        answer, data = self._run(self._get, path, start, length, size_bytes=length)
        match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or "")
        whole = answer["ContentLength"]
        first, last, size = (int(each) for each in match.groups()) if match else (0, whole - 1, whole)
        if first != start or len(data) != last + 1 - first or len(data) != min(length, size - start):
            raise UnusableAnswerError(
                f"{length} bytes from {start} on were asked for, and {answer.get('ContentRange')!r} came, "
                f"in {len(data)} bytes"
            )
        return data, size, answer

    async def _get(self, path: str, start: int, length: int) -> tuple[dict[str, Any], bytes]:
        span = f"bytes={start}-{start + length - 1}"
        asked = self._ask("get_object", {"Key": self._prefix + path, "Range": span})
        answer = await asyncio.wait_for(asked, self._limits.request)
        async with answer["Body"] as body:
            promised = answer.get("ContentLength", length + 1)  # many bytes may be asked for, and few be there
            if promised > length:
                raise UnusableAnswerError(f"{span} was asked for, and {answer.get('ContentLength')} bytes were to come")
            return answer, await asyncio.wait_for(body.read(), self._limits.seconds_for(promised))

    def _put(self, path: str, body: bytes) -> None:
        digest = hashlib.md5(body, usedforsecurity=False)
        try:
            answer = self._request(
                "put_object",
                size_bytes=len(body),
                Key=self._prefix + path,
                Body=io.BytesIO(body),  # which aiohttp sends in parts
                ContentMD5=base64.b64encode(digest.digest()).decode(),
                **self._condition,
            )
        except ClientError as error:
            if self.trouble_of(error) is Trouble.TAKEN:
                self.is_exclusive = self._is_condition_tried = True
            raise
        if answer.get("ETag", "").strip('"') == digest.hexdigest():
            return
        size = self.size(path)  # an encrypted object has another ETag
        if size != len(body):
            raise UnusableAnswerError(f"{len(body)} bytes were put, and {size} are there")

    def _try_condition(self, path: str, body: bytes) -> None:
        try:
            self._put(path, body)
        except ClientError as error:
            if self.trouble_of(error) is Trouble.UNREACHED:
                return  # the next small object will tell
        self._is_condition_tried = True

    def _trouble_of_answer(self, error: ClientError) -> Trouble:
        code = error.response["Error"].get("Code", "")
        status = _status(error)
        if code in _EXPIRED and self._has_worked:
            return Trouble.UNREACHED  # a new connection finds new credentials, or says so again
        return _BY_CODE.get(code) or _BY_STATUS.get(status) or (Trouble.UNREACHED if status >= 500 else Trouble.REFUSED)


def _status(error: ClientError) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


def _listed(path: str, size_bytes: int, answer: Mapping[str, Any]) -> Listed:
    changed = answer.get("LastModified")
    modified = None if changed is None else int(changed.timestamp()) * 10**9  # some say more, but in lists alone
    return Listed(path, size_bytes, tag=answer.get("ETag", "").strip('"'), modified=modified)


def _require_page(page: dict[str, Any]) -> dict[str, Any]:
    """A page of a list, if it is one: what some proxies answer reads like an empty one."""
    if not isinstance(page.get("IsTruncated"), bool):
        raise UnusableAnswerError("a list was asked for, and something else came")
    return page


def _bad_options(url: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown(url)} cannot be used: {what}", code=Code.BAD_URL, hint="Check the storage options and the environment."
    )


def _close(files: Any, loop: Any, process: int) -> None:
    if os.getpid() == process:  # else the connections are the parent's
        with contextlib.suppress(Exception):
            files.close_session(loop, files._s3creator)
