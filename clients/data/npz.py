"""A user's own data in a file of NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.dataset import Dataset, OfAnySize, no_download
from flwr_resam.errors import requirement

SUFFIX = ".npz"


@dataclass(frozen=True)
class Npz(OfAnySize):
    """What `numpy.savez` wrote: ``train_x``, ``train_y``, ``test_x`` and ``test_y``.

    Examples are numbers, labels whole numbers from 0 on. A device's own file, which only trains,
    may do without ``test_x`` and ``test_y``.
    """

    path: str

    def read(self, root: Path) -> Dataset:
        """Read the file, once a process for each time that it changes."""
        path = Path(self.path).expanduser()
        if not path.is_absolute():
            raise requirement(
                "dataset", "be a file by its whole path", repr(self.path),
                "Flower runs the apps in folders of their own; write the whole path",
            )
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            raise requirement(
                "dataset", "be a file that is there", f"no {path}",
                "Write it with numpy.savez, on every machine",
            ) from None
        return _read(path, changed)

    def download(self, root: Path) -> None:
        """Raise a ValueError."""
        raise no_download(self.path, "which is a file")


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Dataset:  # noqa: ARG001
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, NDArray[Any]] = dict(file)
    except (OSError, ValueError, EOFError) as error:
        raise requirement(
            "dataset", "be what numpy.savez wrote, without pickled objects", f"{path}: {error}",
            "Write numbers into it",
        ) from None
    for part in ("train", "test") if "test_x" in found else ("train",):
        _check(path, found, part)
    x, y = found["train_x"].astype(np.float32), found["train_y"].astype(np.int64)
    test_x = found.get("test_x", x[:0]).astype(np.float32)
    test_y = found.get("test_y", y[:0]).astype(np.int64)
    return Dataset(x, y, test_x, test_y, classes=int(max([*y, *test_y])) + 1)


def _check(path: Path, found: dict[str, NDArray[Any]], part: str) -> None:
    missing = [key for key in (f"{part}_x", f"{part}_y") if key not in found]
    if missing:
        raise requirement(
            "dataset", f"hold `{missing[0]}` in {path}", ", ".join(found) or "nothing",
            "Write numpy.savez(path, train_x=..., train_y=..., test_x=..., test_y=...)",
        )
    x, y = found[f"{part}_x"], found[f"{part}_y"]
    if len(x) == 0 or y.shape != x.shape[:1] or x.shape[1:] != found["train_x"].shape[1:]:
        raise requirement(
            "dataset", f"have one label for each example of {part} in {path}",
            f"{part}_x of {x.shape}, {part}_y of {y.shape}", "Give both the same length, above 0",
        )
    numbers = x.dtype.kind in "fiu" and np.isfinite(x).all()
    if not numbers or y.dtype.kind not in "iu" or (y < 0).any():
        raise requirement(
            "dataset", f"hold finite numbers and labels 0, 1, ... in {path}",
            f"{part}_x of {x.dtype}, {part}_y of {y.dtype}", "Number the classes from 0",
        )
