"""The final accuracies of a sweep as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan

from simulations.sweep.store import Run
from simulations.sweep.summary import (
    CONTROL,
    Cell,
    Least,
    Seeds,
    Setting,
    attacks_in_order,
    by_cell,
    least,
    over_seeds,
    rules_in_order,
)

NOT_RUN = "not run"
DIVERGED = "diverged"


def markdown(setting: Setting, runs: Sequence[Run]) -> str:
    """Final test accuracy in percent, mean and standard deviation over the seeds.

    A row a rule and beta, a column an attack, and the least of them. Below, for rules that weigh
    rows, how much of the aggregate the Byzantine rows were.
    """
    found = over_seeds(runs)
    attacks = attacks_in_order(found)
    rules = rules_in_order(cell.aggregator for cell in found)
    lines = sorted({(rules.index(cell.aggregator), cell.beta) for cell in found})
    counts = sorted({len(own) for own in by_cell(runs).values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    spread = counts != [1]
    what = f"mean ± standard deviation over {seeds} seeds" if spread else "one seed"
    rounds = sorted({int(run.config["num-rounds"]) for run in runs})
    attacked = [attack for attack in attacks if attack != CONTROL]
    head = ["rule", "beta", "rate", *attacks, "least under attack"]
    rates = {
        (str(run.config["aggregator"]), float(run.config["beta"])): run.config["learning-rate"]
        for run in runs
    }
    rows = [
        f"{setting.title}: test accuracy in % after {', '.join(map(str, rounds))} rounds, "
        f"{what}. `rate` is the learning rate.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for index, beta in lines:
        rule = rules[index]
        cells = [text_of(found.get(Cell(attack, rule, beta)), spread) for attack in attacks]
        cells.append(text_of_least(least(found, rule, beta)))
        rate = f"{rates[rule, beta]:g}"
        rows.append(f"| {_escaped(rule)} | {beta:g} | {rate} | {' | '.join(cells)} |")
    return "\n".join([*rows, *_weights(setting, found, attacked, rules, lines)]) + "\n"


def text_of(seeds: Seeds | None, spread: bool = False) -> str:
    """A cell, in percent; in words where there is no number."""
    if seeds is None:
        return NOT_RUN
    if not seeds.accuracies:
        return DIVERGED
    text = f"{100 * seeds.mean:.1f}" + (f" ± {100 * seeds.deviation:.1f}" if spread else "")
    total = seeds.diverged + len(seeds.accuracies)
    return f"{text} ({seeds.diverged} of {total} diverged)" if seeds.diverged else text


def text_of_least(found: Least | None, decimals: int = 1) -> str:
    """The least accuracy, as a bound where an attack was not run."""
    if found is None:
        return NOT_RUN
    if isnan(found.accuracy):
        return DIVERGED
    return f"{'≤ ' if found.bound else ''}{100 * found.accuracy:.{decimals}f}"


def _weights(
    setting: Setting, found: Mapping[Cell, Seeds], attacks: Sequence[str], rules: Sequence[str],
    lines: Sequence[tuple[int, float]],
) -> list[str]:
    """How much of the aggregate the Byzantine rows were: 0 is an attack that was kept out."""
    f, n = setting.config["num-malicious-nodes"], setting.config["num-nodes"]
    rows = []
    for index, beta in lines:
        cells = [found.get(Cell(attack, rules[index], beta)) for attack in attacks]
        if any(seeds is not None and seeds.weight is not None for seeds in cells):
            texts = [_weight(seeds) for seeds in cells]
            rows.append(f"| {_escaped(rules[index])} | {beta:g} | {' | '.join(texts)} |")
    if not rows:
        return []
    return [
        "",
        "The weight of the Byzantine rows in the aggregate, on average over the rounds and seeds, "
        f"in %. 0 is an attack that the rule keeps out, {100 * f / n:.0f} what a mean gives them.",
        "",
        f"| rule | beta | {' | '.join(attacks)} |",
        "|---" * (len(attacks) + 2) + "|",
        *rows,
    ]


def _weight(seeds: Seeds | None) -> str:
    if seeds is None:
        return NOT_RUN
    return "-" if seeds.weight is None else f"{100 * seeds.weight:.0f}"


def _escaped(rule: str) -> str:
    return rule.replace("|", "\\|")
