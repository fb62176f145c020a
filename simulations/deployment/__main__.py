"""`python -m simulations.deployment`: a federation of processes here, or the keys of a real one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clients.byzantine import BYZANTINE_CLIENTS
from flwr_resam.report import report
from simulations.commands.shared import RunConfig, console, failure, read_experiment, user_errors
from simulations.deployment.drill import drill as run_drill
from simulations.deployment.federation import Federation
from simulations.deployment.keys import make_keys
from simulations.deployment.run import NodeReport, byzantine_nodes, run_deployed
from simulations.experiment import Experiment
from simulations.flwr_cli import RunFailed
from simulations.processes import exit_on_sigterm
from simulations.results import Evaluation

# A real federation takes seconds a round, so its defaults are those of a small experiment.
DEFAULTS = {
    "num-nodes": 6, "num-malicious-nodes": 1, "attack": "none", "num-rounds": 5,
    "learning-rate": 1.0, "local-steps": 20, "beta": 0.5, "connect-timeout": 300.0,
    "round-timeout": 120.0,
}

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Byzantine = Annotated[str, typer.Option(help="What the last num-malicious-nodes nodes run.")]

@app.command()
def run(
    output_dir: Annotated[Path, typer.Option(help="Folder for results and logs.")] = Path(
        "results/deployment"
    ),
    run_config: RunConfig = None,
    byzantine: Byzantine = "sign-flip",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS and no node authentication.")
    ] = False,
) -> None:
    """Start a federation on this machine, train on it, and end every process again."""
    experiment = read_experiment(run_config, output_dir, **DEFAULTS)
    liars = _liars(experiment, byzantine)
    console.print(
        f"{experiment.num_nodes} SuperNodes, {len(liars)} of them {byzantine}; "
        f"{'no TLS' if insecure else 'TLS and node authentication'}; results in {output_dir}"
    )
    with Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("round {task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("starting the SuperLink", total=experiment.num_rounds)

        def started(_: Federation) -> None:
            progress.update(task, description="waiting for the nodes")

        def show(evaluation: Evaluation) -> None:
            progress.update(
                task, completed=evaluation.round, description=f"accuracy {evaluation.accuracy:.1%}"
            )

        try:
            with user_errors():
                nodes = run_deployed(
                    experiment, byzantine=liars, secure=not insecure, on_evaluation=show,
                    on_start=started,
                )
        except RunFailed as error:
            progress.stop()
            raise failure(str(error)) from None
    _print(nodes, output_dir)


@app.command()
def drill(
    output_dir: Annotated[Path, typer.Option(help="A new folder for results and logs.")] = Path(
        "results/drill"
    ),
    run_config: RunConfig = None,
    byzantine: Byzantine = "sign-flip",
) -> None:
    """Try what no device may do, kill a SuperNode and the ServerApp, and bring both back."""
    experiment = read_experiment(run_config, output_dir, **DEFAULTS)
    liars = _liars(experiment, byzantine)
    started = time.monotonic()

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - started:6.1f} s  {what}", highlight=False)

    try:
        found = run_drill(experiment, byzantine=liars, say=say)
    except (ValueError, RunFailed) as error:
        raise failure(str(error)) from None
    _print(found.nodes, output_dir)


@app.command()
def keys(
    folder: Annotated[Path, typer.Argument(help="A new folder for the files.")],
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes get a key.")] = 6,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address for devices to connect to; more than one is fine."),
    ] = None,
) -> None:
    """Make the certificates and keys of a federation: for SuperLink, proxy and each node."""
    try:
        made = make_keys(folder, nodes, host or ["localhost"])
    except FileExistsError as error:
        raise failure(f"{error.filename} exists already. Name a new folder.", 2) from None
    except ValueError as error:
        raise failure(str(error), 2) from None
    except OSError as error:
        raise failure(
            f"{error.filename or folder} can't be written: {error.strerror}. Name a new folder "
            "of yours.", 2,
        ) from None
    console.print(f"For everybody: {made.ca}\nFor the SuperLink: {made.certificate}, {made.key}")
    console.print(f"For the proxy: {made.proxy_certificate}, {made.proxy_key}")
    console.print(f"For node i: {folder}/node-i; to register: {folder}/node-i.pub")


def _print(nodes: list[NodeReport], output_dir: Path) -> None:
    table = Table("partition", "node", "client", "status at the end")
    for node in nodes:
        table.add_row(str(node.partition), str(node.node or ""), node.client, node.status)
    console.print(table)
    report(output_dir, console)


def _liars(experiment: Experiment, byzantine: str) -> dict[int, str]:
    if byzantine not in BYZANTINE_CLIENTS:
        raise failure(str(BYZANTINE_CLIENTS.unknown(byzantine)), 2)
    return byzantine_nodes(experiment, byzantine)


if __name__ == "__main__":
    exit_on_sigterm()
    app()
