"""How the cost of safebackup grows: with files, bytes of a file, snapshots, and what the repository holds.

    .venv/bin/python -m benchmarks.growth --work /var/tmp/growth --json build/growth.json

Each row is one run of each step, in a process of its own, plain, with everything it reads in the page cache. What
matters is how a column changes from row to row. `--scale 0.01` is a trial. The work folder is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.contents import MIB
from benchmarks.measuring import Cost, measure, size_of, warm
from benchmarks.tables import head, row
from benchmarks.tools import Action, Place, safebackup

COMMAND = safebackup("plain")
FILES = (3_000, 30_000, 300_000)
FILE_MIB = (64, 512, 4096)
SNAPSHOTS = (3, 30, 300)
STORED_MIB = (64, 512, 4096)


class Series:
    """Rows of one table: what grows, and what each step cost."""

    def __init__(self, title: str, folder: Path) -> None:
        self.title = title
        self.folder = folder
        self.rows: list[dict[str, object]] = []

    def place(self, name: str) -> Place:
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        return Place(home, home / "source", home / "restored")

    def step(self, action: Action, place: Place) -> Cost:
        if action in ("backup", "verify", "restore"):
            warm(place.source if action == "backup" else place.home / "repository")
        return measure(COMMAND(action, place), reports=place.home)

    def add(self, grows: str, place: Place, **costs: Cost) -> None:
        stored = size_of(place.home / "repository")
        found = {
            step: {
                "wall_seconds": cost.wall_seconds,
                "cpu_seconds": cost.cpu_seconds,
                "peak_mib": cost.peak_mib,
                "requests": sum(json.loads(cost.printed).values()) if cost.printed else 0,
            }
            for step, cost in costs.items()
        }
        self.rows.append({"grows": grows, "repository_mib": stored.mib, "repository_files": stored.files, **found})
        print(f"{self.title}: {grows}", file=sys.stderr)

    def table(self) -> Iterator[str]:
        """As Markdown: wall seconds, and MiB of memory at the peak."""
        steps = [name for name, found in self.rows[-1].items() if isinstance(found, dict)]
        yield f"### {self.title}"
        yield ""
        yield from head("", *steps, "repository")
        for each in self.rows:
            cells = [f"{each[step]['wall_seconds']:.2f} s, {each[step]['peak_mib']:.0f} MiB" for step in steps]  # type: ignore[index]
            yield row(
                str(each["grows"]), *cells, f"{each['repository_mib']:.1f} MiB, {each['repository_files']} objects"
            )
        yield ""


def whole(series: Series, grows: str, place: Place) -> None:
    """All steps on one source."""
    series.step("init", place)
    first, same = series.step("backup", place), series.step("backup", place)
    verify, restore = series.step("verify", place), series.step("restore", place)
    series.add(grows, place, first=first, same=same, verify=verify, restore=restore)


def files(folder: Path, scale: float) -> Series:
    series = Series("Files of 300 bytes", folder)
    for wanted in FILES:
        count = max(10, round(wanted * scale))
        place = series.place(f"{wanted}")
        for number in range(count):
            path = place.source / f"{number // 20_000}" / f"{number // 200}" / f"{number}.txt"
            if number % 200 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(b"%09d is what this file says\n" % number * 8)
        whole(series, f"{count:,}", place)
    return series


def noise(path: Path, size_mib: int) -> None:
    """A file that nothing makes smaller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open("/dev/urandom", "rb") as random, path.open("wb") as file:
        for _ in range(size_mib):
            file.write(random.read(MIB))


def bytes_of_a_file(folder: Path, scale: float) -> Series:
    series = Series("Bytes of one file of noise", folder)
    for wanted in FILE_MIB:
        size = max(1, round(wanted * scale))
        place = series.place(f"{wanted}")
        noise(place.source / "file", size)
        whole(series, f"{size:,} MiB", place)
    return series


def snapshots(folder: Path, scale: float) -> Series:
    """One repository, in which a small source is backed up again and again, with one file changed each time."""
    series = Series("Snapshots, each with one file changed of 300", folder)
    place = series.place("snapshots")
    for number in range(300):
        path = place.source / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d\n" % number * 100)
    series.step("init", place)
    made = 0
    for wanted in SNAPSHOTS:
        goal = max(made + 1, round(wanted * scale))
        while made < goal:
            (place.source / f"{made % 300}.txt").write_bytes(b"%d, changed\n" % made * 100)
            series.step("backup", place)
            made += 1
        target = Place(place.home, place.source, place.home / f"restored-{made}")
        series.add(
            f"{made:,}",
            place,
            list=series.step("list", place),
            restore=series.step("restore", target),
            verify=series.step("verify", place),
            same=series.step("backup", place),
        )
        made += 1
    return series


def stored(folder: Path, scale: float) -> Series:
    """One repository that holds more and more of something else, and what a small source costs in it."""
    series = Series("What the repository holds besides", folder)
    place = series.place("stored")
    (place.source).mkdir()
    (place.source / "file").write_bytes(b"small\n")
    series.step("init", place)
    other = Place(place.home, place.home / "other", place.home / "nowhere")
    there = 0
    for wanted in STORED_MIB:
        size = max(there + 1, round(wanted * scale))
        noise(other.source / f"{size}", size - there)
        series.step("backup", other)
        there = size
        target = Place(place.home, place.source, place.home / f"restored-{size}")
        first = series.step("backup", place)
        series.add(
            f"{size:,} MiB",
            place,
            list=series.step("list", place),
            backup=first,
            same=series.step("backup", place),
            restore=series.step("restore", target),
        )
    return series


SERIES = {"files": files, "bytes": bytes_of_a_file, "snapshots": snapshots, "stored": stored}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="a new folder on the disk to measure; needs 25 GiB")
    parser.add_argument("--series", choices=SERIES, nargs="+", default=list(SERIES), help="some instead of all")
    parser.add_argument("--scale", type=float, default=1.0, help="how far each series goes, 0.001 to 1")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True)
    try:
        found = [SERIES[name](options.work / name, options.scale) for name in options.series]
    finally:
        shutil.rmtree(options.work)
    print("\n".join(line for series in found for line in series.table()))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({each.title: each.rows for each in found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
