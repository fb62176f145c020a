"""The robustness table: kinds of bad reply against strategies, a fresh process for each cell."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clients.bad_replies import BAD_REPLIES
from simulations import robustness_cell
from simulations.results import versions
from simulations.robustness_cell import FAULTY, HONEST, NODES, ROUNDS, SILENT, STRATEGIES

ENGINES = ("in-process", "ray")
TABLED = [name for name, reply in BAD_REPLIES.items() if reply.tabled]
MEASURED = [name for name, reply in BAD_REPLIES.items() if reply.from_device and reply.content]
"""What can be measured; `TABLED` of it is what the published table has."""
_PATIENCE = 600.0


@dataclass(frozen=True)
class Cell:
    """What one strategy made of one kind of bad reply.

    Attributes
    ----------
    strategy, kind : str
        Which.
    survives : bool
        Whether the run came to its end.
    finite : bool
        Whether the final model is finite.
    distance : float or None
        Euclidean distance of the final model from that of the same strategy in the run in which
        the node stayed silent; None where there is no finite model of either.
    error : str or None
        What ended the run.
    """

    strategy: str
    kind: str
    survives: bool
    finite: bool
    distance: float | None
    error: str | None


def measure(
    strategies: Sequence[str],
    kinds: Sequence[str],
    engine: str,
    folder: Path,
    on_cell: Callable[[Cell], None] = lambda _: None,
    jobs: int = 1,
) -> list[Cell]:
    """Measure the table and write ``robustness.json`` and ``robustness.md``, as it goes.

    What the folder holds of other strategies, measured in the same way, stays.

    Parameters
    ----------
    strategies, kinds : sequence of str
        Names of `STRATEGIES` and `MEASURED`; the kind "honest" comes on its own.
    engine : str
        "in-process", or "ray" for Flower's simulation engine.
    folder : Path
        Where the files go.
    on_cell : callable
        Called for each cell when it is done.
    jobs : int
        How many cells run at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "robustness.log"
    log.unlink(missing_ok=True)
    cells: list[Cell] = []
    others = [cell for cell in _read(engine, folder) if cell.strategy not in strategies]
    with ThreadPoolExecutor(jobs) as pool:
        runs = {
            (strategy, kind): pool.submit(_run, strategy, kind, engine, log)
            for strategy in strategies
            for kind in (SILENT, HONEST, *kinds)
        }
        for (strategy, kind), found in runs.items():
            if kind == SILENT:
                continue
            silent = runs[strategy, SILENT].result().get("model")
            cells.append(_cell(strategy, kind, found.result(), silent))
            on_cell(cells[-1])
            _write([*cells, *others], engine, folder)
    return cells


def _run(strategy: str, kind: str, engine: str, log: Path) -> dict[str, Any]:
    """Run one cell in a process that has run nothing before."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", FLWR_TELEMETRY_ENABLED="0")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([robustness_cell.__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=robustness_cell.outcome, args=(strategy, kind, engine, str(log), sender)
    )
    process.start()
    sender.close()
    found: dict[str, Any] = {"error": f"no end within {_PATIENCE:.0f} s"}
    try:
        if receiver.poll(_PATIENCE):
            found = receiver.recv()
            process.join(60.0)
    except EOFError:
        found = {"error": "the process died"}
    if process.is_alive():
        process.kill()
    process.join()
    return found


def _cell(
    strategy: str, kind: str, found: dict[str, Any], silent: list[float] | None
) -> Cell:
    model = found.get("model")
    if model is None:
        return Cell(strategy, kind, False, False, None, found["error"])
    finite = all(map(math.isfinite, model))
    distance = None
    if finite and silent is not None and len(silent) == len(model):
        distance = float(np.linalg.norm(np.subtract(model, silent)))
    return Cell(strategy, kind, True, finite, distance, None)


def _settings(engine: str) -> dict[str, Any]:
    return {
        "engine": engine, "nodes": NODES, "faulty": 1, "partition": FAULTY, "rounds": ROUNDS
    }


def _read(engine: str, folder: Path) -> list[Cell]:
    """What an earlier measurement with the same settings left; nothing where there is none."""
    path = folder / "robustness.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if content.get("settings") != _settings(engine):
        return []
    return [Cell(**cell) for cell in content["cells"]]


def _write(cells: Sequence[Cell], engine: str, folder: Path) -> None:
    order = {strategy: place for place, strategy in enumerate(STRATEGIES)}
    cells = sorted(cells, key=lambda cell: order[cell.strategy])
    content = {
        "settings": _settings(engine), "versions": versions(),
        "cells": [asdict(cell) for cell in cells],
    }
    (folder / "robustness.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = f"{summary(cells)}\n{markdown(cells)}"
    (folder / "robustness.md").write_text(text, encoding="utf-8")


def summary(cells: Sequence[Cell]) -> str:
    """How many kinds each strategy came through, as a Markdown table.

    Examples
    --------
    >>> cells = [Cell("A", "NaN", True, True, 0.25, None), Cell("A", "text", True, True, 7.0, None)]
    >>> print(summary(cells))
    | of 2 kinds | A |
    |---|---|
    | the run goes on to its end | 2 |
    | with a finite model | 2 |
    | within 1 of the run in which the node is silent | 1 |
    <BLANKLINE>
    """
    cells = [cell for cell in cells if cell.kind != HONEST]
    strategies = list(dict.fromkeys(cell.strategy for cell in cells))
    lines = {
        "the run goes on to its end": [cell.survives for cell in cells],
        "with a finite model": [cell.finite for cell in cells],
        "within 1 of the run in which the node is silent": [
            cell.distance is not None and cell.distance < 1.0 for cell in cells
        ],
    }
    rows = [
        f"| of {len({cell.kind for cell in cells})} kinds | {' | '.join(strategies)} |",
        "|---" * (len(strategies) + 1) + "|",
    ]
    for what, met in lines.items():
        counts = [
            sum(yes for cell, yes in zip(cells, met, strict=True) if cell.strategy == strategy)
            for strategy in strategies
        ]
        rows.append(f"| {what} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows) + "\n"

def markdown(cells: Sequence[Cell]) -> str:
    """The cells as a Markdown table: a row a kind, a column a strategy.

    A number is the distance from the run in which the node is silent.

    Examples
    --------
    >>> cells = [Cell("A", "NaN", True, True, 0.25, None), Cell("B", "NaN", False, False, None, "")]
    >>> print(markdown(cells))
    | one node sends | A | B |
    |---|---|---|
    | NaN | 0.25 | **dies** |
    <BLANKLINE>
    """
    strategies = list(dict.fromkeys(cell.strategy for cell in cells))
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    found = {(cell.kind, cell.strategy): _text(cell) for cell in cells}
    lines = [
        f"| one node sends | {' | '.join(strategies)} |",
        "|---" * (len(strategies) + 1) + "|",
        *(
            f"| {kind} | {' | '.join(found.get((kind, s), '') for s in strategies)} |"
            for kind in kinds
        ),
    ]
    return "\n".join(lines) + "\n"


def _text(cell: Cell) -> str:
    if not cell.survives:
        return "**dies**"
    if not cell.finite:
        return "**not finite**"
    if cell.distance is None:
        return "survives"
    return f"{cell.distance:.2g}" if cell.distance < 1.0 else f"**{cell.distance:.2g}**"


def check_names(strategies: Sequence[str], kinds: Sequence[str], engine: str) -> None:
    """Raise a ValueError for a strategy, kind or engine that there is not."""
    for names, known, what in (
        (strategies, list(STRATEGIES), "strategy"), (kinds, MEASURED, "kind"),
        ([engine], list(ENGINES), "engine"),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"`{name}` is no {what}. Choose among: {', '.join(known)}.")
