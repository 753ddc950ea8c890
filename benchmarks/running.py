"""The rounds: every step by every tool in turn, and what it left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks.comparing import differences
from benchmarks.corpora import Corpus, live_a_day
from benchmarks.measuring import Command, Cost, StepFailedError, measure, size_of, warm
from benchmarks.tools import Action, Place, Tool


@attrs.frozen
class Step:
    """What is measured: `id` on the command line, `title` in tables."""

    id: str
    title: str
    action: Action


STEPS = (
    Step("init", "init", "init"),
    Step("first", "first backup", "backup"),
    Step("start", "start (list snapshots)", "list"),
    Step("same", "nothing changed", "backup"),
    Step("changed", "1 % changed", "backup"),
    Step("verify", "full verification", "verify"),
    Step("restore", "restore", "restore"),
)
DAYS = Step("days", "a backup each day", "backup")  # in place of the three backups, for the corpus that lives
ALWAYS = ("init", "first", "days")  # as nothing else could follow


@attrs.frozen(kw_only=True)
class Result:
    """One step of one tool in one round, and the repository after it. `requests` are those to the store, by verb."""

    tool: str
    step: str
    round: int
    wall_seconds: float
    cpu_seconds: float
    peak_mib: float
    sync_seconds: float
    repository_mib: float
    repository_files: int
    requests: dict[str, int] | None


@attrs.define
class Record:
    """What is found out about one corpus."""

    steps: tuple[Step, ...]
    results: list[Result] = attrs.field(factory=list)
    limits: list[dict[str, dict[str, float]]] = attrs.field(factory=list)
    compared: list[dict[str, object]] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)


@attrs.define
class Round:
    """One time through all steps. A tool that failed takes no further part in it."""

    number: int
    folder: Path
    source: Path
    sparse: bool
    tools: list[Tool]
    record: Record
    backups: dict[str, int] = attrs.field(factory=dict)

    def every(self, step: Step) -> None:
        """One step by each tool."""
        for tool in list(self.tools):
            self.guarded(tool, partial(self.once, tool, step))

    def days(self, days: int, seed: int) -> None:
        """A backup by each tool after each day; what they cost together."""
        costs: dict[str, list[Cost | None]] = {tool.id: [] for tool in self.tools}
        for day in range(days):
            live_a_day(self.source, seed=seed, day=day)
            for tool in list(self.tools):
                self.guarded(tool, partial(self.again, tool, costs[tool.id]))
        for tool in self.tools:
            self.keep(tool, DAYS, costs[tool.id])

    def once(self, tool: Tool, step: Step) -> None:
        self.keep(tool, step, [self.run(tool, step.action)])

    def again(self, tool: Tool, costs: list[Cost | None]) -> None:
        costs.append(self.run(tool, "backup"))

    def guarded(self, tool: Tool, work: Callable[[], None]) -> None:
        try:
            work()
        except StepFailedError as error:
            self.record.failures.append(f"{tool.title}, round {self.number}: {error}")
            print(self.record.failures[-1], file=sys.stderr)
            self.tools.remove(tool)

    def place(self, tool: Tool) -> Place:
        home = self.folder / tool.id
        return Place(home, self.source, home / "restored", self.backups.get(tool.id, 0), self.sparse)

    def run(self, tool: Tool, action: Action) -> Cost | None:
        """None if the tool has no such thing."""
        self.backups[tool.id] = self.backups.get(tool.id, 0) + (action == "backup")
        place = self.place(tool)
        command = tool.command(action, place)
        if command is None and action == "init":
            (place.home / "repository").mkdir()
        if command is None:
            return None
        if action in ("backup", "verify", "restore"):
            warm(place.source if action == "backup" else place.home / "repository")
        return measure(command, reports=self.folder)

    def keep(self, tool: Tool, step: Step, costs: Iterable[Cost | None]) -> None:
        """Write down what a step cost and left."""
        paid = [cost for cost in costs if cost is not None]
        if not paid:
            return
        left = size_of(self.folder / tool.id / "repository")
        result = Result(
            tool=tool.id,
            step=step.id,
            round=self.number,
            wall_seconds=sum(cost.wall_seconds for cost in paid),
            cpu_seconds=sum(cost.cpu_seconds for cost in paid),
            peak_mib=max(cost.peak_mib for cost in paid),
            sync_seconds=sum(cost.sync_seconds for cost in paid),
            repository_mib=left.mib,
            repository_files=left.files,
            requests=added_up(cost.printed for cost in paid) if tool.counts else None,
        )
        self.record.results.append(result)
        print(f"  round {self.number}: {step.title}, {tool.title}: {result.wall_seconds:.2f} s", file=sys.stderr)

    def compare(self) -> None:
        """Look whether what was restored is the source."""
        for tool in self.tools:
            restored = self.place(tool).target
            found = differences(self.source, restored, seconds=tool.seconds)
            self.record.compared.append({"tool": tool.id, "round": self.number, "equal": not found})
            if found:
                self.record.failures.append(f"{tool.title}, round {self.number}: restored otherwise: {found[:5]}")
                print(self.record.failures[-1], file=sys.stderr)
            empty(restored)


def added_up(printed: Iterable[str]) -> dict[str, int] | None:
    """The requests that a step printed, all together; None if it counted none."""
    counts = [json.loads(text) for text in printed if text]
    return {verb: sum(c.get(verb, 0) for c in counts) for verb in sorted(set().union(*counts))} if counts else None


def empty(folder: Path) -> None:
    """Cut all files to nothing, to have the disk back; to delete many makes ext4 slow at creating files for minutes."""
    for home, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(home, name)
            if not os.path.islink(path):
                os.chmod(path, 0o600)
                os.truncate(path, 0)


def measure_corpus(
    corpus: Corpus, tools: Sequence[Tool], *, rounds: int, steps: Sequence[str], days: int, seed: int, folder: Path
) -> Record:
    """All rounds over one corpus; a corpus that lives is copied for each."""
    lives = corpus.name == "churn"
    known = tuple(
        DAYS if lives and s.id == "first" else s for s in STEPS if not (lives and s.id in ("same", "changed"))
    )
    wanted = tuple(step for step in known if step.id in (*ALWAYS, *steps))
    record = Record(wanted)
    for number in range(rounds):
        home = folder / str(number)
        home.mkdir(parents=True)
        source = corpus.source
        if lives:
            source = shutil.copytree(corpus.source, home / "tree", symlinks=True)
        turn = number % len(tools)
        order = [*tools[turn:], *tools[:turn]]
        for tool in order:
            (home / tool.id / "restored").mkdir(parents=True)
        this = Round(number, home, source, corpus.name == "image", order, record)
        record.limits.append(measure_limits(source, home))
        try:
            run_steps(this, corpus, wanted, days=days, seed=seed)
        finally:
            corpus.revert()
        for tool in tools:
            empty(home / tool.id)
    return record


def run_steps(this: Round, corpus: Corpus, steps: Iterable[Step], *, days: int, seed: int) -> None:
    """One round."""
    for step in steps:
        if step.id == "changed":
            corpus.change()
        if step is DAYS:
            this.days(days, seed)
        else:
            this.every(step)
        if step.action == "restore":
            this.compare()


def measure_limits(source: Path, home: Path) -> dict[str, dict[str, float]]:
    """What the machine can do with the files of a source; it reads them all, so that every tool finds them read."""
    script = str(Path(__file__).with_name("limits.py"))
    cost = measure(Command((sys.executable, "-P", script, str(source), str(home / "created")), home), reports=home)
    found: dict[str, dict[str, float]] = json.loads(cost.printed)
    return found
