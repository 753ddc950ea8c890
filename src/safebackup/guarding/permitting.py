"""The guard: a script runs at its time, once, and alone; or it does not run, and says why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.errors import Code, ConfigurationError, RefusedError, SafeBackupError
from safebackup.events import FindingRaised, logged, logger
from safebackup.findings import Finding
from safebackup.guarding import deciding, remembering, states, telling
from safebackup.guarding.checking import require_job, require_name, whole_seconds
from safebackup.guarding.deciding import Reason, Start, occurrence_before
from safebackup.guarding.hosts import (
    HostZone,
    Life,
    Process,
    host_zone_of,
    life_of,
    this_process,
    user_name,
    with_script,
)
from safebackup.guarding.places import Place, place_of
from safebackup.guarding.states import Refusal, Run, State, Status
from safebackup.schedule import Occurrence, Schedule, moments
from safebackup.schedule.schedule import require_schedule

if TYPE_CHECKING:
    from types import TracebackType

_SYSTEM = SystemClock()
_STEP = 60  # so far the wall clock and the monotonic one may part in a run without a word


class StartRefusedError(RefusedError):
    """The guard refused a start; `refusal` has the facts, as they were recorded."""

    refusal: Refusal


def guard(
    schedule: Schedule,
    *,
    grace: timedelta,
    state: str | os.PathLike[str],
    job: str = "",
    host_zone: str | None = None,
    deadline: timedelta | None = None,
    override: str | None = None,
    clock: Clock = _SYSTEM,
    storage_options: Mapping[str, object] | None = None,
) -> Guard:
    """Refuse to run a block at the wrong moment, twice, or beside itself.

    Entering the block gives a `Permit`. That needs a start within `grace` after an occurrence which has no run yet that
    succeeded, while no other run is active. `state` is a file, or an object at a URL, of this one job.
    `deadline` says after what time a run on a host that cannot be asked is taken for dead; the block itself is not
    interrupted. `override` is a reason to start although the guard would refuse, and is recorded. `host_zone` is what
    TZ would be on the host, where that is not this one.

    Raises:
        StartRefusedError: on entering: it must not run now. The code says why.
        ConfigurationError: an argument makes no sense, or, on entering, the state belongs to another job.
        IntegrityError: on entering: the state is damaged.
        StorageError: on entering: the state cannot be read or written, and nothing was run. On leaving: the end could
            not be recorded.
    """
    return Guard(
        schedule=require_schedule(schedule, "schedule"),
        grace=whole_seconds("grace", grace, least=0),
        place=place_of(state, storage_options),
        job=require_name(job),
        host=host_zone_of(host_zone),
        deadline=None if deadline is None else whole_seconds("deadline", deadline, least=1),
        override=_reason(override),
        clock=clock,
    )


def _reason(override: object) -> str:
    if override is None:
        return ""
    if not isinstance(override, str) or not override.strip():
        raise ConfigurationError("an override has no reason", hint="Say why, in a few words: they are recorded.")
    return override.strip()


class Permit:
    """Leave to run: for which occurrence, under which id, and what is odd about the start.

    `run_id` is that of the occurrence, so that names made of it never collide. Before any occurrence, where only an
    override leads, it is the time of the start.
    """

    def __init__(self, occurrence: Occurrence | None, run_id: str, findings: tuple[Finding, ...], guard: Guard) -> None:
        self.occurrence = occurrence
        self.run_id = run_id
        self.findings = findings
        self.failure = ""
        self._guard = guard

    def fail(self, why: str) -> None:
        """Record the run as failed although no exception leaves the block."""
        self.failure = why

    def watch(self, pid: int) -> None:
        """Record that the run is that process: it then counts as active even if this one is killed."""
        self._guard.record_script(pid)


@attrs.define(eq=False, kw_only=True)
class Guard:
    """A context manager for one start; `guard` makes it."""

    schedule: Schedule
    grace: int
    place: Place
    job: str
    host: HostZone
    deadline: int | None
    override: str
    clock: Clock
    _process: Process = attrs.field(init=False, factory=this_process)
    _run: Run | None = attrs.field(init=False, default=None)
    _permit: Permit | None = attrs.field(init=False, default=None)
    _start: Start | None = attrs.field(init=False, default=None)
    _began: float = attrs.field(init=False, default=0.0)

    def __enter__(self) -> Permit:
        if self._start is not None:
            raise ConfigurationError("this guard has been used", hint="Make one for each start.")
        # Before any waiting for others: what counts is when this was started.
        self._start = start = Start(
            schedule=self.schedule,
            job=self.job,
            now=self._now(),
            grace=self.grace,
            host=self.host,
            host_name=self._process.host,
            user=user_name(),
        )
        self._began = self.clock.monotonic()
        with self.place.exclusively():
            state = self._read()
            free = self.place.hold()
            try:
                return self._decide(start, state, lock_is_free=free)
            except BaseException:
                self.place.release()
                raise

    def _now(self) -> int:
        return self.clock.now() // 1_000_000_000

    def _read(self) -> State | None:
        data = self.place.read()
        if data is None:
            return None
        state = states.read(data, self.place.where)
        require_job(state, self.job, self.place.where)
        return state

    def _decide(self, start: Start, state: State | None, *, lock_is_free: bool) -> Permit:
        life = Life.DEAD
        if state is not None and state.active is not None and state.active.process is not None:
            life = life_of(state.active.process, self._process, lock_is_free=lock_is_free and self.place.locks)
        overridden: list[Reason] = []
        for reason in deciding.reasons(start, state, life, lock_is_free=lock_is_free):
            if reason.firm or not self.override:
                self._refuse(start, state, reason)
            overridden.append(reason)
        return self._let_run(start, state, overridden)

    def _refuse(self, start: Start, state: State | None, reason: Reason) -> NoReturn:
        lines = "".join(f"\n  {line}" for line in reason.clocks.splitlines())
        refused = StartRefusedError(f"nothing was run: {reason.text}{lines}", code=reason.code, hint=reason.hint)
        refused.refusal = remembering.refusal_of(start, reason)
        if state is None and reason.code is Code.CLOCK_NOT_SANE:
            raise refused  # runs would be expected from that clock's time on
        try:
            self.place.write(states.written(remembering.with_refusal(state, start, refused.refusal)))
        except SafeBackupError as error:
            logger.warning("the refusal could not be recorded: %s", error)
        raise refused

    def _let_run(self, start: Start, state: State | None, overridden: list[Reason]) -> Permit:
        occurrence = occurrence_before(self.schedule, start.now)
        due = None if occurrence is None else int(occurrence.instant.timestamp())
        run_id = f"{moments.instant(start.now):%Y%m%dT%H%M%SZ}" if occurrence is None else occurrence.run_id
        since = start.now if due is None else due
        findings = deciding.remarks(start, state)
        if state is None:
            state = remembering.fresh(start, since)
        else:
            state, more = remembering.brought_up_to_date(state, start, since)
            findings += more
        state = remembering.with_overrides(state, start, self.override, overridden)
        run = Run(
            run_id=run_id,
            due=due,
            started=start.now,
            status=Status.RUNNING,
            host=self._process.host,
            host_zone=self.host.name,
            user=start.user,
            deadline=self.deadline,
            process=self._process,
        )
        self.place.write(states.written(attrs.evolve(state, active=run)))
        self._run = run
        self._permit = Permit(occurrence, run_id, tuple(findings), self)
        self._tell(start, run, findings, overridden)
        return self._permit

    def _tell(self, start: Start, run: Run, findings: list[Finding], overridden: list[Reason]) -> None:
        due = "nothing so far" if run.due is None else telling.on_all_clocks(run.due, self.schedule, self.host)
        logger.info("run %s: expected %s", run.run_id, due)
        logger.info("run %s: started %s", run.run_id, telling.on_all_clocks(start.now, self.schedule, self.host))
        for reason in overridden:
            logger.warning("run %s: overridden (%s): %s", run.run_id, self.override, reason.text)
        observe = logged()
        for finding in findings:
            observe(FindingRaised(run=run.run_id, finding=finding))

    def record_script(self, pid: int) -> None:
        """Write down which process the run is; that this fails is no reason to end it."""
        assert self._run is not None
        run = attrs.evolve(self._run, process=with_script(self._process, pid))
        try:
            with self.place.exclusively():
                state = self._read()
                if state is not None and remembering.is_same(state.active, run):
                    self.place.write(states.written(attrs.evolve(state, active=run)))
        except SafeBackupError as error:
            logger.warning("run %s: its process could not be recorded: %s", run.run_id, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._permit is not None
        try:
            self._finish(self._permit.failure or _why(error))
        except SafeBackupError as failed:
            if error is None:
                raise
            error.add_note(f"The guard could not record that: {failed}")
            logger.error("the end of the run could not be recorded: %s", failed)
        finally:
            self.place.release()

    def _finish(self, why: str) -> None:
        run, start = self._run, self._start
        assert run is not None
        assert start is not None
        now = self._now()
        step = now - run.started - round(self.clock.monotonic() - self._began)
        stepped = abs(step) > _STEP
        if stepped:
            logger.warning(
                "run %s: the clock moved by %+d s against the time that passed: it was set, or the machine slept",
                run.run_id,
                step,
            )
        ended = attrs.evolve(
            run,
            finished=now,
            status=Status.FAILED if why else Status.OK,
            why=why,
            clock_step=step if stepped else 0,
        )
        with self.place.exclusively():
            state = self._read()
            if state is None:
                logger.warning("%s has vanished during the run; a new state is begun", self.place.where)
                state = remembering.fresh(start, run.started if run.due is None else run.due)
            elif not remembering.is_same(state.active, run):
                logger.warning("run %s: it was taken for dead meanwhile", run.run_id)
            seen = run.started if stepped else max(run.started, now)
            self.place.write(states.written(remembering.with_end(state, ended, seen=seen)))
            # Still alone: whoever decides next must not find a lock without a run.
            self.place.release()
        logger.info("run %s: %s after %s", run.run_id, ended.status, telling.how_long(max(now - run.started, 0)))


def _why(error: BaseException | None) -> str:
    """How a block failed, in a word; a message may hold a password, and the state is for many eyes."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return ""
    return str(error.code) if isinstance(error, SafeBackupError) else type(error).__name__
