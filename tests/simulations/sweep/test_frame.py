"""Results as one frame, and the curves drawn from it."""

from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from simulations.__main__ import app
from simulations.sweep.frame import accuracies, curves, frame, read_frame
from simulations.sweep.grid import read_grid
from simulations.sweep.panels import _styles
from simulations.sweep.store import Store, read_runs
from tests.simulations.sweep.small import fake, grid


def test_results_are_one_frame_in_which_a_diverged_run_has_no_accuracy(tmp_path):
    store = Store(tmp_path)
    for e in read_grid(grid(tmp_path)):
        store.add(
            fake(e, [0.1, 0.8], diverged=e.attack != "none" and e.beta == 0.0, model_sha256="ab")
        )
    store.close()
    found = read_frame(tmp_path)
    assert len(found) == 8
    assert found["accuracy"].isna().sum() == 2 == found["diverged"].sum()
    assert set(found["model"]) == {""}
    assert set(found["model-sha256"]) == {"ab"}
    assert len(curves(read_runs(tmp_path).values())) == 16
    done = CliRunner().invoke(app, ["results", str(tmp_path), "--csv", str(tmp_path / "all.csv")])
    assert done.exit_code == 0, done.output
    assert "8 runs in" in done.output.replace("\n", " ")
    written = pd.read_csv(tmp_path / "all.csv")
    assert written["accuracy"].tolist() == pytest.approx(found["accuracy"].tolist(), nan_ok=True)
    assert CliRunner().invoke(app, ["results", str(tmp_path / "none")]).exit_code == 2


def test_curves_tell_momentum_from_none_and_else_chains_from_their_aggregator(tmp_path):
    experiments = [e for e in read_grid(grid(tmp_path)) if e.aggregator == "cwtm"]
    runs = [fake(e, [0.1, 0.2 + e.beta / 2]) for e in experiments]
    curves, legend = _styles(runs, ["cwtm"])
    assert (curves["cwtm", 0.0].line, curves["cwtm", 0.9].line) == ("--", "-")
    assert list(legend) == ["cwtm", "rule alone (beta = 0)", "RESAM (beta = 0.9)"]
    with_momentum = [run for run in runs if run.config["beta"]]
    curves, legend = _styles(with_momentum, ["mda", "cwtm", "nnm | cwtm"])
    assert [style.line for style in legend.values()] == ["-", "--", "-"]
    assert legend["cwtm"].colour == legend["nnm | cwtm"].colour != legend["mda"].colour
    assert curves["nnm | cwtm", 0.9] == legend["nnm | cwtm"]


def test_no_number_is_an_average_of_other_settings(tmp_path):
    experiments = read_grid(grid(tmp_path))
    runs = [fake(e, [0.1, 0.8]) for e in experiments]
    short = [fake(replace(e, num_rounds=1), [0.1, 0.2]) for e in experiments]
    assert accuracies(frame(runs)).index.names == ["num-malicious-nodes", "partition", "aggregator", "beta"]
    found = accuracies(frame(runs + short))
    assert found.index.names[0] == "num-rounds"
    assert found.xs(2, level="num-rounds").to_numpy() == pytest.approx(80.0)
    assert found.xs(1, level="num-rounds").to_numpy() == pytest.approx(20.0)


def test_a_table_goes_whole_through_a_pipe(tmp_path):
    store = Store(tmp_path / "out")
    for e in read_grid(grid(tmp_path)):
        store.add(fake(e, [0.1, 0.8]))
    store.close()
    done = CliRunner().invoke(app, ["results", str(tmp_path / "out")], env={"COLUMNS": "40"})
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 2 + 2  # a head of two lines, two betas
    store = Store(tmp_path / "none")
    for e in read_grid(grid(tmp_path)):
        store.add(fake(e, [0.1, 0.8], diverged=True))
    store.close()
    done = CliRunner().invoke(app, ["results", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "All 8 runs" in done.stderr
