"""Running the checks: one after the other, each for so long, and cleaning up whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from safebackup.clock import Clock, SystemClock
from safebackup.errors import Code, SafeBackupError
from safebackup.events import logger
from safebackup.findings import Finding, Severity
from safebackup.storage.capabilities import Capabilities, durable_of, kind_of
from safebackup.storage.conformance import listings, objects, partial, racing, reaching, sharing
from safebackup.storage.conformance.report import CheckResult, ConformanceReport, Outcome
from safebackup.storage.conformance.subject import Address, Subject, subject_at
from safebackup.storage.conformance.sweeping import sweep
from safebackup.storage.conformance.trial import (
    Check,
    CheckFailedError,
    NotTriedError,
    Trial,
    is_no_answer,
    told,
)
from safebackup.storage.store import ReadStore

# The first one shows whether what the others write can be removed again. Races of different bytes come last: what
# they show is worth knowing, and no safety rests on it, so that they have the time that is left.
CHECKS: tuple[Check, ...] = (
    objects.delete,
    objects.round_trip,
    objects.missing,
    objects.ranges,
    objects.unchanged,
    objects.names,
    listings.fresh,
    sharing.threads,
    sharing.processes,
    sharing.fork,
    racing.same,
    listings.complete,
    objects.large,
    partial.visible,
    partial.killed,
    reaching.wrong_address,
    reaching.clock,
    racing.threads,
    racing.processes,
)
# The capabilities that one check shows, by its name.
_SHOWN_BY = {
    "ranges": "exact_ranges",
    "fresh-lists": "fresh_listing",
    "threads": "threads",
    "processes": "processes",
    "fork": "fork",
}
_ATOMIC = ("no-part-visible", "killed-writer")
SECONDS = 60.0
SECONDS_THOROUGH = 1800.0
_THOROUGH_FACTOR = 10
_CLEANING_SECONDS_MIN = 5.0
_CLEANING = 0.15  # of the time for all
_GRACE_SECONDS = 15.0  # so long a check may go on that should have been done
_HANGS_SECONDS = 20.0  # the limits of what is tested here are shorter
_MEND_IT = "Keep no backups there; look for a known fault of that server or package, and run the test again."


def check_store(
    url: str,
    *,
    storage_options: Mapping[str, object] | None = None,
    allow_unproven: bool = False,
    thorough: bool = False,
    clock: Clock | None = None,
) -> ConformanceReport:
    """Try whether the store at `url` keeps what every store must keep, as `docs/reference/store-contract.md` says it.

    Everything is done in a new folder of its own there, which is removed afterwards; what else is there is not touched.
    Takes at most 60 seconds, or with `thorough`, which asks for more of everything, half an hour. Other processes are
    started, and some of them killed.

    Raises:
        ConfigurationError: this is no place that a repository can live in.
        StorageError: the place cannot be reached, or is not there; nothing was tested.
    """
    address = Address(url=url, options=dict(storage_options or {}), allow_unproven=allow_unproven)
    return run_checks(subject_at(address), thorough=thorough, clock=clock)


def run_checks(
    subject: Subject, *, checks: Sequence[Check] = CHECKS, thorough: bool = False, clock: Clock | None = None
) -> ConformanceReport:
    """Run checks against a store, and remove what they have made, also when they are interrupted."""
    clock = clock or SystemClock()
    began = clock.monotonic()
    seconds = SECONDS_THOROUGH if thorough else SECONDS
    store = subject.open()
    ends = began + seconds * (1 - _CLEANING)
    work = _Work(subject, thorough, clock, ends=ends, given_up=began + seconds - _CLEANING_SECONDS_MIN)
    with work.cleaned(until=began + seconds):
        results = tuple(work.result_of(each) for each in checks if thorough or not each.thorough)
    failures = [_failure(each) for each in results if each.outcome is Outcome.FAILED]
    return ConformanceReport(
        url=subject.url,
        thorough=thorough,
        checks=results,
        capabilities=_capabilities(store, work.learned, results, is_shared=subject.recipe is not None),
        findings=(*failures, *work.findings),
        seconds=clock.monotonic() - began,
    )


@attrs.define(eq=False)
class _Work:
    subject: Subject
    thorough: bool
    clock: Clock
    ends: float
    given_up: float  # a check that still goes on then is left alone
    learned: dict[str, Any] = attrs.field(factory=dict)
    findings: list[Finding] = attrs.field(factory=list)
    current: Trial | None = None

    @contextmanager
    def cleaned(self, until: float) -> Iterator[None]:
        try:
            yield
        finally:
            if self.current is not None:
                self.current.end()
            left = sweep(self.subject, max(until - self.clock.monotonic(), _CLEANING_SECONDS_MIN), self.clock)
            if left:
                self.findings.append(left_behind(left))

    def result_of(self, check: Check) -> CheckResult:
        """Run one check, in a thread that can be left alone if the store hangs."""
        began = self.clock.monotonic()
        seconds = check.seconds * (_THOROUGH_FACTOR if self.thorough else 1)
        trial = Trial(
            subject=self.subject,
            folder=f"{self.subject.folder}{check.name}/",
            thorough=self.thorough,
            clock=self.clock,
            until=min(began + seconds, self.ends),
        )
        outcome, what, cut_short = self._tried(check, trial)
        logger.info("%s: %s: %s", check.name, outcome, what)
        self.learned |= trial.learned
        self.findings += trial.findings
        return CheckResult(
            name=check.name,
            guarantee=check.guarantee,
            outcome=outcome,
            what=what,
            seconds=self.clock.monotonic() - began,
            cut_short=cut_short and (check.essential or self.thorough),
        )

    def _tried(self, check: Check, trial: Trial) -> tuple[Outcome, str, bool]:
        if self.learned.get("deletes") is False:
            return Outcome.NOT_TRIED, "what it writes could not be removed again", True
        if not trial.has_time(1):
            return Outcome.NOT_TRIED, "no time was left for it", True
        said: list[tuple[Outcome, str, bool]] = []
        self.current = trial
        thread = threading.Thread(target=lambda: said.append(_outcome_of(check, trial)), daemon=True)
        thread.start()
        latest = min(trial.until + _GRACE_SECONDS, self.given_up)
        thread.join(max(latest - self.clock.monotonic(), 0.1))
        waited = trial.longest_wait()
        trial.end()
        thread.join(0.5)
        if said:
            return said[0]
        if waited > _HANGS_SECONDS:
            return Outcome.FAILED, f"S8: the store has not answered for {waited:.0f} seconds", False
        return Outcome.NOT_TRIED, "it was not done in the time for it", True


def _outcome_of(check: Check, trial: Trial) -> tuple[Outcome, str, bool]:
    try:
        return Outcome.PASSED, check.act(trial), False
    except CheckFailedError as failed:
        return Outcome.FAILED, str(failed), False
    except NotTriedError as not_tried:
        return Outcome.NOT_TRIED, str(not_tried), not_tried.cut_short
    except SafeBackupError as error:
        if is_no_answer(error):
            return Outcome.NOT_TRIED, error.message, True
        return Outcome.FAILED, f"{told(error)}: {error.message}", False
    except BaseException as error:
        return Outcome.FAILED, f"{told(error)}, where the errors of safebackup are expected", False


def _capabilities(
    store: ReadStore, learned: Mapping[str, Any], results: Sequence[CheckResult], *, is_shared: bool
) -> Capabilities:
    known = {field.name for field in attrs.fields(Capabilities)}
    seen = {each.name: each.outcome is Outcome.PASSED for each in results if each.outcome is not Outcome.NOT_TRIED}
    whole = [seen[each] for each in _ATOMIC if each in seen]
    return Capabilities(
        **{
            "kind": kind_of(store),
            "durable": durable_of(store),
            "exclusive_create": _exclusive(learned, is_shared=is_shared),
            "atomic": all(whole) if whole else None,
            **{_SHOWN_BY[name]: is_seen for name, is_seen in seen.items() if name in _SHOWN_BY},
            **{name: value for name, value in learned.items() if name in known},
        }
    )


def _exclusive(learned: Mapping[str, Any], *, is_shared: bool) -> bool | None:
    """Whether exactly one of many succeeds; where other processes reach the store, threads alone do not show it."""
    seen = [learned.get("threads_exclusive"), learned.get("processes_exclusive")]
    if False in seen:
        return False
    return True if (seen[1] if is_shared else seen[0]) else None


def _failure(result: CheckResult) -> Finding:
    return Finding(
        code=Code.STORE_CHECK_FAILED,
        severity=Severity.ERROR,
        what=f"{result.guarantee}: {result.what}".removeprefix(": "),
        action=_MEND_IT,
        subject=result.name,
    )


def left_behind(names: Sequence[str]) -> Finding:
    """What there is to say of things that could not be removed again."""
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return Finding(
        code=Code.STORE_TEST_LEFT,
        severity=Severity.WARNING,
        what=f"{names[0]}{more} could not be removed again; no backup needs it",
        action="Remove it with credentials that may delete.",
        subject=names[0],
    )
