"""Who did what in which round: one JSON line a node and round, for `flwr-resam report`.

A line has ``round`` and ``node`` (as text, since its 64 bits are more than JSON's numbers hold in
most languages), a ``status``, and what goes with it:

* ``valid``: ``weight``, the node's share of the aggregate (not there for rules that weigh each
  coordinate by itself), and ``distance`` from the aggregate in units of the median distance
  (not there where that is 0), and ``twin``, another node that sent the very same row, where one
  did; none of these is there where the round was skipped;
* ``rejected``: ``reason``;
* ``silent``: asked, and nothing came;
* ``unasked``: ``reason``; a message of this node that answered nothing of this round.

A run that begins anew in the same folder writes behind the earlier ones, with its number in
``run``; what the first run writes has none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from logging import ERROR, WARNING
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..errors import LARGEST, real, requirement
from ..json_lines import read_json_lines, rewrite_lines
from ..rows.duplicates import duplicates
from ..rows.sums import distances
from ..rule import Aggregate
from ..wire.flower import logger
from .folders import writing
from .intake import Intake

LEDGER = "ledger.jsonl"
ROUNDS = "rounds.jsonl"
_LOCK = ".lock"
_STATUS = ("valid", "rejected", "silent", "unasked")
_FARTHEST = 1e300  # distances are cut off there


@dataclass(frozen=True)
class Line:
    """One node in one round of one run; the runs of a folder are counted from 1."""

    round: int
    node: int
    status: str
    reason: str | None = None
    weight: float | None = None
    distance: float | None = None
    run: int = 1
    twin: int | None = None


class Ledger:
    """The ledger of one run, written as it goes, and the run's claim on its folder.

    While it is open no other run can write to the folder, in this process or another. A disk that
    is full ends the ledger and not the run.

    Parameters
    ----------
    folder : Path
        Where ``ledger.jsonl`` is; made where missing.

    Raises
    ------
    ValueError
        If another run is writing to the folder, or this one can't.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.run = folder, 1
        self._path: Path | None = folder / LEDGER
        self._lock = FileLock(folder / _LOCK, timeout=0)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except Timeout:
                raise requirement(
                    "output_dir", "be the folder of one run at a time",
                    f"`{folder}`, to which another run is writing", "Name another folder",
                ) from None

    def begin(self, done: int, *, resume: bool) -> None:
        """Begin another run behind those that the file holds, or go on with the last of them.

        A run that resumes where there is no checkpoint is another one.

        Where a resumed run does some rounds again, what the file held of them is kept aside.
        """
        path = self._folder / LEDGER
        lines = _read(self._folder)
        last = max([line.run for line in lines] + _runs_of_rounds(self._folder), default=0)
        self.run = last if resume and done and last else last + 1
        kept = [line for line in lines if line.run < self.run or line.round <= done]
        places = (path.with_name(f"ledger-{number}.jsonl") for number in count(1))
        aside = next(place for place in places if not place.exists())
        with writing(self._folder):
            try:
                if len(kept) < len(lines):
                    shutil.copyfile(path, aside)
                rewrite_lines(path, map(_json, kept))
            except OSError:
                with suppress(OSError):
                    aside.unlink()  # else each try would leave one
                raise
        if len(kept) < len(lines):
            logger.log(
                WARNING, "The ledger goes on after round %d; what it held before is in %s",
                done, aside,
            )

    def add(self, lines: Sequence[Line]) -> None:
        """Write the lines of one round."""
        own = lines if self.run == 1 else [replace(line, run=self.run) for line in lines]
        text = "".join(map(_json, own))
        self._path = appended(self._path, text, "The ledger")

    def close(self) -> None:
        """Let another run have the folder."""
        self._lock.release()


def appended(path: Path | None, text: str, what: str) -> Path | None:
    """Append to a file of a run; None, for the rest of the run, where the disk does not take it."""
    if path is None:
        return None
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        logger.log(ERROR, "%s ends here, and the run goes on: %s", what, error)
        return None
    return path


def read_ledger(folder: Path) -> list[Line]:
    """Read what the last run has written so far; a last line that is not whole is left out.

    Raises
    ------
    ValueError
        For another line that is none of a ledger.
    """
    lines = _read(folder)
    return [line for line in lines if line.run == lines[-1].run]


def _read(folder: Path) -> list[Line]:
    return read_json_lines(
        folder / LEDGER, _line, "one node in one round",
        "Remove that line, or take the ledger from a backup",
    )


def is_count(value: object) -> bool:
    """Whether a value of a file counts something from 1, as far as JSON's numbers are exact."""
    return type(value) is int and 1 <= value <= 2**53


def known(kind: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataclass takes of a file's line; a newer version may have written more."""
    names = kind.__dataclass_fields__
    return {name: value for name, value in found.items() if name in names}


def _runs_of_rounds(folder: Path) -> list[int]:
    """The runs that the other file names: where the ledger was removed, they were there, too."""
    return read_json_lines(
        folder / ROUNDS, lambda found: int(dict(found).get("run", 1)), "one round",
        "Remove that line, or the file: no run needs it",
    )


def _line(found: dict[str, Any]) -> Line:
    nodes = {key: _node(found[key]) for key in ("node", "twin") if key in found}
    line = Line(**known(Line, found | nodes))
    if not (
        is_count(line.round) and is_count(line.run) and line.status in _STATUS
        and (line.reason is None or type(line.reason) is str)
        and (line.weight is None or abs(real(line.weight)) <= LARGEST)
        and (line.distance is None or abs(real(line.distance)) <= _FARTHEST)
    ):
        raise ValueError(found)
    return line


def _node(value: object) -> int:
    """A node's id, which this program writes as text."""
    node = int(value) if type(value) is str else value
    if type(node) is not int or node < 0:
        raise ValueError(value)
    return node


def round_lines(server_round: int, intake: Intake, done: Aggregate | None) -> list[Line]:
    """The lines of one round; ``done`` has a NumPy vector, and is None for a skipped round."""
    rows, lines = intake.rows, []
    rejected = {rejection.node: rejection.reason for rejection in intake.rejections}
    apart: dict[int, float | None] = {}
    share: dict[int, float] = {}
    twins: dict[int, int] = {}
    if done is not None:
        nodes, sent = list(rows), list(rows.values())
        lengths = distances(sent, done.vector)
        apart = dict(zip(nodes, _over_median(lengths), strict=True))
        if np.median(lengths) > 0.0:  # else most rows are one, and there is nothing to tell
            same = duplicates(sent, lengths.tolist())
            twins = {
                node: nodes[other] for node, other in zip(nodes, same, strict=True)
                if other is not None
            }
        if done.weights is not None:
            weights = np.asarray(done.weights, np.float64)
            readable = np.abs(weights) <= LARGEST  # of a rule's own making, it may be NaN
            share = {
                node: weight
                for node, weight, good in zip(rows, weights.tolist(), readable, strict=True) if good
            }
    for node in intake.asked:
        if node in rows:
            line = Line(
                server_round, node, "valid", None, share.get(node), apart.get(node),
                twin=twins.get(node),
            )
        elif node in rejected:
            line = Line(server_round, node, "rejected", rejected[node])
        else:
            line = Line(server_round, node, "silent")
        lines.append(line)
    return lines + [
        Line(server_round, stray.node, "unasked", stray.reason) for stray in intake.strays
    ]


def _over_median(lengths: NDArray[np.float64]) -> list[float | None]:
    """``||x_i - R||`` of each row, over their median."""
    median = float(np.median(lengths))
    if median == 0.0:
        return [None] * len(lengths)
    with np.errstate(over="ignore"):
        return [float(ratio) for ratio in np.minimum(lengths / median, _FARTHEST)]


def _json(line: Line) -> str:
    items = {key: value for key, value in vars(line).items() if value is not None}
    items.update({key: str(items[key]) for key in ("node", "twin") if key in items})
    if line.run == 1:
        del items["run"]
    return json.dumps(items) + "\n"
