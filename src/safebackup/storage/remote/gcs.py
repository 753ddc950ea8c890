"""Google Cloud Storage: requests of its JSON API, sent with the session and the credentials of gcsfs.

gcsfs's own requests are not used. They are tried again for minutes, begin by asking which kind of bucket it is, and
its uploads end at a line that the data may hold as well.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import attrs
from fsspec.asyn import sync
from fsspec.exceptions import FSTimeoutError
from yarl import URL

from safebackup.instants import to_nanoseconds
from safebackup.remotes import bad_url, open_files, shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.transport import Listed, Trouble

_SLICE_BYTES = 1 << 20
_CLOSING_SECONDS = 2
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PAGE = 1000
_FIELDS = "name,size,generation,timeCreated"
_TOO_MANY = ("rateLimitExceeded", "userRateLimitExceeded")
_MEANINGS = {401: Trouble.DENIED, 403: Trouble.DENIED, 412: Trouble.TAKEN, 416: Trouble.BEYOND}
_LATER = (408, 409, 429)  # 409: the name was being changed at this moment


class GoogleError(Exception):
    """An answer other than the one hoped for, and what it means."""

    def __init__(self, trouble: Trouble, said: str) -> None:
        super().__init__(said)
        self.trouble = trouble


@attrs.frozen
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class GcsTransport:
    """Objects below a prefix of one bucket; one request uploads an object, of which Google takes up to 5 TiB.

    Which credentials are used is gcsfs's business. Where it is told of none and finds none it asks as anybody, after
    looking for a machine of Google's for about 15 seconds: `token="anon"` says so at once.
    """

    is_shared = True
    is_exclusive = True
    is_proven = True

    def __init__(self, url: str, options: dict[str, object], limits: Limits) -> None:
        session = options.get("session_kwargs") or {}
        if not isinstance(session, Mapping):
            raise bad_url(f"{shown(url)}: session_kwargs has to be a mapping, and is {type(session).__name__}")
        # Bytes as they are stored: aiohttp would unpack what somebody stored as gzip, and cut it to the packed size.
        plain = {**options, "session_kwargs": {**session, "auto_decompress": False}}
        self._files, path = open_files(url, plain)
        bucket, _, root = path.strip("/").partition("/")
        self._server = self._files.base.removesuffix("storage/v1/")
        self._objects = f"storage/v1/b/{quote(bucket, safe='')}/o"
        self._below = f"{root}/" if root else ""
        self._limits = limits

    def reach(self) -> None:
        """As `Transport.reach`; by a listing, which needs no right that the rest does not need."""
        self._page({"prefix": self._below, "maxResults": "1"})

    def make_root(self) -> None:
        """Nothing to do: a prefix is there when an object is below it."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """As `Transport.read`."""
        wanted = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "gzip"}
        url = f"{self._object(path)}?{self._query({'alt': 'media'})}"
        answer = self._ask("GET", url, headers=wanted, carries=length, missing=Trouble.MISSING)
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or found is None:
            raise GoogleError(Trouble.UNKNOWN, f"a range was asked for, and the answer was {answer.status} without")
        first, last, size = map(int, found.groups())
        if (first, last) != (start, min(start + length, size) - 1) or len(answer.body) != last + 1 - first:
            raise GoogleError(Trouble.UNREACHED, f"{len(answer.body)} bytes came, and they were said to be {found[0]}")
        return answer.body

    def size(self, path: str) -> int:
        """As `Transport.size`."""
        return self.look(path).size_bytes

    def look(self, path: str) -> Listed:
        """As `Transport.look`."""
        url = f"{self._object(path)}?{self._query({'fields': f'kind,{_FIELDS}'})}"
        return self._listed(_resource(self._ask("GET", url, missing=Trouble.MISSING), "storage#object"))

    def publish(self, path: str, data: memoryview) -> None:
        """As `Transport.publish`; Google compares the bytes with the checksum before the object appears."""
        checksum = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        # Nobody can have put this boundary into the data, as nobody knows it before.
        boundary = secrets.token_hex(16)
        described = json.dumps({"name": self._below + path, "md5Hash": checksum})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{described}\r\n"
            f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        query = self._query({"uploadType": "multipart", "ifGenerationMatch": "0", "fields": "kind,size,md5Hash"})
        try:
            answer = self._ask(
                "POST",
                f"{self._server}upload/{self._objects}?{query}",
                headers={
                    "Content-Type": f"multipart/related; boundary={boundary}",
                    "Content-Length": str(len(head) + len(data) + len(tail)),
                },
                body=(head, data, tail),
                carries=len(data),
            )
        except GoogleError as error:
            # Credentials that may create and not replace may be told of a right that they lack.
            if error.trouble is Trouble.DENIED and self._has(path):
                raise GoogleError(Trouble.TAKEN, f"{path} is there already") from error
            raise
        stored = _resource(answer, "storage#object")
        if (stored["size"], stored["md5Hash"]) != (str(len(data)), checksum):
            raise GoogleError(Trouble.REFUSED, f"{path} was not stored as it was sent: {stored}")

    def entries(self, folder: str) -> Iterator[Listed]:
        """As `Transport.entries`."""
        below = f"{self._below}{folder}/" if folder else self._below
        asked = {"prefix": below, "maxResults": str(_PAGE), "fields": f"kind,nextPageToken,items({_FIELDS})"}
        while True:
            page = self._page(asked)
            for item in page.get("items", ()):
                if not item["name"].startswith(below):
                    raise GoogleError(Trouble.UNKNOWN, f"{below!r} was to be listed, and {item['name']!r} was")
                if item["name"] != below:  # a folder that somebody drew in a console
                    yield self._listed(item)
            token = page.get("nextPageToken")
            if not token:
                return
            if token == asked.get("pageToken"):
                raise GoogleError(Trouble.REFUSED, "the listing never ends: a page names itself as the next")
            asked["pageToken"] = token

    def remove(self, path: str) -> None:
        """As `Transport.remove`."""
        answer = self._ask("DELETE", f"{self._object(path)}?{self._query({})}", missing=Trouble.MISSING)
        if answer.body.strip() not in (b"", b"null"):
            raise GoogleError(Trouble.UNKNOWN, f"nothing was to be answered, and {len(answer.body)} bytes came")

    def trouble_of(self, error: BaseException) -> Trouble:
        """As `Transport.trouble_of`."""
        if isinstance(error, GoogleError):
            return error.trouble
        if isinstance(error, aiohttp.ClientError | FSTimeoutError | TimeoutError | ConnectionError):
            return Trouble.UNREACHED
        if type(error).__module__.startswith(("google.auth.", "gcsfs.")):
            return _trouble_of_credentials(error)
        return Trouble.UNKNOWN

    def close(self) -> None:
        """As `Transport.close`."""
        with suppress(Exception):
            sync(self._files.loop, self._files.session.close, timeout=_CLOSING_SECONDS)

    def _has(self, path: str) -> bool:
        try:
            self.look(path)
        except Exception:
            return False
        return True

    def _listed(self, item: Mapping[str, str]) -> Listed:
        made = to_nanoseconds(datetime.fromisoformat(item["timeCreated"]))
        return Listed(item["name"].removeprefix(self._below), int(item["size"]), item["generation"], made)

    def _object(self, path: str) -> str:
        return f"{self._server}{self._objects}/{quote(self._below + path, safe='')}"

    def _query(self, asked: Mapping[str, str]) -> str:
        # gcsfs adds who pays, if it was told that the requester does.
        return urlencode(self._files._get_params(dict(asked)), quote_via=quote)

    def _page(self, asked: Mapping[str, str]) -> dict[str, Any]:
        return _resource(self._ask("GET", f"{self._server}{self._objects}?{self._query(asked)}"), "storage#objects")

    def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: tuple[bytes | memoryview, ...] = (),
        carries: int = 0,
        missing: Trouble = Trouble.NO_ROOT,
    ) -> _Answer:
        """The answer to one request, if it is a good one; `missing` is what 404 means."""
        seconds = self._limits.seconds_for(carries)
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        answer: _Answer = sync(self._files.loop, self._send, method, url, sent, body, timeout=seconds)
        if answer.status not in (200, 204, 206):
            raise _failure(answer, missing)
        return answer

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: tuple[bytes | memoryview, ...]
    ) -> _Answer:
        # Credentials are renewed by a request that blocks, and that must not stop everybody else's requests.
        authorized = await asyncio.to_thread(self._files._get_headers, headers)
        session = await self._files._set_session()
        async with session.request(
            method,
            URL(url, encoded=True),
            headers=authorized,
            data=_slices(body) if body else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=self._limits.request, sock_read=self._limits.request),
        ) as answer:
            return _Answer(answer.status, answer.headers, await answer.read())


async def _slices(body: tuple[bytes | memoryview, ...]) -> AsyncIterator[bytes | memoryview]:
    for part in body:
        for start in range(0, len(part), _SLICE_BYTES):
            yield part[start : start + _SLICE_BYTES]


def _resource(answer: _Answer, kind: str) -> dict[str, Any]:
    """What a body says, if it is of this kind; a page for signing in to a network is not."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise GoogleError(Trouble.UNKNOWN, f"{kind} was expected, and {len(answer.body)} other bytes came")
    return found


def _failure(answer: _Answer, missing: Trouble) -> GoogleError:
    said, reason = answer.body.decode(errors="replace"), ""
    with suppress(ValueError, LookupError, TypeError):
        described = json.loads(said)["error"]
        said, reason = described["message"], described["errors"][0]["reason"]
    status = answer.status
    if status in _LATER or status >= 500 or reason in _TOO_MANY:
        trouble = Trouble.UNREACHED
    elif status == 404:
        trouble = missing
    elif status in _MEANINGS:
        trouble = _MEANINGS[status]
    else:
        trouble = Trouble.REFUSED if 400 <= status < 500 else Trouble.UNKNOWN
    return GoogleError(trouble, f"{status} {said}")


def _trouble_of_credentials(error: BaseException) -> Trouble:
    """Whether credentials are no good, or only who renews them was not reached, or gave no answer that says it."""
    if type(error).__name__ == "NonRetryableError":  # nothing to renew them with
        return Trouble.DENIED
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "TransportError" or getattr(cause, "retryable", False):
            return Trouble.UNREACHED
        if type(cause).__name__ == "RefreshError" and not isinstance(cause.args[-1], Mapping):
            return Trouble.UNKNOWN
        cause = cause.__cause__
    return Trouble.DENIED
