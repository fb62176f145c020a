"""Flower's simulation engine on a Ray cluster: two Ray nodes, here on one machine."""

import json
import subprocess
import sys

import pytest

from simulations.engine import run_on_flower
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.results import read_summary

HOSTS = """
import json, ray
from ray._private.state import actors
ray.init()
print(json.dumps([actor["Address"]["NodeID"] for actor in actors().values()]))
"""


@pytest.mark.slow
def test_a_cluster_of_two_ray_nodes_gives_the_model_of_one_process(
    two_ray_nodes, tmp_path, monkeypatch
):
    settings = {
        "num-rounds": 3, "num-nodes": 6, "num-malicious-nodes": 2, "aggregator": "nnm | cwtm",
    }
    monkeypatch.setenv("RAY_ADDRESS", two_ray_nodes)
    run_on_flower(
        Experiment.default({**settings, "output-dir": str(tmp_path / "out")}), lambda _: None
    )
    done = subprocess.run([sys.executable, "-c", HOSTS], capture_output=True, text=True, check=True)
    assert len(set(json.loads(done.stdout.splitlines()[-1]))) == 2
    digest = read_summary(tmp_path / "out")["model-sha256"]
    assert digest == run_in_process(Experiment.default(settings)).digest
