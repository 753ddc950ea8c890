"""Artefacts of every kind, made by the real thing where it is at hand and byte by byte where it is not."""

from __future__ import annotations

import gzip
import io
import sqlite3
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard


def crc64(data: bytes) -> int:
    """CRC-64 of Redis, bit by bit, as its specification says."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def rdb(*, checksum: bool = True, version: bytes = b"0011") -> bytes:
    """An RDB file with one value of most kinds."""
    stream = b"\1" + short(b"\0" * 16) + short(b"listpack") + b"\2" + b"\5\1" + b"\1\0" + b"\0\0" + b"\2"
    group = (
        short(b"group")
        + b"\1\0\2"
        + b"\1"
        + b"\0" * 24
        + b"\1"
        + b"\1"
        + short(b"me")
        + b"\0" * 16
        + b"\1"
        + b"\0" * 16
    )
    body = b"".join(
        [
            b"REDIS" + version,
            b"\xfa" + short(b"redis-ver") + short(b"7.2.4"),
            b"\xfa" + short(b"redis-bits") + b"\xc0\x40",
            b"\xf5" + short(b"#!lua name=lib"),
            b"\xfe\0\xfb\x0a\2",
            b"\xfc" + bytes(8) + b"\0" + short(b"text") + short(b"value"),
            b"\xfd" + bytes(4) + b"\0" + short(b"number") + b"\xc1\x10\x27",
            b"\xf9\5\xf8\7" + b"\0" + short(b"packed") + b"\xc3" + b"\5\x40\x64" + b"\0a\xe0\x54\0",
            b"\x12" + short(b"list") + b"\1\2" + short(b"listpack"),
            b"\2" + short(b"set") + b"\2" + short(b"a") + b"\x80\0\0\0\1b",
            b"\5" + short(b"scores") + b"\1" + short(b"a") + bytes(8),
            b"\3" + short(b"old scores") + b"\2" + short(b"a") + b"\xfd" + short(b"b") + b"\0031.5",
            b"\4" + short(b"hash") + b"\1" + short(b"f") + short(b"v"),
            b"\7" + short(b"module") + b"\x81" + bytes(8) + b"\2\1\4" + bytes(8) + b"\5" + short(b"x") + b"\0",
            b"\x15" + short(b"stream") + stream + b"\1" + group,
            b"\xff",
        ]
    )
    return body + struct.pack("<Q", crc64(body) if checksum else 0)


def tar(*names: str, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of files, each 700 bytes long."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 700
            file.addfile(member, io.BytesIO(b"x" * 700))
    return target.getvalue()


def end_of_tar(data: bytes) -> int:
    """Where the second closing block of zeros ends; what follows is padding."""
    return -(-len(data.rstrip(b"\0")) // 512) * 512 + 1024


def zipped(*, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        file.writestr("a.txt", "some text, some text, some text " * 20)
        file.writestr("folder/b.txt", "more")
        file.comment = comment
    return target.getvalue()


def zstd(data: bytes, *, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=checksum).compress(data)


def database(path: Path, *, rows: int = 300, mode: str = "delete") -> sqlite3.Connection:
    """A database with an index; the caller closes it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute("CREATE INDEX by_name ON orders(name)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO orders(name) VALUES (?)", [(f"name {n:06}",) for n in range(rows)])
    connection.execute("COMMIT")
    return connection


def sqlite_bytes(folder: Path, *, rows: int = 300) -> bytes:
    path = folder / "made.sqlite"
    database(path, rows=rows).close()
    data = path.read_bytes()
    path.unlink()
    return data


SQLITE_DUMP = b"""PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE t(a TEXT);
INSERT INTO t VALUES('it''s; COMMIT;');
INSERT INTO t VALUES('two
COMMIT;
lines');
COMMIT;
"""

MYSQL_DUMP = rb"""/*!999999\- enable the sandbox mode */
-- MariaDB dump 10.19-11.4.2-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: shop
-- ------------------------------------------------------
-- Server version	11.4.2-MariaDB

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;

--
-- Table structure for table `orders`
--

DROP TABLE IF EXISTS `orders`;
CREATE TABLE `orders` (
  `id` int(11) NOT NULL,
  `note` text DEFAULT 'a;b'
) ENGINE=InnoDB;

LOCK TABLES `orders` WRITE;
INSERT INTO `orders` (`id`, `note`) VALUES
(1,'it\'s (one)'),
(2,'-- Dump completed on 2026-11-23  8:00:00\n'),
(3,_binary 'a\\');
UNLOCK TABLES;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON orders FOR EACH ROW BEGIN
-- Dump completed on 2026-11-23  8:00:00
SET NEW.id = 1; END */;;
DELIMITER ;

-- Dump completed on 2026-11-23  8:01:02
"""


def pg_plain(*, restrict: bool = True) -> bytes:
    """A plain dump whose rows and functions contain its end mark."""
    text = r"""--
-- PostgreSQL database dump
--

\restrict Key9

-- Dumped from database version 17.6
-- Dumped by pg_dump version 17.6

SET statement_timeout = 0;

CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $_$
select 1;

--
-- PostgreSQL database dump complete
--

select 'it''s';
$_$;

CREATE TABLE public.t (
    a integer,
    b text DEFAULT E'it\'s; /* '
);

COPY public.t (a, b) FROM stdin;
1	-- PostgreSQL database dump complete
--
\\.
2	two
\.


INSERT INTO public.t VALUES (3, '
--
-- PostgreSQL database dump complete
--

');

--
-- PostgreSQL database dump complete
--

\unrestrict Key9

"""
    if not restrict:
        text = text.replace("\\restrict Key9\n\n", "").replace("\\unrestrict Key9\n\n", "")
    return text.encode()


def toc_number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def toc_text(text: str | None) -> bytes:
    return toc_number(-1) if text is None else toc_number(len(text)) + text.encode()


def toc_head(layout: int, packed: bytes, *, minor: int, entries: int) -> bytes:
    """What any table of contents of pg_dump's begins with."""
    head = b"PGDMP" + bytes([1, minor, 0, 4, 8, layout]) + packed + toc_number(0) * 7
    return head + toc_text("shop") + toc_text("17.6") + toc_text("17.6") + toc_number(entries)


def toc_entry(dump_id: int, tag: str, kind: str, *, copy: str | None, place: bytes, minor: int, data: bool) -> bytes:
    relation = toc_number(114) if minor >= 16 else b""
    texts = [toc_text(tag), toc_text(kind), toc_number(3), toc_text(""), toc_text(""), toc_text(copy)]
    texts += [toc_text("public"), toc_text(None), toc_text("heap"), relation, toc_text("u"), toc_text("false")]
    numbers = toc_number(dump_id) + toc_number(data) + toc_text("0") + toc_text("0")
    return numbers + b"".join(texts) + toc_text("1") + toc_text(None) + place


def toc_of_folder() -> bytes:
    """The contents of an uncompressed dump in directory format: two tables, and large objects."""
    made = [
        toc_entry(8, "orders", "TABLE DATA", copy="COPY", place=toc_text("8.dat"), minor=14, data=True),
        toc_entry(9, "customers", "TABLE DATA", copy="COPY", place=toc_text("9.dat"), minor=14, data=True),
        toc_entry(10, "BLOBS", "BLOBS", copy=None, place=toc_text("blobs.toc"), minor=14, data=True),
    ]
    return toc_head(5, toc_number(0), minor=14, entries=len(made)) + b"".join(made)


def pg_custom(rows: bytes, *, minor: int = 16, packing: str = "gzip", lie_about_offset: bool = False) -> bytes:
    """A custom-format dump of one table, as pg_dump of PostgreSQL 15 (14), 16 (15) and 17 (16) writes it."""
    packings = ["none", "gzip", "lz4", "zstd"]
    number = packings.index(packing)
    packed = bytes([number]) if minor >= 15 else toc_number(-1 if packing == "gzip" else 0)
    head = toc_head(1, packed, minor=minor, entries=2)

    def entry(dump_id: int, tag: str, kind: str, copy: str | None, place: bytes) -> bytes:
        return toc_entry(dump_id, tag, kind, copy=copy, place=place, minor=minor, data=copy is not None)

    table = entry(7, "orders", "TABLE", None, b"\3" + bytes(8))
    size = len(head + table + entry(8, "orders", "TABLE DATA", "COPY orders FROM stdin;\n", bytes(9)))
    offset = size + (1 if lie_about_offset else 0)
    data = entry(8, "orders", "TABLE DATA", "COPY orders FROM stdin;\n", b"\2" + offset.to_bytes(8, "little"))
    plain = rows + b"\\.\n\n\n"
    stream = {"none": lambda: plain, "gzip": lambda: zlib.compress(plain), "zstd": lambda: zstd(plain, checksum=False)}
    # Without lz4 its content is not looked at, so that any bytes do.
    content = stream[packing]() if packing in stream else b"not looked at"
    middle = len(content) // 2
    pieces = [content[:middle], content[middle:], b""]
    return head + table + data + b"\1" + toc_number(8) + b"".join(toc_number(len(piece)) + piece for piece in pieces)


def whole_artifacts(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Name, content, and the length from which on a cut loses nothing."""
    plain = {
        "plain.tar": tar("a", "folder/b"),
        "gnu.tar": tar("n" * 200, form=tarfile.GNU_FORMAT),
        "a.zip": zipped(comment=b"a comment"),
        "stored.zip": zipped(method=zipfile.ZIP_STORED),
        "orders.sqlite": sqlite_bytes(folder, rows=20),
        "sqlite.sql": SQLITE_DUMP,
        "mysql.sql": MYSQL_DUMP,
        "pg.sql": pg_plain(),
        "older.sql": pg_plain(restrict=False),
        "dump.rdb": rdb(),
        "unsummed.rdb": rdb(checksum=False),
        "custom14.dump": pg_custom(b"1\tone\n2\ttwo\n", minor=14, packing="none"),
        "custom15.dump": pg_custom(b"1\tone\n2\ttwo\n", minor=15, packing="gzip"),
        "custom16.dump": pg_custom(b"1\tone\n2\ttwo\n", minor=16, packing="zstd"),
    }
    sizes = {name: (data, len(data)) for name, data in plain.items()}
    for name in ("plain.tar", "gnu.tar"):
        sizes[name] = (plain[name], end_of_tar(plain[name]))
    for name in ("plain.tar", "pg.sql", "orders.sqlite", "dump.rdb", "custom15.dump"):
        packed = gzip.compress(plain[name]), zstd(plain[name])
        sizes[name + ".gz"], sizes[name + ".zst"] = ((data, len(data)) for data in packed)
    return sizes


def _made() -> dict[str, tuple[bytes, int]]:
    with TemporaryDirectory() as folder:
        return whole_artifacts(Path(folder))


ARTIFACTS = _made()
