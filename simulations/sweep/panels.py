"""Accuracy over rounds, a panel an attack: rules alone against the same rules over momentums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from simulations.sweep.store import Run
from simulations.sweep.summary import (
    Cell,
    Setting,
    attacks_in_order,
    base_of,
    by_cell,
    compares_momentum,
)
from simulations.sweep.table import DIVERGED

matplotlib.use("Agg")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_GREY = "#555555"
_COLUMNS = 3


def panels(setting: Setting, runs: Sequence[Run], rules: Sequence[str], path: Path) -> None:
    """Draw the mean over the seeds, and a band from the lowest to the highest of them.

    A run that diverged ends in a cross, and is in no mean.
    A colour a rule; dashed without momentum, solid with the beta that ends highest over all.
    Where all have momentum, a colour an aggregator; dashed by itself, solid at the end of a chain.
    """
    found = by_cell(runs)
    attacks = attacks_in_order(found)
    curves, legend = _styles([run for run in runs if run.config["aggregator"] in rules], rules)
    columns = min(_COLUMNS, len(attacks))
    height = -(-len(attacks) // columns)
    width = 3.1 * columns
    figure = Figure(figsize=(width, 0.9 + 2.1 * height), dpi=160, layout="constrained")
    axes = np.atleast_1d(figure.subplots(height, columns, sharex=True, sharey=True)).ravel()
    for axis, attack in zip(axes, attacks, strict=False):
        shown = 0
        for (rule, beta), style in curves.items():
            if own := found.get(Cell(attack, rule, beta)):
                _curve(axis, own, style)
                shown += 1
        if shown < len(curves):
            words = "not run" if not shown else f"{len(curves) - shown} of {len(curves)} not run"
            axis.text(0.98, 0.04, words, transform=axis.transAxes, ha="right", fontsize=7)
        axis.set_title(attack, fontsize=9, loc="left")
        axis.set_ylim(0, 1)
        axis.margins(x=0)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", linewidth=0.5, alpha=0.4)
    for axis in axes[len(attacks) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(attacks) - columns) : len(attacks)]:  # the lowest of each column
        axis.set_xlabel("round", fontsize=9)
        axis.tick_params(labelbottom=True)
    figure.supylabel("test accuracy", fontsize=9)
    handles = [
        Line2D([], [], color=style.colour, linestyle=style.line, label=label)
        for label, style in legend.items()
    ]
    if any(run.diverged for run in runs):
        handles.append(Line2D([], [], color=_GREY, marker="x", linestyle="", label=DIVERGED))
    lines = ceil(sum(0.5 + 0.07 * len(label) for label in legend) / width)
    per_line = ceil(len(legend) / lines)
    figure.legend(handles=handles, loc="outside lower center", ncols=per_line, fontsize=8)
    counts = sorted({len(own) for own in found.values()})
    bands = "one seed" if counts == [1] else (
        f"line: mean over {' to '.join(map(str, {counts[0]: 0, counts[-1]: 0}))} seeds; "
        "band: from the lowest to the highest of them"
    )
    figure.suptitle(f"{setting.title}\n{bands}", fontsize=9)
    figure.savefig(path)


@dataclass(frozen=True)
class _Style:
    colour: str
    line: Literal["-", "--"]


def _styles(
    runs: Sequence[Run], rules: Sequence[str]
) -> tuple[dict[tuple[str, float], _Style], dict[str, _Style]]:
    """How to draw the curve of a rule and beta, and what the legend says."""
    beta = _best_beta(runs)
    if compares_momentum(runs):
        colours = dict(zip(rules, cycle(_COLOURS), strict=False))
        curves = {(rule, 0.0): _Style(colours[rule], "--") for rule in rules}
        curves |= {(rule, beta): _Style(colours[rule], "-") for rule in rules}
        legend = {rule: _Style(colour, "-") for rule, colour in colours.items()}
        legend["rule alone (beta = 0)"] = _Style(_GREY, "--")
        return curves, legend | {f"RESAM (beta = {beta:g})": _Style(_GREY, "-")}
    bases = list(dict.fromkeys(base_of(rule) for rule in rules))
    chained = {base_of(rule) for rule in rules if "|" in rule}
    by_base = dict(zip(bases, cycle(_COLOURS), strict=False))
    legend = {
        rule: _Style(by_base[base_of(rule)], "--" if rule in chained else "-") for rule in rules
    }
    return {(rule, beta): style for rule, style in legend.items()}, legend


def _curve(axis: Axes, runs: Sequence[Run], style: _Style) -> None:
    """One cell's seeds; one that diverged by itself, up to its end."""
    for run in (run for run in runs if run.diverged):
        axis.plot(
            [e.round for e in run.evaluations], [e.accuracy for e in run.evaluations],
            color=style.colour, linestyle=style.line, linewidth=0.8, marker="x", markevery=[-1],
        )
    runs = [run for run in runs if not run.diverged]
    if not runs:
        return
    rounds = sorted({e.round for run in runs for e in run.evaluations})
    seeds = np.array([
        np.interp(rounds, [e.round for e in run.evaluations], [e.accuracy for e in run.evaluations])
        for run in runs
    ])
    axis.plot(
        rounds, seeds.mean(axis=0), color=style.colour, linestyle=style.line, linewidth=1.4
    )
    axis.fill_between(
        rounds, seeds.min(axis=0), seeds.max(axis=0), color=style.colour, alpha=0.15, linewidth=0
    )


def _best_beta(runs: Sequence[Run]) -> float:
    """The momentum whose runs end highest on average, of those that were run."""
    ends: dict[float, list[float]] = {}
    for run in runs:
        end = 0.0 if run.diverged else run.accuracy
        ends.setdefault(float(run.config["beta"]), []).append(end)
    with_momentum = {beta: ends[beta] for beta in ends if beta > 0} or ends
    return max(with_momentum, key=lambda beta: float(np.mean(with_momentum[beta])))
