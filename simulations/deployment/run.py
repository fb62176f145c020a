"""One experiment on a federation of processes, by `flwr run`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from simulations.deployment.federation import Federation
from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import prepare
from simulations.results import Evaluation


@dataclass(frozen=True)
class NodeReport:
    """One SuperNode at the end of a run."""

    partition: int
    node: int | None
    client: str
    status: str


@dataclass(frozen=True)
class Report:
    """What is known when a run is over.

    Attributes
    ----------
    nodes : list of NodeReport
        In the order of the partitions.
    said : list of str
        What the strategy logged of each round: how many replies were valid, which nodes were
        rejected and why.
    """

    nodes: list[NodeReport]
    said: list[str]


def byzantine_nodes(experiment: Experiment, client: str) -> dict[int, str]:
    """The last f partitions, each with the Byzantine client that it runs."""
    first = experiment.num_nodes - experiment.num_malicious_nodes
    return dict.fromkeys(range(first, experiment.num_nodes), client)


def run_deployed(
    experiment: Experiment,
    *,
    byzantine: dict[int, str],
    secure: bool,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
    on_start: Callable[[Federation], None] = lambda _: None,
) -> Report:
    """Start a federation, run the experiment on it, and end every process of it.

    Parameters
    ----------
    experiment : Experiment
        With an absolute ``output_dir``.
    byzantine : dict of int to str
        The partitions of Byzantine nodes, and the client that each runs.
    secure : bool
        TLS and SuperNode authentication.
    on_evaluation : callable
        Called for each evaluation as it comes.
    on_start : callable
        Called once, with the federation, when the SuperNodes are started.

    Raises
    ------
    RunFailed
        If the run's status, as `flwr ls` tells it, is not finished:completed.
    """
    folder = prepare(experiment)
    with Federation(experiment.num_nodes, byzantine, secure, folder) as federation:
        on_start(federation)
        run_id = federation.flwr.submit(PROJECT, experiment.run_config())
        federation.flwr.follow(run_id, folder, on_evaluation)
        states = federation.flwr.nodes()
        nodes = []
        for partition in range(experiment.num_nodes):
            node = federation.node_id(partition)
            status = "never connected" if node is None else states.get(node, "unknown")
            nodes.append(NodeReport(partition, node, byzantine.get(partition, "honest"), status))
        return Report(nodes, _of_strategy(federation.flwr.log(run_id)))


def _of_strategy(log: str) -> list[str]:
    """The lines of a run's log that tell what became of the nodes' replies."""
    kept = []
    for line in log.splitlines():
        text = re.sub(r"^\w+ *: +", "", line).strip()
        if text.startswith(("[ROUND", "aggregate_train:", ">")):
            kept.append(text)
    return kept
