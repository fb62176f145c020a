"""The final accuracies of a sweep as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from simulations.sweep.store import Run
from simulations.sweep.summary import Cell, Seeds, Setting, by_cell, over_seeds, rules_in_order


def markdown(setting: Setting, runs: Sequence[Run]) -> str:
    """Final test accuracy in percent, mean and standard deviation over the seeds.

    A row a rule and beta, a column an attack; where runs diverged it says how many.
    """
    found = over_seeds(runs)
    attacks = list(dict.fromkeys(cell.attack for cell in found))
    rules = rules_in_order(cell.aggregator for cell in found)
    lines = sorted({(rules.index(cell.aggregator), cell.beta) for cell in found})
    counts = sorted({len(own) for own in by_cell(runs).values()})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    spread = counts != [1]
    what = f"mean ± standard deviation over {seeds} seeds" if spread else "one seed"
    rounds = sorted({int(run.config["num-rounds"]) for run in runs})
    rows = [
        f"{setting.title}: test accuracy in % after {', '.join(map(str, rounds))} rounds, "
        f"{what}.",
        "",
        f"| rule | beta | {' | '.join(attacks)} |",
        "|---" * (len(attacks) + 2) + "|",
    ]
    for index, beta in lines:
        cells = [_text(found.get(Cell(attack, rules[index], beta)), spread) for attack in attacks]
        rule = rules[index].replace("|", "\\|")
        rows.append(f"| {rule} | {beta:g} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _text(seeds: Seeds | None, spread: bool) -> str:
    if seeds is None:
        return ""
    text = f"{100 * seeds.mean:.1f}" + (f" ± {100 * seeds.deviation:.1f}" if spread else "")
    return f"{text} ({seeds.diverged} diverged)" if seeds.diverged else text
