"""A SuperLink that is killed within a run and started again with its database, as systemd does."""

import time
from dataclasses import replace

import psutil
import pytest

from flwr_resam.server.checkpoint import list_checkpoints
from simulations.deployment.__main__ import DEFAULTS
from simulations.deployment.federation import Federation
from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import prepare
from simulations.results import read_evaluations

pytestmark = pytest.mark.slow


class WithDatabase(Federation):
    """As `systemd/flower-superlink.service` starts it."""

    def _superlink_command(self):
        return [*super()._superlink_command(), "--database", str(self._home / "state.db")]

    def restart_superlink(self):
        self.superlink.kill()
        self.superlink.wait()
        time.sleep(5)  # RestartSec of the unit
        self._start_superlink()


def test_nodes_and_keys_outlive_the_superlink_and_the_run_resumes_as_a_new_one(tmp_path):
    first = Experiment.default({
        **DEFAULTS, "num-nodes": 2, "num-malicious-nodes": 0, "num-rounds": 1000,
        "checkpoint-every": 1, "output-dir": str(tmp_path),
    })
    prepare(first)
    with WithDatabase(2, {}, True, tmp_path) as federation:
        run_id = federation.flwr.submit(PROJECT, first.run_config())

        def wait(condition, seconds=200):
            deadline = time.monotonic() + seconds
            while not condition():
                federation.check()
                assert time.monotonic() < deadline
                time.sleep(0.5)

        wait(lambda: federation.instructions(0) >= 2)
        nodes = [federation.node_id(partition) for partition in range(2)]
        ended = federation.superlink.children(recursive=True)
        federation.restart_superlink()

        # The ServerApp does not find its way back, and Flower says so within a minute or two.
        wait(lambda: federation.flwr.status(run_id).startswith("finished"))
        assert federation.flwr.status(run_id) == "finished:failed"
        psutil.wait_procs(ended, timeout=60)
        assert not any(process.is_running() for process in ended)
        # The nodes do, under the ids that they had, and nobody has registered them again.
        assert federation.flwr.nodes() == dict.fromkeys(nodes, "online")
        done = int(list_checkpoints(tmp_path)[0].stem.split("-")[-1])
        second = replace(first, num_rounds=done + 1, resume=True)
        run_id = federation.flwr.submit(PROJECT, second.run_config())
        federation.flwr.follow(run_id, tmp_path, lambda _: None)
        assert [federation.node_id(partition) for partition in range(2)] == nodes
    assert [evaluation.round for evaluation in read_evaluations(tmp_path)] == list(range(done + 2))
