"""The model, a Flax network with batch norm, and the data: handwritten digits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


class Net(nn.Module):
    """One hidden layer, normalised by batch norm."""

    @nn.compact
    def __call__(self, x, train):
        """Scores of the ten digits."""
        x = nn.Dense(32, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(10)(x)


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


def initial_variables(seed):
    """Draw parameters and statistics, `params` and `batch_stats`."""
    return Net().init(jax.random.key(seed), jnp.zeros((1, 64)), train=False)


def to_arrays(variables):
    """Name each array by its path, such as `batch_stats/BatchNorm_0/var`."""
    return {name: np.asarray(value) for name, value in flatten_dict(variables, sep="/").items()}


def to_variables(arrays):
    """Make the tree of what `to_arrays` named."""
    return unflatten_dict({name: jnp.asarray(value) for name, value in arrays.items()}, sep="/")


@jax.jit
def sgd_step(variables, x, y, learning_rate):
    """Take one step; return the variables and the loss before it."""

    def mean_loss(params):
        scores, new = Net().apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean(), new

    (loss, new), gradient = jax.value_and_grad(mean_loss, has_aux=True)(variables["params"])
    params = jax.tree.map(lambda p, g: p - learning_rate * g, variables["params"], gradient)
    return {"params": params, **new}, loss


def train(variables, x, y, epochs, learning_rate, random):
    """Take epochs of SGD in batches of 32; return the variables and the last batch's loss."""
    loss, size = 0.0, min(32, len(y))
    for _ in range(epochs):
        order = random.permutation(len(y))
        for start in range(0, len(y) - size + 1, size):
            batch = order[start : start + size]
            variables, loss = sgd_step(variables, x[batch], y[batch], learning_rate)
    return variables, float(loss)


@jax.jit
def scores(variables, x):
    """Scores with the running statistics."""
    return Net().apply(variables, x, train=False)


def accuracy(variables, x, y):
    """The share of examples that the model gets right."""
    return float((scores(variables, x).argmax(axis=1) == y).mean())
