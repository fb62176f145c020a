"""Runs a sweep: each experiment one Ray task, on this machine or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from flwr_resam.errors import requirement
from flwr_resam.plugins import load, sources
from flwr_resam.server.ledger import read_ledger
from simulations.experiment import PROJECT, Experiment
from simulations.results import Evaluation, versions
from simulations.sweep.grid import key_of
from simulations.sweep.store import Run, Store, read_runs

_TAKE_ALONG = ("RESAM_DATA", "FLWR_TELEMETRY_ENABLED")


def missing(experiments: Sequence[Experiment], folder: Path) -> list[Experiment]:
    """The experiments that have no result in the folder; failed ones are tried again."""
    done = {key for key, run in read_runs(folder).items() if run.error is None}
    return [experiment for experiment in experiments if key_of(experiment.run_config()) not in done]


def sweep(
    experiments: Sequence[Experiment],
    folder: Path,
    address: str = "",
    on_run: Callable[[Run], None] = lambda _: None,
    gpus: float = 0.0,
) -> None:
    """Run the experiments that the folder has no result of.

    Parameters
    ----------
    experiments : sequence of Experiment
        As `grid.read_grid` gives them.
    folder : Path
        For ``results.jsonl``. A sweep that was stopped, by SIGKILL too, goes on from there.
    address : str
        A Ray cluster's, whose workers get this project; "" starts Ray on this machine.
    on_run : callable
        Called for each run when it is on the disk. A run that fails is one of them.
    gpus : float
        The GPUs that Ray sets apart for a run; 0.5 puts two on one. With 0 runs on "cuda" share
        the GPU of this machine, as many at a time as it has cores.

    Raises
    ------
    ValueError
        If no machine of the cluster has that many GPUs, or runs on "cuda" are to ask a cluster
        for none. As with a folder that another sweep writes, nothing has run then.
    """
    left = missing(experiments, folder)
    if not left:
        return
    store = Store(folder)
    try:
        for run in _on_ray(left, address, gpus):
            store.add(run)
            on_run(run)
    finally:
        store.close()


def run_one(experiment: Experiment, plugins: Mapping[str, str] | None = None) -> Run:
    """Run one experiment in this process; whatever ends it is in the result.

    ``plugins`` has the text of the experiment's own files, for a machine that lacks them.
    """
    from flwr_resam import QuorumLostError
    from simulations.in_process import run_in_process

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    evaluations: list[Evaluation] = []
    started = time.monotonic()
    model, error, diverged = "", None, False
    with tempfile.TemporaryDirectory(prefix="flwr-resam-") as folder:  # for the ledger
        try:
            load(experiment.plugins, plugins)
            own = replace(experiment, output_dir=folder, checkpoint_every=0, resume=False)
            model = run_in_process(own, evaluations.append, batched=True).digest
        except Exception as raised:
            diverged = isinstance(raised, QuorumLostError) and raised.diverged
            error = None if diverged else f"{type(raised).__name__}: {raised}"
        weight = byzantine_weight(experiment, Path(folder))
    return Run(
        experiment.run_config(), versions(), tuple(evaluations), time.monotonic() - started,
        diverged, error, model, weight,
    )


def byzantine_weight(experiment: Experiment, folder: Path) -> float | None:
    """The weight of the Byzantine rows in the aggregate, on average over the rounds.

    0 is an attack that the rule kept out; f / n is what the mean gives to it. None where nobody
    attacks, where the rule gives rows no weights, and where no round had a result.
    """
    if experiment.attack == "none":
        return None
    lines = read_ledger(folder)
    nodes = sorted({line.node for line in lines})  # in process these follow the partitions
    byzantine = set(nodes[experiment.num_nodes - experiment.num_malicious_nodes :])
    shares: dict[int, float] = {}
    for line in lines:
        if line.weight is not None:
            own = line.weight if line.node in byzantine else 0.0
            shares[line.round] = shares.get(line.round, 0.0) + own
    return fmean(shares.values()) if shares else None


def _on_ray(experiments: Sequence[Experiment], address: str, gpus: float) -> Iterator[Run]:
    """Yield each run as it is done, in whatever order that is."""
    import ray

    if address and not gpus and any(each.device.startswith("cuda") for each in experiments):
        raise requirement(
            "gpus", "be above 0 for runs on cuda on a cluster", gpus,
            "Give --gpus 1, or 0.5 for two runs on one",
        )

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns
    environment = {name: os.environ[name] for name in _TAKE_ALONG if name in os.environ}
    code = {
        "working_dir": str(PROJECT),
        "excludes": ["/.git", "/results", "/docs", "/benchmarks", "*.png"],
    }
    ray.init(
        address=address or "local",
        runtime_env={"env_vars": environment, **(code if address else {})},
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=None if address else False,
    )
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        most = max(node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"])
        if gpus > most:  # else Ray would wait for ever
            raise requirement(
                "gpus", "be at most what one machine has", f"{gpus:g}, of {most:g}",
                "Ask for less, or name the --address of a cluster with GPUs",
            )
        # One core a run: as many runs at a time as the cluster has cores, or GPUs.
        task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(run_one)
        pending = {
            task.remote(experiment, sources(experiment.plugins)): experiment
            for experiment in experiments
        }
        while pending:
            (done,), _ = ray.wait(list(pending), num_returns=1)
            experiment = pending.pop(done)
            try:
                run = ray.get(done)
            except ray.exceptions.RayError as error:  # the worker died, not the experiment
                reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                run = Run(experiment.run_config(), versions(), (), 0.0, error=reason)
            yield run
    finally:
        ray.shutdown()
