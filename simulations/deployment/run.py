"""One experiment on a federation of processes, by `flwr run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulations.deployment.federation import Federation
from simulations.experiment import PROJECT, Experiment
from simulations.flwr_cli import prepare
from simulations.results import Evaluation


@dataclass(frozen=True)
class NodeReport:
    """One SuperNode at the end of a run; ``node`` is its id in the ledger."""

    partition: int
    node: int | None
    client: str
    status: str


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
) -> list[NodeReport]:
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

    Returns
    -------
    list of NodeReport
        In the order of the partitions; what the nodes did is in the ledger of ``output_dir``.

    Raises
    ------
    RunFailed
        If a SuperNode ends, or if the run's status, as `flwr ls` tells it, is not
        finished:completed.
    """
    folder = prepare(experiment)
    with Federation(experiment.num_nodes, byzantine, secure, folder) as federation:
        on_start(federation)
        run_id = federation.flwr.submit(PROJECT, experiment.run_config())

        def broken() -> bool:
            federation.check()
            return False

        federation.flwr.follow(run_id, folder, on_evaluation, broken)
        return node_reports(federation, byzantine)


def node_reports(federation: Federation, byzantine: dict[int, str]) -> list[NodeReport]:
    """What the SuperLink says of each node now, in the order of the partitions."""
    states = federation.flwr.nodes()
    nodes = []
    for partition in range(federation.num_nodes):
        node = federation.node_id(partition)
        status = "never connected" if node is None else states.get(node, "unknown")
        nodes.append(NodeReport(partition, node, byzantine.get(partition, "honest"), status))
    return nodes
