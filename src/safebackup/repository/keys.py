"""Keys: what opens a sealed repository, and the slots that wrap its secrets.

A repository has one set of secrets and any number of slots; each wraps the secrets for one passphrase or key file.
Starting a new epoch makes new class keys for what is written from then on; what was written stays readable with
the keys of its epoch, which a slot keeps. A key opens what all of its slots hold together.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping
from typing import TypeAlias

import attrs
import msgspec

from safebackup.errors import (
    AccessError,
    Code,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    SafeBackupError,
)
from safebackup.findings import AT_HOME, printable, starts_at_home
from safebackup.format.header import KeyClass, Kind, damaged, parse_header
from safebackup.format.keyslots import SCRYPT_COST, unwrap_secrets, wrap_secrets, wrapping_key
from safebackup.format.objects import Identity, StoredObject, build_record, read_record
from safebackup.format.records import KeySlot, Secrets
from safebackup.format.sealing import Keyring
from safebackup.repository.runtime import Runtime
from safebackup.storage import ReadStore

KEY_FILE_BYTES = 32
EPOCH_MAX = (1 << 32) - 1  # what a header can name
_KEY_FILE_BYTES_MAX = 64 << 10
_EPOCH_STEP_MAX = 1 << 20
_LISTINGS_MAX = 10
NO_KEYS = Keyring(identity=b"", chunker_seed=0, classes={})
_SEALING_CLASSES = [key_class for key_class in KeyClass if key_class is not KeyClass.NONE]


@attrs.frozen
class Passphrase:
    """A passphrase; its text is never printed. It is normalised to NFC, so that keyboards do not matter."""

    text: str = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        text: object = self.text
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(
                "a passphrase must be a text that is not empty",
                hint='Set it in a file that only you can read: Passphrase.from_file("/etc/backup.pass").',
            )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Passphrase:
        """The first line of a file that nobody else can read.

        Raises:
            NotFoundError: it is not there.
            AccessError: others can read it, or this user cannot.
            ConfigurationError: it is empty or no text.
        """
        content = _read_secret_file(os.fspath(path), "passphrase file")
        try:
            return cls(content.decode("utf-8").split("\n", 1)[0].rstrip("\r"))
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{path} is not UTF-8 text",
                code=Code.KEY_FILE_BAD,
                hint="A passphrase is text; for a file of random bytes write KeyFile(path).",
            ) from error

    @classmethod
    def from_environment(cls, variable: str) -> Passphrase:
        """The value of an environment variable.

        Raises:
            ConfigurationError: it is not set, or empty.
        """
        if not (text := os.environ.get(variable)):
            raise ConfigurationError(
                f"the environment variable {variable} is not set",
                code=Code.KEY_REQUIRED,
                hint="Set it where this runs (cron and systemd have an environment of their own), or use a file.",
            )
        return cls(text)

    @property
    def method(self) -> str:
        """How a slot derives its wrapping key."""
        return "scrypt"

    def material(self) -> bytes:
        """What the wrapping key is derived from."""
        return unicodedata.normalize("NFC", self.text).encode("utf-8")


def _absolute(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"{path!r} is no path of a key file", code=Code.KEY_FILE_BAD, hint="Name the file.")
    text = os.fspath(path)
    if not text or starts_at_home(os.fsencode(text)):
        raise ConfigurationError(f"{text!r} is no path of a key file", code=Code.KEY_FILE_BAD, hint=AT_HOME)
    return os.path.abspath(text)


@attrs.frozen
class KeyFile:
    """A file of at least 32 random bytes that nobody else can read."""

    path: str = attrs.field(converter=_absolute)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> KeyFile:
        """Make a new key file, readable by its owner alone.

        Raises:
            ConfigurationError: something is there already; it is unchanged.
        """
        key = cls(os.fspath(path))
        try:
            handle = os.open(key.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise ConfigurationError(
                f"{path} is there already",
                code=Code.KEY_FILE_BAD,
                hint="Use it: KeyFile(path). A key that repositories were sealed with must never be overwritten.",
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"the key file {path} cannot be made: {error.strerror}",
                code=Code.KEY_FILE_BAD,
                hint="Make its folder first, and choose one that the user who runs this may write to.",
            ) from error
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_FILE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A key that a power cut takes is lost with everything that it sealed, so its name is made durable too.
        folder = os.open(os.path.dirname(key.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return key

    @property
    def method(self) -> str:
        """How a slot derives its wrapping key."""
        return "key-file"

    def material(self) -> bytes:
        """What the wrapping key is derived from: the file's content."""
        content = _read_secret_file(self.path, "key file")
        if not content and not os.path.isfile(self.path):
            raise ConfigurationError(
                f"the key file {self.path} gives nothing, or nothing more: it is no file but a pipe or the like",
                code=Code.KEY_FILE_BAD,
                hint="A pipe can be read once, and a key is read more often: write it to a file for you alone.",
            )
        if len(content) < KEY_FILE_BYTES:
            raise ConfigurationError(
                f"the key file {self.path} has {len(content)} bytes where at least {KEY_FILE_BYTES} are needed",
                code=Code.KEY_FILE_BAD,
                hint="Find the right file, or its copy. A new key opens nothing that another one sealed.",
            )
        return content


Key: TypeAlias = Passphrase | KeyFile


def require_key(key: object) -> Key | None:
    """`key`, if it is one; a bare string is refused, as it might be a passphrase or a path.

    Raises:
        ConfigurationError: it is something else.
    """
    if key is None or isinstance(key, Passphrase | KeyFile):
        return key
    raise ConfigurationError(
        f"key is a {type(key).__name__}; it must be Passphrase(…), KeyFile(…) or None",
        hint='Write key=Passphrase.from_file("…") or key=KeyFile("…"); key=None is a choice: nothing is encrypted.',
    )


def _read_secret_file(path: str, what: str) -> bytes:
    if starts_at_home(os.fsencode(path)):
        raise ConfigurationError(
            f"the {what} {path} begins with ~, which only a shell expands", code=Code.KEY_FILE_BAD, hint=AT_HOME
        )
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_KEY_FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"the {what} {path} does not exist",
            code=Code.KEY_FILE_MISSING,
            hint="Check the path, and whether its disk is mounted; a key that is lost cannot be replaced. "
            "For a new repository: KeyFile.create(path).",
        ) from error
    except OSError as error:
        raise AccessError(
            f"the {what} {path} cannot be read: {error}",
            code=Code.KEY_FILE_BAD,
            hint="Name a file that the user who runs this may read.",
        ) from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise AccessError(
            f"the {what} {path} can be read by others (mode {stat.S_IMODE(mode):o})",
            code=Code.KEY_FILE_EXPOSED,
            hint=f"Run: chmod 600 {printable(os.fsencode(path))}",
        )
    if len(content) > _KEY_FILE_BYTES_MAX:
        raise ConfigurationError(
            f"the {what} {path} is larger than 64 KiB",
            code=Code.KEY_FILE_BAD,
            hint="That is another file: find the right one.",
        )
    return content


def new_secrets(configuration: str, runtime: Runtime) -> Secrets:
    """Fresh secrets for a new repository, at epoch 1."""
    return Secrets(
        configuration=configuration,
        identity=runtime.random(32),
        chunker_seed=int.from_bytes(runtime.random(6), "big"),
        classes={1: _new_class_keys(runtime)},
    )


def next_epoch(secrets: Secrets, runtime: Runtime) -> Secrets:
    """The same secrets with new class keys for everything written from now on.

    Raises:
        RefusedError: there is no higher number left, after some eight thousand epochs.
    """
    # A random step: neither two who rotate at the same moment, nor two copies of a repository that are rotated apart
    # and brought together again, give one number to two sets of keys.
    newest = max(secrets.classes)
    epoch = newest + 1 + int.from_bytes(runtime.random(4), "big") % _EPOCH_STEP_MAX
    if epoch > EPOCH_MAX:
        raise RefusedError(
            f"there is no room for another epoch behind {newest}",
            hint="Make a new repository, and back up into that one.",
        )
    return msgspec.structs.replace(secrets, classes={**secrets.classes, epoch: _new_class_keys(runtime)})


def _new_class_keys(runtime: Runtime) -> dict[str, bytes]:
    return {key_class: runtime.random(32) for key_class in _SEALING_CLASSES}


def build_slot(repository: bytes, secrets: Secrets, key: Key, runtime: Runtime, *, label: str = "") -> StoredObject:
    """A key slot that opens `secrets` with `key`. Costs one key derivation, about 0.15 s for a passphrase."""
    salt = runtime.random(32)
    cost = SCRYPT_COST if key.method == "scrypt" else (0, 0, 0)
    wrapping = wrapping_key(key.material(), key.method, salt=salt, cost=cost, name="a new key slot")
    slot = KeySlot(
        epoch=max(secrets.classes),
        method=key.method,
        created=runtime.clock.now(),
        label=label,
        salt=salt,
        cost=cost,
        sealed=wrap_secrets(secrets, wrapping, repository=repository),
    )
    return build_record(Identity(repository, NO_KEYS), Kind.KEY_SLOT, slot, salt=runtime.random(32))


def read_slots(store: ReadStore, repository: bytes) -> tuple[dict[str, KeySlot], dict[str, SafeBackupError]]:
    """All key slots of this repository by name, and what was wrong with those that could not be read."""
    read: dict[str, KeySlot | SafeBackupError | None] = {}
    for _ in range(_LISTINGS_MAX):
        before, read = read, {}
        for info in store.list("keys/"):
            known = before.get(info.name)
            read[info.name] = known if isinstance(known, KeySlot) else _read(store, info.name, repository)
        # Who removes a slot has put another one first: if one went after it was listed, the next list has that.
        if not any(isinstance(found, NotFoundError) for found in read.values()):
            break
    slots = {name: found for name, found in read.items() if isinstance(found, KeySlot)}
    return slots, {name: found for name, found in read.items() if isinstance(found, SafeBackupError)}


def _read(store: ReadStore, name: str, repository: bytes) -> KeySlot | SafeBackupError | None:
    try:
        data = store.get(name)
        if parse_header(data, name=name).repository != repository:
            return None  # left behind by a creation that lost to another
        slot = read_record(data, KeySlot, name=name, kind=Kind.KEY_SLOT, identity=Identity(repository, NO_KEYS))
        if not 1 <= slot.epoch <= EPOCH_MAX:
            raise damaged(name, f"it speaks of epoch {slot.epoch}")
    except (IntegrityError, NotFoundError, ConfigurationError) as problem:
        return problem
    return slot


def unlock(store: ReadStore, repository: bytes, key: Key, *, configuration: str) -> Secrets:
    """What `key` opens: the secrets of all its slots together.

    Costs a key derivation for each slot of the key's method.

    Raises:
        AccessError: it opens none of the slots.
        IntegrityError: every slot is damaged, or two that it opens contradict each other.
    """
    slots, problems = read_slots(store, repository)
    while not (opened := open_slots(slots, repository, key, configuration=configuration, problems=problems)):
        # A list that is not made at one moment can miss both a slot that goes and the one that takes its place.
        before = slots
        slots, unreadable = read_slots(store, repository)
        problems |= unreadable
        if slots.keys() == before.keys():
            raise no_slot_opens(key, slots, problems)
    return unite(opened)


def open_slots(
    slots: Mapping[str, KeySlot],
    repository: bytes,
    key: Key,
    *,
    configuration: str,
    problems: dict[str, SafeBackupError],
) -> dict[str, Secrets]:
    """The secrets in each slot that `key` opens; what was wrong with others of its method is added to `problems`.

    Costs a key derivation for each slot of the key's method.
    """
    material = key.material()
    opened: dict[str, Secrets] = {}
    for name, slot in slots.items():
        if slot.method != key.method:
            continue
        try:
            wrapping = wrapping_key(material, slot.method, salt=slot.salt, cost=slot.cost, name=name)
            secrets = unwrap_secrets(slot, wrapping, repository=repository, name=name)
        except IntegrityError as problem:
            problems[name] = problem
            continue
        if secrets is not None and secrets.configuration == configuration:
            opened[name] = secrets
    return opened


def unite(opened: Mapping[str, Secrets]) -> Secrets:
    """The secrets of one or more slots as one: the class keys of all their epochs.

    Raises:
        IntegrityError: two of them have different keys for one thing (`Code.KEYS_CONTRADICT`).
    """
    # A slot that holds some of the classes only has no identity.
    base = next((secrets for secrets in opened.values() if secrets.identity), next(iter(opened.values())))
    classes: dict[int, dict[str, bytes]] = {}
    for name, secrets in opened.items():
        if secrets.identity and (secrets.identity, secrets.chunker_seed) != (base.identity, base.chunker_seed):
            raise _contradiction(name, "the identity of the repository")
        for epoch, keys in secrets.classes.items():
            ours = classes.setdefault(epoch, {})
            if any(ours.setdefault(key_class, key) != key for key_class, key in keys.items()):
                raise _contradiction(name, f"the keys of epoch {epoch}")
    return msgspec.structs.replace(base, classes=classes)


def _contradiction(name: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{name} has other words on {what} than another key slot that the same key opens",
        code=Code.KEYS_CONTRADICT,
        hint="Copies of the repository were rotated apart and brought together, or two rotations met. Each of the "
        "slots is sound: move this one out of keys/ to read what the other one opens, and the other way round; back "
        "up what is restored into a new repository.",
    )


def no_slot_opens(key: Key, slots: Mapping[str, KeySlot], problems: Mapping[str, SafeBackupError]) -> SafeBackupError:
    """What to raise for a key that opens nothing: all slots are damaged, or it is another key."""
    if not slots and problems:
        return next(iter(problems.values()))
    sealed_with = {"a passphrase" if slot.method == "scrypt" else "a key file" for slot in slots.values()}
    methods = ", ".join(sorted(sealed_with)) or "nothing that is left"
    damage = (
        f"; {len(problems)} key slots could not be read ({next(iter(problems.values())).message})" if problems else ""
    )
    mine = "passphrase" if key.method == "scrypt" else "key file"
    return AccessError(
        f"this {mine} does not open the repository; it was sealed with: {methods}{damage}",
        hint="Check which passphrase or key file belongs to it, and whether it was removed or left out of a rotation.",
    )


def keyring_of(secrets: Secrets) -> Keyring:
    """The keys in the form that the format uses."""
    return Keyring(identity=secrets.identity, chunker_seed=secrets.chunker_seed, classes=secrets.classes)
