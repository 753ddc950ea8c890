"""format.md says what the code does: its examples are decoded by both readers, its constants and tables compared.

python -m tests.test_format_page     writes the examples into the page anew, after a change of the format
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest

from safebackup.errors import SafeBackupError
from safebackup.format import header, records
from safebackup.format import index as index_format
from safebackup.format import manifest as manifest_format
from safebackup.format import pack as pack_format
from safebackup.format.chunking import Chunker
from safebackup.format.compressing import Codec, compress
from safebackup.format.header import FOLDER, KEY_CLASS, Kind, digest_of, object_name, parse_header, require_digest
from safebackup.format.ids import ChunkIds, subkey
from safebackup.format.index import IndexTable, build_index, by_chunk, unpack_block
from safebackup.format.keyslots import unwrap_secrets, wrap_secrets, wrapping_key
from safebackup.format.manifest import (
    Entry,
    EntryKind,
    EvidenceSegment,
    NodeRef,
    PathHash,
    Segment,
    path_key,
    time_to_stored,
)
from safebackup.format.objects import Identity, StoredObject, build_record, decode, encode, read_table
from safebackup.format.pack import EncodedFrame, PackBuilder, open_frame, places_of, read_pack_table
from safebackup.format.records import (
    CatalogueBody,
    Configuration,
    DeathBody,
    DoomBody,
    FindingRow,
    FoundingBody,
    IntentBody,
    JournalBody,
    KeySlot,
    Secrets,
    SnapshotBody,
    TreeRef,
)
from safebackup.format.sealing import Keyring
from tests import independent_reader

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "format.md"
GOLDEN = Path(__file__).parent / "golden" / "plain-1"
_FENCE = re.compile(r"```(\w+) (name|of)=([\w-]+)\n(.*?)```", re.DOTALL)

REPOSITORY = bytes(range(16))
IDENTITY_KEY = bytes(range(0x20, 0x40))
SALT = b"\x5a" * 32
CLASSES = {1: {"data": b"\xd1" * 32, "metadata": b"\xd2" * 32, "index": b"\xd3" * 32, "status": b"\xd4" * 32}}
PLAIN = Identity(REPOSITORY, Keyring(identity=IDENTITY_KEY, chunker_seed=0, classes={}))
SEALED = Identity(REPOSITORY, Keyring(identity=IDENTITY_KEY, chunker_seed=0, classes=CLASSES))
PASSPHRASE = b"correct horse"
TIME = 1_798_761_600_000_000_000
IDS = ChunkIds.of(IDENTITY_KEY)
RUN = bytes.fromhex("f0" * 16)


# What the examples are


def _tree(content: bytes, level: int = 1) -> TreeRef:
    return TreeRef(level, IDS.metadata(content), len(content))


def _named(kind: Kind, what: str) -> str:
    tier = 0 if kind is not Kind.INDEX else 1
    return object_name(kind, digest_of(what.encode()), tier=tier)


def _configuration() -> Configuration:
    return Configuration(
        founding=True,
        created=TIME,
        sealed=False,
        software="safebackup 0.1.0",
        chunker="fastcdc-2020-nc1",
        chunk_bytes=(1 << 18, 1 << 20, 1 << 22),
        features_write=("intents",),
        features_delete=("intents",),
        identity=IDENTITY_KEY,
        chunker_seed=0x0123456789AB,
    )


def _configuration_object() -> StoredObject:
    return build_record(PLAIN, Kind.CONFIGURATION, _configuration(), salt=SALT)


def _founding() -> FoundingBody:
    return FoundingBody(round=0, phase=2, committed=True, configuration=bytes(_configuration_object().data))


def _key_slot() -> KeySlot:
    cost = (1 << 14, 8, 1)
    key = wrapping_key(PASSPHRASE, "scrypt", salt=SALT, cost=cost, name="example")
    secrets = Secrets(
        configuration=_named(Kind.CONFIGURATION, "example"), identity=IDENTITY_KEY, chunker_seed=1, classes=CLASSES
    )
    sealed = wrap_secrets(secrets, key, repository=REPOSITORY)
    return KeySlot(epoch=1, method="scrypt", created=TIME, label="", salt=SALT, cost=cost, sealed=sealed)


def _frames() -> list[EncodedFrame]:
    alpha, beta, xs = b"alpha", b"beta", b"x" * 100
    codec, payload = compress(xs)
    assert codec is Codec.ZSTD
    return [
        EncodedFrame(Codec.RAW, alpha + beta, 9, [IDS.data(alpha), IDS.data(beta)], [5, 4]),
        EncodedFrame(codec, payload, 100, [IDS.data(xs)], [100]),
    ]


def _pack(identity: Identity) -> StoredObject:
    builder = PackBuilder(identity, Kind.DATA_PACK, salt=SALT)
    for frame in _frames()[: 2 if identity is PLAIN else 1]:
        builder.add(frame)
    return builder.finish()


def _index() -> StoredObject:
    stored = _pack(PLAIN)
    _, table = read_pack_table(stored.data, name=stored.name, kind=Kind.DATA_PACK, identity=PLAIN)
    return build_index(
        PLAIN,
        sorted(places_of(stored.name, table), key=by_chunk),
        pack_sizes={stored.name: len(stored.data)},
        replaces=[_named(Kind.INDEX, "replaced")],
        tier=2,
        salt=SALT,
    )


def _segment() -> Segment:
    entry = (0o644, 1000, 100)
    file = IDS.data(b"alpha")
    return Segment(
        [(1000, b"ada")],
        [(100, b"")],
        [
            Entry(b"", EntryKind.DIRECTORY, 0o755, 1000, 100, TIME),
            Entry(b"a", EntryKind.FILE, *entry, TIME, 5, file, link=bytes.fromhex("1122334455667788")),
            Entry(b"b", EntryKind.FILE, *entry, -1, 1_000_004, [0, None, 1_000_000, IDS.data(b"beta"), 4]),
            Entry(b"c", EntryKind.FILE, *entry, TIME, 5, file, link=bytes.fromhex("1122334455667788")),
            Entry(b"caf\xe9", EntryKind.SYMLINK, 0o777, 1000, 100, time_to_stored(1 << 64), target=b"a"),
        ],
    )


def _extents() -> list[int | bytes | None]:
    return [0, IDS.data(b"alpha"), 5, None, 4096, IDS.data(b"beta"), 4]


def _node() -> list[NodeRef]:
    segment = encode(_segment())
    return [
        NodeRef(b"", 5, 1_000_014, IDS.metadata(segment), len(segment)),
        NodeRef(b"sub/file", 300, 123_456, IDS.metadata(b"another segment"), 15),
    ]


def _avoids(*names: str) -> bytes:
    return hashlib.sha256("\n".join(sorted(names)).encode()).digest()


def _snapshot() -> SnapshotBody:
    return SnapshotBody(
        run=RUN,
        sequence=2,
        parents=(_named(Kind.SNAPSHOT, "parent"),),
        source="orders",
        host="db1.example",
        roots=((b"", b"/srv/orders"),),
        started=TIME,
        finished=TIME + 1,
        zone="Africa/Lagos",
        order="components",
        manifest=_tree(encode(_node())),
        evidence=_tree(b"a node of evidence"),
        evidence_kind="inode",
        entries=305,
        files=303,
        content_bytes=1_123_470,
        complete=True,
        excluded={"*.tmp": 2},
        findings=(FindingRow("path-torn", "warning", '"b" kept changing while it was read', "b"),),
        findings_total=1,
        avoids=_avoids(_named(Kind.DOOM, "a doom"), _named(Kind.DATA_PACK, "a pack")),
        heads=(_named(Kind.JOURNAL, "head"),),
        configurations=(_configuration_object().name,),
        software="safebackup 0.1.0",
    )


def _journal() -> JournalBody:
    return JournalBody(
        run=RUN,
        kind="verification",
        outcome="passed",
        started=TIME,
        finished=TIME + 1,
        host="db1.example",
        heads=(_named(Kind.JOURNAL, "head"),),
        snapshots=(_named(Kind.SNAPSHOT, "parent"),),
        facts={"level": "full", "findings": 0},
        software="safebackup 0.1.0",
    )


def _catalogue() -> CatalogueBody:
    copy = msgspec.Raw(encode(_journal()))
    return CatalogueBody(tier=0, replaces=(), snapshots={}, journal={_named(Kind.JOURNAL, "catalogued"): copy})


@attrs.frozen
class Example:
    """One example of the page: its bytes, and how each reader decodes them to the same plain value."""

    build: Callable[[], bytes]
    ours: Callable[[bytes], object]
    theirs: Callable[[bytes], object]


def _record(kind: Kind, body: Callable[[], object], identity: Identity = PLAIN, *, tier: int = 0) -> Example:
    def ours(data: bytes) -> object:
        name = object_name(kind, digest_of(data), tier=tier)
        require_digest(name, data)
        found, _, table = read_table(data, type(body()), name=name, kind=kind, identity=identity)
        shown = {"name": name, "header": _shown_header(found), "table": _builtins(table)}
        return shown | ({"secrets": _our_secrets(table)} if isinstance(table, KeySlot) else {})

    def theirs(data: bytes) -> object:
        found = independent_reader.read_header(data)
        table = independent_reader.read_table(data, found, _their_key(found))
        shown = {"name": _their_name(data, found, tier), "header": _shown_header(found), "table": table}
        if kind is Kind.KEY_SLOT:
            shown["secrets"] = independent_reader.unlock(table, PASSPHRASE, "scrypt", REPOSITORY)
        return shown

    return Example(lambda: bytes(build_record(identity, kind, body(), salt=SALT, tier=tier).data), ours, theirs)


def _content(body: Callable[[], object], shape: Any) -> Example:
    """A metadata chunk: MessagePack alone."""
    return Example(
        lambda: encode(body()),
        lambda data: _builtins(decode(data, shape, name="example")),
        independent_reader.unpack,
    )


def _pack_example(identity: Identity) -> Example:
    def ours(data: bytes) -> object:
        name = object_name(Kind.DATA_PACK, digest_of(data))
        seal, table = read_pack_table(data, name=name, kind=Kind.DATA_PACK, identity=identity)
        frames = {
            place.ordinal: bytes(open_frame(seal, data[place.offset : place.offset + place.stored_bytes], place))
            for _, place in places_of(name, table)
        }
        return {
            "name": name,
            "header": _shown_header(seal.header),
            "frames": list(frames.values()),
            "table": _builtins(table),
        }

    def theirs(data: bytes) -> object:
        found = independent_reader.read_header(data)
        name, key = _their_name(data, found), _their_key(found)
        table = independent_reader.read_table(data, found, key)
        frames = {
            place.ordinal: independent_reader.open_frame(data, found, key, place)
            for _, place in independent_reader.pack_places(name, found, table)
        }
        return {"name": name, "header": _shown_header(found), "frames": list(frames.values()), "table": table}

    return Example(lambda: bytes(_pack(identity).data), ours, theirs)


def _our_index(data: bytes) -> object:
    name = object_name(Kind.INDEX, digest_of(data), tier=2)
    found, seal, table = read_table(data, IndexTable, name=name, kind=Kind.INDEX, identity=PLAIN)
    block = seal.open(data[header.HEADER_BYTES : found.table_offset], 1, name=name)
    entries = [[chunk_id, *place] for chunk_id, place in unpack_block(block, table.packs, name=name)]
    return {"name": name, "header": _shown_header(found), "entries": entries, "table": _builtins(table)}


def _their_index(data: bytes) -> object:
    found = independent_reader.read_header(data)
    table = independent_reader.read_table(data, found, None)
    entries = [[chunk_id, *place] for chunk_id, place in independent_reader.index_places(data, found, None, table)]
    return {"name": _their_name(data, found, 2), "header": _shown_header(found), "entries": entries, "table": table}


def _shown_header(found: header.Header | independent_reader.Header) -> dict[str, object]:
    fields = ("kind", "wrap", "epoch", "repository", "salt", "table_offset", "table_length")
    values = {field: getattr(found, field) for field in fields}
    return values | {"kind": int(values["kind"]), "wrap": int(values["wrap"])}


def _their_name(data: bytes, found: independent_reader.Header, tier: int = 0) -> str:
    folder = next(folder for folder, (kind, _) in independent_reader.KINDS.items() if kind == found.kind)
    digest = hashlib.sha256(data).hexdigest()
    between = {"data": f"{digest[:2]}/", "metadata": f"{digest[:2]}/"}
    between |= dict.fromkeys(("index", "catalogues", "founding"), f"{tier}/")
    return f"{folder}/{between.get(folder, '')}{digest}"


def _their_key(found: independent_reader.Header) -> bytes | None:
    key_class = next(key_class for kind, key_class in independent_reader.KINDS.values() if kind == found.kind)
    return CLASSES.get(found.epoch, {}).get(key_class) if found.wrap and key_class else None


def _our_secrets(slot: KeySlot) -> object:
    key = wrapping_key(PASSPHRASE, slot.method, salt=slot.salt, cost=slot.cost, name="example")
    return _builtins(unwrap_secrets(slot, key, repository=REPOSITORY, name="example"))


EXAMPLES: dict[str, Example] = {
    "configuration": _record(Kind.CONFIGURATION, _configuration),
    "founding": _record(Kind.FOUNDING, _founding),
    "key-slot": _record(Kind.KEY_SLOT, _key_slot),
    "pack": _pack_example(PLAIN),
    "pack-sealed": _pack_example(SEALED),
    "index": Example(lambda: bytes(_index().data), _our_index, _their_index),
    "segment": _content(_segment, Segment),
    "evidence": _content(
        lambda: EvidenceSegment([TIME, TIME, TIME, TIME, time_to_stored(-(1 << 70))], [2, 3, 4, 3, 5], [4]),
        EvidenceSegment,
    ),
    "node": _content(_node, list[NodeRef]),
    "extents": _content(_extents, list[int | bytes | None]),
    "snapshot-plain": _record(Kind.SNAPSHOT, _snapshot),
    "snapshot-sealed": _record(Kind.SNAPSHOT, _snapshot, SEALED),
    "intent": _record(
        Kind.INTENT,
        lambda: IntentBody(
            run=RUN,
            manifest=_snapshot().manifest,
            evidence=_tree(b"a node of evidence"),
            created=TIME,
            host="db1.example",
        ),
    ),
    "doom": _record(Kind.DOOM, lambda: DoomBody(packs=(_named(Kind.DATA_PACK, "one"),), created=TIME)),
    "death": _record(Kind.DEATH, lambda: DeathBody(run=RUN, final=False, created=TIME)),
    "journal": _record(Kind.JOURNAL, _journal),
    "catalogue": _record(Kind.CATALOGUE, _catalogue),
    "header": Example(
        lambda: bytes(build_record(SEALED, Kind.SNAPSHOT, _snapshot(), salt=SALT).data[: header.HEADER_BYTES]),
        lambda data: _shown_header(parse_header(data, name="example")),
        lambda data: _shown_header(independent_reader.read_header(data)),
    ),
}


def _builtins(value: object) -> object:
    return msgspec.msgpack.decode(encode(value), strict=True)


def _shown(value: object) -> Any:
    """A decoded value as the page's JSON shows it."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value


def _shown_ids() -> dict[str, Any]:
    ranks = {}
    for rank in range(3):
        path = next(
            path for path in (f"path-{number}" for number in range(10**6)) if IDS.path_hash.rank(path.encode()) == rank
        )
        ranks[path] = rank
    return {
        "identity": IDENTITY_KEY,
        "subkeys": {purpose: subkey(IDENTITY_KEY, purpose) for purpose in ("data", "metadata", "paths", "links")},
        "content": b"alpha",
        "data id": IDS.data(b"alpha"),
        "metadata id": IDS.metadata(b"alpha"),
        "ranks of paths": ranks,
    }


CUTS = [
    ("lcg", 3_000_000, 0, (1 << 18, 1 << 20, 1 << 22)),
    ("lcg", 10_000_001, 0x0123456789AB, (1 << 18, 1 << 20, 1 << 22)),
    ("zeros", 9_000_000, 0, (1 << 18, 1 << 20, 1 << 22)),
    ("lcg", 20_001, 7, (256, 1000, 4000)),
    ("lcg", 20_001, (1 << 48) - 1, (65, 257, 1025)),
    ("cycle", 20_000, 0, (64, 256, 1024)),
    ("cycle", 20_000, 99, (64, 256, 1024)),
]


@cache
def patterned(kind: str, size: int) -> bytes:
    """The data of the page's golden cuts."""
    if kind == "zeros":
        return bytes(size)
    if kind == "cycle":
        return bytes(number % 251 for number in range(size))
    state, data = 1, bytearray()
    for _ in range(size):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        data.append(state >> 56)
    return bytes(data)


def _cut_with_ours(kind: str, size: int, seed: int, sizes: tuple[int, int, int]) -> list[int]:
    chunker = Chunker(seed=seed, bytes_min=sizes[0], bytes_average=sizes[1], bytes_max=sizes[2])
    return [len(chunk) for chunk in chunker.cut(memoryview(patterned(kind, size)), last=True)]


def _shown_cuts() -> list[dict[str, Any]]:
    return [
        {
            "data": kind,
            "bytes": size,
            "seed": seed,
            "sizes": list(sizes),
            "cuts": _cut_with_ours(kind, size, seed, sizes),
        }
        for kind, size, seed, sizes in CUTS
    ]


def _shown_tree() -> str:
    rows = sorted(
        (path.relative_to(GOLDEN).as_posix(), path.stat().st_size) for path in GOLDEN.rglob("*") if path.is_file()
    )
    return "".join(f"{size:>7}  {name}\n" for name, size in rows)


# What the page says


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


@cache
def _fences() -> dict[tuple[str, str], str]:
    return {(language, name): body for language, _, name, body in _FENCE.findall(_page())}


def _hex(name: str) -> bytes:
    return bytes.fromhex(_fences()["hex", name])


def _json(name: str) -> Any:
    return json.loads(_fences()["json", name])


def _python(name: str) -> Any:
    """What the page's Python calls `name`."""
    namespace: dict[str, Any] = {}
    for source in re.findall(r"```python\n(.*?)```", _page(), re.DOTALL):
        exec(compile(source, str(PAGE), "exec"), namespace)
    return namespace[name]


def _table(marker: str) -> Iterator[list[str]]:
    """The rows of the table behind a comment, without its head."""
    part = _page().split(f"<!-- {marker} -->\n\n", 1)[1].split("\n\n", 1)[0]
    for line in part.splitlines()[2:]:
        yield [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def _quantity(text: str) -> object:
    """A number as the page writes it."""
    if "," in text and " " in text:
        return tuple(int(part) for part in text.split(", "))
    number, _, unit = text.replace(",", "").partition(" ")
    return int(number) * {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]


def test_the_page_has_every_example_and_no_other() -> None:
    assert {name for language, name in _fences() if language == "hex"} == set(EXAMPLES)
    assert {name for language, name in _fences() if language == "json"} == {*EXAMPLES, "ids", "cuts"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_reader_decodes_the_examples_to_what_the_page_says(name: str) -> None:
    assert _shown(EXAMPLES[name].ours(_hex(name))) == _json(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_independent_reader_decodes_the_examples_to_what_the_page_says(name: str) -> None:
    assert _shown(EXAMPLES[name].theirs(_hex(name))) == _json(name)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"header"}))
def test_what_is_written_today_is_what_the_page_shows(name: str) -> None:
    example = EXAMPLES[name]
    written, shown = _shown(example.ours(example.build())), _json(name)
    # Another release of zstd may compress to another length: only then names and lengths differ.
    if example.build() == _hex(name):
        assert written == shown
    else:
        assert _without_lengths(written) == _without_lengths(shown)


def _without_lengths(shown: Any) -> Any:
    if not isinstance(shown, dict):
        return shown
    kept = {key: value for key, value in shown.items() if key not in ("name", "table_length", "table_offset")}
    return {key: _without_lengths(value) for key, value in kept.items() if key != "table" or "frames" not in shown}


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"header", "segment", "evidence", "node", "extents"}))
def test_both_readers_refuse_an_example_with_a_flipped_bit_even_under_the_name_that_fits(name: str) -> None:
    for position in range(0, len(_hex(name)) * 8, 37):
        data = bytearray(_hex(name))
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(independent_reader.FormatError):
            EXAMPLES[name].theirs(bytes(data))
        with pytest.raises(SafeBackupError):
            EXAMPLES[name].ours(bytes(data))


def test_the_ids_and_ranks_of_the_page() -> None:
    assert _shown(_shown_ids()) == _json("ids")
    paths_key = bytes.fromhex(_json("ids")["subkeys"]["paths"].removeprefix("hex:"))
    for path, rank in _json("ids")["ranks of paths"].items():
        assert PathHash(paths_key).rank(path.encode()) == rank == _python("rank")(path.encode(), paths_key)


def test_the_ranks_of_the_page_are_ours_for_many_paths() -> None:
    rank, mine = _python("rank"), PathHash(IDS.path_hash.key)
    paths = [b"%d/%d" % (number, number * 7) for number in range(50_000)]
    ranks = [mine.rank(path) for path in paths]
    assert ranks == [rank(path, IDS.path_hash.key) for path in paths]
    assert {0, 1, 2} <= set(ranks)


def test_the_order_of_the_page_is_ours() -> None:
    paths = [b"", b"a", b"a/b", b"a/b/c", b"a-b", b"a b", b"a.b", b"a\x01", b"ab", b"\xff/x", b"\xff"]
    assert sorted(paths, key=_python("path_key")) == sorted(paths, key=path_key)
    assert sorted(paths, key=path_key) == sorted(paths, key=lambda path: path.split(b"/") if path else [])


@pytest.mark.parametrize("row", CUTS, ids=[f"{kind}-{size}-{seed}" for kind, size, seed, _ in CUTS])
def test_the_golden_cuts_are_ours(row: tuple[str, int, int, tuple[int, int, int]]) -> None:
    shown = next(one for one in _json("cuts") if (one["data"], one["bytes"], one["seed"]) == row[:3])
    assert tuple(shown["sizes"]) == row[3]
    assert _cut_with_ours(*row) == shown["cuts"]


@pytest.mark.parametrize("row", [row for row in CUTS if row[1] < 5_000_000], ids=str)
def test_the_listing_of_the_page_makes_the_golden_cuts(row: tuple[str, int, int, tuple[int, int, int]]) -> None:
    kind, size, seed, sizes = row
    data, cuts = memoryview(patterned(kind, size)), []
    next_cut = _python("next_cut")
    while data:
        cuts.append(next_cut(data, seed, *sizes))
        data = data[cuts[-1] :]
    assert cuts == _cut_with_ours(*row)


def test_the_tree_of_the_page_is_a_golden_repository() -> None:
    assert _fences()["text", "tree"] == _shown_tree()


def test_the_kinds_of_the_page_are_ours() -> None:
    shown = {int(number): (name, folder, key) for number, name, folder, key in _table("table: kinds")}
    assert shown == {
        int(kind): (kind.name.lower().replace("_", " "), FOLDER[kind], str(KEY_CLASS[kind])) for kind in Kind
    }


def test_the_header_of_the_page_is_ours() -> None:
    places = {name: (int(offset), int(size)) for offset, size, name, _ in _table("table: header")}
    data = header.Header(
        kind=Kind.DEATH,
        wrap=header.KeyWrap.EPOCH,
        epoch=0x01020304,
        repository=b"r" * 16,
        salt=b"s" * 32,
        table_offset=0x1112131415161718,
        table_length=0x2122232425262728,
    ).to_bytes()
    fields = {name: data[offset : offset + size] for name, (offset, size) in places.items()}
    assert fields == {
        "magic": header.MAGIC,
        "version": b"\x01",
        "kind": b"\x09",
        "key wrap": b"\x01",
        "flags": b"\0",
        "wrapped key bytes": b"\0\0",
        "signature bytes": b"\0\0",
        "epoch": b"\x01\x02\x03\x04",
        "reserved": b"\0" * 4,
        "repository": b"r" * 16,
        "salt": b"s" * 32,
        "table offset": bytes(range(0x11, 0x19)),
        "table length": bytes(range(0x21, 0x29)),
    }
    assert sum(size for _, size in places.values()) == len(data) == header.HEADER_BYTES
    assert f"`{header.MAGIC.hex(' ')}`" in _page()


@pytest.mark.parametrize("name", re.findall(r"<!-- fields: (\w+) -->", PAGE.read_text(encoding="utf-8")))
def test_the_fields_of_the_page_are_ours(name: str) -> None:
    shape = next(
        getattr(module, name)
        for module in (records, manifest_format, index_format, pack_format)
        if hasattr(module, name)
    )
    assert [row[0] for row in _table(f"fields: {name}")] == list(shape.__struct_fields__)


def test_the_page_has_the_fields_of_every_body() -> None:
    shapes = {
        name
        for module in (records, manifest_format, index_format, pack_format)
        for name, shape in vars(module).items()
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct) and shape is not msgspec.Struct
    }
    assert shapes == set(re.findall(r"<!-- fields: (\w+) -->", _page()))


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in _table("table: constants")])
def test_the_constants_of_the_page_are_ours(row: list[str]) -> None:
    name, value, module = row
    assert getattr(importlib.import_module(f"safebackup.{module}"), name) == _quantity(value)


def test_constants_in_the_text_are_those_of_the_table() -> None:
    constants = {name: _quantity(value) for name, value, _ in _table("table: constants")}
    mentioned = re.findall(r"`([A-Z][A-Z_]+)` \(([^)]+)\)", " ".join(_page().split()))
    assert len(mentioned) > 15
    assert {(name, _quantity(value)) for name, value in mentioned} <= set(constants.items())


def test_entry_kinds_and_methods_of_the_page_are_ours() -> None:
    kinds = ", ".join(f"{int(kind)} {kind.name.lower().replace('_', ' ')}" for kind in EntryKind)
    assert kinds.replace("symlink", "symbolic link") in _page()
    for text in (
        "safebackup 1 object",
        "safebackup 1 key file",
        "safebackup 1 slot",
        "safebackup 1 ",
        "fastcdc-2020-nc1",
    ):
        assert f'"{text}"' in _page()


def _value_of(name: str) -> object:
    """What the page's JSON of this name says."""
    if name == "cuts":
        return _shown_cuts()
    return _shown_ids() if name == "ids" else EXAMPLES[name].ours(EXAMPLES[name].build())


def write_page() -> None:
    """Fill the page's examples with what the code makes of them."""

    def filled(match: re.Match[str]) -> str:
        language, word, name, _ = match.groups()
        if name == "tree":
            body = _shown_tree()
        elif language == "hex":
            body = "\n".join(re.findall(".{1,64}", EXAMPLES[name].build().hex())) + "\n"
        else:
            body = _compact(_shown(_value_of(name))) + "\n"
        return f"```{language} {word}={name}\n{body}```"

    PAGE.write_text(_FENCE.sub(filled, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _compact(value: Any, indent: str = "") -> str:
    """JSON that opens only what would not fit on a line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) <= 110 or not isinstance(value, dict | list) or not value:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        rows = [
            f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_compact(item, deeper)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if all(isinstance(item, int) for item in value):
        return line
    return "[\n" + ",\n".join(f"{deeper}{_compact(item, deeper)}" for item in value) + f"\n{indent}]"


if __name__ == "__main__":
    write_page()
