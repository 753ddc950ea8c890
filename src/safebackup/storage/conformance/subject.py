"""What is tested: a store, how it is opened again here and in other processes, and a folder of its own in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeAlias

import attrs

from safebackup.remotes import open_files
from safebackup.storage.opening import open_store
from safebackup.storage.remote.limits import Limits
from safebackup.storage.store import DeleteStore

Open: TypeAlias = Callable[[], DeleteStore]

# Short: whoever tests a store waits for the answers.
LIMITS = Limits(request=8, deadline=12, first_answer=8)
OWN_PREFIX = "check-"
_GOOGLE = ("gs", "gcs")
_BUCKETS = ("s3", "s3a", *_GOOGLE, "az", "abfs", "abfss", "adl")
_LOCAL = ("file", "local", "memory")
_NOBODY_LISTENS = 1  # a port
_SERVER = re.compile(r"^(\w+://[^/:]+)(?::[0-9]+)?")


@attrs.frozen
class Recipe:
    """How another process opens a store: a function, `module:name`, and its arguments, in what JSON has."""

    function: str
    arguments: Mapping[str, object] = attrs.field(repr=False)  # they may hold credentials

    def open(self) -> DeleteStore:
        """Open it."""
        store: DeleteStore = named(self.function)(**self.arguments)
        return store


def named(function: str) -> Any:
    """What has this name, `module:name`."""
    module, _, path = function.partition(":")
    return attrgetter(path)(import_module(module))


@attrs.frozen(kw_only=True)
class Address:
    """A URL, and what it takes to open it."""

    url: str
    options: Mapping[str, object] = attrs.field(repr=False)
    allow_unproven: bool = False
    limits: Limits = LIMITS

    @property
    def scheme(self) -> str:
        """What stands before `://`; "file" for a path."""
        return self.url.partition("://")[0].lower() if "://" in self.url else "file"

    def below(self, name: str) -> Address:
        """The folder `name` in it."""
        return attrs.evolve(self, url=f"{self.url.rstrip('/')}/{name}")

    def open(self, *, create: bool = False) -> DeleteStore:
        """A new handle."""
        return open_store(
            self.url,
            create=create,
            storage_options=self.options or None,
            limits=self.limits,
            allow_unproven=self.allow_unproven,
        )

    def recipe(self) -> Recipe:
        """How another process opens it."""
        return Recipe(
            f"{__name__}:open_again",
            {
                "url": self.url,
                "options": dict(self.options),
                "allow_unproven": self.allow_unproven,
                "limits": attrs.asdict(self.limits),
            },
        )

    def nowhere(self) -> Address | None:
        """One like it where there is nothing: another bucket, or a port where nobody listens; None for a folder."""
        if self.scheme in _LOCAL:
            return None
        scheme, rest = self.url.split("://", 1)
        host, slash, path = rest.partition("/")
        if self.scheme in _BUCKETS:
            _, at, account = host.partition("@")
            host = f"{own_name()}{at}{account}"
        else:
            user, at, host = host.rpartition("@")
            host = f"{user}{at}{re.sub(r':[0-9]*$', '', host)}:{_NOBODY_LISTENS}"
        options = {name: value for name, value in self.options.items() if name != "port"}
        if "base_url" in options:  # of WebDAV, whose URL is a path then
            options["base_url"] = _SERVER.sub(rf"\g<1>:{_NOBODY_LISTENS}", str(options["base_url"]))
            host = self.url.split("://", 1)[1].partition("/")[0]
        limits = attrs.evolve(self.limits, deadline=3, first_answer=3, request=3)
        return attrs.evolve(self, url=f"{scheme}://{host}{slash}{path}", options=options, limits=limits)


def open_again(*, url: str, options: dict[str, object], allow_unproven: bool, limits: dict[str, float]) -> DeleteStore:
    """What a recipe of `Address.recipe` calls."""
    return Address(url=url, options=options, allow_unproven=allow_unproven, limits=Limits(**limits)).open()


@attrs.frozen(kw_only=True)
class Subject:
    """A store under test. All that is done to it is done to names that begin with `folder`."""

    url: str  # of the whole store, for people
    open: Open
    folder: str  # "" where the whole store is its own
    recipe: Recipe | None  # None: no other process reaches it
    unreachable: Open | None = None  # opens one that is not there
    address: Address | None = None  # None: the store is known by `open` alone


def own_name() -> str:
    """A name that nobody else uses."""
    return f"{OWN_PREFIX}{os.urandom(8).hex()}"


@contextmanager
def raw_files(address: Address, options: Mapping[str, object] | None = None) -> Iterator[tuple[Any, str]]:
    """The file system of fsspec's at an address, and the path in it: for what the contract has no verb for."""
    options = address.options if options is None else options
    files, path = open_files(address.url, options)
    if address.scheme in _GOOGLE:  # else it first asks, for a minute, which kind of bucket this is
        core: Any = import_module("gcsfs.core")
        files = core.GCSFileSystem(skip_instance_cache=True, use_listings_cache=False, **options)
    try:
        yield files, path
    finally:
        client = getattr(getattr(files, "client", None), "http", None)  # webdav4 leaves its connections open
        if client is not None:
            client.close()


@contextmanager
def letting_go(store: DeleteStore) -> Iterator[None]:
    """Let the store's connections go afterwards, if it is of a kind that has some."""
    try:
        yield
    finally:
        with suppress(Exception):  # of whatever kind it is
            getattr(store, "close", lambda: None)()


def subject_at(address: Address) -> Subject:
    """The store at an address; what is tested there is a folder of its own in it, which is made.

    Raises:
        StorageError: it cannot be reached, or is not there.
    """
    name = own_name()
    whole = address.open()
    with letting_go(whole):
        whole.list(f"{name}/")
    if address.scheme == "memory":
        return Subject(url=whole.url, open=address.open, folder=f"{name}/", recipe=None)
    own = address.below(name)
    with letting_go(own.open(create=True)):
        pass
    nowhere = address.nowhere() or own.below("nowhere")
    return Subject(url=whole.url, open=own.open, folder="", recipe=own.recipe(), unreachable=nowhere.open, address=own)
