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
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from ..errors import requirement
from ..wire.exchange import memory_of, recall
from ..wire.flower import logger
from ..wire.layout import Layout
from .encoding import Arrays, decode, encode
from .gate import printable
from .loop import RunState
from .settings import Settings

_FORMAT = "flwr-resam-checkpoint-4"
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
    moments : dict or None
        What the optimizer remembers.
    skipped : int
        How many rounds in a row were skipped.
    training : str
        The training that the nodes' momentums are of.
    settings : dict of str to str
        What the run depends on; a run with other settings does not resume from here.
    grid : object
        What the grid remembers, where it is one that does: the nodes' states, and the attacks'.
    """

    round: int
    arrays: ArrayRecord
    rule_state: Any
    moments: dict[str, Any] | None
    skipped: int
    training: str
    settings: dict[str, str]
    grid: Any


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that it is there as a whole or not at all; drop the oldest."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    content = {name: encode(value, arrays, name) for name, value in vars(checkpoint).items()}
    text = json.dumps(content)
    metadata = {"format": _FORMAT, "content": text, "sha256": _digest(text, arrays)}
    path = folder / f"checkpoint-{checkpoint.round:08d}.safetensors"
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(safetensors.numpy.save(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        unfinished.unlink(missing_ok=True)  # on a full disk the rest of the run needs the room
        raise
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
            if (found := metadata.get("format")) != _FORMAT:
                raise CheckpointError(
                    f"`{path}` must be of the format {_FORMAT}. Found "
                    f"{printable(found) if found else 'a file of something else'}. Resume with the "
                    "version of flwr-resam that wrote it."
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
            f"{error} No older checkpoint in `{folder}` is good; a run that begins anew needs "
            "another folder."
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
                f"`{path}` is of another run: its `{name}` is {found}, that of this run {value}. "
                "Resume with the settings of the checkpoint."
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

    A checkpoint holds the model, the round, the rule's state, the optimizer's moments and the
    number of skipped rounds; and what the grid remembers, where it is one of this package: what
    the attacks of an `AdversarialGrid` remember, and the ``Context.state`` of every node of an
    `InProcessGrid`, so that a resumed run ends in the same model, bit for bit, as one that was
    never interrupted.

    On Flower's engines the nodes' states are theirs. A resumed run is a new run there, in which
    no node has a momentum yet: `WorkerMomentum` sends the average of the updates since, of the
    size that it would have had, and the weight of what was lost falls by a factor beta a round:
    after about 3 / (1 - beta) rounds less than 5 % of it would have been left.

    Parameters
    ----------
    settings : Settings
        Say where checkpoints are written, and after how many rounds each.
    layout : Layout
        Of the model.
    grid : Grid
        The nodes.
    """

    def __init__(self, settings: Settings, layout: Layout, grid: Grid) -> None:
        self._folder, self._every = settings.output_dir, settings.checkpoint_every
        self._depends_on = _what_a_run_depends_on(settings, layout)
        self._grid = grid

    def begin(
        self, resume: bool, arrays: ArrayRecord, run: RunState
    ) -> tuple[ArrayRecord, int]:
        """The model to go on from and the rounds that are done, with everything else restored."""
        folder = self._folder
        if folder is None:
            if resume:
                raise requirement(
                    "output_dir", "be given to resume", "none",
                    "Name the folder with the checkpoints",
                )
            return arrays, 0
        if not resume:
            check_no_checkpoints(folder)
            return arrays, 0
        checkpoint = load_newest(folder, self._depends_on)
        if checkpoint is None:
            logger.log(WARNING, "No checkpoint in %s: the run begins with round 1", folder)
            return arrays, 0
        logger.log(INFO, "Resuming after round %d from %s", checkpoint.round, folder)
        if not recall(self._grid, checkpoint.grid):
            logger.log(WARNING, "The nodes' momentums are not in the checkpoint: they begin anew")
        run.rule_state, run.skipped = checkpoint.rule_state, checkpoint.skipped
        run.training, run.met = checkpoint.training, True
        run.moments = checkpoint.moments
        return checkpoint.arrays, checkpoint.round

    def after_round(self, run: RunState, number: int, arrays: ArrayRecord) -> None:
        """Write a checkpoint if it is time for one."""
        if self._folder is None or not self._every or number % self._every:
            return
        try:
            save(self._folder, Checkpoint(
                number, arrays, run.rule_state, run.moments, run.skipped, run.training,
                self._depends_on, memory_of(self._grid),
            ))
        except OSError as error:
            logger.log(
                ERROR, "No checkpoint after round %d; the run goes on, and tries again when the "
                "next is due: %s", number, error,
            )


def _what_a_run_depends_on(settings: Settings, layout: Layout) -> dict[str, str]:
    """What a run must share with a checkpoint to go on from it."""
    found = {"model": layout.fingerprint}
    for name in ("aggregator", "num_malicious_nodes", "weight_decay", "seed"):
        found[name] = str(getattr(settings, name))
    return found | {"optimizer": settings.optimizer.lineage}
