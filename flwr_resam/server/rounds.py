"""What is known of a round when it is over: for trackers, and a line a round on disk."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from logging import ERROR
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from ..errors import real
from ..json_lines import read_json_lines, rewrite_lines
from ..wire.flower import logger
from ..wire.npy import unpack
from .folders import writing
from .gate import printable
from .ledger import ROUNDS, Line, appended, is_count, known

__all__ = ["ROUNDS", "OnRound", "RoundReport", "Rounds", "model_hash", "read_rounds", "told"]


@dataclass(frozen=True)
class RoundReport:
    """One round of a run.

    Attributes
    ----------
    round : int
        Counted from 1.
    train, evaluate, server : dict of str to number or list of numbers
        The metrics of training and of evaluation at the nodes, as `robust_metrics` makes them,
        with Resam's own counts in ``train``; and those of ``evaluate_fn`` at the server.
    nodes : tuple of Line
        What each node did: the round's lines of the ledger.
    seconds : float
        What the round took.
    run : int
        The how-manieth run of its folder.
    model : str
        `model_hash` of the model after the round; "" where no ``output_dir`` keeps it.

    Examples
    --------
    >>> report = RoundReport(1, train={"f-effective": 5, "loss": 0.5}, server={"accuracy": 0.9})
    >>> report.numbers()
    {'train/f-effective': 5, 'train/loss': 0.5, 'server/accuracy': 0.9}
    """

    round: int
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Line, ...] = ()
    seconds: float = 0.0
    run: int = 1
    model: str = ""

    def numbers(self) -> dict[str, int | float]:
        """The finite metrics that are single numbers, under ``train/...`` and so on."""
        groups = {"train": self.train, "evaluate": self.evaluate, "server": self.server}
        return {
            f"{group}/{key}": value
            for group, metrics in groups.items()
            for key, value in metrics.items()
            if type(value) in (int, float) and math.isfinite(real(value))
        }


def model_hash(arrays: ArrayRecord) -> str:
    """SHA-256 of a model: each array's name, dtype, shape and bytes, in the record's order.

    With it, an auditor who has the model before a round and the replies of that round can check
    what the server made of them: see docs/ledger.md.

    Examples
    --------
    >>> from flwr.app import Array
    >>> model_hash(ArrayRecord({"w": Array(np.zeros(2, np.float32))}))[:8]
    '7c5c9b93'
    """
    total = hashlib.sha256()
    for name, array in arrays.items():
        values = np.ascontiguousarray(unpack(array))
        total.update(json.dumps([name, values.dtype.str, list(values.shape)]).encode())
        total.update(values.reshape(-1).view(np.uint8).data if values.size else b"")
    return total.hexdigest()


OnRound = Callable[[RoundReport], object]


class Rounds:
    """``rounds.jsonl``: the metrics of each round of the runs in a folder.

    Parameters
    ----------
    folder : Path
        The ``output_dir``, which `Ledger` holds for this run.
    run : int
        Its number in the folder.
    done : int
        Rounds of this run that are done; what the file has of later ones is dropped.
    """

    def __init__(self, folder: Path, run: int, done: int) -> None:
        self._path: Path | None = folder / ROUNDS
        self.run = run
        kept = [each for each in _read(folder) if each.run < run or each.round <= done]
        with writing(folder):
            rewrite_lines(folder / ROUNDS, map(_json, kept))

    def add(self, report: RoundReport) -> None:
        """Write one round; a disk that is full ends the file and not the run."""
        self._path = appended(self._path, _json(report), ROUNDS)


def read_rounds(folder: Path) -> list[RoundReport]:
    """Read the rounds of the last run, without their nodes; none where there is no file."""
    rounds = _read(folder)
    return [each for each in rounds if each.run == rounds[-1].run]


def told(rounds: Rounds | None, on_round: OnRound | None, report: RoundReport) -> None:
    """Write a round down and call a user's tracker; what that raises must not end the training."""
    if rounds is not None:
        report = replace(report, run=rounds.run)
        rounds.add(report)
    if on_round is None:
        return
    try:
        on_round(report)
    except Exception as error:
        logger.log(
            ERROR, "`on_round` raised %s in round %d: %s. The run goes on",
            type(error).__name__, report.round, printable(str(error)),
        )


def _read(folder: Path) -> list[RoundReport]:
    return read_json_lines(
        folder / ROUNDS, _report, "one round", "Remove that line, or the file: no run needs it",
    )


def _report(found: Mapping[str, Any]) -> RoundReport:
    report = RoundReport(**known(RoundReport, {**found, "nodes": ()}))
    groups = (report.train, report.evaluate, report.server)
    if not (
        is_count(report.round) and is_count(report.run)
        and all(type(group) is dict for group in groups)
        and math.isfinite(real(report.seconds)) and type(report.model) is str
    ):
        raise ValueError(found)
    return report


def _json(report: RoundReport) -> str:
    items = asdict(replace(report, nodes=()))
    del items["nodes"]  # the ledger has them
    return json.dumps({key: _finite(value) for key, value in items.items()}) + "\n"


def _finite(value: Any) -> Any:
    """JSON knows no NaN: text in its place, which no reader takes for a number."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
