"""A heat map of final accuracies: rules by attacks, a block for each beta."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simulations.sweep.store import Run
from simulations.sweep.summary import (
    Cell,
    Setting,
    attacks_in_order,
    least,
    over_seeds,
    rules_in_order,
)
from simulations.sweep.table import DIVERGED, NOT_RUN

matplotlib.use("Agg")


def heat_map(setting: Setting, runs: Sequence[Run], path: Path) -> None:
    """Draw the mean over the seeds of the last evaluation, and the least over the attacks."""
    found = over_seeds(runs)
    attacks = attacks_in_order(found)
    rules = rules_in_order(cell.aggregator for cell in found)
    betas = sorted({cell.beta for cell in found})
    wide = max(1.9, 0.46 * (len(attacks) + 1))  # or the headings of the blocks would overlap
    title = f"Final test accuracy in %: {setting.title}"
    width = max(1.6 + wide * len(betas), 0.075 * len(title))
    size = (width, 1.5 + 0.34 * len(rules))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(betas), sharey=True))
    for axis, beta in zip(axes, betas, strict=True):
        values = np.full((len(rules), len(attacks) + 1), np.nan)
        words = np.full(values.shape, NOT_RUN, dtype=object)
        for row, rule in enumerate(rules):
            for column, attack in enumerate(attacks):
                if seeds := found.get(Cell(attack, rule, beta)):
                    values[row, column] = np.nan if seeds.diverged else seeds.mean
                    words[row, column] = DIVERGED
            if (worst := least(found, rule, beta)) is not None:
                values[row, -1] = worst.accuracy
                words[row, -1] = "≤ " if worst.bound else DIVERGED
        draw_cells(axis, values, words)
        axis.axvline(len(attacks) - 0.5, color="white", linewidth=2)
        axis.set_xticks(
            range(len(attacks) + 1), [*attacks, "least under attack"], fontsize=8, rotation=45,
            ha="right", rotation_mode="anchor",
        )
        axis.set_yticks(range(len(rules)), rules, fontsize=8)
        axis.set_title(_heading(beta), fontsize=9)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def draw_cells(axis: Axes, values: NDArray[np.float64], words: NDArray[Any]) -> None:
    """Colour the accuracies and write them in percent; a cell without one has its words.

    The word "≤ " goes before a number.
    """
    axis.imshow(values, vmin=0.0, vmax=1.0, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        number = bool(np.isfinite(value))
        word = str(words[row, column])
        before = word if word.startswith("≤") else ""
        axis.text(
            column, row, f"{before}{100 * value:.0f}" if number else word.replace(" ", "\n"),
            ha="center", va="center", fontsize=8 if number else 5,
            color="white" if number and value <= 0.5 else "black",
        )


def _heading(beta: float) -> str:
    return "the rule alone (beta = 0)" if beta == 0 else f"RESAM (beta = {beta:g})"
