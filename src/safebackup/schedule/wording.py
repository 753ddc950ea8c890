"""Rules in plain English, made from what they mean and not from how they were written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from safebackup.schedule import moments
from safebackup.schedule.civil import WEEKDAYS, write_time
from safebackup.schedule.composing import CommonDays, Spread, Union, Without
from safebackup.schedule.days import ALL_MONTHS, ALL_WEEKDAYS, Days, Grid, Listed, MonthDays, Nth, Times, members
from safebackup.schedule.on_calendar import DaysFromEnd, DaysOfYears
from safebackup.schedule.recurrences import AnyOf, Civil, Recurrence
from safebackup.schedule.rrule import RRule
from safebackup.schedule.rrule_parts import Parts, read_parts
from safebackup.schedule.rules import Elapsed, Rule
from safebackup.schedule.walls import Walls

MONTHS = (
    *("", "January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_ALL_NUMBERS = (1 << 32) - 2
_FROM_MONDAY = (1, 2, 3, 4, 5, 6, 0)
_MOST_TIMES = 6


def how_long(seconds: int) -> str:
    """A duration in words: `1 h 15 min`, `2 days`."""
    days, rest = divmod(abs(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    said = [f"{days} day{'s' * (days != 1)}"] * (days > 0)
    said += [f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number]
    return " ".join(said) or "0 s"


def all_of(words: Sequence[str], joined: str = "and") -> str:
    """`a, b and c`."""
    return f" {joined} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def words_of(rule: Rule) -> str:
    """What a rule says, as a sentence without its end."""
    if isinstance(rule, Walls):
        return recurrence_words(rule.recurrence)
    if isinstance(rule, Elapsed):
        return f"every {how_long(rule.step)} of real time, counted from {moments.write_instant(rule.start)}"
    if isinstance(rule, Union):
        return "; and also ".join(words_of(part) for part in rule.parts)
    if isinstance(rule, Without):
        hours = [f"from {rule.window} on any day"] if rule.window is not None else []
        dates = [f"on {day.isoformat()}" for day in sorted(rule.dates)]
        more = [f"on {len(dates) - 5} more dates"] if len(dates) > 6 else dates[5:]
        return f"{words_of(rule.part)}; but not {all_of([*hours, *dates[:5], *more], 'or')}"
    if isinstance(rule, Spread):
        return (
            f"{words_of(rule.part)}; each run {how_long(rule.delay)} later "
            f"(spread over {how_long(rule.up_to)} by the key {rule.key!r}), but always before the next"
        )
    return rule.text()


def recurrence_words(recurrence: Recurrence) -> str:
    """What a recurrence says."""
    if isinstance(recurrence, Civil):
        times, days = _times(recurrence.times), _days(recurrence.days)
        return f"{times}, {days}" if " of " in times else f"{times} {days}"
    if isinstance(recurrence, AnyOf):
        return "; and also ".join(recurrence_words(part) for part in recurrence.parts)
    return _rrule(recurrence) if isinstance(recurrence, RRule) else recurrence.text()


def _times(times: Times) -> str:
    if isinstance(times, Listed):
        return f"at {all_of([write_time(time) for time in times.times])}"
    if not isinstance(times, Grid):
        return "at some times"
    hours, minutes, seconds = members(times.hours), members(times.minutes), members(times.seconds)
    if len(hours) * len(minutes) * len(seconds) <= _MOST_TIMES:
        found = [(hour * 60 + minute) * 60 + second for hour in hours for minute in minutes for second in seconds]
        return f"at {all_of([write_time(time) for time in found])}"
    said = [_of_sixty(minutes, "minute"), _of_hours(hours)]
    if seconds != [0]:
        said.insert(0, _of_sixty(seconds, "second"))
    return " ".join(word for word in said if word)


def _of_sixty(numbers: list[int], unit: str) -> str:
    step = 60 // len(numbers)
    if numbers == list(range(0, 60, step)) and len(numbers) > 1 and 60 % step == 0:
        return f"every {unit}" if step == 1 else f"every {step} {unit}s"
    if unit == "minute" and len(numbers) <= _MOST_TIMES:
        return f"at {all_of([f':{number:02}' for number in numbers])}"
    return f"at the {unit}{'s' * (len(numbers) > 1)} {_ranges(numbers)}"


def _of_hours(hours: list[int]) -> str:
    if len(hours) == 24:
        return "of every hour"
    step = hours[1] - hours[0] if len(hours) > 3 else 1
    if step > 1 and hours == list(range(hours[0], hours[-1] + 1, step)):
        return f"of every {ordinal(step)} hour from {hours[0]:02} to {hours[-1]:02}"
    return f"of the hour{'s' * (len(hours) > 1)} {_ranges(hours, 2)}"


def _ranges(numbers: Iterable[int], width: int = 1, joined: str = "and") -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    said = []
    for low, high in runs:
        if high - low > 1:
            said.append(f"{low:0{width}} to {high:0{width}}")
        else:
            said += [f"{number:0{width}}" for number in range(low, high + 1)]
    return all_of(said, joined)


def _days(days: Days) -> str:
    if isinstance(days, DaysOfYears):
        years = members(days.years)
        said = f"{_ranges(years[:6])} and so on" if len(years) > 40 else _ranges(years)
        return f"{_days(days.days)}, in the year{'s' * (len(years) > 1)} {said}"
    if isinstance(days, CommonDays):
        return f"on those days that are all of these: {'; '.join(_days(part) for part in days.parts)}"
    if not isinstance(days, MonthDays):
        return "every day"
    months = "" if days.months == ALL_MONTHS else f", in {all_of([MONTHS[month] for month in members(days.months)])}"
    weekdays = _weekdays(days)
    numbers = _numbered(days, "or" if days.both and weekdays else "and")
    if days.both:
        if numbers and weekdays:
            each = weekdays if weekdays.startswith("the ") else f"each {weekdays}"
            return f"on {each} that is also {numbers}{months}"
        said = f"on {numbers or weekdays}" if numbers or weekdays else "every day"
        return said + months
    if numbers and weekdays:
        every = weekdays if weekdays.startswith("the ") else f"every {weekdays}"
        return f"on {numbers}, and also on {every}{months}"
    is_every = days.weekdays == ALL_WEEKDAYS or days.numbers == _ALL_NUMBERS
    return ("every day" if is_every or not (numbers or weekdays) else f"on {numbers or weekdays}") + months


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _numbered(days: MonthDays, joined: str) -> str:
    """The days of the month; empty if all of them or none are named."""
    said = []
    if isinstance(days, DaysFromEnd):
        said = [_from_end(number) for number in members(days.numbers)]
    elif days.numbers and days.numbers != _ALL_NUMBERS:
        runs = _ranges(members(days.numbers)).replace(" and ", ", ").split(", ")
        said = ["the " + " to ".join(ordinal(int(end)) for end in run.split(" to ")) for run in runs]
    said += [f"the day from Monday to Friday nearest to the {ordinal(number)}" for number in members(days.workdays)]
    said += ["the last day"] * days.last + ["the last day from Monday to Friday"] * days.last_workday
    if not said:
        return ""
    clamp = " (its last day where it is shorter)" if days.clamp and days.numbers else ""
    return f"{all_of(said, joined)} of the month{clamp}"


def _from_end(number: int) -> str:
    return "the last day" if number == 1 else f"the {ordinal(number)} last day"


def _weekdays(days: MonthDays) -> str:
    """The weekdays; empty if all of them or none are named."""
    said = []
    if days.weekdays and days.weekdays != ALL_WEEKDAYS:
        said.append(_named(days.weekdays))
    return all_of(said + [_nth(nth) for nth in days.nths])


def _named(mask: int) -> str:
    runs: list[list[int]] = []
    for at, weekday in enumerate(_FROM_MONDAY):
        if mask >> weekday & 1:
            if runs and runs[-1][-1] == at - 1:
                runs[-1].append(at)
            else:
                runs.append([at])
    said = []
    for run in runs:
        names = [WEEKDAYS[_FROM_MONDAY[at]].capitalize() for at in run]
        said += [f"{names[0]} to {names[-1]}"] if len(names) > 2 else names
    return all_of(said)


def _nth(nth: Nth) -> str:
    which = "last" if nth.nth == -1 else ordinal(nth.nth)
    clamp = " (the last where there is none)" if nth.clamp else ""
    return f"the {which} {WEEKDAYS[nth.weekday].capitalize()} of the month{clamp}"


def _rrule(rule: RRule) -> str:
    parts = read_parts(rule.rule)
    unit = parts.frequency.lower().removesuffix("ly").replace("dai", "day")
    said = [f"every {unit}" if parts.interval == 1 else f"every {parts.interval} {unit}s"]
    said += _rrule_days(parts)
    for name, numbers in (("hour", parts.hours), ("minute", parts.minutes), ("second", parts.seconds)):
        if numbers:
            said.append(f"at the {name}{'s' * (len(numbers) > 1)} {_ranges(numbers)}")
    if parts.positions:
        said.append(f"of these the {all_of([_counted(position) for position in parts.positions])} of each {unit}")
    if parts.interval > 1 and parts.frequency == "WEEKLY":
        said.append(f"weeks begin on {WEEKDAYS[parts.week_start].capitalize()}")
    end = "" if parts.count is None else f", {parts.count} times in all"
    end += "" if rule.until is None or parts.count is not None else f", until {moments.wall_time(rule.until)}"
    return f"{', '.join(said)}; what this leaves open is as in its start, {moments.wall_time(rule.start)}{end}"


def _rrule_days(parts: Parts) -> list[str]:
    said = []
    if parts.months:
        said.append(f"in {all_of([MONTHS[month] for month in parts.months])}")
    for name, numbers in (("week", parts.weeks), ("day", parts.year_days)):
        if numbers:
            said.append(f"on the {all_of([_counted(number) for number in numbers])} {name} of the year")
    if parts.month_days:
        said.append(f"on the {all_of([_counted(number) for number in parts.month_days])} day of the month")
    if parts.days:
        named = [(f"the {_counted(nth)} " if nth else "") + WEEKDAYS[day].capitalize() for nth, day in parts.days]
        said.append(f"on {all_of(named)}")
    return said


def _counted(number: int) -> str:
    if number > 0:
        return ordinal(number)
    return "last" if number == -1 else f"{ordinal(-number)} last"


def sentence(words: str) -> str:
    """With a capital letter in front and a full stop behind."""
    return f"{words[:1].upper()}{words[1:]}."
