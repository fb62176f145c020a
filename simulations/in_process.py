"""One experiment in this process: the same ServerApp code and ClientApp, without an engine."""

from __future__ import annotations

from collections.abc import Callable

from clients.app import app as client_app
from flwr_resam import InProcessGrid
from simulations.experiment import Experiment
from simulations.results import Evaluation
from simulations.training import Outcome, run


def run_in_process(
    experiment: Experiment,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
) -> Outcome:
    """Run the experiment on an `InProcessGrid`."""
    grid = InProcessGrid(client_app, experiment.num_nodes, experiment.run_config())
    return run(experiment, grid, on_evaluation)
