"""The one source that must not be: a repository that would be backed up into itself."""

from __future__ import annotations

import os

from safebackup.backup.source import Source
from safebackup.backup.url_source import UrlSource
from safebackup.errors import Code, RefusedError
from safebackup.findings import printable
from safebackup.remotes import shown
from safebackup.repository import Repository


def refuse_own_repository(source: Source, repository: Repository) -> None:
    """Refuse a source that lies in the repository, or holds it.

    Raises:
        RefusedError: it does (`Code.REPOSITORY_IN_SOURCE`).
    """
    scheme, _, path = repository.url.partition("://")
    local = repository.url if not path else path if scheme in ("file", "local") else ""
    roots = [os.path.realpath(root.path) for root in source.roots()]
    home = os.fsencode(os.path.realpath(local)) if local else b""
    if local and any(root == home or root.startswith(home + b"/") for root in roots):
        raise RefusedError(
            f"the source {printable(roots[0])} lies inside of the repository {repository.url}",
            code=Code.REPOSITORY_IN_SOURCE,
            hint="Name what you want to protect; a repository is not backed up into itself.",
        )
    if local and source.contains(local):
        raise RefusedError(
            f"the repository {repository.url} lies inside of the source {printable(source.roots()[0].path)}",
            code=Code.REPOSITORY_IN_SOURCE,
            hint="Keep the repository elsewhere, best on another disk, or exclude its folder.",
        )


def refuse_own_url(source: UrlSource, repository: Repository) -> None:
    """Refuse a URL that lies in the repository; one that holds it is known when the repository is found there.

    Raises:
        RefusedError: it does (`Code.REPOSITORY_IN_SOURCE`).
    """
    if f"{shown(source.url).rstrip('/')}/".startswith(f"{repository.url.rstrip('/')}/"):
        raise RefusedError(
            f"the source {shown(source.url)} lies inside of the repository {repository.url}",
            code=Code.REPOSITORY_IN_SOURCE,
            hint="Name what you want to protect; a repository is not backed up into itself.",
        )


def own_repository(source: str, folder: str) -> RefusedError:
    """The error for a source that turns out to hold the repository, in this folder of it."""
    return RefusedError(
        f"the repository lies inside of the source {source}, below {folder.rstrip('/') or 'its root'}",
        code=Code.REPOSITORY_IN_SOURCE,
        hint="Keep the repository elsewhere, best with another provider, or exclude its folder.",
    )
