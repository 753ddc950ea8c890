"""Repository: the handle on a whole store, and the snapshots in it.

It is small on purpose: the verbs (`back_up`, `restore`, `verify`) are functions over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import attrs

from safebackup.emergency import ensure_emergency, noted
from safebackup.errors import (
    Code,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    StorageError,
)
from safebackup.events import logger
from safebackup.format.chunking import CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FASTCDC, Chunker
from safebackup.format.header import Kind, digest_of, object_name, parse_header
from safebackup.format.manifest import Entry
from safebackup.format.objects import Identity, StoredObject, build_record
from safebackup.format.records import Configuration, SnapshotBody
from safebackup.format.sealing import Keyring
from safebackup.instants import Instant, from_nanoseconds
from safebackup.remotes import is_remote
from safebackup.repository.configuring import INTENTS, Configurations, read_configurations
from safebackup.repository.founding import agree
from safebackup.repository.founding_place import refuse_another_around, refuse_other_things
from safebackup.repository.history import History, read_history
from safebackup.repository.indexing import ChunkIndex
from safebackup.repository.keys import NO_KEYS, Key, build_slot, keyring_of, new_secrets, require_key, unlock
from safebackup.repository.manifests import Manifests
from safebackup.repository.reading import ChunkReader
from safebackup.repository.runtime import SOFTWARE, Runtime
from safebackup.repository.selecting import not_in_snapshot, path_in_snapshot
from safebackup.repository.standings import Standing, judge
from safebackup.storage import AppendStore, open_store

ID_CHARACTERS_MIN = 4


@attrs.frozen(kw_only=True)
class Repository:
    """A place that holds snapshots. Make one with `create`, reach it with `open`.

    Two handles are equal if they are on the same repository. A handle holds keys: it is not pickled.
    """

    url: str
    id: str
    store: AppendStore = attrs.field(repr=False, eq=False)
    configurations: Configurations = attrs.field(repr=False, eq=False)
    keyring: Keyring = attrs.field(repr=False, eq=False)
    runtime: Runtime = attrs.field(repr=False, eq=False)

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        *,
        key: Key | None,
        storage_options: Mapping[str, object] | None = None,
        allow_unproven_store: bool = False,
        runtime: Runtime | None = None,
    ) -> Repository:
        """Found a repository at `url`; `key=None` is a choice: nothing in it is encrypted.

        Of many who create the same one at the same moment exactly one succeeds. `storage_options` go to fsspec's class
        for the URL, and nowhere else. A kind of store that is not proven is refused, unless `allow_unproven_store`:
        then all that is written is read back.

        Raises:
            ConflictError: a repository is there already, or somebody else was first. Open it.
            RefusedError: other things are there, or it lies in another repository.
            ConfigurationError: the URL or the key is none.
        """
        key = require_key(key)
        if key is not None:
            key.material()  # a key that cannot be read leaves nothing behind
        if not (isinstance(url, str) and is_remote(url)):
            refuse_another_around(open_store(url))  # before a folder is made there
        store = open_store(url, create=True, storage_options=storage_options, allow_unproven=allow_unproven_store)
        repository = found(store, key=key, runtime=runtime or Runtime())
        with noted("the repository is there"):
            ensure_emergency(store)
        return repository

    @classmethod
    def open(
        cls,
        url: str | os.PathLike[str],
        *,
        key: Key | None,
        storage_options: Mapping[str, object] | None = None,
        allow_unproven_store: bool = False,
        runtime: Runtime | None = None,
    ) -> Repository:
        """Reach the repository at `url`. Costs a listing, a few reads and, with a passphrase, about 0.15 s.

        Raises:
            NotFoundError: there is none; the error says how to create it.
            AccessError: the key does not fit.
            ConfigurationError: a key is missing or not wanted, or a newer release is needed.
        """
        key = require_key(key)
        store = open_store(url, storage_options=storage_options, allow_unproven=allow_unproven_store)
        return attach(store, key=key, runtime=runtime or Runtime())

    @property
    def identity(self) -> Identity:
        """What its objects are stamped with."""
        return Identity(bytes.fromhex(self.id), self.keyring)

    @property
    def chunker(self) -> Chunker:
        """Where its large files are cut."""
        founding = self.configurations.founding
        least, average, most = founding.chunk_bytes
        sizes_fit = 256 <= least <= average <= most <= CHUNK_BYTES_MAX
        if founding.chunker != FASTCDC or not sizes_fit or not 0 <= self.keyring.chunker_seed < 1 << 63:
            raise IntegrityError(
                f"the chunker of {self.url} is {founding.chunker} at {founding.chunk_bytes} bytes",
                hint="Somebody made this repository by hand. It can be read; make backups into a new one.",
            )
        return Chunker(seed=self.keyring.chunker_seed, bytes_min=least, bytes_average=average, bytes_max=most)

    def history(self) -> History:
        """All its records as they are now."""
        return read_history(self.store, self.identity)

    def reader(self) -> ChunkReader:
        """A reader over its indexes as they are now."""
        return ChunkReader(self.store, self.identity, ChunkIndex(self.store, self.identity))

    def snapshots(self, *, source: str | None = None) -> list[Snapshot]:
        """Its snapshots, oldest first; of one source, if given.

        One that is lost or cannot be read is left out, and logged; `verify` makes findings of them.
        """
        return self.snapshots_of(self.history(), source=source)

    def snapshots_of(self, history: History, *, source: str | None = None) -> list[Snapshot]:
        """The same of a history that was read before."""
        return [one for one in self._snapshots(history) if source is None or one.source == source]

    def _snapshots(self, history: History) -> list[Snapshot]:
        for name, problem in history.problems.items():
            logger.warning("%s is left out: %s", name, problem)
        for name in sorted(history.lost_snapshots):
            logger.warning("%s is gone: it was published, and was not removed by plan", name)
        snapshots = [bind(self, name, body, history) for name, body in history.snapshots.items()]
        return sorted(snapshots, key=lambda snapshot: (snapshot.sequence, snapshot.id))

    def snapshot(self, id: str = "latest", *, source: str | None = None) -> Snapshot:
        """The newest snapshot, or the one whose id begins so, with four characters at least.

        Raises:
            NotFoundError: there is none, or more than one.
            ConfigurationError: "latest" is asked for, and there are snapshots that this key does not open.
            IntegrityError: "latest" is asked for, and one that may be newer is damaged or gone
                (`Code.BROKEN_HISTORY`); the error names the newest that can be read.
        """
        text: object = id
        if not isinstance(text, str) or not text:
            raise ConfigurationError(f"{id!r} is no snapshot id", hint='Give the beginning of an id, or "latest".')
        if len(text) < ID_CHARACTERS_MIN:
            raise ConfigurationError(
                f"{id!r} is too short for the beginning of a snapshot id: it may fit by chance",
                hint=f"Give at least {ID_CHARACTERS_MIN} characters of it.",
            )
        history = self.history()
        newer = next((one for one in history.problems.values() if one.code is Code.KEY_REQUIRED), None)
        if id == "latest" and newer is not None:
            raise newer  # what this key opens is not the newest
        every = self._snapshots(history)
        snapshots = [one for one in every if source is None or one.source == source]
        found = snapshots[-1:] if id == "latest" else [one for one in snapshots if one.id.startswith(id.lower())]
        if id == "latest" or not every:
            self._require_newest(history, found[0] if found else None, source)
        if len(found) == 1:
            return found[0]
        if not every:
            raise NotFoundError(
                f"there is no snapshot in {self.url} yet", code=Code.NO_SNAPSHOT, hint="Make one with back_up(…)."
            )
        if not snapshots:
            raise NotFoundError(
                f"there is no snapshot of a source {source!r} in {self.url}",
                code=Code.NO_SNAPSHOT,
                hint=f"The sources there are: {', '.join(sorted({repr(one.source) for one in every}))}.",
            )
        raise NotFoundError(
            f"{len(found)} of {len(snapshots)} snapshots in {self.url} match {id!r}",
            code=Code.NO_SNAPSHOT,
            hint=f"The newest, newest first: {', '.join(one.id[:12] for one in snapshots[:-6:-1])}.",
        )

    def _require_newest(self, history: History, found: Snapshot | None, source: str | None) -> None:
        lost = history.perhaps_newer(found.body if found is not None else None, source=source)
        if not lost:
            return
        for problem in (history.problems.get(name) for name in lost):
            if isinstance(problem, ConfigurationError):
                raise problem  # a newer release reads it, and only that
        names = ", ".join(name.partition("/")[2][:12] for name in lost[:5]) + (", …" if len(lost) > 5 else "")
        hint = "Bring them back from a copy of the repository"
        if found is not None:
            hint += f", or name the newest that can be read: {found.id[:12]} of {found.source!r}, made"
            hint += f" {found.finished:%Y-%m-%d %H:%M:%S} UTC"
        raise IntegrityError(
            f"the newest snapshot in {self.url} cannot be told: of those that were published, {len(lost)} cannot be "
            f"read or have been deleted ({names})",
            code=Code.BROKEN_HISTORY,
            hint=f"{hint}.",
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise ConfigurationError(
            "a repository holds keys and is not pickled",
            hint="Give the URL to the other process and open the repository there.",
        )


@attrs.frozen(kw_only=True)
class Snapshot:
    """One immutable state of a source, bound to the repository that it came from.

    `id` is the SHA-256 of its object. The handle is left out of comparison, printing and pickles.
    """

    id: str
    source: str
    host: str
    sequence: int
    started: Instant
    finished: Instant
    complete: bool
    standing: Standing
    verified_level: str  # "" while it is not verified
    suspect: bool  # a verification found it damaged, and none as deep found it whole since
    drill_failed: bool  # a drill of it failed, and none proved it since
    tags: tuple[str, ...]
    entries: int
    files: int
    content_bytes: int
    body: SnapshotBody = attrs.field(repr=False)
    repository: Repository | None = attrs.field(repr=False, eq=False, default=None)

    @property
    def name(self) -> str:
        """Its object's name in the store."""
        return f"snapshots/{self.id}"

    def require_repository(self) -> Repository:
        """The repository that it came from.

        Raises:
            ConfigurationError: it came out of a pickle and is bound to none.
        """
        if self.repository is None:
            raise ConfigurationError(
                f"snapshot {self.id[:12]} is not bound to a repository",
                hint="Ask for it anew: Repository.open(…).snapshot(id).",
            )
        return self.repository

    def walk(self, path: bytes | str | None = None) -> Iterator[Entry]:
        """Its entries in order: all, or a path and what is in it.

        Raises:
            NotFoundError: the snapshot has no such path.
            IntegrityError: a piece of its manifest is damaged.
        """
        manifests = Manifests(self.require_repository().reader())
        below = path_in_snapshot(path) if path is not None else None
        if below and manifests.find(self.body.manifest, below) is None:
            raise not_in_snapshot(below, self.id, self.body)
        for _, entries in manifests.segments(self.body.manifest, below=below):
            yield from entries

    def __getstate__(self) -> dict[str, object]:
        return {field.name: getattr(self, field.name) for field in attrs.fields(type(self)) if field.eq is not False}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in {"repository": None, **state}.items():
            object.__setattr__(self, name, value)


def found(store: AppendStore, *, key: Key | None, runtime: Runtime) -> Repository:
    """Found a repository in an open store; see `Repository.create`."""
    try:
        there = read_configurations(store)
    except NotFoundError:
        pass
    else:
        raise _exists(store, there.repository)
    refuse_other_things(store)
    repository = runtime.random(16)
    configuration, slot = _first_objects(repository, key, runtime)
    if slot is not None:
        store.put_new(slot.name, slot.data)  # before the founding record: nobody may find one without its keys
    agreed = agree(store, repository, bytes(configuration.data), runtime)
    if agreed != configuration.data:
        other = parse_header(agreed, name="the founding record").repository
        store.put_new(object_name(Kind.CONFIGURATION, digest_of(agreed)), agreed)
        raise _exists(store, other)
    store.put_new(configuration.name, configuration.data)
    return attach(store, key=key, runtime=runtime)


def _first_objects(repository: bytes, key: Key | None, runtime: Runtime) -> tuple[StoredObject, StoredObject | None]:
    founding = Configuration(
        founding=True,
        created=runtime.clock.now(),
        sealed=key is not None,
        software=SOFTWARE,
        chunker=FASTCDC,
        chunk_bytes=(CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX),
        features_write=(INTENTS,),
        features_delete=(INTENTS,),
        identity=b"" if key else runtime.random(32),
        chunker_seed=0 if key else int.from_bytes(runtime.random(6), "big"),
    )
    configuration = build_record(Identity(repository, NO_KEYS), Kind.CONFIGURATION, founding, salt=runtime.random(32))
    if key is None:
        return configuration, None
    return configuration, build_slot(repository, new_secrets(configuration.name, runtime), key, runtime)


def _exists(store: AppendStore, repository: bytes) -> ConflictError:
    return ConflictError(
        f"a repository ({repository.hex()}) is at {store.url} already",
        code=Code.REPOSITORY_EXISTS,
        hint=f"Open it: Repository.open({store.url!r}, key=…), with the key of whoever created it first, "
        "or create yours at another URL.",
    )


def attach(store: AppendStore, *, key: Key | None, runtime: Runtime) -> Repository:
    """Open a repository in an open store; see `Repository.open`."""
    try:
        configurations = read_configurations(store)
    except StorageError as error:
        if error.code is not Code.STORE_MISSING:
            raise
        raise NotFoundError(
            f"there is no repository at {store.url}: {error.message}",
            code=Code.NO_REPOSITORY,
            hint=error.hint
            if is_remote(store.url)
            else f"Is its disk mounted? To make a new repository: Repository.create({store.url!r}, key=…)",
        ) from error
    configurations.require("read")
    founding = configurations.founding
    if founding.sealed and key is None:
        raise ConfigurationError(
            f"the repository at {store.url} is sealed",
            code=Code.KEY_REQUIRED,
            hint='Give its key: key=Passphrase.from_file("…") or key=KeyFile("…").',
        )
    if not founding.sealed and key is not None:
        raise ConfigurationError(
            f"the repository at {store.url} is not encrypted, but a key was given",
            code=Code.KEY_NOT_WANTED,
            hint="If you expected it to be sealed, look whether this is the right URL; else write key=None.",
        )
    if key is None:
        if len(founding.identity) != 32:
            raise IntegrityError(f"the founding record of {store.url} has no identity key")
        keyring = Keyring(identity=founding.identity, chunker_seed=founding.chunker_seed, classes={})
    else:
        keyring = keyring_of(unlock(store, configurations.repository, key, configuration=configurations.founding_name))
    return Repository(
        url=store.url,
        id=configurations.repository.hex(),
        store=store,
        configurations=configurations,
        keyring=keyring,
        runtime=runtime,
    )


def bind(repository: Repository, name: str, body: SnapshotBody, history: History) -> Snapshot:
    """A snapshot with its standing, as the journal tells it."""
    judgement = judge(name, complete=body.complete, history=history)
    return Snapshot(
        id=name.partition("/")[2],
        source=body.source,
        host=body.host,
        sequence=body.sequence,
        started=from_nanoseconds(body.started),
        finished=from_nanoseconds(body.finished),
        complete=body.complete,
        standing=judgement.standing,
        verified_level=judgement.level,
        suspect=judgement.suspect,
        drill_failed=judgement.drill_failed,
        tags=body.tags,
        entries=body.entries,
        files=body.files,
        content_bytes=body.content_bytes,
        body=body,
        repository=repository,
    )
