"""A real SuperLink and ServerApp, and nodes whose every Fleet call is in the test's hand.

The project's own federation (TLS, node keys, the proxy where nginx is installed) runs Resam on a
small model; its nodes are `RawNode`, in threads of this process. Honest ones answer each instruction
with `row`, hostile ones do what the test's attack says::

    def two_answers(node: RawNode, campaign: Campaign) -> None:
        for asked, tree in node.asked():
            node.push(node.reply(asked, row(1e6)))
            node.push(node.reply(asked, row(-1e6)))

    found = attacked(two_answers, folder=tmp_path, nodes=5, malicious=1, rounds=3)
    assert found.end == "completed"
    assert max(found.seconds) < 30
    assert found.models[-1] == pytest.approx([-3.0] * 6, abs=0.2)

All is on the loopback interface and ends with the call.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from simulations.deployment.federation import Federation
from simulations.experiment import PROJECT
from simulations.flwr_cli import LOG
from tests.redteam.raw_node import RawNode

__all__ = ["Attack", "Campaign", "Outcome", "RawNode", "WithoutSuperNodes", "attacked", "honest", "row"]

APP = Path(__file__).parent / "app"
_POLL = 0.3


@dataclass(frozen=True)
class Campaign:
    """What an attack sees: the federation, all its nodes in the order of partitions, the run."""

    federation: Federation
    nodes: list[RawNode]
    run_id: int


Attack = Callable[[RawNode, Campaign], None]


@dataclass
class Outcome:
    """What came of a run under attack.

    Attributes
    ----------
    end : str
        "completed", the exception that ended the ServerApp, or "" where ``limit`` came first.
    seconds : list of float
        Of each round, the first one's from the start of the ServerApp; the evaluation before
        the first round is not one.
    models : list of list of float
        The first eight numbers of the model, before the first round and after each.
    metrics : dict
        The metrics that `Resam.start` returns, by the round as text.
    failures : list of str
        What ended a node's thread other than its own return.
    log : list of str
        The lines of the ServerApp's and SuperLink's log.
    """

    end: str = ""
    seconds: list[float] = field(default_factory=list)
    models: list[list[float]] = field(default_factory=list)
    metrics: dict[str, dict[str, object]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


def row(value: float, size: int = 6, **more: MetricRecord) -> RecordDict:
    """An honest reply's records: every number of the momentum is ``value``."""
    return RecordDict({
        "momentum": ArrayRecord({"w": Array(np.full(size, value, np.float32))}),
        "metrics": MetricRecord({"loss": 0.5}),
        **more,
    })


def honest(node: RawNode, size: int = 6, delay: float = 0.0) -> None:
    """Answer every instruction with a row of about 1 until the node is to stop."""
    for asked, tree in node.asked():
        node.content(asked, tree)  # all of it, as a SuperNode does before it begins
        if node.stop.wait(delay):
            return
        node.push(node.reply(asked, row(1.0 + 0.01 * node.partition, size)))


class WithoutSuperNodes(Federation):
    """A federation whose keys are registered and whose nodes the test plays."""

    def start_node(self, partition: int) -> None:
        """The test starts it."""


def attacked(
    attack: Attack,
    *,
    folder: Path,
    nodes: int = 4,
    malicious: int = 1,
    delay: float = 0.0,
    limit: float = 240.0,
    code: Path = PROJECT,
    **config: int | float | str,
) -> Outcome:
    """Run Resam on a real SuperLink while the last nodes attack it.

    Parameters
    ----------
    attack : callable
        Given a hostile node and the campaign, runs in a thread of its own.
    folder : path
        For logs and results.
    nodes, malicious : int
        n and f; the last f nodes are hostile.
    delay : float
        Seconds that an honest node takes for an instruction.
    limit : float
        Seconds after which the run is ended.
    code : path
        The checkout of which the ServerApp imports flwr_resam.
    **config
        Further settings of `app/pyproject.toml`, with _ for -.
    """
    out = folder / "rounds.jsonl"
    settings = {key.replace("_", "-"): value for key, value in config.items()}
    settings |= {"nodes": nodes, "malicious": malicious, "out": str(out)}
    outcome = Outcome()
    # The ServerApp imports what is tested here, whatever is installed.
    with (
        patch.dict(os.environ, {"PYTHONPATH": str(code)}),
        WithoutSuperNodes(nodes, {}, True, folder) as federation,
    ):
        players = [RawNode(federation, partition) for partition in range(nodes)]
        run_id = int(federation.flwr.submit(APP, settings))
        campaign = Campaign(federation, players, run_id)
        size = int(settings.get("size", 6))

        def play(node: RawNode, act: Callable[[], None]) -> None:
            try:
                act()
            except Exception as error:
                if not node.stop.is_set():
                    outcome.failures.append(f"{node.partition}: {type(error).__name__}: {error}")

        threads = []
        for node in players:
            hostile = node.partition >= nodes - malicious
            act = partial(attack, node, campaign) if hostile else partial(honest, node, size, delay)
            threads += [
                threading.Thread(target=play, args=(node, act), daemon=True)
                for act in (node.beat, act)
            ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + limit
        while not outcome.end and time.monotonic() < deadline:
            time.sleep(_POLL)
            _read(out, outcome)
        for node in players:
            node.stop.set()
        for thread in threads:
            thread.join(timeout=5.0)
        for node in players:
            node.close()
    outcome.log = (folder / LOG).read_text(encoding="utf-8").splitlines()
    return outcome


def _read(out: Path, outcome: Outcome) -> None:
    """Take up what the ServerApp has written, whole lines only."""
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    rounds = [line for line in lines if "round" in line]
    outcome.seconds = [line["seconds"] for line in rounds if line["round"]]
    outcome.models = [line["model"] for line in rounds]
    for line in lines:
        if "end" in line:
            outcome.end, outcome.metrics = line["end"], line.get("metrics", {})
