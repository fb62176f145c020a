"""`robustness` and `soak`: bad replies, and long runs under attack."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from simulations.commands.shared import OutputDir, console, failure, progress_bar, user_errors
from simulations.robustness import TABLED, Cell, check_names, measure, summary
from simulations.robustness_cell import STRATEGIES
from simulations.soak import soak as run_soak


def robustness(
    output_dir: OutputDir = Path("results/robustness"),
    engine: Annotated[str, typer.Option(help="in-process, or ray, Flower's own.")] = "ray",
    strategy: Annotated[
        list[str] | None, typer.Option(help="Only these strategies; repeat for several.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only these kinds of reply; repeat for several.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many cells run at a time.")] = 2,
) -> None:
    """Measure what one node's bad replies do to Resam and to Flower's own strategies."""
    strategies, kinds = strategy or list(STRATEGIES), kind or TABLED
    try:
        check_names(strategies, kinds, engine)
    except ValueError as error:
        raise failure(str(error), code=2) from None
    with progress_bar("cell") as progress:
        task = progress.add_task("starting", total=len(strategies) * (len(kinds) + 1))

        def show(cell: Cell) -> None:
            progress.update(task, advance=1, description=f"{cell.strategy}: {cell.kind}")

        cells = measure(strategies, kinds, engine, output_dir.resolve(), show, jobs)
    for line in summary(cells).splitlines():
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Table {output_dir / 'robustness.md'}, figures {output_dir / 'robustness.json'}")


def soak(
    rounds: Annotated[int, typer.Option(min=50, help="How many rounds.")] = 5000,
    output_dir: OutputDir = Path("results/soak"),
) -> None:
    """Run for long under every attack in turn: memory and time must stay flat."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with progress_bar() as progress:
        task = progress.add_task("soaking", total=rounds)
        with user_errors():
            found = run_soak(
                rounds, output_dir.resolve(), lambda number: progress.update(task, completed=number)
            )
    console.print(
        f"{rounds} rounds under {', '.join(found.turns)} in turn: memory "
        f"{found.growth_kib_per_round:+.2f} KiB a round, time x{found.slowdown:.2f}, "
        f"final test accuracy {found.accuracy:.1%}; figures {output_dir / 'soak.json'}"
    )
