"""The worst-case search and its command."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from clients.byzantine import ALL_ATTACKS
from simulations.__main__ import app
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.worst import Trial, candidates, read_trials, search

SHORT = "num-rounds=3 num-nodes=5 num-malicious-nodes=1"


def short(**changes):
    settings = {"num-rounds": 3, "num-nodes": 5, "num-malicious-nodes": 1}
    return Experiment.default({**settings, **{k.replace("_", "-"): v for k, v in changes.items()}})


def test_every_attack_is_tried_unless_the_experiment_cannot_have_it():
    names = candidates(short())
    assert names[0] == "none"
    beside = {
        "none", "foe(epsilon=4.4)", "alie(z=1.5)", "agr(perturbation=sign)", "sign-flip(factor=10)",
        *(f"{attack}(direction={way})" for attack in ("min-max", "min-sum") for way in ("sign", "unit")),
        "label-flip(source=1, target=0)", "backdoor(boost=5)", "backdoor when(start=4)",
    }
    assert set(ALL_ATTACKS) - {"alie"} | beside == set(names)  # the published z is 0 here
    assert "alie" in candidates(short(num_nodes=15, num_malicious_nodes=5))
    pair = short(num_nodes=2, aggregator="mean")
    assert set(names) - set(candidates(pair)) >= {"alie(z=1.5)", "alie-opt", "mimic", "min-max"}
    assert "sign-flip" in candidates(pair)
    with pytest.raises(ValueError, match="at least 1 for `worst`"):
        candidates(short(num_malicious_nodes=0, attack="none"))


def test_the_worst_comes_first_and_each_figure_is_that_of_its_own_run(tmp_path):
    experiment = short(aggregator="mean", output_dir=str(tmp_path), num_rounds=12)
    seen = []
    attacks = ["none", "huge(value=-1e+38)", "2 zero + foe"]
    experiment = replace(experiment, num_malicious_nodes=3)
    trials = search(experiment, attacks, lambda index, e: seen.append((index, e.round)))
    assert [place for place in seen if place[1] == 12] == [(0, 12), (2, 12)]
    assert [trial.accuracy for trial in trials] == sorted(trial.accuracy for trial in trials)
    by_name = {trial.attack: trial for trial in trials}
    assert by_name["huge(value=-1e+38)"].diverged
    alone = run_in_process(replace(experiment, attack="2 zero + foe", output_dir=""))
    assert by_name["2 zero + foe"] == Trial(
        "2 zero + foe", "alone, omniscient", alone.evaluations[-1].accuracy, False
    )
    assert read_trials(tmp_path) == trials
    assert (tmp_path / "2 zero + foe" / "summary.json").exists()


def test_the_command_prints_the_table_of_the_file(tmp_path):
    done = CliRunner().invoke(
        app, ["worst", "--rule", "nnm | cwtm", "-c", SHORT, "--output-dir", str(tmp_path),
              "--attack", "foe(epsilon=3)", "--attack", "sign-flip when(start=2)"],
    )
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "worst.json").read_text())
    assert {row["attack"] for row in rows} == {"none", "foe(epsilon=3)", "sign-flip when(start=2)"}
    attacked = next(row for row in rows if row["attack"] != "none")
    assert f"Worst: {attacked['attack']}, {attacked['accuracy']:.1%}" in done.output
    summary = json.loads((tmp_path / "none" / "summary.json").read_text())
    assert summary["config"]["aggregator"] == "nnm | cwtm"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "cwtn"], "Did you mean `cwtm`"),
        (["--attack", "fo"], "Did you mean `foe`"),
        (["-c", "num-malicious-nodes=0 attack='none'"], "at least 1 for `worst`"),
        (["-c", "num-malicious-nodes=0"], "Found 0. Set num-malicious-nodes=1 or more."),
        (["-c", "num-malicious-nodes=9"], "n = 15, f = 9"),
    ],
)
def test_what_is_wrong_is_said_before_any_run(options, message, tmp_path):
    done = CliRunner().invoke(app, ["worst", "--output-dir", str(tmp_path / "out"), *options])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert list(tmp_path.rglob("*.json*")) == []


def test_a_search_that_is_done_can_be_resumed(tmp_path):
    experiment = short(aggregator="mean", output_dir=str(tmp_path), checkpoint_every=3)
    first = search(experiment, ["none", "foe"])
    assert search(replace(experiment, resume=True), ["none", "foe"]) == first
