"""Pre-aggregators: rules (n, d) -> (n', d) that a chain puts before an aggregator."""

from ..rule import PreAggregator
from .nnm import NNM

PREAGGREGATORS: dict[str, type[PreAggregator]] = {
    "nnm": NNM,
}

__all__ = ["NNM", "PREAGGREGATORS"]
