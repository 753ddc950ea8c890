"""First figures: safebackup beside restic and tar | zstd, in one run on one tree.

    .venv/bin/python benchmarks/compare.py --tree /usr --work /var/tmp/bench --rounds 3

Each step runs in a process of its own, in turn for each tool; the table gives the median wall time with CPU time
behind it, peak memory, and the ratio to restic. safebackup and restic seal; safebackup decodes what it has encoded
again and syncs every object. Times include the start of the process and, for restic, its key derivation; safebackup
uses a key file. Restored trees are kept, never deleted between timings, as ext4 makes files slowly after large
deletions: delete the work folder yourself afterwards. Without restic the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

STEPS = ("init", "first backup", "nothing changed", "full verification", "restore")

OURS = """
import sys
from safebackup import KeyFile, Repository, back_up, restore, verify
step, home, tree, target = sys.argv[1:]
key = KeyFile(home + "/key")
if step == "init":
    Repository.create(home + "/repository", key=KeyFile.create(home + "/key"))
    sys.exit(0)
repository = Repository.open(home + "/repository", key=key)
if "backup" in step or "changed" in step:
    assert back_up(tree, into=repository).complete
elif "verification" in step:
    assert verify(repository, level="full").passed
else:
    assert restore(repository.snapshot(), to=target).complete
"""


class Cost(NamedTuple):
    """What one process took."""

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def measure(command: list[str], *, environment: dict[str, str], folder: Path) -> Cost:
    """Run a command to its end; a failing one ends the benchmark."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed with {process.returncode}: {complaint.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def safebackup_command(step: str, home: Path, tree: Path, target: Path) -> list[str]:
    """One step with this library."""
    return [sys.executable, "-c", OURS, step, str(home), str(tree), str(target)]


def restic_command(step: str, _home: Path, _tree: Path, target: Path) -> list[str]:
    """One step with restic."""
    verbs = {
        "init": ["init", "-q"],
        "first backup": ["backup", "-q", "."],
        "nothing changed": ["backup", "-q", "."],
        "full verification": ["check", "-q", "--read-data"],
        "restore": ["restore", "-q", "latest", "--target", str(target)],
    }
    return [os.environ.get("RESTIC", "restic"), *verbs[step]]


def tar_command(step: str, home: Path, _tree: Path, target: Path) -> list[str]:
    """One step with tar and zstd, which neither seals nor syncs, and has no "nothing changed"."""
    archive = home / "all.tar.zst"
    scripts = {
        "init": "true",
        "first backup": f"tar cf - . | zstd -q -3 -T0 > {archive}",
        "nothing changed": f"tar cf - . | zstd -q -3 -T0 > {archive}.2",
        "full verification": f"zstd -q -t {archive}",
        "restore": f"mkdir -p {target} && zstd -dc {archive} | tar xf - -C {target}",
    }
    return ["bash", "-o", "pipefail", "-c", scripts[step]]


TOOLS = {"safebackup": safebackup_command, "restic": restic_command, "tar+zstd -3": tar_command}


def repository_mib(home: Path) -> float:
    """What a tool has stored."""
    kept = (home / "repository", home / "all.tar.zst")
    return sum(p.stat().st_size for k in kept for p in [k, *k.rglob("*")] if p.is_file()) / (1 << 20)


def run_round(tool: str, step: str, home: Path, tree: Path) -> Cost:
    """One step of one tool."""
    environment = {
        "RESTIC_PASSWORD": "benchmark",
        "RESTIC_REPOSITORY": str(home / "repository"),
        "RESTIC_CACHE_DIR": str(home / "cache"),
    }
    return measure(TOOLS[tool](step, home, tree, home / "restored"), environment=environment, folder=tree)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a new folder on the disk to measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    options.work.mkdir(parents=True)
    restic = os.environ.get("RESTIC", "restic")
    tools = [tool for tool in TOOLS if tool != "restic" or shutil.which(restic)]
    costs: dict[str, dict[str, list[Cost]]] = {step: {tool: [] for tool in tools} for step in STEPS}
    sizes: dict[str, float] = {}
    for number in range(options.rounds):
        for step in STEPS:
            for tool in tools[number % len(tools) :] + tools[: number % len(tools)]:
                home = options.work / f"{number}-{tool.split('+')[0]}"
                home.mkdir(exist_ok=True)
                costs[step][tool].append(run_round(tool, step, home, options.tree.resolve()))
                if step == "first backup":
                    sizes[tool] = repository_mib(home)
    print_table(costs, sizes, tools)
    if options.json:
        options.json.write_text(json.dumps({"costs": costs, "repository_mib": sizes}, indent=1))
    return 0


def print_table(costs: dict[str, dict[str, list[Cost]]], sizes: dict[str, float], tools: list[str]) -> None:
    """Medians, with the ratio of wall times to restic's."""
    print("| step | " + " | ".join(tools) + " | to restic |")
    print("| --- |" + " --- |" * (len(tools) + 1))
    for step in STEPS:
        cells = []
        medians = {}
        for tool in tools:
            wall, cpu, peak = (statistics.median(column) for column in zip(*costs[step][tool], strict=True))
            medians[tool] = wall
            cells.append(f"{wall:.2f} s ({cpu:.2f} CPU s, {peak:.0f} MiB)")
        ratio = f"{medians['safebackup'] / medians['restic']:.2f}" if "restic" in medians else "no restic"
        print(f"| {step} | " + " | ".join(cells) + f" | {ratio} |")
    print("| stored | " + " | ".join(f"{sizes[tool]:.0f} MiB" for tool in tools) + " | |")


if __name__ == "__main__":
    sys.exit(main())
