"""Attacks on Flower's Ray engine, before the grid and on the nodes: the same bits as in process."""

import json

import pytest

from simulations.engine import run_on_flower
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.results import read_evaluations


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        "alie-opt when(start=2)",
        "1 min-max + 1 replay(rounds=1) + 1 gaussian(std=0.1) when(probability=0.5)",
    ],
)
def test_flowers_engine_gives_the_same_model_under_attack(attack, tmp_path):
    settings = {
        "num-rounds": 4, "num-nodes": 8, "num-malicious-nodes": 3, "aggregator": "cwtm",
        "attack": attack,
    }
    experiment = Experiment.default({**settings, "output-dir": str(tmp_path)})
    run_on_flower(experiment, lambda _: None)
    assert [evaluation.round for evaluation in read_evaluations(tmp_path)] == [0, 1, 2, 3, 4]
    digest = json.loads((tmp_path / "summary.json").read_text())["model-sha256"]
    assert digest == run_in_process(Experiment.default(settings)).digest
    assert digest != run_in_process(Experiment.default({**settings, "attack": "none"})).digest
