"""Aggregators: rules (n, d) -> (d,), one a file. `AGGREGATORS` names each as run-configs do."""

from ..rule import Aggregator
from .geometric_median import GeometricMedian
from .krum_star import KrumStar
from .mda import MDA
from .mean import Mean
from .median import Median
from .trimmed_mean import TrimmedMean

AGGREGATORS: dict[str, type[Aggregator]] = {
    "mean": Mean,
    "mda": MDA,
    "cwtm": TrimmedMean,
    "cwmed": Median,
    "krum*": KrumStar,
    "gm": GeometricMedian,
}

__all__ = [
    "AGGREGATORS",
    "MDA",
    "GeometricMedian",
    "KrumStar",
    "Mean",
    "Median",
    "TrimmedMean",
]
