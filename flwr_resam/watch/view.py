"""What there is to see of a run: its ledger and its metrics, as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..report import conducts, short_names, trust
from ..server.ledger import Line, read_ledger
from ..server.rounds import read_rounds

REJECTED, SILENT = -2.0, -1.0


@dataclass(frozen=True)
class View:
    """A run at one moment.

    Attributes
    ----------
    folder : str
        Its name.
    rounds : list of int
        The rounds that are over, as far as the files have them.
    series : dict of str to list
        Single numbers by round, None where a round has none: ``server/accuracy``,
        ``train/f-effective`` and so on.
    nodes : list of dict
        Each node, those to look at first: ``node`` (its id as text), ``name`` (a short one),
        ``asked``, ``rejected``, ``silent``, ``unasked``, ``share``, ``distance``, ``reason``,
        ``twins`` and ``remarks``, as `Conduct` has them.
    cells : list of list
        Node by round: 0 to 1 how far the node is in the aggregate, -1 silent, -2 rejected, None
        not asked.
    """

    folder: str
    rounds: list[int]
    series: dict[str, list[float | None]]
    nodes: list[dict[str, Any]]
    cells: list[list[float | None]]

    @property
    def suspects(self) -> list[dict[str, Any]]:
        """The nodes that a person should look at."""
        return [node for node in self.nodes if node["remarks"]]


def view(folder: Path) -> View:
    """Read what a run has written so far.

    Raises
    ------
    ValueError
        For a line that can't be read.
    """
    lines, reports = read_ledger(folder), read_rounds(folder)
    # In the first round of a new run one file may still end with the run before.
    run = max([line.run for line in lines] + [report.run for report in reports], default=1)
    lines = [line for line in lines if line.run == run]
    reports = [report for report in reports if report.run == run]
    rounds = sorted({line.round for line in lines} | {report.round for report in reports})
    column = {number: index for index, number in enumerate(rounds)}
    series: dict[str, list[float | None]] = {}
    for report in reports:
        for key, value in report.numbers().items():
            series.setdefault(key, [None] * len(rounds))[column[report.round]] = value
    found = conducts(lines)
    names = short_names([each.node for each in found])
    nodes = [
        asdict(each) | {
            "node": str(each.node), "name": names[each.node], "remarks": each.remarks,
        }
        for each in found
    ]
    return View(
        folder.resolve().name, rounds, series, nodes,
        _cells(lines, [each.node for each in found], column),
    )


def _cells(
    lines: list[Line], order: list[int], columns: dict[int, int]
) -> list[list[float | None]]:
    place = {node: index for index, node in enumerate(order)}
    valid = Counter(line.round for line in lines if line.status == "valid")
    cells: list[list[float | None]] = [[None] * len(columns) for _ in order]
    for line in lines:
        row, column = cells[place[line.node]], columns[line.round]
        if line.status in ("rejected", "unasked"):
            row[column] = REJECTED
        elif line.status == "silent":
            row[column] = SILENT
        elif row[column] is None:
            row[column] = round(trust(line, valid[line.round]), 2)
    return cells
