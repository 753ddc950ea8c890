"""The search through the protocol by which writers and deleters do without locks: sound as it is, and no rule to spare.

`SAFEBACKUP_LONG=1` searches further: about four minutes and 2 GB. On a slow machine add `-o faulthandler_timeout=0`.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from tests.model.protocol import A, B, Outcome, Rules, Scenario, Violation, search, walk

LONG = os.environ.get("SAFEBACKUP_LONG") == "1"
only_when_long = pytest.mark.skipif(not LONG, reason="takes minutes; SAFEBACKUP_LONG=1 runs it")
DECISION = Path(__file__).parents[2] / "docs" / "decisions" / "0002-deaths-in-two-steps.md"

# In TWO_COPIES chunk a is in both packs, and b, which no snapshot needs yet, is beside it in one of them.
TWO_COPIES = (A, A | B)
ONE_PACK = (A | B,)

TWO_DELETERS = Scenario(TWO_COPIES, A, writers=(), deleters=2)
ONE_OF_EACH = Scenario(TWO_COPIES, A, writers=(A | B,), deleters=1)
TWO_WRITERS = Scenario(TWO_COPIES, A, writers=(A | B, B), deleters=1, in_flight=0)
WRITER_AND_TWO_DELETERS = Scenario(ONE_PACK, A, writers=(A | B,), deleters=2, in_flight=0)
READER = Scenario(TWO_COPIES, A, writers=(), deleters=2, readers=1, in_flight=0)
REMOVAL = Scenario(ONE_PACK, A, writers=(B,), deleters=2, removal=True, in_flight=0)
OVERTAKEN = Scenario((A, B), A, writers=(B,), newest=A, deleters=1, removal=True)
TWO_OF_EACH = Scenario(TWO_COPIES, A, writers=(A | B, B), deleters=2, in_flight=0)

ONCE = Rules(dooms_listed="once after the intent", refuses_for="snapshots and intents")


def report(outcome: Outcome) -> None:
    print(f"{outcome.states:,} states", *outcome.trace, sep="\n")


@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        pytest.param(attrs.evolve(TWO_DELETERS, in_flight=2), 85_000, id="0W2D, two answers lost at once"),
        pytest.param(attrs.evolve(ONE_OF_EACH, in_flight=2), 65_000, id="1W1D, two answers lost at once"),
        pytest.param(attrs.evolve(ONE_OF_EACH, packs=(A, B)), 20_000, id="1W1D, an unreferenced pack"),
        pytest.param(attrs.evolve(ONE_OF_EACH, packs=(A,)), 25_000, id="1W1D, a new chunk"),
        pytest.param(TWO_WRITERS, 65_000, id="2W1D"),
        pytest.param(WRITER_AND_TWO_DELETERS, 150_000, id="1W2D"),
        pytest.param(READER, 10_000, id="0W2D1R"),
        pytest.param(REMOVAL, 150_000, id="1W2D, with removal"),
        pytest.param(OVERTAKEN, 40_000, id="1W1D, with removal of what was overtaken"),
    ],
)
def test_the_protocol_keeps_every_snapshot_in_every_state(scenario: Scenario, at_least: int) -> None:
    outcome = search(scenario)
    report(outcome)
    assert outcome.violation is None
    assert outcome.complete
    assert outcome.states >= at_least
    assert f"| {outcome.states:,} | yes |" in DECISION.read_text(encoding="utf-8")


@only_when_long
@pytest.mark.parametrize(
    ("scenario", "at_least"),
    [
        pytest.param(attrs.evolve(TWO_WRITERS, in_flight=1), 2_000_000, id="2W1D, an answer lost"),
        pytest.param(attrs.evolve(WRITER_AND_TWO_DELETERS, packs=TWO_COPIES), 900_000, id="1W2D, two copies"),
        pytest.param(attrs.evolve(READER, writers=(B,), packs=ONE_PACK), 1_400_000, id="1W2D1R"),
    ],
)
def test_the_protocol_keeps_every_snapshot_in_every_state_of_longer_searches(scenario: Scenario, at_least: int) -> None:
    outcome = search(scenario)
    report(outcome)
    assert outcome.violation is None
    assert outcome.complete
    assert outcome.states >= at_least
    assert f"| {outcome.states:,} | yes |" in DECISION.read_text(encoding="utf-8")


def test_two_writers_and_two_deleters_do_no_harm_in_the_first_states() -> None:
    limit = 2_500_000 if LONG else 100_000
    outcome = search(TWO_OF_EACH, limit=limit)
    report(outcome)
    assert outcome.violation is None
    assert outcome.states >= limit


def test_two_writers_and_two_deleters_do_no_harm_on_random_ways_to_the_end() -> None:
    outcome = walk(attrs.evolve(TWO_OF_EACH, in_flight=1, removal=True), seed=1, walks=50_000 if LONG else 2_000)
    report(outcome)
    assert outcome.violation is None
    assert outcome.states >= 80_000


def test_random_ways_find_what_one_missing_rule_allows() -> None:
    outcome = walk(attrs.evolve(TWO_OF_EACH, rules=Rules(dooms_of_others=False)), seed=1, walks=2_000)
    report(outcome)
    assert outcome.violation == "lost"


@pytest.mark.parametrize(
    ("rules", "scenario", "violation"),
    [
        pytest.param(Rules(intent=False), ONE_OF_EACH, "lost", id="no intent"),
        pytest.param(Rules(dooms_listed="before the intent"), ONE_OF_EACH, "lost", id="dooms listed too early"),
        pytest.param(
            Rules(dooms_listed="once after the intent"), WRITER_AND_TWO_DELETERS, "lost", id="dooms not again"
        ),
        pytest.param(Rules(live_listed="before the doom"), ONE_OF_EACH, "lost", id="live chunks listed too early"),
        pytest.param(Rules(dooms_of_others=False), TWO_DELETERS, "lost", id="dooms of others ignored"),
        pytest.param(Rules(copy_is_indexed=False), TWO_DELETERS, "lost", id="copy not in an index"),
        pytest.param(Rules(names="unsalted"), TWO_DELETERS, "lost", id="unsalted names"),
        pytest.param(Rules(reader_believes_deaths=False), ONE_OF_EACH, "lost", id="a dead run's snapshot believed"),
        pytest.param(Rules(removed_run="forgotten"), OVERTAKEN, "lost", id="a removed run's intent forgotten"),
        pytest.param(Rules(death="at once"), ONE_OF_EACH, "void", id="death in one step"),
        pytest.param(Rules(death="after listing snapshots"), ONE_OF_EACH, "void", id="death in one step, after a look"),
        pytest.param(Rules(last_look=False), ONE_OF_EACH, "void", id="no last look at suspicions"),
        pytest.param(Rules(relies_on="published snapshots"), REMOVAL, "none left", id="relying on a suspected run"),
        pytest.param(Rules(index_after_pack=False), ONE_OF_EACH, "dangling", id="index before its pack"),
        pytest.param(Rules(reader_reloads="once"), READER, "false alarm", id="a reader that reloads once"),
        pytest.param(
            Rules(refuses_for="snapshots and intents"), WRITER_AND_TWO_DELETERS, "stuck", id="refusing for an intent"
        ),
    ],
)
def test_each_rule_that_is_left_out_does_harm(rules: Rules, scenario: Scenario, violation: Violation) -> None:
    outcome = search(attrs.evolve(scenario, rules=rules))
    print(f"a trace of {len(outcome.trace)} steps, after ", end="")
    report(outcome)
    assert outcome.violation == violation


def test_a_late_delete_hits_what_a_writer_stored_under_an_unsalted_name() -> None:
    """Beside rules under which a writer trusts what it stores after its intent, which salted names make sound."""
    salted = search(attrs.evolve(ONE_OF_EACH, rules=ONCE))
    unsalted = search(attrs.evolve(ONE_OF_EACH, rules=attrs.evolve(ONCE, names="writers unsalted")))
    print(f"a trace of {len(unsalted.trace)} steps, after ", end="")
    report(unsalted)
    assert salted.complete and salted.violation is None
    assert unsalted.violation == "lost"


def test_writers_may_use_the_copies_that_deleters_made() -> None:
    rules = Rules(copies_of_others="used by writers")
    outcome = search(attrs.evolve(WRITER_AND_TWO_DELETERS, writers=(B,), rules=rules))
    report(outcome)
    assert outcome.violation is None
    assert outcome.complete
    assert outcome.states >= 150_000


def test_crashes_lead_to_no_store_that_sleeping_does_not_lead_to() -> None:
    sleeping = search(ONE_OF_EACH)
    crashing = search(attrs.evolve(ONE_OF_EACH, crashes=True))
    assert sleeping.complete and crashing.complete
    assert crashing.states > sleeping.states
    assert crashing.seen_from_outside == sleeping.seen_from_outside


@pytest.mark.parametrize(
    ("rules", "scenario", "violation"),
    [
        pytest.param(Rules(death="after listing snapshots"), ONE_OF_EACH, "lost", id="death in one step"),
        pytest.param(Rules(relies_on="published snapshots"), REMOVAL, "none left", id="relying on a suspected run"),
    ],
)
def test_the_decision_shows_the_traces_that_the_search_finds(
    rules: Rules, scenario: Scenario, violation: Violation
) -> None:
    outcome = search(attrs.evolve(scenario, rules=rules), only=violation)
    report(outcome)
    assert outcome.violation == violation
    assert "\n".join(outcome.trace) in DECISION.read_text(encoding="utf-8")
