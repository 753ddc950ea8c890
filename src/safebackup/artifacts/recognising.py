"""What an artefact is by its content, and what its name promises."""

from __future__ import annotations

import re

import attrs

from safebackup.artifacts.pg_toc import MAGIC as PG_MAGIC
from safebackup.artifacts.redis import MAGIC as REDIS_MAGIC
from safebackup.artifacts.report import Kind
from safebackup.artifacts.sql_dumps import recognise_sql
from safebackup.artifacts.sqlite import MAGIC as SQLITE_MAGIC
from safebackup.artifacts.streams import GZIP_MAGIC, ZSTD_MAGIC
from safebackup.artifacts.tars import BLOCK, looks_like_tar
from safebackup.findings import printable

BEGINNING = 8192
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_MARKUP = re.compile(rb"\s*<(!doctype|html|\?xml|head|body|error)", re.IGNORECASE)
_DECOMPRESS, _UNPACK, _DECRYPT = (
    f"{verb} it and check what comes out." for verb in ("Decompress", "Unpack", "Decrypt")
)
_FIND_OUT = "Find out what wrote it."
_OTHERS = (
    (b"BZh", "bzip2", _DECOMPRESS),
    (b"\xfd7zXZ\0", "xz", _DECOMPRESS),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", _UNPACK),
    (b"\x04\x22\x4d\x18", "LZ4", _DECOMPRESS),
    (b"Rar!", "RAR", _UNPACK),
    (b"Salted__", "openssl enc, encrypted", _DECRYPT),
    (b"age-encryption.org/", "age, encrypted", _DECRYPT),
    (b"-----BEGIN PGP", "PGP, encrypted", _DECRYPT),
    (b"\x00\x05\x16\x07", "AppleDouble", _FIND_OUT),
    (
        b"\xff\xfe",
        "text in UTF-16, as PowerShell's > writes it, and psql or mysql cannot read it: use a file option",
        _FIND_OUT,
    ),
)
# What a program that failed, or the shell that did not find it, leaves where a dump should be.
_ERROR_MESSAGE = re.compile(
    rb"(\S*/)?(pg_dump|pg_dumpall|psql|mysqldump|mysql|mariadb-dump|mariadb|sqlite3): (?!\[?[Ww]arning)"
    rb"|ERROR \d+ \(\w{5}\)|Error: unable to open database|Access denied for user"
    rb"|zsh: command not found: "
    rb"|[^\n]*: (command not found|not found|No such file or directory|Permission denied)\r?(\n|\Z)"
)

_SQL = frozenset({Kind.PG_PLAIN, Kind.MYSQL_DUMP, Kind.SQLITE_DUMP})
_DUMPS = _SQL | {Kind.PG_CUSTOM, Kind.PG_DIRECTORY, Kind.PG_TAR}
_TARS = frozenset({Kind.TAR, Kind.PG_TAR})
_COMPRESSIONS = {
    ".gz": Kind.GZIP,
    ".tgz": Kind.GZIP,
    ".zst": Kind.ZSTD,
    ".zstd": Kind.ZSTD,
    ".tzst": Kind.ZSTD,
}
_CONTENTS = {
    ".tar": _TARS,
    ".tgz": _TARS,
    ".tzst": _TARS,
    ".zip": frozenset({Kind.ZIP}),
    ".sqlite": frozenset({Kind.SQLITE}),
    ".sqlite3": frozenset({Kind.SQLITE}),
    ".db3": frozenset({Kind.SQLITE}),
    ".rdb": frozenset({Kind.REDIS}),
    ".sql": _SQL,
    ".dump": _DUMPS,
    ".pgdump": _DUMPS,
    ".mysqldump": frozenset({Kind.MYSQL_DUMP}),
}


@attrs.frozen
class Promise:
    """What a name says: compressions from the outermost inwards, and kinds of which the content should be one."""

    compressions: tuple[Kind, ...] = ()
    contents: frozenset[Kind] = frozenset()
    suffix: str = ""


def promise_of(name: str) -> Promise:
    """What the suffixes of a file's name promise; nothing where they are unknown."""
    rest, compressions = name.lower(), list[Kind]()
    while (dot := rest.rfind(".")) > 0:
        suffix = rest[dot:]
        if suffix in _COMPRESSIONS:
            compressions.append(_COMPRESSIONS[suffix])
        if suffix in _CONTENTS or suffix not in _COMPRESSIONS:
            return Promise(tuple(compressions), _CONTENTS.get(suffix, frozenset()), name[dot:])
        rest = rest[:dot]
    return Promise(tuple(compressions), frozenset(), name[len(rest) :])


def recognise(beginning: bytes) -> Kind:
    """What bytes are, by their first 8 KiB."""
    magics = (
        (GZIP_MAGIC, Kind.GZIP),
        (ZSTD_MAGIC, Kind.ZSTD),
        (SQLITE_MAGIC, Kind.SQLITE),
        (PG_MAGIC, Kind.PG_CUSTOM),
        (b"PK\x03\x04", Kind.ZIP),
        (b"PK\x05\x06", Kind.ZIP),
    )
    for magic, kind in magics:
        if beginning.startswith(magic):
            return kind
    if beginning.startswith(REDIS_MAGIC) and beginning[5:9].isdigit():
        return Kind.REDIS
    if _SKIPPABLE.match(beginning):
        return Kind.ZSTD
    if beginning[:BLOCK] == bytes(BLOCK) == beginning[BLOCK : 2 * BLOCK]:
        return Kind.TAR  # of nothing
    if looks_like_tar(beginning):
        is_dump = beginning.startswith(b"toc.dat\0") and beginning[BLOCK:].startswith(PG_MAGIC)
        return Kind.PG_TAR if is_dump else Kind.TAR
    return recognise_sql(beginning) or Kind.UNKNOWN


def describe_unknown(beginning: bytes) -> str:
    """What unknown bytes look like, for the finding."""
    for magic, name, _ in _OTHERS:
        if beginning.startswith(magic):
            return f"it is {name}, which this release does not read"
    if _MARKUP.match(beginning):
        return "it is a page of HTML or XML, as a server sends it with an error"
    if not beginning[: 2 * BLOCK].strip(b"\0"):
        return "it begins with zeros, as a disk image does, or a file that was never written to"
    line = beginning.lstrip().split(b"\n", 1)[0][:120]
    if is_text(beginning):
        return f"it is text and no dump; it begins: {printable(line.rstrip())}"
    return f"it begins with the bytes {beginning[:16].hex(' ')}"


def advise_unknown(beginning: bytes, promise: Promise) -> str:
    """What to do first about unknown bytes under a name."""
    if is_unmarked_sql(beginning, promise):
        return (
            "mysqldump --skip-comments or --compact leaves out the marks by which a dump is known and judged, and 2>&1 "
            "puts messages into it: make the dump without them. Of SQL that was written by hand nothing can be told."
        )
    return next((action for magic, _, action in _OTHERS if beginning.startswith(magic)), _FIND_OUT)


def is_unmarked_sql(beginning: bytes, promise: Promise) -> bool:
    """Whether unknown bytes are text under a name that promises SQL: the name may well be right."""
    return bool(beginning) and bool(promise.contents & _SQL) and is_text(beginning) and not is_markup(beginning)


def is_error_message(beginning: bytes) -> bool:
    """Whether a short text is what a program says that failed."""
    return len(beginning) < BEGINNING and is_text(beginning) and _ERROR_MESSAGE.match(beginning) is not None


def is_markup(beginning: bytes) -> bool:
    """Whether it is a page of HTML or XML."""
    return _MARKUP.match(beginning) is not None


def is_text(beginning: bytes) -> bool:
    """Whether the bytes look like text."""
    return not beginning.translate(None, bytes(range(32, 256)) + b"\t\r\n\f\v\x1b")
