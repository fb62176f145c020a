"""A round of Resam beside a round of FedAvg on Flower's Ray engine, in one run, in turn.

    python -m benchmarks.round --nodes 15 --megabytes 5

The nodes return the model as it came, so that what is measured is the engine and the strategy.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy
from flwr.simulation import run_simulation

from benchmarks.machine import RESULTS, describe
from flwr_resam import Resam, parse_rule

FEDAVG = "FedAvg"


def strategies(nodes: int) -> dict[str, Callable[[], Strategy]]:
    """What is compared."""
    f = (nodes - 1) // 3

    def resam(text: str) -> Callable[[], Strategy]:
        return lambda: Resam(
            num_malicious_nodes=f, aggregator=parse_rule(text), min_available_nodes=nodes,
            fraction_evaluate=0.0,
        )

    return {
        FEDAVG: lambda: FedAvg(
            fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes
        ),
        **{f"Resam, {text}": resam(text) for text in ("mean", "mda", "cwtm")},
    }


client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:  # noqa: ARG001
    """Return what came."""
    content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


def measure(nodes: int, megabytes: float, rounds: int, turns: int) -> dict[str, list[float]]:
    """Seconds of a round, one value a turn, of each strategy."""
    taken: dict[str, list[float]] = {name: [] for name in strategies(nodes)}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        generator = np.random.default_rng(0)
        size = int(megabytes * 250_000) // 4
        model = ArrayRecord({
            f"w{i}": Array(generator.standard_normal(size, dtype=np.float32)) for i in range(4)
        })
        made = strategies(nodes)
        made[FEDAVG]().start(grid, model, num_rounds=2)  # the engine's actors come up
        for turn in range(turns):
            for name in list(made)[:: 1 if turn % 2 == 0 else -1]:
                strategy = made[name]()
                start = time.perf_counter()
                strategy.start(grid, model, num_rounds=rounds)
                taken[name].append((time.perf_counter() - start) / rounds)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_simulation(
            server, client, nodes,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
        )
    return taken


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=15)
    parser.add_argument("--megabytes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3, help="of each strategy in each turn")
    parser.add_argument("--turns", type=int, default=6)
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    machine = describe()
    taken = measure(arguments.nodes, arguments.megabytes, arguments.rounds, arguments.turns)
    base = statistics.median(taken[FEDAVG])
    lines = [
        "# A round on Flower's Ray engine", "",
        f"{arguments.nodes} nodes, a model of {arguments.megabytes:g} MB, {machine['processor']}, "
        f"{machine['cores']} cores, load average before: {machine['load-before']}. Medians of "
        f"{arguments.turns} turns of {arguments.rounds} rounds. Written by "
        "`python -m benchmarks.round`.", "",
        "| strategy | seconds a round | of FedAvg's, turn by turn |", "|---|---|---|",
    ]
    for name, values in taken.items():
        median = statistics.median(values)
        # Turn by turn, since what else the machine does changes more slowly than a turn.
        ratio = statistics.median(
            value / other for value, other in zip(values, taken[FEDAVG], strict=True)
        )
        lines.append(f"| {name} | {median:.3f} | {ratio:.3f} |")
        print(name, f"{median:.3f} s, {ratio:.3f} of FedAvg's {base:.3f}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "round.md").write_text("\n".join(lines) + "\n")
    data = {**vars(arguments), "machine": machine, "seconds": taken}
    (RESULTS / "round.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
