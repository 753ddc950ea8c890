"""Two trees walked in step, in path order, each path judged once.

Held in memory: the names of the folders on the way, and files with several names of which not all were met yet.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import attrs

from safebackup.comparing.differing import (
    HardLinks,
    Told,
    compare_content,
    is_unchanged,
    kind_difference,
    metadata_differences,
    nature_differences,
    nature_of,
)
from safebackup.comparing.reading import CLOSED, Node, SideError
from safebackup.comparing.report import Aspect, Outcome, Tally

_LEVELS_OPEN_MAX = 32  # in a deeper tree those nearest to the root are closed, and opened again on the way back
_CHANGED = "it changed while it was compared"


@attrs.frozen(kw_only=True)
class Options:
    """What is compared, and from when on the expected side counts as changed: nanoseconds since 1970."""

    since: int | None
    content: bool
    metadata: bool
    owners: bool


@attrs.define
class _Level:
    """A folder whose entries are being walked, on both sides or on one."""

    expected: Node | None
    restored: Node | None
    expected_names: list[bytes]  # those still to come, the next one last
    restored_names: list[bytes]
    beneath: int  # the length of the path to its entries
    deleted_since: bool  # what is here was deleted on the expected side since

    def next_name(self) -> tuple[bytes, bool, bool] | None:
        """The next name, and whether it is on the expected and on the restored side; None at the end."""
        left, right = self.expected_names, self.restored_names
        if left and right:
            name = min(left[-1], right[-1])
        elif left or right:
            name = (left or right)[-1]
        else:
            return None
        on_left, on_right = bool(left) and left[-1] == name, bool(right) and right[-1] == name
        if on_left:
            left.pop()
        if on_right:
            right.pop()
        return name, on_left, on_right

    def rest(self, beneath: _Level) -> None:
        """Give back the descriptors that can be had again from the level beneath, coming back."""
        if self.expected and beneath.expected:
            self.expected.close()
        if self.restored and beneath.restored:
            self.restored.close()

    def resume(self, beneath: _Level) -> None:
        """The opposite of `rest`."""
        for mine, theirs in ((self.expected, beneath.expected), (self.restored, beneath.restored)):
            if mine and theirs and mine.fd == CLOSED:
                mine.reopen_from(theirs)

    def close(self) -> None:
        for node in (self.expected, self.restored):
            if node:
                node.close()


class Walk:
    """One comparison: `run`, then read `tally` and `both_empty`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tally = Tally()
        self.both_empty = False
        self._stack: list[_Level] = []
        self._links = HardLinks(), HardLinks()
        self._number = 0

    def run(self, expected: Node, restored: Node) -> None:
        """Compare everything, the roots included."""
        path = b""
        try:
            self._both(path, expected, restored)
            self.both_empty = len(self._stack) == 1 and not (
                self._stack[0].expected_names or self._stack[0].restored_names
            )
            while self._stack:
                level = self._stack[-1]
                above = path[: level.beneath]
                if (found := level.next_name()) is None:
                    path = above
                    self._leave(path)
                    continue
                name, on_left, on_right = found
                path = above + name
                self._visit(level, path, name, on_left, on_right)
                if self._stack[-1] is not level:
                    path += b"/"
        finally:
            for level in self._stack:
                level.close()

    def _visit(self, level: _Level, path: bytes, name: bytes, on_left: bool, on_right: bool) -> None:
        expected = restored = None
        try:
            if on_left and level.expected and not (expected := self._look(level.expected, path, name)):
                return
            if on_right and level.restored and not (restored := self._look(level.restored, path, name)):
                return
            if expected and restored:
                self._both(path, expected, restored)
            elif expected:
                self._only_expected(path, expected)
            elif restored:
                self._only_restored(level, path, restored)
        finally:
            for node in (expected, restored):
                if node:
                    node.close()

    def _look(self, folder: Node, path: bytes, name: bytes) -> Node | None:
        try:
            return folder.child(name)
        except OSError as error:
            told = [(Aspect.NOT_COMPARED, str(SideError(folder.side, error)))]
            is_drift = error.errno == errno.ENOENT and folder is self._stack[-1].expected and self._lost_since(folder)
            self.tally.add(Outcome.DRIFTED if is_drift else Outcome.UNREADABLE, path, told, is_folder=False)
            return None

    def _both(self, path: bytes, expected: Node, restored: Node) -> None:
        told: list[Told] = []
        failure, now = "", expected.status
        self._number += 1
        try:
            for difference in self._differences(expected, restored):
                told.append(difference)
            now = expected.status_now()
            if not is_unchanged(restored.status, restored.status_now()):
                failure = f"restored: {_CHANGED}"
        except SideError as error:
            failure = str(error)
        is_drift = self._changed_since(now)
        if not is_unchanged(expected.status, now):
            if is_drift:
                told.append((Aspect.NOT_COMPARED, _CHANGED))
            else:  # what was told may come from that change
                told, failure = [], failure or f"expected: {_CHANGED}"
        self._judge(path, expected, restored, told, failure, is_drift=is_drift)
        if expected.kind == restored.kind:
            if expected.is_folder:
                self._enter(path, expected, restored)
        elif expected.is_folder:
            self._enter(path, expected, None)
        elif restored.is_folder:
            self._enter(path, None, restored, deleted_since=is_drift)

    def _differences(self, expected: Node, restored: Node) -> Iterator[Told]:
        if mismatch := kind_difference(expected, restored):
            yield mismatch
            return
        natures = list(nature_differences(expected, restored))
        yield from natures
        if self.options.metadata:
            yield from metadata_differences(expected, restored, owners=self.options.owners)
            if not expected.is_folder:
                yield from self._link_differences(expected, restored)
        if self.options.content and expected.kind == stat.S_IFREG and not natures:
            if os.path.samestat(expected.status, restored.status):
                return
            comparison = compare_content(expected, restored)
            if comparison.first_difference is not None:
                yield Aspect.CONTENT, f"content differs from byte {comparison.first_difference:,} on"
            else:
                self.tally.files_read += 1
                self.tally.bytes_read += comparison.length

    def _link_differences(self, expected: Node, restored: Node) -> Iterator[Told]:
        left, right = (
            links.first(node.status, self._number)
            for links, node in zip(self._links, (expected, restored), strict=True)
        )
        if left == right:
            return
        if right == self._number:
            yield Aspect.HARD_LINKS, "a file of its own instead of a hard link"
        elif left == self._number:
            yield Aspect.HARD_LINKS, "a hard link instead of a file of its own"
        else:
            yield Aspect.HARD_LINKS, "a hard link of another file than expected"

    def _judge(
        self, path: bytes, expected: Node, restored: Node, told: list[Told], failure: str, *, is_drift: bool
    ) -> None:
        """Count one path that is on both sides."""
        is_folder = expected.is_folder or restored.is_folder
        counts = bool(path) or not is_folder  # two folders that were named prove nothing by being there
        if counts:
            self.tally.entries += 1
        if failure:
            self.tally.add(Outcome.UNREADABLE, path, [(Aspect.NOT_COMPARED, failure)], is_folder=is_folder)
        if told:
            self.tally.add(Outcome.DRIFTED if is_drift else Outcome.DIFFER, path, told, is_folder=is_folder)
        if told or failure or not counts:
            return
        if not is_folder and os.path.samestat(expected.status, restored.status):
            self.tally.shared.add(path)
        else:
            self.tally.alike += 1

    def _only_expected(self, path: bytes, expected: Node) -> None:
        if stat.S_ISSOCK(expected.status.st_mode):
            self.tally.sockets.add(path)
            return
        outcome = Outcome.DRIFTED if self._changed_since(expected.status) else Outcome.MISSING
        self.tally.add(outcome, path, [(Aspect.MISSING, nature_of(expected))], is_folder=expected.is_folder)
        if expected.is_folder:
            self._enter(path, expected, None)

    def _only_restored(self, level: _Level, path: bytes, restored: Node) -> None:
        is_drift = level.deleted_since or (level.expected is not None and self._lost_since(level.expected))
        outcome = Outcome.DRIFTED if is_drift else Outcome.EXTRA
        self.tally.add(outcome, path, [(Aspect.EXTRA, nature_of(restored))], is_folder=restored.is_folder)
        if restored.is_folder:
            self._enter(path, None, restored, deleted_since=is_drift)

    def _enter(self, path: bytes, expected: Node | None, restored: Node | None, *, deleted_since: bool = False) -> None:
        """Go on with what is in this folder; where it cannot be listed, say so."""
        try:
            expected_names = expected.names() if expected else []
            restored_names = restored.names() if restored else []
        except SideError as error:
            self.tally.add(Outcome.UNREADABLE, path, [(Aspect.NOT_COMPARED, f"not listed: {error}")], is_folder=True)
            return
        beneath = len(path) + 1 if path else 0
        self._stack.append(
            _Level(
                expected and expected.moved(),
                restored and restored.moved(),
                expected_names,
                restored_names,
                beneath,
                deleted_since,
            )
        )
        if len(self._stack) > _LEVELS_OPEN_MAX:
            self._stack[-1 - _LEVELS_OPEN_MAX].rest(self._stack[-_LEVELS_OPEN_MAX])

    def _leave(self, path: bytes) -> None:
        level = self._stack.pop()
        try:
            if self._stack:
                self._stack[-1].resume(level)
        except SideError as error:
            above = self._stack[-1]
            told = [(Aspect.NOT_COMPARED, f"not all that is in it was compared: {error}")]
            self.tally.add(Outcome.UNREADABLE, path[: max(above.beneath - 1, 0)], told, is_folder=True)
            above.expected_names.clear()
            above.restored_names.clear()
        finally:
            level.close()

    def _changed_since(self, status: os.stat_result) -> bool:
        # Not mtime: any program may set it to a time to come, and would hide every difference of that path.
        return self.options.since is not None and status.st_ctime_ns >= self.options.since

    def _lost_since(self, folder: Node) -> bool:
        """Whether names may have gone from this folder since: then it was written to, and both its times say so."""
        try:
            status = folder.status_now()
        except SideError:
            return False
        return self._changed_since(status) and status.st_mtime_ns >= (self.options.since or 0)
