"""Who among the nodes is Byzantine, what they do, and when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from flwr.serverapp import Grid

from ..attacks import Attack
from ..errors import requirement
from ..schedule import ALWAYS, Schedule


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
    """

    attack: Attack
    nodes: Collection[int] = ()
    partitions: Collection[int] = ()
    schedule: Schedule = ALWAYS

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
                "partitions", "be held by connected nodes", f"{unknown[:3]}",
                f"Choose among {sorted(held)[:3]} .. {max(held)}",
            )
        return frozenset(self.nodes) | {held[partition] for partition in self.partitions}
