"""The bodies of records: configuration, key slots, snapshots, intents, dooms, deaths, journal, catalogues.

Each is a MessagePack map with text keys; readers ignore keys that they do not know, so that later releases
can add some. What a reader must not ignore is named in the configuration as a feature.
Times are integers: nanoseconds since 1970 in UTC. Names of other objects are full names in the store.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

SEQUENCE_MAX = (1 << 62) - 1


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """A record of what this repository is; all records together count (they are only ever added).

    The first one founds the repository. `features_*` name what a reader, writer or deleter must understand.
    """

    founding: bool
    created: int
    sealed: bool
    software: str
    chunker: str = ""
    chunk_bytes: tuple[int, int, int] = (0, 0, 0)  # least, average, most
    features_read: tuple[str, ...] = ()
    features_write: tuple[str, ...] = ()
    features_delete: tuple[str, ...] = ()
    identity: bytes = b""  # without a key: what keys the chunk ids
    chunker_seed: int = 0  # without a key


class FoundingBody(msgspec.Struct, frozen=True, kw_only=True):
    """A word in the agreement of those who create the same repository at the same moment.

    `tier` in the object's name is the round; in a round, proposals (phase 1) come before votes (phase 2).
    """

    round: int
    phase: int
    committed: bool  # a vote: no other proposal was in sight
    configuration: bytes  # the founding record, whole


class KeySlot(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets of a repository, wrapped under one passphrase or key file."""

    epoch: int  # the highest that it opens; bound to the seal
    method: str  # "scrypt" or "key-file"
    created: int
    label: str
    salt: bytes
    cost: tuple[int, int, int]  # scrypt's n, r, p; zeros for a key file
    sealed: bytes  # AES-256-GCM of `Secrets`; nonce zero, as each slot has a key of its own


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a key slot opens."""

    configuration: str  # the founding record that these secrets belong to
    identity: bytes
    chunker_seed: int
    classes: dict[int, dict[str, bytes]]  # epoch, then key class


class TreeRef(msgspec.Struct, frozen=True, array_like=True):
    """The root of a tree in metadata packs: how deep it is and which chunk begins it."""

    level: int
    chunk: bytes
    chunk_bytes: int


class FindingRow(msgspec.Struct, frozen=True, array_like=True):
    """A finding, kept with the snapshot or the journal record that it belongs to."""

    code: str
    severity: str
    what: str
    subject: str


class SnapshotBody(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable state of a source."""

    run: bytes
    sequence: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX)]
    parents: tuple[str, ...]
    source: str
    host: str
    roots: tuple[tuple[bytes, bytes], ...]  # name in the manifest, path on the host
    started: int
    finished: int
    zone: str  # IANA name, where the schedule of the job has one
    order: str  # of the manifest: "components"
    manifest: TreeRef
    evidence: TreeRef  # the sidecar
    evidence_kind: str
    entries: int
    files: int
    content_bytes: int
    complete: bool
    excluded: dict[str, int]  # rule, number of paths
    findings: tuple[FindingRow, ...]
    findings_total: int
    # SHA-256 of the sorted names, joined by newlines, of the dooms that were seen before it was put and of the packs
    # that verifications had found damaged. Everything that it needs has a place outside of all these packs.
    avoids: bytes
    heads: tuple[str, ...]  # of the journal, as the writer saw them
    configurations: tuple[str, ...]
    software: str
    tags: tuple[str, ...] = ()


class IntentBody(msgspec.Struct, frozen=True, kw_only=True):
    """A writer's word, put before its snapshot: these trees will be needed."""

    run: bytes
    manifest: TreeRef
    evidence: TreeRef
    created: int
    host: str


class DoomBody(msgspec.Struct, frozen=True, kw_only=True):
    """A deleter's word, put before it looks for what lives: these packs will go. Permanent for the names in it."""

    packs: tuple[str, ...]
    created: int


class DeathBody(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run that never came back, in two steps: suspected, then (if no snapshot came) dead."""

    run: bytes
    final: bool
    created: int


class JournalBody(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, refused or proved, and which records its writer had seen."""

    run: bytes
    kind: str  # backup, verification, …
    outcome: str
    started: int
    finished: int
    host: str
    heads: tuple[str, ...]
    snapshots: tuple[str, ...]
    affected: tuple[str, ...] = ()  # snapshots that a verification found damaged
    damaged: tuple[str, ...] = ()  # packs; writers trust them no more
    findings: tuple[FindingRow, ...] = ()
    facts: dict[str, str | int | bool] = {}
    software: str = ""


class CatalogueBody(msgspec.Struct, frozen=True, kw_only=True):
    """Copies of snapshots and journal records, so that thousands are read with a few requests.

    Copies are kept as they were written, with what a later release may have added to them.
    """

    tier: int
    replaces: tuple[str, ...]
    snapshots: dict[str, msgspec.Raw]
    journal: dict[str, msgspec.Raw]
