"""check_artifact: is this file, which some tool wrote as a backup, whole?"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import IO, Literal, cast

from safebackup.artifacts.pg_custom import check_pg_custom
from safebackup.artifacts.pg_folders import check_pg_directory, check_pg_tar
from safebackup.artifacts.places import Place, StoredFile, find_place
from safebackup.artifacts.reading import PIECE, Flaw, Reader, drain, unreadable
from safebackup.artifacts.recognising import (
    BEGINNING,
    Promise,
    advise_unknown,
    describe_unknown,
    is_error_message,
    is_markup,
    is_text,
    is_unmarked_sql,
    promise_of,
    recognise,
)
from safebackup.artifacts.redis import check_redis
from safebackup.artifacts.report import ArtifactReport, Inquiry, Kind, Level, conclude
from safebackup.artifacts.sql_dumps import check_sql
from safebackup.artifacts.sqlite import check_sqlite_file, check_sqlite_stream
from safebackup.artifacts.streams import gunzip, unzstd
from safebackup.artifacts.tars import check_tar
from safebackup.artifacts.zips import check_zip, ends_as_zip
from safebackup.errors import Code, ConfigurationError
from safebackup.findings import Severity

_COMPRESSIONS_MOST = 3
_LOOK_AT_PIPE = "Look at the status of every program of the pipe (bash: set -o pipefail)."
_PG_DATA = re.compile(r"[0-9]+\.dat(\.gz|\.lz4|\.zst)?")


def check_artifact(
    path_or_url: str | os.PathLike[str],
    *,
    level: Level | Literal["listed", "structure", "full"] = Level.FULL,
    storage_options: Mapping[str, object] | None = None,
) -> ArtifactReport:
    """Whether a tar, gzip, zstd, zip, SQLite, pg_dump, mysqldump or Redis file is whole, and what it holds.

    The kind is found by content. What is compressed is judged too. Memory is bounded, nothing is written, and no
    other program is run. Damage is returned as findings; `level="listed"` never calls anything whole.

    Raises:
        ConfigurationError: this is no path or URL, or a folder that is no dump.
        NotFoundError: nothing is there.
        StorageError: it could not be reached or read, so that nothing is known about it.
    """
    try:
        level = Level(level)
    except ValueError:
        raise ConfigurationError(
            f"level={level!r} is none of 'listed', 'structure', 'full'",
            hint='"full" reads every byte; "structure" follows all parts; "listed" reads the beginning only.',
        ) from None
    with find_place(path_or_url, storage_options) as place:
        inquiry = Inquiry(path=place.shown, requested=level)
        before = place.stamp()
        try:
            beside = _check_folder(place, inquiry) if place.names is not None else _check_file(place, inquiry)
        except Flaw as flaw:
            inquiry.find(flaw.code, flaw.what, flaw.action)
            beside = 0
        if place.stamp() != before:
            inquiry.find(
                Code.ARTIFACT_UNFINISHED,
                "it changed while it was read",
                "Wait until its writer has ended; check again.",
            )
        return conclude(inquiry, place.bytes_read + beside)


def _check_folder(place: Place, inquiry: Inquiry) -> int:
    names = place.names or frozenset()
    inquiry.kind = Kind.PG_DIRECTORY
    if "toc.dat" in names:
        check_pg_directory(names, place.reader, inquiry)
    elif any(_PG_DATA.fullmatch(name) for name in names):
        inquiry.find(
            Code.ARTIFACT_UNFINISHED,
            "the folder has data of pg_dump and no toc.dat, which is written last",
            "Wait until pg_dump has ended. If it has, look at its status and make the dump again.",
        )
    else:
        raise ConfigurationError(
            f"{place.shown} is a folder and no dump of pg_dump's: it has no toc.dat",
            hint="Name one file, or the folder that pg_dump -Fd made.",
        )
    return 0


def _check_file(place: Place, inquiry: Inquiry) -> int:
    """Judge a file; how many bytes were read by others than `place`."""
    file = place.open()
    reader = Reader(lambda: file.read(PIECE))
    beginning = reader.peek(BEGINNING)
    if not beginning:
        inquiry.find(Code.ARTIFACT_EMPTY, "the file has no byte", "Look why what wrote it wrote nothing.")
        return 0
    promise = promise_of(place.name)
    kind = inquiry.kind = _kind_of(reader, promise)
    if kind is Kind.UNKNOWN and file.seekable() and ends_as_zip(cast("IO[bytes]", file)):
        kind = inquiry.kind = Kind.ZIP  # behind a program that unpacks it
    if kind not in (Kind.GZIP, Kind.ZSTD):
        _judge_name(promise, (), kind, beginning, inquiry)
    if kind is Kind.SQLITE and place.path is not None:
        size = check_sqlite_file(place.path, inquiry)
        return max(0, size - place.bytes_read) if inquiry.wants(Level.FULL) else 0
    if kind is Kind.ZIP:
        _check_zip(file, inquiry)
    elif kind is Kind.UNKNOWN:
        inquiry.find(Code.ARTIFACT_UNKNOWN, describe_unknown(beginning), advise_unknown(beginning, promise))
    else:
        _check_stream(reader, kind, inquiry, promise, ())
    return 0


def _kind_of(reader: Reader, promise: Promise) -> Kind:
    """What it is; zeros alone are a tar of nothing, and the beginning of many other things."""
    beginning = reader.peek(BEGINNING)
    kind = recognise(beginning)
    if kind is Kind.TAR and not beginning[0] and Kind.TAR not in promise.contents:
        ahead = reader.peek(PIECE)  # a tar of nothing has some 10 KiB
        return Kind.UNKNOWN if len(ahead) == PIECE or ahead.strip(b"\0") else Kind.TAR
    return kind


def _check_zip(file: StoredFile, inquiry: Inquiry) -> None:
    if not file.seekable():
        raise unreadable(
            "a zip has its listing at its end, and this server sends files in order only", "Download it and check it."
        )
    check_zip(cast("IO[bytes]", file), inquiry)


def _check_stream(reader: Reader, kind: Kind, inquiry: Inquiry, promise: Promise, around: tuple[Kind, ...]) -> None:
    """Judge what is read in order; `around` are the compressions that were taken off already."""
    if kind in (Kind.GZIP, Kind.ZSTD):
        _check_compressed(reader, kind, inquiry, promise, (*around, kind))
    elif kind in (Kind.PG_PLAIN, Kind.MYSQL_DUMP, Kind.SQLITE_DUMP):
        check_sql(reader, kind, inquiry)
    elif kind in _STREAMED:
        _STREAMED[kind](reader, inquiry)
    else:
        raise unreadable(f"a {kind.value} inside a compressed file cannot be judged", "Decompress it and check that.")


_STREAMED: dict[Kind, Callable[[Reader, Inquiry], None]] = {
    Kind.TAR: check_tar,
    Kind.PG_TAR: check_pg_tar,
    Kind.PG_CUSTOM: check_pg_custom,
    Kind.SQLITE: check_sqlite_stream,
    Kind.REDIS: check_redis,
}


def _check_compressed(reader: Reader, kind: Kind, inquiry: Inquiry, promise: Promise, around: tuple[Kind, ...]) -> None:
    if len(around) > _COMPRESSIONS_MOST:
        raise unreadable(f"it was compressed more than {_COMPRESSIONS_MOST} times over", "Decompress it by hand first.")
    inquiry.checksummed = True
    content = gunzip(reader, inquiry) if kind is Kind.GZIP else unzstd(reader, inquiry, "the zstd data")
    beginning = content.peek(BEGINNING)
    inside = _kind_of(content, promise)
    inquiry.learn(content=inside)
    if inside not in (Kind.GZIP, Kind.ZSTD):
        _judge_name(promise, around, inside, beginning, inquiry)
    if not beginning:
        inquiry.find(
            Code.ARTIFACT_EMPTY,
            "what was compressed has no byte: so it looks when the program before the pipe has failed",
            _LOOK_AT_PIPE,
        )
    elif inside is Kind.UNKNOWN:
        _check_unknown_content(content, beginning, inquiry, promise)
    else:
        _check_stream(content, inside, inquiry, promise, around)
    if inquiry.wants(Level.STRUCTURE):
        drain(content)
        if inquiry.holds.bytes is None:
            inquiry.learn(bytes=content.taken)


def _check_unknown_content(content: Reader, beginning: bytes, inquiry: Inquiry, promise: Promise) -> None:
    """Only the compression can be judged, unless the content shows that something failed."""
    inquiry.reach(Level.LISTED)
    what = describe_unknown(beginning)
    if is_markup(beginning):
        if not re.search(r"\.(x?html?|xml|svg)", promise.suffix.lower()):
            inquiry.find(Code.ARTIFACT_MISLABELLED, what, "Look how it was downloaded.")
    elif is_error_message(beginning):
        inquiry.find(Code.ARTIFACT_DAMAGED, f"an error message was compressed: {what}", _LOOK_AT_PIPE)
    elif is_text(beginning):
        wanted = is_unmarked_sql(beginning, promise)
        inquiry.find(
            Code.ARTIFACT_UNKNOWN,
            f"of what was compressed only its bytes are proved: {what}",
            advise_unknown(beginning, promise) if wanted else "If it should be a dump: look what wrote it.",
            severity=Severity.ERROR if wanted else Severity.WARNING,
        )
    if inquiry.wants(Level.STRUCTURE):
        inquiry.learn(bytes=drain(content))
        inquiry.doubt(f"Of what was compressed only its bytes are proved: {what}.")
        inquiry.reach(Level.FULL)


def _judge_name(promise: Promise, around: tuple[Kind, ...], content: Kind, beginning: bytes, inquiry: Inquiry) -> None:
    """Compare what the name promises with what is there."""
    if not promise.compressions and not promise.contents:
        return
    kept = content in promise.contents or (content is Kind.UNKNOWN and is_unmarked_sql(beginning, promise))
    if around == promise.compressions and (not promise.contents or kept):
        return
    found = " of ".join(kind.value for kind in (*around, content))
    inquiry.find(
        Code.ARTIFACT_MISLABELLED,
        f"its name ends in {promise.suffix}, and its content is: {found}",
        "A restore that goes by the name fails: find out what wrote it; if the content is right, rename it.",
    )
