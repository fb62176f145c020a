"""Results on disk: what counts, what is cut off, and what is named."""

import gzip
import json
import subprocess

import pytest
from typer.testing import CliRunner

from simulations.__main__ import app
from simulations.sweep.grid import read_grid
from simulations.sweep.runner import missing
from simulations.sweep.store import RESULTS, Store, read_runs
from tests.simulations.sweep.small import fake, grid


def test_a_line_that_was_being_written_is_cut_off_and_failures_are_tried_again(tmp_path):
    experiments = read_grid(grid(tmp_path))
    store = Store(tmp_path)
    store.add(fake(experiments[0], [0.1, 0.8]))
    store.add(fake(experiments[1], [], error="no memory"))
    store.close()
    with (tmp_path / RESULTS).open("a") as file:
        file.write('{"key": "half')
    assert missing(experiments, tmp_path) == experiments[1:]
    store = Store(tmp_path)
    store.add(fake(experiments[1], [0.1, 0.7]))
    store.close()
    lines = (tmp_path / RESULTS).read_text().splitlines()
    assert [json.loads(line)["error"] for line in lines] == [None, "no memory", None]
    assert [run.accuracy for run in read_runs(tmp_path).values()] == [0.8, 0.7]


def test_packed_results_count_and_a_later_result_wins(tmp_path):
    experiments = read_grid(grid(tmp_path))
    for accuracy in (0.6, 0.7):
        store = Store(tmp_path)
        store.add(fake(experiments[0], [0.1, accuracy]))
        store.add(fake(experiments[1], [0.1, accuracy]))
        store.close()
        if accuracy == 0.6:
            subprocess.run(["gzip", str(tmp_path / RESULTS)], check=True)
            assert missing(experiments, tmp_path) == experiments[2:]
            assert [run.accuracy for run in read_runs(tmp_path).values()] == [0.6, 0.6]
    assert [run.accuracy for run in read_runs(tmp_path).values()] == [0.7, 0.7]


def test_a_result_from_before_a_key_was_there_still_counts(tmp_path):
    experiment = read_grid(grid(tmp_path))[0]
    run = fake(experiment, [0.1, 0.8])
    del run.config["partition"]
    store = Store(tmp_path)
    store.add(run)
    store.close()
    assert missing([experiment], tmp_path) == []


@pytest.mark.parametrize("line", ["{}", "[]", "{", '{"config": 1, "evaluations": {}}'])
def test_a_damaged_result_is_named_with_its_line(tmp_path, line):
    (tmp_path / RESULTS).write_text(f"{line}\n")
    for command in (
        ["figures", str(tmp_path)],
        ["sweep", str(grid(tmp_path)), "--output-dir", str(tmp_path)],
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert f"line 1 of `{tmp_path / RESULTS}`" in done.stderr


@pytest.mark.parametrize("packed", [b"no gzip", gzip.compress(b"{}\n" * 1000)[:20]])
def test_packed_results_that_are_damaged_are_named(tmp_path, packed):
    (tmp_path / "results.jsonl.gz").write_bytes(packed)
    for command in ("figures", "results"):
        done = CliRunner().invoke(app, [command, str(tmp_path)])
        assert done.exit_code == 2
        assert "`results.jsonl.gz` must be whole, and packed by gzip" in done.stderr
