"""`run`, `compare`, `worst` and `heterogeneity`: single experiments and small sets of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from flwr_resam import QuorumLostError
from flwr_resam.errors import requirement
from simulations.commands.shared import (
    OutputDir,
    RunConfig,
    console,
    describe,
    failure,
    name_of,
    progress_bar,
    read_experiment,
    user_errors,
)
from simulations.engine import RunFailed, run_on_flower
from simulations.experiment import Experiment
from simulations.figures import Curve, accuracy_over_rounds
from simulations.heterogeneity import bounds, measure
from simulations.in_process import run_in_process
from simulations.results import Evaluation, read_evaluations, read_summary
from simulations.worst import NO_ATTACK, as_table, candidates, read_trials, search


def run(output_dir: OutputDir = Path("results/run"), run_config: RunConfig = None) -> None:
    """Run one experiment with `flwr run`, on Flower's Ray engine."""
    experiment = read_experiment(run_config, output_dir)
    console.print(f"{describe(experiment)}; results in {output_dir}")
    with progress_bar() as progress:
        task = progress.add_task("starting Flower", total=experiment.num_rounds)

        def show(evaluation: Evaluation) -> None:
            progress.update(
                task, completed=evaluation.round, description=f"accuracy {evaluation.accuracy:.1%}"
            )

        try:
            with user_errors():
                run_on_flower(experiment, show)
        except RunFailed as error:
            progress.stop()
            raise failure(str(error)) from None
    evaluations = read_evaluations(Path(experiment.output_dir))
    summary = read_summary(Path(experiment.output_dir))
    figure = output_dir / "accuracy.png"
    role = "resam" if experiment.beta else "rule"
    accuracy_over_rounds(
        [Curve(name_of(experiment), role, evaluations)], describe(experiment), figure
    )
    table = Table("round", "test accuracy", "test loss", "seconds")
    for evaluation in _some(evaluations, 11):
        table.add_row(
            str(evaluation.round), f"{evaluation.accuracy:.1%}", f"{evaluation.loss:.3f}",
            f"{evaluation.seconds:.1f}",
        )
    console.print(table)
    console.print(f"Final model sha256 {summary['model-sha256'][:16]}…, figure {figure}")


def compare(output_dir: OutputDir = Path("results/compare"), run_config: RunConfig = None) -> None:
    """Compare the mean, the rule alone and the rule with momentum, under one attack.

    The runs go in this process, which gives the same models as `flwr run`, sooner.
    """
    experiment = read_experiment(run_config, output_dir)
    if experiment.attack == "none":
        raise failure(
            "`attack` must be an attack to compare under. Found none. Try attack='foe'.", code=2
        )
    beta = experiment.beta or 0.9
    rule = experiment.aggregator
    lines: dict[str, tuple[str, dict[str, Any]]] = {
        "reference": (f"{rule}, beta = {beta:g}, no attack", {"attack": "none", "beta": beta}),
        "baseline": (f"mean, beta = {beta:g}", {"aggregator": "mean", "beta": beta}),
        "rule": (f"{rule}, beta = 0", {"beta": 0.0}),
        "resam": (f"{rule}, beta = {beta:g}", {"beta": beta}),
    }
    logging.getLogger("flwr").setLevel(logging.ERROR)
    curves = []
    with progress_bar() as progress:
        for role, (label, changes) in lines.items():
            one = replace(experiment, output_dir=str(output_dir.resolve() / role), **changes)
            with user_errors():
                curves.append(Curve(label, role, _in_process(one, label, progress)))
    table = Table("run", "final test accuracy")
    for curve in curves:
        table.add_row(curve.label, f"{curve.evaluations[-1].accuracy:.1%}")
    console.print(table)
    figure = output_dir / "compare.png"
    accuracy_over_rounds(curves, describe(experiment), figure)
    console.print(f"Figure {figure}")


def worst(
    output_dir: OutputDir = Path("results/worst"),
    run_config: RunConfig = None,
    rule: Annotated[str, typer.Option(help="The rule to attack; short for aggregator.")] = "",
    attack: Annotated[
        list[str] | None, typer.Option(help="Try this one, and others so given; else all.")
    ] = None,
) -> None:
    """Run every attack against a rule, in this process, and say which is the worst."""
    experiment = read_experiment(run_config, output_dir, attack=NO_ATTACK)
    with user_errors():
        if experiment.attack != NO_ATTACK:
            raise requirement(
                "attack", "be left out of --run-config, since all are tried", "it there",
                "Write --attack ATTACK for some of them only",
            )
        if rule:
            experiment = replace(experiment, aggregator=rule)
            experiment.check()
        attacks = candidates(experiment)
        for text in attack or []:
            replace(experiment, attack=text).check()
    if attack:
        attacks = list(dict.fromkeys([NO_ATTACK, *attack]))
    if attacks == [NO_ATTACK]:
        raise failure("`--attack` must be an attack. Found none, which is always run.", code=2)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    console.print(f"{name_of(experiment)}; {len(attacks)} runs; results in {output_dir}")
    rounds = experiment.num_rounds
    with progress_bar() as progress:
        total = progress.add_task("all attacks", total=len(attacks) * rounds)
        one = progress.add_task("", total=rounds)

        def show(index: int, evaluation: Evaluation) -> None:
            progress.update(one, completed=evaluation.round, description=attacks[index])
            progress.update(total, completed=index * rounds + evaluation.round)

        with user_errors():
            search(experiment, attacks, show)
    trials = read_trials(output_dir)
    console.print(as_table(trials))
    first = next(trial for trial in trials if trial.attack != NO_ATTACK)
    console.print(f"Worst: {first.attack}, {first.accuracy:.1%}")
    reached = {t.attack: t.attack_success for t in trials if t.attack_success is not None}
    if reached:
        best = max(reached, key=lambda attack: reached[attack])
        console.print(f"Most successful with a goal of its own: {best}, {reached[best]:.1%}")


def heterogeneity(
    output_dir: OutputDir = Path("results/heterogeneity"),
    run_config: RunConfig = None,
    points: Annotated[int, typer.Option(min=2, help="Models on the way to look at.")] = 11,
) -> None:
    """How far honest nodes' data make them differ: G and B along a run, and what they imply."""
    experiment = read_experiment(run_config, output_dir)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    console.print(f"{describe(experiment)}, partition {experiment.partition}")
    with progress_bar() as progress:
        task = progress.add_task(name_of(experiment), total=experiment.num_rounds)

        def show(evaluation: Evaluation) -> None:
            progress.update(task, completed=evaluation.round)

        with user_errors():
            spreads = measure(experiment, points, show)
    table = Table("round", "||grad||^2", "mean ||grad_i - grad||^2")
    for each in spreads:
        table.add_row(str(each.round), f"{each.gradient:.3g}", f"{each.difference:.3g}")
    console.print(table)
    n, f = experiment.num_nodes, experiment.num_malicious_nodes
    table = Table("G^2", "B^2", "f / (n - 2f) G^2", "f / n below 1 / (2 + B^2)")
    for found in bounds(spreads):
        table.add_row(
            f"{found.g_squared:.3g}", f"{found.b_squared:.3g}", f"{found.floor(n, f):.2g}",
            f"{'yes' if f / n < found.breakdown else 'no'}: {f / n:.3f}, {found.breakdown:.3f}",
        )
    console.print(table)
    console.print(
        "At the models above, the second column is at most G^2 + B^2 times the first, for each "
        "of these pairs. A theorem asks that of all models: this is an estimate."
    )


def _in_process(experiment: Experiment, label: str, progress: Progress) -> list[Evaluation]:
    task = progress.add_task(label, total=experiment.num_rounds)
    evaluations: list[Evaluation] = []

    def show(evaluation: Evaluation) -> None:
        evaluations.append(evaluation)
        progress.update(task, completed=evaluation.round)

    try:
        return run_in_process(experiment, show).evaluations
    except QuorumLostError as lost:
        if not lost.diverged:
            raise
        # Honest nodes that are led to a diverged model have no finite updates: the curve ends.
        progress.update(task, description=f"{label} (diverged)")
    return evaluations


def _some(evaluations: list[Evaluation], count: int) -> list[Evaluation]:
    """About ``count`` of the evaluations, evenly, the first and the last among them."""
    step = max(1, (len(evaluations) - 1) // (count - 1))
    return evaluations[:-1:step] + evaluations[-1:]
