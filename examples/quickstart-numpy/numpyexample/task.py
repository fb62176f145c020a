"""The model, a weight matrix and a bias, and the data: scikit-learn's handwritten digits."""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


@cache
def load_all():
    """Images in [0, 1], shape (1797, 64), and labels, always in the same order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order] / 16, labels[order]


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


def initial_model():
    """All zero: softmax regression has one optimum."""
    return [np.zeros((64, 10)), np.zeros(10)]


def probabilities(model, x):
    """Softmax of the scores."""
    weights, bias = model
    scores = x @ weights + bias
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def train(model, x, y, epochs, learning_rate, random):
    """Take epochs of SGD in batches of about 32; return the model and the last batch's loss."""
    weights, bias = model
    for _ in range(epochs):
        for batch in np.array_split(random.permutation(len(y)), max(1, len(y) // 32)):
            error = probabilities((weights, bias), x[batch])
            hit = error[np.arange(len(batch)), y[batch]]
            error[np.arange(len(batch)), y[batch]] -= 1
            weights = weights - learning_rate * x[batch].T @ error / len(batch)
            bias = bias - learning_rate * error.mean(axis=0)
    return [weights, bias], float(-np.log(np.maximum(hit, 1e-12)).mean())


def accuracy(model, x, y):
    """The share of examples that the model gets right."""
    return float((probabilities(model, x).argmax(axis=1) == y).mean())
