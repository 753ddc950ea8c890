"""What a check of an artefact tells: its kind, whether it is whole, how much was read, and what it holds."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity

_FINDINGS_KEPT = 1000


class Level(StrEnum):
    """How much of an artefact is read; `level.rank` orders them."""

    LISTED = "listed"  # its beginning, and the listing where the format has one
    STRUCTURE = "structure"  # also every mark that says where parts begin and end, to the end of the artefact
    FULL = "full"  # every byte: decompressed, parsed and compared with each checksum that there is

    @property
    def rank(self) -> int:
        """0 for what reads least."""
        return list(Level).index(self)


class Kind(StrEnum):
    """What an artefact is, by its content."""

    TAR = "tar"
    ZIP = "zip"
    GZIP = "gzip"
    ZSTD = "zstd"
    SQLITE = "sqlite"
    SQLITE_DUMP = "sqlite-dump"
    PG_PLAIN = "pg-plain"
    PG_CUSTOM = "pg-custom"
    PG_DIRECTORY = "pg-directory"
    PG_TAR = "pg-tar"
    MYSQL_DUMP = "mysql-dump"
    REDIS = "redis-rdb"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Holds:
    """What an artefact holds; None where its kind does not tell or the level did not read it.

    `content` is the kind of what was compressed, for gzip and zstd. `bytes` counts what comes out of it: file
    contents of a tar or zip, text of a dump, the decompressed stream. `keys` are those of Redis.
    """

    content: Kind | None = None
    bytes: int | None = None
    members: int | None = None
    tables: int | None = None
    rows: int | None = None
    keys: int | None = None
    database: str | None = None
    server_version: str | None = None
    dump_version: str | None = None


@attrs.frozen(kw_only=True)
class ArtifactReport:
    """The answer to "is this dump whole?".

    `whole` is true only if nothing of severity error was found, the requested level was reached and the artefact was
    followed to its end, which `Level.LISTED` never does. `unproved` says in sentences what even this level cannot see.
    """

    path: str
    kind: Kind
    whole: bool
    level: Level | None
    requested: Level
    holds: Holds
    findings: tuple[Finding, ...]
    bytes_read: int
    unproved: tuple[str, ...]
    statement: str


@attrs.define
class Inquiry:
    """What one check has learned so far; it becomes a report.

    `checksummed` is true while everything that is read has already passed a checksum of the compression around it.
    `depth` counts the compressions that were taken off.
    """

    path: str
    requested: Level
    kind: Kind = Kind.UNKNOWN
    reached: Level | None = None
    holds: Holds = attrs.Factory(Holds)
    findings: list[Finding] = attrs.Factory(list)
    unproved: list[str] = attrs.Factory(list)
    left_out: int = 0
    checksummed: bool = False
    depth: int = 0

    def find(self, code: Code, what: str, action: str = "", *, severity: Severity = Severity.ERROR) -> None:
        """Note something; beyond a thousand findings only their number is kept."""
        if len(self.findings) >= _FINDINGS_KEPT:
            self.left_out += 1
            return
        self.findings.append(Finding(code=code, severity=severity, what=what, action=action, subject=self.path))

    def doubt(self, sentence: str) -> None:
        """Note what cannot be proved at any level, once."""
        if sentence not in self.unproved:
            self.unproved.append(sentence)

    def reach(self, level: Level) -> None:
        """Note that this level was reached; the last word counts, so that what is inside can take back."""
        self.reached = level

    def learn(self, **facts: Any) -> None:
        """Note what the artefact holds."""
        self.holds = attrs.evolve(self.holds, **facts)

    def wants(self, level: Level) -> bool:
        """Whether the caller asked for at least this level."""
        return self.requested.rank >= level.rank

    @property
    def failed(self) -> bool:
        """Whether something of severity error was found."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


def conclude(inquiry: Inquiry, bytes_read: int) -> ArtifactReport:
    """The report of a finished inquiry."""
    reached = inquiry.reached
    whole = (
        not inquiry.failed and reached is not None and reached.rank >= max(inquiry.requested.rank, Level.STRUCTURE.rank)
    )
    findings = list(inquiry.findings)
    if inquiry.left_out:
        findings.append(
            Finding(
                code=Code.ARTIFACT_DAMAGED,
                severity=Severity.ERROR,
                what=f"{inquiry.left_out} more findings are not listed",
                subject=inquiry.path,
            )
        )
    return ArtifactReport(
        path=inquiry.path,
        kind=inquiry.kind,
        whole=whole,
        level=reached,
        requested=inquiry.requested,
        holds=inquiry.holds,
        findings=tuple(findings),
        bytes_read=bytes_read,
        unproved=tuple(inquiry.unproved),
        statement=_statement(inquiry, whole),
    )


_READ = {
    None: "nothing of it could be followed",
    Level.LISTED: "only its beginning and listing were followed",
    Level.STRUCTURE: "its parts were followed to its end, without reading every byte of their content",
    Level.FULL: "every byte was read",
}


def _statement(inquiry: Inquiry, whole: bool) -> str:
    what = inquiry.kind.value
    if inquiry.holds.content is not None:
        what += f" of {inquiry.holds.content.value}"
    errors = sum(finding.severity is Severity.ERROR for finding in inquiry.findings) + inquiry.left_out
    if whole:
        proof = "it is whole"
        if inquiry.unproved:
            proof += ", as far as its format can tell"
    elif errors:
        proof = f"it is not whole ({errors} error{'s' if errors > 1 else ''})"
    else:
        proof = "that does not prove it whole"
    return f"{what}: {_READ[inquiry.reached]}; {proof}."
