"""`safebackup schedule`: a schedule is seen before it runs, and what cannot be read is refused with what to type."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safebackup.cli import main
from safebackup.clock import SystemClock
from safebackup.instants import from_nanoseconds
from safebackup.schedule import Schedule, zone
from tests.cli.program import Done, safebackup

Call = Callable[..., Done]
LAGOS = ("--cron", "30 1 * * *", "--tz", "Africa/Lagos")
BERLIN = ("--cron", "30 2 * * *", "--tz", "Europe/Berlin")
PAIRS = (("old.json", "new.json"), ("new.json", "old.json"))
SPRING = ("--after", "2026-03-28T12:00:00Z")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `safebackup schedule` in this process, in the test's folder, on a host whose clock shows UTC."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    for name in [name for name in os.environ if name.startswith("SAFEBACKUP_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = main(["schedule", *map(str, arguments)])
        return Done(status, *capsys.readouterr())

    return run


def written(record: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(record))
    return path


def under_other_data(schedule: Schedule, other: str) -> dict[str, Any]:
    """A record as if the zone had had the clocks of another when it was written."""
    record: dict[str, Any] = json.loads(json.dumps(schedule.to_dict()))
    data = zone(other).data
    record["zone"] |= {
        "data": base64.b64encode(data).decode(),
        "sha256": hashlib.sha256(data).hexdigest(),
        "release": "1999z",
    }
    return record


# next


def test_next_prints_instants_in_utc_one_a_line(call: Call) -> None:
    done = call("next", *BERLIN, *SPRING, "-n", "3")

    assert done == Done(0, "2026-03-29T01:00:00Z\n2026-03-30T00:30:00Z\n2026-03-31T00:30:00Z\n", "")


def test_next_is_later_than_the_instant_itself(call: Call) -> None:
    assert call("next", *LAGOS, "--after", "2026-03-29T01:30:00+01:00").out == "2026-03-30T00:30:00Z\n"


def test_next_looks_from_now_on(call: Call) -> None:
    before = from_nanoseconds(SystemClock().now())

    (run,) = call("next", "--daily", "01:30", "--daily", "13:30", "--tz", "Africa/Lagos", "--json").document["runs"]

    due = datetime.fromisoformat(run["due"])
    assert before < due <= before.add(hours=13)
    assert run["wall"][11:] in ("01:30:00", "13:30:00")


def test_a_run_in_json_says_what_was_written_and_why_it_is_due_then(call: Call) -> None:
    (run,) = call("next", *BERLIN, *SPRING, "--json").document["runs"]

    assert run == {
        "run_id": "20260329T010000Z",
        "due": "2026-03-29T01:00:00Z",
        "wall": "2026-03-29T02:30:00",
        "offset": "+02:00",
        "why": "moved out of a gap",
        "merged": [],
    }


def test_next_fails_where_nothing_is_due_any_more(call: Call, tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ended = written(Schedule.rrule("FREQ=DAILY;COUNT=2", start=start, tz="UTC").to_dict(), tmp_path / "ended.json")

    done = call("next", "--schedule", ended, "--after", "2026-02-01T00:00:00Z")

    assert (done.status, done.out) == (1, "")
    assert "is never due after 2026-02-01T00:00:00Z" in done.err
    assert call("next", "--schedule", ended, "--after", "2026-02-01T00:00:00Z", "--json").document["outcome"] == "never"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--on-calendar", "Sun 02:30", "--tz", "Europe/Berlin"), "2026-03-29T01:00:00Z"),
        (("--daily", "02:30", "--tz", "Europe/Berlin", "--in-gap", "shift"), "2026-03-29T01:30:00Z"),
        (("--daily", "02:30", "--tz", "Europe/Berlin", "--like", "systemd"), "2026-03-30T00:30:00Z"),
        ((*LAGOS, "--forbid", "08:00-18:00"), "2026-03-29T00:30:00Z"),
    ],
)
def test_each_option_that_describes_a_schedule_is_heard(call: Call, options: tuple[str, ...], expected: str) -> None:
    assert call("next", *options, *SPRING).out == f"{expected}\n"


def test_what_happens_to_a_repeated_time_can_be_said(call: Call) -> None:
    night = ("next", *BERLIN, "--after", "2026-10-24T12:00:00Z", "--in-overlap")

    assert [call(*night, word).out[:17] for word in ("first", "second")] == ["2026-10-25T00:30:", "2026-10-25T01:30:"]


# explain and preview


def test_explain_says_whose_clock_and_what_becomes_of_the_night(call: Call) -> None:
    done = call("explain", *BERLIN, *SPRING)

    assert (done.status, done.err) == (0, "")
    for words in ("At 02:30 every day.", "Europe/Berlin, +01:00", "02:30:00 runs at 03:00:00 +02:00", "in UTC (host)"):
        assert words in done.out
    document = call("explain", *BERLIN, *SPRING, "--json").document
    assert document["text"] == done.out.splitlines()
    assert document["changes"][0] == {
        "at": "2026-03-29T01:00:00Z",
        "before": "+01:00",
        "after": "+02:00",
        "effects": ["02:30:00 runs at 03:00:00 +02:00"],
    }


def test_preview_has_the_clocks_of_schedule_host_places_and_utc_side_by_side(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")

    done = call("preview", *BERLIN, *SPRING, "-n", "2", "--zone", "Africa/Lagos")

    heads, first, second, *_, host = done.out.splitlines()
    assert heads.split() == ["Europe/Berlin", "America/New_York", "Africa/Lagos", "UTC"]
    shown = ("2026-03-29 03:00:00 +02:00", "2026-03-28 21:00:00 -04:00", "2026-03-29 02:00:00 +01:00")
    assert all(clock in first for clock in shown)
    assert "moved out of a gap: written 02:30:00" in first
    assert "2026-03-30 02:30:00 +02:00" in second
    assert host == "this host shows America/New_York: TZ=America/New_York"
    document = call("preview", *BERLIN, *SPRING, "-n", "2", "--json").document
    assert document["runs"][0]["clocks"]["America/New_York"] == "2026-03-28T21:00:00-04:00"
    assert document["host"]["zone"] == "America/New_York"


def test_preview_unmasks_a_host_with_a_fake_zone(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "WAT")

    done = call("preview", *LAGOS, *SPRING, "-n", "1")

    assert done.out.splitlines()[-1] == "this host shows UTC: TZ=WAT"
    assert done.out.splitlines()[0].split() == ["Africa/Lagos", "UTC"]


def test_a_year_is_drawn_into_a_file(call: Call, tmp_path: Path) -> None:
    assert call("preview", *BERLIN, *SPRING, "--picture", "year.svg").status == 0

    assert ElementTree.parse(tmp_path / "year.svg").getroot().tag.endswith("svg")


def test_a_picture_that_cannot_be_written_is_said(call: Call) -> None:
    done = call("preview", *BERLIN, *SPRING, "--picture", "nowhere/year.svg")

    assert (done.status, done.out) == (1, "")
    assert "nowhere/year.svg cannot be written: No such file or directory" in done.err
    assert "→ Name a place" in done.err and "Errno" not in done.err
    into = call("export", "systemd", *LAGOS, *SPRING, "--command", "backup", "--to", "nowhere")
    assert "cannot be written: No such file or directory" in into.err and "→ Name a place" in into.err


# lint


def test_lint_is_silent_where_nothing_is_doubtful(call: Call) -> None:
    assert call("lint", *LAGOS, "--no-host") == Done(0, "", "")
    assert call("lint", *LAGOS, "--no-host", "--json").document["outcome"] == "clean"


def test_lint_fails_with_what_is_doubtful_and_when(call: Call) -> None:
    done = call("lint", "--cron", "30 2 * * 0", "--tz", "Europe/Berlin", "--like", "systemd", *SPRING, "--no-host")

    assert (done.status, done.out) == (1, "")
    assert "[gap]" in done.err
    assert "2026-03-29 in Europe/Berlin" in done.err
    document = call("lint", *BERLIN, "--like", "systemd", *SPRING, "--no-host", "--json").document
    assert (document["exit_status"], document["outcome"]) == (1, "doubtful")
    assert "gap" in [finding["code"] for finding in document["findings"]]


def test_lint_counts_errors_and_warnings_apart(call: Call) -> None:
    loss = (*SPRING, "--no-host", "--rpo", "1h")

    assert ": 1 error for cron" in call("lint", *LAGOS, *loss).err
    done = call("lint", *BERLIN, "--like", "systemd", *loss)
    assert ": 1 error and 1 warning for cron" in done.err, done.err


def test_lint_tries_the_export_to_a_target(call: Call) -> None:
    done = call("lint", *BERLIN, *SPRING, "--no-host", "--target", "kubernetes")

    assert done.status == 1 and "[export-diverges]" in done.err
    assert call("lint", *LAGOS, *SPRING, "--no-host", "--target", "kubernetes").status == 0


def test_lint_says_what_is_merely_worth_knowing_only_when_asked_and_does_not_fail(call: Call) -> None:
    assert call("lint", *BERLIN, *SPRING, "--no-host") == Done(0, "", "")
    loud = call("lint", *BERLIN, *SPRING, "--no-host", "--verbose")

    assert loud.status == 0
    assert "info: 2026-03-29 in Europe/Berlin" in loud.err


def test_lint_looks_at_this_host_unless_told_not_to(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "WAT")

    done = call("lint", *LAGOS, *SPRING)

    assert done.status == 1
    assert "[host-zone-fake]" in done.err
    assert "[host-tz]" in done.err
    assert call("lint", *LAGOS, *SPRING, "--no-host").status == 0


def test_lint_holds_a_schedule_against_what_may_be_lost_and_how_long_a_run_takes(call: Call) -> None:
    far = call("lint", *BERLIN, *SPRING, "--no-host", "--rpo", "24h")
    near = call("lint", *BERLIN, *SPRING, "--no-host", "--duration", "1d")

    assert (far.status, "[rpo-exceeded]" in far.err, "correct --rpo" in far.err) == (1, True, True)
    assert (near.status, "[overrun]" in near.err) == (1, True)
    assert call("lint", *BERLIN, *SPRING, "--no-host", "--rpo", "25h", "--duration", "22h").status == 0


# record and diff


def test_a_record_is_read_again_as_the_same_schedule(call: Call, tmp_path: Path) -> None:
    done = call("record", *BERLIN, "--in-gap", "shift", "--forbid", "08:00-18:00")
    (tmp_path / "nightly.json").write_text(done.out)

    again = Schedule.from_dict(json.loads(done.out))

    assert again == Schedule.cron("30 2 * * *", tz="Europe/Berlin", in_gap="shift", forbid="08:00-18:00")
    assert call("next", "--schedule", "nightly.json", *SPRING).out == "2026-03-29T01:30:00Z\n"
    assert call("record", "--schedule", "nightly.json", "--json").document["record"] == json.loads(done.out)


def test_diff_of_two_records_shows_the_runs_that_differ_and_fails(call: Call, tmp_path: Path) -> None:
    for name, like in (("once", "once"), ("systemd", "systemd")):
        (tmp_path / name).write_text(call("record", *BERLIN, "--like", like).out)

    done = call("diff", "once", "systemd", *SPRING, "--years", "3")

    assert done.status == 1
    assert "only left: 4\n  2026-03-29 03:00:00 +02:00 (2026-03-29T01:00:00Z)\n" in done.out
    document = call("diff", "once", "systemd", *SPRING, "--years", "3", "--json").document
    assert (document["outcome"], document["only_left_count"], document["only_right_count"]) == ("different", 4, 0)
    assert document["only_left"][0]["due"] == "2026-03-29T01:00:00Z"
    same = call("diff", "once", "once", *SPRING, "--json")
    assert (same.status, same.document["outcome"]) == (0, "same")


def test_diff_of_one_record_tells_what_this_machine_would_do_otherwise(call: Call, tmp_path: Path) -> None:
    written(under_other_data(Schedule.daily(at="02:30", tz="Africa/Lagos"), "Europe/London"), tmp_path / "old.json")

    done = call("diff", "old.json", "--after", "2026-01-01T00:00:00Z", "--years", "1")

    assert done.status == 1
    assert "2026-01-02 02:30:00 as written: 2026-01-02T02:30:00Z (+00:00) and 2026-01-02T01:30:00Z (+01:00)" in done.out
    (tmp_path / "new.json").write_text(call("record", *LAGOS).out)
    assert call("diff", "new.json", *SPRING).status == 0


def test_diff_of_two_records_takes_each_with_its_own_zone_data(call: Call, tmp_path: Path) -> None:
    nightly = Schedule.daily(at="02:30", tz="Africa/Lagos")
    written(under_other_data(nightly, "Europe/London"), tmp_path / "old.json")
    written(nightly.to_dict(), tmp_path / "new.json")

    there, back = (call("diff", *pair, *SPRING, "--years", "1", "--json").document for pair in PAIRS)

    assert there["moved_count"] == back["moved_count"] > 100
    assert there["moved"][0]["left"] == back["moved"][0]["right"]


@pytest.mark.parametrize("command", ["next", "explain", "preview", "lint"])
def test_zone_data_that_change_a_recorded_schedule_are_a_finding(call: Call, tmp_path: Path, command: str) -> None:
    nightly = Schedule.daily(at="02:30", tz="Africa/Lagos")
    written(under_other_data(nightly, "Europe/London"), tmp_path / "old.json")
    written(nightly.to_dict(), tmp_path / "new.json")

    codes = [
        [finding["code"] for finding in call(command, "--schedule", name, *SPRING, "--json").document["findings"]]
        for name in ("old.json", "new.json")
    ]

    assert ["tzdata-changed" in found for found in codes] == [True, False]


# export


def test_a_crontab_is_written_for_the_clock_of_its_host(call: Call) -> None:
    done = call("export", "crontab", *LAGOS, *SPRING, "--host-tz", "UTC", "--command", "/usr/local/bin/backup")

    assert (done.status, done.err) == (0, "")
    *comments, line = done.out.splitlines()
    assert line.split() == ["30", "0", "*", "*", "*", "/usr/local/bin/backup"]
    assert all(comment.startswith("# ") for comment in comments)


def test_an_export_that_would_run_at_other_times_is_refused_unless_that_is_accepted(call: Call) -> None:
    asked = ("export", "kubernetes", *BERLIN, *SPRING, "--years", "1", "--image", "shop:1", "--command", "backup")

    refused, accepted = call(*asked), call(*asked, "--accept")

    assert (refused.status, refused.out) == (4, "")
    assert "2026-03-29 03:00:00 +02:00: due, but not run" in refused.err
    assert "say --accept" in refused.err
    assert accepted.status == 0
    assert "2026-03-29 03:00:00 +02:00: due, but not run" in accepted.out
    document = call(*asked, "--accept", "--json").document
    assert document["outcome"] == "accepted"
    assert document["divergences"][0] == {"at": "2026-03-29T01:00:00Z", "offset": "+02:00", "how": "due, but not run"}


def test_the_files_of_an_export_are_written_into_a_folder(call: Call, tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()

    done = call("export", "systemd", *LAGOS, *SPRING, "--command", "backup", "--name", "orders", "--to", "units")

    assert done == Done(0, "", "")
    assert {path.name for path in (tmp_path / "units").iterdir()} == {"orders.service", "orders.timer"}
    assert "OnCalendar=*-*-* 01:30:00 Africa/Lagos\n" in (tmp_path / "units" / "orders.timer").read_text()
    document = call("export", "systemd", *LAGOS, *SPRING, "--command", "backup", "--name", "orders", "--json").document
    lines = {file["name"]: file["lines"] for file in document["files"]}
    assert lines["orders.timer"] == (tmp_path / "units" / "orders.timer").read_text().splitlines()


def test_line_ends_are_those_of_the_target(call: Call, tmp_path: Path) -> None:
    call("export", "icalendar", *LAGOS, *SPRING, "--to", ".")

    (file,) = tmp_path.glob("*.ics")
    assert file.read_bytes().startswith(b"BEGIN:VCALENDAR\r\n")


@pytest.mark.parametrize("target", ["eventbridge", "icalendar", "healthchecks", "sentry"])
def test_each_target_that_needs_no_more_is_written(call: Call, target: str) -> None:
    document = call("export", target, *LAGOS, *SPRING, "--json").document

    assert (document["outcome"], document["divergences"], len(document["files"])) == ("exact", [], 1)


# Mistakes


def answered(done: Done, *words: str) -> None:
    assert (done.status, done.out) == (2, ""), done.err
    assert "→ " in done.err
    for word in words:
        assert word in done.err


def test_an_abbreviation_for_a_zone_is_answered_with_what_to_type(call: Call) -> None:
    answered(call("next", "--cron", "30 1 * * *", "--tz", "WAT"), "'WAT' is an abbreviation", "--tz Africa/Lagos?")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "Write --cron '30 1 * * *' --tz Africa/Lagos"),
        (("--cron", "30 1 * * *"), "--cron does not say whose clock is meant"),
        (("--cron", "30 1 * * *", "--daily", "01:30", "--tz", "UTC"), "--cron and --daily exclude each other"),
        (("--cron", "30 1 * * * *", "--tz", "UTC"), "Write five fields"),
        (("--cron", "59/15 * * * *", "--tz", "UTC"), "write 59 or */15"),
        (("--daily", "1:30", "--tz", "UTC"), "from 00:00 to 23:59"),
        (("--daily", "09:00", "--tz", "UTC", "--forbid", "08:00-18:00"), "correct --forbid."),
        (("--daily", "02:30", "--tz", "Europe/Berlin", "--in-gap", "refuse"), "--in-gap after"),
        (("--daily", "02:30", "--tz", "UTC", "--like", "once", "--in-gap", "skip"), "already says"),
        (("--schedule", "nowhere.json"), "nowhere.json cannot be read"),
        (("--schedule", "."), "cannot be read"),
        (("--schedule", "nightly.json", "--tz", "UTC"), "already says what --tz would say"),
        (("--schedule", "text.json"), "holds no JSON"),
        (("--schedule", "deep.json"), "holds no JSON"),
        (("--schedule", "list.json"), "holds no schedule"),
        (("--schedule", "damaged.json"), "its rule is missing or damaged"),
        (("--schedule", ""), "was a variable not set?"),
        (("--cron", "", "--tz", "UTC"), "Write minute, hour,"),
        ((*LAGOS[:2], "--tz", ""), "tz is empty"),
        ((*LAGOS, "--after", "2026-03-29T01:30:00"), "--after is 2026-03-29T01:30:00 without a time zone"),
        ((*LAGOS, "--after", "tomorrow"), "2026-03-28T00:00:00Z"),
        ((*LAGOS, "--after", "9999-12-31T23:59:59-12:00"), "out of all reach"),
        ((*LAGOS, "--after", "0001-01-01T00:00:00+12:00"), "out of all reach"),
        ((*LAGOS, "-n", "0"), "safebackup schedule next --help"),
        ((*LAGOS, "--in-gap", "later"), "safebackup schedule next --help"),
    ],
)
def test_a_mistake_is_answered(call: Call, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    written(Schedule.daily(at="01:30", tz="UTC").to_dict(), tmp_path / "nightly.json")
    written({"semantics": 1, "zone": {"name": "UTC"}}, tmp_path / "damaged.json")
    (tmp_path / "text.json").write_text("nightly at 01:30")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "list.json").write_text("[]")

    answered(call("next", *options), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("preview", *LAGOS, "--zone", "WAT"), "--zone 'Africa/Lagos'?"),
        (("lint", *LAGOS, "--rpo", "a day"), "--rpo 'a day' is no duration"),
        (("lint", *LAGOS, "--years", "0"), "safebackup schedule lint --help"),
        (("diff",), "safebackup schedule diff --help"),
        (("export", "crontab", *LAGOS, "--command", "backup"), "--host-tz UTC"),
        (("export", "crontab", *LAGOS, "--command", "backup", "--host-tz", "WAT"), "--host-tz 'Africa/Lagos'?"),
        (("export", "systemd", *LAGOS), "systemd needs --command"),
        (("export", "sentry", *LAGOS, "--command", "backup"), "sentry does not take --command"),
        (("export", "sentry", *LAGOS, "--name", "A_B"), "--name orders-nightly"),
        (("export", "sentry", *LAGOS, "--grace", "1s"), "from a minute to a year"),
        (("export", "at", *LAGOS), "safebackup schedule export --help"),
        (("diff", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_a_mistake_in_another_command_is_answered(call: Call, arguments: tuple[str, ...], words: str) -> None:
    answered(call(*arguments), words)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["--cron", "--on-calendar", "--daily"]),
    st.text("0123456789*/,-:.~ LWMonFri", max_size=20),
    st.sampled_from(["Africa/Lagos", "Europe/Berlin", "WAT", "", "UTC+1"]) | st.text(max_size=8),
)
def test_whatever_is_typed_is_read_or_refused(call: Call, option: str, text: str, tz: str) -> None:
    done = call("next", f"{option}={text}", f"--tz={tz}", "--json")

    assert done.status in (0, 2), done.err
    assert (done.document["error"] or {}).get("code") != "internal"


def test_the_program_itself_prints_what_cron_needs(tmp_path: Path) -> None:
    done = safebackup("schedule", "next", *LAGOS, *SPRING, folder=tmp_path)

    assert done == Done(0, "2026-03-29T00:30:00Z\n", "")
