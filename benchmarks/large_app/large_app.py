"""A large model that nobody trains: nodes return it moved by noise, with momentum."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.serverapp import Grid, ServerApp

from flwr_resam import Resam, momentum_mod
from flwr_resam.scratch import Scratch
from flwr_resam.server.loop import RunState

LAYERS = 10


def clock(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Say when this node began and ended, handler and momentum together."""
    began = time.time()
    reply = call_next(message, context)
    reply.content["clock"] = MetricRecord({"began": began, "ended": time.time()})
    return reply


client_app = ClientApp(mods=[clock, momentum_mod(beta=0.9)])


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Move every layer by a little noise."""
    random = np.random.default_rng(int(context.node_config["partition-id"]))
    arrays = [
        layer - 1e-3 * random.standard_normal(layer.shape, dtype=np.float32)
        for layer in message.content.array_records["arrays"].to_numpy_ndarrays()
    ]
    return Message(RecordDict({"arrays": ArrayRecord(arrays)}), reply_to=message)


class Timed(Resam):
    """Resam, with the times of every round in ``rounds``."""

    rounds: list[dict[str, float]]

    def configure_train(self, *args: Any, **kwargs: Any) -> list[Message]:
        """Note when the round begins."""
        self.began = time.time()
        return super().configure_train(*args, **kwargs)

    def _resam_aggregate(
        self, server_round: int, replies: Iterable[Message], run: RunState, scratch: Scratch | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Note when all replies are here, how long the gate was at them, and the next model."""
        admitting, last, collected = 0.0, 0.0, 0.0

        def watched() -> Iterator[Message]:
            nonlocal admitting, last, collected
            stream = iter(replies)
            while (reply := next(stream, None)) is not None:
                given = time.time()
                yield reply
                reply = None  # the next one comes, and this one goes
                last = time.time() - given
                admitting += last
            collected = time.time()

        model, metrics = super()._resam_aggregate(server_round, watched(), run, scratch)
        done = time.time()
        began, ended = (_seconds(metrics, f"last-{what}") for what in ("began", "ended"))
        self.rounds.append({
            "seconds": done - self.began,
            "sending": began - self.began,
            "clients": ended - began,
            "collecting": collected - ended,
            "aggregating": done - collected,
            "gate": admitting,
            "gate-of-the-last": last,
        })
        return model, metrics


def _seconds(metrics: MetricRecord | None, name: str) -> float:
    value = None if metrics is None else metrics[name]
    if not isinstance(value, int | float):
        raise TypeError(f"`{name}` must be a number of seconds. Found {value!r}.")
    return float(value)


def last(contents: list[RecordDict], _: str) -> MetricRecord:
    """When the last node began, and when the last one ended."""
    clocks = [content.metric_records["clock"] for content in contents]
    return MetricRecord({
        "last-began": max(times["began"] for times in clocks),
        "last-ended": max(times["ended"] for times in clocks),
    })


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a few rounds and write how long each phase of them took."""
    config = context.run_config
    size = int(config["megabytes"]) * 1_000_000 // 4 // LAYERS
    strategy = Timed(
        num_malicious_nodes=1, min_available_nodes=int(config["nodes"]), fraction_evaluate=0.0,
        train_metrics_aggr_fn=last, timeout=600.0, spill=str(config["spill"]),
    )
    strategy.rounds = []
    model = ArrayRecord([np.zeros(size, np.float32) for _ in range(LAYERS)])
    strategy.start(grid, model, num_rounds=int(config["rounds"]))
    Path(str(config["output"])).write_text(json.dumps(strategy.rounds), encoding="utf-8")
