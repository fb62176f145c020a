"""Pre-aggregators: rules (n, d) -> (n', d) that a chain puts before an aggregator."""

from ..registry import Registry
from ..rule import PreAggregator
from .arc import ARC
from .bucketing import Bucketing
from .clipping import Clipping
from .nnm import NNM

PREAGGREGATORS: Registry[PreAggregator] = Registry("pre-aggregator", PreAggregator, [
    NNM, Bucketing, Clipping, ARC,
], group="flwr_resam.preaggregators")

__all__ = ["ARC", "NNM", "PREAGGREGATORS", "Bucketing", "Clipping"]
