"""One request to a WebDAV server and its answer: in how much time, and what its status means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import NoReturn

import attrs
import httpx

from safebackup.clock import Clock, SystemClock
from safebackup.remotes import shown
from safebackup.storage.remote.limits import Limits
from safebackup.storage.remote.multistatus import DoubtfulAnswerError, parts_of
from safebackup.storage.remote.transport import Trouble

REDIRECTS = (301, 302, 303, 307, 308)
_SENT_AT_ONCE = 256 << 10
_SHORT = 64 << 10
_TROUBLES = {
    401: Trouble.DENIED,
    403: Trouble.DENIED,
    404: Trouble.MISSING,
    407: Trouble.DENIED,
    408: Trouble.UNREACHED,
    410: Trouble.MISSING,
    416: Trouble.BEYOND,
    423: Trouble.UNREACHED,  # locked by somebody who will let go of it
    425: Trouble.UNREACHED,
    429: Trouble.UNREACHED,
    501: Trouble.REFUSED,
    505: Trouble.REFUSED,
    507: Trouble.FULL,
}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HEADERS = {"Accept-Encoding": "identity", "Cache-Control": "no-cache"}


class WebdavError(Exception):
    """An answer that is not the one that was asked for, and what it means."""

    def __init__(self, trouble: Trouble, what: str) -> None:
        super().__init__(what)
        self.trouble = trouble


@attrs.frozen
class Pace:
    """How long an exchange may take: the longer, the more bytes it has carried."""

    limits: Limits
    clock: Clock = attrs.field(factory=SystemClock)
    since: float = attrs.field(init=False)

    @since.default
    def _started(self) -> float:
        return self.clock.monotonic()

    def require(self, carried: int) -> None:
        """Raise if so many bytes took too long."""
        if self.clock.monotonic() - self.since > self.limits.seconds_for(carried):
            raise WebdavError(Trouble.UNREACHED, f"{carried} bytes took longer than they may")


@attrs.frozen
class _Body:
    """The bytes of a request, from the first one each time that it is sent."""

    data: memoryview
    pace: Pace

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), _SENT_AT_ONCE):
            self.pace.require(start)
            yield bytes(self.data[start : start + _SENT_AT_ONCE])


@attrs.frozen
class Exchange:
    """A request that was sent, and its answer, of which only the head is there yet."""

    response: httpx.Response
    pace: Pace
    pieces: Iterator[bytes]

    def received(self, skipped: int = 0, length: int | None = None) -> bytes:
        """The body, or `length` bytes of it after the first `skipped`; fewer if it ends."""
        carried = 0
        found = bytearray()
        while length is None or len(found) < length:
            piece = next(self.pieces, b"")
            if not piece:
                break
            found += piece[max(0, skipped - carried) :]
            carried += len(piece)
            self.pace.require(carried)
        return bytes(found[:length])

    def finish(self) -> None:
        """Take the rest if it is short: only then is the connection used again."""
        with suppress(httpx.HTTPError, WebdavError):
            taken = 0
            for piece in self.pieces:
                taken += len(piece)
                self.pace.require(taken)
                if taken > _SHORT:
                    break


@contextmanager
def exchanged(
    http: httpx.Client,
    limits: Limits,
    method: str,
    url: httpx.URL,
    *,
    headers: Mapping[str, str] | None = None,
    data: memoryview | None = None,
    waits_for: int = 0,
) -> Iterator[Exchange]:
    """A request and its answer, of which only the head is there yet; `waits_for` is how many bytes it is about."""
    pace = Pace(limits)
    sent = {**_HEADERS, **(headers or {})}
    if data is not None:
        sent["Content-Length"] = str(len(data))
    with http.stream(
        method,
        url,
        headers=sent,
        content=None if data is None else _Body(data, pace),
        timeout=httpx.Timeout(limits.request, read=limits.seconds_for(waits_for)),
        follow_redirects=False,
    ) as response:
        exchange = Exchange(response, pace, response.iter_raw())
        try:
            yield exchange
        except WebdavError:
            exchange.finish()
            raise
        exchange.finish()


def length_of_part(response: httpx.Response, start: int, length: int) -> int:
    """How many bytes an answer brings of the `length` from `start` that were asked for; fewer if the object ends.

    Raises:
        DoubtfulAnswerError: they are others.
    """
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None:
        raise DoubtfulAnswerError("the server sent a part, and did not say which")
    first, last = int(found[1]), int(found[2])
    ends_there = found[3] != "*" and last + 1 == int(found[3])
    if first != start or last >= start + length or not (last + 1 == start + length or ends_there):
        raise DoubtfulAnswerError("the server sent another part than was asked for")
    return last + 1 - first


def may_be_a_page(response: httpx.Response) -> bool:
    """Whether this may be what a browser is shown for a folder."""
    has_a_version = "ETag" in response.headers or "Last-Modified" in response.headers
    is_html = response.headers.get("Content-Type", "").startswith("text/html")
    return response.status_code == HTTPStatus.OK and (is_html or not has_a_version)


def is_itself_with_a_slash(response: httpx.Response, url: httpx.URL) -> bool:
    """Whether an answer leads to the same address with a slash at its end, where a folder is."""
    here, there = (each.raw_path.decode() for each in (url, url.join(response.headers.get("Location", ""))))
    return not here.endswith("/") and there.endswith("/") and parts_of(there) == parts_of(here)


def fail(response: httpx.Response) -> NoReturn:
    """Raise what an answer means that is not the one hoped for.

    Raises:
        WebdavError: always.
    """
    status = response.status_code
    trouble = _TROUBLES.get(status)
    if trouble is None and status >= 300:
        trouble = Trouble.UNREACHED if status >= 500 else Trouble.REFUSED
    said = f"{response.request.method} was answered with {status} {response.reason_phrase}"
    if status in REDIRECTS:
        said += f": it is at {shown(response.headers.get('Location', ''))}, so write that address"
    raise WebdavError(trouble or Trouble.UNKNOWN, said)
