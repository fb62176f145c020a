"""A grid: the product of its lists, what stands in place of its values, and what is no grid."""

import tomllib
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from clients import data
from simulations.__main__ import app
from simulations.experiment import PROJECT, Experiment
from simulations.sweep.grid import key_of, read_grid
from tests.simulations.sweep.small import SMALL, grid


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
        ("none", 0.5, 1),
        ("sign-flip", 0.5, 1),
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
        ("[base]\nnum-malicious-nodes = 7\naggregator = ['mda', 'bulyan']", 'aggregator="bulyan"'),
        ("beta = 0.9", "one table .base."),
        ("[base]\nseed = [[0, 1]]", r"`seed` must be of type int. Found \[0, 1\]"),
        (
            "[base]\nseed = ['a', 1]",
            "`seed` must be of type int. Found 'a'.*small.toml.*seed=\"a\"",
        ),
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


def test_a_grid_begins_with_its_controls(tmp_path):
    text = SMALL.replace('["none", "sign-flip"]', '["sign-flip", "none"]')
    assert [e.attack for e in read_grid(grid(tmp_path, text))[:4]] == ["none"] * 2 + [
        "sign-flip"
    ] * 2


def test_a_list_on_the_command_line_stands_in_place_of_the_grids(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "simulations.commands.sweeps.run_sweep", lambda experiments, *_: asked.extend(experiments)
    )
    chosen = ["-c", 'aggregator=["mda", "nnm | cwtm"]', "-c", "seed=1 num-rounds=3"]
    done = CliRunner().invoke(
        app, ["sweep", str(grid(tmp_path)), "--output-dir", str(tmp_path / "out"), *chosen]
    )
    assert done.exit_code == 0, done.output
    assert {e.aggregator for e in asked} == {"mda", "nnm | cwtm"}
    assert {(e.seed, e.num_rounds) for e in asked} == {(1, 3)}
    assert len(asked) == 8
