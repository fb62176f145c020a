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
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy
from flwr.app import ArrayRecord

from ..errors import requirement
from .plain import Arrays, decode, encode

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
