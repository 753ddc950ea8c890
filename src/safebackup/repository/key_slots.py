"""Changing the keys of a sealed repository: list, add, remove, rotate.

There are no locks; one rule keeps every moment safe (docs/decisions/0008-key-rotation.md). Whoever removes a slot has,
after it learned of that slot, put a fresh one for the key that it was given, holding all that this key opens. So the
slot that was put last is one that nobody removes, whatever crashes, sleeps, or happens at the same moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import cast

import attrs

from safebackup.errors import (
    Code,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
)
from safebackup.findings import Finding, Severity, is_text, printable
from safebackup.format.records import KeySlot, Secrets
from safebackup.instants import Instant, from_nanoseconds
from safebackup.repository.configuring import read_configurations
from safebackup.repository.keys import (
    Key,
    build_slot,
    next_epoch,
    no_slot_opens,
    open_slots,
    read_slots,
    require_key,
    unite,
)
from safebackup.repository.repository import Repository
from safebackup.storage import AppendStore, DeleteStore
from safebackup.storage.scoped import ScopedStore

LABEL_CHARACTERS_MAX = 200


@attrs.frozen(kw_only=True)
class KeyInfo:
    """A key slot: what opens it, and whether that opens everything.

    Anybody who can write to the store can put slots that open nothing, and change `label` and `created`.
    """

    id: str  # the SHA-256 of the slot; it changes when the key is wrapped anew
    method: str  # "scrypt": a passphrase; "key-file"
    label: str
    created: Instant
    epoch: int  # the newest that it opens
    current: bool  # that is the newest there is
    this: bool  # the key that was given opens it


@attrs.frozen(kw_only=True)
class KeyList:
    """The key slots of a repository as they are now, oldest first, and what was noticed."""

    keys: tuple[KeyInfo, ...]
    findings: tuple[Finding, ...]


def list_keys(repository: Repository, *, key: Key | None = None) -> KeyList:
    """The key slots; with `key`, also which of them it opens. Slots that are damaged are findings.

    A key has one slot, or several after a change was cut off. Costs a listing, a read for each slot, and with `key` a
    key derivation for each slot of its method.

    Raises:
        ConfigurationError: the repository is not encrypted (`Code.KEY_NOT_WANTED`).
        AccessError: `key` opens no slot.
    """
    slots = _Slots.read(repository)
    return slots.listed(slots.opened_by(_required(key)) if key is not None else {})


def add_key(repository: Repository, *, key: Key, new: Key, label: str = "") -> KeyInfo:
    """Let `new` open all that `key` opens. Costs a key derivation for each slot, and one.

    `label` is for people and not protected: whoever sees the store can read it. A `new` that was left out of a
    rotation is brought up to date.

    Raises:
        AccessError: `key` opens no slot.
        RefusedError: `key` does not open the newest epoch (`Code.KEY_OUTDATED`).
        ConflictError: `new` opens everything already (`Code.KEY_EXISTS`), or the keys were rotated at the same moment
            (`Code.KEYS_CHANGED`): the key was added, and does not open what is new.
        ConfigurationError: the repository is not encrypted (`Code.KEY_NOT_WANTED`), or the label is too long.
    """
    slots = _Slots.read(repository, for_writing=True)
    ours = slots.opened_by(_required(key))
    theirs = slots.opened(_required(new))
    secrets = unite({**ours, **theirs})
    slots.require_newest(secrets)
    if theirs and secrets.classes == unite(theirs).classes:
        raise ConflictError(
            f"the new key opens {repository.url} already",
            code=Code.KEY_EXISTS,
            hint="Open the repository with it. For another passphrase or key file, give that one.",
        )
    name = slots.put(repository.store, secrets, new, _require_label(label))
    after = _Slots.read(repository)
    after.require_no_other_epoch(secrets, since=max(secrets.classes))
    if name not in after.slots:
        raise _removed_meanwhile(name)
    return after.info(name, this=False)


def remove_key(repository: Repository, id_prefix: str, *, key: Key) -> KeyList:
    """Remove the one slot whose id begins so; `key` is one that stays, and its slot is put anew with another id.

    Whoever had the removed key may have copied what it opened: the secrets of all epochs until now. So a removal keeps
    nobody out who prepared for it. `rotate_keys` protects what is written from then on, and nothing protects what was
    written before.

    Raises:
        AccessError: `key` opens no slot.
        ConflictError: somebody else changed keys at the same moment (`Code.KEYS_CHANGED`); nothing was removed.
        NotFoundError: no slot has this id, or several begin so.
        RefusedError: the slot is of `key` itself, or opens an epoch that `key` does not (`Code.KEY_STILL_NEEDED`).
        ConfigurationError: the repository is not encrypted (`Code.KEY_NOT_WANTED`), or its store cannot delete.
    """
    store = _slot_store(repository)
    slots = _Slots.read(repository, for_writing=True)
    ours = slots.opened_by(_required(key))
    secrets = unite(ours)
    target = slots.find(id_prefix)
    slots.require_removable(target, ours, secrets)
    fresh = slots.put(store, secrets, key, slots.label(ours))
    for name in (target, *ours):
        store.delete(name)
    after = _Slots.read(repository)
    findings = [_may_be_known(f"whoever had the key of {target} may have copied the secrets of the repository")]
    if after.slots.keys() - slots.slots.keys() - {fresh}:
        findings.append(
            Finding(
                code=Code.KEYS_CHANGED,
                severity=Severity.WARNING,
                what="somebody else put key slots while one was removed, perhaps one for the same key",
                action="Look at list_keys, and remove what has to go.",
            )
        )
    return after.listed([fresh], *findings)


def rotate_keys(repository: Repository, *, key: Key, keep: Iterable[Key] = ()) -> KeyList:
    """Start a new epoch: what is written from now on is sealed with new keys, which `key` and those in `keep` open.

    Other keys stay, listed as not current: they open what was written until now, and `remove_key` removes them. Give
    every key in `keep` that shall go on. Open the repository again afterwards, here and wherever it is open: until
    then it writes with the old keys and does not see what others write with the new ones.
    Costs a key derivation for each key and slot.

    Raises:
        AccessError: one of the keys opens no slot; nothing was changed.
        RefusedError: none of the keys opens the newest epoch (`Code.KEY_OUTDATED`); nothing was changed.
        ConflictError: somebody else rotated at the same moment (`Code.KEYS_CHANGED`). Everything stays readable; run
            it again with all keys that shall go on.
        ConfigurationError: the repository is not encrypted (`Code.KEY_NOT_WANTED`), or its store cannot delete.
    """
    store = _slot_store(repository)
    slots = _Slots.read(repository, for_writing=True)
    opened = [(each, slots.opened_by(each)) for each in _distinct(key, keep)]
    old = {name: secrets for _, ours in opened for name, secrets in ours.items()}
    secrets = unite(old)
    slots.require_newest(secrets)
    rotated = next_epoch(secrets, repository.runtime)
    # The first is `key`: whatever anybody writes with the new keys, it can read.
    fresh = [slots.put(store, rotated, each, slots.label(ours)) for each, ours in opened]
    _Slots.read(repository).require_no_other_epoch(rotated, since=max(secrets.classes))
    for name in old:
        store.delete(name)
    after = _Slots.read(repository)
    left = sum(slot.epoch < max(rotated.classes) for slot in after.slots.values())
    findings = [_may_be_known(f"{left} key slots stay that open what was written until now")] if left else []
    return after.listed(fresh[:1], *findings)


def _removed_meanwhile(name: str) -> ConflictError:
    return ConflictError(
        f"somebody else changed keys at the same moment, and removed {name} as soon as it was put",
        code=Code.KEYS_CHANGED,
        hint="Nothing was lost. Look at list_keys; then run the same again, if it shall still be done.",
    )


def _may_be_known(what: str) -> Finding:
    return Finding(
        code=Code.KEY_MAY_BE_KNOWN,
        severity=Severity.WARNING,
        what=what,
        action="After a removal, rotate the keys: that protects what is written from then on, "
        "and nothing protects the rest.",
    )


@attrs.frozen
class _Slots:
    """The key slots of a repository, as they were at one moment."""

    repository: Repository
    slots: Mapping[str, KeySlot]
    problems: Mapping[str, SafeBackupError]

    @classmethod
    def read(cls, repository: Repository, *, for_writing: bool = False) -> _Slots:
        if not repository.configurations.founding.sealed:
            raise ConfigurationError(
                f"the repository at {repository.url} is not encrypted: it has no keys",
                code=Code.KEY_NOT_WANTED,
                hint="Whether a repository is sealed is decided when it is created. Make a new one with a key.",
            )
        if for_writing:
            read_configurations(repository.store).require("write")
        return cls(repository, *read_slots(repository.store, repository.configurations.repository))

    @property
    def newest(self) -> int:
        return max((self.repository.keyring.epoch, *(slot.epoch for slot in self.slots.values())))

    def opened(self, key: Key) -> dict[str, Secrets]:
        """What `key` opens, by slot; perhaps nothing."""
        configurations = self.repository.configurations
        return open_slots(
            self.slots, configurations.repository, key, configuration=configurations.founding_name, problems={}
        )

    def opened_by(self, key: Key) -> dict[str, Secrets]:
        """The same, and it is something."""
        if not (opened := self.opened(key)):
            raise no_slot_opens(key, self.slots, self.problems)
        return opened

    def find(self, id_prefix: object) -> str:
        if not isinstance(id_prefix, str) or not id_prefix:
            raise ConfigurationError(f"{id_prefix!r} is no id of a key slot", hint="Give the beginning of an id.")
        ids = [name.partition("/")[2] for name in (*self.slots, *self.problems)]
        found = [each for each in ids if each.startswith(id_prefix.lower())]
        if len(found) != 1:
            raise NotFoundError(
                f"{len(found)} of {len(ids)} key slots have an id that begins with {id_prefix!r}",
                code=Code.NO_KEY_SLOT,
                hint=f"There are: {', '.join(sorted(each[:12] for each in ids))}.",
            )
        return f"keys/{found[0]}"

    def require_newest(self, secrets: Secrets) -> None:
        # Only the number is in the clear, so it is not known whether such a slot is forged; to refuse loses nothing.
        beyond = [name for name, slot in self.slots.items() if slot.epoch > max(secrets.classes)]
        if beyond:
            raise RefusedError(
                f"{min(beyond)} opens epoch {self.slots[min(beyond)].epoch}, and the given key does not",
                code=Code.KEY_OUTDATED,
                hint="Give a key that was kept when the keys were rotated. If nobody rotated them, the slot is forged: "
                "move it away.",
            )

    def require_no_other_epoch(self, secrets: Secrets, *, since: int) -> None:
        """Nobody has started an epoch newer than `since` that is not among these."""
        others = [name for name, slot in self.slots.items() if slot.epoch > since and slot.epoch not in secrets.classes]
        if others:
            raise ConflictError(
                f"somebody else rotated the keys at the same moment, and put {min(others)}",
                code=Code.KEYS_CHANGED,
                hint="Nothing was lost. Look at list_keys; then run the same again, with all keys that shall go on.",
            )

    def require_removable(self, name: str, ours: Mapping[str, Secrets], secrets: Secrets) -> None:
        if name in ours:
            raise RefusedError(
                f"{name} is a slot of the very key that was given",
                code=Code.KEY_STILL_NEEDED,
                hint="To remove this key, give another one that stays; add one first if there is none.",
            )
        slot = self.slots.get(name)
        if slot is None and not isinstance(self.problems[name], IntegrityError):
            raise self.problems[name]
        if slot is not None and slot.epoch not in secrets.classes:
            raise RefusedError(
                f"{name} opens epoch {slot.epoch}, and the given key does not: without that slot nobody might",
                code=Code.KEY_STILL_NEEDED,
                hint="Give a key that opens it too. If nobody rotated the keys, the slot is forged: move it away.",
            )

    def label(self, names: Iterable[str]) -> str:
        """What the newest of these slots is called."""
        newest = max((self.slots[name] for name in names), key=lambda slot: slot.created)
        return newest.label[:LABEL_CHARACTERS_MAX]  # a stranger may have made it longer

    def put(self, store: AppendStore, secrets: Secrets, key: Key, label: str) -> str:
        """Put a slot for `key`, and read it back; its name.

        Raises:
            ConflictError: somebody else has removed it already, and so has put what replaces it.
        """
        repository = self.repository
        slot = build_slot(repository.configurations.repository, secrets, key, repository.runtime, label=label)
        store.put_new(slot.name, slot.data)
        try:
            stored = store.get(slot.name)
        except NotFoundError as error:
            raise _removed_meanwhile(slot.name) from error
        if stored != slot.data:
            raise IntegrityError(
                f"{slot.name} is not what was stored a moment ago",
                hint="No key was removed. Look after the store before you try again.",
            )
        return slot.name

    def info(self, name: str, *, this: bool) -> KeyInfo:
        slot = self.slots[name]
        return KeyInfo(
            id=name.partition("/")[2],
            method=_shown(slot.method),
            label=_shown(slot.label),
            created=from_nanoseconds(slot.created),
            epoch=slot.epoch,
            current=slot.epoch == self.newest,
            this=this,
        )

    def listed(self, opened: Collection[str], *findings: Finding) -> KeyList:
        infos = [self.info(name, this=name in opened) for name in self.slots]
        damaged = [
            Finding(
                code=problem.code,
                severity=Severity.ERROR,
                what=f"the key slot {name} cannot be read: {problem.message}",
                action="Bring it back from a copy of the repository, or remove it.",
                subject=name,
            )
            for name, problem in self.problems.items()
        ]
        return KeyList(
            keys=tuple(sorted(infos, key=lambda info: (info.created, info.id))), findings=(*findings, *damaged)
        )


def _slot_store(repository: Repository) -> ScopedStore:
    """The store, limited to key slots, with `delete`: handles are typed without one, so that no backup can call it."""
    if not callable(getattr(repository.store, "delete", None)):
        raise ConfigurationError(
            f"the store at {repository.url} cannot delete, and so no key can be removed",
            hint="Change keys where the repository can be written to and deleted from.",
        )
    return ScopedStore(cast(DeleteStore, repository.store), "keys/")


def _required(key: object) -> Key:
    known = require_key(key)
    if known is None:
        raise ConfigurationError(
            "key is None, and changing keys takes one that opens the repository",
            code=Code.KEY_REQUIRED,
            hint='Write key=Passphrase.from_file("…") or key=KeyFile("…").',
        )
    return known


def _distinct(key: object, keep: object) -> list[Key]:
    """`key`, then those to keep, each once."""
    if isinstance(keep, str | bytes) or not isinstance(keep, Iterable):
        raise ConfigurationError(
            f"keep is a {type(keep).__name__} and no list of keys", hint="Write keep=[KeyFile(…)]."
        )
    keys = [_required(each) for each in (key, *keep)]
    return list({(each.method, each.material()): each for each in keys}.values())


def _require_label(label: object) -> str:
    if not isinstance(label, str) or not is_text(label) or len(label) > LABEL_CHARACTERS_MAX:
        raise ConfigurationError(
            f"a label is a text of at most {LABEL_CHARACTERS_MAX} characters", hint='For example label="laptop".'
        )
    return label


def _shown(text: str) -> str:
    return printable(text[:LABEL_CHARACTERS_MAX].encode())
