"""The worst case: every attack against one rule, and which of them leaves the least accuracy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.table import Table

from clients.byzantine import ALL_ATTACKS
from flwr_resam import QuorumLostError
from flwr_resam.errors import requirement
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.results import Evaluation

RESULTS = "worst.json"
NO_ATTACK = "none"


@dataclass(frozen=True)
class Trial:
    """One attack against the experiment's rule.

    Attributes
    ----------
    attack : str
        As a run-config names it.
    knowledge : str
        What it takes to do it: see `flwr_resam.attacks.Attack`; empty for no attack.
    accuracy : float
        On the test set, at the last evaluation.
    diverged : bool
        Whether the run ended early, because not even honest nodes had finite vectors.
    attack_success : float or None
        Of an attack with a goal, the share of test examples that are taken for what it wants.
    """

    attack: str
    knowledge: str
    accuracy: float
    diverged: bool
    attack_success: float | None = None


def candidates(experiment: Experiment) -> list[str]:
    """The attacks to try, no attack first: each that suits the experiment, as it comes.

    `foe` is tried beside its published factor 0.1 with one that turns the mean round, `alie`
    beside its published factor with that of RESAM's experiments; `sign-flip` also ten times as
    long, `min-max`, `min-sum` and `agr` in the other directions of their paper, `label-flip` also
    from one class to another, and `backdoor` also as model replacement. A backdoor that never
    comes shows how often the mark alone is taken for the target. An attack that the
    experiment can't have, such as one that needs more honest nodes, is left out, and so is
    silence.

    Raises
    ------
    ValueError
        If the experiment has no Byzantine node, or is wrong in itself.
    """
    h, f = experiment.num_nodes - experiment.num_malicious_nodes, experiment.num_malicious_nodes
    if f == 0:
        raise requirement(
            "num-malicious-nodes", "be at least 1 for `worst`, whose attacks need a Byzantine node",
            0, "Set num-malicious-nodes=1 or more",
        )
    replace(experiment, attack="zero").check()  # whatever is wrong here is no attack's fault
    beside = {
        "foe": [f"foe(epsilon={1.1 * h / f:.3g})"],
        "alie": ["alie(z=1.5)"],
        "agr": ["agr(perturbation=sign)"],
        "min-max": ["min-max(direction=sign)", "min-max(direction=unit)"],
        "min-sum": ["min-sum(direction=sign)", "min-sum(direction=unit)"],
        "sign-flip": ["sign-flip(factor=10)"],
        "label-flip": ["label-flip(source=1, target=0)"],
        "backdoor": [
            f"backdoor(boost={(h + f) / f:.3g})",
            f"backdoor when(start={experiment.num_rounds + 1})",
        ],
    }
    found = [NO_ATTACK]
    for name in ALL_ATTACKS:
        found += [name, *beside.get(name, [])]
    return [attack for attack in found if _suits(replace(experiment, attack=attack))]


def search(
    experiment: Experiment,
    attacks: list[str],
    on_evaluation: Callable[[int, Evaluation], None] = lambda _index, _evaluation: None,
) -> list[Trial]:
    """Run every attack in this process; return the trials, the worst for the defender first.

    ``on_evaluation`` is called with the attack's place in the list and each evaluation.

    The table is in ``worst.json`` in the experiment's output folder, where it has one, as far
    as it is done, with each run in a folder of its own beside it.
    """
    trials: list[Trial] = []
    for index, attack in enumerate(attacks):
        trials.append(_trial(experiment, attack, partial(on_evaluation, index)))
        trials.sort(key=lambda trial: trial.accuracy)
        if experiment.output_dir:
            rows = [asdict(trial) for trial in trials]
            path = Path(experiment.output_dir) / RESULTS
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return trials


def read_trials(folder: Path) -> list[Trial]:
    """Read the table that a search wrote."""
    return [Trial(**row) for row in json.loads((folder / RESULTS).read_text(encoding="utf-8"))]


def as_table(trials: list[Trial]) -> Table:
    """The trials, as people read them."""
    table = Table("attack", "who can do it", "final test accuracy", "attack success")
    for trial in trials:
        note = ", diverged" if trial.diverged else ""
        rate = "" if trial.attack_success is None else f"{trial.attack_success:.1%}"
        table.add_row(trial.attack, trial.knowledge, f"{trial.accuracy:.1%}{note}", rate)
    return table


def _trial(
    experiment: Experiment, attack: str, on_evaluation: Callable[[Evaluation], None]
) -> Trial:
    folder = str(Path(experiment.output_dir) / attack) if experiment.output_dir else ""
    evaluations: list[Evaluation] = []

    def note(evaluation: Evaluation) -> None:
        evaluations.append(evaluation)
        on_evaluation(evaluation)

    diverged = False
    try:
        # One that is resumed may have nothing left to evaluate.
        own = replace(experiment, attack=attack, output_dir=folder)
        evaluations = run_in_process(own, note).evaluations
    except QuorumLostError as lost:
        if not lost.diverged:
            raise
        diverged = True
    last = evaluations[-1]
    knowledge = _knowledge(experiment, attack)
    return Trial(attack, knowledge, last.accuracy, diverged, last.attack_success)


def _knowledge(experiment: Experiment, attack: str) -> str:
    plans = replace(experiment, attack=attack).plans()
    return ", ".join(sorted({plan.what.knowledge for plan, _ in plans}))


def _suits(experiment: Experiment) -> bool:
    try:
        experiment.check()
    except ValueError:
        return False
    return True
