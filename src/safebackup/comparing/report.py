"""The outcome of a comparison, and how it is put together while two trees are walked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import attrs

from safebackup.errors import Code
from safebackup.findings import Finding, Severity, printable

LISTED_MAX = 1_000


class Aspect(StrEnum):
    """In what respect a path is not what it should be."""

    MISSING = "missing"
    EXTRA = "extra"
    KIND = "kind"
    SIZE = "size"
    CONTENT = "content"
    TARGET = "link-target"
    DEVICE = "device"
    HARD_LINKS = "hard-links"
    MODE = "mode"
    OWNER = "owner"
    MTIME = "mtime"
    XATTRS = "xattrs"
    NOT_COMPARED = "not-compared"


@attrs.frozen
class Difference:
    """A path beneath the two roots, b"" for the roots themselves; in which respects it differs, and how in words."""

    path: bytes
    aspects: tuple[Aspect, ...]
    what: str


@attrs.frozen
class Subtree:
    """A folder at the top of the trees in which something was found, and of how many paths in it what."""

    name: bytes
    missing: int = 0
    extra: int = 0
    differ: int = 0
    drifted: int = 0
    unreadable: int = 0


@attrs.frozen(kw_only=True)
class TreeComparison:
    """What a comparison found.

    `same`: nothing is missing, extra, different or unread, and something was compared. Each tuple lists the first 1,000
    in path order, and the number of all of them is beside it. What changed on the expected side since the given moment
    is in `drifted` and does not count against `same`. `entries` are the paths on both sides, `alike` those without any
    difference; `files_read` and `bytes_read` are the content that was read on both sides and is the same.
    `by_subtree` names at most 1,000 folders at the top; b"" stands for what is in none.
    """

    same: bool
    missing: tuple[Difference, ...]
    missing_total: int
    extra: tuple[Difference, ...]
    extra_total: int
    differ: tuple[Difference, ...]
    differ_total: int
    drifted: tuple[Difference, ...]
    drifted_total: int
    unreadable: tuple[Difference, ...]
    unreadable_total: int
    entries: int
    alike: int
    files_read: int
    bytes_read: int
    by_subtree: tuple[Subtree, ...]
    findings: tuple[Finding, ...]
    statement: str


class Outcome(StrEnum):
    """The five lists of a comparison, by their names there."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFER = "differ"
    DRIFTED = "drifted"
    UNREADABLE = "unreadable"


@attrs.define
class _Count:
    total: int = 0
    first: bytes = b""

    def add(self, path: bytes) -> None:
        if not self.total:
            self.first = path
        self.total += 1


@attrs.define
class Tally:
    """Counts what is found, and keeps the first of each kind."""

    entries: int = 0
    alike: int = 0
    files_read: int = 0
    bytes_read: int = 0
    shared: _Count = attrs.field(factory=_Count)  # one and the same file on both sides
    sockets: _Count = attrs.field(factory=_Count)
    _lists: dict[Outcome, list[Difference]] = attrs.field(factory=lambda: {outcome: [] for outcome in Outcome})
    _counts: dict[Outcome, _Count] = attrs.field(factory=lambda: {outcome: _Count() for outcome in Outcome})
    _differing: dict[Aspect, _Count] = attrs.field(factory=dict)
    _subtrees: dict[bytes, dict[Outcome, int]] = attrs.field(factory=dict)

    def add(self, outcome: Outcome, path: bytes, told: Sequence[tuple[Aspect, str]], *, is_folder: bool) -> None:
        """Something was found about a path."""
        self._counts[outcome].add(path)
        aspects = tuple(aspect for aspect, _ in told)
        if outcome is Outcome.DIFFER:
            for aspect in aspects:
                self._differing.setdefault(aspect, _Count()).add(path)
        listed = self._lists[outcome]
        if len(listed) < LISTED_MAX:
            listed.append(Difference(path, aspects, "; ".join(what for _, what in told)))
        top, slash, _ = path.partition(b"/")
        name = top if slash or is_folder else b""
        if name in self._subtrees or len(self._subtrees) < LISTED_MAX:
            counts = self._subtrees.setdefault(name, {})
            counts[outcome] = counts.get(outcome, 0) + 1

    def result(self, *, empty_is_fine: bool, scope: str) -> TreeComparison:
        """The comparison. `empty_is_fine`: both roots are empty folders and may be; `scope` says what was compared."""
        compared = self.alike > 0 or empty_is_fine
        counted = {outcome: count.total for outcome, count in self._counts.items()}
        listed = {outcome: tuple(differences) for outcome, differences in self._lists.items()}
        return TreeComparison(
            same=compared and not any(number for outcome, number in counted.items() if outcome != Outcome.DRIFTED),
            missing=listed[Outcome.MISSING],
            missing_total=counted[Outcome.MISSING],
            extra=listed[Outcome.EXTRA],
            extra_total=counted[Outcome.EXTRA],
            differ=listed[Outcome.DIFFER],
            differ_total=counted[Outcome.DIFFER],
            drifted=listed[Outcome.DRIFTED],
            drifted_total=counted[Outcome.DRIFTED],
            unreadable=listed[Outcome.UNREADABLE],
            unreadable_total=counted[Outcome.UNREADABLE],
            entries=self.entries,
            alike=self.alike,
            files_read=self.files_read,
            bytes_read=self.bytes_read,
            by_subtree=tuple(self._subtree(name) for name in sorted(self._subtrees)),
            findings=tuple(self._findings(compared)),
            statement=self._statement(compared) + scope,
        )

    def _subtree(self, name: bytes) -> Subtree:
        return Subtree(name, **{str(outcome): number for outcome, number in self._subtrees[name].items()})

    def _statement(self, compared: bool) -> str:
        counts = self._counts
        found = [
            f"{counts[outcome].total:,} {words}"
            for outcome, words in (
                (Outcome.MISSING, "missing"),
                (Outcome.EXTRA, "extra"),
                (Outcome.DIFFER, "different"),
                (Outcome.UNREADABLE, "not compared"),
                (Outcome.DRIFTED, "changed since"),
            )
            if counts[outcome].total
        ]
        rest = f"; {', '.join(found)}." if found else "."
        if not compared:
            return f"Nothing was proved: no path is on both sides and the same{rest}"
        read = f"{_number(self.files_read, 'file')} with {_number(self.bytes_read, 'byte')} read on both sides"
        return f"{_number(self.alike, 'path')} the same, {read}{rest}"

    def _findings(self, compared: bool) -> Iterator[Finding]:
        counts = self._counts
        if not compared:
            yield Finding(
                code=Code.NOTHING_COMPARED,
                severity=Severity.ERROR,
                what="no path is on both sides and the same, so that nothing was proved",
                action="Check both paths and whether their disks are mounted; allow_empty=True if both may be empty.",
            )
        yield from _counted(Code.PATH_MISSING, counts[Outcome.MISSING], "missing on the restored side")
        yield from _counted(Code.PATH_EXTRA, counts[Outcome.EXTRA], "on the restored side only")
        for aspect, count in self._differing.items():
            yield from _counted(Code.PATH_DIFFERS, count, f"different in {aspect}", _ACTIONS[aspect])
        yield from _counted(Code.NOT_COMPARED, counts[Outcome.UNREADABLE], "not compared")
        yield from _counted(Code.ONE_AND_THE_SAME, self.shared, "one and the same file on both sides")
        yield from _counted(Code.PATH_DRIFTED, counts[Outcome.DRIFTED], "changed on the expected side since")
        yield from _counted(
            Code.SOCKET_LEFT_OUT, self.sockets, "sockets, which hold nothing, on the expected side only"
        )


_SEVERITIES = {
    Code.PATH_DRIFTED: Severity.INFO,
    Code.SOCKET_LEFT_OUT: Severity.INFO,
    Code.ONE_AND_THE_SAME: Severity.WARNING,
}
_ACTIONS: dict[Code | Aspect, str] = {
    Code.PATH_MISSING: "Look why the backup left them out: an exclude line, a permission, a disk that was not mounted.",
    Code.PATH_EXTRA: "Look whether they were in the target before the restore, or are gone from the source.",
    Code.NOT_COMPARED: "Compare again as a user who may read both sides, while nothing writes to them.",
    Code.ONE_AND_THE_SAME: "Restore copies of the files, not hard links to them.",
    Aspect.KIND: "Do not trust this backup before you know why.",
    Aspect.CONTENT: "Do not trust this backup before you know why.",
    Aspect.SIZE: "Do not trust this backup before you know why.",
    Aspect.TARGET: "Look whether the tool rewrites links, and whether they still lead to what was meant.",
    Aspect.DEVICE: "Restore as root, with a tool that keeps device numbers.",
    Aspect.HARD_LINKS: "Look whether the tool was told to keep hard links, as rsync is with --hard-links.",
    Aspect.MODE: "Restore as root and without a umask: tar with -p, rsync with --perms.",
    Aspect.XATTRS: "Restore as root; tell the tool to keep them, both ways: tar --xattrs --acls, rsync -XA.",
    Aspect.OWNER: "Restore as root; where owners do not matter, say owners=False.",
    Aspect.MTIME: "Look whether the tool keeps whole seconds only, as tar without --format=pax does.",
}


def _counted(code: Code, count: _Count, what: str, action: str = "") -> Iterator[Finding]:
    """One finding for all paths of which the same is to be said, about the first of them."""
    if count.total:
        yield Finding(
            code=code,
            severity=_SEVERITIES.get(code, Severity.ERROR),
            what=f"{_number(count.total, 'path')}: {what}",
            action=action or _ACTIONS.get(code, ""),
            subject=printable(count.first) or ".",
        )


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
