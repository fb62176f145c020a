"""What a round costs whose rows lie in a file: memory, seconds and bytes.

    python -m benchmarks.spill --n 100 --megabytes 400 --folder /var/tmp

Nodes in this process answer one after the other with a model of this size of noise, and
`Resam(spill=FOLDER)` aggregates it. Each rule has a process of its own, whose highest resident
memory is noted, with what the node takes that is just answering. Rows that the machine's memory
holds too are not read from the disk: how many bytes were is noted, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.machine import RESULTS, describe
from flwr_resam import InProcessGrid, Resam, parse_rule
from flwr_resam.scratch import Scratch
from flwr_resam.server.loop import RunState
from flwr_resam.wire.layout import MOMENTUM_KEY

RULES = ["cwtm", "mda", "nnm | cwtm"]
LAYERS = 10
FULLEST = 0.8  # share of a disk that may be in use


class Measured(Resam):
    """Resam that notes what each part of a round takes."""

    found: dict[str, float]

    def _resam_aggregate(
        self, server_round: int, replies: Iterable[Message], run: RunState, scratch: Scratch | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        assert scratch is not None
        marks = [time.perf_counter()]
        answering = [0.0]

        def watched() -> Iterator[Message]:
            stream = iter(replies)
            while True:
                began = time.perf_counter()
                reply = next(stream, None)
                answering[0] += time.perf_counter() - began
                if reply is None:
                    break
                yield reply
                del reply
            marks.append(time.perf_counter())
            scratch.settle()
            marks.append(time.perf_counter())

        read = _from_disk()
        result = super()._resam_aggregate(server_round, watched(), run, scratch)
        marks.append(time.perf_counter())
        admission, flush, rest = (b - a for a, b in pairwise(marks))
        self.found = {
            "seconds-of-nodes": answering[0],
            "seconds-admitting": admission - answering[0],
            "seconds-flushing": flush,
            "seconds-aggregating": rest,
            "bytes-written": scratch.written,
            "bytes-read": scratch.read,
            "bytes-read-from-disk": _from_disk() - read,
        }
        return result


def measure(rule: str, n: int, size: int, folder: Path) -> dict[str, float]:
    """One round with n rows of ``size`` float32."""
    import resource  # not everywhere

    logging.getLogger("flwr").setLevel(logging.ERROR)
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        random = np.random.default_rng(int(context.node_config["partition-id"]))
        return Message(RecordDict({MOMENTUM_KEY: _model(size, random)}), reply_to=message)

    strategy = Measured(
        num_malicious_nodes=n // 5, aggregator=parse_rule(rule), min_available_nodes=n,
        fraction_evaluate=0.0, spill=folder,
    )
    started = time.perf_counter()
    strategy.start(InProcessGrid(app, n), _model(size, np.random.default_rng(99)), num_rounds=1)
    found = strategy.found
    rows = n * size * 4
    return {
        **{name: round(value, 2) for name, value in found.items()},
        "reads-of-all-rows": round(found["bytes-read"] / rows, 2),
        "seconds-of-the-round": round(time.perf_counter() - started, 1),
        "load-average-over-15-minutes": round(os.getloadavg()[2], 1),
        "peak-mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def _model(size: int, random: np.random.Generator) -> ArrayRecord:
    return ArrayRecord({
        f"w{i}": Array(random.random(size // LAYERS, dtype=np.float32)) for i in range(LAYERS)
    })


def _from_disk() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def _in_a_process(queue: Any, *arguments: Any) -> None:
    queue.put(measure(*arguments))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rules", nargs="*", default=RULES)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    n, megabytes = arguments.n, arguments.megabytes
    disk = shutil.disk_usage(arguments.folder)
    if disk.used + n * megabytes * 1e6 > FULLEST * (disk.used + disk.free):
        parser.error(f"the disk would be more than {FULLEST:.0%} full")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"spill-n{n}-{megabytes}MB.json"
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rules": {}}
    data |= {
        "n": n, "megabytes": megabytes, "machine": describe(),
        "memory-gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    context = multiprocessing.get_context("spawn")
    for rule in arguments.rules:
        queue = context.Queue()
        process = context.Process(
            target=_in_a_process, args=(queue, rule, n, megabytes * 250_000, arguments.folder)
        )
        process.start()
        found = queue.get()
        process.join()
        found["peak-models"] = round(found["peak-mib"] * 2**20 / (megabytes * 1e6), 2)
        print(rule, found, flush=True)
        data["rules"][rule] = found
        path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
