"""`python -m simulations`: run an experiment, compare rules, sweep a grid of them."""

from __future__ import annotations

import typer

from simulations.commands.experiments import compare, heterogeneity, run, worst
from simulations.commands.robustness import robustness, soak
from simulations.commands.sweeps import figures, results, sweep, tune
from simulations.processes import exit_on_sigterm

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for command in (
    run, compare, worst, heterogeneity, tune, sweep, figures, results, robustness, soak,
):
    app.command()(command)


if __name__ == "__main__":
    exit_on_sigterm()
    app()
