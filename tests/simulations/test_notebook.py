"""The page that reads results runs: its cells, one after the other."""

import json

import matplotlib
import pandas as pd

from simulations.experiment import PROJECT

NOTEBOOK = PROJECT / "docs" / "results.ipynb"


def test_the_notebook_reads_the_results_and_draws_them():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3
    names = {}
    for text in code:
        exec(compile(text, str(NOTEBOOK), "exec"), names)
    assert len(names["runs"]) == names["runs"]["seed"].count() > 0
    assert isinstance(names["worst"], pd.DataFrame)
    assert names["worst"]["least"].le(names["table"].drop(columns="none").mean(axis=1)).all()
    assert len(plt.gca().lines) == 2
    plt.close("all")
