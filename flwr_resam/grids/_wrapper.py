"""A grid that passes everything on to another; what the grids of this folder are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ..errors import requirement
from ..wire.exchange import Deadline, exchange, memory_of, recall


class GridWrapper(Grid):
    """Delegate every call to the grid inside."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    @property
    def inner(self) -> Grid:
        """The grid inside."""
        return self._grid

    def set_run(self, run: Any) -> None:
        """Set the run of the grid inside."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """The run of the grid inside."""
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message as the grid inside does."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """List the nodes of the grid inside."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push through the grid inside."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull through the grid inside."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Send and receive through the grid inside."""
        return list(self.stream(messages, Deadline(timeout)))

    def stream(self, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
        """Send through the grid inside, and yield the replies as they come."""
        return exchange(self._grid, messages, deadline)

    @property
    def memory(self) -> dict[str, Any]:
        """What a checkpoint needs of this grid and of the one inside: plain values and arrays."""
        return {"inside": memory_of(self._grid)}

    def recall(self, memory: dict[str, Any]) -> bool:
        """Go on from a `memory`; whether the states of the nodes were in it."""
        if not isinstance(memory, dict) or "inside" not in memory:
            raise requirement(
                "grid", "be the one of the checkpoint", f"{type(self).__name__}, which that run "
                "did not have", "Resume with the grids that the run began with, in the same order",
            )
        return recall(self._grid, memory["inside"])
