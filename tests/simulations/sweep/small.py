"""A small grid, and runs that were never run."""

from dataclasses import replace

from simulations.results import Evaluation
from simulations.sweep.store import Run

SMALL = """
[base]
num-nodes = 5
num-malicious-nodes = 1
num-rounds = 2
seed = [0, 1]

[[grid]]
attack = ["none", "sign-flip"]
aggregator = "cwtm"
beta = [0.0, 0.9]
"""


def grid(tmp_path, text=SMALL):
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def fake(experiment, accuracies, **changes):
    evaluations = tuple(Evaluation(10 * i, a, 1.0, float(i)) for i, a in enumerate(accuracies))
    run = Run(experiment.run_config(), {}, evaluations, 1.0)
    return replace(run, **changes)
