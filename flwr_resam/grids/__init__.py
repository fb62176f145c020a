"""Grids: what stands between a strategy and its nodes."""

from .adversarial import AdversarialGrid
from .adversary import Adversary
from .in_process import InProcessGrid
from .partitioned import PartitionedGrid, answer_partition

__all__ = ["AdversarialGrid", "Adversary", "InProcessGrid", "PartitionedGrid", "answer_partition"]
