"""What the server runs."""

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from flaxexample.task import accuracy, initial_variables, load_test_data, to_arrays, to_variables

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    arrays = to_arrays(initial_variables(config["seed"]))
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(value) for name, value in arrays.items()}),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    variables = to_variables({name: array.numpy() for name, array in arrays.items()})
    return MetricRecord({"accuracy": accuracy(variables, *load_test_data())})
