"""What the store of a repository was seen to be capable of: kept in its journal, and held against what is there now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs
import msgspec

from safebackup.errors import Code
from safebackup.findings import Finding, Severity
from safebackup.format.records import FindingRow, JournalBody
from safebackup.repository.committing import journal_body, write_journal
from safebackup.repository.history import STORE_TEST, History
from safebackup.repository.repository import Repository
from safebackup.repository.standings import ancestors
from safebackup.storage import ReadStore
from safebackup.storage.capabilities import Capabilities, kind_of, unwrapped

if TYPE_CHECKING:  # who makes a backup does not load the checks for it
    from safebackup.storage.conformance import ConformanceReport

PASSED = "passed"
FAILED = "failed"
COULD_NOT_CHECK = "could_not_check"
_KIND = "class"
_DRIFT = "clock_drift_ms"
_TEST_IT = "Run: safebackup store test, with the URL and the key of the repository, on this machine."


def record_store_test(repository: Repository, report: ConformanceReport) -> str:
    """Keep in the journal what a test of the repository's store came to; the name of the record.

    Raises:
        StorageError: it could not be kept.
    """
    runtime = repository.runtime
    finished = runtime.clock.now()
    body = journal_body(
        repository,
        run=runtime.random(16),
        kind=STORE_TEST,
        outcome=PASSED if report.passed else FAILED if report.failed else COULD_NOT_CHECK,
        started=finished - round(report.seconds * 1e9),
        heads=repository.history().heads,
    )
    rows = tuple(FindingRow(str(one.code), str(one.severity), one.what, one.subject) for one in report.findings)
    facts = {**_facts(report.capabilities), "thorough": report.thorough}
    return write_journal(repository, msgspec.structs.replace(body, findings=rows, facts=facts))


def store_findings(history: History, store: ReadStore) -> Iterator[Finding]:
    """What there is to say of a store that was tested before: that it is served otherwise now, or can do less.

    Nothing, if it never was tested: nobody has to.
    """
    tests = {key: body for key, body in history.journal.items() if body.kind == STORE_TEST}
    if not tests:
        return
    kind = kind_of(store)
    latest = _latest({key: body for key, body in tests.items() if body.facts.get(_KIND) == kind}, history)
    if not latest:
        kinds = ", ".join(sorted({str(body.facts.get(_KIND)) for body in tests.values()}))
        yield _differs(f"the store is served by {kind} here, and was tested with {kinds}", subject=kind)
    for key, body in latest.items():
        where = f"the last test of the store with {kind}, on {body.host},"
        if body.outcome == FAILED:
            names = ", ".join(sorted({row.subject for row in body.findings if row.severity == Severity.ERROR}))
            yield _differs(f"{where} failed: {names}", subject=kind)
        seen = capabilities_of(body)
        before = {each: tests[each] for each in ancestors(key, history.journal) if each in tests}
        lost = {name for each in _latest(before, history).values() for name in seen.less_than(capabilities_of(each))}
        if lost:
            yield _differs(f"{where} shows less than the one before: {', '.join(sorted(lost))}", subject=kind)
        if seen.exclusive_create and getattr(unwrapped(store), "is_exclusive", True) is False:
            yield _differs("the store was tested to be exclusive, and here it is not", subject=kind)


def capabilities_of(body: JournalBody) -> Capabilities:
    """What a record says of a store; what it does not say, or says in another form, was not tried."""
    facts = body.facts

    def flag(name: str) -> bool | None:
        value = facts.get(name)
        return value if isinstance(value, bool) else None

    def number(name: str) -> int | None:
        value = facts.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    drift = number(_DRIFT)
    return Capabilities(
        kind=str(facts.get(_KIND, "")),
        durable=str(facts.get("durable", "")),
        exclusive_create=flag("exclusive_create"),
        exclusive_rounds=number("exclusive_rounds") or 0,
        atomic=flag("atomic"),
        complete_listing=number("complete_listing") or 0,
        fresh_listing=flag("fresh_listing"),
        exact_ranges=flag("exact_ranges"),
        threads=flag("threads"),
        processes=flag("processes"),
        fork=flag("fork"),
        modified_times=flag("modified_times"),
        clock_drift_seconds=None if drift is None else drift / 1000,
    )


def _facts(capabilities: Capabilities) -> dict[str, str | int | bool]:
    facts = attrs.asdict(capabilities)
    facts[_KIND] = facts.pop("kind")
    drift = facts.pop("clock_drift_seconds")
    facts[_DRIFT] = None if drift is None else round(drift * 1000)
    return {name: value for name, value in facts.items() if value is not None}


def _latest(tests: Mapping[str, JournalBody], history: History) -> dict[str, JournalBody]:
    """Those that no other of them came after."""
    before = {name for key in tests for name in ancestors(key, history.journal)}
    return {key: body for key, body in tests.items() if key not in before}


def _differs(what: str, *, subject: str) -> Finding:
    return Finding(code=Code.STORE_DIFFERS, severity=Severity.WARNING, what=what, action=_TEST_IT, subject=subject)
