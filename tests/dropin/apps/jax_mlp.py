"""A Flower app in JAX: a small network, its parameters a tree of arrays."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from sklearn.datasets import load_digits


@cache
def load_data():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order] / 16).astype(np.float32), labels[order]


def initial_parameters():
    first, second = jax.random.split(jax.random.key(0))
    return {
        "hidden/kernel": jax.random.normal(first, (64, 32)) / 8.0,
        "hidden/bias": jnp.zeros(32),
        "out/kernel": jax.random.normal(second, (32, 10)) / 6.0,
        "out/bias": jnp.zeros(10),
    }


def scores(parameters, x):
    hidden = jax.nn.relu(x @ parameters["hidden/kernel"] + parameters["hidden/bias"])
    return hidden @ parameters["out/kernel"] + parameters["out/bias"]


@jax.jit
def sgd_step(parameters, x, y):
    def loss(parameters):
        return -jnp.take_along_axis(jax.nn.log_softmax(scores(parameters, x)), y[:, None], 1).mean()

    value, gradient = jax.value_and_grad(loss)(parameters)
    return jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradient), value


def to_record(parameters):
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in parameters.items()})


def from_record(record):
    return {name: jnp.asarray(array.numpy()) for name, array in record.items()}


app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    parameters = from_record(msg.content["arrays"])
    x, y = load_data()
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    x, y = x[:1400][part::parts], y[:1400][part::parts]
    random = np.random.default_rng([part, msg.content["config"]["server-round"]])
    for _ in range(context.run_config["local-epochs"]):
        order = random.permutation(len(y))
        for start in range(0, len(y) - 31, 32):
            batch = order[start : start + 32]
            parameters, loss = sgd_step(parameters, x[batch], y[batch])
    metrics = MetricRecord({"num-examples": len(y), "train_loss": float(loss)})
    content = RecordDict({"arrays": to_record(parameters), "metrics": metrics})
    return Message(content=content, reply_to=msg)


def central_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    x, y = load_data()
    correct = scores(from_record(arrays), x[1400:]).argmax(axis=1) == y[1400:]
    return MetricRecord({"accuracy": float(correct.mean())})


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(
        grid=grid,
        initial_arrays=to_record(initial_parameters()),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=central_evaluate,
    )
    for server_round, metrics in result.evaluate_metrics_serverapp.items():
        context.state[str(server_round)] = metrics
