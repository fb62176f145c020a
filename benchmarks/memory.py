"""Memory of one round above the received messages: from message bytes to the new model.

    python -m benchmarks.memory --n 25 --megabytes 100
    python -m benchmarks.memory --n 25 --megabytes 400 --rules cwtm

Every node replies with a model of this size. Measured while `Resam.aggregate_train` runs: the peak
that Python and NumPy allocate (tracemalloc), and the peak of the process (resident set).
"""

from __future__ import annotations

import argparse
import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.machine import RESULTS, describe, resident
from flwr_resam import InProcessGrid, Resam, parse_rule
from flwr_resam.wire.layout import MOMENTUM_KEY

RULES = ["mean", "cwtm", "mda", "gm", "nnm | cwtm"]
SHARES = (0.5, 0.25, 0.15, 0.09, 0.01)  # of the model in each of its arrays


class Measured(Resam):
    """Resam that notes what each aggregation takes."""

    found: dict[str, float]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        """Aggregate, watched."""
        came = list(replies)
        before, highest, done = resident(), [0], threading.Event()

        def watch() -> None:
            while not done.is_set():
                highest[0] = max(highest[0], resident())
                time.sleep(0.001)

        watcher = threading.Thread(target=watch)
        watcher.start()
        tracemalloc.start()
        start = time.perf_counter()
        result = super().aggregate_train(server_round, came)
        seconds = time.perf_counter() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        done.set()
        watcher.join()
        self.found = {
            "allocated": peak, "resident": max(0, highest[0] - before), "seconds": seconds,
        }
        return result


def measure(text: str, reply: str, n: int, size: int) -> dict[str, float]:
    """The peaks in bytes of one round with one rule and one kind of reply."""
    app = ClientApp()
    key = MOMENTUM_KEY if reply == "momentum" else "arrays"

    @app.train()
    def train(message: Message, context: Context) -> Message:
        generator = np.random.default_rng(int(context.node_config["partition-id"]))
        metrics = MetricRecord({"num-examples": 1})
        content = RecordDict({key: _model(size, generator), "metrics": metrics})
        return Message(content, reply_to=message)

    strategy = Measured(
        num_malicious_nodes=n // 5, aggregator=parse_rule(text), min_available_nodes=n,
        fraction_evaluate=0.0,
    )
    strategy.start(InProcessGrid(app, n), _model(size, np.random.default_rng(99)), num_rounds=1)
    return strategy.found


def _model(size: int, generator: np.random.Generator) -> ArrayRecord:
    return ArrayRecord({
        f"w{i}": Array(generator.random(int(size * share), dtype=np.float32))
        for i, share in enumerate(SHARES)
    })


def write_table() -> None:
    """Draw all results as one Markdown file."""
    lines = ["# Memory of one round above the received messages", "", (
        "In units of the model's size; the goal is at most one output vector and 5 % of the "
        "messages. Allocated: by Python and NumPy, the new model included. Resident: of the "
        "process. Written by `python -m benchmarks.memory`."
    ), ""]
    for path in sorted(RESULTS.glob("memory-*.json")):
        data = json.loads(path.read_text())
        limit = 1.0 + 0.05 * data["n"]
        lines += [
            f"## n = {data['n']}, models of {data['megabytes']} MB (goal: {limit:.2f})", "",
            "| rule | reply | allocated | resident |", "|---|---|---|---|",
        ]
        size = data["megabytes"] * 1e6
        for rule, replies in data["rules"].items():
            for reply, found in replies.items():
                name = rule.replace("|", "\\|")
                lines.append(
                    f"| `{name}` | {reply} | {found['allocated'] / size:.2f} | "
                    f"{found['resident'] / size:.2f} |"
                )
        lines.append("")
    (RESULTS / "memory.md").write_text("\n".join(lines))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rules", nargs="*", default=RULES)
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    n, megabytes = arguments.n, arguments.megabytes
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"memory-n{n}-{megabytes}MB.json"
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rules": {}}
    data |= {"n": n, "megabytes": megabytes, "machine": describe()}
    for text in arguments.rules:
        for reply in ("momentum", "weights"):
            measure(text, reply, 5, 2_000_000)  # imports and compiles what the rule needs
            found = measure(text, reply, n, megabytes * 250_000)
            print(text, reply, {k: f"{v:.3g}" for k, v in found.items()}, flush=True)
            data["rules"].setdefault(text, {})[reply] = found
            path.write_text(json.dumps(data, indent=1) + "\n")
            write_table()


if __name__ == "__main__":
    main()
