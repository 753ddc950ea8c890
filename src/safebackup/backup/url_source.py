"""A URL as a source: what lies below it is read through fsspec."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from safebackup.backup.rules import Rules
from safebackup.remotes import shown


@attrs.frozen(kw_only=True)
class UrlSource:
    """Everything below a URL; made by `Source.url`. The storage options go to fsspec alone, and are never shown."""

    url: str = attrs.field(repr=lambda url: repr(shown(url)))
    name: str
    storage_options: Mapping[str, object] = attrs.field(repr=False, hash=False)
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    larger_than: int | None = None
    allow_empty: bool = False

    def rules(self) -> Rules:
        """The `exclude` and `include` lines, ready to be asked."""
        return Rules.of(exclude=self.exclude, include=self.include)
