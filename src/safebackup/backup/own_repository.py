"""The one source that must not be: a repository that would be backed up into itself."""

from __future__ import annotations

import os

from safebackup.backup.source import Source
from safebackup.errors import Code, RefusedError
from safebackup.findings import printable
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
