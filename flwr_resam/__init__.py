"""Byzantine-resilient federated learning for Flower: resilient averaging of momentums (RESAM)."""

from .attacks.schedule import Schedule
from .grids import AdversarialGrid, Adversary, InProcessGrid, PartitionedGrid, answer_partition
from .momentum import WorkerMomentum, momentum_mod
from .parse import parse_attack, parse_rule
from .server.checkpoint import CheckpointError
from .server.quorum import QuorumLostError
from .strategy import Resam

__all__ = [
    "AdversarialGrid",
    "Adversary",
    "CheckpointError",
    "InProcessGrid",
    "PartitionedGrid",
    "QuorumLostError",
    "Resam",
    "Schedule",
    "WorkerMomentum",
    "answer_partition",
    "momentum_mod",
    "parse_attack",
    "parse_rule",
]
__version__ = "0.1.0"
