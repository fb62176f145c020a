"""`flwr run` on Flower's Ray engine, with a SuperLink of its own that goes when the run is over."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import LOG, FlwrCli, RunFailed, prepare
from simulations.processes import ProcessGroup, free_ports
from simulations.results import Evaluation

__all__ = ["RunFailed", "run_on_flower"]


def run_on_flower(experiment: Experiment, on_evaluation: Callable[[Evaluation], None]) -> None:
    """Run an experiment by `flwr run`, into its output folder.

    Parameters
    ----------
    experiment : Experiment
        With an absolute ``output_dir``.
    on_evaluation : callable
        Called for each evaluation as it comes.

    Raises
    ------
    RunFailed
        If the run's status, as `flwr ls` tells it, is not finished:completed.
    """
    folder = prepare(experiment)
    (port,) = free_ports(1)
    command = [
        "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess",
        "--host", "127.0.0.1", "--port", str(port),
    ]
    with tempfile.TemporaryDirectory(prefix="flwr-resam-") as name:
        home = Path(name)
        settings = {
            "FLWR_HOME": name,
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # clients see the GPU, where there is one
        }
        with ProcessGroup(settings) as processes:
            flwr = FlwrCli(home, port, processes.environment, None)
            superlink = processes.start(command, home, folder / LOG)
            flwr.await_superlink(superlink, folder / LOG)
            nodes = f"num-supernodes={experiment.num_nodes} client-resources-num-cpus=1"
            run_id = flwr.submit(PROJECT, experiment.run_config(), nodes)
            flwr.follow(run_id, folder, on_evaluation)
