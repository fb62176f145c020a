"""The one command of an example's README, on Flower's Ray engine."""

import re
import time

import pytest

from benchmarks.examples import EXAMPLES, load, run
from simulations.flwr_cli import FlwrCli
from simulations.processes import ProcessGroup, free_ports
from tests.examples.frameworks import require

ROUNDS = 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart-numpy", "quickstart-pytorch"])
def test_flwr_run_trains_as_it_does_in_process(name, tmp_path):
    require(name)
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    (federation,) = re.findall(r'--federation-config "(.+)"', readme)
    (port,) = free_ports(1)
    settings = {
        "FLWR_HOME": str(tmp_path), "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1", "OMP_NUM_THREADS": "1",
    }
    command = [
        "flower-superlink", "--insecure", "--simulation", "--isolation", "subprocess",
        "--host", "127.0.0.1", "--port", str(port),
    ]
    with ProcessGroup(settings) as processes:
        flwr = FlwrCli(tmp_path, port, processes.environment, None)
        flwr.await_superlink(processes.start(command, tmp_path, tmp_path / "log"), tmp_path / "log")
        run_id = flwr.submit(EXAMPLES / name, {"num-server-rounds": ROUNDS}, federation)
        deadline = time.monotonic() + 240
        while not (status := flwr.status(run_id)).startswith("finished"):
            assert time.monotonic() < deadline, flwr.log(run_id)
            time.sleep(2)
        said = flwr.log(run_id)
    assert status == "finished:completed", said
    rows = re.findall(r"'n-valid': (\d+).*?'n-momentum': (\d+)", said)
    assert len(rows) == ROUNDS
    assert all(valid == momentums != "0" for valid, momentums in rows)
    found = [float(n) for n in re.findall(r"Evaluation at the server: \{'accuracy': ([\d.]+)", said)]
    here = [metrics["accuracy"] for metrics in run(load(name), num_server_rounds=ROUNDS)]
    assert len(found) == ROUNDS + 1  # the first is of the initial model
    assert found == pytest.approx(here, abs=0.01)
