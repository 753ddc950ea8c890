"""The figures as Markdown: medians of the rounds, and ratios of those, with the least and the most of any round."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

Figures = dict[str, Any]  # what the JSON file holds
PEERS = {"sealed": ("restic", "borg"), "plain": ("borg-plain",)}
OURS = ("safebackup", "safebackup-plain")


def tables(figures: Figures) -> str:
    """Everything that was measured."""
    lines = [f"{key}: {value}  " for key, value in figures["environment"].items()]
    lines += [f"{tool['title']}: {tool['version']}  " for tool in figures["tools"]]
    lines += [f"**{line}**  " for line in figures["left_out"]]
    for name, corpus in figures["corpora"].items():
        lines += [
            "",
            f"## {name}: {corpus['files']:,} files, {corpus['mib']:,.0f} MiB, rounds: {figures['rounds']}",
            "",
        ]
        lines += [*costs(figures, corpus), "", *ratios(figures, corpus), "", *requests(figures, corpus)]
        lines += ["", *limits(corpus)]
        lines += ["", *(f"**FAILED: {failure}**  " for failure in corpus["failures"])]
    return "\n".join(lines)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def head(*cells: str) -> list[str]:
    return [row(*cells), row("---", *["---:"] * (len(cells) - 1))]


def of(corpus: Figures, tool: str, step: str) -> list[Figures]:
    """All rounds of one step of one tool."""
    return [result for result in corpus["results"] if (result["tool"], result["step"]) == (tool, step)]


def median(results: list[Figures], key: str) -> float:
    return float(statistics.median(result[key] for result in results))


def costs(figures: Figures, corpus: Figures) -> Iterator[str]:
    """Each step by each tool, and what is stored in the end."""
    tools = figures["tools"]
    yield "Wall seconds (CPU seconds, MiB of memory at the peak)."
    yield ""
    yield from head("step", *(tool["title"] for tool in tools))
    for step in corpus["steps"]:
        found = [of(corpus, tool["id"], step["id"]) for tool in tools]
        yield row(step["title"], *(cost(results) for results in found))
    for step in corpus["steps"]:
        if step["id"] in ("first", "days", "changed"):
            found = [of(corpus, tool["id"], step["id"]) for tool in tools]
            yield row(f"stored after: {step['title']}", *(stored(results) for results in found))


def cost(results: list[Figures]) -> str:
    if not results:
        return ""
    wall, cpu, peak = (median(results, key) for key in ("wall_seconds", "cpu_seconds", "peak_mib"))
    return f"{wall:.2f} ({cpu:.2f}, {peak:.0f})"


def stored(results: list[Figures]) -> str:
    if not results:
        return ""
    return f"{median(results, 'repository_mib'):,.1f} MiB in {median(results, 'repository_files'):,.0f}"


def ratios(figures: Figures, corpus: Figures) -> Iterator[str]:
    """safebackup's wall time to that of others; below 1 it is faster."""
    ours = [tool for tool in figures["tools"] if tool["id"] in OURS]
    yield "Ratio of wall times, below 1 is faster; in brackets the least and the most of all rounds."
    yield ""
    peers = [f"{tool['title']} to {' or '.join(PEERS[tool['sealing']])}" for tool in ours]
    yield from head("step", *peers, *(f"{tool['title']} to tar" for tool in ours))
    for step in corpus["steps"]:
        to_peers = [ratio(corpus, tool["id"], PEERS[tool["sealing"]], step["id"]) for tool in ours]
        to_tar = [ratio(corpus, tool["id"], ("tar",), step["id"]) for tool in ours]
        yield row(step["title"], *to_peers, *to_tar)


def ratio(corpus: Figures, tool: str, others: tuple[str, ...], step: str) -> str:
    """To the fastest of the others, which is the one with the least median."""
    mine = of(corpus, tool, step)
    measured = [results for other in others if (results := of(corpus, other, step))]
    if not mine or not measured:
        return ""
    fastest = min(measured, key=lambda results: median(results, "wall_seconds"))
    theirs = {result["round"]: result["wall_seconds"] for result in fastest}
    each = [result["wall_seconds"] / theirs[result["round"]] for result in mine if result["round"] in theirs]
    whole = median(mine, "wall_seconds") / median(fastest, "wall_seconds")
    return f"{whole:.2f} ({min(each):.2f} to {max(each):.2f}) {fastest[0]['tool'] if len(others) > 1 else ''}".strip()


def requests(figures: Figures, corpus: Figures) -> Iterator[str]:
    """How often safebackup called its store, and how many objects there were then."""
    ours = [tool for tool in figures["tools"] if tool["id"] in OURS]
    yield "Requests to the store."
    yield ""
    yield from head("step", *(tool["title"] for tool in ours))
    for step in corpus["steps"]:
        found = [of(corpus, tool["id"], step["id"]) for tool in ours]
        if any(results and results[0]["requests"] for results in found):
            yield row(step["title"], *(asked(results) for results in found))


def asked(results: list[Figures]) -> str:
    if not results or not results[0]["requests"]:
        return ""
    return ", ".join(f"{verb} {count:,}" for verb, count in results[0]["requests"].items())


def limits(corpus: Figures) -> Iterator[str]:
    """What the machine can do at all."""
    yield "Limits of this machine with these files."
    yield ""
    yield from head("limit", "seconds", "files a second", "MiB a second")
    for name in corpus["limits"][0] if corpus["limits"] else ():
        found = [measured[name] for measured in corpus["limits"]]
        wall = max(median(found, "wall_seconds"), 1e-9)
        rates = [found[0][key] / wall for key in ("files", "mib")]
        yield row(name, f"{wall:.3f}", *(f"{rate:,.0f}" if rate else "" for rate in rates))
