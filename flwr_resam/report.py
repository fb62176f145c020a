"""`flwr-resam report FOLDER`: what each node did in a run, as a table and as a picture.

The nodes that a person should look at come first: those whose replies were rejected, that the
rule kept out of the aggregate, that lay far from it, or that were silent often.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .errors import requirement
from .server.ledger import LEDGER, Line, read_ledger

PICTURE = "nodes.png"
_FAR = 2.0  # times the median distance
_SHARE = 0.5  # of the weight that all would have if the rule were the mean
_OFTEN = 0.1  # of the rounds asked
_COLUMNS = 500


@dataclass(frozen=True)
class Conduct:
    """One node over a run.

    Attributes
    ----------
    node, asked, rejected, silent, unasked : int
        The node's id, and how often what happened.
    share : float or None
        Its mean weight in units of an equal share; None for rules without weights.
    distance : float or None
        Its median distance from the aggregate, in units of the median node's.
    reason : str
        The most frequent reason why its messages were not taken.
    twins : int
        In how many rounds another node sent the very same row.
    """

    node: int
    asked: int
    rejected: int
    silent: int
    unasked: int
    share: float | None
    distance: float | None
    reason: str
    twins: int = 0

    @property
    def remarks(self) -> list[str]:
        """Why a person should look at this node; empty where nothing stands out."""
        found = ["replies rejected"] if self.rejected else []
        if self.unasked:
            found.append("sends unasked messages")
        if self.share is not None and self.share < _SHARE:
            found.append("kept out by the rule")
        if self.distance is not None and self.distance > _FAR:
            found.append("far from the others")
        if self.twins > _OFTEN * self.asked:
            found.append("sends the same as another node")
        if self.silent > _OFTEN * self.asked:
            found.append("often silent")
        return found


def conducts(lines: list[Line]) -> list[Conduct]:
    """Sum a ledger up by node; those with most remarks first, then the farthest."""
    valid = Counter(line.round for line in lines if line.status == "valid")
    by_node: dict[int, list[Line]] = {}
    for line in lines:
        by_node.setdefault(line.node, []).append(line)
    found = []
    for node, own in by_node.items():
        status = Counter(line.status for line in own)
        shares = [line.weight * valid[line.round] for line in own if line.weight is not None]
        distances = [line.distance for line in own if line.distance is not None]
        reasons = Counter(line.reason for line in own if line.reason)
        found.append(Conduct(
            node, len(own) - status["unasked"], status["rejected"], status["silent"],
            status["unasked"], fmean(shares) if shares else None,
            median(distances) if distances else None,
            reasons.most_common(1)[0][0] if reasons else "",
            sum(line.twin is not None for line in own),
        ))
    return sorted(found, key=lambda c: (-len(c.remarks), -(c.distance or 0.0), c.node))


def short_names(nodes: list[int]) -> dict[int, str]:
    """The last digits of each id, as many as tell all of them apart, four at least.

    Examples
    --------
    >>> short_names([123456, 923457, 7])
    {123456: '3456', 923457: '3457', 7: '7'}
    """
    length = 4
    while len({str(node)[-length:] for node in nodes}) < len(set(nodes)):
        length += 1
    return {node: str(node)[-length:] for node in nodes}


def report(folder: Path, console: Console | None = None) -> list[Conduct]:
    """Print the table of a run's nodes and draw ``nodes.png`` into its folder.

    The table fits 80 columns. Without matplotlib, or where the folder takes no file, there is no
    picture, and a line that says so.

    Parameters
    ----------
    folder : Path
        The ``output_dir`` of a `Resam`.
    console : Console, optional
        Where to print.

    Returns
    -------
    list of Conduct
        The nodes, those to look at first.

    Raises
    ------
    ValueError
        If the folder holds no ledger.
    """
    lines = _lines(folder)
    console = console or Console()
    table = Table(
        "node", "asked", "reject.", "silent", "weight", "distance", "look at it because",
        caption="weight: 1 is an equal share; distance from the aggregate: 1 is the median node",
    )
    rows = conducts(lines)
    names = short_names([row.node for row in rows])
    table.columns[0].no_wrap = True
    for row in rows:
        remarks = "; ".join(row.remarks) + (f" ({row.reason})" if row.reason else "")
        table.add_row(
            names[row.node], str(row.asked), str(row.rejected or ""), str(row.silent or ""),
            _figure(row.share), _figure(row.distance), Text(remarks),
            style="bold red" if row.remarks else "",
        )
    console.print(table)
    for row in rows:
        if row.remarks and names[row.node] != str(row.node):
            console.print(f"{names[row.node]} is {row.node}", highlight=False)
    try:
        draw(lines, [row.node for row in rows], folder / PICTURE)
        console.print(f"Picture {folder / PICTURE}", markup=False, soft_wrap=True)
    except (ImportError, OSError) as error:  # the folder may be one that its reader can't write to
        console.print(f"No picture: {error}", markup=False, soft_wrap=True)
    return rows


def _lines(folder: Path) -> list[Line]:
    lines = read_ledger(folder)
    if not lines:
        raise no_rounds(folder)
    return lines


def no_rounds(folder: Path) -> Exception:
    """The error for a folder in whose ledger is nothing to report; it names runs inside."""
    inside = ", ".join(f"`{path.parent}`" for path in sorted(folder.glob(f"*/{LEDGER}"))[:3])
    return requirement(
        "folder", f"hold a {LEDGER} with at least one round", f"`{folder}`",
        f"Give the folder of one run, such as {inside}" if inside else
        "Give the `output_dir` of a strategy, as in Resam(output_dir=...)",
    )


def draw(lines: list[Line], order: list[int], path: Path) -> None:
    """Draw node by round: blue is in the aggregate, red malformed, grey silent.

    The blue is the deeper the more the node weighed or, for rules without weights, the nearer it
    lay. Over 500 rounds, a column is several rounds and shows the worst of them.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise requirement(
            "matplotlib", "be installed to draw the picture", "none",
            "pip install matplotlib", error=ImportError,
        ) from error
    place = {node: index for index, node in enumerate(order)}
    last = max(line.round for line in lines)
    step = -(-last // _COLUMNS)
    colours = np.ones((len(order), -(-last // step), 3))
    worst = np.full(colours.shape[:2], -1.0)
    valid = Counter(line.round for line in lines if line.status == "valid")
    for line in lines:
        badness, colour = _cell(line, valid[line.round])
        cell = place[line.node], (line.round - 1) // step
        if badness > worst[cell]:
            worst[cell], colours[cell] = badness, colour
    matplotlib.use("Agg")
    figure = Figure(figsize=(8.0, 1.4 + 0.24 * len(order)), dpi=160, layout="constrained")
    axes: Any = figure.add_subplot()
    axes.imshow(
        colours, aspect="auto", interpolation="nearest",
        extent=(0.5, colours.shape[1] * step + 0.5, len(order) - 0.5, -0.5),
    )
    names = short_names(order)
    axes.set_yticks(range(len(order)), [names[node] for node in order], fontsize=7)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="round", ylabel="node", xlim=(0.5, last + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(
        handles=[
            Patch(color=_BLUE, label="in the aggregate"),
            Patch(color=_PALE, label="kept out, or far"),
            Patch(color=_RED, label="rejected"),
            Patch(color=_GREY, label="silent"),
            Patch(facecolor="white", edgecolor="#bbbbbb", label="not asked"),
        ],
        ncols=5, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, fontsize=7,
        handlelength=1.0, columnspacing=1.2,
    )
    figure.savefig(path)


_BLUE, _PALE, _RED, _GREY = (0.03, 0.32, 0.61), (0.93, 0.80, 0.55), (0.84, 0.15, 0.12), (0.6,) * 3


def _cell(line: Line, valid: int) -> tuple[float, tuple[float, ...]]:
    """How bad a line is, and its colour."""
    if line.status == "rejected":
        return 4.0, _RED
    if line.status == "unasked":
        return 3.0, _RED
    if line.status == "silent":
        return 2.0, _GREY
    inside = trust(line, valid)
    mixed = (inside * blue + (1.0 - inside) * pale for blue, pale in zip(_BLUE, _PALE, strict=True))
    return 1.0 - inside, tuple(mixed)


def trust(line: Line, valid: int) -> float:
    """How far a valid row is in the aggregate, from 0 to 1: by its weight, or by how near it lies.

    Parameters
    ----------
    line : Line
        Of a round with ``valid`` valid rows.
    """
    if line.weight is not None:
        return min(1.0, max(0.0, line.weight * valid))
    if line.distance is not None:
        return min(1.0, max(0.0, (3.0 - line.distance) / 2.0))
    return 1.0


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 1e4 else f"{value:.0e}"
