"""The experiments: settings, the command line, and one seed giving one model on every engine."""

import json
import os
import subprocess
import sys
import tomllib
from types import ModuleType
from typing import get_type_hints
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from clients.settings import ClientSettings
from flwr_resam import CheckpointError
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.server.checkpoint import list_checkpoints
from simulations import processes
from simulations.__main__ import app
from simulations.deployment.__main__ import app as deployment
from simulations.engine import RunFailed, run_on_flower
from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import LOG, prepare
from simulations.in_process import nodes_of, run_in_process
from simulations.results import METRICS, SETTINGS, SUMMARY, read_evaluations, read_summary
from simulations.training import run

SHORT = {"num-rounds": 4, "num-nodes": 7, "num-malicious-nodes": 2}


def short(**changes):
    return Experiment.default({**SHORT, **{k.replace("_", "-"): v for k, v in changes.items()}})


def test_the_run_config_of_pyproject_is_the_default_experiment():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    written = project["tool"]["flwr"]["app"]["config"]
    assert written == Experiment().run_config()
    own = {key: type(value) for key, value in Experiment().run_config().items()}
    assert {key: type(value) for key, value in written.items()} == own
    hints = get_type_hints(Experiment)
    assert {key: hints[key.replace("-", "_")] for key in own} == own
    assert Experiment.read(written) == Experiment.default() == Experiment()


def test_a_node_reads_its_own_settings_of_those_of_the_experiment():
    config = {**Experiment.default().run_config(), "beta": 0, "seed": 3}
    settings = ClientSettings.read(config)
    assert (settings.beta, type(settings.beta), settings.seed) == (0.0, float, 3)
    assert type(settings) is ClientSettings
    with pytest.raises(ValueError, match=r"`seed` must be of type int\. Found '3'\."):
        ClientSettings.read({**config, "seed": "3"})
    with pytest.raises(ValueError, match=r"`seed` must be of type int\. Found True\."):
        ClientSettings.read({**config, "seed": True})
    light = "import sys, clients.settings; print({'numpy', 'torch', 'flwr'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", light], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "mad"}, "Did you mean `mda`"),
        ({"aggregator": "nnm"}, "ends with a pre-aggregator"),
        ({"num-malicious-nodes": 8}, "n = 15, f = 8. Lower `num-malicious-nodes`"),
        ({"attack": "fo"}, "Did you mean `foe`"),
        ({"attack": "foe(eps=1)"}, "no argument `eps`"),
        ({"attack": "alie", "num-malicious-nodes": 0}, "at least 1 for attack"),
        ({"dataset": "mnst"}, "no data set"),
        ({"beta": 1.0}, "0 <= beta < 1"),
        ({"betta": 0.5}, "Did you mean `beta`"),
        ({"num-rounds": "ten"}, "of type int. Found 'ten'. Write a whole number without quotes"),
        ({"num-rounds": 1.5}, r"of type int. Found 1.5. Write a whole number\.$"),
        ({"beta": "high"}, "of type float. Found 'high'. Write a number without quotes"),
        ({"attack": 3}, "of type str. Found 3. Write it in quotes"),
        ({"num-rounds": 0}, "above 0"),
        ({"l2": -1.0}, r"`l2` must be at least 0\. Found -1\.0\. Use 0\."),
        ({"batch-size": 0}, r"`batch-size` must be above 0\. Found 0\. Use 1 or the default\."),
        ({"round-timeout": 0}, r"`round-timeout` must be above 0\.0\. Found 0\.0\."),
        ({"num-nodes": 0}, r"`num-nodes` must be above 0\. Found 0\."),
        ({"output-dir": "here"}, "absolute path"),
        ({"output-dir": "/a\0b"}, "`output-dir` must be a path. Found .*, with a NUL in it"),
        ({"spill": "here"}, "`spill` must be an absolute path"),
        ({"checkpoint-every": -1}, "at least 0"),
        ({"resume": "yes"}, "of type bool. Found 'yes'. Write true or false without quotes"),
        ({"l2": float("nan")}, "`l2` must be a finite number"),
        ({"learning-rate": float("inf")}, "`learning-rate` must be a finite number"),
        ({"seed": 1 << 63}, r"`seed` must be below 2\*\*63"),
        ({"attack": "foe(epsilon=nan)"}, "`epsilon` must be finite"),
        ({"attack": "alie(z=inf)"}, "`z` must be finite"),
        ({"device": "abacus"}, "device that torch can use"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_2_before_any_training(changes, message, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        Experiment.default(changes)
    if "output-dir" in changes:
        return
    text = " ".join(f"{key}={_toml(value)}" for key, value in changes.items())
    for command in ("run", "compare"):
        done = CliRunner().invoke(
            app, [command, "-c", text, "--output-dir", str(tmp_path / "out")]
        )
        assert done.exit_code == 2
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "foo"], "`foo` in --run-config is no setting"),
        (["-c", "beta=0.5 foo"], "`foo` in --run-config is no setting"),
        (["-c", "aggregator=mda"], "Write strings in quotes"),
        (["-c", "nowhere.toml"], "--run-config nowhere.toml: No such file or directory."),
        (["-c", "output-dir='/elsewhere'"], "write --output-dir FOLDER"),
        (["--output-dir", __file__], "can't be written"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_sentence(arguments, message):
    done = CliRunner().invoke(app, ["run", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def _toml(value):
    return repr(value) if isinstance(value, float) else json.dumps(value)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again = run_in_process(short()), run_in_process(short())
    other = run_in_process(short(seed=1))
    assert first.digest == again.digest != other.digest


def test_a_resumed_experiment_is_the_uninterrupted_one(tmp_path):
    whole = run_in_process(short(num_rounds=7, output_dir=str(tmp_path / "whole")))
    parts = {"output_dir": str(tmp_path / "parts"), "checkpoint_every": 2}
    run_in_process(short(num_rounds=5, **parts))
    resumed = run_in_process(short(num_rounds=7, resume=True, **parts))
    assert resumed.digest == whole.digest
    again = run_in_process(short(num_rounds=7, resume=True, **parts))
    for outcome in (resumed, again):
        seconds = [evaluation.seconds for evaluation in outcome.evaluations]
        assert seconds == sorted(seconds)
        assert [(e.round, e.loss) for e in outcome.evaluations] == [
            (e.round, e.loss) for e in whole.evaluations
        ]
    ledgers = [(tmp_path / run / "ledger.jsonl").read_text() for run in ("whole", "parts")]
    assert ledgers[0] == ledgers[1]


def test_evaluation_can_be_rarer_than_rounds_and_always_sees_the_last():
    outcome = run_in_process(short(evaluate_every=3))
    assert [evaluation.round for evaluation in outcome.evaluations] == [0, 3, 4]


@pytest.mark.parametrize("attack", ["sign-flip", "label-flip", "alie", "none"])
def test_every_attack_trains_and_changes_the_model(attack):
    kept = run_in_process(short(attack=attack))
    foe = run_in_process(short(attack="foe(epsilon=10)", aggregator="mean"))
    assert kept.digest != foe.digest


def test_several_local_steps_go_further_than_one():
    one = run_in_process(short(attack="none", beta=0.0))
    three = run_in_process(short(attack="none", beta=0.0, local_steps=3))
    assert one.digest != three.digest


def test_compare_draws_the_papers_point(tmp_path):
    done = CliRunner().invoke(app, ["compare", "--output-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "compare.png").stat().st_size > 10_000

    def final(role):
        return json.loads((tmp_path / role / "summary.json").read_text())["final"]["accuracy"]

    assert final("reference") > 0.9
    assert final("resam") > final("reference") - 0.05
    assert final("baseline") < 0.3
    assert final("rule") < 0.3


@pytest.mark.slow
def test_flowers_ray_engine_gives_the_same_bits_and_leaves_nothing_behind(tmp_path, monkeypatch):
    mark = uuid4()
    monkeypatch.setattr(processes, "uuid4", lambda: mark)
    group = processes.ProcessGroup({})
    experiment = short(output_dir=str(tmp_path / "out"), aggregator="nnm | cwtm")
    seen = []
    during = []
    run_on_flower(experiment, lambda e: (seen.append(e), during.extend(group.running())))
    assert len(during) >= 2
    assert group.running() == []
    assert [evaluation.round for evaluation in seen] == [0, 1, 2, 3, 4]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    in_process = run_in_process(short(aggregator="nnm | cwtm"))
    assert summary["model-sha256"] == in_process.digest


@pytest.mark.slow
def test_a_run_that_flower_fails_says_why(tmp_path, monkeypatch):
    experiment = short(output_dir=str(tmp_path / "out"))
    monkeypatch.setattr(
        Experiment, "run_config",
        lambda self, original=Experiment.run_config: {**original(self), "aggregator": "mad"},
    )
    with pytest.raises(RunFailed, match="Did you mean `mda`"):
        run_on_flower(experiment, lambda _: None)
    assert os.path.exists(tmp_path / "out" / "flower.log")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("compare", ["-c", "partition='shards(per_worker=1000)'"], "`partition` must cut 1437"),
        ("worst", ["-c", "partition='shards(per_worker=1000)'"], "`partition` must cut 1437"),
        ("worst", ["--attack", "none"], "`--attack` must be an attack"),
        ("worst", ["--rule", "median"], "Did you mean `cwmed`?"),
    ],
)
def test_what_only_shows_when_a_run_begins_is_one_sentence_too(
    command, arguments, message, tmp_path
):
    done = CliRunner().invoke(app, [command, *arguments, "--output-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert message in done.stderr


def test_an_attack_that_is_named_twice_runs_once(tmp_path):
    arguments = ["-c", "num-rounds=2", "--attack", "zero", "--attack", "zero"]
    done = CliRunner().invoke(app, ["worst", *arguments, "--output-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "2 runs" in done.output
    assert "Worst: zero" in done.output


def test_a_finished_comparison_can_be_looked_at_again(tmp_path):
    arguments = ["compare", "--output-dir", str(tmp_path), "-c"]
    settings = "num-rounds=2 checkpoint-every=1"
    first = CliRunner().invoke(app, [*arguments, settings])
    again = CliRunner().invoke(app, [*arguments, f"{settings} resume=true"])
    assert first.exit_code == again.exit_code == 0, again.output
    refused = CliRunner().invoke(app, [*arguments, settings])
    assert refused.exit_code == 2
    assert "hold no checkpoints of an earlier run" in refused.stderr


@pytest.mark.parametrize(
    "change", [{"beta": 0.5}, {"attack": "none"}, {"l2": 0.5}, {"batch_size": 8}]
)
def test_a_run_is_not_taken_up_again_with_other_settings(tmp_path, change):
    parts = {"output_dir": str(tmp_path), "checkpoint_every": 1}
    run_in_process(short(num_rounds=2, **parts))
    (name,) = change
    with pytest.raises(ValueError, match=f"`{name.replace('_', '-')}` must be as at the beginning"):
        run_in_process(short(num_rounds=4, resume=True, **parts, **change))
    again = short(num_rounds=4, resume=True, evaluate_every=2, **parts)
    assert run_in_process(again).evaluations[-1].round == 4


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("change", [{}, {"seed": 1}, {"seed": 1, "resume": True}])
def test_a_refused_run_leaves_the_folder_as_it_was(tmp_path, change):
    parts = {"output_dir": str(tmp_path), "checkpoint_every": 1}
    run_in_process(short(num_rounds=2, **parts))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"hold no checkpoints|be as at the beginning"):
        run_in_process(short(num_rounds=4, **parts, **change))
    assert contents(tmp_path) == before
    text = " ".join(f"{key}={_toml(value)}" for key, value in change.items())
    for program in (app, deployment):
        done = CliRunner().invoke(program, ["run", "--output-dir", str(tmp_path), "-c", text])
        assert done.exit_code == 2
        assert "Error: `" in done.stderr
        assert contents(tmp_path) == before
    resumed = run_in_process(short(num_rounds=4, resume=True, **parts))
    assert resumed.digest == run_in_process(short(num_rounds=4)).digest


def test_a_damaged_checkpoint_leaves_the_folder_as_it_was(tmp_path):
    parts = {"output_dir": str(tmp_path), "checkpoint_every": 1}
    run_in_process(short(num_rounds=2, **parts))
    list_checkpoints(tmp_path)[0].write_bytes(b"")
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=r"round 1\) is good"):
        run_in_process(short(num_rounds=4, resume=True, **parts))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("change", [{"beta": 0.5}, {"resume": True}])
def test_a_run_that_is_refused_takes_nothing_from_the_one_that_is_going_on(tmp_path, every, change):
    (tmp_path / LOG).write_text("of the run that is going on")
    parts = {"output_dir": str(tmp_path), "checkpoint_every": every}
    other = short(num_rounds=9, **parts, **change)

    def meddle(evaluation):
        if evaluation.round != 1:
            return
        before = contents(tmp_path)
        for start in (run_in_process, prepare):
            with pytest.raises(ValueError, match="be the folder of one run at a time"):
                start(other)
            assert contents(tmp_path) == before

    run_in_process(short(**parts), meddle)
    assert [evaluation.round for evaluation in read_evaluations(tmp_path)] == [0, 1, 2, 3, 4]
    assert json.loads((tmp_path / SETTINGS).read_text()) == short(**parts).run_config()


def test_a_disk_that_is_full_ends_the_metrics_and_not_the_run(tmp_path, monkeypatch, caplog):
    tried = []

    def full(self, mode="r", *arguments, **keywords):
        if (self.name == METRICS and mode == "a") or (self.stem == "summary" and mode == "w"):
            tried.append(self)
            raise OSError(28, "No space left on device")
        return whole(self, mode, *arguments, **keywords)

    whole = type(tmp_path).open
    monkeypatch.setattr(type(tmp_path), "open", full)
    done = run_in_process(short(output_dir=str(tmp_path)))
    assert done.digest == run_in_process(short()).digest
    assert [evaluation.round for evaluation in done.evaluations] == [0, 1, 2, 3, 4]
    assert len(tried) == 2  # each was tried once
    errors = [each.message for each in caplog.records if each.levelname == "ERROR"]
    assert [text.split(":")[0] for text in errors] == [
        "metrics.jsonl ends here, and the run goes on",
        "The run is done, and summary.json can't be written",
    ]
    assert not (tmp_path / SUMMARY).exists()


class Missing(GridWrapper):
    """Some of its nodes do not connect."""

    gone = ()

    def get_node_ids(self):
        return [node for node in super().get_node_ids() if node not in self.gone]


def test_an_experiment_is_resumed_without_a_node_that_is_gone(tmp_path, caplog):
    settings = {
        "num_nodes": 4, "num_malicious_nodes": 1, "attack": "none", "connect_timeout": 0.2,
        "output_dir": str(tmp_path), "checkpoint_every": 1,
    }
    grid = Missing(nodes_of(short(**settings), batched=False)[0])
    grid.gone = list(grid.get_node_ids())[-1:]
    with pytest.raises(TimeoutError, match="`num-nodes` is 4, but only 3"):
        run(short(num_rounds=2, resume=True, **settings), grid)  # there is no checkpoint yet
    nodes, grid.gone = list(grid._grid.get_node_ids()), ()
    run(short(num_rounds=2, **settings), grid)
    grid.gone = nodes[3:]
    done = run(short(num_rounds=4, resume=True, **settings), grid)
    assert [evaluation.round for evaluation in done.evaluations] == [0, 1, 2, 3, 4]
    assert "Going on with 3 of 4 nodes" in caplog.text
    grid.gone = nodes[2:]
    with pytest.raises(TimeoutError, match="`num-nodes` is 4, but only 2"):
        run(short(num_rounds=6, resume=True, **settings), grid)


@pytest.mark.parametrize("damaged", ["", "[]", "[1]", '{"beta": 0.9', "\xff"])
def test_settings_that_are_damaged_are_named_and_left_alone(tmp_path, damaged):
    parts = {"output_dir": str(tmp_path), "checkpoint_every": 1}
    run_in_process(short(num_rounds=1, **parts))
    (tmp_path / SETTINGS).write_bytes(damaged.encode("latin-1"))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"`run-config.json` must hold the settings that the run began with"):
        run_in_process(short(num_rounds=2, resume=True, **parts))
    assert contents(tmp_path) == before


def test_a_kill_while_the_settings_are_written_leaves_them_whole(tmp_path, monkeypatch):
    def killed(old, new):
        if new.name == SETTINGS:
            raise KeyboardInterrupt
        return replace(old, new)

    parts = {"output_dir": str(tmp_path), "checkpoint_every": 1}
    run_in_process(short(num_rounds=1, **parts))
    before, replace = (tmp_path / SETTINGS).read_bytes(), os.replace
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run_in_process(short(num_rounds=3, resume=True, **parts))
    assert (tmp_path / SETTINGS).read_bytes() == before


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_told_before_a_node_is_waited_for(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"`output_dir` must be a folder that can be written\. Found `.*file"):
        run(short(output_dir=str(tmp_path / where)), None)


@pytest.mark.parametrize("every", [1, 2])
def test_a_run_resumed_with_no_round_left_ends_with_the_evaluation_of_its_model(tmp_path, every):
    def die(evaluation):
        if evaluation.round == 4:
            raise KeyboardInterrupt

    parts = {"output_dir": str(tmp_path), "checkpoint_every": 3, "evaluate_every": every}
    with pytest.raises(KeyboardInterrupt):
        run_in_process(short(num_rounds=6, **parts), die)
    whole = run_in_process(short(num_rounds=3, evaluate_every=every))
    resumed = run_in_process(short(num_rounds=3, resume=True, **parts))
    rounds = [(e.round, e.loss) for e in whole.evaluations]
    assert resumed.digest == whole.digest
    assert [(e.round, e.loss) for e in resumed.evaluations] == rounds
    assert [(e.round, e.loss) for e in read_evaluations(tmp_path)] == rounds
    final = read_summary(tmp_path)["final"]
    assert (final["round"], final["loss"]) == rounds[-1]


def test_a_tracker_is_named_in_the_run_config(monkeypatch):
    seen, module = [], ModuleType("tracker_of_a_user")
    module.note = seen.append
    monkeypatch.setitem(sys.modules, "tracker_of_a_user", module)
    settings = {"num-rounds": 2, "on-round": "tracker_of_a_user:note"}
    run_in_process(Experiment.default(settings))
    assert [report.round for report in seen] == [1, 2]


@pytest.mark.parametrize("named", ["no_such_module:note", "math:no_such_function", "math:pi"])
def test_a_tracker_that_is_not_there_is_one_sentence(named):
    with pytest.raises(ValueError, match="`on-round` must name a function"):
        run_in_process(Experiment.default({"num-rounds": 1, "on-round": named}))
