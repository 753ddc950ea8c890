"""The configuration: a grow-only set of records, all of which count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from safebackup.errors import Code, ConfigurationError, ConflictError, NotFoundError
from safebackup.format.header import Kind, is_object_name, parse_header
from safebackup.format.objects import Identity, read_record
from safebackup.format.records import Configuration
from safebackup.repository.keys import NO_KEYS
from safebackup.repository.requesting import at_once
from safebackup.storage import ReadStore

INTENTS = "intents"  # writers put an intent before each snapshot, which is what makes deletion safe
KNOWN_FEATURES = frozenset({INTENTS})


@attrs.frozen
class Configurations:
    """All configuration records of one repository."""

    repository: bytes
    founding_name: str
    records: Mapping[str, Configuration]

    @property
    def founding(self) -> Configuration:
        """The record that founded the repository."""
        return self.records[self.founding_name]

    def require(self, operation: Literal["read", "write", "delete"]) -> None:
        """Check that this release understands all that an operation must.

        Raises:
            ConfigurationError: a newer release added a feature (`Code.UNKNOWN_FEATURE`).
        """
        for record in self.records.values():
            named = {"read": record.features_read, "write": record.features_write, "delete": record.features_delete}
            if unknown := set(named[operation]) - KNOWN_FEATURES:
                raise ConfigurationError(
                    f"to {operation} this repository one must understand {', '.join(sorted(unknown))}",
                    code=Code.UNKNOWN_FEATURE,
                    hint="Install the newest safebackup and run the same command again. Nothing was changed.",
                )


def read_configurations(store: ReadStore, *, known: Configurations | None = None) -> Configurations:
    """Read every configuration record. Costs a listing, and a read for each that is not `known`.

    Raises:
        NotFoundError: there is none: no repository.
        ConflictError: there are two foundings: two repositories were mixed.
    """
    records: dict[str, Configuration] = {}
    foundings: dict[str, bytes] = {}
    # What is no object's name is nothing of ours; a verification reports it.
    names = [info.name for info in store.list("config/") if is_object_name(info.name)]
    # A name is the hash of the bytes, so a record that was read once says the same for ever.
    before = known.records if known is not None else {}
    new = [name for name in names if name not in before]
    read = dict(zip(new, at_once(store, store.get, new), strict=True))
    for name in names:
        if known is not None and name in before:
            repository, records[name] = known.repository, before[name]
        else:
            repository = parse_header(read[name], name=name).repository
            identity = Identity(repository, NO_KEYS)
            records[name] = read_record(
                read[name], Configuration, name=name, kind=Kind.CONFIGURATION, identity=identity
            )
        if records[name].founding:
            foundings[name] = repository
    if not foundings:
        raise NotFoundError(
            f"there is no repository at {store.url}",
            code=Code.NO_REPOSITORY,
            hint="Check the place, and whether its disk is mounted. "
            f"To make a new repository there: Repository.create({store.url!r}, key=…)",
        )
    if len(foundings) > 1:
        raise ConflictError(
            f"there are {len(foundings)} repositories at {store.url}: {', '.join(sorted(foundings))}",
            code=Code.CREATION_CONTESTED,
            hint="Two repositories were copied into one place. Move the objects of one of them elsewhere.",
        )
    ((name, repository),) = foundings.items()
    return Configurations(repository, name, records)
