"""Sources that are trees of files, wherever they are: what a backup asks of folders and of a URL alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs

from safebackup.backup.merging import ManifestBuilder, Previous
from safebackup.backup.own_repository import refuse_own_repository, refuse_own_url
from safebackup.backup.pipeline import Pipeline
from safebackup.backup.publishing import Publication, Roots
from safebackup.backup.scanning import Found, Scan
from safebackup.backup.source import Evidence, Source
from safebackup.backup.url_reading import ObjectPipeline
from safebackup.backup.url_scanning import Proofs, UrlScan
from safebackup.backup.url_source import UrlSource
from safebackup.errors import Code
from safebackup.events import Progress
from safebackup.findings import Finding, Severity
from safebackup.remotes import shown
from safebackup.repository import Repository
from safebackup.storage.places import Place, open_place


class AnyScan(Protocol):
    """One pass over a tree: iterate, then read the rest."""

    findings: list[Finding]
    excluded: dict[str, int]

    @property
    def complete(self) -> bool:
        """Whether it came to its end and saw everything that no rule leaves out (I10)."""
        ...

    def is_in_place(self) -> bool:
        """Whether what is gone now was deleted."""
        ...

    def __iter__(self) -> Iterator[Found]:
        """Every path, in manifest order."""
        ...


@attrs.frozen
class Pass:
    """Once through a tree: where its paths come from, and what takes them."""

    scan: AnyScan
    pipeline: Pipeline


class Tree(Protocol):
    """A source that can be read once more, and compared with its last snapshot."""

    @property
    def name(self) -> str:
        """Of the source."""
        ...

    @property
    def allow_empty(self) -> bool:
        """Whether it may hold nothing."""
        ...

    @property
    def evidence(self) -> str:
        """What the next backup may rest on, as the snapshot records it; may be known only after a pass."""
        ...

    @property
    def roots(self) -> Roots:
        """Where reading begins."""
        ...

    @contextmanager
    def begin(
        self,
        publication: Publication,
        builder: ManifestBuilder,
        previous: Previous,
        callback: Progress,
        lost: frozenset[bytes],
    ) -> Iterator[Pass]:
        """A pass over it."""
        ...

    def remarks(self) -> list[Finding]:
        """What is worth knowing after a pass."""
        ...


@contextmanager
def reached(source: Source | UrlSource, into: Repository) -> Iterator[Tree]:
    """The tree of a source, refused if the repository is a part of it.

    Raises:
        NotFoundError, RefusedError, StorageError: it is not there, is not to be read, or cannot be reached.
    """
    if isinstance(source, Source):
        refuse_own_repository(source, into)
        yield FolderTree(source)
        return
    refuse_own_url(source, into)
    place = open_place(source.url, source.storage_options)
    try:
        yield UrlTree(source, place)
    finally:
        place.close()


@attrs.frozen
class FolderTree:
    """Folders and files of this machine."""

    source: Source

    @property
    def name(self) -> str:
        """As `Tree.name`."""
        return self.source.name

    @property
    def allow_empty(self) -> bool:
        """As `Tree.allow_empty`."""
        return self.source.allow_empty

    @property
    def evidence(self) -> str:
        """As `Tree.evidence`."""
        return str(self.source.evidence)

    @property
    def roots(self) -> Roots:
        """As `Tree.roots`."""
        return tuple((root.name, root.path) for root in self.source.roots())

    @contextmanager
    def begin(
        self,
        publication: Publication,
        builder: ManifestBuilder,
        previous: Previous,
        callback: Progress,
        lost: frozenset[bytes],
    ) -> Iterator[Pass]:
        """As `Tree.begin`."""
        repository = publication.run.repository
        pipeline = Pipeline(
            publication.writer,
            builder,
            previous,
            chunker=repository.chunker,
            evidence=self.source.evidence,
            clock=repository.runtime.clock,
            report=publication.findings.add,
            callback=callback,
            lost=lost,
        )
        yield Pass(Scan(self.source), pipeline)

    def remarks(self) -> list[Finding]:
        """As `Tree.remarks`."""
        return []


@attrs.define
class UrlTree:
    """What lies below a URL."""

    source: UrlSource
    place: Place
    proofs: Proofs = attrs.field(factory=Proofs)

    @property
    def name(self) -> str:
        """As `Tree.name`."""
        return self.source.name

    @property
    def allow_empty(self) -> bool:
        """As `Tree.allow_empty`."""
        return self.source.allow_empty

    @property
    def evidence(self) -> str:
        """As `Tree.evidence`: the weakest that a file has."""
        if self.proofs.unproven:
            return str(Evidence.NONE)
        return str(Evidence.MTIME if self.proofs.timed else Evidence.INODE_CTIME)

    @property
    def roots(self) -> Roots:
        """As `Tree.roots`: the URL, without secrets."""
        return ((self.place.file_name.encode("utf-8", "surrogateescape"), shown(self.source.url).encode()),)

    @contextmanager
    def begin(
        self,
        publication: Publication,
        builder: ManifestBuilder,
        previous: Previous,
        callback: Progress,
        lost: frozenset[bytes],
    ) -> Iterator[Pass]:
        """As `Tree.begin`."""
        repository = publication.run.repository
        scan = UrlScan(self.source, self.place, own=repository.configurations.founding_name)
        pipeline = ObjectPipeline(
            self.place,
            publication.writer,
            builder,
            previous,
            chunker=repository.chunker,
            clock=repository.runtime.clock,
            report=publication.findings.add,
            callback=callback,
            lost=lost,
        )
        try:
            yield Pass(scan, pipeline)
        finally:
            pipeline.close()
        self.proofs = scan.proofs

    def remarks(self) -> list[Finding]:
        """As `Tree.remarks`: by what the next backup will tell that nothing has changed."""
        proofs = self.proofs
        parts = {
            "by tag (ETag, generation), size and time": proofs.tagged,
            "by size and time alone": proofs.timed,
            "not at all, and read each time": proofs.unproven,
        }
        told = "; ".join(f"{count:,} {how}" for how, count in parts.items() if count)
        weaker = " That is weaker: a change that keeps size and time goes unnoticed." if proofs.timed else ""
        if not told:
            return []
        return [
            Finding(
                code=Code.CHANGE_EVIDENCE,
                severity=Severity.INFO,
                what=f"whether files have changed is told: {told}.{weaker}",
                action="Read everything now and then, with parent=None, where that matters." if proofs.timed else "",
                subject=self.place.where,
            )
        ]
