"""Who did what in which round: one JSON line a node and round, for `flwr-resam report`.

A line has ``round`` and ``node``, a ``status``, and what goes with it:

* ``valid``: ``weight``, the node's share of the aggregate (not there for rules that weigh each
  coordinate by itself), and ``distance`` from the aggregate in units of the median distance
  (not there where that is 0); neither is there where the round was skipped;
* ``rejected``: ``reason``;
* ``silent``: asked, and nothing came;
* ``unasked``: ``reason``; a message of this node that answered nothing of this round.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..json_lines import read_json_lines, rewrite_lines
from ..rows.sums import distances
from ..rows.updates import Row
from ..rule import Aggregate
from .intake import Intake

LEDGER = "ledger.jsonl"
_STATUS = ("valid", "rejected", "silent", "unasked")


@dataclass(frozen=True)
class Line:
    """One node in one round."""

    round: int
    node: int
    status: str
    reason: str | None = None
    weight: float | None = None
    distance: float | None = None


class Ledger:
    """The ledger of one run, written as it goes.

    Parameters
    ----------
    folder : Path
        Where ``ledger.jsonl`` is; made where missing.
    after : int
        Rounds up to this one are kept, what else is there is dropped: a run that starts anew
        begins at 0, one that resumes begins after its checkpoint.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LEDGER
        kept = [line for line in read_ledger(folder) if line.round <= after] if after else []
        rewrite_lines(self._path, map(_json, kept))

    def add(self, lines: Sequence[Line]) -> None:
        """Write the lines of one round."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_json, lines)))


def read_ledger(folder: Path) -> list[Line]:
    """Read what a run has written so far; a last line that is not whole is left out.

    Raises
    ------
    ValueError
        For another line that is none of a ledger.
    """
    return read_json_lines(
        folder / LEDGER, _line, "one node in one round",
        "Remove that line, or take the ledger from a backup",
    )


def _line(found: dict[str, Any]) -> Line:
    line = Line(**found)
    if line.round < 1 or line.node < 0 or line.status not in _STATUS:
        raise ValueError(found)
    return line


def round_lines(server_round: int, intake: Intake, done: Aggregate | None) -> list[Line]:
    """The lines of one round; ``done`` has a NumPy vector, and is None for a skipped round."""
    rows, lines = intake.rows, []
    rejected = {rejection.node: rejection.reason for rejection in intake.rejections}
    apart: dict[int, float | None] = {}
    share: dict[int, float] = {}
    if done is not None:
        apart = dict(zip(rows, _apart(list(rows.values()), done.vector), strict=True))
        if done.weights is not None:
            share = dict(zip(rows, np.asarray(done.weights).tolist(), strict=True))
    for node in intake.asked:
        if node in rows:
            line = Line(server_round, node, "valid", None, share.get(node), apart.get(node))
        elif node in rejected:
            line = Line(server_round, node, "rejected", rejected[node])
        else:
            line = Line(server_round, node, "silent")
        lines.append(line)
    return lines + [
        Line(server_round, stray.node, "unasked", stray.reason) for stray in intake.strays
    ]


def _apart(rows: Sequence[Row], vector: NDArray[Any]) -> list[float | None]:
    """``||x_i - R||`` of each row, over their median."""
    lengths = distances(rows, vector)
    median = float(np.median(lengths))
    if median == 0.0:
        return [None] * len(rows)
    with np.errstate(over="ignore"):
        return [float(ratio) for ratio in np.minimum(lengths / median, 1e300)]


def _json(line: Line) -> str:
    items = {key: value for key, value in asdict(line).items() if value is not None}
    return json.dumps(items) + "\n"
