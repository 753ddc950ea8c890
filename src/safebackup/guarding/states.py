"""The guard's state as values, and as the small JSON document that holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import attrs

from safebackup.errors import Code, ConfigurationError, IntegrityError
from safebackup.guarding.hosts import Process
from safebackup.schedule import moments

FORMAT = 1
RUNS_LEAST = 200  # kept, and all of the last week,
RUNS_MOST = 2500  # but no more than this, below a megabyte
KEPT_SECONDS = 7 * 86_400
OTHERS_KEPT = 50
SIZE_MAX = 16 << 20

_Record = TypeVar("_Record", bound=attrs.AttrsInstance)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Status(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # it ended, and nobody was left to write how
    VOID = "void"  # recorded by a clock that was wrong, and does not count


def _moment(value: object) -> int:
    """A second since 1970, from one or as it is stored."""
    if type(value) is int:
        return value
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(f"{value!r} is no time")
    return int(datetime.fromisoformat(value).timestamp())


def _moment_or_none(value: object) -> int | None:
    return None if value is None else _moment(value)


_A_MOMENT = {"moment": True}
_text = attrs.validators.instance_of(str)
_number = attrs.validators.instance_of(int)


def _process(value: object) -> object:
    return Process(**value) if isinstance(value, dict) else value


@attrs.frozen(kw_only=True)
class Run:
    """One run: for which occurrence, from when to when, and how it ended."""

    run_id: str = attrs.field(validator=_text)
    due: int | None = attrs.field(converter=_moment_or_none, metadata=_A_MOMENT)
    started: int = attrs.field(converter=_moment, metadata=_A_MOMENT)
    finished: int | None = attrs.field(default=None, converter=_moment_or_none, metadata=_A_MOMENT)
    status: Status = attrs.field(converter=Status)
    why: str = attrs.field(default="", validator=_text)
    host: str = attrs.field(validator=_text)
    host_zone: str = attrs.field(validator=_text)
    user: str = attrs.field(validator=_text)
    deadline: int | None = attrs.field(default=None, validator=attrs.validators.optional(_number))
    clock_step: int = attrs.field(default=0, validator=_number)
    # Only while it runs: afterwards nobody has to find the process.
    process: Process | None = attrs.field(
        default=None, converter=_process, validator=attrs.validators.optional(attrs.validators.instance_of(Process))
    )


@attrs.frozen(kw_only=True)
class Refusal:
    """A start that was refused: when, why, and for which occurrence it was taken.

    `clocks` are lines with the instants it is about on the clocks of the job, of the host, and in UTC.
    """

    at: int = attrs.field(converter=_moment, metadata=_A_MOMENT)
    code: str = attrs.field(validator=_text)
    text: str = attrs.field(validator=_text)
    clocks: str = attrs.field(default="", validator=_text)
    due: int | None = attrs.field(converter=_moment_or_none, metadata=_A_MOMENT)
    host: str = attrs.field(validator=_text)
    host_zone: str = attrs.field(validator=_text)
    user: str = attrs.field(validator=_text)


@attrs.frozen(kw_only=True)
class Override:
    """A refusal that somebody overrode, and their reason."""

    at: int = attrs.field(converter=_moment, metadata=_A_MOMENT)
    reason: str = attrs.field(validator=_text)
    user: str = attrs.field(validator=_text)
    host: str = attrs.field(validator=_text)
    code: str = attrs.field(validator=_text)
    text: str = attrs.field(validator=_text)


@attrs.frozen(kw_only=True)
class Change:
    """The schedule was another one before."""

    at: int = attrs.field(converter=_moment, metadata=_A_MOMENT)
    before: str = attrs.field(validator=_text)
    after: str = attrs.field(validator=_text)
    user: str = attrs.field(validator=_text)
    host: str = attrs.field(validator=_text)


@attrs.frozen(kw_only=True)
class Earlier:
    """A schedule that held before another one: by it runs were expected up to `until`, and no longer from then on."""

    schedule: Mapping[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    until: int = attrs.field(converter=_moment, metadata=_A_MOMENT)


def _records(value: object, kind: type[_Record]) -> tuple[_Record, ...]:
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return tuple(kind(**each) for each in value)


def _runs(value: object) -> tuple[Run, ...]:
    return _records(value, Run)


def _refusals(value: object) -> tuple[Refusal, ...]:
    return _records(value, Refusal)


def _overrides(value: object) -> tuple[Override, ...]:
    return _records(value, Override)


def _changes(value: object) -> tuple[Change, ...]:
    return _records(value, Change)


def _earlier(value: object) -> tuple[Earlier, ...]:
    return _records(value, Earlier)


def _run(value: object) -> object:
    return Run(**value) if isinstance(value, dict) else value


@attrs.frozen(kw_only=True)
class State:
    """All that a guard remembers.

    `schedule` is what `Schedule.to_dict` wrote, with the zone data of then; runs are expected since `watched_from`.
    `earlier` are the schedules before it, in order. Of what was due up to `dropped_until` runs are no longer kept.
    `newest_clock` is the latest time at which a run was started or finished.
    """

    job: str = attrs.field(validator=_text)
    schedule: Mapping[str, Any] = attrs.field(validator=attrs.validators.instance_of(dict))
    schedule_text: str = attrs.field(validator=_text)
    grace: int = attrs.field(validator=_number)
    watched_from: int = attrs.field(converter=_moment, metadata=_A_MOMENT)
    newest_clock: int | None = attrs.field(default=None, converter=_moment_or_none, metadata=_A_MOMENT)
    active: Run | None = attrs.field(
        default=None,
        converter=_run,
        validator=attrs.validators.optional(attrs.validators.instance_of(Run)),
    )
    runs: tuple[Run, ...] = attrs.field(default=(), converter=_runs)
    refusals: tuple[Refusal, ...] = attrs.field(default=(), converter=_refusals)
    overrides: tuple[Override, ...] = attrs.field(default=(), converter=_overrides)
    changes: tuple[Change, ...] = attrs.field(default=(), converter=_changes)
    earlier: tuple[Earlier, ...] = attrs.field(default=(), converter=_earlier)
    dropped_until: int | None = attrs.field(default=None, converter=_moment_or_none, metadata=_A_MOMENT)

    def success_of(self, run_id: str) -> Run | None:
        """The run of that occurrence which has succeeded."""
        return next((run for run in reversed(self.runs) if run.run_id == run_id and run.status is Status.OK), None)

    def last_run_on(self, host: str) -> Run | None:
        """The latest run that ended on a host, however it did."""
        return next((run for run in reversed(self.runs) if run.host == host), None)


def kept(state: State) -> State:
    """The state without what is too old to be kept."""
    count = _kept_count(state.runs)
    dropped = [run.due for run in state.runs[:-count] if run.due is not None and run.status is not Status.VOID]
    dropped += [each.until - 1 for each in state.earlier[:-OTHERS_KEPT]]
    return attrs.evolve(
        state,
        runs=state.runs[-count:],
        earlier=state.earlier[-OTHERS_KEPT:],
        dropped_until=max([*dropped, *([] if state.dropped_until is None else [state.dropped_until])], default=None),
        refusals=state.refusals[-OTHERS_KEPT:],
        overrides=state.overrides[-OTHERS_KEPT:],
        changes=state.changes[-OTHERS_KEPT:],
    )


def _kept_count(runs: tuple[Run, ...]) -> int:
    oldest = runs[-1].started - KEPT_SECONDS if runs else 0
    return min(max(sum(run.started >= oldest for run in runs), RUNS_LEAST), RUNS_MOST)


def written(state: State) -> bytes:
    """The state as it is stored."""
    document = {"format": FORMAT, "about": "The state of a safebackup guard.", **_plain(kept(state))}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    record: dict[str, object] = {}
    for field in attrs.fields(type(value)):
        each = getattr(value, field.name)
        if field.metadata.get("moment") and each is not None:
            each = moments.write_instant(each)
        elif isinstance(each, tuple):
            each = [_plain(one) for one in each]
        elif attrs.has(type(each)):
            each = _plain(each)
        if each is not None or field.default is attrs.NOTHING:
            record[field.name] = each
    return record


def read(data: bytes, where: str) -> State:
    """The state that was stored.

    Raises:
        IntegrityError: it is not what a guard writes.
        ConfigurationError: a later release wrote it.
    """
    try:
        document = json.loads(data)
        version = document.pop("format")
        if type(version) is int and version > FORMAT:
            raise ConfigurationError(
                f"{where} was written by a later release (format {version}; this one knows {FORMAT})",
                code=Code.GUARD_STATE_FOREIGN,
                hint="Update safebackup here.",
            )
        document.pop("about", None)
        if version != FORMAT:
            raise ValueError("format")
        return State(**document)
    except ConfigurationError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise damaged(where, f"{type(error).__name__}: {str(error)[:120]}") from error


def damaged(where: str, what: str) -> IntegrityError:
    """The error for a state that cannot be read."""
    return IntegrityError(
        f"{where} is not what a guard writes ({what}); it was left alone and nothing was run",
        code=Code.GUARD_STATE_DAMAGED,
        hint="Bring it back from a copy; or move it aside, and the next start begins a new one, which knows of no "
        "earlier run.",
    )
