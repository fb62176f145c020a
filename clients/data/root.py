"""The folder that data sets are read from."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "RESAM_DATA"


def root_of(data_dir: str) -> Path:
    """A run's ``data-dir``, else RESAM_DATA, else the cache of this user."""
    chosen = data_dir or os.environ.get(ENVIRONMENT) or "~/.cache/flwr-resam/data"
    return Path(chosen).expanduser()


def elsewhere(name: str) -> str:
    """What to do where a data set is not in the folder."""
    return (
        f"Set `data-dir` or the environment's {ENVIRONMENT} to a folder that has it, or download "
        f"it with `python -m clients.data {name}`"
    )
