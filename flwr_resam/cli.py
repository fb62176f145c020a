"""`flwr-resam`: which rule to choose, how good it is, what attacks there are, who did what."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn
from rich.table import Column, Table

from .aggregators import AGGREGATORS
from .attacks import ATTACKS
from .errors import requirement
from .parse import parse_rule
from .preaggregators import PREAGGREGATORS
from .report import report as write_report
from .resilience import audit as search
from .resilience import check_size, largest_f, lower_bound, resilience_coefficient
from .rule import Aggregator, Rule
from .spelling import required, signature, usage

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

_COST = re.compile(r"Complexity\s+(O\((?:[^()]|\([^()]*\))*\))")

Nodes = Annotated[int, typer.Option("--n", help="Rows: the nodes that answer a round.")]
Faults = Annotated[int, typer.Option("--f", help="How many of them may be arbitrary.")]
Dim = Annotated[float, typer.Option(help="Coordinates of the model, such as 1e6.")]


@dataclass(frozen=True)
class _Choice:
    """One rule of the table: ``order`` sorts the ones that are best to take first."""

    order: tuple[int, float, str]
    name: str
    need: str
    most: int | None
    value: float | None
    cost: str
    verdict: str = ""


@app.command()
def rules(n: Nodes, f: Faults, dim: Dim = 1e6) -> None:
    """Compare all rules for n rows of which f may be arbitrary, the best proven first."""
    try:
        d = _whole("dim", dim)
        floor = lower_bound(n, f)
        choices = sorted(
            (_choice(rule, n, f, d) for rule in AGGREGATORS.values()),
            key=lambda choice: choice.order,
        )
    except (ValueError, TypeError) as error:
        raise _fail(error) from None
    table = Table(Column("rule", no_wrap=True), "needs", "most f", "lambda", "cost", "verdict")
    for choice in choices:
        # One argument a line, so that names are whole in a narrow terminal.
        name = choice.name.replace("(", "(\n").replace(", ", ",\n")
        table.add_row(
            escape(name), choice.need, "-" if choice.most is None else str(choice.most),
            _number(choice.value), choice.cost, _verdict(choice, choices, n, f),
            style="dim" if choice.order[0] > 1 else None,
        )
    console = Console()
    console.print(table)
    if 2 * f >= n:
        console.print("No rule tolerates f >= n / 2: ask more nodes, or lower f.")
        return
    console.print(
        f"No rule has a lambda below f / (n - f) = {floor:.3g}. Put in front of a rule, as in "
        f"`nnm | cwtm`: {', '.join(PREAGGREGATORS)}; no lambda is proven here for chains."
    )


@app.command()
def audit(
    rule: Annotated[str, typer.Argument(help="A rule or chain, such as 'nnm | cwtm'.")],
    n: Nodes,
    f: Faults,
    dim: Annotated[
        float, typer.Option(
            help="Coordinates of the rows. Few are best: the rule is evaluated thousands of times."
        )
    ] = 1,
    trials: Annotated[int, typer.Option(help="How often to evaluate the rule.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
) -> None:
    """Search for the rows on which a rule is worst: observed, proven and least lambda.

    RULE is a rule or chain by name, such as 'nnm | cwtm'.
    """
    try:
        d = _whole("dim", dim)
        if seed < 0:
            raise requirement("seed", "be at least 0", f"seed = {seed}", "Give 0 or more")
        parsed = parse_rule(rule)
        proven, floor = resilience_coefficient(parsed, n, f, d), lower_bound(n, f)
        check_size("dim", n, d)
        with _progress_bar() as progress:
            task = progress.add_task("searching", total=trials)
            found = search(
                parsed, n, f, d, trials=trials, seed=seed, on_trial=lambda: progress.advance(task)
            )
    except (ValueError, TypeError) as error:
        raise _fail(error) from None
    table = Table("rule", "n", "f", "d", "observed", "proven", "no rule below")
    table.add_row(
        escape(str(parsed)), str(n), str(f), str(d), _number(found.ratio), _number(proven),
        f"{floor:.4g}",
    )
    Console().print(table)
    if proven is not None and found.ratio > proven * (1.0 + 1e-6) + 1e-9:
        Console(stderr=True).print("[bold red]Error[/]: observed more than is proven.")
        raise typer.Exit(1)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The `output_dir` of a run.")],
) -> None:
    """Show what each node did in a run, those to look at first, as a table and a picture.

    FOLDER is the `output_dir` of a run.
    """
    try:
        write_report(folder)
    except (ValueError, ImportError, OSError) as error:
        raise _fail(error) from None


@app.command()
def attacks() -> None:
    """List the attacks of `AdversarialGrid`, and what it takes to do each."""
    table = Table("attack", "who can do it", "what the Byzantine nodes send")
    for attack in ATTACKS.values():
        table.add_row(
            escape(signature(attack)), attack.knowledge, escape(_first_sentence(attack))
        )
    console = Console()
    console.print(table)
    console.print(
        "The experiments' run-configs also take `label-flip`, `backdoor` and "
        "`malformed(kind=...)`, which clients carry out: see clients/byzantine."
    )


def _choice(rule: type[Aggregator], n: int, f: int, d: int) -> _Choice:
    name, found = usage(rule), _COST.search(inspect.getdoc(rule) or "")
    cost = " ".join(found[1].split()) if found else "-"
    try:
        # What a rule can't do without does not bear on its needs and its lambda.
        example = rule(**dict.fromkeys(required(rule), 1))
    except (ValueError, TypeError):  # a user's own, of which 1 is no argument
        return _Choice((1, 0.0, name), name, rule.need, None, None, cost)
    most = largest_f(example, n)
    if not example.admits(n, f):
        return _Choice((3, 0.0, name), name, example.need, most, None, cost)
    value = example.coefficient(n, f, d)
    group = 1 if value is None else 2 if value == float("inf") else 0
    return _Choice((group, value or 0.0, name), name, example.need, most, value, cost)


def _verdict(choice: _Choice, choices: list[_Choice], n: int, f: int) -> str:
    group = choice.order[0]
    if group == 3:
        return f"not for n = {n}, f = {f}"
    if group == 2:
        return "no guarantee exists"
    if group == 1:
        return "nothing proven; audit it"
    least = choices[0].value or 0.0
    if f == 0 or choice.value is None:
        return "no fault to tolerate"
    if choice.value <= least:
        return "least proven lambda"
    return f"{choice.value / least:.1f} times the least"


def _first_sentence(kind: type[Rule] | type[Any]) -> str:
    paragraph = (inspect.getdoc(kind) or "").split("\n\n")[0]
    return " ".join(paragraph.replace("``", "`").split())


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    # The spinner shows life within a long trial, and while subsets are tried at the end.
    return Progress(
        SpinnerColumn(), *Progress.get_default_columns(), console=console, transient=True,
        disable=not console.is_terminal,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else "none" if value == float("inf") else f"{value:.4g}"


def _whole(name: str, value: float) -> int:
    if not (value >= 1 and value == value // 1):
        raise requirement(
            name, "be a whole number, at least 1", f"{name} = {value:g}", "Give 1e6 or such"
        )
    return int(value)


def _fail(error: Exception) -> typer.Exit:
    message = f"[bold red]Error[/]: {escape(str(error))}"
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)
    return typer.Exit(2)
