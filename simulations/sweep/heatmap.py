"""A heat map of final accuracies: rules by attacks, a block for each beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Seeds,
    Setting,
    attacks_in_order,
    least,
    over_seeds,
    rules_in_order,
)
from simulations.sweep.table import DIVERGED, NOT_RUN

matplotlib.use("Agg")

_SIDE_BY_SIDE = 24  # columns in all; where there are more, the blocks stand one below the other


def heat_map(setting: Setting, runs: Sequence[Run], path: Path) -> None:
    """Draw the mean over the seeds of the last evaluation, and the least over the attacks."""
    found = over_seeds(runs)
    attacks = attacks_in_order(found)
    rules = rules_in_order(cell.aggregator for cell in found)
    betas = sorted({cell.beta for cell in found})
    stacked = len(betas) * len(attacks) > _SIDE_BY_SIDE
    ran = {(cell.aggregator, cell.beta) for cell in found}
    blocks = [[rule for rule in rules if not stacked or (rule, beta) in ran] for beta in betas]
    wide = max(1.9, 0.46 * (len(attacks) + 1))  # or the headings of the blocks would overlap
    title = f"Final test accuracy in %: {setting.title}"
    width = max(1.6 + wide * (1 if stacked else len(betas)), 0.075 * len(title))
    heights = [0.4 + 0.34 * len(block) for block in blocks]
    size = (width, 1.1 + (sum(heights) if stacked else max(heights)))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = figure.subplots(len(betas), 1, height_ratios=heights, squeeze=False) if stacked else (
        figure.subplots(1, len(betas), sharey=True, squeeze=False)
    )
    for axis, beta, block in zip(axes.flat, betas, blocks, strict=True):
        _draw_block(axis, found, block, attacks, beta)
        axis.tick_params(labelbottom=not stacked or beta == betas[-1])
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def _draw_block(
    axis: Axes, found: Mapping[Cell, Seeds], rules: Sequence[str], attacks: Sequence[str],
    beta: float,
) -> None:
    """The rules with one beta: a row each, its least accuracy last."""
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
