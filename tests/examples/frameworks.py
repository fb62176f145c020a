"""What each example needs, and a skip where that is not installed; .ci/examples lets none be."""

import importlib.util
import os

import pytest

MODULES = {
    "quickstart-numpy": ["sklearn"],
    "quickstart-pytorch": ["torch", "sklearn"],
    "quickstart-sklearn": ["sklearn"],
    "quickstart-jax": ["jax", "sklearn"],
    "quickstart-flax": ["flax", "optax", "jax", "sklearn"],
    "quickstart-keras": ["tensorflow", "keras", "sklearn"],
    "quickstart-lightning": ["lightning", "torch", "sklearn"],
    "quickstart-lora": ["transformers", "peft", "torch"],
}
# TensorFlow and torch in one process end it, on some machines.
ALONE = ["quickstart-keras"]
QUICK = ["quickstart-numpy"]
# What frameworks warn of among themselves is theirs.
SLOW = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def parameters():
    """All examples; those that take more than a few seconds are marked slow."""
    return [
        name if name in QUICK else pytest.param(name, marks=SLOW) for name in MODULES
    ]


def require(name):
    """Skip the test where a framework of the example is missing."""
    for module in MODULES[name]:
        if importlib.util.find_spec(module) is None:
            missing = pytest.fail if os.environ.get("EXAMPLES_NEED_ALL") else pytest.skip
            missing(f"{module} is not installed: pip install -e '.[examples]'")
