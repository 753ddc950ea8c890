"""The benchmark suite, at a tiny scale and through its real command. No time is asserted anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import set_aside
from benchmarks.comparing import differences
from benchmarks.corpora import CORPORA, corpus, live_a_day, relative_files
from benchmarks.measuring import Command, StepFailedError, measure
from benchmarks.needs import need
from benchmarks.running import Record, Round, empty
from benchmarks.tables import cost, ratio, tables
from benchmarks.tools import Action, Place, Tool

ROOT = Path(__file__).parents[1]
SCALE = 0.001  # 2 MiB at most
DAMAGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: rewrite(path, b"X" + path.read_bytes()[1:]),
    "length": lambda path: rewrite(path, path.read_bytes() + b"X"),
    "mode": lambda path: path.chmod(path.stat().st_mode ^ 0o010),
    "time": lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns - 2 * 10**9)),
    "missing": lambda path: path.unlink(),
    "more": lambda path: path.with_name("more").touch(),
    "kind": lambda path: replace(path, Path.mkdir),
    "link": lambda path: replace(path.with_name("link"), lambda link: link.symlink_to("nowhere")),
}


def rewrite(path: Path, content: bytes) -> None:
    """Other content, and no other trace."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def benchmark(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The suite's command, with what is on this machine."""
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    command = [sys.executable, "-m", "benchmarks", "--offline", "--rounds", "1", "--scale", "0.002", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of one run with what is always there; also what it printed."""
    folder = tmp_path_factory.mktemp("benchmarks")
    charts = ["--charts", str(folder / "charts")] if find_spec("matplotlib") else []
    paths = ["--work", str(folder / "work"), "--json", str(folder / "figures.json")]
    done = benchmark("--corpora", "tree", "--tools", "safebackup,tar", *paths, *charts)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return {**found, "folder": folder, "printed": done.stdout, "told": done.stderr}


def test_every_tool_does_every_step_that_it_has(figures: dict[str, Any]) -> None:
    steps = ["init", "first", "start", "same", "changed", "verify", "restore"]
    done = [(result["tool"], result["step"]) for result in figures["corpora"]["tree"]["results"]]
    assert sorted(done) == sorted(
        [("safebackup", step) for step in steps] + [("tar", step) for step in steps if step not in ("init", "start")]
    )


def test_what_each_tool_restored_was_compared_with_the_source(figures: dict[str, Any]) -> None:
    compared = figures["corpora"]["tree"]["compared"]
    assert sorted(one["tool"] for one in compared) == sorted(tool["id"] for tool in figures["tools"])
    assert all(one["equal"] for one in compared)
    assert figures["corpora"]["tree"]["failures"] == []


def test_each_step_says_what_it_cost_and_what_it_left(figures: dict[str, Any]) -> None:
    for result in figures["corpora"]["tree"]["results"]:
        assert result["wall_seconds"] > 0
        assert 5 < result["peak_mib"] < 2000
        assert result["cpu_seconds"] >= 0
        assert (result["repository_files"] > 0) == (result["repository_mib"] > 0) == True  # noqa: E712
        counted = result["tool"] == "safebackup" and result["step"] != "init"
        assert (result["requests"] is not None) == counted


def test_each_step_does_what_its_name_says(figures: dict[str, Any]) -> None:
    results = {(r["tool"], r["step"]): r for r in figures["corpora"]["tree"]["results"]}
    stored = {key: result["repository_mib"] for key, result in results.items()}
    assert stored["tar", "same"] == 2 * stored["tar", "first"]
    assert stored["tar", "changed"] not in (2 * stored["tar", "first"], 3 * stored["tar", "first"])
    assert stored["safebackup", "same"] < 1.5 * stored["safebackup", "first"]

    requests = {step: results["safebackup", step]["requests"] for step in ("first", "start", "verify")}
    assert requests["first"]["put_new"] >= 3  # records besides, if it takes long
    assert requests["verify"]["get"] > requests["start"]["get"]


def test_the_figures_name_neither_the_machine_nor_its_folders(figures: dict[str, Any]) -> None:
    text = (figures["folder"] / "figures.json").read_text()
    assert os.uname().nodename not in text
    assert str(figures["folder"]) not in text + figures["printed"]
    assert str(ROOT) not in text + figures["printed"]


def test_the_table_has_every_step_tool_and_limit(figures: dict[str, Any]) -> None:
    printed = figures["printed"]
    for tool in figures["tools"]:
        assert f"{tool['title']}: {tool['version']}" in printed
    for line in ("| first backup | ", "| 1 % changed | ", "| stored after: first backup | ", "| zstd -3, 2 threads | "):
        assert line in printed


def test_nothing_is_left_in_the_work_folder(figures: dict[str, Any]) -> None:
    assert not (figures["folder"] / "work").exists()


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib: pip install --group bench")
def test_a_chart_is_drawn(figures: dict[str, Any]) -> None:
    chart = (figures["folder"] / "charts" / "tree.svg").read_text()
    assert chart.count("safebackup sealed") == 7
    assert "full verification, seconds" in chart


def test_restic_and_borg_take_part_or_are_said_to_be_missing(tmp_path: Path) -> None:
    paths = ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json")]
    done = benchmark("--corpora", "tree", "--tools", "restic,borg,tar", "--steps", "restore", *paths)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    here = [tool["id"] for tool in found["tools"]]
    missing = [line.split(":")[1].strip() for line in found["left_out"]]
    assert sorted(here + missing) == ["borg", "restic", "tar"]
    assert [(one["tool"], one["equal"]) for one in found["corpora"]["tree"]["compared"]] == [
        (tool, True) for tool in here
    ]


def test_without_any_tool_nothing_is_measured(tmp_path: Path) -> None:
    done = benchmark("--tools", "borg", "--work", str(tmp_path / "work"), BORG="/nowhere/borg")
    assert done.returncode == 1
    assert "left out: borg: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("does", "said"), [("exit 0", "restored otherwise"), ("pwd >&2; exit 3", "borg ended with 3: WORK/")]
)
def test_a_tool_that_fails_or_restores_something_else_fails_the_run(does: str, said: str, tmp_path: Path) -> None:
    borg = tmp_path / "borg"
    borg.write_text(f"#!/bin/sh\n[ $1 != --version ] || exec echo borg 0\n{does}\n")
    borg.chmod(0o755)
    done = benchmark("--corpora", "media", "--tools", "borg", "--work", str(tmp_path / "work"), BORG=str(borg))
    assert done.returncode == 1
    assert f"**FAILED: borg repokey, round 0: {said}" in done.stdout


def test_a_tree_that_lives_is_backed_up_every_day(tmp_path: Path) -> None:
    paths = ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json"), "--keep"]
    done = benchmark("--corpora", "churn", "--tools", "safebackup-plain,script", "--steps", "restore", *paths)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())["corpora"]["churn"]
    stored = {result["tool"]: result["repository_files"] for result in found["results"] if result["step"] == "days"}
    assert stored["script"] == found["days"] == 3
    assert {result["step"] for result in found["results"]} == {"init", "days", "restore"}
    assert all(one["equal"] for one in found["compared"])
    assert sorted(os.listdir(tmp_path / "work")) == ["corpora", "made-by-safebackup-benchmarks", "programs"]


def test_a_folder_that_holds_something_else_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "precious").touch()
    done = benchmark("--work", str(tmp_path))
    assert done.returncode == 2
    assert "holds something else" in done.stderr
    assert relative_files(tmp_path) == ["corpora/precious"]


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_the_same_seed_makes_the_same_corpus_and_another_another(name: str, tmp_path: Path) -> None:
    one, same, other = (corpus(name, tmp_path / str(n), seed=seed, scale=SCALE) for n, seed in enumerate((1, 1, 2)))
    for part in ("current", "changed"):
        assert relative_files(one.folder / part)
        assert differences(one.folder / part, same.folder / part, seconds=0) == []
    assert differences(one.source, other.source, seconds=0)


def test_a_day_of_a_seed_is_the_same_day(tmp_path: Path) -> None:
    one, same = (corpus("churn", tmp_path / str(n), seed=1, scale=SCALE) for n in range(2))
    before = shutil.copytree(one.source, tmp_path / "before")
    live_a_day(one.source, seed=1, day=7)
    live_a_day(same.source, seed=1, day=7)
    assert differences(one.source, same.source, seconds=1e10) == []  # folders have the times of now
    assert 3 <= len({line.split(":")[0] for line in differences(before, one.source, seconds=0)}) < 20


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_one_percent_changed_is_undone_also_after_an_interruption(name: str, tmp_path: Path) -> None:
    made = corpus(name, tmp_path / "here", seed=1, scale=SCALE)
    before = shutil.copytree(made.folder, tmp_path / "before", symlinks=True)
    made.change()
    assert differences(before / "current", made.source, seconds=1e10)
    assert all((made.source / path).exists() for path in made.added)
    assert not any((made.source / path).exists() for path in made.removed)
    assert bool(made.removed) == (name in ("tree", "tiny", "churn"))
    again = corpus(name, tmp_path / "here", seed=1, scale=SCALE)  # the run was killed, and is begun again
    for part in ("current", "changed"):
        assert differences(before / part, again.folder / part, seconds=1e10) == []
    assert relative_files(again.folder / "original") == []


def test_each_day_has_a_backup_of_its_own(tmp_path: Path) -> None:
    def copying(action: Action, place: Place) -> Command:
        return Command(("cp", "-a", str(place.source), str(place.home / f"{action} {place.number}")), tmp_path)

    tree = corpus("churn", tmp_path / "corpus", seed=1, scale=SCALE).source
    record = Record(())
    (tmp_path / "copying").mkdir()
    Round(0, tmp_path, tree, False, [Tool("copying", "", "plain", "", copying)], record).days(3, seed=1)

    days = [tmp_path / "copying" / f"backup {number}" for number in (1, 2, 3)]
    assert differences(days[0], days[1], seconds=0)
    assert differences(days[1], days[2], seconds=0)
    assert differences(days[2], tree, seconds=0) == []
    assert [result.step for result in record.results] == ["days"]


def test_a_corpus_that_is_there_is_used_again_unless_it_was_made_otherwise(tmp_path: Path) -> None:
    made = corpus("media", tmp_path / "here", seed=1, scale=SCALE)
    (made.source / "trace").touch()
    assert (corpus("media", tmp_path / "here", seed=1, scale=SCALE).source / "trace").exists()
    assert not (corpus("media", tmp_path / "here", seed=2, scale=SCALE).source / "trace").exists()


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_restored_tree_that_differs_is_seen(damage: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"content")
    (source / "link").symlink_to("file")
    restored = shutil.copytree(source, tmp_path / "restored", symlinks=True)
    assert differences(source, restored, seconds=1) == []
    DAMAGES[damage](restored / "file")
    assert len(differences(source, restored, seconds=1)) == 1


def test_memory_is_that_of_a_process_and_of_those_that_it_started(tmp_path: Path) -> None:
    hold = "import subprocess, sys, time; held = b'x' * (60 << 20); {}; time.sleep(2)"
    child = "process = subprocess.Popen([sys.executable, '-c', sys.argv[1], ''])"
    code = hold.format(child) + "; process.wait()"
    took = measure(Command((sys.executable, "-c", code, hold.format("pass")), tmp_path), reports=tmp_path)
    assert 120 < took.peak_mib < 240
    assert took.wall_seconds > 2


def test_a_step_that_fails_says_what_the_tool_said(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="ended with 3: no such luck"):
        measure(Command(("sh", "-c", "echo no such luck >&2; exit 3"), tmp_path), reports=tmp_path)


def made_up(tool: str, walls: list[float]) -> list[dict[str, Any]]:
    return [{"tool": tool, "step": "first", "round": n, "wall_seconds": wall} for n, wall in enumerate(walls)]


def test_a_cell_holds_the_medians_of_the_rounds() -> None:
    rounds = [{"wall_seconds": n, "cpu_seconds": 2 * n, "peak_mib": 100 * n} for n in (9.0, 1.0, 2.0)]
    assert cost(rounds) == "2.00 (4.00, 200)"
    assert cost([]) == ""


def test_a_ratio_is_to_the_faster_peer_with_the_spread_of_the_rounds() -> None:
    results = [*made_up("safebackup", [2, 4, 3]), *made_up("restic", [8, 8, 8]), *made_up("borg", [4, 5, 6])]
    assert ratio({"results": results}, "safebackup", ("restic", "borg"), "first") == "0.60 (0.50 to 0.80) borg"
    assert ratio({"results": results}, "safebackup", ("tar",), "first") == ""


def test_a_tool_that_is_left_out_and_a_failure_are_in_the_table() -> None:
    empty = {"files": 1, "mib": 1.0, "steps": [], "results": [], "limits": [], "failures": ["restic: no"]}
    figures = {
        "environment": {},
        "tools": [],
        "rounds": 1,
        "left_out": ["left out: borg: x"],
        "corpora": {"tree": empty},
    }
    assert "**left out: borg: x**" in tables(figures)
    assert "**FAILED: restic: no**" in tables(figures)


def test_more_rounds_need_more_names_and_hardly_more_disk() -> None:
    one, three = (need(["tiny"], scale=1, tools=7, rounds=rounds) for rounds in (1, 3))
    assert three.files > one.files * 2
    assert one.mib < three.mib < one.mib * 1.2


def test_a_tree_is_emptied_without_deleting_anything_or_following_links(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.write_bytes(b"precious")
    tree.mkdir()
    (tree / "file").write_bytes(b"content")
    (tree / "file").chmod(0o400)
    (tree / "link").symlink_to(outside)
    empty(tree)
    assert relative_files(tree) == ["file", "link"]
    assert (tree / "file").stat().st_size == 0
    assert outside.read_bytes() == b"precious"


def test_what_a_run_has_left_that_was_cut_off_is_set_aside(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / "runs" / "tree").mkdir(parents=True)
        (tmp_path / "runs" / "tree" / "file").write_text(f"{number}")
        set_aside(tmp_path)

    assert not (tmp_path / "runs").exists()
    assert [(tmp_path / "cut-off" / name / "tree" / "file").read_text() for name in ("0", "1")] == ["0", "1"]


def test_growth_has_a_row_for_each_size(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.growth", "--series", "snapshots", "--scale", "0.001"]
    command += ["--work", str(tmp_path / "work"), "--json", str(tmp_path / "growth.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (rows,) = json.loads((tmp_path / "growth.json").read_text()).values()
    assert [row["grows"] for row in rows] == ["1", "3", "5"]
    assert all(row[step]["wall_seconds"] > 0 for row in rows for step in ("list", "restore", "verify", "same"))
    assert rows[0]["repository_files"] < rows[2]["repository_files"]
    assert not (tmp_path / "work").exists()
