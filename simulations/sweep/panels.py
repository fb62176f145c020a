"""Accuracy over rounds, a panel an attack: rules alone against the same rules over momentums."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from simulations.sweep.store import Run
from simulations.sweep.summary import Cell, Setting, by_cell

matplotlib.use("Agg")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_COLUMNS = 3


def panels(setting: Setting, runs: Sequence[Run], rules: Sequence[str], path: Path) -> None:
    """Draw the mean over the seeds, and a band from the lowest to the highest of them.

    A colour a rule; dashed without momentum, solid with the beta that ends highest over all.
    """
    found = by_cell(runs)
    attacks = list(dict.fromkeys(cell.attack for cell in found))
    beta = _best_beta([run for run in runs if run.config["aggregator"] in rules])
    columns = min(_COLUMNS, len(attacks))
    height = -(-len(attacks) // columns)
    figure = Figure(figsize=(3.1 * columns, 0.9 + 2.1 * height), dpi=160, layout="constrained")
    axes = np.atleast_1d(figure.subplots(height, columns, sharex=True, sharey=True)).ravel()
    for axis, attack in zip(axes, attacks, strict=False):
        for rule, colour in zip(rules, cycle(_COLOURS), strict=False):
            for one, style in ((0.0, "--"), (beta, "-")):
                if own := found.get(Cell(attack, rule, one)):
                    _curve(axis, own, colour, style)
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
        Line2D([], [], color=colour, label=rule)
        for rule, colour in zip(rules, cycle(_COLOURS), strict=False)
    ]
    handles += [
        Line2D([], [], color="#555555", linestyle=style, label=label)
        for style, label in (("--", "rule alone (beta = 0)"), ("-", f"RESAM (beta = {beta:g})"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)
    figure.suptitle(setting.title, fontsize=10)
    figure.savefig(path)


def _curve(axis: Axes, runs: Sequence[Run], colour: str, style: str) -> None:
    """One cell's seeds; one that diverged stays where it ended."""
    rounds = sorted({e.round for run in runs for e in run.evaluations})
    seeds = np.array([
        np.interp(rounds, [e.round for e in run.evaluations], [e.accuracy for e in run.evaluations])
        for run in runs
    ])
    axis.plot(rounds, seeds.mean(axis=0), color=colour, linestyle=style, linewidth=1.4)
    axis.fill_between(
        rounds, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.15, linewidth=0
    )


def _best_beta(runs: Sequence[Run]) -> float:
    """The momentum whose runs end highest on average, of those that were run."""
    ends: dict[float, list[float]] = {}
    for run in runs:
        ends.setdefault(float(run.config["beta"]), []).append(run.accuracy)
    with_momentum = {beta: ends[beta] for beta in ends if beta > 0} or ends
    return max(with_momentum, key=lambda beta: float(np.mean(with_momentum[beta])))
