"""The model, a small network with batch norm, and the data: handwritten digits."""

import os
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
from sklearn.datasets import load_digits

NUM_TRAIN = 1400


def load_model(learning_rate=0.05, seed=0):
    """Make the network, with the optimiser it is trained by."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.Input((64,)),
        keras.layers.Dense(32, use_bias=False),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
        keras.layers.Dense(10, activation="softmax"),
    ])
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate), loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


@cache
def built():
    """Return the node's own model: to build it anew in each round would trace it anew."""
    return load_model()


def names(model):
    """Names of the weights, by which it is known which are a batch norm's statistics."""
    return [weight.path for weight in model.weights]


@cache
def load_all():
    """Images, shape (1797, 64), and labels, always in the same order."""
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
