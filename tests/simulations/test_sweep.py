"""The sweep: grids, results that survive a kill, failures that stop nothing, and what is drawn."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from clients import data
from simulations.__main__ import app
from simulations.experiment import PROJECT, Experiment
from simulations.processes import ProcessGroup, free_ports
from simulations.results import Evaluation
from simulations.sweep import runner
from simulations.sweep.evidence import draw
from simulations.sweep.frame import curves, read_frame
from simulations.sweep.grid import key_of, read_grid, read_tuning
from simulations.sweep.panels import _styles
from simulations.sweep.runner import missing, run_one, sweep
from simulations.sweep.store import RESULTS, Run, Store, read_runs
from simulations.sweep.tuning import choose, read_choice
from tests.support import await_text

SMALL = """
[base]
num-nodes = 5
num-malicious-nodes = 1
num-rounds = 2
seed = [0, 1]

[[grid]]
attack = ["none", "sign-flip"]
aggregator = "cwtm"
beta = [0.0, 0.9]
"""


def grid(tmp_path, text=SMALL):
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def fake(experiment, accuracies, **changes):
    evaluations = tuple(Evaluation(10 * i, a, 1.0, float(i)) for i, a in enumerate(accuracies))
    run = Run(experiment.run_config(), {}, evaluations, 1.0)
    return replace(run, **changes)


def test_a_grid_is_the_product_of_its_lists_the_first_seed_first(tmp_path):
    experiments = read_grid(grid(tmp_path))
    assert [e.seed for e in experiments] == [0] * 4 + [1] * 4
    first = {(e.attack, e.beta) for e in experiments[:4]}
    assert first == {("none", 0.0), ("none", 0.9), ("sign-flip", 0.0), ("sign-flip", 0.9)}
    assert {e.num_nodes for e in experiments} == {5}
    assert len({key_of(e.run_config()) for e in experiments}) == 8


def test_a_combination_that_two_tables_name_runs_once(tmp_path):
    again = SMALL + '\n[[grid]]\nattack = "none"\naggregator = "cwtm"\nbeta = 0.9\n'
    assert len(read_grid(grid(tmp_path, again))) == 8


def test_a_setting_stands_in_place_of_a_grids_values(tmp_path):
    experiments = read_grid(grid(tmp_path), {"seed": 1, "beta": 0.5, "num-rounds": 3})
    assert [(e.attack, e.beta, e.seed) for e in experiments] == [
        ("none", 0.5, 1), ("sign-flip", 0.5, 1),
    ]
    assert {e.num_rounds for e in experiments} == {3}
    with pytest.raises(ValueError, match="run-config key"):
        read_grid(grid(tmp_path), {"sede": 1})


def test_help_says_what_each_argument_is():
    runner = CliRunner(env={"COLUMNS": "200"})
    assert "GRID is a TOML file" in runner.invoke(app, ["sweep", "--help"]).stdout
    assert "FOLDER is where a sweep wrote" in runner.invoke(app, ["figures", "--help"]).stdout


def test_the_command_runs_the_part_of_a_grid_that_is_asked_for(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(
        "simulations.commands.sweeps.run_sweep", lambda experiments, *_: ran.extend(experiments)
    )
    command = ["sweep", str(grid(tmp_path)), "--output-dir", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "-c", "seed=0 attack='none'"])
    assert done.exit_code == 0, done.output
    assert "2 runs, 2 to do" in done.output
    assert [(e.attack, e.beta, e.seed) for e in ran] == [("none", 0.0, 0), ("none", 0.9, 0)]
    done = CliRunner().invoke(app, [*command, "-c", "seed"])
    assert done.exit_code == 2
    assert "is no setting" in done.stderr


def test_where_a_run_writes_does_not_make_it_another():
    one = Experiment.default()
    assert key_of(one.run_config()) == key_of(replace(one, output_dir="/elsewhere").run_config())
    assert key_of(one.run_config()) != key_of(replace(one, seed=1).run_config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[base]\nbeta = [0.0, 1.0]", "0 <= beta < 1.*beta=1.0"),
        ("[base]\naggregator = 'cwmt'", "Did you mean `cwtm`"),
        ("[base]\nnum-malicious-nodes = 7\naggregator = ['mda', 'bulyan']", "aggregator=\"bulyan\""),
        ("beta = 0.9", "one table .base."),
        ("[base]\nseed = [[0, 1]]", r"`seed` must be of type int. Found \[0, 1\]"),
        ("[base]\nseed = ['a', 1]", "`seed` must be of type int. Found 'a'.*small.toml.*seed=\"a\""),
        ("[base]\nseed = 2020-01-01", "`seed` must be of type int.*small.toml.*2020-01-01"),
        ("[base]\nseed = []", "`seed` must list at least one value in .*small.toml"),
        ("[[grid]]\nattack = []", "`attack` must list at least one value in .*small.toml"),
        ("grid = [1]", r"`grid` must be tables .*small.toml`. Found \[1\]. Write \[\[grid\]\]"),
        ("grid = []", r"`grid` must be tables .*small.toml`. Found \[\]. Write \[\[grid\]\]"),
        ("[grid]\nseed = 1", r"Found one table \[grid\]. Write \[\[grid\]\]"),
        ("base = 1", r"`base` must be one table in .*small.toml`. Found 1. Write \[base\]"),
        ("[base\n", "no TOML file"),
    ],
)
def test_a_wrong_grid_is_one_sentence_before_anything_runs(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_grid(grid(tmp_path, text))
    done = CliRunner().invoke(app, ["sweep", str(grid(tmp_path, text))])
    assert done.exit_code == 2
    assert not isinstance(done.exception, ValueError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.toml", "`nothing.toml`: No such file"),
        ("[/red].toml", "`[/red].toml`: No such file"),
        ("folder.toml", "`folder.toml`: Is a directory"),
        ("picture.toml", "`picture.toml` is no TOML file"),
        ("keys.toml", "one table [base] and tables [[grid]]"),
    ],
)
def test_a_file_that_is_no_grid_is_named_as_it_is_written(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff")
    (tmp_path / "keys.toml").write_text("beta = 0.9")
    done = CliRunner().invoke(app, ["sweep", name])
    assert done.exit_code == 2
    assert message in done.stderr


GRIDS = sorted((PROJECT / "simulations" / "grids").glob("*.toml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_grid_that_comes_along_can_run(path):
    dataset = tomllib.loads(path.read_text())["base"]["dataset"]
    try:
        data.check(dataset, "")
    except ValueError as error:
        pytest.skip(str(error))
    assert len(read_grid(path)) >= 9


def test_a_run_is_what_the_experiment_gives_and_a_failure_is_recorded(tmp_path, monkeypatch):
    experiment = read_grid(grid(tmp_path))[-1]
    run = run_one(experiment)
    assert (run.error, run.diverged, len(run.evaluations), len(run.model_sha256)) == (None, False, 3, 64)
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


def test_nothing_is_started_where_nothing_is_left(tmp_path, monkeypatch):
    experiments = read_grid(grid(tmp_path))[:1]
    store = Store(tmp_path)
    store.add(fake(experiments[0], [0.1, 0.8]))
    store.close()
    monkeypatch.setattr(runner, "_on_ray", lambda *_: pytest.fail("started"))
    sweep(experiments, tmp_path)


def test_figures_show_the_last_evaluation_and_the_spread_of_the_seeds(tmp_path):
    ends = {("none", 0.0): 0.5, ("none", 0.9): 0.9, ("sign-flip", 0.0): 0.2, ("sign-flip", 0.9): 0.8}
    runs = [
        fake(
            e, [0.1, 0.95, ends[e.attack, e.beta] + 0.02 * e.seed],
            diverged=e.attack == "sign-flip" and not e.beta and not e.seed,
            byzantine_weight=0.25 * e.beta if e.attack != "none" else None,
        )
        for e in read_grid(grid(tmp_path))
    ]
    made = draw([*runs, fake(Experiment.default(), [], error="no")], tmp_path)
    assert [path.name for path in made] == [
        f"digits-f1-{kind}" for kind in ("accuracy.png", "heatmap.png", "table.md")
    ]
    assert all(path.stat().st_size > 10_000 for path in made[:2])
    table = made[2].read_text()
    assert "over 2 seeds" in table
    assert "| rule | beta | rate | none | sign-flip | least under attack |" in table
    assert "| cwtm | 0 | 0.75 | 51.0 ± 1.4 | 22.0 ± 0.0 (1 of 2 diverged) | diverged |" in table
    assert "| cwtm | 0.9 | 0.75 | 91.0 ± 1.4 | 81.0 ± 1.4 | 81.0 |" in table
    assert "weight of the Byzantine rows" in table
    assert table.rstrip().endswith("| cwtm | 0 | 0 |\n| cwtm | 0.9 | 22 |")
    assert "20 what a mean gives them" in table


def test_what_was_not_run_and_what_diverged_is_said_in_words(tmp_path):
    experiments = read_grid(grid(tmp_path, SMALL.replace('"sign-flip"]', '"sign-flip", "mimic"]')))
    kept = [
        fake(e, [0.1, 0.9 if e.attack == "none" else 0.6], diverged=e.attack == "mimic")
        for e in experiments if e.seed == 0 and (e.attack, e.beta) != ("sign-flip", 0.9)
        and (e.attack, e.beta) != ("mimic", 0.0)
    ]
    table = draw(kept, tmp_path)[2].read_text()
    assert "| cwtm | 0 | 0.75 | 90.0 | 60.0 | not run | ≤ 60.0 |" in table
    assert "| cwtm | 0.9 | 0.75 | 90.0 | not run | diverged | diverged |" in table


def test_a_rule_that_fails_without_an_attack_compares_nothing(tmp_path):
    experiments = [e for e in read_grid(grid(tmp_path)) if e.seed == 0]
    both = experiments + [replace(e, aggregator="krum") for e in experiments]
    for worse in ({"diverged": True}, {}):
        runs = [
            fake(e, [0.1, 0.4], **worse) if (e.aggregator, e.attack, e.beta) == ("krum", "none", 0.9)
            else fake(e, [0.1, 0.9])
            for e in both
        ]
        with pytest.raises(ValueError, match=r"learn without one.*`krum` with beta = 0.9") as error:
            draw(runs, tmp_path)
        assert "cwtm" not in str(error.value)
        assert "krum" not in draw(runs, tmp_path, leave_out=["krum"])[2].read_text()


def test_several_f_by_several_partitions_are_one_map_of_the_worst_cases(tmp_path):
    text = SMALL.replace("num-malicious-nodes = 1", 'num-malicious-nodes = [1, 2]\npartition = ["iid", "sorted"]')
    ends = {"none": 0.9, "sign-flip": 0.6}
    runs = [
        fake(e, [0.1, ends[e.attack] + e.beta / 10 - (e.partition == "sorted") * 0.2])
        for e in read_grid(grid(tmp_path, text))
    ]
    picture, table = draw(runs, tmp_path)
    assert picture.stat().st_size > 10_000
    assert "| iid | cwtm | 69.0 | 69.0 |" in table.read_text()
    assert "| sorted | cwtm | 49.0 | 49.0 |" in table.read_text()
    fails = [
        replace(run, diverged=run.config["attack"] == "none" and run.config["num-malicious-nodes"] == 2)
        for run in runs
    ]
    assert "| iid | cwtm | 69.0 | fails alone |" in draw(fails, tmp_path)[1].read_text()


def test_the_weight_of_byzantine_rows_is_what_the_rule_gave_them():
    common = {"num-rounds": 3, "num-nodes": 5, "num-malicious-nodes": 2}
    weights = {
        (rule, attack): run_one(
            Experiment.default({**common, "aggregator": rule, "attack": attack})
        ).byzantine_weight
        for rule, attack in [
            ("mean", "zero"), ("mean", "none"), ("cwtm", "zero"), ("mda", "huge"), ("mda", "mimic"),
        ]
    }
    assert weights["mean", "zero"] == pytest.approx(2 / 5)
    assert weights["mean", "none"] is None
    assert weights["cwtm", "zero"] is None  # it weighs coordinates, not rows
    assert weights["mda", "huge"] == 0.0
    assert weights["mda", "mimic"] > 0.5  # two copies of one row lie together


def test_a_grid_begins_with_its_controls(tmp_path):
    text = SMALL.replace('["none", "sign-flip"]', '["sign-flip", "none"]')
    assert [e.attack for e in read_grid(grid(tmp_path, text))[:4]] == ["none"] * 2 + ["sign-flip"] * 2


TUNE = SMALL + """
[tune]
learning-rate = [0.1, 0.5]
validation-share = 0.2
seed = 0
attack = ["none", "sign-flip"]
aggregator = ["cwtm", "mda"]
beta = [0.0, 0.9]
"""


def test_rate_and_beta_are_chosen_by_the_worst_case_on_held_out_examples(tmp_path):
    experiments = read_tuning(grid(tmp_path, TUNE))
    assert len(experiments) == 16
    assert {e.evaluate_on for e in experiments} == {"validation"}
    assert {e.evaluate_on for e in read_grid(grid(tmp_path, TUNE))} == {"test"}

    def ends(e):  # the higher rate is better unattacked, and under attack only with momentum
        good = {(0.1, 0.0): 0.5, (0.5, 0.0): 0.2, (0.1, 0.9): 0.6, (0.5, 0.9): 0.8}
        if e.attack == "none":
            return 0.9 + e.learning_rate / 10
        return (0.7 if e.aggregator == "mda" else 0.0) + good[e.learning_rate, e.beta] / 10

    rise = {e: 0.1 * (e.aggregator == "cwtm" and e.beta == 0.0 and e.learning_rate == 0.5) for e in experiments}
    choice = choose([fake(e, [0.1, ends(e) + rise[e]]) for e in experiments])
    assert choice.learning_rate == {"cwtm": {0.0: 0.5, 0.9: 0.5}, "mda": {0.0: 0.1, 0.9: 0.5}}
    assert choice.others == {0.0: 0.5, 0.9: 0.5}  # at 0.5 the two gain 0.1 and lose 0.03
    assert choice.beta == {"cwtm": 0.0, "mda": 0.9}
    assert choice.rate("gm", 0.9) == 0.5
    assert choice.rate("gm", 0.99) is None
    assert {each.attack for each in choice.worst} == {"sign-flip"}
    choice.write(tmp_path)
    assert read_choice(tmp_path) == choice
    both = read_grid(grid(tmp_path, TUNE), {"aggregator": ["cwtm", "mda"]})
    applied = choice.applied(both)
    rates = {(e.aggregator, e.beta, e.learning_rate) for e in applied}
    assert rates == {("cwtm", 0.0, 0.5), ("cwtm", 0.9, 0.5), ("mda", 0.0, 0.1), ("mda", 0.9, 0.5)}
    assert len(draw([fake(e, [0.1, 0.8]) for e in applied], tmp_path)) == 3  # one setting
    assert "| mda | 0 | 0.1 | 80.0" in (tmp_path / "digits-f1-table.md").read_text()
    diverged = choose([fake(e, [0.1, ends(e)], diverged=e.learning_rate == 0.5) for e in experiments])
    assert diverged.others == {0.0: 0.1, 0.9: 0.1}
    assert set(diverged.learning_rate["cwtm"].values()) == {0.1}
    fails = [e for e in experiments if e.attack == "none" and e.learning_rate == 0.5]
    unattacked = choose([fake(e, [0.1, 0.3 if e in fails else ends(e)]) for e in experiments])
    assert unattacked.learning_rate["mda"] == {0.0: 0.1, 0.9: 0.1}  # 0.5 was chosen above
    with pytest.raises(ValueError, match="1 of 16 failed"):
        choose([fake(e, [], error="no memory" if e == experiments[0] else None) for e in experiments])
    (tmp_path / "tuned.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold what `tune` wrote"):
        read_choice(tmp_path)


def test_a_list_on_the_command_line_stands_in_place_of_the_grids(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("simulations.commands.sweeps.run_sweep", lambda experiments, *_: asked.extend(experiments))
    chosen = ["-c", 'aggregator=["mda", "nnm | cwtm"]', "-c", "seed=1 num-rounds=3"]
    done = CliRunner().invoke(app, ["sweep", str(grid(tmp_path)), "--output-dir", str(tmp_path / "out"), *chosen])
    assert done.exit_code == 0, done.output
    assert {e.aggregator for e in asked} == {"mda", "nnm | cwtm"}
    assert {(e.seed, e.num_rounds) for e in asked} == {(1, 3)}
    assert len(asked) == 8


def test_the_command_tunes_and_the_sweep_takes_the_rates(tmp_path, monkeypatch):
    def run(experiments, folder, *_):
        store = Store(folder)
        for e in experiments:
            store.add(fake(e, [0.1, e.learning_rate]))
        store.close()

    monkeypatch.setattr("simulations.commands.sweeps.run_sweep", run)
    arguments = [str(grid(tmp_path, TUNE)), "--output-dir", str(tmp_path / "out")]
    for command in ("tune", "sweep"):
        done = CliRunner().invoke(app, [command, *arguments])
        assert done.exit_code == 0, done.output
    assert {r.config["learning-rate"] for r in read_runs(tmp_path / "out").values()} == {0.5}
    done = CliRunner().invoke(app, ["tune", str(grid(tmp_path))])
    assert done.exit_code == 2
    assert "[tune]" in done.stderr


def test_results_are_one_frame_in_which_a_diverged_run_has_no_accuracy(tmp_path):
    store = Store(tmp_path)
    for e in read_grid(grid(tmp_path)):
        store.add(fake(e, [0.1, 0.8], diverged=e.attack != "none" and e.beta == 0.0, model_sha256="ab"))
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


def test_settings_that_differ_are_drawn_apart(tmp_path):
    two = SMALL.replace("num-rounds = 2", "num-rounds = 2\nlearning-rate = [0.1, 0.2]")
    runs = [fake(e, [0.1, 0.2]) for e in read_grid(grid(tmp_path, two))]
    names = {path.name for path in draw(runs, tmp_path) if path.suffix == ".md"}
    assert names == {f"digits-f1-learning-rate-{rate}-table.md" for rate in (0.1, 0.2)}


def test_files_of_a_setting_have_plain_names_and_rules_an_order_of_their_own(tmp_path):
    partitions = 'num-rounds = 2\npartition = ["dirichlet(alpha=0.1)", "sorted"]'
    experiments = read_grid(grid(tmp_path, SMALL.replace("num-rounds = 2", partitions)))
    rules = ["krum*", "nnm | cc(radius=1.0)", "cc(radius=1.0)", "nnm | mda", "mda", "mean"]
    runs = [
        fake(replace(e, aggregator=rule), [0.1, 0.2])
        for e in experiments if e.beta for rule in rules
    ]
    made = draw(runs, tmp_path)
    names = {path.name for path in made if path.suffix == ".md"}
    stem = "digits-f1-partition"
    assert names == {f"{stem}-dirichlet-alpha-0.1-table.md", f"{stem}-sorted-table.md"}
    lines = (tmp_path / f"{stem}-sorted-table.md").read_text().splitlines()[4:]
    assert [line.replace("\\|", "/").split("|")[1].strip() for line in lines] == [
        "mean", "mda", "nnm / mda", "krum*", "cc(radius=1.0)", "nnm / cc(radius=1.0)",
    ]


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


def test_of_no_results_no_file_is_made(tmp_path):
    failed = fake(Experiment.default(), [], error="no memory")
    assert draw([], tmp_path) == draw([failed], tmp_path) == []


def test_figures_of_nothing_or_of_another_rule_are_refused_in_one_sentence(tmp_path):
    runs = [fake(Experiment.default(), [0.1, 0.2])]
    with pytest.raises(ValueError, match=r"Found `gm`. Choose among: mda"):
        draw(runs, tmp_path, ["gm"])


def test_figures_name_the_file_that_holds_no_result(tmp_path):
    done = CliRunner().invoke(app, ["figures", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert f"`{tmp_path / 'none' / RESULTS}` must hold a result to draw. Found no run" in done.stderr
    store = Store(tmp_path)
    store.add(fake(Experiment.default(), [], error="no memory"))
    store.close()
    done = CliRunner().invoke(app, ["figures", str(tmp_path)])
    assert done.exit_code == 2
    assert f"`{tmp_path / RESULTS}` must hold a result to draw. Found runs that failed only" in done.stderr


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_gives_what_single_runs_give(tmp_path):
    path = grid(tmp_path, SMALL.replace("num-rounds = 2", "num-rounds = 8"))
    command = [sys.executable, "-m", "simulations", "sweep", str(path), "--output-dir", str(tmp_path)]
    first = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while len(read_runs(tmp_path)) < 2:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = dict(read_runs(tmp_path))
    assert subprocess.run(command, cwd=PROJECT, check=False, stdout=subprocess.DEVNULL).returncode == 0
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


@pytest.mark.parametrize("line", ["{}", "[]", "{", '{"config": 1, "evaluations": {}}'])
def test_a_damaged_result_is_named_with_its_line(tmp_path, line):
    (tmp_path / RESULTS).write_text(f"{line}\n")
    for command in (["figures", str(tmp_path)], ["sweep", str(grid(tmp_path)), "--output-dir", str(tmp_path)]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert f"line 1 of `{tmp_path / RESULTS}`" in done.stderr


def test_a_sweep_writes_no_checkpoints(tmp_path):
    experiment = replace(
        read_grid(grid(tmp_path))[0], output_dir=str(tmp_path / "out"), checkpoint_every=1
    )
    assert run_one(experiment).error is None
    assert not (tmp_path / "out").exists()


def test_every_rule_that_is_asked_for_is_drawn(tmp_path):
    from matplotlib.figure import Figure

    drawn = []
    rules = [f"cc(radius={radius}.0)" for radius in range(1, 11)]
    store = Store(tmp_path)
    for rule in rules:
        store.add(fake(Experiment.default({"aggregator": rule, "attack": "foe"}), [0.1, 0.8]))
    store.close()
    save = Figure.savefig

    def note(figure, path, **options):
        drawn.append(sum(len(axis.lines) for axis in figure.axes))
        save(figure, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", note)
        draw(list(read_runs(tmp_path).values()), tmp_path, rules)
    assert max(drawn) >= len(rules)


def test_one_seed_has_no_spread(tmp_path):
    run = fake(read_grid(grid(tmp_path))[0], [0.1, 0.8])
    table = draw([run], tmp_path)[2].read_text()
    assert "one seed." in table
    assert "| 80.0 |" in table
    assert "±" not in table


def test_a_sweep_asks_ray_for_gpus_that_are_there(tmp_path):
    experiments = read_grid(grid(tmp_path))[:1]
    with pytest.raises(ValueError, match=r"`gpus` must be at most what one machine has\. Found 99, of"):
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
        group.start([
            "ray", "start", "--head", "--block", f"--port={port}", f"--temp-dir={folder}",
            "--num-cpus=2", "--num-gpus=1", "--object-store-memory=100000000",
            "--node-ip-address=127.0.0.1", "--include-dashboard=false",
        ], tmp_path, log)
        await_text(log, "Ray runtime started")
        sweep(experiments, tmp_path, f"127.0.0.1:{port}", gpus=0.5)
    assert [run.error for run in read_runs(tmp_path).values()] == [None, None]
