"""A SuperLink and six SuperNodes, each a process of its own."""

import subprocess
from contextlib import suppress

import psutil
import pytest
from flwr.app import RecordDict
from typer.testing import CliRunner

from clients.app import app as client_app
from flwr_resam import InProcessGrid
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.momentum import server_round_of
from flwr_resam.report import conducts
from flwr_resam.server.ledger import read_ledger
from simulations import training
from simulations.deployment.__main__ import DEFAULTS, app
from simulations.deployment.drill import drill
from simulations.deployment.proxy import find_nginx
from simulations.deployment.run import byzantine_nodes, run_deployed
from simulations.experiment import Experiment
from simulations.flwr_cli import RunFailed
from simulations.results import read_evaluations, read_summary

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


class Replay(GridWrapper):
    """In process what a drill did, by the replies that came in each round.

    The victim of the drill did no work of which no reply came; other nodes were only late with it.
    """

    def __init__(self, grid, victim, answered, lost):
        super().__init__(grid)
        self.victim, self.answered, self.lost = victim, answered, lost

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        if not messages or messages[0].metadata.message_type != "train":
            return self.inner.send_and_receive(messages, timeout=timeout)
        number = server_round_of(messages[0])
        for node in self.lost.get(number, ()):
            self.inner.contexts[node].state = RecordDict()
        answered = self.answered[number]
        working = [m for m in messages if m.metadata.dst_node_id in {*answered, *self.others()}]
        replies = self.inner.send_and_receive(working, timeout=timeout)
        return [reply for reply in replies if reply.metadata.src_node_id in answered]

    def others(self):
        return set(self.inner.contexts) - {self.victim}


def test_with_tls_and_node_keys_a_killed_node_and_a_killed_server_app_come_back(tmp_path):
    one = experiment(tmp_path, round_timeout=300.0)
    found = drill(one, byzantine=byzantine_nodes(one, "sign-flip"))

    victim, liar = found.nodes[0], found.nodes[5]
    assert {node.status for node in found.nodes} == {"online"}
    assert found.ids == (victim.node, victim.node)
    assert all(attempt.held for attempt in found.refused)
    assert len(found.refused) == (10 if find_nginx() else 3)
    lines = read_ledger(tmp_path)
    last = found.resumed_after + 1
    assert {line.round for line in lines} == set(range(1, last + 1))
    status = {line.round: line.status for line in lines if line.node == victim.node}
    assert status[1] == "valid"
    assert status[2] == "silent"
    assert [number for number in status if status[number] == "valid" and number > 2] == list(
        range(found.back_in, last + 1)
    )
    # The ledger shows the liar to whoever reads its report: first of all, with a reason.
    (first, *rest) = conducts(lines)
    assert first.node == liar.node
    assert {"kept out by the rule", "far from the others"} & set(first.remarks)
    assert not any("far from the others" in conduct.remarks for conduct in rest)

    # A lost momentum, in what the node says of itself ...
    assert f"anew in round {found.back_in}" in (tmp_path / "node-0.log").read_text()
    # ... and in the model, which is to the bit that of the same history in process.
    grid = InProcessGrid(client_app, 6, one.run_config())
    nodes = list(grid.contexts)
    grid.contexts[nodes[5]].node_config["byzantine"] = "sign-flip"
    here = {node.node: nodes[node.partition] for node in found.nodes}
    answered = {number: set() for number in range(1, last + 1)}
    for line in lines:
        if line.status == "valid":
            answered[line.round].add(here[line.node])
    replay = Replay(grid, nodes[0], answered, {found.back_in: nodes[:1], last: nodes})
    same = experiment("", num_rounds=last)
    assert read_summary(tmp_path)["model-sha256"] == training.run(same, replay).digest


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
