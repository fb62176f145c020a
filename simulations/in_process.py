"""One experiment in this process: the same ServerApp code and ClientApp, without an engine."""

from __future__ import annotations

from collections.abc import Callable

from clients.app import app as client_app
from clients.byzantine import on_device, planned
from clients.byzantine.label_flip import LabelFlip
from clients.cohort import together
from flwr_resam import InProcessGrid
from simulations.experiment import Experiment
from simulations.results import Evaluation
from simulations.training import Outcome, run


def run_in_process(
    experiment: Experiment,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
    *,
    batched: bool = False,
) -> Outcome:
    """Run the experiment on an `InProcessGrid`.

    One client after the other computes, which gives the bits that Flower's engine gives;
    ``batched`` lets those that can compute in one pass, which is faster and the same up to the
    rounding of float32. Where they can't (several local steps, batch norm, dropout) it is as
    without.
    """
    grid = InProcessGrid(client_app, experiment.num_nodes, experiment.run_config())
    with together(groups_of(experiment) if batched else []):
        return run(experiment, grid, on_evaluation)


def groups_of(experiment: Experiment) -> list[list[int]]:
    """The partitions that compute on labels as they are, and those that compute on flipped ones.

    The omniscient adversary's compute nothing.
    """
    honest = set(range(experiment.num_nodes))
    flipping: set[int] = set()
    if experiment.attack != "none":
        plans = planned(
            experiment.attack, experiment.num_nodes, experiment.num_malicious_nodes
        )
        for plan, partitions in plans:
            if isinstance(plan.what, LabelFlip):
                flipping.update(partitions)
            if isinstance(plan.what, LabelFlip) or not on_device(plan):
                honest.difference_update(partitions)
    return [sorted(honest), sorted(flipping)]
