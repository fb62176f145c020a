"""What the server runs."""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from jaxexample.task import accuracy, initial_parameters, load_test_data

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    parameters = initial_parameters(config["seed"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({k: Array(np.asarray(v)) for k, v in parameters.items()}),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    parameters = {name: array.numpy() for name, array in arrays.items()}
    return MetricRecord({"accuracy": accuracy(parameters, *load_test_data())})
