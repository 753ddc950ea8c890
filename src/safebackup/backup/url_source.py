"""A URL as a source: what lies below it is read through fsspec."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from safebackup.backup.rules import Rules
from safebackup.errors import ConfigurationError
from safebackup.remotes import secrets_of, shown

_WEB = ("http", "https")


def without_end_slash(url: str) -> str:
    """The one way to write the URL of a folder; to a web server a slash may mean something, and it stays."""
    scheme, _, rest = url.partition("://")
    if "::" in url or scheme.lower() in _WEB or not rest.rstrip("/"):
        return url
    return url.rstrip("/")


@attrs.frozen(kw_only=True)
class UrlSource:
    """Everything below a URL; made by `Source.url`. The storage options go to fsspec alone, and are never shown.

    It is pickled only where it holds no credentials.
    """

    url: str = attrs.field(converter=without_end_slash, repr=lambda url: repr(shown(url)))
    name: str
    storage_options: Mapping[str, object] = attrs.field(repr=False, hash=False)
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    larger_than: int | None = None
    allow_empty: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        where = shown(self.url)
        if where != self.url or secrets_of(self.url, self.storage_options):
            raise ConfigurationError(
                f"the source {where} has credentials, which no pickle may carry",
                hint="Make it again where it is needed, with credentials from the environment or a file there.",
            )
        return partial(type(self), **attrs.asdict(self, recurse=False)), ()

    def rules(self) -> Rules:
        """The `exclude` and `include` lines, ready to be asked."""
        return Rules.of(exclude=self.exclude, include=self.include)
