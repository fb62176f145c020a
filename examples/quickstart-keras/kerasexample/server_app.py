"""What the server runs."""

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from kerasexample.task import built, load_model, load_test_data, names

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    # Names, and not numbers, say which arrays are statistics; the nodes' model has the same.
    weights = load_model(seed=config["seed"]).get_weights()
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({
            name: Array(value) for name, value in zip(names(built()), weights, strict=True)
        }),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    model = built()
    model.set_weights(arrays.to_numpy_ndarrays())
    _, accuracy = model.test_on_batch(*load_test_data())
    return MetricRecord({"accuracy": float(accuracy)})
