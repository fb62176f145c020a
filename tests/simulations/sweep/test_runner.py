"""The sweep: what it runs, what survives a kill, failures that stop nothing, and where it runs."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import pytest

from simulations.experiment import PROJECT, Experiment
from simulations.processes import ProcessGroup, free_ports
from simulations.sweep import runner
from simulations.sweep.grid import key_of, read_grid
from simulations.sweep.runner import run_one, sweep
from simulations.sweep.store import RESULTS, Store, read_runs
from tests.simulations.sweep.small import SMALL, fake, grid
from tests.support import await_text


def test_a_run_is_what_the_experiment_gives_and_a_failure_is_recorded(tmp_path, monkeypatch):
    experiment = read_grid(grid(tmp_path))[-1]
    run = run_one(experiment)
    assert (run.error, run.diverged, len(run.evaluations), len(run.model_sha256)) == (
        None,
        False,
        3,
        64,
    )
    assert run.evaluations[0].loss > run.evaluations[-1].loss
    monkeypatch.setattr("simulations.in_process.run", lambda *_: 1 / 0)
    assert run_one(experiment).error == "ZeroDivisionError: division by zero"


def test_clients_that_fail_are_no_diverged_run(monkeypatch):
    experiment = Experiment.default({"num-rounds": 2, "evaluate-every": 1, "attack": "none"})
    monkeypatch.setattr("clients.training._train", lambda *_: 1 / 0)
    monkeypatch.setattr("clients.batched_training._train", lambda *_: 1 / 0)
    run = run_one(experiment)
    assert not run.diverged
    assert "QuorumLostError" in run.error
    assert "division by zero" in run.error
    monkeypatch.undo()
    run = run_one(replace(experiment, num_rounds=30, learning_rate=1e30))
    assert (run.diverged, run.error) == (True, None)


def test_nothing_is_started_where_nothing_is_left(tmp_path, monkeypatch):
    experiments = read_grid(grid(tmp_path))[:1]
    store = Store(tmp_path)
    store.add(fake(experiments[0], [0.1, 0.8]))
    store.close()
    monkeypatch.setattr(runner, "_on_ray", lambda *_: pytest.fail("started"))
    sweep(experiments, tmp_path)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_gives_what_single_runs_give(tmp_path):
    path = grid(tmp_path, SMALL.replace("num-rounds = 2", "num-rounds = 8"))
    command = [
        sys.executable,
        "-m",
        "simulations",
        "sweep",
        str(path),
        "--output-dir",
        str(tmp_path),
    ]
    first = subprocess.Popen(
        command, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 180
    while len(read_runs(tmp_path)) < 2:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = dict(read_runs(tmp_path))
    assert (
        subprocess.run(command, cwd=PROJECT, check=False, stdout=subprocess.DEVNULL).returncode == 0
    )
    after = read_runs(tmp_path)
    experiments = read_grid(path)
    assert set(after) == {key_of(e.run_config()) for e in experiments}
    assert {key: after[key] for key in before} == before
    assert len((tmp_path / RESULTS).read_text().splitlines()) == len(experiments)
    alone = run_one(experiments[-1])
    assert after[alone.key].model_sha256 == alone.model_sha256


def test_a_folder_takes_one_sweep_at_a_time(tmp_path):
    first = Store(tmp_path)
    with pytest.raises(ValueError, match="Found another at work"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


@pytest.mark.slow
def test_a_sweep_spreads_over_a_cluster_of_two_nodes(two_ray_nodes, tmp_path):
    experiments = read_grid(grid(tmp_path))[:4]
    broken = replace(experiments[0], dataset="nowhere")
    seen = []
    sweep([broken, *experiments], tmp_path, two_ray_nodes, seen.append)
    runs = read_runs(tmp_path)
    assert len(seen) == len(runs) == 5
    assert "nowhere" in runs[key_of(broken.run_config())].error
    assert all(runs[key_of(e.run_config())].error is None for e in experiments)
    alone = run_one(experiments[-1])
    assert runs[alone.key].model_sha256 == alone.model_sha256


def test_a_sweep_writes_no_checkpoints(tmp_path):
    experiment = replace(
        read_grid(grid(tmp_path))[0], output_dir=str(tmp_path / "out"), checkpoint_every=1
    )
    assert run_one(experiment).error is None
    assert not (tmp_path / "out").exists()


def test_a_sweep_asks_ray_for_gpus_that_are_there(tmp_path):
    experiments = read_grid(grid(tmp_path))[:1]
    with pytest.raises(
        ValueError, match=r"`gpus` must be at most what one machine has\. Found 99, of"
    ):
        sweep(experiments, tmp_path, gpus=99.0)
    assert read_runs(tmp_path) == {}


def test_a_machine_without_a_gpu_or_the_data_hands_runs_to_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("RESAM_DATA", str(tmp_path / "nothing"))
    changes = {"device": "cuda:77", "dataset": "mnist"}
    with pytest.raises(ValueError, match="`dataset` must be there"):
        read_grid(grid(tmp_path), changes)
    experiments = read_grid(grid(tmp_path), changes, here=False)
    assert {e.device for e in experiments} == {"cuda:77"}
    with pytest.raises(ValueError, match=r"`gpus` must be above 0 for runs on cuda on a cluster"):
        sweep(experiments, tmp_path, "127.0.0.1:1")
    with pytest.raises(ValueError, match="`mdda` is no rule"):  # all else is checked here
        read_grid(grid(tmp_path), {"aggregator": "mdda"}, here=False)


@pytest.mark.slow
def test_runs_are_set_apart_on_the_gpus_of_a_cluster(tmp_path):
    """Ray takes our word for a GPU: two runs fit on one of it, on the one core that each asks for."""
    experiments = read_grid(grid(tmp_path))[:2]
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ProcessGroup({}) as group:
        (port,) = free_ports(1)
        log = tmp_path / "head.log"
        group.start(
            [
                "ray",
                "start",
                "--head",
                "--block",
                f"--port={port}",
                f"--temp-dir={folder}",
                "--num-cpus=2",
                "--num-gpus=1",
                "--object-store-memory=100000000",
                "--node-ip-address=127.0.0.1",
                "--include-dashboard=false",
            ],
            tmp_path,
            log,
        )
        await_text(log, "Ray runtime started")
        sweep(experiments, tmp_path, f"127.0.0.1:{port}", gpus=0.5)
    assert [run.error for run in read_runs(tmp_path).values()] == [None, None]
