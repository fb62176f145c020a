"""Learning rate and beta, chosen on held-out examples by the worst case over attacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from flwr_resam.errors import requirement
from simulations.experiment import Experiment
from simulations.sweep.store import Run

CHOICE = "tuned.json"
TRIALS = "tuning"  # the folder of the runs that a choice rests on


@dataclass(frozen=True)
class Worst:
    """The attack that leaves a rule the least accuracy, at one rate and beta.

    Attributes
    ----------
    accuracy : float
        On the held-out examples, averaged over the seeds; 0 where a run diverged.
    """

    aggregator: str
    beta: float
    learning_rate: float
    attack: str
    accuracy: float


@dataclass(frozen=True)
class Choice:
    """What a tuning found.

    Attributes
    ----------
    learning_rate : dict of float to float
        For each beta the rate at which the rules' least accuracies are highest on average.
    beta : dict of str to float
        For each rule the beta, at its rate, whose least accuracy is highest.
    worst : tuple of Worst
        All that was tried.
    """

    learning_rate: dict[float, float]
    beta: dict[str, float]
    worst: tuple[Worst, ...]

    def applied(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The experiments at the chosen rates; one with another beta keeps its own."""
        return [
            replace(each, learning_rate=self.learning_rate.get(each.beta, each.learning_rate))
            for each in experiments
        ]

    def write(self, folder: Path) -> None:
        """Write ``tuned.json``, which a sweep into this folder follows."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1)
        (folder / CHOICE).write_text(text + "\n", encoding="utf-8")


def read_choice(folder: Path) -> Choice | None:
    """The choice that a folder holds; None where nothing was tuned.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    path = folder / CHOICE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Choice(
            {float(beta): float(rate) for beta, rate in found["learning_rate"].items()},
            {str(rule): float(beta) for rule, beta in found["beta"].items()},
            tuple(Worst(**each) for each in found["worst"]),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        raise requirement(
            str(path), "hold what `tune` wrote", "something else", "Remove it, or tune again"
        ) from None


def choose(runs: Sequence[Run]) -> Choice:
    """Choose by maximin: the best of the worst cases over the attacks.

    Each beta gets a rate of its own, so that none is compared at the rate of another; all rules
    share it. Of equal ones the smallest, whatever order they were run in.

    Raises
    ------
    ValueError
        If a run failed, for what it would have shown may be the worst case.
    """
    failed = [run for run in runs if run.error is not None]
    if failed or not runs:
        raise requirement(
            "tune", "have a result of every run that it chooses by",
            f"{len(failed)} of {len(runs)} failed", "Run the same command again",
        )
    found: dict[tuple[str, float, float], dict[str, list[float]]] = {}
    for run in runs:
        config = run.config
        place = (str(config["aggregator"]), float(config["beta"]), float(config["learning-rate"]))
        ends = found.setdefault(place, {}).setdefault(str(config["attack"]), [])
        ends.append(0.0 if run.diverged else run.accuracy)
    worst = []
    for place, attacks in sorted(found.items()):
        means = {attack: fmean(ends) for attack, ends in sorted(attacks.items())}
        attack = min(means, key=means.__getitem__)
        worst.append(Worst(*place, attack, round(means[attack], 6)))
    rates: dict[float, float] = {}
    for beta in dict.fromkeys(each.beta for each in worst):
        by_rate: dict[float, list[float]] = {}
        for each in worst:
            if each.beta == beta:
                by_rate.setdefault(each.learning_rate, []).append(each.accuracy)
        rates[beta] = max(sorted(by_rate), key=lambda rate: fmean(by_rate[rate]))
    betas: dict[str, float] = {}
    for rule in dict.fromkeys(each.aggregator for each in worst):
        own = [
            each for each in worst
            if each.aggregator == rule and each.learning_rate == rates[each.beta]
        ]
        betas[rule] = max(own, key=lambda each: each.accuracy).beta
    return Choice(rates, betas, tuple(worst))
