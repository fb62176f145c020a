"""Attacks: honest rows in, Byzantine rows out, one a file."""

from .alie import ALIE
from .attack import Attack
from .foe import FOE

ATTACKS: dict[str, type[Attack]] = {
    "alie": ALIE,
    "foe": FOE,
}

__all__ = ["ALIE", "ATTACKS", "FOE", "Attack"]
