"""What beta does where a round is whole local epochs: the apps of examples/, attacked or not.

    python -m benchmarks.momentum

Ten nodes, up to three of them Byzantine, in process. It goes on where an earlier call ended.
The numbers are in benchmarks/results/momentum.json, the tables drawn of them beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks.examples import MOMENTUM, App, load, run
from benchmarks.machine import RESULTS, describe
from clients.partitions import parse_partition
from flwr_resam import Resam, parse_rule

FILE = RESULTS / "momentum.json"
APPS = ("numpy", "pytorch", "sklearn", "jax")
PARTITIONS = ("iid", "dirichlet(alpha=0.3)")
ATTACKS = ("none", "foe(epsilon=10.0)", "foe(epsilon=1.1)", "alie(z=1.5)", "min-max")
RULES = ("mda", "cwtm")
BETAS = (0.0, 0.5, 0.9)
FEDAVG = "FedAvg"
STRATEGIES = (
    FEDAVG, *(f"{rule}, beta = {beta:g}" for rule, beta in product(RULES, BETAS)),
    "nnm | cwtm, beta = 0",  # for nodes that hold different data
)
ROUNDS = (3, 10, 40)
SEEDS = (0, 1, 2)
NODES, BYZANTINE = 10, 3

Runs = dict[str, list[float]]


class Cell(NamedTuple):
    """One run, without its seed."""

    app: str
    partition: str
    attack: str
    strategy: str

    def key(self, seed: int) -> str:
        """Name a run of it in the file."""
        return "; ".join((*self, f"seed {seed}"))


def cells() -> Iterator[Cell]:
    """All of them."""
    yield from map(Cell._make, product(APPS, PARTITIONS, ATTACKS, STRATEGIES))


def measure(cell: Cell, seed: int) -> list[float]:
    """Train for the most rounds; the test accuracy after each number of `ROUNDS`."""
    rule, _, beta = cell.strategy.partition(", beta = ")
    app = _app(cell.app, beta)
    shares = _shares(app, cell.partition, seed)
    app.task.share = lambda labels, node, nodes: shares[node]  # type: ignore[attr-defined]  # noqa: ARG005
    if beta:
        app.server.Resam = partial(Resam, aggregator=parse_rule(rule))  # type: ignore[attr-defined]
    found = run(
        app, num_nodes=NODES, byzantine=BYZANTINE, attack=cell.attack, seed=seed,
        num_server_rounds=max(ROUNDS), fraction_evaluate=0.0,
    )
    return [round(float(found[number]["accuracy"]), 4) for number in ROUNDS]


@cache
def _app(name: str, beta: str) -> App:
    """Load FedAvg's form of the app, or the other one with a beta."""
    if not beta:
        return load(f"quickstart-{name}", before=True)
    return load(f"quickstart-{name}", changes={MOMENTUM: f"momentum_mod(beta={beta})"})


def _shares(app: App, partition: str, seed: int) -> Any:
    labels = np.asarray(app.task.load_all()[1][: app.task.NUM_TRAIN])
    return parse_partition(partition).shares(labels, NODES, np.random.default_rng(seed))


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation in per cent."""
    numbers = [100 * value for value in values]
    return f"{statistics.fmean(numbers):.1f} ± {statistics.pstdev(numbers):.1f}"


def table(runs: Runs, apps: tuple[str, ...], partition: str, rounds: int) -> str:
    """One row a strategy, one column an attack, over the seeds and apps.

    The spread is that of the seeds: the standard deviation of the means over the apps.
    """
    lines = [
        "| | " + " | ".join(map(_column, ATTACKS)) + " |",
        "|---" * (1 + len(ATTACKS)) + "|",
    ]
    for strategy in STRATEGIES:
        columns = []
        for attack in ATTACKS:
            by_seed = [
                [
                    runs[key][ROUNDS.index(rounds)] for app in apps
                    if (key := Cell(app, partition, attack, strategy).key(seed)) in runs
                ] for seed in SEEDS
            ]
            means = [statistics.fmean(own) for own in by_seed if len(own) == len(apps)]
            columns.append(spread(means) if means else "")
        lines.append(" | ".join(["| " + strategy.replace("|", "\\|"), *columns]) + " |")
    return "\n".join(lines) + "\n"


def markdown(runs: Runs) -> str:
    """All tables."""
    parts = ["# Momentum over local epochs\n", (
        f"Test accuracy in per cent of the apps of [examples](../../examples), {NODES} nodes, "
        f"{BYZANTINE} of them Byzantine (all honest under \"no attack\", with f = {BYZANTINE} all "
        f"the same). Means over up to {len(SEEDS)} seeds of data, model and batches, ± their "
        "standard deviation; a cell without a run is empty. Written by "
        "`python -m benchmarks.momentum`.\n"
    )]
    for partition, rounds in product(PARTITIONS, ROUNDS):
        parts.append(f"## {partition}, {rounds} rounds\n")
        parts += [f"{app}:\n\n{table(runs, (app,), partition, rounds)}" for app in APPS]
    return "\n".join(parts)


def complete(runs: Runs) -> tuple[str, ...]:
    """Return the apps of which every run is there."""
    missing = {cell.app for cell in cells() for seed in SEEDS if cell.key(seed) not in runs}
    return tuple(app for app in APPS if app not in missing)


def gains(runs: Runs, partition: str, attack: str, rounds: int, beta: float) -> list[float]:
    """Return what a beta gains over beta = 0, in points, for each app, rule and seed."""
    found = []
    for app, rule, seed in product(APPS, RULES, SEEDS):
        without, own = (
            runs.get(Cell(app, partition, attack, f"{rule}, beta = {value:g}").key(seed))
            for value in (0.0, beta)
        )
        if without is not None and own is not None:
            at = ROUNDS.index(rounds)
            found.append(100 * (own[at] - without[at]))
    return found


def summary(runs: Runs) -> str:
    """Tables for docs/flower.md: what beta gains, and the accuracies of the complete apps."""
    lines = [
        "| gain over beta = 0 | " + " | ".join(_column(attack) for attack in ATTACKS) + " |",
        "|---" * (1 + len(ATTACKS)) + "|",
    ]
    for partition, rounds, beta in product(PARTITIONS, ROUNDS, BETAS[1:]):
        own = (statistics.fmean(gains(runs, partition, a, rounds, beta)) for a in ATTACKS)
        lines.append(
            f"| {partition}, {rounds} rounds, beta = {beta:g} | "
            + " | ".join(f"{value:+.1f}" for value in own) + " |"
        )
    apps, parts = complete(runs), ["\n".join(lines) + "\n"]
    for partition in PARTITIONS:
        title = f"accuracy, {partition}, {ROUNDS[-1]} rounds, mean of {', '.join(apps)}"
        parts.append(f"*{title}:*\n\n{table(runs, apps, partition, ROUNDS[-1])}")
    return "\n".join(parts)


def _column(attack: str) -> str:
    return "no attack" if attack == "none" else f"`{attack}`"


def read() -> dict[str, Any]:
    """What is there."""
    if not FILE.exists():
        return {"machine": describe(), "runs": {}}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def write(data: dict[str, Any]) -> None:
    """Write the numbers, a run a line, and the tables."""
    order = [cell.key(seed) for cell in cells() for seed in SEEDS]
    lines = [f"{json.dumps(k)}: {json.dumps(data['runs'][k])}" for k in order if k in data["runs"]]
    machine, rounds = json.dumps(data["machine"]), json.dumps(ROUNDS)
    head = f'{{"machine": {machine},\n"rounds": {rounds},\n"runs": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    FILE.with_suffix(".md").write_text(markdown(data["runs"]), encoding="utf-8")


def main() -> None:
    """Measure what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--apps", nargs="*", default=APPS, choices=APPS)
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    _one_thread()
    data = read()
    for seed in SEEDS:
        for cell in cells():
            key = cell.key(seed)
            if cell.app not in arguments.apps or key in data["runs"]:
                continue
            data["runs"][key] = measure(cell, seed)
            print(key, data["runs"][key], flush=True)
            write(data)


def _one_thread() -> None:
    """Let torch run on one core: the networks are too small for more."""
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
