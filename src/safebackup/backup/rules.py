"""Rules: which paths of a source are left out, in gitignore's syntax and with gitignore's meaning.

The last line that matches a path decides about it, and a directory that is left out takes all beneath it along.
So that a walk can stop at such a directory, a line has to be held against each path itself, directories included.
pathspec translates each line; why its verdict on a whole set of lines is not asked is decision 0003.

Beyond gitignore: a line that can never match anything, or that pathspec and git read differently, is refused, since
in a backup nobody would notice the mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Self

import attrs

from safebackup.errors import ConfigurationError

NOT_INCLUDED = "not included"

# An escaped character, or brackets that git, pathspec and Python's regular expressions read alike.
_READ_ALIKE = re.compile(r"\\[^/]|\[[!^]?+\]?+(?:(?!--|&&|\|\||~~)[^]\[\\/])*\]")
# In an expression of pathspec: an escaped character, or the start of brackets that a line wrote.
_ESCAPED_OR_BRACKET = re.compile(r"(\\.)|\[(?!\^/\])", re.DOTALL)


@attrs.frozen
class Rules:
    """What `exclude` and `include` lines say about paths relative to a root."""

    _exclude: _Lines
    _include: _Lines

    @classmethod
    def of(cls, *, exclude: Iterable[str] = (), include: Iterable[str] = ()) -> Self:
        """The rules of these lines.

        Raises:
            ConfigurationError: a line is malformed, can never match, or takes back what it cannot.
        """
        rules = cls(_compiled("exclude", exclude), _compiled("include", include))
        _refuse_vain_exceptions(rules._exclude)
        return rules

    @property
    def exist(self) -> bool:
        """Whether any path at all could be left out."""
        return bool(self._exclude.written or self._include.written)

    def verdict(self, path: bytes, *, is_dir: bool) -> str | None:
        """The name of the rule that leaves this path out; None keeps it.

        It does not ask about the directories above: a walk never comes to what lies in an excluded one.
        """
        text = path.decode("utf-8", "surrogateescape")
        line = self._exclude.deciding(text + "/" if is_dir else text)
        if line is not None and not line.startswith("!"):
            return f"exclude: {line}"
        if is_dir or not self._include.written or self._is_included(text):
            return None
        return NOT_INCLUDED

    def excludes_from_above(self, path: bytes) -> bool:
        """Whether `path` as a directory, or a directory above it, is left out by an `exclude` line."""
        return any(self.verdict(folder, is_dir=True) for folder in _folders(path))

    def _is_included(self, file: str) -> bool:
        """Whether a line takes this file in, itself or through the nearest directory that a line speaks of."""
        text = file
        while text:
            line = self._include.deciding(text)
            if line is not None:
                return not line.startswith("!")
            text = text[: text.rstrip("/").rfind("/") + 1]
        return False


@attrs.frozen
class _Lines:
    """Lines with a meaning, the last one first, and one expression with a group for each."""

    written: tuple[str, ...]
    expression: re.Pattern[str] | None

    def deciding(self, text: str) -> str | None:
        """The last line that matches `text`; a directory ends with `/`."""
        if self.expression is None:
            return None
        match = self.expression.fullmatch(text)
        return self.written[match.lastindex - 1] if match and match.lastindex else None


def _folders(path: bytes) -> Iterator[bytes]:
    """`a`, `a/b`, `a/b/c` of `a/b/c`."""
    parts = path.split(b"/")
    return (b"/".join(parts[:count]) for count in range(1, len(parts) + 1) if path)


def _compiled(option: str, lines: Iterable[str]) -> _Lines:
    written: list[str] = []
    expressions: list[str] = []
    for line in lines:
        pattern = _without_trailing_spaces(line.removesuffix("\n").removesuffix("\r"))
        if not pattern or pattern.startswith("#"):
            continue
        try:
            _refuse_mistakes(pattern)
            expression = _translated(pattern)
            re.compile(expression)
        except (ValueError, re.error) as error:
            raise ConfigurationError(
                f"the {option} line {line!r} cannot be used: {error}",
                hint="Lines follow gitignore: *.tmp anywhere, /build/ at the top only, !keep.tmp takes back.",
            ) from error
        written.append(pattern)
        expressions.append(expression)
    written.reverse()
    expressions.reverse()
    # Alternatives are tried from left to right: the first that matches is the last line that was written.
    whole = re.compile("|".join(f"({each})" for each in expressions), re.DOTALL) if expressions else None
    return _Lines(tuple(written), whole)


def _without_trailing_spaces(line: str) -> str:
    kept = line.rstrip(" ")
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return kept + " " if backslashes % 2 and len(kept) < len(line) else kept


def _refuse_mistakes(pattern: str) -> None:
    """Refuse a line that can never match, or that pathspec reads otherwise than git."""
    parts = pattern.removeprefix("!").removesuffix("/").removeprefix("/").split("/")
    if not all(parts):
        raise ValueError("a part of it is empty, so that it matches no path")
    if {".", ".."} & set(parts):
        raise ValueError('"." and ".." match no path: lines are relative to the source')
    if pattern != pattern.rstrip() and not pattern.endswith("\\ "):
        raise ValueError("it ends with white space other than spaces: if a name does so, write ? for it")
    unclear = _READ_ALIKE.sub("", pattern)
    if "[" in unclear:
        raise ValueError(
            'a "[" needs its "]" in the same part, and between them no "[", "\\", "--", "&&", "||" or "~~"; '
            "for a class such as [[:alpha:]] write [a-zA-Z]"
        )
    if "\\" in unclear:
        raise ValueError("a part of it ends with a backslash that escapes nothing")


def _translated(pattern: str) -> str:
    """The regular expression of one line, for whole paths of which directories end with `/`.

    pathspec's expressions are meant for a search, which also finds what lies beneath a match. Held against a whole
    path they mean just that path, except where a line closes with stars: `x/**` becomes the same as `x/`, and `*`
    becomes "any character". So `**/?*` and `?*` take their place, which mean what git means by them.
    """
    # Imported late, so that a source without lines does not pay for it.
    from pathspec.patterns.gitignore.basic import GitIgnoreBasicPattern

    spelt = re.sub(r"\*{3,}", "**", pattern)
    spelt = re.sub(r"(^!?|/)\*\*(/?)\Z", r"\1**/*\2", spelt)
    spelt = re.sub(r"(^!?|/)\*(/?)\Z", r"\1?*\2", spelt)
    expression, _include = GitIgnoreBasicPattern.pattern_to_regex(spelt)
    if expression is None:
        raise ValueError("pathspec makes nothing of it")
    # In git no brackets match a slash; in pathspec [!a] and [+-9] do.
    return _ESCAPED_OR_BRACKET.sub(lambda match: match[1] or "(?!/)[", expression)


def _refuse_vain_exceptions(exclude: _Lines) -> None:
    """Refuse a `!` line for a path in a directory that is itself left out: as in gitignore it would do nothing."""
    for line in exclude.written:
        folder, slash, _name = line.removeprefix("!").strip("/").rpartition("/")
        if not line.startswith("!") or not slash or set("*?[\\") & set(folder):
            continue
        for each in _folders(folder.encode("utf-8", "surrogateescape")):
            text = each.decode("utf-8", "surrogateescape") + "/"
            by = exclude.deciding(text)
            if by is not None and not by.startswith("!"):
                raise ConfigurationError(
                    f"the exclude line {line!r} takes nothing back: {by!r} leaves out {text!r}, in which it lies",
                    hint=f'Leave out what is in the directory instead: put "!/{text}" and "/{text}*" before this line.',
                )
