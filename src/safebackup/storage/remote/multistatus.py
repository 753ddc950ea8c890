"""What a WebDAV server says about files and folders: its answers to PROPFIND, read so that none is quietly short."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree

import attrs

from safebackup.instants import to_nanoseconds

QUESTION = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getetag/><getlastmodified/></prop></propfind>'
)
_OK = re.compile(r"HTTP/\S+ 200\b")
_TYPE, _SIZE, _TAG, _MODIFIED = "{DAV:}resourcetype", "{DAV:}getcontentlength", "{DAV:}getetag", "{DAV:}getlastmodified"


class DoubtfulAnswerError(Exception):
    """An answer that is cut, holds an error, or does not say what was asked."""


@attrs.frozen
class Member:
    """A file or a folder, by the parts of its path on the server. A folder's size means nothing."""

    parts: tuple[str, ...]
    is_folder: bool
    size_bytes: int = 0
    tag: str = ""
    modified: int | None = None


def members_of(answer: bytes, url: str) -> list[Member]:
    """All that an answer to a request at `url` speaks of.

    Raises:
        DoubtfulAnswerError: it is not whole, or is about something else than files and folders.
    """
    try:
        root = ElementTree.fromstring(answer)
    except ElementTree.ParseError as error:
        raise DoubtfulAnswerError(f"the answer is no XML, or was cut: {error}") from error
    if root.tag != "{DAV:}multistatus":
        raise DoubtfulAnswerError("the answer is not one of WebDAV")
    return [_member(response, url) for response in root.iterfind("{DAV:}response")]


def parts_of(path: str) -> tuple[str, ...]:
    """The parts of the path of a URL, as they are called.

    Raises:
        DoubtfulAnswerError: one of them is not UTF-8, or is not a name.
    """
    try:
        parts = tuple(unquote(part, errors="strict") for part in path.split("/") if part)
    except UnicodeDecodeError as error:
        raise DoubtfulAnswerError("a name is not UTF-8") from error
    if any(part in (".", "..") or "/" in part or "\0" in part for part in parts):
        raise DoubtfulAnswerError("a name is a detour, or holds a slash")
    return parts


def _member(response: ElementTree.Element, url: str) -> Member:
    hrefs = [(href.text or "").strip() for href in response.iterfind("{DAV:}href")]
    status = response.findtext("{DAV:}status")
    if len(hrefs) != 1 or status is not None:
        raise DoubtfulAnswerError(f"the server answered for a part alone: {' '.join((status or 'no address').split())}")
    found = urlsplit(urljoin(url, hrefs[0]))
    if found.query or found.fragment:
        raise DoubtfulAnswerError("the server sent a name that is not encoded")
    properties = {each.tag: each for each in _properties(response)}
    kind = properties.get(_TYPE)
    if kind is None:
        raise DoubtfulAnswerError("the server did not say whether something is a folder")
    if kind.find("{DAV:}collection") is not None:
        return Member(parts_of(found.path), True)
    texts = {name: (each.text or "").strip() for name, each in properties.items()}
    if not re.fullmatch(r"[0-9]{1,18}", texts.get(_SIZE, "")):
        raise DoubtfulAnswerError("the server did not say the size of a file")
    tag = texts.get(_TAG, "")
    # A weak tag may stay the same when the content does not.
    return Member(parts_of(found.path), False, int(texts[_SIZE]), "" if tag.startswith("W/") else tag, _modified(texts))


def _properties(response: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for some in response.iterfind("{DAV:}propstat"):
        if _OK.match((some.findtext("{DAV:}status") or "").strip()):
            yield from some.iterfind("{DAV:}prop/*")


def _modified(texts: dict[str, str]) -> int | None:
    try:
        modified = parsedate_to_datetime(texts.get(_MODIFIED, ""))
    except ValueError:
        return None
    return to_nanoseconds(modified) if modified.tzinfo is not None else None
