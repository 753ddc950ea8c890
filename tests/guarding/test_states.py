"""The state as a document: small, readable, bounded, and never silently begun anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebackup.errors import Code, ConfigurationError, IntegrityError, SafeBackupError
from safebackup.guarding import check_guard, guard, states
from safebackup.guarding.hosts import this_process
from safebackup.guarding.states import Change, Earlier, Override, Refusal, Run, State, Status
from safebackup.schedule import Schedule
from tests.guarding.scene import GRACE, NIGHTLY, HandClock, at, start

SAME_INSTANTS = Schedule.daily(at="01:00", tz="Africa/Lagos")
_SECONDS = st.integers(0, 4_000_000_000)
_TEXTS = st.text(max_size=20)
_RUNS = st.builds(
    Run,
    run_id=_TEXTS,
    due=st.none() | _SECONDS,
    started=_SECONDS,
    finished=st.none() | _SECONDS,
    status=st.sampled_from(Status),
    why=_TEXTS,
    host=_TEXTS,
    host_zone=_TEXTS,
    user=_TEXTS,
    deadline=st.none() | st.integers(1, 10**6),
    clock_step=st.integers(-(10**9), 10**9),
    process=st.none() | st.just(this_process()),
)
_STATES = st.builds(
    State,
    job=_TEXTS,
    schedule=st.just(NIGHTLY.to_dict()),
    schedule_text=_TEXTS,
    grace=st.integers(0, 10**6),
    watched_from=_SECONDS,
    newest_clock=st.none() | _SECONDS,
    active=st.none() | _RUNS,
    runs=st.lists(_RUNS, max_size=3).map(tuple),
    refusals=st.lists(
        st.builds(
            Refusal,
            at=_SECONDS,
            code=_TEXTS,
            text=_TEXTS,
            clocks=_TEXTS,
            due=st.none() | _SECONDS,
            host=_TEXTS,
            host_zone=_TEXTS,
            user=_TEXTS,
        ),
        max_size=2,
    ).map(tuple),
    overrides=st.lists(
        st.builds(Override, at=_SECONDS, reason=_TEXTS, user=_TEXTS, host=_TEXTS, code=_TEXTS, text=_TEXTS), max_size=2
    ).map(tuple),
    earlier=st.lists(st.builds(Earlier, schedule=st.just(NIGHTLY.to_dict()), until=_SECONDS), max_size=2).map(tuple),
    dropped_until=st.none() | _SECONDS,
    changes=st.lists(
        st.builds(Change, at=_SECONDS, before=_TEXTS, after=_TEXTS, user=_TEXTS, host=_TEXTS), max_size=2
    ).map(tuple),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@given(_STATES)
def test_what_is_written_is_read_back(state: State) -> None:
    assert states.read(states.written(state), "here") == state


def test_a_name_that_is_no_text_survives(state: Path) -> None:
    run = Run(
        run_id="x",
        due=None,
        started=0,
        status=Status.OK,
        host="caf\udce9",
        host_zone="",
        user="j\u00f6rg",
        why="\udcff",
    )
    whole = State(job="", schedule={}, schedule_text="", grace=0, watched_from=0, runs=(run,))

    assert states.read(states.written(whole), "here") == whole


def test_it_can_be_read_by_people(state: Path) -> None:
    start(state, at("2026-03-10 00:00"))

    text = state.read_text()
    assert '"started": "2026-03-10T00:00:00Z"' in text
    assert "cron '0 1 * * *' in_gap=after in_overlap=first tz=Africa/Lagos forbid=08:00-18:00" in text
    assert NIGHTLY.zone.fingerprint in text


def _run_at(started: int) -> Run:
    return Run(
        run_id=f"{started}",
        due=started,
        started=started,
        finished=started,
        status=Status.OK,
        host="a-host-with-a-name",
        host_zone="America/Argentina/Buenos_Aires",
        user="backup",
    )


@pytest.mark.parametrize(
    ("seconds", "count"), [(60, states.RUNS_MOST), (300, 7 * 288 + 1), (3600, states.RUNS_LEAST)], ids=str
)
def test_it_stays_small(seconds: int, count: int) -> None:
    runs = tuple(_run_at(1_750_000_000 + number * seconds) for number in range(3000 if seconds < 3600 else 201))
    data = states.written(
        State(job="j", schedule=NIGHTLY.to_dict(), schedule_text="t", grace=1, watched_from=5, runs=runs)
    )

    found = states.read(data, "here")
    assert found.runs == runs[-count:]
    assert found.dropped_until == runs[-count - 1].due
    assert len(data) < 1_000_000


def test_a_run_of_a_wrong_clock_that_is_dropped_hides_nothing() -> None:
    wrong = attrs.evolve(_run_at(4_000_000_000), status=Status.VOID)
    runs = tuple(_run_at(1_750_000_000 + number * 86_400) for number in range(states.RUNS_LEAST))
    whole = State(job="j", schedule={}, schedule_text="t", grace=1, watched_from=5, runs=(wrong, *runs))

    assert states.kept(whole) == attrs.evolve(whole, runs=runs)


def document(state: Path) -> dict[str, Any]:
    start(state, at("2026-03-10 00:00"))
    found = json.loads(state.read_text())
    assert isinstance(found, dict)
    return found


DAMAGE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'"text"',
    b"{}",
    b'{"format": "1"}',
    b'{"format": 1}',
    b'{"format": true}',
    b'{"format": 1, "runs": 5}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", DAMAGE, ids=lambda data: repr(data[:20]))
def test_a_damaged_state_stops_everything_and_is_left_alone(state: Path, data: bytes) -> None:
    state.write_bytes(data)

    with (
        pytest.raises(IntegrityError) as found,
        guard(NIGHTLY, grace=GRACE, state=state, clock=HandClock(at("2026-03-10 00:00"))),
    ):
        pytest.fail("it ran")

    assert found.value.code is Code.GUARD_STATE_DAMAGED
    assert str(state) in found.value.message
    assert "move it aside" in found.value.hint
    assert state.read_bytes() == data
    with pytest.raises(IntegrityError):
        check_guard(state)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("job",), 5),
        (("grace",), "30m"),
        (("watched_from",), "yesterday"),
        (("watched_from",), "2026-03-10T00:00:00"),
        (("newest_clock",), "2026-13-10T00:00:00Z"),
        (("schedule",), []),
        (("runs",), {}),
        (("runs", 0), "run"),
        (("runs", 0, "status"), "fine"),
        (("runs", 0, "started"), None),
        (("runs", 0, "unheard_of"), 1),
        (("active",), "nobody"),
        (("changes",), [[]]),
    ],
    ids=str,
)
def test_damage_in_any_field_is_found(state: Path, place: tuple[Any, ...], value: object) -> None:
    whole = document(state)
    inner: Any = whole
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value

    with pytest.raises(IntegrityError):
        states.read(json.dumps(whole).encode(), "here")


@given(st.data())
def test_a_state_with_bytes_changed_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    clean = states.written(
        State(
            job="j",
            schedule=NIGHTLY.to_dict(),
            schedule_text="t",
            grace=1,
            watched_from=5,
            runs=(Run(run_id="x", due=1, started=0, status=Status.OK, host="h", host_zone="", user="u"),),
        )
    )
    place = data.draw(st.integers(0, len(clean) - 1))
    changed = clean[:place] + data.draw(st.binary(max_size=3)) + clean[place + data.draw(st.integers(0, 3)) :]

    try:
        states.read(changed, "here")
    except SafeBackupError as error:
        assert error.code in (Code.GUARD_STATE_DAMAGED, Code.GUARD_STATE_FOREIGN)


def test_a_damaged_schedule_in_the_state_stops_a_start_under_another_one(state: Path) -> None:
    whole = document(state)
    whole["schedule"]["rule"] = {}
    state.write_text(json.dumps(whole))

    with (
        pytest.raises(IntegrityError, match="a schedule in the guard's state") as found,
        guard(SAME_INSTANTS, grace=GRACE, state=state, clock=HandClock(at("2026-03-11 00:00"))),
    ):
        pytest.fail("it ran")
    assert found.value.code is Code.GUARD_STATE_DAMAGED


def test_a_state_of_a_later_release_is_not_touched(state: Path) -> None:
    whole = document(state) | {"format": 2, "marvel": True}

    with pytest.raises(ConfigurationError, match="later release") as found:
        states.read(json.dumps(whole).encode(), "here")
    assert found.value.code is Code.GUARD_STATE_FOREIGN


def test_other_zone_data_are_recorded_and_told_quietly(state: Path) -> None:
    from safebackup.schedule import zone, zone_from_data

    start(state, at("2026-03-10 00:00"))
    other = zone_from_data("Africa/Lagos", zone("Africa/Luanda").data + b"", source="elsewhere", release="2031a")
    if other.fingerprint == NIGHTLY.zone.fingerprint:
        other = zone_from_data("Africa/Lagos", zone("Europe/Paris").data, source="elsewhere", release="2031a")

    run = start(state, at("2026-03-11 00:00"), schedule=NIGHTLY.in_zone_data(other))

    assert [(str(finding.code), str(finding.severity)) for finding in run.findings] == [
        ("guard-schedule-changed", "info")
    ]
    assert "zone data 2031a" in json.loads(state.read_text())["changes"][0]["after"]


def test_fields_that_nobody_set_do_not_crowd_the_document(state: Path) -> None:
    whole = document(state)

    assert "process" not in whole["runs"][0]
    assert "deadline" not in whole["runs"][0]
    assert attrs.fields_dict(State).keys() >= whole.keys() - {"format", "about"}
