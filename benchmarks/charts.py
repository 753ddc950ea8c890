"""The figures as pictures: for each corpus the wall time of each step, to be read on white and on black."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tables import Figures, median, of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#808080"  # seen on both
OURS, OTHERS = "#2a9d8f", "#8d99ae"


def draw(figures: Figures, folder: Path) -> list[Path]:
    """One SVG for each corpus; the paths of all.

    Raises:
        ImportError: matplotlib is not installed, which `pip install --group bench` does.
    """
    from matplotlib import rc_context

    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "safebackup", "text.color": INK, "font.size": 9}):
        return [draw_corpus(figures, name, folder / f"{name}.svg") for name in figures["corpora"]]


def draw_corpus(figures: Figures, name: str, path: Path) -> Path:
    """The steps below each other, each with a scale of its own that begins at 0."""
    from matplotlib.figure import Figure

    corpus = figures["corpora"][name]
    steps = [step for step in corpus["steps"] if any(result["step"] == step["id"] for result in corpus["results"])]
    bars = [[tool for tool in figures["tools"] if of(corpus, tool["id"], step["id"])] for step in steps]
    heights = [len(tools) + 1.2 for tools in bars]
    picture = Figure(figsize=(8, 0.24 * sum(heights)), layout="constrained")
    axes = picture.subplots(len(steps), 1, squeeze=False, height_ratios=heights)
    for step, tools, (area,) in zip(steps, bars, axes, strict=True):
        area.set_title(f"{step['title']}, seconds", loc="left", fontsize=9, color=INK, fontweight="bold")
        draw_step(area, tools, [median(of(corpus, tool["id"], step["id"]), "wall_seconds") for tool in tools])
    picture.savefig(path, transparent=True, metadata={"Date": None})
    return path


def draw_step(area: Axes, tools: list[Figures], seconds: list[float]) -> None:
    """A bar for each tool, with its number behind it."""
    colours = [OURS if tool["id"].startswith("safebackup") else OTHERS for tool in tools]
    bars = area.barh([tool["title"] for tool in tools], seconds, color=colours)
    area.bar_label(bars, labels=[f"{value:.2f}" for value in seconds], padding=3, color=INK)
    area.invert_yaxis()
    area.set_xlim(0, max(seconds) * 1.15)
    area.set_xticks([])
    area.tick_params(length=0, colors=INK)
    for side in area.spines.values():
        side.set_visible(False)
