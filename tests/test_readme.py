"""What the README shows is what commands wrote."""

import json
import re

import pytest

from benchmarks.audit import tables as tables_of_audits
from benchmarks.summary import summary as summary_of_rules
from flwr_resam.resilience import resilience_coefficient
from simulations.experiment import PROJECT
from simulations.robustness import Cell, markdown, summary
from simulations.sweep.store import read_runs
from simulations.sweep.summary import by_setting
from simulations.sweep.table import markdown as markdown_of_sweep

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_robustness_tables_are_those_of_the_committed_figures():
    found = json.loads((PROJECT / "docs" / "robustness" / "robustness.json").read_text())
    assert found["settings"]["engine"] == "ray"
    cells = [Cell(**cell) for cell in found["cells"]]
    assert summary(cells) in README
    assert markdown(cells) in README
    written = (PROJECT / "docs" / "robustness" / "robustness.md").read_text(encoding="utf-8")
    assert written == f"{summary(cells)}\n{markdown(cells)}"


def test_the_table_of_what_rules_cost_is_that_of_the_committed_figures():
    results = PROJECT / "benchmarks" / "results"
    written = (results / "summary.md").read_text(encoding="utf-8")
    assert written in README
    found = json.loads((results / "rules-n25-d1000000-f5.json").read_text(encoding="utf-8"))
    assert written == summary_of_rules(found)


def test_the_tables_of_audits_are_those_of_the_committed_figures():
    results = PROJECT / "benchmarks" / "results"
    found = json.loads((results / "audit.json").read_text(encoding="utf-8"))
    written = (results / "audit.md").read_text(encoding="utf-8")
    assert written == tables_of_audits(found)
    theory = (PROJECT / "docs" / "theory.md").read_text(encoding="utf-8")
    assert all(table.strip() in theory for table in written.split("\n\n"))
    for row in found["structured"]:
        assert row["found"] >= 0.9 * row["structure"]
        proven = resilience_coefficient(row["rule"], row["n"], row["f"], row["d"])
        assert row["found"] <= row["proven"] * (1 + 1e-6) == proven * (1 + 1e-6)
    size = found["size"].values()
    for name, both in found["rules"].items():
        for criterion, figures in both.items():
            proven = resilience_coefficient(name, *size, criterion)
            assert figures["proven"] == proven
            assert proven is None or figures["found"] <= proven * (1 + 1e-6)


EVIDENCE = sorted((PROJECT / "docs" / "evidence").glob("*/results.jsonl"))


@pytest.mark.parametrize("results", EVIDENCE, ids=lambda path: path.parent.name)
def test_the_figures_and_tables_of_the_evidence_are_drawn_from_its_results(results):
    folder = results.parent
    runs = list(read_runs(folder).values())
    assert not [run.config for run in runs if run.error]
    for setting, own in by_setting(runs):
        table = (folder / f"{setting.slug}-table.md").read_text(encoding="utf-8")
        assert table == markdown_of_sweep(setting, own)
        for kind in ("accuracy", "heatmap"):
            assert (folder / f"{setting.slug}-{kind}.png").exists()


def test_every_file_that_the_readme_names_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.replace("\n", " "))
    assert len(links) > 10
    for link in links:
        assert (PROJECT / link.strip()).exists(), link
