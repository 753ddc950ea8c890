"""safebackup beside restic, borg, tar and a plain script, on corpora made from a seed: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import attrs

from benchmarks.corpora import CORPORA, corpus
from benchmarks.fetching import find_programs
from benchmarks.measuring import touch_memory
from benchmarks.needs import free, need
from benchmarks.running import ALWAYS, STEPS, measure_corpus
from benchmarks.tables import Figures, tables
from benchmarks.tools import TOOL_IDS, all_tools

MARK = "made-by-safebackup-benchmarks"
OURS = ("corpora", "programs", "runs", "cut-off")  # what the suite makes in its folder, and deletes
DAYS = 100
FULL_ENOUGH = 0.1  # smaller corpora show no times


def main() -> int:
    options = parse()
    if complaint := refusal(options):
        print(complaint, file=sys.stderr)
        return 2
    (options.work / MARK).touch()
    set_aside(options.work)
    for part in OURS:
        (options.work / part).mkdir(exist_ok=True)
    try:
        figures = measure_all(options)
    finally:
        clear(options.work, OURS if not options.keep else ("runs", "cut-off"))
    print(tables(figures))
    if options.charts:
        from benchmarks.charts import draw

        draw(figures, options.charts)
    return 1 if any(found["failures"] for found in figures["corpora"].values()) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    step_ids = [step.id for step in STEPS if step.id not in ALWAYS]
    for name, known in (("corpora", list(CORPORA)), ("tools", list(TOOL_IDS)), ("steps", step_ids)):
        parser.add_argument(f"--{name}", type=listed(known), default=known, help=f"of {','.join(known)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each corpus, 0.001 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--work", type=Path, default=Path("/var/tmp/safebackup-benchmarks"), help="on the disk to measure"
    )
    parser.add_argument("--keep", action="store_true", help="keep corpora and programs there for the next time")
    parser.add_argument("--offline", action="store_true", help="fetch no programs, use those on the PATH")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--charts", type=Path, help="draw charts into this folder")
    return parser.parse_args()


def listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    """A comma list of known names, in their own order."""

    def parsed(value: str) -> list[str]:
        given = value.split(",")
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: known are {', '.join(known)}")
        return [name for name in known if name in given]

    return parsed


def refusal(options: argparse.Namespace) -> str | None:
    """Why this cannot be run. Says what the disk must hold; makes the folder."""
    if options.rounds < 1 or not 0.001 <= options.scale <= 1:
        return "--rounds is at least 1, and --scale is 0.001 to 1"
    if sys.platform != "linux":
        return "the suite runs on Linux alone: it measures with what its kernel tells"
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()) and not (options.work / MARK).exists():
        return f"{options.work} holds something else: give a new folder with --work"
    wanted = need(options.corpora, scale=options.scale, tools=len(options.tools), rounds=options.rounds)
    there = free(options.work)
    print(f"needs about {wanted.mib / 1024:.1f} GiB and {wanted.files:,} files in {options.work}", file=sys.stderr)
    if wanted.mib > there.mib or wanted.files > there.files:
        return (
            f"only {there.mib / 1024:.1f} GiB and {there.files:,} files are free there: give another folder "
            "with --work, or take fewer --corpora, --tools or --rounds, or less --scale"
        )
    return None


def measure_all(options: argparse.Namespace) -> Figures:
    """All corpora, written down after each."""
    programs, missing = find_programs(set(options.tools), options.work / "programs", offline=options.offline)
    tools = [tool for tool in all_tools(programs) if tool.id in options.tools]
    figures: Figures = {
        "environment": environment(options.work),
        "seed": options.seed,
        "scale": options.scale,
        "rounds": options.rounds,
        "tools": [{key: getattr(tool, key) for key in ("id", "title", "sealing", "version")} for tool in tools],
        "left_out": missing,
        "corpora": {},
    }
    for line in missing:
        print(line, file=sys.stderr)
    if not tools:
        sys.exit("none of these tools is to be had")
    days = max(3, round(DAYS * options.scale))
    for name in options.corpora:
        print(f"{name}: making the corpus, or looking whether it is there", file=sys.stderr)
        folder = options.work / "corpora" / name
        made = corpus(name, folder, seed=options.seed, scale=options.scale)
        runs = options.work / "runs" / name
        if options.scale >= FULL_ENOUGH:
            touch_memory()
        record = measure_corpus(
            made, tools, rounds=options.rounds, steps=options.steps, days=days, seed=options.seed, folder=runs
        )
        figures["corpora"][name] = {"files": made.files, "mib": made.mib, "days": days, **attrs.asdict(record)}
        # What a tool complained about may name folders, which are nobody's business.
        text = json.dumps(figures, indent=1).replace(str(options.work), "WORK").replace(str(Path.cwd()), "HERE")
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(text + "\n", encoding="utf-8")
        figures = json.loads(text)
    return figures


def environment(work: Path) -> dict[str, str]:
    """What the figures depend on; nothing of it names this machine."""
    names = [
        line.partition(":")[2].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")
    ]
    mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
    around = [mount for mount in mounts if work.is_relative_to(mount[1])]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("zstandard", "blake3", "cryptography", "pyfastcdc"))
    return {
        "measured on": time.strftime("%Y-%m-%d"),
        "processors": f"{len(os.sched_getaffinity(0))} of {names[0] if names else platform.machine()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "file system": max(around, key=lambda mount: len(mount[1]))[2],
        "Python": platform.python_version(),
        "libraries": libraries,
    }


def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def set_aside(work: Path) -> None:
    """Move away what a run has left that was cut off: to delete it now would slow down what is measured."""
    if (work / "runs").exists():
        aside = work / "cut-off"
        aside.mkdir(exist_ok=True)
        (work / "runs").rename(aside / str(len(os.listdir(aside))))
        print("a run was cut off; what it has left is deleted at the end of this one", file=sys.stderr)


def clear(work: Path, parts: Sequence[str]) -> None:
    """Delete what the suite has made, and its folder if nothing is left in it."""
    for part in parts:
        shutil.rmtree(work / part, ignore_errors=True)
    if set(os.listdir(work)) == {MARK}:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
