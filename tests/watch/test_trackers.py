"""The recipes of docs/how-to/watch.md run, each where its tracker is installed."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support import content, record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "watch.md"
RECIPES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
NEEDS = {"torch.utils.tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


def needed(recipe):
    return next(package for line, package in NEEDS.items() if re.search(rf"^(?:from|import) {line}", recipe, re.M))


def test_there_is_a_recipe_for_each():
    assert [needed(recipe) for recipe in RECIPES] == list(NEEDS.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the trackers
@pytest.mark.parametrize("recipe", RECIPES, ids=needed)
def test_a_recipe_writes_what_its_tracker_reads(recipe, federation, tmp_path, monkeypatch, caplog):
    pytest.importorskip(needed(recipe))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    generator = np.random.default_rng(0)
    names = {}
    exec(compile(recipe, str(PAGE), "exec"), names)
    grid = federation(lambda message, i: content(
        record(w=generator.normal(size=3).astype(np.float32)), key="momentum"), 5)
    names["strategy"].start(grid, record(w=np.zeros(3, np.float32)), 3)
    assert "`on_round` raised" not in caplog.text
    if needed(recipe) == "mlflow":
        mlflow = importlib.import_module("mlflow")
        run = mlflow.active_run().info.run_id
        mlflow.end_run()
        history = mlflow.MlflowClient().get_metric_history(run, "train.n-valid")
        assert [(metric.step, metric.value) for metric in history] == [(1, 5), (2, 5), (3, 5)]
        return
    if needed(recipe) == "wandb":
        assert names["run"].summary["train/n-valid"] == 5
        names["run"].finish()
    assert sum(path.stat().st_size for path in (tmp_path / "results").rglob("*") if path.is_file()) > 500
