"""Flower's simulation engine on a Ray cluster: two Ray nodes, here on one machine."""

import json
import subprocess
import sys
import tempfile
import time

import pytest

from simulations.engine import run_on_flower
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.processes import ProcessGroup, free_ports
from simulations.results import read_summary

SMALL = [
    "--block", "--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1",
]
HOSTS = """
import json, ray
from ray._private.state import actors
ray.init()
print(json.dumps([actor["Address"]["NodeID"] for actor in actors().values()]))
"""


def await_text(path, text):
    deadline = time.monotonic() + 120
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.2)


@pytest.mark.slow
def test_a_cluster_of_two_ray_nodes_gives_the_model_of_one_process(tmp_path, monkeypatch):
    settings = {
        "num-rounds": 3, "num-nodes": 6, "num-malicious-nodes": 2, "aggregator": "nnm | cwtm",
    }
    # Ray's sockets lie in this folder, and a socket's path is short.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ProcessGroup({}) as group:
        (port,) = free_ports(1)
        head = ["ray", "start", "--head", f"--port={port}", f"--temp-dir={folder}", *SMALL]
        group.start([*head, "--include-dashboard=false"], tmp_path, tmp_path / "head.log")
        await_text(tmp_path / "head.log", "Ray runtime started")
        second = ["ray", "start", f"--address=127.0.0.1:{port}", *SMALL]
        group.start(second, tmp_path, tmp_path / "second.log")
        await_text(tmp_path / "second.log", "Ray runtime started")
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        run_on_flower(
            Experiment.default({**settings, "output-dir": str(tmp_path / "out")}), lambda _: None
        )
        done = subprocess.run(
            [sys.executable, "-c", HOSTS], capture_output=True, text=True, check=True
        )
    assert len(set(json.loads(done.stdout.splitlines()[-1]))) == 2
    digest = read_summary(tmp_path / "out")["model-sha256"]
    assert digest == run_in_process(Experiment.default(settings)).digest
