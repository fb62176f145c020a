"""The results of a sweep: one JSON line a run, on disk before the next run is counted."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flwr_resam.errors import requirement
from flwr_resam.json_lines import read_json_lines
from simulations.experiment import defaults
from simulations.results import Evaluation
from simulations.sweep.grid import key_of

RESULTS = "results.jsonl"
PACKED = "results.jsonl.gz"  # the same, in a tenth of the space
_LOCK = "results.lock"


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes
    ----------
    config : dict
        The run-config.
    versions : dict
        Of what computed it.
    evaluations : tuple of Evaluation
        On the test set, from round 0 on; those before the end where it failed or diverged.
    seconds : float
        Wall time.
    diverged : bool
        Whether it ended early, for not even honest nodes had finite vectors any more.
    error : str or None
        Why there is no result.
    model_sha256 : str
        Of the final model, "" where there is none.
    byzantine_weight : float or None
        Of the Byzantine rows in the aggregate, on average over the rounds: see
        `runner.byzantine_weight`.
    """

    config: dict[str, Any]
    versions: dict[str, str]
    evaluations: tuple[Evaluation, ...]
    seconds: float
    diverged: bool = False
    error: str | None = None
    model_sha256: str = ""
    byzantine_weight: float | None = None

    @property
    def key(self) -> str:
        """What tells it from other runs."""
        return key_of(self.config)

    @property
    def accuracy(self) -> float:
        """On the test set at the last evaluation."""
        return self.evaluations[-1].accuracy


class Store:
    """Appends runs to ``results.jsonl`` in a folder; what a run before was killed over is cut off.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Raises
    ------
    ValueError
        If another sweep is writing there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / RESULTS
        self._lock = FileLock(folder / _LOCK, timeout=0)  # gone with the process
        try:
            self._lock.acquire()
        except Timeout:
            raise requirement(
                str(path), "be written by one sweep", "another at work",
                "Wait for it, or give `--output-dir` another folder",
            ) from None
        path.touch()
        self._file = path.open("r+b")
        self._file.truncate(self._file.read().rfind(b"\n") + 1)
        self._file.seek(0, os.SEEK_END)

    def add(self, run: Run) -> None:
        """Write one run, and return when it is on the disk."""
        columns = {
            "round": [e.round for e in run.evaluations],
            "accuracy": [round(e.accuracy, 6) for e in run.evaluations],
            "loss": [float(f"{e.loss:.6g}") for e in run.evaluations],
            "seconds": [round(e.seconds, 2) for e in run.evaluations],
        }
        rates = [e.attack_success for e in run.evaluations if e.attack_success is not None]
        if rates:
            columns["attack_success"] = [round(rate, 6) for rate in rates]
        weight = run.byzantine_weight
        line = {
            **asdict(run), "evaluations": columns, "seconds": round(run.seconds, 2),
            "byzantine_weight": None if weight is None else float(f"{weight:.4g}"),
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, and let another sweep write it."""
        self._file.close()
        self._lock.release()


def read_runs(folder: Path) -> dict[str, Run]:
    """Read the runs of a folder by key; where a run was repeated, its last result.

    What is in ``results.jsonl.gz`` (`gzip results.jsonl` makes it) comes before ``results.jsonl``.
    A run-config key that came to be after a run has the value that it has by default.
    """
    return {
        run.key: run
        for name in (PACKED, RESULTS)
        for run in read_json_lines(
            folder / name, _run, "one run", "Remove that line; the sweep repeats its run"
        )
    }


def _run(found: dict[str, Any]) -> Run:
    found["config"] = {**defaults(), **found["config"]}
    if "model" in found:  # its name before
        found["model_sha256"] = found.pop("model")
    columns = found["evaluations"]
    names = [field.name for field in fields(Evaluation) if field.name in columns]
    rows = zip(*(columns[name] for name in names), strict=True)
    return replace(Run(**found), evaluations=tuple(Evaluation(*row) for row in rows))
