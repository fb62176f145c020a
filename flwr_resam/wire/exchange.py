"""Sending messages and taking replies as they come, where no node holds up another's.

Over the network the SuperLink hands out what a node uploaded as it is, and the ServerApp puts the
reply together from it. So a node can upload what is no reply, announce one and upload nothing, or
a byte a minute, or gigabytes. Each reply is fetched by itself, object by object, within a number
of bytes, by a few threads of which none waits for a node; one deadline holds for all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

from flwr.app import Message
from flwr.serverapp import Grid

from ..scratch import Scratch
from ._fetch import Look
from ._lookers import Lookers
from .flower import Network, on_engine, over_network, private_use
from .unguessable import fresh, seal

_WORKERS = 8


class Deadline:
    """Until when replies are waited for; whoever takes them may bring it forward.

    Parameters
    ----------
    seconds : float or None
        From now; None and infinity wait for all replies.
    scratch : Scratch, optional
        Where what has come of replies is kept until they are whole; left out, in memory.

    Attributes
    ----------
    seconds : float
        From the start; infinity where there is no end.

    Examples
    --------
    >>> deadline = Deadline(None)
    >>> deadline.left
    inf
    >>> deadline.within(0.0)
    >>> deadline.left
    0.0
    """

    def __init__(self, seconds: float | None = None, scratch: Scratch | None = None) -> None:
        self._started = time.monotonic()
        self.scratch = scratch
        self.seconds = math.inf if seconds is None else seconds

    @property
    def spent(self) -> float:
        """Seconds since the messages went out."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds that replies are still waited for."""
        return max(0.0, self.seconds - self.spent)

    def within(self, seconds: float) -> None:
        """Wait for ``seconds`` from the start at most."""
        self.seconds = min(self.seconds, seconds)


class StreamingGrid(Protocol):
    """A grid that hands replies out as they come."""

    def stream(self, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
        """Send messages and yield the replies that come before the deadline."""


def exchange(grid: Grid, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
    """Send messages through a grid, sealed, and yield the replies as they come.

    The messages go out when the first reply is asked for. A grid with a ``stream`` of its own
    streams; those of Flower are asked reply by reply; of any other, ``send_and_receive`` is
    called, and the replies come all at once.

    Parameters
    ----------
    grid : Grid
    messages : iterable of Message
        Each gets an id that no other node can guess (`seal`).
    deadline : Deadline
        May be brought forward while the replies come.

    Raises
    ------
    UnknownFlowerError
        Where this version of flwr fetches replies in another way; no node is blamed for that.
    Exception
        What the grid raises where the SuperLink itself can't be reached.
    """
    asked = list(messages)
    for message in asked:
        seal(message)
    if _streams(grid):
        yield from cast(StreamingGrid, grid).stream(asked, deadline)
    elif over_network(grid):
        yield from _over_network(grid, asked, deadline)
    elif on_engine(grid):
        yield from _on_engine(grid, asked, deadline)
    else:
        timeout = None if math.isinf(deadline.seconds) else deadline.seconds
        yield from grid.send_and_receive(asked, timeout=timeout)


def _streams(grid: Grid) -> bool:
    """Whether its class says how to stream, and none below it how to send and receive."""
    for each in type(grid).__mro__:
        if "stream" in vars(each) or "send_and_receive" in vars(each):
            return "stream" in vars(each)
    return False


def _on_engine(grid: Any, asked: Sequence[Message], deadline: Deadline) -> Iterator[Message]:
    with private_use():
        pause = grid.pull_interval
    waiting = set(grid.push_messages(asked))
    while waiting:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            yield reply
        if not waiting or not deadline.left:
            return
        time.sleep(min(pause, deadline.left))


def _over_network(grid: Grid, asked: list[Message], deadline: Deadline) -> Iterator[Message]:
    network = Network(grid)
    contents = {id(message.content): message.content for message in asked if message.has_content()}
    made = {key: fresh(content) for key, content in contents.items()}
    for message in asked:
        if message.has_content():
            message.content = made[id(message.content)]
    pushed = list(grid.push_messages(asked))
    looks = [
        Look(network, number, message, grid, deadline.scratch)
        for number, message in zip(pushed, asked, strict=False) if number
    ]
    lookers = Lookers(looks, _WORKERS)
    try:
        for _ in looks:
            look = lookers.next_whole(deadline)
            if look is None:
                return
            yield look.reply()
            del look  # and all that it holds
    finally:
        lookers.stop()


def memory_of(grid: Grid) -> Any:
    """What a grid remembers of its nodes and attacks, as plain values; None for Flower's own."""
    return getattr(grid, "memory", None)


def recall(grid: Grid, memory: Any) -> bool:
    """Give a grid back what it remembered; whether the states of its nodes were among it."""
    again = getattr(grid, "recall", None)
    return memory is not None and again is not None and bool(again(memory))


def answered(grid: Grid, messages: Iterable[Message], timeout: float | None) -> list[Message]:
    """The replies that come in time, all together."""
    return list(exchange(grid, messages, Deadline(timeout)))

