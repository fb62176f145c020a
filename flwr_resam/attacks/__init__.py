"""Attacks: honest rows in, Byzantine rows out, one a file.

`ATTACKS` names each as run-configs do. The two attacks of the literature that change no vector,
label flipping and malformed messages, are things that a device does, and no functions of rows.
"""

from ..registry import Registry
from .alie import ALIE
from .alie_opt import OptimisedALIE
from .anti_cge import AntiCGE
from .attack import Attack
from .foe import FOE
from .foe_opt import OptimisedFOE
from .gaussian import Gaussian
from .huge import Huge
from .mimic import Mimic
from .min_max import MinMax
from .min_sum import MinSum
from .non_finite import NonFinite
from .replay import Replay
from .sign_flip import SignFlip
from .straggler import Straggler
from .zero import Zero

ATTACKS: Registry[Attack] = Registry("attack", Attack, [
    ALIE, FOE, OptimisedALIE, OptimisedFOE, Mimic, MinMax, MinSum, AntiCGE, SignFlip, Gaussian,
    Zero, Replay, Straggler, Huge, NonFinite,
], group="flwr_resam.attacks")

__all__ = [
    "ALIE",
    "ATTACKS",
    "FOE",
    "AntiCGE",
    "Attack",
    "Gaussian",
    "Huge",
    "Mimic",
    "MinMax",
    "MinSum",
    "NonFinite",
    "OptimisedALIE",
    "OptimisedFOE",
    "Replay",
    "SignFlip",
    "Straggler",
    "Zero",
]
