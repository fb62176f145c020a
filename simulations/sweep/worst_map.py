"""The worst case over attacks, by the number of Byzantine nodes and by how data are shared out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from simulations.sweep.heatmap import draw_cells
from simulations.sweep.store import Run
from simulations.sweep.summary import Cell, Setting, failing, least, over_seeds, rules_in_order
from simulations.sweep.table import DIVERGED, NOT_RUN

matplotlib.use("Agg")

FAILS = "fails alone"

Settings = Sequence[tuple[Setting, Sequence[Run]]]
Worst = dict[tuple[str, int, str], tuple[float, str]]


def is_map(settings: Settings) -> bool:
    """Whether the settings of a sweep are several f and partitions, and differ in nothing else."""
    return (
        all(setting.told_by == ("partition",) for setting, _ in settings)
        and len({setting.config["num-malicious-nodes"] for setting, _ in settings}) > 1
    )


def worst_cases(settings: Settings) -> Worst:
    """For each rule, f and partition: the least accuracy, and the words where there is none.

    Of several betas it is that of the one whose least is highest. A rule that fails without an
    attack has none.
    """
    found: Worst = {}
    for setting, runs in settings:
        f, partition = setting.config["num-malicious-nodes"], setting.config["partition"]
        seeds = over_seeds(runs)
        broken = failing(seeds)
        for rule in rules_in_order(cell.aggregator for cell in seeds):
            best = (float("nan"), NOT_RUN)
            for beta in sorted({cell.beta for cell in seeds if cell.aggregator == rule}):
                worst = least(seeds, rule, beta)
                if worst is None:
                    continue
                fails = Cell("none", rule, beta) in broken
                accuracy = float("nan") if fails else worst.accuracy
                words = FAILS if fails else "≤ " if worst.bound else DIVERGED
                if np.isnan(best[0]) or accuracy > best[0]:
                    best = (accuracy, words)
            found[rule, f, partition] = best
    return found


def worst_map(settings: Settings, path: Path) -> None:
    """Draw a panel a rule, and one of the best rule of each cell, as ByzFL's benchmark does."""
    found = worst_cases(settings)
    rules = rules_in_order(rule for rule, _, _ in found)
    faults, partitions = _axes(settings)
    values = np.full((len(rules), len(partitions), len(faults)), np.nan)
    words = np.full(values.shape, NOT_RUN, dtype=object)
    for (rule, f, partition), cell in found.items():
        place = rules.index(rule), partitions.index(partition), faults.index(f)
        values[place], words[place] = cell
    columns = min(4, len(rules) + 1)
    height = -(-(len(rules) + 1) // columns)
    size = (0.9 + 0.62 * len(faults) * columns, 0.9 + height * (0.7 + 0.42 * len(partitions)))
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    axes = np.atleast_1d(figure.subplots(height, columns, sharex=True, sharey=True)).ravel()
    for axis, rule, own, word in zip(axes, rules, values, words, strict=False):
        draw_cells(axis, own, word)
        axis.set_title(rule, fontsize=9)
    best = axes[len(rules)]
    filled = np.where(np.isnan(values), -1.0, values)
    top = filled.max(axis=0)
    best.imshow(top, vmin=0.0, vmax=1.0, cmap="cividis", aspect="auto")
    for (row, column), value in np.ndenumerate(top):
        level = [rules[place] for place in np.flatnonzero(filled[:, row, column] == value)]
        more = f"\n+ {len(level) - 1} more" if len(level) > 1 else ""
        rule = level[0].replace(" | ", "\n") + more
        best.text(
            column, row, f"{rule}\n{100 * value:.0f}" if value >= 0 else "none", fontsize=5,
            ha="center", va="center", color="black" if value > 0.5 else "white",
        )
    best.set_title("the best rule", fontsize=9)
    for axis in axes[len(rules) + 1 :]:
        axis.set_axis_off()
    for axis in axes:
        axis.set_xticks(range(len(faults)), [f"f = {f}" for f in faults], fontsize=8)
        axis.set_yticks(range(len(partitions)), partitions, fontsize=8)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(f"Least test accuracy in % over the attacks: {title(settings)}", fontsize=10)
    figure.savefig(path)


def worst_table(settings: Settings) -> str:
    """The same as a Markdown table: a row a partition and rule, a column an f."""
    found = worst_cases(settings)
    faults, partitions = _axes(settings)
    lines = [
        f"{title(settings)}: the least test accuracy in % over the attacks.", "",
        f"| partition | rule | {' | '.join(f'f = {f}' for f in faults)} |",
        "|---" * (len(faults) + 2) + "|",
    ]
    for partition in partitions:
        for rule in rules_in_order(rule for rule, _, _ in found):
            cells = [_text(found.get((rule, f, partition))) for f in faults]
            name = rule.replace("|", "\\|")
            lines.append(f"| {partition} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def title(settings: Settings) -> str:
    """What the settings have in common."""
    setting, runs = settings[0]
    betas = sorted({float(run.config["beta"]) for _, own in settings for run in own})
    count = len({run.config["seed"] for _, own in settings for run in own})
    return (
        f"{setting.learnt}, {setting.config['num-nodes']} nodes, beta = "
        f"{' or '.join(f'{beta:g}' for beta in betas)}, {count} seed{'s' * (count > 1)}, "
        f"{runs[0].config['num-rounds']} rounds"
    )


def _axes(settings: Settings) -> tuple[list[int], list[str]]:
    faults = sorted({int(setting.config["num-malicious-nodes"]) for setting, _ in settings})
    return faults, list(dict.fromkeys(str(setting.config["partition"]) for setting, _ in settings))


def _text(cell: tuple[float, str] | None) -> str:
    if cell is None:
        return NOT_RUN
    value, words = cell
    return words if np.isnan(value) else f"{words if words == '≤ ' else ''}{100 * value:.1f}"
