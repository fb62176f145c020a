"""A Flower app in NumPy: softmax regression, its model a plain list of arrays."""

from functools import cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from sklearn.datasets import load_digits


@cache
def load_data():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order] / 16, labels[order]


def probabilities(weights, bias, x):
    scores = x @ weights + bias
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    weights, bias = msg.content["arrays"].to_numpy_ndarrays()
    x, y = load_data()
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    x, y = x[:1400][part::parts], y[:1400][part::parts]
    random = np.random.default_rng([part, msg.content["config"]["server-round"]])
    for _ in range(context.run_config["local-epochs"]):
        for batch in np.array_split(random.permutation(len(y)), len(y) // 32):
            error = probabilities(weights, bias, x[batch])
            error[np.arange(len(batch)), y[batch]] -= 1
            weights = weights - 0.3 * x[batch].T @ error / len(batch)
            bias = bias - 0.3 * error.mean(axis=0)
    metrics = MetricRecord({
        "num-examples": len(y),
        "grad_norm": float(np.linalg.norm(error)),
        "seconds": [0.5, 0.25],
    })
    content = RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics})
    return Message(content=content, reply_to=msg)


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    weights, bias = arrays.to_numpy_ndarrays()
    x, y = load_data()
    correct = probabilities(weights, bias, x[1400:]).argmax(axis=1) == y[1400:]
    return MetricRecord({"accuracy": float(correct.mean())})


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros((64, 10)), np.zeros(10)]),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )
    for server_round, metrics in result.evaluate_metrics_serverapp.items():
        context.state[str(server_round)] = metrics
