"""What each example needs, and a skip where that is not installed."""

import importlib.util

import pytest

MODULES = {
    "quickstart-numpy": ["sklearn"],
    "quickstart-pytorch": ["torch", "sklearn"],
    "quickstart-sklearn": ["sklearn"],
    "quickstart-jax": ["jax", "sklearn"],
}
QUICK = ["quickstart-numpy"]


def parameters():
    """All examples; those that take more than a few seconds are marked slow."""
    return [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODULES
    ]


def require(name):
    """Skip the test where a framework of the example is missing."""
    for module in MODULES[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[examples]'")
