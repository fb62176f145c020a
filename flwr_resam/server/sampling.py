"""Which nodes are asked: Flower's sampling, made repeatable and never waiting for ever.

Flower's strategies wait in every round until ``min_available_nodes`` are connected, so that one
node which is gone for good would stop the run. Here only the first round waits for all, and not
for ever; later ones go on with the nodes that are there, as long as these can be a quorum.
"""

from __future__ import annotations

import random
import time
from logging import INFO
from typing import Any

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from ..wire.flower import logger
from ..wire.unguessable import seal
from .loop import RunState
from .settings import Settings

_POLL = 1.0
_SAY_EVERY = 10.0


def connected(grid: Grid, settings: Settings, run: RunState) -> list[int]:
    """The connected nodes, once they are as many as the round needs.

    The first round of a run waits for ``min_available_nodes``, up to ``connect_timeout`` seconds.
    Later rounds, and a resumed run, wait only where the nodes that are there can't be a quorum,
    and then go on with those for as long as a round may take.

    Raises
    ------
    TimeoutError
        Where too few nodes have connected for the first round.
    """
    if run.met:
        return _wait(grid, settings.least_quorum, run.timeout)
    wanted = max(settings.min_available_nodes, settings.min_train_nodes)
    nodes = _wait(grid, wanted, settings.connect_timeout)
    if len(nodes) < wanted:
        there = ", ".join(map(str, nodes[:20])) or "none"
        raise TimeoutError(
            f"`min_available_nodes` is {wanted}, but {len(nodes)} node(s) connected within "
            f"{settings.connect_timeout:g} s ({there}). Start more SuperNodes (in simulation: "
            f'--federation-config "num-supernodes={wanted}"), lower `min_available_nodes`, or '
            "raise `connect_timeout`."
        )
    run.met = True
    return nodes


def _wait(grid: Grid, enough: int, seconds: float) -> list[int]:
    """The connected nodes, as soon as they are ``enough`` or the time is over."""
    started = time.monotonic()
    said = -_SAY_EVERY
    while len(nodes := list(grid.get_node_ids())) < enough:
        waited = time.monotonic() - started
        if waited >= seconds:
            break
        if waited - said >= _SAY_EVERY:
            said = waited
            logger.log(
                INFO, "Waiting for nodes: %d of %d are connected (in simulation: "
                '--federation-config "num-supernodes=%d")', len(nodes), enough, enough,
            )
        time.sleep(min(_POLL, seconds - waited))
    return nodes


def sample(
    nodes: list[int], fraction: float, least: int, *, seed: int | None, server_round: int
) -> list[int]:
    """Draw as many nodes as FedAvg does, or all where they are fewer; in the grid's order.

    Without a seed the draw comes from the global `random`, as FedAvg's does.
    """
    size = min(len(nodes), max(int(len(nodes) * fraction), least))
    source: Any = random if seed is None else random.Random(f"{seed}-{server_round}")
    chosen = set(source.sample(nodes, size))
    return [node for node in nodes if node in chosen]


def instructions(
    record: RecordDict, message_type: str, nodes: list[int], fraction: float, least: int, *,
    seed: int | None, server_round: int,
) -> list[Message]:
    """One message to each node of the `sample`, under an id that no other node can guess."""
    chosen = sample(nodes, fraction, least, seed=seed, server_round=server_round)
    logger.log(
        INFO, "configure_%s: Sampled %d nodes (out of %d)", message_type, len(chosen), len(nodes)
    )
    messages = [
        Message(content=record, message_type=message_type, dst_node_id=node) for node in chosen
    ]
    for message in messages:
        seal(message)
    return messages
