"""What starts and ends Flower's processes, and what reads their answers."""

import os
import subprocess
import time

import pytest

from simulations.deployment.run import byzantine_nodes
from simulations.experiment import Experiment
from simulations.flwr_cli import FlwrCli, _cause, _json
from simulations.processes import ProcessGroup, free_ports


def test_a_group_ends_what_its_processes_started_and_nothing_else(tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        with ProcessGroup({}) as group:
            # The grandchild outlives its parent and is in a session of its own.
            group.start(["sh", "-c", "setsid sleep 60 & exit 0"], tmp_path, tmp_path / "log")
            group.start(["sh", "-c", "trap '' TERM; echo deaf; sleep 60"], tmp_path, tmp_path / "b")
            deadline = time.monotonic() + 20
            while len(group.running()) < 3 or not (tmp_path / "b").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert group.running() == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_gets_the_groups_environment_and_its_output_is_kept(tmp_path):
    with ProcessGroup({"COLOUR": "green"}) as group:
        group.start(["sh", "-c", "echo $COLOUR"], tmp_path, tmp_path / "log").wait()
    assert (tmp_path / "log").read_text() == "green\n"
    assert "COLOUR" not in os.environ


def test_free_ports_are_different():
    assert len(set(free_ports(20))) == 20


def test_the_last_partitions_are_the_byzantine_ones():
    experiment = Experiment.default({"num-nodes": 6, "num-malicious-nodes": 2, "attack": "none"})
    assert byzantine_nodes(experiment, "sign-flip") == {4: "sign-flip", 5: "sign-flip"}


@pytest.mark.parametrize(
    ("text", "found"),
    [('Loading...\n{"run-id": 7}\ndone', {"run-id": 7}), ("no answer", {}), ("{broken}", {})],
)
def test_an_answer_is_found_among_other_output(text, found):
    assert _json(text) == found


def test_an_answer_is_read_where_all_that_is_printed_is_to_be_coloured(tmp_path):
    cli = FlwrCli(tmp_path, 1, {**os.environ, "FORCE_COLOR": "1"}, None)
    answer, said = cli.call(["ls", "no-such-connection"])
    assert answer.get("success") is False, said


def test_the_cause_of_a_failed_run_is_the_exception_that_ended_it():
    log = "Traceback (most recent call last):\n  ...\nValueError: `f` must satisfy n > 2f\nbye\n"
    assert _cause(log) == "`f` must satisfy n > 2f"
    assert _cause("all went dark\n") == "all went dark"
