"""Reading SQL text piece by piece: where statements, comments and rows begin and end, in bounded memory.

A mark such as "dump complete" counts only outside strings, bodies of functions and rows; a row may contain it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

_AHEAD = 160  # no token that matters is longer
_BEHIND = 16
_HEAD_MOST = 64 << 10
_COMMENT_MOST = 400
_COPY = re.compile(rb"COPY\s.*FROM stdin\s*$", re.DOTALL)
_VALUES = re.compile(rb"\bVALUES\s*$", re.IGNORECASE)
_INSERT = re.compile(rb"(INSERT|REPLACE)\b", re.IGNORECASE)
_SPACE = b" \t\r\n\f\v"
_WORD = re.compile(rb"[\w\x80-\xff]")


@attrs.frozen
class Dialect:
    """How one program writes SQL: `token` finds the next thing that is not plain text, `begins` where a dump begins."""

    token: re.Pattern[bytes]
    begins: re.Pattern[bytes]  # its match has no quote in it, and with what it looks ahead to less than _AHEAD bytes
    escapes: bool = False  # a backslash protects the next character in every string
    postgres: bool = False


_SIMPLE = rb"'[^'\\]*'(?!')|['\"`;()]|--[^\n]?|/\*"
POSTGRES = Dialect(
    re.compile(_SIMPLE + rb"|\\|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"),
    # As rows of a table these lines would hardly stand together.
    re.compile(rb"--\r?\n-- PostgreSQL database( cluster)? dump\r?\n--\r?\n\r?\n"),
    postgres=True,
)
MYSQL = Dialect(
    re.compile(_SIMPLE + rb"|\*/|#|^DELIMITER [^\s]+", re.MULTILINE),
    re.compile(rb"-- (?:MySQL|MariaDB) dump (?=[^\n']{1,120}\n--\r?\n-- Host: )"),
    escapes=True,
)
SQLITE = Dialect(re.compile(_SIMPLE), re.compile(rb"BEGIN TRANSACTION;\r?\n"))


class Listener:
    """What the scanner tells; the judges of dumps override what they want to know."""

    def on_statement(self, head: bytes, rows: int) -> None:
        """A statement ended: its beginning, and how many rows it inserts."""

    def on_comment(self, text: bytes) -> None:
        """A comment line that is in no statement."""

    def on_meta(self, text: bytes) -> None:
        """A command to psql, from its backslash to the end of the line."""

    def on_copied(self, rows: int) -> None:
        """The rows after a COPY ended."""

    def on_begun_inside(self) -> None:
        """Another dump begins within a statement or the rows after a COPY."""


class SqlScanner:
    """Feed it pieces, then call `end`; `inside` then says what was left open, and is empty if nothing was."""

    def __init__(self, dialect: Dialect, listener: Listener) -> None:
        self.dialect = dialect
        self.listener = listener
        self.inside = ""
        self._buffer = b""
        self._place = 0
        self._state: Callable[[int, bool], int] = self._text
        self._close = b""
        self._escapes = False
        self._comment = bytearray()
        self._depth = 0
        self._begun = False  # in the string or body that is open
        self._delimiter = b";"
        self._reset()

    def _reset(self) -> None:
        self._head = bytearray()
        self._parens = 0
        self._rows = 0
        self._in_values = False

    def feed(self, piece: bytes) -> None:
        """The next bytes of the text."""
        self._run(piece, final=False)

    def end(self) -> None:
        """The text is over."""
        self._run(b"", final=True)
        names = {
            "_string": "a string",
            "_block": "a comment",
            "_dollar": "the body of a function",
            "_copy": "the rows of a table",
            "_copy_start": "the rows of a table",
            "_line": "a line",
        }
        self.inside = names.get(self._state.__name__, "")
        if not self.inside and self._head:
            self.inside = "a statement"
        if not self.inside and self._delimiter != b";":
            self.inside = "a routine"

    def _run(self, piece: bytes, *, final: bool) -> None:
        kept = max(0, self._place - _BEHIND)
        self._buffer = self._buffer[kept:] + piece
        self._place -= kept
        limit = len(self._buffer) - (0 if final else _AHEAD)
        for begun in self.dialect.begins.finditer(self._buffer, self._place):
            self._advance(min(begun.start(), limit), final)
            if self._place < begun.start():
                break
            self._look_around(begun.start())
        self._advance(limit, final)

    def _advance(self, limit: int, final: bool) -> None:
        while self._place < limit:
            self._place = self._state(limit, final)

    def _look_around(self, begun: int) -> None:
        """Whether the dump that begins at `begun` stands where none can: then the one ahead of it was cut."""
        in_text = self._state == self._text
        if self._place == begun and in_text and not self._head:
            return
        # mysqldump writes each newline of a value with a backslash, so that none of its values is such lines.
        if self.dialect.escapes or self._state in (self._copy_start, self._copy) or (in_text and self._place == begun):
            self.listener.on_begun_inside()
        elif in_text or self._state in (self._string, self._dollar):
            self._begun = True  # a value or a body may be a dump: what follows its end tells
            if in_text:
                self._close_string(self._place)

    def _close_string(self, end: int) -> None:
        """Where a cut string goes on in another dump, the quote that ends it was to begin one there."""
        if not self._begun or self._buffer.startswith(self._close, end):  # half of a doubled quote ends nothing
            return
        inserted = _INSERT.match(self._head) is not None
        if _WORD.match(self._buffer, end) or (inserted and self._buffer[end : end + 1] not in b",)"):
            self.listener.on_begun_inside()
        self._begun = False

    # Each state looks from `_place` on, begins nothing at or behind `limit`, and gives the place reached.

    def _text(self, limit: int, final: bool) -> int:
        match = self.dialect.token.search(self._buffer, self._place)
        if match is None or match.start() >= limit:
            self._add(self._buffer[self._place : limit])
            return limit
        self._add(self._buffer[self._place : match.start()])
        token, start = match[0], match.start()
        if token[:1] == b"'" and len(token) > 1 and not self._open_escaped(start):
            self._add(b"''")
            self._close = b"'"
            self._close_string(match.end())
            return match.end()
        return self._begin(token, start)

    def _begin(self, token: bytes, start: int) -> int:
        first = token[:1]
        if first in (b"'", b'"', b"`"):
            self._close = first
            self._escapes = first != b"`" and (self.dialect.escapes or self._open_escaped(start))
            self._add(first)
            return self._enter(self._string, start + 1)
        if first == b";":
            return self._semicolon(start)
        if first in (b"(", b")"):
            self._parenthesis(first)
            return start + 1
        if first == b"$":
            self._close = token
            self._add(token)
            return self._enter(self._dollar, start + len(token))
        if first in (b"-", b"#", b"\\", b"D"):
            return self._begin_line(token, start)
        return self._begin_block(token, start)

    def _begin_line(self, token: bytes, start: int) -> int:
        if token[:1] == b"\\" and self._head:
            return start + 1
        if token[:2] == b"--" and self.dialect.escapes and token[2:] not in (b" ", b"\t", b"\r", b""):
            return start + 2
        if token[:1] == b"D":
            if self._head:
                self._add(token)
            else:
                self._delimiter = token.split()[1]
            return start + len(token)
        self._comment.clear()
        return self._enter(self._line, start)

    def _begin_block(self, token: bytes, start: int) -> int:
        after = self._buffer[start + 2 : start + 5]
        if token == b"*/":
            return start + 2
        # What MySQL runs is code, not a comment, except the line that only switches its client to a sandbox.
        if self.dialect.escapes and after.startswith((b"!", b"M!")):
            if self._buffer[start : start + 20].partition(b"!")[2].startswith(b"999999\\-"):
                return self._enter_block(start)
            self._add(b"/*!")
            return start + 3
        return self._enter_block(start)

    def _enter_block(self, start: int) -> int:
        self._depth = 1
        return self._enter(self._block, start + 2)

    def _enter(self, state: Callable[[int, bool], int], place: int) -> int:
        self._state = state
        return place

    def _open_escaped(self, start: int) -> bool:
        """Whether the quote at `start` opens one of PostgreSQL's E'' strings."""
        if not self.dialect.postgres or self._buffer[start - 1 : start] not in (b"E", b"e") or start == 0:
            return False
        before = self._buffer[start - 2 : start - 1] if start > 1 else b" "
        return not (before.isalnum() or before in (b"_", b"$"))

    def _add(self, text: bytes) -> None:
        if not self._head:
            text = text.lstrip(_SPACE)
        if len(self._head) < _HEAD_MOST:
            self._head += text[:_HEAD_MOST]

    def _parenthesis(self, which: bytes) -> None:
        if which == b"(":
            if self._parens == 0:
                if not self._in_values and _INSERT.match(self._head):
                    self._in_values = _VALUES.search(self._head[-64:]) is not None
                self._rows += self._in_values
            self._parens += 1
        else:
            self._parens = max(0, self._parens - 1)
        self._add(which)

    def _semicolon(self, start: int) -> int:
        if not self._buffer.startswith(self._delimiter, start):
            self._add(b";")
            return start + 1
        head, rows = bytes(self._head), self._rows
        self._reset()
        after = start + len(self._delimiter)
        if head:
            self.listener.on_statement(head, rows)
        if self.dialect.postgres and _COPY.match(head):
            return self._enter(self._copy_start, after)
        return after

    def _string(self, limit: int, final: bool) -> int:
        place = self._place
        end = self._buffer.find(self._close, place, limit)
        while self._escapes:
            slash = self._buffer.find(b"\\", place, limit if end < 0 else end)
            if slash < 0:
                break
            place = slash + 2
            if 0 <= end < place:
                end = self._buffer.find(self._close, place, limit)
        if end < 0:
            return max(place, limit)
        # A doubled quote is one in the string: it is left and entered again, which comes to the same.
        self._add(self._close)
        self._close_string(end + 1)
        return self._enter(self._text, end + 1)

    def _dollar(self, limit: int, final: bool) -> int:
        end = self._buffer.find(self._close, self._place)
        if end < 0 or end >= limit:
            return limit
        end += len(self._close)
        if self._begun and not self._buffer.startswith(b";", end):  # pg_dump writes a body last
            self.listener.on_begun_inside()
        self._begun = False
        return self._enter(self._text, end)

    def _line(self, limit: int, final: bool) -> int:
        end = self._buffer.find(b"\n", self._place, limit)
        stop = limit if end < 0 else end
        if len(self._comment) < _COMMENT_MOST:
            self._comment += self._buffer[self._place : stop][:_COMMENT_MOST]
        if end < 0:
            return limit
        text = bytes(self._comment).rstrip(b"\r")
        self._state = self._text
        if text.startswith(b"\\"):
            self.listener.on_meta(text)
        elif not self._head:
            self.listener.on_comment(text)
        return end + 1

    def _block(self, limit: int, final: bool) -> int:
        close = self._buffer.find(b"*/", self._place)
        inner = self._buffer.find(b"/*", self._place, close if close >= 0 else None) if self.dialect.postgres else -1
        first = min(place for place in (close, inner, limit) if place >= 0)
        if first >= limit:
            return limit
        self._depth += 1 if first == inner else -1
        if self._depth == 0:
            self._state = self._text
        return first + 2

    def _copy_start(self, limit: int, final: bool) -> int:
        """The rest of the line that began the rows."""
        end = self._buffer.find(b"\n", self._place, limit)
        if end < 0:
            return limit
        return self._enter(self._copy, end + 1)

    def _copy(self, limit: int, final: bool) -> int:
        end = self._buffer.find(b"\n\\.", self._place - 1)
        while 0 <= end < limit and not self._buffer.startswith((b"\n", b"\r\n"), end + 3):
            end = self._buffer.find(b"\n\\.", end + 1)
        if 0 <= end < limit:
            self._rows += self._buffer.count(b"\n", self._place, end + 1)
            rows = self._rows
            self._reset()
            self.listener.on_copied(rows)
            return self._enter(self._text, end + 3)
        self._rows += self._buffer.count(b"\n", self._place, limit)
        return limit
