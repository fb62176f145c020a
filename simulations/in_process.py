"""One experiment in this process: the same ServerApp code and ClientApp, without an engine."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ArrayRecord

from clients import models
from clients.app import app as client_app
from clients.bad_replies.messages import SILENCE
from clients.batched_training import together
from clients.byzantine import on_device
from clients.byzantine.malformed import Malformed
from clients.byzantine.poisoning import Poisoning
from clients.gradients import is_dense
from flwr_resam import InProcessGrid
from flwr_resam.errors import requirement
from flwr_resam.plugins import load
from flwr_resam.rows.threads import cores
from simulations.experiment import Experiment
from simulations.results import Evaluation
from simulations.training import Outcome, run

_LONGEST_SILENCE = 60.0  # seconds


def run_in_process(
    experiment: Experiment,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
    *,
    batched: bool = False,
    on_model: Callable[[int, ArrayRecord], None] = lambda _round, _arrays: None,
) -> Outcome:
    """Run the experiment on an `InProcessGrid`.

    The bits are those that Flower's engine gives; of convolutional models as many clients
    compute at a time as there are cores. ``batched`` lets the clients of a small model compute
    in one pass, which is faster and the same up to the rounding of float32. For convolutions
    and with several local steps it is as without.

    Raises
    ------
    ValueError
        If an attack is a long silence: in one process it is waited for, round after round.
    """
    load(experiment.plugins)
    _check_silence(experiment)
    grid, groups = nodes_of(experiment, batched=batched)
    with together(groups):
        return run(experiment, grid, on_evaluation, on_model)


def nodes_of(
    experiment: Experiment, *, batched: bool
) -> tuple[InProcessGrid, list[list[int]]]:
    """The nodes of an experiment, and which of them compute in one pass: nearly all, or none."""
    model = models.empty(models.chosen(experiment.model, experiment.dataset))
    small = is_dense(model)  # what threads would spend on waiting for each other
    grid = InProcessGrid(
        client_app, experiment.num_nodes, experiment.run_config(),
        threads=1 if small else cores(),
    )
    one_pass = batched and small and experiment.local_steps == 1
    return grid, groups_of(experiment) if one_pass else []


def _check_silence(experiment: Experiment) -> None:
    for plan, _ in experiment.plans():
        what = plan.what
        if isinstance(what, Malformed) and what.kind == SILENCE and what.seconds > _LONGEST_SILENCE:
            raise requirement(
                "attack", f"be silent for at most {_LONGEST_SILENCE:g} s in process, where each "
                "node is waited for", f"{what.seconds:g} s", "Give it fewer `seconds`, above "
                "`round-timeout`, or let Flower's engine run it: python -m simulations run",
            )


def groups_of(experiment: Experiment) -> list[list[int]]:
    """The partitions that compute on data as they are, and those that poison them, each its way.

    The omniscient adversary's compute nothing.
    """
    honest = set(range(experiment.num_nodes))
    poisoned: list[list[int]] = []
    for plan, partitions in experiment.plans():
        if isinstance(plan.what, Poisoning):
            poisoned.append(list(partitions))
        if isinstance(plan.what, Poisoning) or not on_device(plan):
            honest.difference_update(partitions)
    return [sorted(honest), *poisoned]
