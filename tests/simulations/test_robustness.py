"""The robustness table: its kinds, its cells and its command."""

import json

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from typer.testing import CliRunner

from clients.bad_replies import BAD_REPLIES, Verdict
from flwr_resam.server.metrics import robust_metrics
from simulations.__main__ import app
from simulations.robustness import MEASURED, measure
from simulations.robustness_cell import HONEST, SILENT, STRATEGIES, run_cell
from tests.support import record


@pytest.mark.parametrize(
    "kind", [kind for kind in MEASURED if BAD_REPLIES[kind].verdict is Verdict.ROW]
)
def test_a_reply_that_is_let_through_moves_no_metric(kind):
    honest = RecordDict({
        "arrays": record(w=np.arange(24, dtype=np.float32).reshape(8, 3)),
        "metrics": MetricRecord({"num-examples": 32, "loss": 0.5}),
    })
    reply = BAD_REPLIES[kind].content(honest)
    assert robust_metrics([honest, honest, honest, reply], 1)["loss"] == 0.5


@pytest.fixture(scope="module")
def silent():
    return run_cell("Resam", SILENT, "in-process")


@pytest.mark.parametrize("kind", sorted(MEASURED))
def test_resam_stays_beside_the_run_in_which_the_node_was_silent(kind, silent):
    model = run_cell("Resam", kind, "in-process")
    assert np.linalg.norm(np.subtract(model, silent)) < 0.05


def test_every_strategy_runs_where_all_is_well():
    for strategy in STRATEGIES:
        honest, silent = (run_cell(strategy, kind, "in-process") for kind in (HONEST, SILENT))
        assert np.linalg.norm(np.subtract(honest, silent)) < 0.1


def test_flowers_own_average_is_taken_over_or_ended(tmp_path):
    kinds = ["wrong shape", "1e30", "NaN", "an exception"]
    cells = {cell.kind: cell for cell in measure(["FedAvg"], kinds, "in-process", tmp_path)}
    assert not cells["wrong shape"].survives
    assert cells["1e30"].distance > 1e25
    assert cells["NaN"].survives
    assert not cells["NaN"].finite
    assert cells["an exception"].distance < 1e-5
    content = json.loads((tmp_path / "robustness.json").read_text())
    assert [cell["kind"] for cell in content["cells"]] == ["honest", *kinds]
    assert "| wrong shape | **dies** |" in (tmp_path / "robustness.md").read_text()


def test_the_command_writes_the_table(tmp_path):
    arguments = ["robustness", "--engine", "in-process", "--output-dir", str(tmp_path)]
    done = CliRunner().invoke(app, [*arguments, "--strategy", "Resam", "--kind", "NaN"])
    assert done.exit_code == 0, done.output
    assert "| the run goes on to its end | 1 |" in done.output
    assert (tmp_path / "robustness.md").exists()
    for wrong in (["--kind", "none"], ["--strategy", "FedSum"], ["--engine", "steam"]):
        assert CliRunner().invoke(app, [*arguments, *wrong]).exit_code == 2


@pytest.mark.slow
def test_the_ray_engine_gives_what_the_process_gives(tmp_path):
    _, cell = measure(["Resam"], ["lying header"], "ray", tmp_path)
    assert cell.survives
    np.testing.assert_allclose(
        cell.distance, measure(["Resam"], ["lying header"], "in-process", tmp_path)[1].distance,
        rtol=1e-3,
    )


def test_a_strategy_measured_again_leaves_the_others_as_they_are(tmp_path):
    before = measure(["FedAvg", "Resam"], ["NaN"], "in-process", tmp_path)
    again = measure(["Resam"], ["NaN", "nothing"], "in-process", tmp_path)
    content = json.loads((tmp_path / "robustness.json").read_text())
    held = [(cell["strategy"], cell["kind"]) for cell in content["cells"]]
    assert held == [
        *(("Resam", cell.kind) for cell in again),
        *(("FedAvg", cell.kind) for cell in before if cell.strategy == "FedAvg"),
    ]
