"""What helps where nodes are asked rarely: momentum, local steps, larger batches, clipping.

``python -m benchmarks.sampling`` goes on where it ended, and writes results/sampling.jsonl and .md.
11 nodes are asked in each round: 5 Byzantine ones, always, which is the worst
that f = 5 covers, and 6 honest ones drawn of 6, 60 or 600. Digits, 300 rounds, gamma 0.5.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid

from clients import data, models
from clients.app import app
from clients.batched_training import together
from clients.seeds import generator
from clients.training import accuracy
from flwr_resam import AdversarialGrid, InProcessGrid, Resam, parse_rule
from flwr_resam.grids._wrapper import GridWrapper
from simulations.experiment import Experiment

RESULTS = Path(__file__).parent / "results" / "sampling.jsonl"
ASKED, LIARS, ROUNDS, RATE = 11, 5, 300, 0.5
ATTACKS = ("none", "foe(epsilon=0.1)", "alie(z=1.5)")
RULES = ("mda", "nnm | cwtm")
_APART = 3


@dataclass(frozen=True)
class Way:
    """How honest nodes make their rows, and of how many the six of a round are drawn."""

    beta: float
    honest: int
    local_steps: int = 1
    batch_size: int = 16
    before: str = ""  # a pre-aggregator at the server

    def __str__(self) -> str:
        work = f", {self.local_steps} local steps" if self.local_steps > 1 else ""
        work += f", batches of {self.batch_size}" if self.batch_size > 16 else ""
        work += f", behind `{self.before}`" if self.before else ""
        return f"beta = {self.beta:g}{work}"


# Without momentum, and with one distribution, it is all the same of how many nodes they are drawn.
WAYS = (
    Way(0.0, 600), Way(0.0, 600, local_steps=10), Way(0.0, 600, batch_size=160),
    # Rows that the server clips, to a length given, or to that of another row.
    *(Way(0.0, 600, local_steps=10, before=stage) for stage in ("clipping(radius=0.3)", "arc")),
    *(Way(beta, honest) for honest in (600, 60, 6) for beta in (0.9, 0.99)),
)


@dataclass(frozen=True)
class Run:
    """One run and the accuracy on the test set after it."""

    rule: str
    attack: str
    way: Way
    seed: int
    accuracy: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """All but what came of it."""
        return self.rule, self.attack, self.way, self.seed


class _Drawn(GridWrapper):
    """A grid of which some nodes are seen."""

    def __init__(self, grid: Grid, nodes: list[int]) -> None:
        super().__init__(grid)
        self._nodes = nodes

    def get_node_ids(self) -> Iterable[int]:
        """Those that are seen."""
        return self._nodes


class _HonestDrawn(Resam):
    """Asks the last f nodes in each round, and draws the others, as ``honest`` has them then."""

    honest: list[int]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """Draw the honest ones."""
        nodes = list(grid.get_node_ids())
        honest, liars = nodes[:-LIARS], nodes[-LIARS:]
        draw = generator(self.seed or 0, "asked", server_round=server_round, partition=0)
        chosen = draw.choice(len(honest), ASKED - LIARS, replace=False)
        self.honest[:] = sorted(map(int, chosen))
        some = _Drawn(grid, [honest[index] for index in self.honest] + liars)
        return super().configure_train(server_round, arrays, config, some)


def measure(rule: str, attack: str, way: Way, seed: int) -> Run:
    """Train, and measure."""
    whole = f"{way.before} | {rule}" if way.before else rule
    experiment = Experiment.default({
        "aggregator": whole, "attack": attack, "beta": way.beta, "seed": seed,
        "num-nodes": way.honest + LIARS, "num-malicious-nodes": LIARS, "num-rounds": ROUNDS,
        "learning-rate": RATE, "batch-size": way.batch_size, "local-steps": way.local_steps,
        "local-learning-rate": RATE / way.local_steps,
    })
    model = models.build(models.chosen(experiment.model, experiment.dataset), seed)
    grid: Grid = InProcessGrid(app, experiment.num_nodes, experiment.run_config())
    if adversaries := experiment.adversaries():
        grid = AdversarialGrid(grid, adversaries, seed=seed)
    strategy = _HonestDrawn(
        LIARS, parse_rule(whole), RATE, seed=seed, min_available_nodes=ASKED, fraction_evaluate=0.0
    )
    strategy.honest = []
    with together([strategy.honest]):  # the six compute in one pass, whichever they are
        done = strategy.start(grid, ArrayRecord(model.state_dict()), ROUNDS)
    score, _ = accuracy(done.arrays, model, data.load(experiment.dataset, ""))
    return Run(rule, attack, way, seed, score)


def read() -> list[Run]:
    """What was measured so far."""
    if not RESULTS.exists():
        return []
    lines = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return [Run(**{**line, "way": Way(**line["way"])}) for line in lines]


def table(runs: Iterable[Run]) -> str:
    """Means over the seeds, and the least where they are apart, in per cent."""
    runs = list(runs)
    heads = [f"`{rule}`, {attack}".replace("|", "\\|") for rule, attack in product(RULES, ATTACKS)]
    lines = [f"| 6 honest of | nodes send | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for way in WAYS:
        cells = list(_cells(runs, way))
        lines.append(f"| {way.honest} | {way} | {' | '.join(cells)} |")
    seeds = len({run.seed for run in runs})
    head = (
        f"Accuracy on digits after {ROUNDS} rounds in %, mean over {seeds} seed(s), with the least "
        f"in brackets where it is {_APART} points lower."
    )
    return "\n".join([head, "", *lines, ""])


def _cells(runs: list[Run], way: Way) -> Iterator[str]:
    for rule, attack in product(RULES, ATTACKS):
        found = [r.accuracy for r in runs if (r.rule, r.attack, r.way) == (rule, attack, way)]
        if not found:
            yield "-"
            continue
        mean, least = 100 * fmean(found), 100 * min(found)
        yield f"{mean:.0f}" + (f" ({least:.0f})" if mean - least >= _APART else "")


def main(seeds: int) -> None:
    """Measure what is missing, and write the table."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    done = {run.key for run in read()}
    for seed, way, rule, attack in product(range(seeds), WAYS, RULES, ATTACKS):
        if (rule, attack, way, seed) in done:
            continue
        run = measure(rule, attack, way, seed)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(run)) + "\n")
        RESULTS.with_suffix(".md").write_text(table(read()), encoding="utf-8")
        print(f"{rule}, {attack}, {way} of {way.honest}, seed {seed}: {run.accuracy:.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
