"""The choice of a rate and of beta: by the worst case, on held-out examples."""

import pytest
from typer.testing import CliRunner

from simulations.__main__ import app
from simulations.sweep.evidence import draw
from simulations.sweep.grid import read_grid, read_tuning
from simulations.sweep.store import Store, read_runs
from simulations.sweep.tuning import choose, read_choice
from tests.simulations.sweep.small import SMALL, fake, grid

TUNE = (
    SMALL
    + """
[tune]
learning-rate = [0.1, 0.5]
validation-share = 0.2
seed = 0
attack = ["none", "sign-flip"]
aggregator = ["cwtm", "mda"]
beta = [0.0, 0.9]
"""
)


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

    rise = {
        e: 0.1 * (e.aggregator == "cwtm" and e.beta == 0.0 and e.learning_rate == 0.5)
        for e in experiments
    }
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
    diverged = choose(
        [fake(e, [0.1, ends(e)], diverged=e.learning_rate == 0.5) for e in experiments]
    )
    assert diverged.others == {0.0: 0.1, 0.9: 0.1}
    assert set(diverged.learning_rate["cwtm"].values()) == {0.1}
    fails = [e for e in experiments if e.attack == "none" and e.learning_rate == 0.5]
    unattacked = choose([fake(e, [0.1, 0.3 if e in fails else ends(e)]) for e in experiments])
    assert unattacked.learning_rate["mda"] == {0.0: 0.1, 0.9: 0.1}  # 0.5 was chosen above
    with pytest.raises(ValueError, match="1 of 16 failed"):
        choose(
            [fake(e, [], error="no memory" if e == experiments[0] else None) for e in experiments]
        )
    (tmp_path / "tuned.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold what `tune` wrote"):
        read_choice(tmp_path)


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


def test_a_rate_that_is_given_stands_and_one_for_another_model_is_refused(tmp_path, monkeypatch):
    asked = []

    def run(experiments, folder, *_):
        store = Store(folder)
        for e in experiments:
            store.add(fake(e, [0.1, e.learning_rate]))
        store.close()
        asked[:] = experiments

    monkeypatch.setattr("simulations.commands.sweeps.run_sweep", run)
    path = grid(tmp_path, TUNE.replace("[[grid]]", "[[grid]]\nlearning-rate = [0.2, 0.3]"))
    folder = str(tmp_path / "out")

    def call(command, *more):
        return CliRunner().invoke(app, [command, str(path), "--output-dir", folder, *more])

    assert call("tune").exit_code == 0
    assert call("sweep").exit_code == 0
    assert len(asked) == 8  # each once, at the chosen rate, however many the grid had
    assert {e.learning_rate for e in asked} == {0.5}
    assert call("sweep", "-c", "learning-rate=0.25").exit_code == 0
    assert {e.learning_rate for e in asked} == {0.25}
    other = call("sweep", "-c", "batch-size=3")
    assert other.exit_code == 2
    assert "`batch-size` must be what" in other.stderr
