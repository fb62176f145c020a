"""One run of the robustness table: eight nodes, one of them faulty, one strategy, one process.

The task is small on purpose: linear regression on eight nodes with data of their own, in NumPy,
so that a cell is the transport and the strategy, and little else.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, Strategy

from clients.bad_replies import BAD_REPLIES
from flwr_resam import InProcessGrid, PartitionedGrid, Resam, answer_partition
from flwr_resam.grids._wrapper import GridWrapper

NODES = 8
FAULTY = 3
ROUNDS = 5
PATIENCE = 240.0
SILENT = "silent"
HONEST = "honest"

_COMMON: dict[str, Any] = {
    "min_train_nodes": NODES, "min_available_nodes": NODES, "fraction_evaluate": 0.0,
}

STRATEGIES: dict[str, Any] = {
    "Resam": lambda: Resam(
        num_malicious_nodes=1, min_available_nodes=NODES, fraction_evaluate=0.0
    ),
    "FedAvg": lambda: FedAvg(**_COMMON),
    "FedMedian": lambda: FedMedian(**_COMMON),
    "Krum": lambda: Krum(num_malicious_nodes=1, **_COMMON),
    "Bulyan": lambda: Bulyan(num_malicious_nodes=1, **_COMMON),
    "FedTrimmedAvg": lambda: FedTrimmedAvg(beta=0.2, **_COMMON),
}


class Losing(GridWrapper):
    """Loses what one node says, as if it had stayed silent."""

    def __init__(self, grid: PartitionedGrid, partition: int) -> None:
        super().__init__(grid)
        self._lost = grid.partitions[partition]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Pass all replies on but that node's."""
        replies = self._grid.send_and_receive(messages, timeout=timeout)
        return [reply for reply in replies if reply.metadata.src_node_id != self._lost]


def client_app(kind: str) -> ClientApp:
    """The nodes, of which one replies in the way of ``kind``."""
    app = ClientApp()
    answer_partition(app)
    bad = BAD_REPLIES.get(kind)  # neither honest nor silent is one

    @app.train()
    def train(message: Message, context: Context) -> Message:
        partition = int(context.node_config["partition-id"])
        content = _honest_reply(message, partition)
        if partition == FAULTY and bad is not None and bad.content is not None:
            content = cast(RecordDict, bad.content(content))
        return Message(content, reply_to=message)

    return app


def _honest_reply(message: Message, partition: int) -> RecordDict:
    """Weights after ten steps of gradient descent on the node's own data."""
    draw = np.random.default_rng(partition)
    inputs = draw.normal(size=(32, 8))
    truth = np.linspace(-1.0, 1.0, 24).reshape(8, 3)
    outputs = inputs @ truth + 0.5 + 0.1 * draw.normal(size=(32, 3))
    arrays = message.content.array_records["arrays"]
    weights, bias = (arrays[name].numpy().astype(np.float64) for name in ("w", "b"))
    error = inputs @ weights + bias - outputs
    for _ in range(10):
        error = inputs @ weights + bias - outputs
        weights = weights - 0.1 * inputs.T @ error / len(inputs)
        bias = bias - 0.1 * error.mean(axis=0)
    trained = {"w": Array(weights.astype(np.float32)), "b": Array(bias.astype(np.float32))}
    metrics = MetricRecord({"num-examples": len(inputs), "loss": float((error**2).mean())})
    return RecordDict({"arrays": ArrayRecord(trained), "metrics": metrics})


def serve(grid: Grid, strategy: Strategy, kind: str) -> list[float]:
    """Run the rounds; return the final model as one list."""
    nodes = PartitionedGrid(grid, NODES, timeout=PATIENCE)
    start = {"w": Array(np.zeros((8, 3), np.float32)), "b": Array(np.zeros(3, np.float32))}
    result = strategy.start(
        Losing(nodes, FAULTY) if kind == SILENT else nodes,
        ArrayRecord(start), num_rounds=ROUNDS, timeout=PATIENCE,
    )
    arrays = [result.arrays[name].numpy() for name in ("w", "b")]
    return [float(value) for array in arrays for value in np.asarray(array, float).ravel()]


def run_cell(strategy: str, kind: str, engine: str) -> list[float]:
    """Run one cell in this process, on the ``in-process`` or the ``ray`` engine."""
    if engine == "in-process":
        return serve(InProcessGrid(client_app(kind), NODES), STRATEGIES[strategy](), kind)
    from flwr.simulation import run_simulation

    server = ServerApp()
    found: list[list[float]] = []

    @server.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        found.append(serve(grid, STRATEGIES[strategy](), kind))

    run_simulation(
        server_app=server, client_app=client_app(kind), num_supernodes=NODES,
        # One worker process starts sooner than several, and eight small nodes need no more.
        backend_config={
            "init_args": {"num_cpus": 1}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}
        },
    )
    return found[0]


def outcome(strategy: str, kind: str, engine: str, log: str, answer: Connection) -> None:
    """Run one cell in a process of its own; send what came of it, and log what it says."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    print(f"\n==== {strategy}, {kind}, {engine}", flush=True)
    try:
        answer.send({"model": run_cell(strategy, kind, engine)})
    except Exception as error:
        traceback.print_exc()
        answer.send({"error": f"{type(error).__name__}: {error}"[:300]})
    answer.close()
