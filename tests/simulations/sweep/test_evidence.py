"""What is drawn of a sweep: figures, tables, and the words where there is nothing to draw."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from simulations.__main__ import app
from simulations.experiment import Experiment
from simulations.sweep.evidence import draw
from simulations.sweep.grid import read_grid
from simulations.sweep.runner import run_one
from simulations.sweep.store import RESULTS, Store, read_runs
from tests.simulations.sweep.small import SMALL, fake, grid


def test_figures_show_the_last_evaluation_and_the_spread_of_the_seeds(tmp_path):
    ends = {
        ("none", 0.0): 0.5,
        ("none", 0.9): 0.9,
        ("sign-flip", 0.0): 0.2,
        ("sign-flip", 0.9): 0.8,
    }
    runs = [
        fake(
            e,
            [0.1, 0.95, ends[e.attack, e.beta] + 0.02 * e.seed],
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
        for e in experiments
        if e.seed == 0
        and (e.attack, e.beta) != ("sign-flip", 0.9)
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
            fake(e, [0.1, 0.4], **worse)
            if (e.aggregator, e.attack, e.beta) == ("krum", "none", 0.9)
            else fake(e, [0.1, 0.9])
            for e in both
        ]
        with pytest.raises(ValueError, match=r"learn without one.*`krum` with beta = 0.9") as error:
            draw(runs, tmp_path)
        assert "cwtm" not in str(error.value)
        assert "krum" not in draw(runs, tmp_path, leave_out=["krum"])[2].read_text()


def test_several_f_by_several_partitions_are_one_map_of_the_worst_cases(tmp_path):
    text = SMALL.replace(
        "num-malicious-nodes = 1", 'num-malicious-nodes = [1, 2]\npartition = ["iid", "sorted"]'
    )
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
        replace(
            run, diverged=run.config["attack"] == "none" and run.config["num-malicious-nodes"] == 2
        )
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
            ("mean", "zero"),
            ("mean", "none"),
            ("cwtm", "zero"),
            ("mda", "huge"),
            ("mda", "mimic"),
        ]
    }
    assert weights["mean", "zero"] == pytest.approx(2 / 5)
    assert weights["mean", "none"] is None
    assert weights["cwtm", "zero"] is None  # it weighs coordinates, not rows
    assert weights["mda", "huge"] == 0.0
    assert weights["mda", "mimic"] > 0.5  # two copies of one row lie together


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
        for e in experiments
        if e.beta
        for rule in rules
    ]
    made = draw(runs, tmp_path)
    names = {path.name for path in made if path.suffix == ".md"}
    stem = "digits-f1-partition"
    assert names == {f"{stem}-dirichlet-alpha-0.1-table.md", f"{stem}-sorted-table.md"}
    lines = (tmp_path / f"{stem}-sorted-table.md").read_text().splitlines()[4:]
    assert [line.replace("\\|", "/").split("|")[1].strip() for line in lines] == [
        "mean",
        "mda",
        "nnm / mda",
        "krum*",
        "cc(radius=1.0)",
        "nnm / cc(radius=1.0)",
    ]


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
    assert (
        f"`{tmp_path / 'none' / RESULTS}` must hold a result to draw. Found no run" in done.stderr
    )
    store = Store(tmp_path)
    store.add(fake(Experiment.default(), [], error="no memory"))
    store.close()
    done = CliRunner().invoke(app, ["figures", str(tmp_path)])
    assert done.exit_code == 2
    assert (
        f"`{tmp_path / RESULTS}` must hold a result to draw. Found runs that failed only"
        in done.stderr
    )


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


def test_a_rule_of_a_plugin_is_drawn_behind_the_others(tmp_path):
    experiments = read_grid(grid(tmp_path))
    runs = [fake(e, [0.1, 0.8]) for e in experiments]
    own = [fake(e, [0.1, 0.9]) for e in experiments]
    for run in own:
        run.config["aggregator"] = "winsorized"
    draw(runs + own, tmp_path)
    lines = (tmp_path / "digits-f1-table.md").read_text().split("\n\n")[1].splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["cwtm"] * 2 + ["winsorized"] * 2


def test_what_is_left_out_must_be_there_and_something_left(tmp_path):
    runs = [fake(e, [0.1, 0.8]) for e in read_grid(grid(tmp_path))]
    with pytest.raises(ValueError, match=r"`--leave-out` must be one of the sweep\. Found `ctwm`"):
        draw(runs, tmp_path, leave_out=["ctwm"])
    with pytest.raises(ValueError, match="must leave a rule"):
        draw(runs, tmp_path, leave_out=["cwtm"])


def test_figures_that_cannot_be_written_are_one_sentence(tmp_path):
    store = Store(tmp_path / "out")
    for e in read_grid(grid(tmp_path)):
        store.add(fake(e, [0.1, 0.8]))
    store.close()
    (tmp_path / "file").touch()
    arguments = ["figures", str(tmp_path / "out"), "--output-dir", str(tmp_path / "file")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "file" in done.stderr
