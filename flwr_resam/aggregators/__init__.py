"""Aggregators: rules (n, d) -> (d,), one a file. `AGGREGATORS` names each as run-configs do."""

from ..registry import Registry
from ..rule import Aggregator
from .aksel import Aksel
from .bulyan import Bulyan
from .byzantine_sgd import ByzantineSGD
from .caf import CAF
from .centered_clipping import CenteredClipping
from .cge import CGE
from .dnc import DnC
from .flame import FLAME
from .fltrust import FLTrust
from .foolsgold import FoolsGold
from .geometric_median import GeometricMedian
from .geometric_median_of_means import GeometricMedianOfMeans
from .krum import Krum
from .krum_star import KrumStar
from .mda import MDA
from .meamed import MeaMed
from .mean import Mean
from .median import Median
from .monna import MoNNA
from .multikrum import MultiKrum
from .phocas import Phocas
from .robust_gradient import RobustGradientEstimator
from .safeguard import Safeguard
from .sever import Sever
from .signguard import SignGuard
from .signmajority import SignMajority
from .smea import SMEA
from .trimmed_mean import TrimmedMean

AGGREGATORS: Registry[Aggregator] = Registry("aggregator", Aggregator, [
    Mean, MDA, TrimmedMean, Median, MeaMed, Phocas, Krum, KrumStar, MultiKrum, GeometricMedian,
    GeometricMedianOfMeans, Bulyan, CGE, CenteredClipping, ByzantineSGD, Safeguard, Sever,
    RobustGradientEstimator, MoNNA, CAF, SMEA, SignMajority, Aksel, DnC, FLTrust, FLAME, FoolsGold,
    SignGuard,
], group="flwr_resam.rules")

__all__ = [
    "AGGREGATORS",
    "CAF",
    "CGE",
    "FLAME",
    "MDA",
    "SMEA",
    "Aksel",
    "Bulyan",
    "ByzantineSGD",
    "CenteredClipping",
    "DnC",
    "FLTrust",
    "FoolsGold",
    "GeometricMedian",
    "GeometricMedianOfMeans",
    "Krum",
    "KrumStar",
    "MeaMed",
    "Mean",
    "Median",
    "MoNNA",
    "MultiKrum",
    "Phocas",
    "RobustGradientEstimator",
    "Safeguard",
    "Sever",
    "SignGuard",
    "SignMajority",
    "TrimmedMean",
]
