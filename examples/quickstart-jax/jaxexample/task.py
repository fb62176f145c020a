"""The model, a small network whose parameters are a dict of arrays, and the data: digits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


@cache
def load_all():
    """Images in [0, 1], shape (1797, 64), and labels, always in the same order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order] / 16).astype(np.float32), labels[order]


def share(labels, partition_id, num_partitions):
    """Which of the training examples a node holds."""
    return np.arange(partition_id, len(labels), num_partitions)


def load_data(partition_id, num_partitions):
    """Load a node's share."""
    x, y = load_all()
    own = share(y[:NUM_TRAIN], partition_id, num_partitions)
    return x[own], y[own]


def load_test_data():
    """Load what no node trains on."""
    x, y = load_all()
    return x[NUM_TRAIN:], y[NUM_TRAIN:]


def initial_parameters(seed):
    """Draw the parameters, by name."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "hidden/kernel": jax.random.normal(first, (64, 32)) / 8.0,
        "hidden/bias": jnp.zeros(32),
        "out/kernel": jax.random.normal(second, (32, 10)) / 6.0,
        "out/bias": jnp.zeros(10),
    }


def scores(parameters, x):
    """Scores of the ten digits."""
    hidden = jax.nn.relu(x @ parameters["hidden/kernel"] + parameters["hidden/bias"])
    return hidden @ parameters["out/kernel"] + parameters["out/bias"]


def mean_loss(parameters, x, y):
    """Cross-entropy."""
    return -jnp.take_along_axis(jax.nn.log_softmax(scores(parameters, x)), y[:, None], 1).mean()


@jax.jit
def sgd_step(parameters, x, y, learning_rate):
    """Take one step; return the parameters and the loss before it."""
    loss, gradient = jax.value_and_grad(mean_loss)(parameters, x, y)
    return jax.tree.map(lambda p, g: p - learning_rate * g, parameters, gradient), loss


def train(parameters, x, y, epochs, learning_rate, random):
    """Take epochs of SGD in batches of 32; return the parameters and the last batch's loss."""
    loss, size = 0.0, min(32, len(y))
    for _ in range(epochs):
        order = random.permutation(len(y))
        for start in range(0, len(y) - size + 1, size):
            batch = order[start : start + size]
            parameters, loss = sgd_step(parameters, x[batch], y[batch], learning_rate)
    return parameters, float(loss)


def accuracy(parameters, x, y):
    """The share of examples that the model gets right."""
    return float((scores(parameters, x).argmax(axis=1) == y).mean())
