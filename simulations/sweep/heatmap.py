"""A heat map of final accuracies: rules by attacks, a block for each beta."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from simulations.sweep.store import Run
from simulations.sweep.summary import Cell, Setting, over_seeds, rules_in_order

matplotlib.use("Agg")


def heat_map(setting: Setting, runs: Sequence[Run], path: Path) -> None:
    """Draw the mean over the seeds of the last evaluation; an empty cell was not run."""
    found = over_seeds(runs)
    attacks = list(dict.fromkeys(cell.attack for cell in found))
    rules = rules_in_order(cell.aggregator for cell in found)
    betas = sorted({cell.beta for cell in found})
    wide = max(1.9, 0.46 * len(attacks))  # or the headings of the blocks would overlap
    title = f"Final test accuracy in %: {setting.title}"
    width = max(1.6 + wide * len(betas), 0.075 * len(title))
    size = (width, 1.5 + 0.34 * len(rules))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(betas), sharey=True))
    for axis, beta in zip(axes, betas, strict=True):
        seeds = [[found.get(Cell(a, rule, beta)) for a in attacks] for rule in rules]
        values = np.array([[np.nan if s is None else s.mean for s in row] for row in seeds])
        axis.imshow(values, vmin=0.0, vmax=1.0, cmap="cividis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "black" if value > 0.5 else "white"
                axis.text(
                    column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour,
                    fontsize=8,
                )
        axis.set_xticks(
            range(len(attacks)), attacks, fontsize=8, rotation=45, ha="right",
            rotation_mode="anchor",
        )
        axis.set_yticks(range(len(rules)), rules, fontsize=8)
        axis.set_title(_heading(beta), fontsize=9)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def _heading(beta: float) -> str:
    return "the rule alone (beta = 0)" if beta == 0 else f"RESAM (beta = {beta:g})"
