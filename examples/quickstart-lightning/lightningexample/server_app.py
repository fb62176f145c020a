"""What the server runs."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr_resam import Resam

from lightningexample.task import Net, load_test_data, trainer

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and log the accuracy after each."""
    config = context.run_config
    torch.manual_seed(config["seed"])
    strategy = Resam(num_malicious_nodes=3, fraction_evaluate=config["fraction-evaluate"])
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001
    """Evaluate the model on data that no node has."""
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    (found,) = trainer().test(model, load_test_data(), verbose=False)
    return MetricRecord({"accuracy": found["accuracy"]})
