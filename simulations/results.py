"""What a run leaves in its folder: its settings, metrics.jsonl, and summary.json at the end."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from logging import ERROR
from pathlib import Path
from typing import Any

from flwr_resam.errors import requirement
from flwr_resam.json_lines import read_json_lines, rewrite_lines
from flwr_resam.server.checkpoint import check_no_checkpoints, list_checkpoints, load_newest
from flwr_resam.server.folders import writing
from flwr_resam.server.ledger import Ledger, appended
from flwr_resam.wire.flower import logger
from simulations.experiment import PLACES, Experiment

METRICS = "metrics.jsonl"
SUMMARY = "summary.json"
SETTINGS = "run-config.json"

# What may differ between the beginning of a run and the process that takes it up again.
_MAY_CHANGE = {
    *PLACES, "num-rounds", "evaluate-every", "connect-timeout", "round-timeout", "device",
    "checkpoint-every", "resume",
}


@dataclass(frozen=True)
class Evaluation:
    """The model after ``round`` rounds on the test set; seconds that the run took until then.

    ``attack_success`` is the attack success rate, where the attack has a goal: the share of test
    examples that are taken for what the attacker wants; of several attacks, of the one that gets
    most.
    """

    round: int
    accuracy: float
    loss: float
    seconds: float
    attack_success: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """What there is, by name."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Recorder:
    """Writes a run's evaluations one JSON line each; nothing where there is no output folder.

    A run that resumes keeps those up to its checkpoint, and must have the settings that it began
    with.

    Raises
    ------
    ValueError
        At construction, where another run is writing to the folder, or this one can't.

    Attributes
    ----------
    done : int
        The round of the checkpoint, or 0.
    evaluations : list of Evaluation
        Those of the whole run.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._folder = Path(experiment.output_dir) if experiment.output_dir else None
        self._metrics: Path | None = None
        self.done = 0
        self.evaluations: list[Evaluation] = []
        if self._folder is not None:
            Ledger(self._folder).close()

    def begin(self) -> None:
        """Make the folder ready, as the function `begin` does, and write the settings there."""
        folder = self._folder
        if folder is None:
            return
        with closing(Ledger(folder)):
            self.done = begin(self._experiment, folder)
            with writing(folder):
                rewrite_lines(folder / SETTINGS, [_indented(self._experiment.run_config())])
        self.evaluations = read_evaluations(folder)
        self._metrics = folder / METRICS

    @property
    def resumes(self) -> bool:
        """Whether the run goes on after a checkpoint."""
        folder = self._folder
        return self._experiment.resume and folder is not None and bool(list_checkpoints(folder))

    @property
    def seconds(self) -> float:
        """What the run took until its last evaluation; 0 before the first."""
        return self.evaluations[-1].seconds if self.evaluations else 0.0

    def add(self, evaluation: Evaluation) -> None:
        """Write one line."""
        self.evaluations.append(evaluation)
        self._metrics = appended(self._metrics, _line(evaluation), METRICS)

    def finish(self, digest: str) -> None:
        """Write the summary: settings, versions, last evaluation, hash of the final model."""
        if self._folder is None:
            return
        summary = {
            "config": self._experiment.run_config(),
            "versions": versions(),
            "final": self.evaluations[-1].as_dict(),
            "model-sha256": digest,
        }
        try:
            rewrite_lines(self._folder / SUMMARY, [_indented(summary)])
        except OSError as error:
            logger.log(ERROR, "The run is done, and %s can't be written: %s", SUMMARY, error)


def begin(experiment: Experiment, folder: Path) -> int:
    """Leave in a run's folder only what the run goes on from, and return the last round of that.

    Whoever calls holds the folder by a `Ledger`: it may be that of a run which is going on.

    Raises
    ------
    ValueError
        If the folder holds checkpoints that are not to be resumed, or those of a run with other
        settings, or of which these can't be read. As with the next one, nothing in the folder is
        changed.
    CheckpointError
        If the newest checkpoint is damaged.
    """
    done = 0
    kept: list[Evaluation] = []
    if experiment.resume:
        _check_settings(experiment, folder / SETTINGS)
        checkpoint = load_newest(folder, {})
        if checkpoint is not None:
            done = checkpoint.round
            kept = [e for e in read_evaluations(folder) if e.round <= done]
    else:
        check_no_checkpoints(folder)
    with writing(folder):
        (folder / SUMMARY).unlink(missing_ok=True)
        rewrite_lines(folder / METRICS, map(_line, kept))
    return done


def _check_settings(experiment: Experiment, path: Path) -> None:
    """Raise a ValueError where the run began with other settings than it is to go on with."""
    if not path.exists():
        return
    before = _read_settings(path)
    for key, value in experiment.run_config().items():
        if key not in _MAY_CHANGE and before.get(key, value) != value:
            raise requirement(
                key, "be as at the beginning of the run that is resumed",
                f"{value!r}, at first {before[key]!r}", "Begin anew in another folder",
            )


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        why = f"a {type(found).__name__}"
    except (OSError, ValueError, RecursionError) as error:
        why = str(error)
    raise requirement(
        SETTINGS, "hold the settings that the run began with", f"`{path}`: {why}",
        "Take it from a backup; or remove it, where the settings are sure to be the same",
    )


def _indented(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _line(evaluation: Evaluation) -> str:
    return json.dumps(evaluation.as_dict()) + "\n"


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read what a run has written so far; a line that is not whole yet is left for later."""
    return read_json_lines(
        folder / METRICS, lambda found: Evaluation(**found), "one evaluation",
        "Remove that line, or begin the run anew",
    )


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the summary of a finished run."""
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def versions() -> dict[str, str]:
    """The versions of what computed the result."""
    found = {}
    for name in ("flwr-resam", "flwr", "numpy", "torch", "ray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
