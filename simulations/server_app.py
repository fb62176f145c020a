"""The ServerApp of the experiments, the same on every engine and on a real federation."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from simulations.experiment import Experiment
from simulations.training import run

_PULL_INTERVAL = 0.01  # seconds; Flower's tenth of a second is half a round of a small model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Check the run-config, then train."""
    if hasattr(grid, "pull_interval"):  # the simulation engine's: nothing goes over a network
        grid.pull_interval = _PULL_INTERVAL
    run(Experiment.read(context.run_config), grid)
