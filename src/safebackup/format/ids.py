"""Chunk ids: BLAKE3 keyed with a secret of the repository (format.md, "Chunk ids").

Data and metadata have different keys, so that no file's content can ever stand for a piece of a manifest.
"""

from __future__ import annotations

import attrs
from blake3 import blake3

from safebackup.format.header import Kind
from safebackup.format.manifest import PathHash
from safebackup.format.sealing import Buffer

ID_BYTES = 32


def subkey(identity: bytes, purpose: str) -> bytes:
    """A key of its own for one purpose."""
    return blake3(b"safebackup 1 " + purpose.encode(), key=identity).digest()


@attrs.frozen
class ChunkIds:
    """Names chunks by their content."""

    data_key: bytes = attrs.field(repr=False)
    metadata_key: bytes = attrs.field(repr=False)
    path_hash: PathHash = attrs.field(repr=False)
    link_key: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, identity: bytes) -> ChunkIds:
        """The ids of the repository with this identity key."""
        return cls(
            subkey(identity, "data"),
            subkey(identity, "metadata"),
            PathHash(subkey(identity, "paths")),
            subkey(identity, "links"),
        )

    def data(self, content: Buffer) -> bytes:
        """The id of a piece of a file."""
        return blake3(content, key=self.data_key).digest()

    def metadata(self, content: Buffer) -> bytes:
        """The id of a piece of a manifest."""
        return blake3(content, key=self.metadata_key).digest()

    def of_kind(self, kind: Kind, content: Buffer) -> bytes:
        """The id of a chunk that lies in a pack of this kind."""
        return self.metadata(content) if kind is Kind.METADATA_PACK else self.data(content)
