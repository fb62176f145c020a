"""The ServerApp of the experiments, the same on every engine and on a real federation."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from simulations.experiment import Experiment
from simulations.training import run

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Check the run-config, then train."""
    run(Experiment.read(context.run_config), grid)
