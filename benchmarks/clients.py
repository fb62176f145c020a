"""Rounds per second on mnist-cnn: in process, on Ray, and ByzFL's own loop, in turn.

15 workers, 5 of them under ALIE (z = 1.5), trimmed mean, batches of 25, momentum 0.9. All have
the images in memory as standardised tensors or bytes; evaluation is not timed. Beside them the
gradients of the ten honest workers alone: what of a round is PyTorch's.
``python -m benchmarks.clients`` writes ``benchmarks/results/clients.json``; MNIST must be there
and ``pip install byzfl`` done.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from flwr.app import ArrayRecord, Message

import flwr_resam.wire.flower  # noqa: F401  importing flwr sets its logger up
from benchmarks.machine import processor
from clients import data, models
from clients.settings import ClientSettings
from clients.training import train
from flwr_resam import InProcessGrid
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.rows.threads import cores
from simulations.engine import run_on_flower
from simulations.experiment import Experiment
from simulations.in_process import nodes_of
from simulations.results import read_evaluations, versions
from simulations.training import run

N, F, BATCH, BETA, Z, RATE, L2 = 15, 5, 25, 0.9, 1.5, 0.1, 1e-4
RESULTS = Path(__file__).parent / "results" / "clients.json"


class Clock(GridWrapper):
    """Notes when each round's instructions are sent."""

    def __init__(self, grid: InProcessGrid) -> None:
        super().__init__(grid)
        self.times: list[float] = []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Pass them on."""
        messages = list(messages)
        if messages and messages[0].metadata.message_type == "train":
            self.times.append(time.perf_counter())
        return list(self._grid.send_and_receive(messages, timeout=timeout))


def in_process(rounds: int) -> list[float]:
    """Seconds of each round but the first, which warms up."""
    experiment = setting({"num-rounds": rounds + 2, "evaluate-every": rounds + 2})
    grid, _ = nodes_of(experiment, batched=False)
    clock = Clock(grid)
    run(experiment, clock)
    return _between(clock.times)


def gradients_alone(rounds: int) -> list[float]:
    """Seconds in which the honest workers' gradients are computed, on all cores."""
    experiment = setting({})
    settings = ClientSettings.read(experiment.run_config())
    model = models.build(experiment.model, experiment.seed)
    arrays = ArrayRecord(model.state_dict())
    times = [time.perf_counter()]
    with ThreadPoolExecutor(cores()) as pool:
        for number in range(1, rounds + 2):
            compute = partial(train, arrays, settings, server_round=number)
            list(pool.map(lambda i, compute=compute: compute(partition=i), range(N - F)))
            times.append(time.perf_counter())
    return _between(times)


def on_ray(rounds: int) -> list[float]:
    """Seconds of a round on Flower's simulation engine, one value.

    Evaluations come at rounds r, 2 r and 2 r + 1: what lies between the first two, without what
    lies between the last two, is r - 1 rounds and no evaluation.
    """
    with tempfile.TemporaryDirectory() as folder:
        experiment = setting({
            "num-rounds": 2 * rounds + 1, "evaluate-every": rounds, "output-dir": folder,
        })
        run_on_flower(experiment, lambda _: None)
        _, first, second, third = (e.seconds for e in read_evaluations(Path(folder)))
    return [(second - first - (third - second)) / (rounds - 1)]


def setting(changes: dict[str, Any]) -> Experiment:
    """What all run."""
    return Experiment.default({
        "dataset": "mnist", "model": "mnist-cnn", "num-nodes": N, "num-malicious-nodes": F,
        "batch-size": BATCH, "beta": BETA, "attack": f"alie(z={Z})", "aggregator": "cwtm",
        "learning-rate": RATE, "l2": L2, **changes,
    })


def byzfl_loop() -> Callable[[int], list[float]]:
    """ByzFL's training loop (`byzfl.benchmark.train`, DSGD) on images that are in memory."""
    import byzfl

    mnist = data.load("mnist")
    images = torch.from_numpy(mnist.inputs(mnist.train_x))
    dataset = torch.utils.data.TensorDataset(images, torch.from_numpy(mnist.train_y))

    def loader() -> torch.utils.data.DataLoader[Any]:
        return torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)

    common = {
        "model_name": "cnn_mnist", "device": "cpu", "optimizer_name": "SGD",
        "learning_rate": RATE, "weight_decay": L2, "milestones": [], "learning_rate_decay": 1.0,
    }
    rule = {"name": "TrMean", "parameters": {"f": F}}
    workers = [
        byzfl.Client({
            **common, "loss_name": "NLLLoss", "LabelFlipping": False, "nb_labels": 10,
            "momentum": BETA, "training_dataloader": loader(), "store_per_client_metrics": False,
        })
        for _ in range(N - F)
    ]
    server = byzfl.Server({
        **common, "test_loader": loader(), "aggregator_info": rule, "pre_agg_list": [],
    })
    attack = {"name": "ALittleIsEnough", "f": F, "parameters": {"tau": Z}}
    byzantine = byzfl.ByzantineClient(attack)

    def rounds(count: int) -> list[float]:
        times = [time.perf_counter()]
        for _ in range(count + 1):
            for worker in workers:
                worker.compute_gradients()
            honest = [worker.get_flat_gradients_with_momentum() for worker in workers]
            server.update_model_with_gradients(honest + byzantine.apply_attack(honest))
            model = server.get_dict_parameters()
            for worker in workers:
                worker.set_model_state(model)
            times.append(time.perf_counter())
        return _between(times)

    return rounds


def _between(times: list[float]) -> list[float]:
    """Seconds of each round but the first."""
    return [after - before for before, after in pairwise(times)][1:]


def hardware() -> dict[str, object]:
    """What this ran on."""
    return {
        "cpu": processor(), "cores": os.cpu_count(),
        "load-1-minute": round(os.getloadavg()[0], 1), "python": platform.python_version(),
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of each, in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    load = os.getloadavg()[0]
    runners: dict[str, Callable[[int], list[float]]] = {
        "byzfl": byzfl_loop(),
        "in-process": in_process,
        "gradients-alone": gradients_alone,
        "ray": on_ray,
    }
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(chosen.turns):
        for name, measure in runners.items():
            torch.set_num_threads(chosen.threads)
            seconds[name] += measure(chosen.rounds)
            middle = statistics.median(seconds[name])
            print(f"turn {turn + 1}: {name} {1 / middle:.2f} rounds/s", flush=True)
    content = {
        "setting": {
            "model": "mnist-cnn", "n": N, "f": F, "rule": "cwtm", "attack": f"alie(z={Z})",
            "batch-size": BATCH, "beta": BETA, "rounds": chosen.rounds * chosen.turns,
            "torch-threads": {"byzfl": chosen.threads, "ours": "1 in each client"},
        },
        "rounds-per-second": {
            name: round(1 / statistics.median(times), 2) for name, times in seconds.items()
        },
        "milliseconds-a-round": {
            name: [round(1e3 * value, 1) for value in sorted(times)]
            for name, times in seconds.items()
        },
        "hardware": {**hardware(), "load-before": round(load, 1)},
        "versions": {**versions(), "byzfl": version("byzfl")},
    }
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
