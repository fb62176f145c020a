"""A drill: a SuperNode tries what it may not, is killed, comes back; the ServerApp is killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flwr_resam.server.checkpoint import list_checkpoints
from flwr_resam.server.ledger import read_ledger
from simulations.deployment.federation import Federation
from simulations.deployment.intruder import Attempt, as_another, as_operator
from simulations.deployment.proxy import MISSING
from simulations.deployment.run import NodeReport, node_reports
from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import RunFailed, prepare


@dataclass(frozen=True)
class Drill:
    """What happened when.

    Attributes
    ----------
    refused : list of Attempt
        What a device tried and may not do.
    nodes : list of NodeReport
        At the end, in the order of the partitions.
    ids : tuple of int
        The id of the SuperNode that was killed in round 2, before and after.
    back_in : int
        The first round in which it answered again.
    resumed_after : int
        The last round that was done when the ServerApp died.
    """

    refused: list[Attempt]
    nodes: list[NodeReport]
    ids: tuple[int | None, int | None]
    back_in: int
    resumed_after: int


def drill(
    experiment: Experiment,
    *,
    byzantine: dict[int, str],
    victim: int = 0,
    secure: bool = True,
    limit: float = 1200.0,
    say: Callable[[str], None] = lambda _: None,
) -> Drill:
    """Run an experiment on a federation and break it twice.

    In the first round the device of ``victim`` tries, with the files that it holds, what only the
    operator may do, and to be another node.
    In the second round the SuperNode ``victim`` is killed. When that round is over it is
    started again; when it has answered, the ServerApp is killed within the next round. A new
    run takes up the checkpoint and does one round more.

    Parameters
    ----------
    experiment : Experiment
        With an absolute ``output_dir``; the drill sets ``num_rounds`` and ``checkpoint_every``.
    byzantine : dict of int to str
        The partitions of Byzantine nodes, and the client that each runs.
    victim : int
        The partition of the SuperNode to kill.
    secure : bool
        TLS and SuperNode authentication; without, the node comes back under another id, and
        the drill fails.
    limit : float
        Seconds after which the drill gives up.
    say : callable
        Told each step.

    Raises
    ------
    ValueError
        If the folder holds checkpoints already.
    RunFailed
        If a device can do what it may not, a run ends, a SuperNode ends which was not killed, or
        time is up.
    """
    first = replace(experiment, num_rounds=1000, checkpoint_every=1, resume=False)
    folder = prepare(first)
    witness = next(p for p in range(experiment.num_nodes) if p != victim)
    deadline = time.monotonic() + limit
    with Federation(first.num_nodes, byzantine, secure, folder) as federation:
        run_id = federation.flwr.submit(PROJECT, first.run_config())

        def wait(what: str, condition: Callable[[], bool]) -> None:
            def look() -> bool:
                federation.check()
                if time.monotonic() > deadline:
                    raise RunFailed(f"The drill took more than {limit:g} s, waiting for {what}.")
                return condition()

            say(f"waiting for {what}")
            federation.flwr.follow(run_id, folder, lambda _: None, look)

        wait("round 1", lambda: federation.instructions(victim) >= 1)
        wait("another node", lambda: federation.node_id(witness) is not None)
        refused = _intrude(federation, victim, witness, int(run_id), say)
        wait("round 2", lambda: federation.instructions(victim) >= 2)
        before = federation.node_id(victim)
        federation.kill_node(victim)
        say(f"round 2: SuperNode {before} is killed")
        wait("the end of round 2", lambda: _done(folder) >= 2)
        federation.start_node(victim)
        say("the SuperNode is started again, with the same key")
        wait("its answer", lambda: _answer(folder, before) is not None)
        back_in = _answer(folder, before)
        assert back_in is not None
        say(f"round {back_in}: SuperNode {before} has answered")
        wait(f"round {back_in + 1}", lambda: federation.instructions(witness) > back_in)
        federation.kill_server_app()
        done = _done(folder)
        say(f"round {done + 1}: the ServerApp is killed")
        second = replace(first, num_rounds=done + 1, resume=True)
        run_id = federation.flwr.submit(PROJECT, second.run_config())
        wait("a new run that resumes", lambda: False)
        nodes = node_reports(federation, byzantine)
        return Drill(refused, nodes, (before, federation.node_id(victim)), back_in, done)


def _intrude(
    federation: Federation, device: int, other: int, run_id: int, say: Callable[[str], None]
) -> list[Attempt]:
    """Try with one device's files what it may not do; raise where it can."""
    keys, node = federation.keys, federation.node_id(other)
    if keys is None or node is None:
        return []
    tried = as_another(federation.door, keys.ca, keys.node(device), node)
    if federation.proxied:
        tried += as_operator(federation.door, keys.ca, keys.node(device), node, run_id)
    else:
        say(f"not tried, what only the operator may do: {MISSING}")
    for attempt in tried:
        if not attempt.held:
            raise RunFailed(
                f"A device can {attempt.what} at {federation.door} (answer: {attempt.answer})."
            )
        say(f"a device is refused: {attempt.what} ({attempt.answer})")
    return tried


def _done(folder: Path) -> int:
    """The last round of which there is a checkpoint."""
    found = list_checkpoints(folder)
    return int(found[0].stem.split("-")[-1]) if found else 0


def _answer(folder: Path, node: int | None) -> int | None:
    """The first round after the second in which a node's reply was valid."""
    return min(
        (
            line.round for line in read_ledger(folder)
            if line.node == node and line.status == "valid" and line.round > 2
        ),
        default=None,
    )
