"""Flower apps become resilient by two changed lines."""

import json
import re
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from packaging.requirements import Requirement

from benchmarks.examples import EXAMPLES, MOMENTUM, load, names, run
from flwr_resam import InProcessGrid, Resam
from simulations.experiment import PROJECT
from tests.examples.frameworks import ALONE, MODULES, parameters, require

TURNED_ROUND = "foe(epsilon=2.5)"


@pytest.mark.parametrize("name", parameters())
def test_two_lines_cost_no_accuracy_and_survive_a_third_of_attackers(name):
    require(name)
    usual = last_accuracy(name, 30, before=True)
    assert usual > 0.9
    assert last_accuracy(name, 30) > usual - 0.04
    assert last_accuracy(name, 8, TURNED_ROUND, before=True) < 0.5
    assert last_accuracy(name, 30, TURNED_ROUND) > usual - 0.06


def last_accuracy(name, rounds, attack="none", before=False):
    """Run the app here; where TensorFlow is at work, in a process that torch is not in."""
    if name not in ALONE:
        return run(load(name, before=before), attack=attack, num_server_rounds=rounds)[-1]["accuracy"]
    command = [sys.executable, "-m", "benchmarks.examples", name, "--rounds", str(rounds)]
    command += ["--attack", attack, *(["--before"] if before else [])]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["accuracy"]


def test_clients_that_reply_with_weights_need_no_change():
    app = load("quickstart-numpy", changes={f"mods=[{MOMENTUM}]": ""})
    assert run(app, num_server_rounds=10)[-1]["accuracy"] > 0.9
    assert run(app, attack=TURNED_ROUND, num_server_rounds=10)[-1]["accuracy"] > 0.85


def test_resam_with_the_mean_and_no_momentum_is_unweighted_fedavg():
    changes = {
        f"mods=[{MOMENTUM}]": "",
        "Resam(num_malicious_nodes=3,": "Resam(0, __import__('flwr_resam').parse_rule('mean'),",
    }
    # Four partitions of one size: FedAvg's weights are equal.
    usual = run(load("quickstart-numpy", before=True), num_nodes=4, num_server_rounds=4)
    ours = run(load("quickstart-numpy", changes=changes), num_nodes=4, num_server_rounds=4)
    for one, other in zip(ours, usual, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=1e-9)


@pytest.mark.slow
def test_a_batch_norm_keeps_its_variance_which_momentum_would_take_below_zero():
    kept = [metrics["least-variance"] for metrics in run(load("quickstart-pytorch"))]
    assert min(kept) > 0
    assert kept[-1] < 0.05
    changes = {MOMENTUM: "momentum_mod(0.9, buffers=())"}
    app = load("quickstart-pytorch", changes=changes)
    app.server.Resam = every_array_is_a_parameter(app.server.Resam)
    assert min(metrics["least-variance"] for metrics in run(app)) < 0


def every_array_is_a_parameter(resam):
    return lambda *arguments, **named: resam(*arguments, buffers=(), **named)


@pytest.mark.parametrize("name", names())
def test_the_diff_of_the_readme_is_two_lines_and_their_imports(name):
    (diff,) = re.findall(r"```diff\n(.*?)```", (EXAMPLES / name / "README.md").read_text(), re.S)
    lines = diff.splitlines()
    added = [line for line in lines if line.startswith("+")]
    imports = {"+from flwr_resam import momentum_mod", "+from flwr_resam import Resam"}
    assert imports < set(added)
    assert len(added) == 4
    gone = [line for line in lines if re.match(r"-(?!--)", line)]
    assert len(gone) == 3
    assert not any("import" in line for line in gone if "FedAvg" not in line)


@pytest.mark.parametrize("name", names())
def test_an_app_is_whole_and_its_packages_are_in_the_extra(name):
    assert name in MODULES
    project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text(encoding="utf-8"))
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = extras["project"]["optional-dependencies"]
    ours = {Requirement(text).name for extra in ("examples", "simulation") for text in listed[extra]}
    needs = {Requirement(text).name for text in project["project"]["dependencies"]}
    assert needs - ours - {"numpy"} == {"flwr-resam"}
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert f"({name})" in index
    assert project["project"]["name"] == name
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^FLWR\w+=1 flwr run \. --stream ", readme, re.M)) == 1


def test_a_model_of_trees_is_refused():
    booster = ArrayRecord([np.frombuffer(b'{"learner": {}}', dtype=np.uint8)])
    with pytest.raises(ValueError, match="none floating-point"):
        Resam(num_malicious_nodes=1).start(InProcessGrid(ClientApp(), 3), booster)
