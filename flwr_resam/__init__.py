"""Byzantine-resilient federated learning for Flower: resilient averaging of momentums (RESAM).

A name is imported when it is first asked for: a device that sends momentum pays for the worker's
half in each message, and never for the server's.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attacks.attack import Attack, MemorylessAttack
    from .attacks.schedule import Schedule
    from .grids import (
        AdversarialGrid,
        Adversary,
        InProcessGrid,
        PartitionedGrid,
        answer_partition,
    )
    from .momentum import WorkerMomentum, momentum_mod
    from .optimizers import Adagrad, Adam, Momentum, Yogi
    from .parse import parse_attack, parse_rule
    from .rule import Aggregator, CoordinateRule, PreAggregator, Round, WeightRule
    from .server.checkpoint import CheckpointError
    from .server.quorum import QuorumLostError
    from .server.rounds import RoundReport
    from .strategy import Resam

__all__ = [
    "Adagrad",
    "Adam",
    "AdversarialGrid",
    "Adversary",
    "Aggregator",
    "Attack",
    "CheckpointError",
    "CoordinateRule",
    "InProcessGrid",
    "MemorylessAttack",
    "Momentum",
    "PartitionedGrid",
    "PreAggregator",
    "QuorumLostError",
    "Resam",
    "Round",
    "RoundReport",
    "Schedule",
    "WeightRule",
    "WorkerMomentum",
    "Yogi",
    "answer_partition",
    "momentum_mod",
    "parse_attack",
    "parse_rule",
]
__version__ = "0.1.0"

_HOMES = {
    "Adagrad": "optimizers",
    "Adam": "optimizers",
    "AdversarialGrid": "grids",
    "Adversary": "grids",
    "Aggregator": "rule",
    "Attack": "attacks.attack",
    "CheckpointError": "server.checkpoint",
    "CoordinateRule": "rule",
    "InProcessGrid": "grids",
    "MemorylessAttack": "attacks.attack",
    "Momentum": "optimizers",
    "PartitionedGrid": "grids",
    "PreAggregator": "rule",
    "QuorumLostError": "server.quorum",
    "Resam": "strategy",
    "Round": "rule",
    "RoundReport": "server.rounds",
    "Schedule": "attacks.schedule",
    "WeightRule": "rule",
    "WorkerMomentum": "momentum",
    "Yogi": "optimizers",
    "answer_partition": "grids",
    "momentum_mod": "momentum",
    "parse_attack": "parse",
    "parse_rule": "parse",
}
# After `import flwr_resam` alone.
_FOLDERS = ("aggregators", "attacks", "grids", "preaggregators", "testing")

if not TYPE_CHECKING:  # to a type checker every name would be there

    def __getattr__(name):
        """Import a name of `__all__` from its home (PEP 562); later it is found without this."""
        if name in _FOLDERS:
            return import_module(f".{name}", __name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_FOLDERS})
