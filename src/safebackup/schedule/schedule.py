"""Schedule: when something is due, built from words that cannot be misread."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from safebackup.errors import Code, ConfigurationError
from safebackup.instants import Instant
from safebackup.schedule import asking, civil, composing, judging, moments, promises, recording
from safebackup.schedule.asking import Gap, Missed, Occurrence
from safebackup.schedule.civil import At, MonthDay, ShortMonths, Weekday
from safebackup.schedule.cron import parse_cron
from safebackup.schedule.judging import Judgement
from safebackup.schedule.on_calendar import parse_on_calendar
from safebackup.schedule.policies import ELAPSED, ONCE, RFC5545, InGap, InOverlap, Policy, Preset, chosen_policy
from safebackup.schedule.promises import CHECKED_FROM
from safebackup.schedule.recurrences import Recurrence
from safebackup.schedule.rrule import parse_rrule
from safebackup.schedule.rules import Elapsed, Rule
from safebackup.schedule.turns import turns_of
from safebackup.schedule.walls import Walls
from safebackup.schedule.windows import Window, read_window
from safebackup.schedule.zones import Zone, ZoneLike, zone

if TYPE_CHECKING:
    from safebackup.findings import Finding
    from safebackup.host_time import HostTime
    from safebackup.schedule.diffing import ScheduleDiff
    from safebackup.schedule.explaining import Explanation
    from safebackup.schedule.exporting import Export, TargetName
    from safebackup.schedule.linting_words import Reader
    from safebackup.schedule.previewing import Preview


@attrs.frozen(repr=False)
class Schedule:
    """When something is due: a rule, read in a zone, and what it promises.

    Make one with `Schedule.cron`, `on_calendar`, `rrule`, `daily`, `hourly`, `weekly`, `monthly` or `every`. A value:
    equal ones mean the same.
    `tz` is the IANA name of the place whose clock counts; there is no default.
    `in_gap` says what happens to a time that a change of the clocks leaves out, `in_overlap` to one that it repeats,
    `like` takes both from what other programs do. `forbid` are hours of the day in which nothing may ever be due.
    What is promised by `forbid` and "refuse" is checked for the ten years from `checked_from`; an answer from outside
    of these years that would break it is refused.
    """

    rule: Rule
    zone: Zone
    forbidden: tuple[Window, ...] = ()
    checked_from: date = CHECKED_FROM

    def __attrs_post_init__(self) -> None:
        promises.check(self.rule, self.zone, self.forbidden, self.checked_from)

    @classmethod
    def cron(
        cls,
        expression: str,
        *,
        tz: ZoneLike,
        seconds: bool = False,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """A cron expression, as Debian's cron reads it; `seconds=True` adds a field for them in front.

        Unless you say otherwise a fixed time runs once, always ("after", "first"); where the minute or the hour field
        starts with `*`, every real interval runs ("skip", "both").
        """
        recurrence = parse_cron(expression, seconds=seconds)
        default = ELAPSED if recurrence.is_wild else ONCE
        return cls.on_walls(
            recurrence,
            default,
            tz=tz,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def on_calendar(
        cls,
        expression: str,
        *,
        tz: ZoneLike,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """A calendar expression of systemd, such as "Mon..Fri *-*-* 02:30" ("after", "first").

        systemd itself skips what the clocks leave out: like="systemd" does as it does.
        """
        named = zone(tz)
        return cls.on_walls(
            parse_on_calendar(expression, named.key),
            ONCE,
            tz=named,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def rrule(
        cls,
        rule: str,
        *,
        start: datetime,
        tz: ZoneLike,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """A recurrence rule of RFC 5545, such as "FREQ=WEEKLY;BYDAY=SU" ("skip", "first", as the RFC demands).

        It begins at the wall time that `start` is in `tz`, and takes from it what the rule does not say. It counts in
        wall time, hours and minutes too.
        """
        named = zone(tz)
        policy = chosen_policy(RFC5545, in_gap=in_gap, in_overlap=in_overlap, like=like)
        recurrence = parse_rrule(rule, start, named, policy)
        return cls.on_walls(recurrence, policy, tz=named, forbid=forbid, checked_from=checked_from)

    @classmethod
    def from_crontab(cls, line: str, *, host_tz: ZoneLike) -> Schedule:
        """A line of a user's crontab, as the cron of a Debian host with that time zone runs it."""
        from safebackup.schedule.exporting import read_line

        return cls.cron(read_line(line), tz=host_tz)

    @classmethod
    def daily(
        cls,
        *,
        at: At,
        tz: ZoneLike,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """Each day at one or several times ("after", "first")."""
        return cls.on_walls(
            civil.Daily(civil.read_times(at)),
            ONCE,
            tz=tz,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def hourly(
        cls,
        *,
        tz: ZoneLike,
        minute: int | Iterable[int] = 0,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """Each real hour at one or several minutes of the wall clock ("skip", "both")."""
        return cls.on_walls(
            civil.hourly(minute),
            ELAPSED,
            tz=tz,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def weekly(
        cls,
        *,
        day: Weekday | Iterable[Weekday],
        at: At,
        tz: ZoneLike,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """On one or several weekdays, named in English ("after", "first")."""
        return cls.on_walls(
            civil.weekly(day, at),
            ONCE,
            tz=tz,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def monthly(
        cls,
        *,
        day: MonthDay,
        at: At,
        tz: ZoneLike,
        short_months: ShortMonths | None = None,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """On a day of each month: 1 to 31, "last", or a weekday such as (1, "sunday") ("after", "first").

        Where not every month has that day, `short_months` must say "last" (its last such day) or "skip".
        """
        return cls.on_walls(
            civil.monthly(day, at, short_months),
            ONCE,
            tz=tz,
            in_gap=in_gap,
            in_overlap=in_overlap,
            like=like,
            forbid=forbid,
            checked_from=checked_from,
        )

    @classmethod
    def every(
        cls,
        *,
        start: datetime,
        tz: ZoneLike,
        days: int = 0,
        hours: int = 0,
        minutes: int = 0,
        seconds: int = 0,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """At `start`, and again each time that so much time has passed, whatever the clocks do; `tz` is for reports."""
        named = zone(tz)
        units = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        for unit, number in units.items():
            if type(number) is not int or number < 0:
                raise civil.bad(f"{unit}={number!r} is not a whole number from 0 on", "Write hours=6, for example.")
        try:
            step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        except OverflowError as error:
            raise civil.bad(
                "the interval is longer than a date-time can hold", "Write hours=6, for example."
            ) from error
        if not step:
            raise civil.bad("the interval is empty", "Write hours=6, for example.")
        begin = moments.floor(start, "start", named)
        if start.microsecond:
            raise civil.bad(f"start={start.isoformat()} has parts of a second", "Start at a whole second.")
        rule = Elapsed(step.days * 86_400 + step.seconds, begin, turns_of(named))
        return cls(rule, named, _windows(forbid), checked_from)

    @classmethod
    def on_walls(
        cls,
        recurrence: Recurrence,
        default: Policy,
        *,
        tz: ZoneLike,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        forbid: str | Iterable[str] = (),
        checked_from: date = CHECKED_FROM,
    ) -> Schedule:
        """A schedule of any recurrence on the wall clock, with `default` for what is not said of its policy."""
        named = zone(tz)
        policy = chosen_policy(default, in_gap=in_gap, in_overlap=in_overlap, like=like)
        return cls(Walls(recurrence, named, policy), named, _windows(forbid), checked_from)

    def next_after(self, moment: datetime) -> Instant | None:
        """The first instant later than `moment`, in UTC; None if it is never due again."""
        return asking.next_after(self, moment)

    def previous_before(self, moment: datetime) -> Instant | None:
        """The last instant earlier than `moment`, in UTC; None if it was never due before."""
        return asking.previous_before(self, moment)

    def between(self, start: datetime, end: datetime) -> Iterator[Instant]:
        """The instants from `start` to before `end`, in order."""
        return asking.between(self, start, end)

    def occurrences(self, start: datetime, end: datetime) -> Iterator[Occurrence]:
        """The same, each with the wall time as written and why it is due then."""
        return asking.occurrences(self, start, end)

    def is_due_at(self, moment: datetime) -> bool:
        """Whether it is due at exactly that instant."""
        return asking.occurrence_at(self, moment) is not None

    def max_gap(self, start: datetime, end: datetime) -> Gap | None:
        """The longest time from one run to the next, both from `start` to before `end`; None if there are not two.

        What a backup with this schedule can lose at most, if every run succeeds at once.
        """
        return asking.max_gap(self, start, end)

    def min_gap(self, start: datetime, end: datetime) -> Gap | None:
        """The shortest time from one run to the next, both from `start` to before `end`; None if there are not two."""
        return asking.min_gap(self, start, end)

    def missed(self, last_success: datetime, now: datetime, grace: timedelta = timedelta(0)) -> Missed:
        """What was due after `last_success` and has not succeeded; `grace` is how long a run may take to be seen."""
        return asking.missed(self, last_success, now, grace)

    def classify(self, actual: datetime, grace: timedelta, *, earlier: Collection[datetime] = ()) -> Judgement:
        """What a run that started at `actual` was: on time, late, early, double, out of its window, or in a wrong zone.

        `earlier` are starts of runs before it: one that was already there for the same occurrence makes this a double.
        """
        return judging.classify(self, actual, grace, earlier=earlier)

    # What people read comes from modules that are imported when they are asked: a guard starts without them.

    def explain(self, *, after: datetime | None = None, host_tz: ZoneLike | None = None) -> Explanation:
        """What it says, in plain English; from `after` on also its next runs and what changes of the clocks do to them.

        The runs are shown on its own clock, on that of `host_tz`, and in UTC.
        """
        from safebackup.schedule import explaining

        return explaining.explain(self, after=after, host_tz=host_tz)

    def preview(self, n: int = 10, *, after: datetime, zones: Iterable[ZoneLike] = ()) -> Preview:
        """The next `n` runs later than `after`, side by side on its own clock, in `zones`, and in UTC."""
        from safebackup.schedule import previewing

        return previewing.preview(self, n, after=after, zones=zones)

    def picture(self, *, year: int, tz: ZoneLike | None = None) -> str:
        """A year of runs as SVG: time of day against the day of the year, on its own clock or that of `tz`.

        On the clock of "UTC" changes of the clocks show as steps. Takes up to two seconds for a run each second.
        """
        from safebackup.schedule import picturing

        return picturing.picture(self, year=year, tz=tz)

    def lint(
        self,
        *,
        start: datetime,
        years: int = 10,
        host: HostTime | None = None,
        rpo: timedelta | None = None,
        duration: timedelta | None = None,
        target: Reader | TargetName | None = None,
    ) -> tuple[Finding, ...]:
        """What may surprise its owner over some years from `start`, each with its dates.

        `host` is what `host_time.read_host_time` found, `rpo` how much may be lost, `duration` how long a run takes,
        `target` another program that is to read the same cron expression, or to get an export of the schedule.
        """
        from safebackup.schedule import linting

        return linting.lint(self, start=start, years=years, host=host, rpo=rpo, duration=duration, target=target)

    def diff(
        self,
        other: Schedule | None = None,
        *,
        start: datetime,
        end: datetime,
        tz: ZoneLike | None = None,
        in_gap: InGap | None = None,
        in_overlap: InOverlap | None = None,
        like: Preset | None = None,
        keep: int = 100,
    ) -> ScheduleDiff:
        """What is otherwise in `other`, in the zone `tz`, or under another policy, from `start` to before `end`.

        `tz` may also be the same zone with other data, made by `zone_from_data`. All differences are counted, the first
        `keep` of each kind are kept.
        """
        from safebackup.schedule import diffing

        return diffing.diff(
            self, other, start=start, end=end, tz=tz, in_gap=in_gap, in_overlap=in_overlap, like=like, keep=keep
        )

    def __or__(self, other: Schedule) -> Schedule:
        return composing.union(self, other)

    def __and__(self, other: Schedule) -> Schedule:
        return composing.intersection(self, other)

    def without(self, window: str | None = None, *, dates: Collection[date] = ()) -> Schedule:
        """The same, but for runs in a window of the day ("08:00-18:00") or on some dates, both in its zone."""
        return composing.without(self, window, dates)

    def spread(self, up_to: timedelta, *, key: str) -> Schedule:
        """The same, each run later by one delay below `up_to` that follows from `key`, such as "orders/host7".

        A run never moves to or past the next one.
        """
        return composing.spread(self, up_to, key)

    def export(
        self,
        target: TargetName,
        *,
        start: datetime,
        years: int = 10,
        host_tz: ZoneLike | None = None,
        command: str | None = None,
        image: str | None = None,
        name: str = "backup",
        grace: timedelta = timedelta(hours=1),
        accept: bool = False,
    ) -> Export:
        """The same for another program, compared with what that will do in the `years` from `start`.

        `host_tz` is for a crontab: the zone of its host's clock. `command` is what crontab, systemd and kubernetes give
        to a shell, `image` the container for it. `grace` is how late a run may be, where the target asks that.

        Raises:
            RefusedError: it would run at other times; with `accept` these are written into the export instead.
            ConfigurationError: the target has no words for this schedule or command.
        """
        from safebackup.schedule.exporting import export

        return export(
            self,
            target,
            start=start,
            years=years,
            host_tz=host_tz,
            command=command,
            image=image,
            name=name,
            grace=grace,
            accept=accept,
        )

    def in_zone_data(self, other: Zone) -> Schedule:
        """The same schedule computed with other zone data or in another zone."""
        return recording.rebuilt(self, other)

    def to_dict(self) -> dict[str, object]:
        """All of it as plain data, with the version of its meaning and the zone file that it was computed from."""
        return recording.to_dict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Schedule:
        """What `to_dict` wrote, with the zone data of this machine.

        `recording.recorded_zone` gives the zone data of then, for a comparison.
        """
        return recording.from_dict(record)

    def __str__(self) -> str:
        parts = [self.rule.text(), f"tz={self.zone.key}"]
        parts += [f"forbid={window}" for window in self.forbidden]
        return " ".join(parts)

    def __repr__(self) -> str:
        return f"<Schedule {self}>"

    def __reduce__(self) -> tuple[object, ...]:
        # With its zone data: every process that a pickle reaches gives the same answers.
        return (recording.from_pickle, (self.to_dict(),))


def _windows(forbid: str | Iterable[str]) -> tuple[Window, ...]:
    texts = [forbid] if isinstance(forbid, str) or not isinstance(forbid, Iterable) else forbid
    return tuple(dict.fromkeys(read_window(text, "forbid") for text in texts))


def require_schedule(value: object, name: str) -> Schedule:
    """`value`, if it is a schedule."""
    if not isinstance(value, Schedule):
        raise ConfigurationError(
            f"{name} is {value!r}, not a Schedule",
            code=Code.BAD_SCHEDULE,
            hint='Make one: Schedule.cron("30 1 * * *", tz=…).',
        )
    return value
