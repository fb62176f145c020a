"""When a run writes checkpoints, and what of one it takes up again."""

from __future__ import annotations

from logging import INFO, WARNING
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from ..errors import requirement
from ..flower import logger
from ..grids.adversarial import AdversarialGrid
from ..grids.in_process import InProcessGrid
from ..grids.wrapper import GridWrapper
from .checkpoint import Checkpoint, check_no_checkpoints, load_newest, save
from .layout import Layout


class Saver:
    """Writes a run's checkpoints, and restores one.

    A checkpoint holds the model, the round, the rule's state and the number of skipped rounds;
    what the attacks of an `AdversarialGrid` remember; and, on an `InProcessGrid`, the
    ``Context.state`` of every node, so that a resumed run ends in the same model, bit for bit, as
    one that was never interrupted.

    On Flower's engines the nodes' states are theirs. A resumed run is a new run there, in which
    no node has a momentum yet: `WorkerMomentum` rescales the first ones to the size that all
    would have by then, and the weight of what was lost falls by a factor beta a round: after
    about 3 / (1 - beta) rounds less than 5 % of it would have been left.

    Parameters
    ----------
    folder : Path or None
        Where the checkpoints are.
    every : int
        Rounds between checkpoints; 0 writes none.
    settings : dict of str to str
        What the run depends on.
    grid : Grid
        The nodes.
    """

    def __init__(
        self, folder: Path | None, every: int, settings: dict[str, str], grid: Grid
    ) -> None:
        self._folder = folder
        self._every = every
        self._settings = settings
        self._adversaries: list[AdversarialGrid] = []
        while isinstance(grid, GridWrapper):
            if isinstance(grid, AdversarialGrid):
                self._adversaries.append(grid)
            grid = grid.inner
        self._nodes = grid.contexts if isinstance(grid, InProcessGrid) else None

    def begin(self, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from, with the nodes' states restored; None to begin anew."""
        folder = self._folder
        if folder is None:
            if resume:
                raise requirement(
                    "output_dir", "be given to resume", "none",
                    "Name the folder with the checkpoints",
                )
            return None
        if not resume:
            check_no_checkpoints(folder)
            return None
        checkpoint = load_newest(folder, self._settings)
        if checkpoint is None:
            logger.log(WARNING, "No checkpoint in %s: the run begins with round 1", folder)
            return None
        logger.log(INFO, "Resuming after round %d from %s", checkpoint.round, folder)
        self._restore(checkpoint)
        return checkpoint

    def after_round(self, number: int, arrays: ArrayRecord, rule_state: Any, skipped: int) -> None:
        """Write a checkpoint if it is time for one."""
        if self._folder is None or not self._every or number % self._every:
            return
        workers = None
        if self._nodes is not None:
            workers = {node: context.state for node, context in self._nodes.items()}
        save(
            self._folder,
            Checkpoint(
                number, arrays, rule_state, skipped, self._settings, workers,
                [adversary.memory for adversary in self._adversaries],
            ),
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        for adversary, memory in zip(self._adversaries, checkpoint.adversaries, strict=False):
            adversary.recall(memory)
        if self._nodes is None or checkpoint.workers is None:
            logger.log(WARNING, "The nodes' momentums are not in the checkpoint: they begin anew")
            return
        if set(checkpoint.workers) != set(self._nodes):
            raise requirement(
                "grid", "have the nodes of the checkpoint",
                f"{len(self._nodes)} nodes, {len(checkpoint.workers)} in the checkpoint",
                "Resume with the `num_nodes` that the run began with",
            )
        for node, state in checkpoint.workers.items():
            self._nodes[node].state = state


def settings_of(strategy: object, layout: Layout) -> dict[str, str]:
    """What a run must share with a checkpoint to go on from it."""
    found = {"model": layout.fingerprint}
    for name in ("aggregator", "num_malicious_nodes", "learning_rate", "weight_decay", "seed"):
        value = getattr(strategy, name)
        scheduled = name == "learning_rate" and callable(value)
        found[name] = "scheduled" if scheduled else str(value)
    return found
