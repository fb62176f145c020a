"""A Flower app in scikit-learn: logistic regression that starts where the server is."""

import warnings
from functools import cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


@cache
def load_data():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order] / 16, labels[order]


def build(arrays, max_iter=1):
    model = LogisticRegression(C=1.0, max_iter=max_iter, warm_start=True)
    model.classes_ = np.arange(10)
    model.coef_, model.intercept_ = arrays
    return model


app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    model = build(msg.content["arrays"].to_numpy_ndarrays(), context.run_config["local-epochs"])
    x, y = load_data()
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    x, y = x[:1400][part::parts], y[:1400][part::parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations a round don't converge
        model.fit(x, y)
    metrics = MetricRecord({"num-examples": len(y), "train_accuracy": float(model.score(x, y))})
    arrays = ArrayRecord([model.coef_, model.intercept_])
    return Message(content=RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    x, y = load_data()
    model = build(arrays.to_numpy_ndarrays())
    return MetricRecord({"accuracy": float(model.score(x[1400:], y[1400:]))})


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((10, 64)), np.zeros(10)]),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )
    for server_round, metrics in result.evaluate_metrics_serverapp.items():
        context.state[str(server_round)] = metrics
