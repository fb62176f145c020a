"""`sweep` and `figures`: many experiments, and what they show together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flwr_resam.errors import requirement
from simulations.commands.shared import RunConfig, console, failure, progress_bar, read_overrides
from simulations.sweep.evidence import draw
from simulations.sweep.grid import read_grid
from simulations.sweep.runner import missing
from simulations.sweep.runner import sweep as run_sweep
from simulations.sweep.store import RESULTS, Run, read_runs


def sweep(
    grid: Annotated[Path, typer.Argument(help="A TOML file, as in simulations/grids.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder for the results; results/ and the grid's name.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="A Ray cluster's address; else Ray starts on this machine.")
    ] = "",
    gpus: Annotated[
        float, typer.Option(min=0.0, help="GPUs for each run; 0.5 puts two runs on one.")
    ] = 0.0,
    run_config: RunConfig = None,
) -> None:
    """Run every combination of a grid that has no result yet, each as a Ray task.

    GRID is a TOML file, as in simulations/grids.

    What --run-config sets stands in place of the grid's values: seed=0 runs the first seed alone.
    """
    folder = output_dir or Path("results") / grid.stem
    try:
        experiments = read_grid(grid, read_overrides(run_config), here=not address)
        left = missing(experiments, folder)
    except (ValueError, TypeError, OSError) as error:
        raise failure(str(error), code=2) from None
    console.print(f"{len(experiments)} runs, {len(left)} to do; results in {folder / RESULTS}")
    failed: list[Run] = []
    with progress_bar("run") as progress:
        task = progress.add_task("starting Ray", total=len(left))

        def show(run: Run) -> None:
            if run.error:
                failed.append(run)
            name = f"{run.config['aggregator']}, {run.config['attack']}"
            progress.update(task, advance=1, description=name)

        try:
            run_sweep(experiments, folder, address, show, gpus)
        except ConnectionError as error:
            progress.stop()
            raise failure(f"`--address {address}` leads to no Ray cluster: {error}") from None
        except ValueError as error:
            progress.stop()
            raise failure(str(error), code=2) from None
    if failed:
        raise failure(
            f"{len(failed)} of {len(left)} runs failed, the first with {failed[0].error}. "
            "The same command tries them again."
        )
    console.print(f"Now: python -m simulations figures {folder}")


def figures(
    folder: Annotated[Path, typer.Argument(help="Where a sweep wrote its results.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder for figures and tables; that of the results.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="Draw this rule's curves, and others so given.")
    ] = None,
) -> None:
    """Draw a sweep: accuracy over rounds, a heat map of rule and attack, and a table.

    FOLDER is where a sweep wrote its results.
    """
    try:
        runs = list(read_runs(folder).values())
        if all(run.error for run in runs):
            raise requirement(
                str(folder / RESULTS), "hold a result to draw",
                "runs that failed only" if runs else "no run",
                f"Run `python -m simulations sweep GRID --output-dir {folder}` first",
            )
        made = draw(runs, output_dir or folder, rule or [])
    except ValueError as error:
        raise failure(str(error), code=2) from None
    for path in made:
        console.print(str(path))
