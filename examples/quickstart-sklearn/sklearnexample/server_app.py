"""What the server runs."""

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from sklearnexample.task import create_model, load_test_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((10, 64)), np.zeros(10)]),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    model = create_model(arrays.to_numpy_ndarrays())
    return MetricRecord({"accuracy": float(model.score(*load_test_data()))})
