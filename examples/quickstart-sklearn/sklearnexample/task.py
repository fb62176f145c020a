"""The model, scikit-learn's logistic regression, and the data: its handwritten digits."""

import warnings
from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

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


def create_model(arrays, max_iter=1):
    """Make a model of the arrays, from which `fit` goes on."""
    model = LogisticRegression(max_iter=max_iter, warm_start=True)
    model.classes_ = np.arange(10)
    model.coef_, model.intercept_ = arrays
    return model


def fit(model, x, y):
    """Go on for the model's `max_iter` iterations, which need not converge; return the arrays.

    A node that lacks a class leaves the server's numbers for it as they are; with less than three
    classes it leaves all of them.
    """
    arrays, seen = [model.coef_.copy(), model.intercept_.copy()], np.unique(y)
    if len(seen) > 2:
        model.coef_, model.intercept_ = model.coef_[seen], model.intercept_[seen]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)
        arrays[0][seen], arrays[1][seen] = model.coef_, model.intercept_
    return arrays
