"""The folders that a run writes to, checked before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import requirement
from ..rule import Aggregator, Chain
from ..scratch import Scratch


def checked_path(name: str, folder: object) -> Path | None:
    """A folder as a path; None for None or an empty text.

    Examples
    --------
    >>> checked_path("output_dir", "") is None
    True
    """
    if folder is None:
        return None
    if not isinstance(folder, str | os.PathLike):
        raise requirement(
            name, "be a path or None", repr(folder), 'Use "runs/first", say', error=TypeError
        )
    if "\0" in os.fsdecode(folder):
        raise requirement(name, "be a path", f"{folder!r}, with a NUL in it", "Leave the NUL out")
    return Path(folder) if folder else None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What keeps a run from writing to its folder as one sentence, and not as the system's."""
    try:
        yield
    except OSError as error:
        raise requirement(
            "output_dir", "be a folder that can be written",
            f"`{folder}` ({error.strerror or error})",
            "Name a folder of yours, on a disk with room, or make room there",
        ) from error


def checked_spill(
    folder: object, aggregator: Aggregator, device: str | None
) -> Path | None:
    """The folder for rows that do not fit in memory, where a file can be made; None for none.

    Raises
    ------
    ValueError, TypeError
        Where no file can be made, or something else would hold all rows in memory.
    """
    path = checked_path("spill", folder)
    if path is None:
        return None
    if device is not None:
        raise requirement(
            "device", "be None with `spill`, for a device holds all rows at once", repr(device),
            "Leave one of them out",
        )
    last = aggregator.last if isinstance(aggregator, Chain) else aggregator
    if isinstance(last, Aggregator) and last.keeps_vectors:
        raise requirement(
            "spill", "be left out for a rule that keeps a vector a node in memory",
            f"`{last.name}`", "Leave it out, or use a rule that remembers less, such as `cwtm`",
        )
    Scratch(path).close()
    return path
