"""`tune`, `sweep` and `figures`: many experiments, and what they show together."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flwr_resam.errors import requirement
from simulations.commands.shared import RunConfig, console, failure, progress_bar, read_overrides
from simulations.experiment import Experiment
from simulations.sweep.evidence import draw
from simulations.sweep.grid import key_of, read_grid, read_tuning
from simulations.sweep.runner import missing
from simulations.sweep.runner import sweep as run_sweep
from simulations.sweep.store import RESULTS, Run, read_runs
from simulations.sweep.tuning import CHOICE, TRIALS, check_tuned_for, choose, read_choice

GridFile = Annotated[Path, typer.Argument(help="A TOML file, as in simulations/grids.")]
ResultsDir = Annotated[
    Path | None, typer.Option(help="Folder for the results; results/ and the grid's name.")
]
Address = Annotated[
    str, typer.Option(help="A Ray cluster's address; else Ray starts on this machine.")
]
Gpus = Annotated[float, typer.Option(min=0.0, help="GPUs for each run; 0.5 puts two runs on one.")]


def tune(
    grid: GridFile, output_dir: ResultsDir = None, address: Address = "", gpus: Gpus = 0.0
) -> None:
    """Choose learning rate and beta on held-out examples, by the worst case over attacks.

    GRID is a TOML file, as in simulations/grids; its [tune] says what to try.
    A sweep into the same folder takes the rates.
    """
    folder = output_dir or Path("results") / grid.stem
    try:
        experiments = read_tuning(grid, here=not address)
        _run(experiments, folder / TRIALS, address, gpus)
        known = read_runs(folder / TRIALS)
        choice = choose([known[key_of(each.run_config())] for each in experiments])
        choice.write(folder)
    except (ValueError, TypeError, OSError) as error:
        raise failure(str(error), code=2) from None
    betas = list(choice.others)
    table = Table("learning rate for", *(f"beta {beta:g}" for beta in betas), "best beta")
    for rule, rates in choice.learning_rate.items():
        table.add_row(rule, *(f"{rates[beta]:g}" for beta in betas), f"{choice.beta[rule]:g}")
    table.add_row("other rules", *(f"{choice.others[beta]:g}" for beta in betas))
    console.print(table)
    console.print(f"The choice is in {folder / CHOICE}")


def sweep(
    grid: GridFile,
    output_dir: ResultsDir = None,
    address: Address = "",
    gpus: Gpus = 0.0,
    run_config: RunConfig = None,
) -> None:
    """Run every combination of a grid that has no result yet, each as a Ray task.

    GRID is a TOML file, as in simulations/grids.

    What --run-config sets stands in place of the grid's values: seed=0 runs the first seed alone,
    'aggregator=["mda", "cwtm"]' two of its rules.
    Where `tune` has chosen rates for this folder, they are taken, unless --run-config sets some.
    """
    folder = output_dir or Path("results") / grid.stem
    try:
        given = _read_lists(run_config)
        experiments = read_grid(grid, given, here=not address)
        choice = None if "learning-rate" in given else read_choice(folder)
        if choice is not None:
            check_tuned_for(experiments, folder)
            experiments = choice.applied(experiments)
            console.print(f"Learning rates as {folder / CHOICE} has them")
        _run(experiments, folder, address, gpus)
    except (ValueError, TypeError, OSError) as error:
        raise failure(str(error), code=2) from None
    console.print(f"Now: python -m simulations figures {folder}")


def _read_lists(run_config: list[str] | None) -> dict[str, Any]:
    """As `read_overrides`, and lists, of which a grid takes one for any key."""
    found: dict[str, Any] = {}
    others = []
    for item in run_config or []:
        try:
            read = tomllib.loads(item)
        except tomllib.TOMLDecodeError:
            read = {}
        if any(isinstance(value, list) for value in read.values()):
            found |= read
        else:
            others.append(item)
    return read_overrides(others) | found


def _run(experiments: Sequence[Experiment], folder: Path, address: str, gpus: float) -> None:
    left = missing(experiments, folder)
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
    if failed:
        raise failure(
            f"{len(failed)} of {len(left)} runs failed, the first with {failed[0].error}. "
            "The same command tries them again."
        )


def figures(
    folder: Annotated[Path, typer.Argument(help="Where a sweep wrote its results.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder for figures and tables; that of the results.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="Draw this rule's curves, and others so given.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Show nothing of this rule, and others so given.")
    ] = None,
) -> None:
    """Draw a sweep: accuracy over rounds, a heat map of rule and attack, and a table.

    FOLDER is where a sweep wrote its results. A rule that fails without an attack is refused.
    """
    try:
        runs = list(read_runs(folder).values())
        if all(run.error for run in runs):
            raise requirement(
                str(folder / RESULTS), "hold a result to draw",
                "runs that failed only" if runs else "no run",
                f"Run `python -m simulations sweep GRID --output-dir {folder}` first",
            )
        made = draw(runs, output_dir or folder, rule or [], leave_out or [])
    except (ValueError, OSError) as error:
        raise failure(str(error), code=2) from None
    for path in made:
        console.print(str(path))


def results(
    folder: Annotated[Path, typer.Argument(help="Where a sweep wrote its results.")],
    csv: Annotated[
        Path | None, typer.Option(help="Write the whole frame there, a row a run.")
    ] = None,
) -> None:
    """Show a sweep as a table: the accuracy by attack, or all of it as CSV.

    FOLDER is where a sweep wrote its results. In Python: simulations.sweep.frame.read_frame.
    """
    from simulations.sweep.frame import accuracies, read_frame

    try:
        found = read_frame(folder)
        if found.empty:
            raise requirement(
                str(folder / RESULTS), "hold a result", "no run",
                f"Run `python -m simulations sweep GRID --output-dir {folder}` first",
            )
        if csv is not None:
            found.to_csv(csv, index=False)
    except (ValueError, OSError) as error:
        raise failure(str(error), code=2) from None
    if found["accuracy"].isna().all():
        raise failure(f"All {len(found)} runs of `{folder / RESULTS}` diverged or failed.")
    typer.echo(accuracies(found).round(1).to_string())
    if csv is not None:
        console.print(f"{len(found)} runs in {csv}")
