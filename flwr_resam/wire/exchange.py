"""Sending and receiving over the network, where one reply that can't be read loses no other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from logging import WARNING

from flwr.app import Message
from flwr.serverapp import Grid

from .flower import logger, over_network

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0  # seconds


def exchange(
    grid: Grid, messages: Iterable[Message], *, timeout: float | None = None
) -> list[Message]:
    """Send messages through a grid and return the replies that came in time.

    It is ``grid.send_and_receive`` unless that is Flower's own, over the network. There the
    SuperLink hands out what a node uploaded as it is, and the ServerApp puts the reply together
    from it: a node that uploads what is no reply raises an error in the ServerApp, which would
    take with it all replies that came by the same call. So the replies are fetched one by one,
    and such a node is logged and silent.

    Parameters
    ----------
    grid : Grid
    messages : iterable of Message
    timeout : float, optional
        Seconds to wait; None waits until all have answered.

    Raises
    ------
    Exception
        What the grid raises where the SuperLink itself can't be reached.
    """
    if not over_network(grid):
        return list(grid.send_and_receive(messages, timeout=timeout))
    asked = list(messages)
    numbers = list(grid.push_messages(asked))
    nodes = {
        number: message.metadata.dst_node_id
        for number, message in zip(numbers, asked, strict=False) if number
    }
    del asked, messages
    deadline = None if timeout is None else time.monotonic() + timeout
    replies: list[Message] = []
    pause = _FIRST_PAUSE
    while nodes:
        for number in list(nodes):
            found = _pull(grid, number, nodes[number])
            if found is None or found:
                replies.extend(found or [])
                del nodes[number]
        if not nodes or (deadline is not None and time.monotonic() > deadline):
            break
        time.sleep(pause)
        pause = min(2.0 * pause, _LONGEST_PAUSE)
    return replies


def _pull(grid: Grid, number: str, node: int) -> list[Message] | None:
    """The reply to one message, nothing where there is none yet; None where it can't be read."""
    try:
        return list(grid.pull_messages([number]))
    except Exception as error:
        grid.get_node_ids()  # raises where it was the SuperLink
        logger.log(
            WARNING, "The reply of node %d can't be read (%s): it is silent", node,
            type(error).__name__,
        )
        return None
