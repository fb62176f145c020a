"""The runs of a sweep, brought together: those of one setting, and the seeds of one cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from flwr_resam.aggregators import AGGREGATORS
from simulations.experiment import PLACES
from simulations.sweep.store import Run

CONTROL = "none"  # the attack of a run that nobody attacks

# What a figure shows side by side; all else is the same in one figure.
_COMPARED = ("attack", "aggregator", "beta", "seed", *PLACES)


@dataclass(frozen=True)
class Setting:
    """What the runs of one figure have in common.

    Attributes
    ----------
    config : dict
        The run-config, but for what the figure compares.
    told_by : tuple of str
        The keys in which the settings of one sweep differ, besides f.
    """

    config: dict[str, Any]
    told_by: tuple[str, ...]

    @property
    def slug(self) -> str:
        """For file names."""
        words = [self.learnt, f"f{self.config['num-malicious-nodes']}"]
        words += [f"{key}-{self.config[key]}" for key in self.told_by]
        return re.sub(r"[^\w.]+", "-", "-".join(words)).strip("-")

    @property
    def title(self) -> str:
        """For figures and tables."""
        config = self.config
        jpeg = " (JPEG-recompressed)" if "jpeg" in config["dataset"] else ""
        words = [
            f"{self.learnt}{jpeg}", f"{config['num-nodes']} nodes",
            f"{config['num-malicious-nodes']} Byzantine",
            *(f"{key} {config[key]}" for key in self.told_by),
        ]
        return ", ".join(words)

    @property
    def learnt(self) -> str:
        """The data set and its model."""
        dataset, model = str(self.config["dataset"]), str(self.config.get("model", ""))
        if not model or model.startswith(f"{dataset}-"):
            return model or dataset
        return f"{dataset} {model}"


@dataclass(frozen=True, order=True)
class Cell:
    """What the seeds of one comparison have in common."""

    attack: str
    aggregator: str
    beta: float


@dataclass(frozen=True)
class Seeds:
    """The final accuracies of one cell.

    Attributes
    ----------
    accuracies : tuple of float
        On the test set at the last evaluation, not at the best, of the runs that did not diverge.
    diverged : int
        How many of the runs ended early. They have no accuracy, and no mean takes them in.
    weight : float or None
        Of the Byzantine rows in the aggregate, on average over the rounds and the runs.
    """

    accuracies: tuple[float, ...]
    diverged: int
    weight: float | None = None

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where all diverged."""
        return fmean(self.accuracies) if self.accuracies else float("nan")

    @property
    def deviation(self) -> float:
        """The sample standard deviation over the seeds; 0 for a single one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


@dataclass(frozen=True)
class Least:
    """The least accuracy of a rule over the attacks.

    Attributes
    ----------
    accuracy : float
        The least of the means over the seeds; NaN where the rule diverged under an attack.
    bound : bool
        Whether an attack was not run, so that the least is at most this.
    """

    accuracy: float
    bound: bool


def by_setting(runs: Sequence[Run]) -> list[tuple[Setting, list[Run]]]:
    """The runs that have a result, by setting."""
    groups: dict[str, list[Run]] = {}
    told = not _one_rate_a_rule(runs)
    for run in runs:
        if run.error is None and run.evaluations:
            groups.setdefault(json.dumps(_rest(run, told), sort_keys=True), []).append(run)
    configs = [_rest(own[0], told) for own in groups.values()]
    told_by = tuple(
        key for key in (configs[0] if configs else ())
        if key != "num-malicious-nodes" and len({json.dumps(c.get(key)) for c in configs}) > 1
    )
    return [
        (Setting(config, told_by), own)
        for config, own in zip(configs, groups.values(), strict=True)
    ]


def _rest(run: Run, rate: bool) -> dict[str, Any]:
    config = run.config
    rest = {key: value for key, value in config.items() if key not in _COMPARED}
    if not rate:
        del rest["learning-rate"]
    return rest


def _one_rate_a_rule(runs: Sequence[Run]) -> bool:
    """Whether rule and beta decide the learning rate, as where `tune` chose it."""
    rates: dict[tuple[str, float], set[float]] = {}
    for run in runs:
        rule, beta = str(run.config["aggregator"]), float(run.config["beta"])
        rates.setdefault((rule, beta), set()).add(float(run.config["learning-rate"]))
    return all(len(own) == 1 for own in rates.values())


def by_cell(runs: Sequence[Run]) -> dict[Cell, list[Run]]:
    """The runs of each cell, ordered by seed."""
    found: dict[Cell, list[Run]] = {}
    for run in sorted(runs, key=lambda run: int(run.config["seed"])):
        config = run.config
        cell = Cell(str(config["attack"]), str(config["aggregator"]), float(config["beta"]))
        found.setdefault(cell, []).append(run)
    return found


def base_of(rule: str) -> str:
    """The aggregator at the end of a chain: ``nnm | cc(radius=1.0)`` has ``cc(radius=1.0)``."""
    return rule.rpartition("|")[2].strip()


def rules_in_order(rules: Iterable[str]) -> list[str]:
    """Each once, in the order of `AGGREGATORS`; runs of a sweep end in any order.

    A rule is followed by the chains that end in it; those of plugins come last.
    """
    names = list(AGGREGATORS)

    def place(rule: str) -> tuple[int, str, int, str]:
        base = base_of(rule)
        name = base.partition("(")[0].strip()
        known = names.index(name) if name in names else len(names)
        return known, base, rule.count("|"), rule

    return sorted(set(rules), key=place)


def compares_momentum(runs: Sequence[Run]) -> bool:
    """Whether some of the runs have no momentum, for the others to be compared with."""
    return any(run.config["beta"] == 0 for run in runs)


def over_seeds(runs: Sequence[Run]) -> dict[Cell, Seeds]:
    """What the seeds of each cell came to."""
    found = {}
    for cell, own in by_cell(runs).items():
        weights = [run.byzantine_weight for run in own if run.byzantine_weight is not None]
        found[cell] = Seeds(
            tuple(run.accuracy for run in own if not run.diverged),
            sum(run.diverged for run in own), fmean(weights) if weights else None,
        )
    return found


def attacks_in_order(cells: Iterable[Cell]) -> list[str]:
    """Each once, behind no attack, the control, also where that was not run."""
    return list(dict.fromkeys([CONTROL, *(cell.attack for cell in cells)]))


def least(found: Mapping[Cell, Seeds], aggregator: str, beta: float) -> Least | None:
    """The least accuracy over the attacks; None where none was run against the rule."""
    attacks = [attack for attack in attacks_in_order(found) if attack != CONTROL]
    cells = [found.get(Cell(attack, aggregator, beta)) for attack in attacks]
    run = [seeds for seeds in cells if seeds is not None]
    if not run:
        return None
    worst = float("nan") if any(s.diverged for s in run) else min(s.mean for s in run)
    return Least(worst, len(run) < len(cells))


def failing(found: Mapping[Cell, Seeds]) -> list[Cell]:
    """The controls that fail: without an attack, below half of the best, or diverged.

    What an attack does to such a rule can't be told from what the rule does to itself.
    """
    controls = {cell: seeds for cell, seeds in found.items() if cell.attack == CONTROL}
    best = max((s.mean for s in controls.values() if s.accuracies), default=0.0)
    return [cell for cell, s in controls.items() if s.diverged or s.mean < best / 2]
