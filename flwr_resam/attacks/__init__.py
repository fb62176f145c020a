"""Attacks: honest rows in, Byzantine rows out, one a file.

`ATTACKS` names each as run-configs do. The two attacks of the literature that change no vector,
label flipping and malformed messages, are things that a device does, and no functions of rows.
"""

from ..registry import Registry
from .agr import AGRTailored
from .alie import ALIE
from .alie_opt import OptimisedALIE
from .anti_cge import AntiCGE
from .attack import Attack
from .decoys import Decoys
from .drift import Drift
from .fang_cwtm import FangTrimmedMean
from .fang_krum import FangKrum
from .foe import FOE
from .foe_opt import OptimisedFOE
from .gaussian import Gaussian
from .hidden import HiddenVulnerability
from .huge import Huge
from .mimic import Mimic
from .min_max import MinMax
from .min_sum import MinSum
from .non_finite import NonFinite
from .replay import Replay
from .rop import ROP
from .sign_flip import SignFlip
from .straggler import Straggler
from .zero import Zero

ATTACKS: Registry[Attack] = Registry("attack", Attack, [
    ALIE, FOE, OptimisedALIE, OptimisedFOE, AGRTailored, Mimic, MinMax, MinSum, FangTrimmedMean,
    FangKrum, HiddenVulnerability, Decoys, Drift, ROP, AntiCGE, SignFlip, Gaussian, Zero, Replay,
    Straggler, Huge, NonFinite,
], group="flwr_resam.attacks")

__all__ = [
    "ALIE",
    "ATTACKS",
    "FOE",
    "ROP",
    "AGRTailored",
    "AntiCGE",
    "Attack",
    "Decoys",
    "Drift",
    "FangKrum",
    "FangTrimmedMean",
    "Gaussian",
    "HiddenVulnerability",
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
