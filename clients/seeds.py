"""Every random choice is drawn from (seed, round, partition, purpose), on every engine alike."""

from __future__ import annotations

import zlib

import numpy as np


def generator(
    seed: int, purpose: str, *, server_round: int = 0, partition: int = 0
) -> np.random.Generator:
    """Return the generator of one choice."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), server_round, partition])
