"""A thousand nodes in one process: processor time a round and memory, round by round.

    python -m benchmarks.crowd --rules cwtm mda --rounds 20

Digits, a fifth of the nodes under ALIE, batches of one. Each rule has a process of its own; what a
round takes is the median over the rounds from the third on, in processor time of all threads.
Writes benchmarks/results/crowd.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import statistics
import time
from itertools import pairwise
from typing import Any

from flwr.app import ArrayRecord

from benchmarks.machine import RESULTS, describe, resident
from simulations.experiment import Experiment
from simulations.in_process import run_in_process

_SHOWN = 20  # memory is noted so often, beside the first rounds


def measure(rule: str, nodes: int, rounds: int) -> dict[str, Any]:
    """One run; the model is evaluated in each round, by a test set of 360 examples."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    experiment = Experiment.default({
        "dataset": "digits", "num-nodes": nodes, "num-malicious-nodes": nodes // 5,
        "attack": "alie", "aggregator": rule, "batch-size": 1, "num-rounds": rounds,
        "evaluate-every": 1, "beta": 0.9,
    })
    work: list[float] = []
    wall: list[float] = []
    memory: dict[int, float] = {}

    def note(server_round: int, arrays: ArrayRecord) -> None:  # noqa: ARG001
        work.append(time.process_time())
        wall.append(time.perf_counter())
        if server_round <= 5 or server_round % max(1, rounds // _SHOWN) == 0:
            memory[server_round] = resident() >> 20

    run_in_process(experiment, batched=True, on_model=note)
    spent = [after - before for before, after in pairwise(work)][2:]
    taken = [after - before for before, after in pairwise(wall)][2:]
    return {
        "cpu-seconds-a-round": round(statistics.median(spent), 3),
        "seconds-a-round": round(statistics.median(taken), 3),
        "mib-after-round": memory,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rules", nargs="*", default=["cwtm", "mda"])
    arguments = parser.parse_args()
    path = RESULTS / "crowd.json"
    found: dict[str, Any] = {
        "nodes": arguments.nodes, "rounds": arguments.rounds, "machine": describe(), "rules": {},
    }
    for rule in arguments.rules:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            one = pool.apply(measure, (rule, arguments.nodes, arguments.rounds))
        print(rule, one, flush=True)
        found["rules"][rule] = one
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
