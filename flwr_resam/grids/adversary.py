"""Who among the nodes is Byzantine, what they do, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from flwr.serverapp import Grid

from ..attacks import Attack
from ..attacks.schedule import ALWAYS, Schedule
from ..errors import requirement
from ..spelling import meant


@dataclass(frozen=True)
class Adversary:
    """Who does what, and when.

    Attributes
    ----------
    attack : Attack
        What the Byzantine nodes send.
    nodes : collection of int
        Byzantine nodes, by node id.
    partitions : collection of int
        Byzantine nodes, by the data partition that they hold.
    schedule : Schedule
        The rounds in which they do it; in the others they train honestly.

    Raises
    ------
    ValueError
        If ``attack`` is none.
    """

    attack: Attack
    nodes: Collection[int] = ()
    partitions: Collection[int] = ()
    schedule: Schedule = ALWAYS

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise requirement(
                "attack", "be an attack", repr(self.attack), f"Write {_meant(self.attack)}"
            )

    def nodes_on(self, grid: Grid) -> frozenset[int]:
        """The ids of the Byzantine nodes, those given by partition among them."""
        if not self.partitions:
            return frozenset(self.nodes)
        held: dict[int, int] | None = getattr(grid, "partitions", None)
        if held is None:
            raise requirement(
                "partitions", "be given on a grid that knows them", type(grid).__name__,
                "Wrap it first: PartitionedGrid(grid, num_nodes)",
            )
        unknown = sorted(set(self.partitions) - set(held))
        if unknown:
            raise requirement(
                "partitions", "be held by connected nodes, each by one", f"{unknown[:3]}",
                f"Choose among {sorted(held)[:3]} .. {max(held)}" if held else
                "Give `nodes`: no node holds a partition of its own",
            )
        return frozenset(self.nodes) | {held[partition] for partition in self.partitions}


def checked_adversaries(given: object) -> list[Adversary]:
    """The several adversaries that a grid is given."""
    must = "be an attack or a list of adversaries"
    listed = () if isinstance(given, str) or not isinstance(given, Iterable) else given
    adversaries = list(listed)
    if not adversaries:
        cure = "Put it in a list" if isinstance(given, Adversary) else f"Write {_meant(given)}"
        raise requirement("attack", must, repr(given), cure)
    for each in adversaries:
        if not isinstance(each, Adversary):
            raise requirement(
                "attack", must, repr(each), f"Write Adversary({_meant(each)}, nodes=...)"
            )
    return adversaries


def _meant(given: object) -> str:
    """The attack that what was given in place of one comes nearest to, as it is written."""
    return meant(given, Attack, "parse_attack", "FOE()")
