"""A SuperLink and six SuperNodes, each a process of its own."""

import re
import subprocess

import psutil
import pytest

from simulations.deployment.__main__ import DEFAULTS
from simulations.deployment.run import byzantine_nodes, run_deployed
from simulations.experiment import Experiment
from simulations.flwr_cli import RunFailed
from simulations.results import read_evaluations

pytestmark = pytest.mark.slow


def experiment(folder, **changes):
    settings = {key.replace("_", "-"): value for key, value in changes.items()}
    return Experiment.default({**DEFAULTS, **settings, "output-dir": str(folder)})


def children():
    return {process.pid for process in psutil.Process().children(recursive=True)}


def counts(said):
    """What the strategy logged of each round: valid, rejected, silent."""
    form = re.compile(r"aggregate_train: (\d+) valid, (\d+) rejected, (\d+) silent")
    lines = map(form.match, said)
    return [tuple(map(int, found.groups())) for found in lines if found]


def test_six_supernodes_train_and_every_process_is_gone(tmp_path):
    before = children()
    one = experiment(tmp_path, num_rounds=1)
    started = []
    report = run_deployed(
        one, byzantine=byzantine_nodes(one, "sign-flip"), secure=False,
        on_start=started.append,
    )
    assert [node.client for node in report.nodes] == ["honest"] * 5 + ["sign-flip"]
    assert {node.status for node in report.nodes} == {"online"}
    assert counts(report.said) == [(6, 0, 0)]
    assert [evaluation.round for evaluation in read_evaluations(tmp_path)] == [0, 1]
    assert children() <= before
    assert started[0].processes.running() == []


def test_a_superlink_that_cannot_start_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    before = children()
    monkeypatch.setattr("simulations.processes.subprocess.Popen", _failing(subprocess.Popen))
    with pytest.raises(RunFailed, match="The SuperLink ended at once"):
        run_deployed(experiment(tmp_path), byzantine={}, secure=False)
    assert children() <= before


def _failing(popen):
    """A SuperLink that is given an option which it does not know."""
    return lambda command, **rest: popen([*command, "--no-such-option"], **rest)
