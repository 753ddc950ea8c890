"""What happens to wall times that a change of the clocks leaves out or repeats."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

import attrs

from safebackup.errors import Code, ConfigurationError


class Gap(StrEnum):
    """What to do with a wall time that does not exist."""

    AFTER = "after"  # at the first instant after the gap; several of them become one
    SHIFT = "shift"  # later by the length of the gap
    SKIP = "skip"
    REFUSE = "refuse"


class Overlap(StrEnum):
    """What to do with a wall time that occurs twice."""

    FIRST = "first"
    SECOND = "second"
    BOTH = "both"
    REFUSE = "refuse"


InGap: TypeAlias = "Gap | Literal['after', 'shift', 'skip', 'refuse']"
InOverlap: TypeAlias = "Overlap | Literal['first', 'second', 'both', 'refuse']"
Preset: TypeAlias = Literal["once", "elapsed", "debian", "systemd", "kubernetes", "quartz", "rfc5545"]


@attrs.frozen
class Policy:
    """Both answers."""

    in_gap: Gap
    in_overlap: Overlap


ONCE = Policy(Gap.AFTER, Overlap.FIRST)
ELAPSED = Policy(Gap.SKIP, Overlap.BOTH)
RFC5545 = Policy(Gap.SKIP, Overlap.FIRST)

# Named after what they reproduce. Debian's cron decides by the expression: see `cron.is_wild`.
PRESETS: Mapping[Preset, Policy | None] = MappingProxyType(
    {
        "once": ONCE,
        "elapsed": ELAPSED,
        "debian": None,
        "systemd": Policy(Gap.SKIP, Overlap.FIRST),
        "kubernetes": ELAPSED,
        "quartz": Policy(Gap.SKIP, Overlap.SECOND),
        "rfc5545": RFC5545,
    }
)

_Choice = TypeVar("_Choice", Gap, Overlap)


def chosen_policy(
    default: Policy, *, in_gap: InGap | None, in_overlap: InOverlap | None, like: Preset | None
) -> Policy:
    """The policy that a caller stated, with `default` for what was not stated.

    Raises:
        ConfigurationError: a word is unknown, or `like` was given beside what it stands for.
    """
    if like is not None:
        if in_gap is not None or in_overlap is not None:
            raise ConfigurationError(
                f"like={like!r} already says what in_gap and in_overlap say",
                code=Code.BAD_SCHEDULE,
                hint="Give one or the other.",
            )
        if like not in list(PRESETS):  # of a list, it may be unhashable
            raise _unknown("like", like, list(PRESETS))
        return PRESETS[like] or default
    return Policy(
        default.in_gap if in_gap is None else _choose(Gap, in_gap, "in_gap"),
        default.in_overlap if in_overlap is None else _choose(Overlap, in_overlap, "in_overlap"),
    )


def _choose(kind: type[_Choice], word: str, name: str) -> _Choice:
    try:
        return kind(word)
    except ValueError as error:
        raise _unknown(name, word, [str(choice) for choice in kind]) from error


def _unknown(name: str, word: object, allowed: list[str] | list[Preset]) -> ConfigurationError:
    return ConfigurationError(
        f"{name}={word!r} is not one of {', '.join(map(repr, allowed))}",
        code=Code.BAD_SCHEDULE,
        hint="Choose what must happen when the clocks change.",
    )
