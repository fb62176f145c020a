"""A long run in this process under every attack in turn, to see that it neither grows nor slows."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import psutil
from flwr.app import ArrayRecord, Message, MessageType, MetricRecord

from clients import data, models
from clients.app import app as client_app
from clients.byzantine import BYZANTINE_CLIENTS
from clients.training import accuracy
from flwr_resam import AdversarialGrid, InProcessGrid, Resam, parse_attack, parse_rule
from flwr_resam.attacks import ATTACKS
from flwr_resam.grids._wrapper import GridWrapper
from simulations.experiment import Experiment

SAMPLES = 50


@dataclass(frozen=True)
class Soak:
    """What a long run used.

    Attributes
    ----------
    rounds : int
        How many there were.
    turns : list of str
        The attacks, one a round, over and over.
    left_out : list of str
        Attacks that can't be made from their names alone.
    rss_kib : list of int
        The resident memory at even distances.
    seconds_per_round : list of float
        The median time of a round between these.
    accuracy : float
        Of the final model on the test set.
    """

    rounds: int
    turns: list[str]
    left_out: list[str]
    rss_kib: list[int]
    seconds_per_round: list[float]
    accuracy: float

    @property
    def growth_kib_per_round(self) -> float:
        """From the first fifth of the run to its end."""
        first = len(self.rss_kib) // 5
        rounds = self.rounds * (len(self.rss_kib) - 1 - first) / len(self.rss_kib)
        return (self.rss_kib[-1] - self.rss_kib[first]) / rounds

    @property
    def slowdown(self) -> float:
        """The time of a round in the last fifth of the run, over that in the second fifth."""
        fifth = len(self.seconds_per_round) // 5
        times = self.seconds_per_round
        return median(times[-fifth:]) / median(times[fifth : 2 * fifth])


class Turns(GridWrapper):
    """Another attack in every round: the adversary's, or one that the last nodes do themselves."""

    def __init__(self, grid: InProcessGrid, byzantine: list[int]) -> None:
        super().__init__(grid)
        self._contexts = grid.contexts
        # Many attacks are there twice: as the adversary's, and as what a client does by itself.
        self._turns: dict[tuple[str, str], AdversarialGrid | None] = {
            (name, "client"): None for name in BYZANTINE_CLIENTS
        }
        self.left_out: list[str] = []
        for name in ATTACKS:
            try:
                adversary = AdversarialGrid(grid, parse_attack(name), byzantine)
            except ValueError:
                self.left_out.append(name)
            else:
                self._turns[name, "adversary"] = adversary
        self.names = [f"{name} ({by})" for name, by in self._turns]
        self._order = list(self._turns)
        self._round = 0

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Send under the attack whose turn it is."""
        messages = list(messages)
        if not messages or messages[0].metadata.message_type != MessageType.TRAIN:
            return list(self._grid.send_and_receive(messages, timeout=timeout))
        turn = self._order[self._round % len(self._order)]
        self._round += 1
        adversary = self._turns[turn]
        for context in self._contexts.values():
            context.run_config["attack"] = turn[0] if adversary is None else "none"
        return list((adversary or self._grid).send_and_receive(messages, timeout=timeout))


def soak(
    rounds: int, folder: Path, on_round: Callable[[int], None] = lambda _: None
) -> Soak:
    """Train for so many rounds under all attacks, with ledger and checkpoints; write soak.json."""
    experiment = replace(
        Experiment.default(), num_nodes=5, num_malicious_nodes=1, aggregator="nnm | cwtm"
    )
    grid = InProcessGrid(client_app, experiment.num_nodes, experiment.run_config())
    turns = Turns(grid, list(grid.get_node_ids())[-experiment.num_malicious_nodes :])
    strategy = Resam(
        num_malicious_nodes=experiment.num_malicious_nodes,
        aggregator=parse_rule(experiment.aggregator), learning_rate=0.2, seed=experiment.seed,
        min_available_nodes=experiment.num_nodes, fraction_evaluate=0.0,
        output_dir=folder, checkpoint_every=max(1, rounds // 10),
    )
    process = psutil.Process()
    every = max(1, rounds // SAMPLES)
    rss: list[int] = []
    seconds: list[float] = []
    window: list[float] = []
    last = time.perf_counter()

    def look(number: int, arrays: ArrayRecord) -> MetricRecord | None:  # noqa: ARG001
        nonlocal last
        if number == 0:
            last = time.perf_counter()
            return None
        window.append(time.perf_counter() - last)
        if number % every == 0:
            gc.collect()
            rss.append(process.memory_info().rss // 1024)
            seconds.append(median(window))
            window.clear()
        on_round(number)
        last = time.perf_counter()
        return None

    model = models.build(models.chosen(experiment.model, experiment.dataset), experiment.seed)
    start = ArrayRecord(model.state_dict())
    result = strategy.start(turns, start, num_rounds=rounds, evaluate_fn=look)
    score, _ = accuracy(result.arrays, model, data.load(experiment.dataset))
    found = Soak(rounds, turns.names, turns.left_out, rss, seconds, score)
    content = {
        **asdict(found), "growth-kib-per-round": found.growth_kib_per_round,
        "slowdown": found.slowdown,
    }
    (folder / "soak.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return found
