"""Figures: accuracy over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simulations.results import Evaluation

matplotlib.use("Agg")

_COLOURS = {
    "reference": "#8c8c8c",
    "baseline": "#d55e00",
    "rule": "#e69f00",
    "resam": "#0072b2",
}


@dataclass(frozen=True)
class Curve:
    """One run in a figure; ``role`` picks the colour: reference, baseline, rule or resam."""

    label: str
    role: str
    evaluations: Sequence[Evaluation]


def accuracy_over_rounds(curves: Sequence[Curve], title: str, path: Path) -> None:
    """Draw test accuracy over rounds, a line a run with its name and last value beside it."""
    figure = Figure(figsize=(7.2, 4.0), dpi=160, layout="constrained")
    axes = figure.add_subplot()
    rounds = max((e.round for curve in curves for e in curve.evaluations), default=1)
    ends: list[tuple[float, Curve]] = []
    for index, curve in enumerate(curves):
        dashed = curve.role == "reference"
        # A line that later ones cover is wider, so that it shows on both sides of them.
        extra = 1.6 * sum(_coincide(curve, later) for later in curves[index + 1 :])
        axes.plot(
            [e.round for e in curve.evaluations],
            [e.accuracy for e in curve.evaluations],
            color=_COLOURS[curve.role],
            linestyle="--" if dashed else "-",
            linewidth=(1.4 if dashed else 2.0) + extra,
        )
        ends.append((curve.evaluations[-1].accuracy, curve))
    for height, (value, curve) in zip(_apart([end[0] for end in ends]), ends, strict=True):
        axes.annotate(
            f"{curve.label}: {value:.0%}", (rounds, height), xytext=(6, 0),
            textcoords="offset points", color=_COLOURS[curve.role], va="center", fontsize=9,
            annotation_clip=False,
        )
    axes.set(xlabel="round", ylabel="test accuracy", xlim=(0, rounds), ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.5, alpha=0.4)
    axes.set_title(title, loc="left", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _coincide(one: Curve, other: Curve) -> bool:
    """Whether two lines lie on each other, by a hundredth, in most rounds that both have."""
    at = {e.round: e.accuracy for e in other.evaluations}
    apart = [abs(e.accuracy - at[e.round]) for e in one.evaluations if e.round in at]
    return sum(each <= 0.01 for each in apart) > len(apart) / 2


def _apart(values: Sequence[float], gap: float = 0.062) -> list[float]:
    """Heights near the values, so far from one another that labels don't overlap."""
    order = sorted(range(len(values)), key=values.__getitem__)
    heights = list(values)
    for lower, upper in pairwise(order):
        heights[upper] = max(heights[upper], heights[lower] + gap)
    over = max(0.0, max(heights) - 1.0)
    for upper, lower in pairwise(order[::-1]):
        heights[upper] = min(heights[upper], 1.0) if over else heights[upper]
        if over:
            heights[lower] = min(heights[lower], heights[upper] - gap)
    return heights
