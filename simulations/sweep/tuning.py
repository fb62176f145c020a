"""Learning rate and beta, chosen on held-out examples by the worst case over attacks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

from flwr_resam.errors import requirement
from simulations.experiment import Experiment
from simulations.sweep.grid import key_of
from simulations.sweep.store import Run, read_runs
from simulations.sweep.summary import CONTROL

CHOICE = "tuned.json"
TRIALS = "tuning"  # the folder of the runs that a choice rests on
_LEARNT = ("dataset", "model", "batch-size", "local-steps")  # what a rate is for
_NEAR = 0.95  # of the best accuracy without an attack

Place: TypeAlias = tuple[str, float, float]
"""A rule, a beta and a learning rate."""


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

    @property
    def place(self) -> Place:
        """Where in the trials this is."""
        return self.aggregator, self.beta, self.learning_rate


@dataclass(frozen=True)
class Choice:
    """What a tuning found.

    Attributes
    ----------
    learning_rate : dict of str to dict of float to float
        For each rule and beta the rate whose least accuracy is highest, of those at which
        the rule learns without an attack.
    others : dict of float to float
        For rules that were not tried: the rate, for each beta, at which the least accuracies of
        those that were are highest on average.
    beta : dict of str to float
        For each rule the beta, at its rate, whose least accuracy is highest.
    worst : tuple of Worst
        All that was tried.
    """

    learning_rate: dict[str, dict[float, float]]
    others: dict[float, float]
    beta: dict[str, float]
    worst: tuple[Worst, ...]

    def rate(self, rule: str, beta: float) -> float | None:
        """The rate for a rule with this beta; None where this beta was not tried."""
        return self.learning_rate.get(rule, self.others).get(beta)

    def applied(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """The experiments at the chosen rates, each once; one with another beta keeps its own."""
        chosen = [(each, self.rate(each.aggregator, each.beta)) for each in experiments]
        found = [
            each if rate is None else replace(each, learning_rate=rate) for each, rate in chosen
        ]
        return list({key_of(each.run_config()): each for each in found}.values())

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
            {str(rule): _numbers(rates) for rule, rates in found["learning_rate"].items()},
            _numbers(found["others"]),
            {str(rule): float(beta) for rule, beta in found["beta"].items()},
            tuple(Worst(**each) for each in found["worst"]),
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        raise requirement(
            str(path), "hold what `tune` wrote", "something else", "Remove it, or tune again"
        ) from None


def check_tuned_for(experiments: Sequence[Experiment], folder: Path) -> None:
    """Raise a ValueError where the trials in a folder were of another data set, model or batch."""
    trials = [run.config for run in read_runs(folder / TRIALS).values()]
    configs = [each.run_config() for each in experiments] if trials else []
    for key in _LEARNT:
        tried = {config[key] for config in trials}
        for config in configs:
            if (value := config[key]) not in tried:
                raise requirement(
                    key, f"be what `{folder / CHOICE}` was tuned for", f"{value!r}, tuned for "
                    f"{', '.join(map(repr, sorted(tried, key=str)))}",
                    "Tune again into another --output-dir, or set learning-rate in --run-config",
                )


def _numbers(rates: Mapping[str, float]) -> dict[float, float]:
    return {float(beta): float(rate) for beta, rate in rates.items()}


def choose(runs: Sequence[Run]) -> Choice:
    """Choose by maximin: the best of the worst cases over the attacks.

    Each rule gets a rate of its own for each beta, so that none is compared at the rate of
    another. Where runs without an attack are among them, only a rate at which these end near the
    best of the rule's own can be chosen: of a rule that every attack defeats at every rate, the
    least accuracies are chance. Of equal ones the smallest, whatever order they were run in.

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
    ends = _ends(runs)
    worst = tuple(_worst(place, ends[place]) for place in sorted(ends))
    best: dict[tuple[str, float], Worst] = {}
    for each in _learning(worst, ends):  # ordered by rate
        known = best.setdefault((each.aggregator, each.beta), each)
        if each.accuracy > known.accuracy:
            best[each.aggregator, each.beta] = each
    rates: dict[str, dict[float, float]] = {}
    betas: dict[str, float] = {}
    for (rule, beta), chosen in best.items():
        rates.setdefault(rule, {})[beta] = chosen.learning_rate
        if chosen.accuracy > best[rule, betas.setdefault(rule, beta)].accuracy:
            betas[rule] = beta
    return Choice(rates, _for_others(worst), betas, worst)


def _ends(runs: Sequence[Run]) -> dict[Place, dict[str, float]]:
    """The accuracy by attack, over the seeds, of each rule, beta and rate."""
    found: dict[Place, dict[str, list[float]]] = {}
    for run in runs:
        config = run.config
        place = (str(config["aggregator"]), float(config["beta"]), float(config["learning-rate"]))
        own = found.setdefault(place, {}).setdefault(str(config["attack"]), [])
        own.append(0.0 if run.diverged else run.accuracy)
    return {
        place: {attack: fmean(values) for attack, values in sorted(attacks.items())}
        for place, attacks in found.items()
    }


def _worst(place: Place, attacks: Mapping[str, float]) -> Worst:
    attack = min(attacks, key=attacks.__getitem__)
    return Worst(*place, attack, round(attacks[attack], 6))


def _learning(
    worst: Sequence[Worst], ends: Mapping[Place, Mapping[str, float]]
) -> Iterator[Worst]:
    """Those at whose rate the rule ends near its own best without an attack."""
    controls = {each: ends[each.place].get(CONTROL, 0.0) for each in worst}
    best: dict[tuple[str, float], float] = {}
    for each, control in controls.items():
        own = each.aggregator, each.beta
        best[own] = max(best.get(own, 0.0), control)
    for each, control in controls.items():
        if control >= _NEAR * best[each.aggregator, each.beta]:
            yield each


def _for_others(worst: Sequence[Worst]) -> dict[float, float]:
    """For each beta the rate at which the least accuracies are highest on average."""
    found: dict[float, dict[float, list[float]]] = {}
    for each in worst:
        found.setdefault(each.beta, {}).setdefault(each.learning_rate, []).append(each.accuracy)
    return {
        beta: max(sorted(rates), key=lambda rate: fmean(rates[rate]))
        for beta, rates in found.items()
    }
