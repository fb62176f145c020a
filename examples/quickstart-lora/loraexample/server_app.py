"""What the server runs."""

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from loraexample.task import accuracy, adapters, load_model, load_test_data, new_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(adapters(new_model())),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    model = load_model(arrays.to_torch_state_dict())
    return MetricRecord({"accuracy": accuracy(model, *load_test_data())})
