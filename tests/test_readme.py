"""What the README says is what commands wrote."""

import json
import re

import pytest

from benchmarks.summary import summary as summary_of_rules
from simulations.experiment import PROJECT
from simulations.robustness import Cell, markdown, summary
from simulations.sweep.evidence import draw
from simulations.sweep.store import read_runs
from simulations.sweep.tuning import TRIALS, choose, read_choice

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PLAIN = " ".join(README.split())


def test_it_is_read_in_two_minutes():
    assert len(README.split()) <= 900


def robustness():
    found = json.loads((PROJECT / "docs" / "robustness" / "robustness.json").read_text())
    assert found["settings"]["engine"] == "ray"
    return [Cell(**cell) for cell in found["cells"]]


def test_the_robustness_tables_are_those_of_the_committed_figures():
    cells = robustness()
    written = (PROJECT / "docs" / "robustness" / "robustness.md").read_text(encoding="utf-8")
    assert written == f"{summary(cells)}\n{markdown(cells)}"


def test_the_runs_that_outlive_bad_replies_are_counted():
    row = next(line for line in summary(robustness()).splitlines() if "goes on to its end" in line)
    ours, *theirs = (int(cell) for cell in row.strip("|").split("|")[1:])
    kinds = int(re.search(r"of (\d+) kinds", summary(robustness()))[1])
    assert f"Of {kinds} kinds of reply" in PLAIN
    assert ours == kinds
    assert f"{min(theirs)} to {max(theirs)}" in PLAIN


def test_what_rules_cost_is_that_of_the_committed_figures():
    results = PROJECT / "benchmarks" / "results"
    written = (results / "summary.md").read_text(encoding="utf-8")
    assert written == summary_of_rules(json.loads((results / "rules-n25-d1000000-f5.json").read_text()))
    times = [float(line.rstrip(" |").rsplit("|", 1)[1]) for line in written.splitlines()[2:]]
    assert f"they took {min(times):.1f} to {max(times):.0f} times less time" in PLAIN


EVIDENCE = sorted((PROJECT / "docs" / "evidence").glob("*/results.jsonl*"))


@pytest.mark.parametrize("results", EVIDENCE, ids=lambda path: path.parent.name)
def test_the_figures_and_tables_of_the_evidence_are_drawn_from_its_results(results, tmp_path):
    folder = results.parent
    runs = list(read_runs(folder).values())
    assert not [run.config for run in runs if run.error]
    drawn = {path.name: path for path in draw(runs, tmp_path)}
    there = {path.name: path for path in folder.iterdir() if path.suffix in (".md", ".png")}
    assert drawn.keys() == there.keys()
    for name, path in drawn.items():
        if path.suffix == ".md":
            assert path.read_text(encoding="utf-8") == there[name].read_text(encoding="utf-8")
    assert all(path.stat().st_size < 1_000_000 for path in folder.rglob("*"))
    choice = read_choice(folder)
    if choice is not None:
        trials = list(read_runs(folder / TRIALS).values())
        assert choose(trials) == choice
        rates = {(run.config["beta"], run.config["learning-rate"]) for run in runs}
        assert rates <= set(choice.learning_rate.items())


def test_the_geometric_median_is_as_the_table_says():
    table = (PROJECT / "docs/evidence/mnist-mlp/mnist-mlp-f7-table.md").read_text(encoding="utf-8")
    header = next(line for line in table.splitlines() if line.startswith("| rule"))
    column = [cell.strip() for cell in header.split("|")].index("foe(epsilon=1.1)")
    of = {
        cells[2]: float(cells[column].split()[0].strip("*"))
        for line in table.splitlines()
        if (cells := [cell.strip() for cell in line.split("|")])[1:2] == ["gm"]
    }
    assert f"ends at {of['0']:.1g} % without momentum and at {of['0.9']:.0f} % with it" in PLAIN


def test_every_file_that_the_readme_names_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", README.replace("\n", " "))
    assert len(links) > 10
    for link in links:
        assert (PROJECT / link.strip()).exists(), link
