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


def read_configurations(store: ReadStore) -> Configurations:
    """Read every configuration record. Costs a listing and a read for each.

    Raises:
        NotFoundError: there is none: no repository.
        ConflictError: there are two foundings: two repositories were mixed.
    """
    records: dict[str, Configuration] = {}
    foundings: dict[str, bytes] = {}
    for info in store.list("config/"):
        if not is_object_name(info.name):
            continue  # nothing of ours; a verification reports it
        data = store.get(info.name)
        repository = parse_header(data, name=info.name).repository
        identity = Identity(repository, NO_KEYS)
        records[info.name] = read_record(
            data, Configuration, name=info.name, kind=Kind.CONFIGURATION, identity=identity
        )
        if records[info.name].founding:
            foundings[info.name] = repository
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
