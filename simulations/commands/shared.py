"""What the commands share: the console, the options, and settings read or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from flwr.common.config import parse_config_args
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from flwr_resam import CheckpointError, QuorumLostError
from simulations.experiment import Experiment

# Paths and messages may hold brackets, which are not for rich to read.
console = Console(markup=False)
errors = Console(stderr=True)

_SETTING = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")

OutputDir = Annotated[Path, typer.Option(help="Folder for results and figures.")]
RunConfig = Annotated[
    list[str] | None,
    typer.Option("--run-config", "-c", help="Settings to change, as for `flwr run`."),
]


def read_experiment(
    run_config: list[str] | None, output_dir: Path, **changes: object
) -> Experiment:
    """The experiment of pyproject.toml with these changes, or one clear sentence and exit 2.

    What ``run_config`` says counts more than ``changes``.
    """
    try:
        overrides = {name.replace("_", "-"): value for name, value in changes.items()}
        overrides |= read_overrides(run_config)
        overrides["output-dir"] = str(output_dir.resolve())
        experiment = Experiment.default(overrides)
    except (ValueError, TypeError, ImportError) as error:
        raise failure(str(error), code=2) from None
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(f"`--output-dir` can't be written: {error}.", code=2) from None
    return experiment


@contextmanager
def user_errors() -> Iterator[None]:
    """What only shows when a run begins is one sentence and exit 2, too."""
    try:
        yield
    except (ValueError, ImportError, CheckpointError) as error:
        raise failure(str(error), code=2) from None
    except QuorumLostError as error:
        raise failure(str(error), code=1) from None
    except OSError as error:
        raise failure(f"A file can't be read or written: {error}.", code=2) from None


def read_overrides(run_config: list[str] | None) -> dict[str, Any]:
    """What `flwr run` would read from these, which passes over in silence what it can't read.

    Raises
    ------
    ValueError
        One sentence on what can't be read.
    """
    for item in run_config or []:
        rest = _SETTING.sub("", item).strip()
        if rest and not item.endswith(".toml"):
            raise ValueError(
                f"`{rest}` in --run-config is no setting. Write key=value, or name a .toml file."
            )
    try:
        found = parse_config_args(run_config)
    except click.ClickException:
        raise ValueError(
            f"--run-config {' '.join(run_config or [])} can't be read. "
            "Write strings in quotes inside, \"aggregator='mda' beta=0.99\", and a .toml file by "
            "itself."
        ) from None
    except OSError as error:
        raise ValueError(f"--run-config {error.filename}: {error.strerror}.") from None
    if "output-dir" in found:
        raise ValueError("`output-dir` has an option of its own here: write --output-dir FOLDER.")
    return found


def failure(message: str, code: int = 1) -> typer.Exit:
    """Say what is wrong on stderr; raise what this returns."""
    errors.print(f"[bold red]Error[/]: {escape(message)}", highlight=False, soft_wrap=True)
    return typer.Exit(code)


def name_of(experiment: Experiment) -> str:
    """The rule and beta, as tables and titles name a run."""
    return f"{experiment.aggregator}, beta = {experiment.beta:g}"


def describe(experiment: Experiment) -> str:
    """What is learnt by whom under which attack, in one line."""
    return (
        f"{experiment.dataset}, {experiment.num_nodes} nodes, "
        f"{experiment.num_malicious_nodes} Byzantine, attack {experiment.attack}"
    )


def progress_bar(unit: str = "round") -> Progress:
    """A bar with the time gone and the time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn(unit + " {task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    )
