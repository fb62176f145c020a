"""`python -m simulations`: run an experiment, compare rules, or find the worst attack."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from flwr.common.config import parse_config_args
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from flwr_resam import QuorumLostError
from simulations.bad_replies import BAD_REPLIES
from simulations.engine import RunFailed, run_on_flower
from simulations.experiment import Experiment
from simulations.figures import Curve, accuracy_over_rounds
from simulations.in_process import run_in_process
from simulations.processes import exit_on_sigterm
from simulations.results import Evaluation, read_evaluations, read_summary
from simulations.robustness import Cell, check_names, measure
from simulations.robustness_cell import HONEST, STRATEGIES
from simulations.soak import soak as run_soak
from simulations.worst import NO_ATTACK, as_table, candidates, read_trials, search

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
console = Console()
errors = Console(stderr=True)

_SETTING = re.compile(r"(\S+?)=('[^']*'|\"[^\"]*\"|\S+)")

OutputDir = Annotated[Path, typer.Option(help="Folder for results and figures.")]
RunConfig = Annotated[
    list[str] | None,
    typer.Option("--run-config", "-c", help="Settings to change, as for `flwr run`."),
]


@app.command()
def run(output_dir: OutputDir = Path("results/run"), run_config: RunConfig = None) -> None:
    """Run one experiment with `flwr run`, on Flower's Ray engine."""
    experiment = _experiment(run_config, output_dir)
    console.print(f"{_describe(experiment)}; results in {output_dir}")
    with _progress() as progress:
        task = progress.add_task("starting Flower", total=experiment.num_rounds)

        def show(evaluation: Evaluation) -> None:
            progress.update(
                task, completed=evaluation.round, description=f"accuracy {evaluation.accuracy:.1%}"
            )

        try:
            run_on_flower(experiment, show)
        except RunFailed as error:
            progress.stop()
            raise _fail(str(error)) from None
    evaluations = read_evaluations(Path(experiment.output_dir))
    summary = read_summary(Path(experiment.output_dir))
    figure = output_dir / "accuracy.png"
    role = "resam" if experiment.beta else "rule"
    accuracy_over_rounds(
        [Curve(_name(experiment), role, evaluations)], _describe(experiment), figure
    )
    table = Table("round", "test accuracy", "test loss", "seconds")
    for evaluation in _some(evaluations, 11):
        table.add_row(
            str(evaluation.round), f"{evaluation.accuracy:.1%}", f"{evaluation.loss:.3f}",
            f"{evaluation.seconds:.1f}",
        )
    console.print(table)
    console.print(f"Final model sha256 {summary['model-sha256'][:16]}…, figure {figure}")


@app.command()
def compare(output_dir: OutputDir = Path("results/compare"), run_config: RunConfig = None) -> None:
    """Compare the mean, the rule alone and the rule with momentum, under one attack.

    The runs go in this process, which gives the same models as `flwr run`, sooner.
    """
    experiment = _experiment(run_config, output_dir)
    if experiment.attack == "none":
        raise _fail("`attack` must be an attack to compare under. Found none. Try attack='foe'.")
    beta = experiment.beta or 0.9
    rule = experiment.aggregator
    lines = {
        "reference": (f"{rule}, beta = {beta:g}, no attack", {"attack": "none", "beta": beta}),
        "baseline": (f"mean, beta = {beta:g}", {"aggregator": "mean", "beta": beta}),
        "rule": (f"{rule}, beta = 0", {"beta": 0.0}),
        "resam": (f"{rule}, beta = {beta:g}", {"beta": beta}),
    }
    logging.getLogger("flwr").setLevel(logging.ERROR)
    curves = []
    with _progress() as progress:
        for role, (label, changes) in lines.items():
            one = replace(experiment, output_dir=str(output_dir.resolve() / role), **changes)
            curves.append(Curve(label, role, _in_process(one, label, progress)))
    table = Table("run", "final test accuracy")
    for curve in curves:
        table.add_row(curve.label, f"{curve.evaluations[-1].accuracy:.1%}")
    console.print(table)
    figure = output_dir / "compare.png"
    accuracy_over_rounds(curves, _describe(experiment), figure)
    console.print(f"Figure {figure}")


@app.command()
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
    strategies, kinds = strategy or list(STRATEGIES), kind or list(BAD_REPLIES)
    try:
        check_names(strategies, kinds, engine)
    except ValueError as error:
        raise _fail(str(error), code=2) from None
    with _progress("cell") as progress:
        task = progress.add_task("starting", total=len(strategies) * (len(kinds) + 1))

        def show(cell: Cell) -> None:
            progress.update(task, advance=1, description=f"{cell.strategy}: {cell.kind}")

        cells = measure(strategies, kinds, engine, output_dir.resolve(), show, jobs)
    table = Table("strategy", "survives", "finite", "within 1 of the silent run")
    for name in strategies:
        own = [cell for cell in cells if cell.strategy == name and cell.kind != HONEST]
        near = [cell for cell in own if cell.distance is not None and cell.distance < 1.0]
        counts = (sum(c.survives for c in own), sum(c.finite for c in own), len(near))
        table.add_row(name, *(f"{count} of {len(own)}" for count in counts))
    console.print(table)
    console.print(f"Table {output_dir / 'robustness.md'}, figures {output_dir / 'robustness.json'}")


@app.command()
def worst(
    output_dir: OutputDir = Path("results/worst"),
    run_config: RunConfig = None,
    rule: Annotated[str, typer.Option(help="The rule to attack; short for aggregator.")] = "",
    attack: Annotated[
        list[str] | None, typer.Option(help="Try this one, and others so given; else all.")
    ] = None,
) -> None:
    """Run every attack against a rule, in this process, and say which is the worst."""
    chosen = [f"aggregator={json.dumps(rule)}"] if rule else []
    experiment = _experiment([*(run_config or []), *chosen], output_dir)
    try:
        attacks = candidates(experiment)
        for text in attack or []:
            replace(experiment, attack=text).check()
    except ValueError as error:
        raise _fail(str(error), code=2) from None
    attacks = [NO_ATTACK, *attack] if attack else attacks
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    console.print(f"{_name(experiment)}; {len(attacks)} runs; results in {output_dir}")
    rounds = experiment.num_rounds
    with _progress() as progress:
        total = progress.add_task("all attacks", total=len(attacks) * rounds)
        one = progress.add_task("", total=rounds)

        def show(index: int, evaluation: Evaluation) -> None:
            progress.update(one, completed=evaluation.round, description=attacks[index])
            progress.update(total, completed=index * rounds + evaluation.round)

        search(experiment, attacks, show)
    trials = read_trials(output_dir)
    console.print(as_table(trials))
    first = next(trial for trial in trials if trial.attack != NO_ATTACK)
    console.print(f"Worst: {first.attack}, {first.accuracy:.1%}")


@app.command()
def soak(
    rounds: Annotated[int, typer.Option(min=50, help="How many rounds.")] = 5000,
    output_dir: OutputDir = Path("results/soak"),
) -> None:
    """Run for long under every attack in turn: memory and time must stay flat."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with _progress() as progress:
        task = progress.add_task("soaking", total=rounds)
        found = run_soak(
            rounds, output_dir.resolve(), lambda number: progress.update(task, completed=number)
        )
    console.print(
        f"{rounds} rounds under {', '.join(found.turns)} in turn: memory "
        f"{found.growth_kib_per_round:+.2f} KiB a round, time x{found.slowdown:.2f}, "
        f"final test accuracy {found.accuracy:.1%}; figures {output_dir / 'soak.json'}"
    )


def _in_process(experiment: Experiment, label: str, progress: Progress) -> list[Evaluation]:
    task = progress.add_task(label, total=experiment.num_rounds)
    evaluations: list[Evaluation] = []

    def show(evaluation: Evaluation) -> None:
        evaluations.append(evaluation)
        progress.update(task, completed=evaluation.round)

    try:
        run_in_process(experiment, show)
    except QuorumLostError:
        # Honest nodes that are led to a diverged model send NaN: the curve ends there.
        progress.update(task, description=f"{label} (diverged)")
    return evaluations


def _experiment(run_config: list[str] | None, output_dir: Path) -> Experiment:
    """The experiment of pyproject.toml with these changes, or one clear sentence and exit 2."""
    try:
        overrides = _overrides(run_config)
        overrides["output-dir"] = str(output_dir.resolve())
        experiment = Experiment.default(overrides)
        output_dir.mkdir(parents=True, exist_ok=True)
    except (ValueError, TypeError, ImportError) as error:
        raise _fail(str(error), code=2) from None
    except OSError as error:
        raise _fail(f"`--output-dir` can't be written: {error}.", code=2) from None
    return experiment


def _overrides(run_config: list[str] | None) -> dict[str, Any]:
    """What `flwr run` would read from these; it passes over in silence what it can't read."""
    for item in run_config or []:
        rest = _SETTING.sub("", item).strip()
        if rest and not item.endswith(".toml"):
            raise ValueError(
                f"`{rest}` in --run-config is no setting. Write key=value, or name a .toml file."
            )
    try:
        return parse_config_args(run_config)
    except click.ClickException:
        raise ValueError(
            f"--run-config {' '.join(run_config or [])} can't be read. "
            "Write strings in quotes inside: \"aggregator='mda' beta=0.99\"."
        ) from None


def _fail(message: str, code: int = 1) -> typer.Exit:
    errors.print(f"[bold red]Error[/]: {message}", highlight=False)
    return typer.Exit(code)


def _name(experiment: Experiment) -> str:
    return f"{experiment.aggregator}, beta = {experiment.beta:g}"


def _describe(experiment: Experiment) -> str:
    return (
        f"{experiment.dataset}, {experiment.num_nodes} nodes, "
        f"{experiment.num_malicious_nodes} Byzantine, attack {experiment.attack}"
    )


def _some(evaluations: list[Evaluation], count: int) -> list[Evaluation]:
    """About ``count`` of the evaluations, evenly, the first and the last among them."""
    step = max(1, (len(evaluations) - 1) // (count - 1))
    return evaluations[:-1:step] + evaluations[-1:]


def _progress(unit: str = "round") -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn(unit + " {task.completed:.0f}/{task.total:.0f}"), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console,
    )


if __name__ == "__main__":
    exit_on_sigterm()
    app()
