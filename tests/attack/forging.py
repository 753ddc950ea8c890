"""What somebody who holds the key can write by hand: manifests, records and objects as no release makes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from safebackup import Repository
from safebackup.format.header import HEADER_BYTES, Header, Kind, digest_of, object_name
from safebackup.format.manifest import Entry, EntryKind, EvidenceSegment, NodeRef, Segment
from safebackup.format.objects import build_object, build_record, encode, make_header
from safebackup.format.records import SnapshotBody, TreeRef
from safebackup.format.sealing import TAG_BYTES, seal_for
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.writing import Writer

ROOT = Entry(path=b"", kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, mtime=1)
Put = Callable[[bytes], bytes]


def file(path: bytes, **fields: object) -> Entry:
    """An empty file; `fields` say what is different about it."""
    plain = Entry(path=path, kind=EntryKind.FILE, mode=0o644, uid=os.getuid(), gid=os.getgid(), mtime=1)
    return msgspec.structs.replace(plain, **fields)


def directory(path: bytes) -> Entry:
    return file(path, kind=EntryKind.DIRECTORY, mode=0o755)


def symlink(path: bytes, target: bytes) -> Entry:
    return file(path, kind=EntryKind.SYMLINK, target=target)


def raw(bodies: Mapping[str, object]) -> dict[str, msgspec.Raw]:
    """Records in the form in which a catalogue copies them."""
    return {name: body if isinstance(body, msgspec.Raw) else msgspec.Raw(encode(body)) for name, body in bodies.items()}


@attrs.frozen(kw_only=True)
class Tree:
    """A forged manifest with its evidence."""

    manifest: TreeRef
    evidence: TreeRef
    entries: int
    files: int
    content_bytes: int


@attrs.define
class Forger:
    """Writes into one repository whatever it is told."""

    repository: Repository
    _writer: Writer | None = None

    @property
    def writer(self) -> Writer:
        """Stores single chunks; `flush` makes them durable."""
        if self._writer is None:
            repository = self.repository
            index = ChunkIndex(repository.store, repository.identity)
            self._writer = Writer(repository.store, repository.identity, index, repository.runtime)
        return self._writer

    def flush(self) -> None:
        """Make all chunks durable, with an index of them."""
        self.writer.flush()
        self.writer.close()
        self._writer = None

    def metadata(self, body: object) -> tuple[bytes, int]:
        """A chunk of a manifest; its id and length."""
        data = body if isinstance(body, bytes) else encode(body)
        return self.writer.put_metadata(data), len(data)

    def data(self, content: bytes) -> bytes:
        return self.writer.put_data(content)

    def node(self, refs: Sequence[NodeRef], level: int = 1) -> TreeRef:
        return TreeRef(level, *self.metadata(list(refs)))

    def segment_ref(self, entries: Sequence[Entry], /, **lies: object) -> NodeRef:
        first = entries[0].path if entries else b""
        size = sum(entry.size for entry in entries) % (1 << 63)
        ref = NodeRef(first, len(entries), size, *self.metadata(Segment([], [], list(entries))))
        return msgspec.structs.replace(ref, **lies)

    def evidence_ref(self, entries: Sequence[Entry]) -> NodeRef:
        count = len(entries)
        body = EvidenceSegment([1] * count, [1] * count, [])
        return NodeRef(entries[0].path if entries else b"", count, 0, *self.metadata(body))

    def tree(self, entries: Sequence[Entry], /, **lies: object) -> Tree:
        """One segment below one node; `lies` are told by the node."""
        return Tree(
            manifest=self.node([self.segment_ref(entries, **lies)]),
            evidence=self.node([self.evidence_ref(entries)]),
            entries=len(entries),
            files=sum(entry.kind == EntryKind.FILE for entry in entries),
            content_bytes=sum(entry.size for entry in entries) % (1 << 63),
        )

    def publish(self, tree: Tree, honest: SnapshotBody, **lies: object) -> str:
        """A snapshot like the `honest` one, of this tree; its name."""
        self.flush()
        facts: Mapping[str, object] = {**attrs.asdict(tree, recurse=False), "sequence": honest.sequence + 1, **lies}
        return self.record(Kind.SNAPSHOT, msgspec.structs.replace(honest, **facts))

    def record(self, kind: Kind, body: object, *, tier: int = 0) -> str:
        record = build_record(self.repository.identity, kind, body, salt=os.urandom(32), tier=tier)
        return self.put(record.data, kind, tier=tier)

    def frames(self, kind: Kind, table: object, frames: Sequence[bytes] = (), *, tier: int = 0) -> str:
        """An object of any table and frames, sealed as it should be."""
        made = build_object(self.repository.identity, kind, salt=os.urandom(32), frames=frames, table=table, tier=tier)
        return self.put(made.data, kind, tier=tier)

    def raw_table(self, kind: Kind, packed: bytes) -> str:
        """A record whose table is these bytes, whatever they decompress to."""
        identity = self.repository.identity
        header = make_header(
            identity, kind, salt=os.urandom(32), table_offset=HEADER_BYTES, table_length=len(packed) + TAG_BYTES
        )
        data = bytearray(HEADER_BYTES + header.table_length)
        data[:HEADER_BYTES] = header.to_bytes()
        seal_for(header, identity.keyring, name="forged").seal_into(memoryview(data)[HEADER_BYTES:], packed, 0)
        return self.put(data, kind)

    def lying_header(self, kind: Kind, **lies: Any) -> str:
        """An object that is nothing but a header."""
        header: Header = make_header(
            self.repository.identity, kind, salt=os.urandom(32), table_offset=HEADER_BYTES, table_length=100
        )
        return self.put(attrs.evolve(header, **lies).to_bytes() + bytes(200), kind)

    def put(self, data: bytes | bytearray | memoryview, kind: Kind, *, tier: int = 0) -> str:
        """Store bytes under the name that they have as an object of this kind."""
        name = object_name(kind, digest_of(data), tier=tier)
        self.repository.store.put_new(name, bytes(data))
        return name
