"""Checkpoints: the server's whole state in one safetensors file, written atomically.

The arrays are tensors that any safetensors reader shows, the rest is JSON in the file's
metadata, and a SHA-256 covers both. No pickle, so that a checkpoint from elsewhere runs nothing.
A file is written beside its place, flushed to the disk and renamed: whenever the process dies,
the newest checkpoint in place is whole. The two newest are kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from logging import INFO, WARNING
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from ..errors import requirement
from ..grids._wrapper import GridWrapper
from ..grids.adversarial import AdversarialGrid
from ..grids.in_process import InProcessGrid
from ..wire.flower import logger
from ..wire.layout import Layout
from .encoding import Arrays, decode, encode

_FORMAT = "flwr-resam-checkpoint-2"
_PATTERN = "checkpoint-*.safetensors"
_KEEP = 2


class CheckpointError(RuntimeError):
    """A checkpoint that can't be used; the message says why, and which older one can be."""


@dataclass(frozen=True)
class Checkpoint:
    """The server after a round.

    Attributes
    ----------
    round : int
        The last round that is done.
    arrays : ArrayRecord
        The model.
    rule_state : object
        What the aggregator remembers; plain values and arrays.
    skipped : int
        How many rounds in a row were skipped.
    settings : dict of str to str
        What the run depends on; a run with other settings does not resume from here.
    workers : dict of int to RecordDict, or None
        ``Context.state`` of each node, where the nodes live in this process.
    adversaries : list
        The memory of each `AdversarialGrid` before the nodes.
    """

    round: int
    arrays: ArrayRecord
    rule_state: Any
    skipped: int
    settings: dict[str, str]
    workers: dict[int, Any] | None
    adversaries: list[dict[str, Any]]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that it is there as a whole or not at all; drop the oldest."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    content = {name: encode(value, arrays, name) for name, value in vars(checkpoint).items()}
    text = json.dumps(content)
    metadata = {"format": _FORMAT, "content": text, "sha256": _digest(text, arrays)}
    path = folder / f"checkpoint-{checkpoint.round:08d}.safetensors"
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        file.write(safetensors.numpy.save(arrays, metadata))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    _sync(folder)
    for old in list_checkpoints(folder)[_KEEP:]:
        old.unlink()
    for left in folder.glob("checkpoint-*.tmp"):
        left.unlink()
    return path


def load(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises
    ------
    CheckpointError
        If it is damaged, or no checkpoint of this program.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise CheckpointError(
                    f"`{path}` is no checkpoint that this version of flwr-resam wrote."
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("sha256") != _digest(metadata["content"], arrays):
            raise CheckpointError(f"`{path}` is damaged: its checksum is wrong.")
        content = json.loads(metadata["content"])
        return Checkpoint(**{name: decode(value, arrays) for name, value in content.items()})
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"`{path}` can't be read ({error}).") from error


def load_newest(folder: Path, settings: dict[str, str]) -> Checkpoint | None:
    """Read the newest checkpoint of a folder; None where there is none.

    Raises
    ------
    CheckpointError
        If the newest is damaged, foreign, or of a run with other settings. It is left where it
        is, and the message names the newest older one that is good.
    """
    paths = list_checkpoints(folder)
    if not paths:
        return None
    newest, *older = paths
    try:
        return _checked(load(newest), newest, settings)
    except CheckpointError as error:
        for other in older:
            try:
                good = _checked(load(other), other, settings)
            except CheckpointError:
                continue
            raise CheckpointError(
                f"{error} The older `{other}` (round {good.round}) is good: move the newer file "
                "away to resume from it."
            ) from error
        raise CheckpointError(
            f"{error} No older checkpoint in `{folder}` is good. Start without `resume`, or with "
            "the settings of the checkpoint."
        ) from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted(folder.glob(_PATTERN), reverse=True)


def check_no_checkpoints(folder: Path) -> None:
    """Raise a ValueError where a folder holds any: a run that begins anew would drop them."""
    found = list_checkpoints(folder)
    if found:
        raise requirement(
            "output_dir", "hold no checkpoints of an earlier run", f"`{found[0]}`",
            "Go on with `start(..., resume=True)`, name another folder, or remove them",
        )


def _checked(checkpoint: Checkpoint, path: Path, settings: dict[str, str]) -> Checkpoint:
    for name, value in settings.items():
        found = checkpoint.settings.get(name)
        if found != value:
            raise CheckpointError(
                f"`{path}` is of another run: its `{name}` is {found}, that of this run {value}."
            )
    return checkpoint


def _digest(text: str, arrays: Arrays) -> str:
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.data if array.size else b"")
    return total.hexdigest()


def _sync(folder: Path) -> None:
    """Make a rename last: flush the folder itself, where the system lets one."""
    if os.name != "posix":  # pragma: no cover
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)



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
