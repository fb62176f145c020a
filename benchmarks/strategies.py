"""The server's half of a round, strategy beside strategy: from the replies to the next model.

    python -m benchmarks.strategies --n 15 --d 100000 --f 3

Flower's own strategies and what others publish for Flower (qora-fl, acfa-flower), each by the
method that Flower calls, on the same weights; flwr-resam's time includes its checks of every reply.
acfa-flower needs its Rust program (ACFA_AGG_BIN). What is not installed is left out and said.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, Strategy

from benchmarks.machine import RESULTS, alternate, describe, version
from flwr_resam import InProcessGrid, Resam, parse_rule
from flwr_resam.wire.flower import received

OURS = "flwr-resam"
RULES = ("mean", "cwmed", "cwtm", "krum", "bulyan")
_LAYERS = 4
Aggregation = Callable[[], Any]


class Replies:
    """What n nodes answer, in the form of each of Flower's two interfaces."""

    def __init__(self, n: int, d: int, f: int) -> None:
        generator = np.random.default_rng(0)
        rows = generator.standard_normal((n, d), dtype=np.float32)
        rows[:f] += np.float32(0.5)
        self.n, self.f = n, f
        self.layers = [np.array_split(row, _LAYERS) for row in rows]
        self.model = _record([np.zeros_like(layer) for layer in self.layers[0]])
        nodes = ClientApp()

        @nodes.train()
        def train(message: Message, context: Context) -> Message:
            own = self.layers[int(context.node_config["partition-id"])]
            content = RecordDict({"arrays": _record(own)})
            content["metrics"] = MetricRecord({"num-examples": 1})
            return Message(content, reply_to=message)

        self.grid = InProcessGrid(nodes, n)

    def by(self, strategy: Strategy) -> Aggregation:
        """What a strategy does with the replies to its own messages."""
        config = ConfigRecord()
        asked = list(strategy.configure_train(1, self.model, config, self.grid))
        replies = list(self.grid.send_and_receive(asked))

        def aggregate() -> list[Any]:
            # Some of Flower's strategies take the replies apart.
            arrays, _ = strategy.aggregate_train(1, [received(reply) for reply in replies])
            assert arrays is not None
            return arrays.to_numpy_ndarrays()

        return aggregate

    def by_fit(self, strategy: Any) -> Aggregation:
        """What a strategy of Flower's earlier interface does with the same replies."""
        from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays

        class Proxy:
            def __init__(self, number: int) -> None:
                self.cid = str(number)

        results = [
            (Proxy(i), FitRes(Status(Code.OK, ""), ndarrays_to_parameters(own), 1, {}))
            for i, own in enumerate(self.layers)
        ]

        def aggregate() -> list[Any]:
            parameters, _ = strategy.aggregate_fit(1, results, [])
            return parameters_to_ndarrays(parameters)

        return aggregate


def candidates(rule: str, replies: Replies) -> dict[str, Aggregation]:
    """All who have a rule of that name, by name; ours first."""
    n, f = replies.n, replies.f
    shared: dict[str, Any] = {
        "fraction_evaluate": 0.0, "min_train_nodes": n, "min_available_nodes": n,
    }
    flower: dict[str, Callable[[], Strategy]] = {
        "mean": lambda: FedAvg(**shared),
        "cwmed": lambda: FedMedian(**shared),
        "cwtm": lambda: FedTrimmedAvg(**shared, beta=(f + 0.25) / n),
        "krum": lambda: Krum(**shared, num_malicious_nodes=f),
        "bulyan": lambda: Bulyan(**shared, num_malicious_nodes=f),
    }
    ours = Resam(f, parse_rule(rule), learning_rate=1.0, **shared)
    found = {OURS: replies.by(ours), "Flower": replies.by(flower[rule]())}
    qora = {
        "mean": "fedavg", "cwmed": "median", "cwtm": "trimmed_mean", "krum": f"krum:{f}",
    }.get(rule)
    if qora is not None and importlib.util.find_spec("qora") is not None:
        from qora import QoraStrategy

        strategy = QoraStrategy(qora, trim_fraction=f / n, reputation_threshold=0.0)
        found["qora-fl"] = replies.by_fit(strategy)
    if rule in ("mean", "cwtm", "krum", "bulyan") and acfa_is_there():
        from acfa_flower import AcfaStrategy, Rule

        kind = {"cwtm": "trimmed"}.get(rule, rule)
        found["acfa-flower"] = replies.by_fit(AcfaStrategy(rule=Rule(kind), f=f, beta=(f, n)))
    return found


def acfa_is_there() -> bool:
    """Whether acfa-flower and the program that it calls are."""
    return importlib.util.find_spec("acfa_flower") is not None and "ACFA_AGG_BIN" in os.environ


def measure(rule: str, replies: Replies, repeats: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of each, and the share of coordinates in which its model is another."""
    if not parse_rule(rule).admits(replies.n, replies.f):
        return {}
    found = candidates(rule, replies)
    models: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, call in found.items():
        try:
            models[name] = np.concatenate(call())
        except Exception as error:
            refused[name] = f"{type(error).__name__}: {error}"
    size = float(np.abs(models[OURS]).max())
    differs = {
        name: float((np.abs(model - models[OURS]) > 1e-5 * size).mean())
        for name, model in models.items() if name != OURS
    }
    times = alternate({name: found[name] for name in models}, repeats, seconds)
    ms = {name: round(wall, 2) for name, (wall, _) in times.items()}
    return {"ms": ms, "differs": differs, "refused": refused}


def write_table() -> None:
    """Draw all results as one Markdown file."""
    lines = [
        "# The server's half of a round", "",
        "Milliseconds from the replies to the next model, medians of alternating calls on the same "
        "weights, and how many times as long as flwr-resam, which also checks every reply. In "
        "italics: another model (of more than one coordinate in ten thousand). Written by "
        "`python -m benchmarks.strategies`.", "",
    ]
    for path in sorted(RESULTS.glob("strategies-*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        machine = data["machine"]
        entries = data["rules"].values()
        names = list(dict.fromkeys(
            name for entry in entries for name in (*entry["ms"], *entry["refused"])
        ))
        versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
        lines += [
            f"## n = {data['n']}, d = {data['d']:,}, f = {data['f']}", "",
            f"{machine['processor']}, {machine['cores']} cores, {machine['when']}; {versions}.", "",
            f"| rule | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|",
        ]
        for rule, entry in data["rules"].items():
            cells = [_cell(name, entry) for name in names]
            lines.append(f"| `{rule}` | {' | '.join(cells)} |")
        lines.append("")
    (RESULTS / "strategies.md").write_text("\n".join(lines), encoding="utf-8")


def _cell(name: str, entry: dict[str, Any]) -> str:
    ms = entry["ms"]
    if name in entry["refused"]:
        return "raises"
    if name not in ms:
        return ""
    text = f"{ms[name]:.1f}"
    if name == OURS:
        return text
    text += f" ({ms[name] / ms[OURS]:.1f}x)"
    return f"*{text}*" if entry["differs"][name] > 1e-4 else text


def _record(layers: list[Any]) -> ArrayRecord:
    return ArrayRecord({f"w{index}": Array(layer) for index, layer in enumerate(layers)})


def _versions() -> dict[str, str]:
    found = {}
    for name in ("flwr", "qora-fl", "acfa-flower"):
        if (there := version(name)) is None:
            print(f"left out: {name} (pip install --no-deps {name})")
        else:
            found[name] = there
    if "acfa-flower" in found and not acfa_is_there():
        print("left out: acfa-flower (set ACFA_AGG_BIN to its Rust program)")
        del found["acfa-flower"]
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=15)
    parser.add_argument("--d", type=int, default=100_000)
    parser.add_argument("--f", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each candidate")
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    n, d, f = arguments.n, arguments.d, arguments.f
    data: dict[str, Any] = {
        "n": n, "d": d, "f": f, "machine": describe(), "versions": _versions(), "rules": {},
    }
    replies = Replies(n, d, f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rule in RULES:
            entry = measure(rule, replies, arguments.repeats, arguments.seconds)
            if entry:
                print(rule, entry, flush=True)
                data["rules"][rule] = entry
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"strategies-n{n}-d{d}-f{f}.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    write_table()


if __name__ == "__main__":
    main()
