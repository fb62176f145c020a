"""The results of a sweep as one pandas frame, for notebooks and for figures of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from simulations.experiment import PLACES, defaults
from simulations.sweep.store import Run, read_runs

_NUMBERS = ["accuracy", "loss", "last-accuracy", "byzantine-weight"]


def frame(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a run: its run-config, and what came of it.

    Columns are the run-config's keys (``model`` is the model's name) and

    * ``accuracy``, ``loss``: at the last evaluation, NaN where the run diverged or failed, so that
      no mean takes such a run for a number;
    * ``last-accuracy``: before it ended, also where it diverged;
    * ``diverged``, ``error``, ``seconds``, ``byzantine-weight``: as `Run` has them;
    * ``model-sha256``: of the final model.

    Examples
    --------
    >>> frame([])[["aggregator", "accuracy"]].shape
    (0, 2)
    """
    rows = []
    for run in runs:
        last = run.evaluations[-1] if run.evaluations else None
        end = None if run.diverged or run.error is not None else last
        rows.append({
            **run.config,
            "accuracy": end and end.accuracy,
            "loss": end and end.loss,
            "last-accuracy": last and last.accuracy,
            "diverged": run.diverged,
            "error": run.error,
            "seconds": run.seconds,
            "byzantine-weight": run.byzantine_weight,
            "model-sha256": run.model_sha256,
        })
    columns = [*defaults(), *_NUMBERS, "diverged", "error", "seconds", "model-sha256"]
    found = pd.DataFrame(rows, columns=columns)
    return found.astype(dict.fromkeys(_NUMBERS, "float64"))


def accuracies(found: pd.DataFrame) -> pd.DataFrame:
    """The accuracy in %, averaged over the seeds: a row a rule and beta, a column an attack.

    Whatever else differs between runs of one rule, beta, attack and seed has a level of its own, so
    that no number is an average of what was set up differently.
    """
    by = ["num-malicious-nodes", "partition", "aggregator", "beta"]
    groups = found.groupby([*by, "attack", "seed"], dropna=False)
    settings = [key for key in defaults() if key not in (*by, *PLACES, "attack", "seed")]
    differing = [key for key in settings if (groups[key].nunique(dropna=False) > 1).any()]
    return 100 * found.pivot_table("accuracy", [*differing, *by], "attack")


def curves(runs: Iterable[Run]) -> pd.DataFrame:
    """One row an evaluation: the run-config, ``round``, and the accuracy and loss there."""
    return pd.DataFrame([
        {**run.config, "round": each.round, "accuracy": each.accuracy, "loss": each.loss}
        for run in runs for each in run.evaluations
    ])


def read_frame(folder: Path) -> pd.DataFrame:
    """`frame` of what a sweep wrote into a folder."""
    return frame(read_runs(folder).values())
