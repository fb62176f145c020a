"""Pre-aggregators: rules (n, d) -> (n', d) that a chain puts before an aggregator."""

from ..rule import PreAggregator
from .arc import ARC
from .bucketing import Bucketing
from .clipping import Clipping
from .nnm import NNM

PREAGGREGATORS: dict[str, type[PreAggregator]] = {
    "nnm": NNM,
    "bucketing": Bucketing,
    "clipping": Clipping,
    "arc": ARC,
}

__all__ = ["ARC", "NNM", "PREAGGREGATORS", "Bucketing", "Clipping"]
