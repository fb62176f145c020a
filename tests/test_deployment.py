"""A SuperLink and six SuperNodes, each a process of its own."""

import subprocess
from contextlib import suppress

import psutil
import pytest
from typer.testing import CliRunner

from flwr_resam.ledger import read_ledger
from simulations.deployment.__main__ import DEFAULTS, app
from simulations.deployment.run import run_deployed
from simulations.experiment import Experiment
from simulations.flwr_cli import RunFailed
from simulations.results import read_evaluations

pytestmark = pytest.mark.slow


def experiment(folder, **changes):
    settings = {key.replace("_", "-"): value for key, value in changes.items()}
    return Experiment.default({**DEFAULTS, **settings, "output-dir": str(folder)})


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """All that a test starts carries its folder in the environment; none of it may stay."""
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    yield
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            assert process.environ().get("TEST_FOLDER") != str(tmp_path), process.cmdline()


def test_six_supernodes_train_and_every_process_is_gone(tmp_path):
    done = CliRunner().invoke(
        app, ["run", "--insecure", "--output-dir", str(tmp_path), "-c", "num-rounds=1"]
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("honest") == 5
    assert done.output.count("online") == 6
    lines = read_ledger(tmp_path)
    assert [line.status for line in lines] == ["valid"] * 6
    assert all(str(line.node)[:8] in done.output for line in lines)
    assert "weight: 1 is an equal share" in done.output
    assert [evaluation.round for evaluation in read_evaluations(tmp_path)] == [0, 1]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("flower-superlink", "The SuperLink ended at once"),
        ("flower-supernode", "The SuperNode of partition 0 ended: .*--no-such-option"),
    ],
)
def test_a_process_that_cannot_start_is_one_sentence_and_leaves_nothing(
    program, message, tmp_path, monkeypatch
):
    popen = subprocess.Popen

    def failing(command, **rest):
        """Give the program an option that it does not know."""
        return popen([*command, *["--no-such-option"] * (command[0] == program)], **rest)

    monkeypatch.setattr("simulations.processes.subprocess.Popen", failing)
    one = experiment(tmp_path, num_nodes=1, num_malicious_nodes=0)
    with pytest.raises(RunFailed, match=message):
        run_deployed(one, byzantine={}, secure=False)
