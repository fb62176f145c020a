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
from .cost import seconds
from .doctor import findings
from .errors import requirement
from .parse import parse_rule
from .plugins import load as load_plugins
from .preaggregators import PREAGGREGATORS
from .report import no_rounds
from .report import report as write_report
from .resilience import (
    Criterion,
    check_size,
    coordinates,
    largest_f,
    lower_bound,
    resilience_coefficient,
)
from .resilience import audit as search
from .rule import Aggregator, Rule
from .sampling_odds import least_f, least_sample, sampling_failure
from .spelling import required, signature, usage
from .watch import html as page
from .watch import view
from .watch.page import data as as_json

app = typer.Typer(
    help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

_LOOK = 3  # the exit code where a node needs a look
_COST = re.compile(r"Complexity\s+(O\((?:[^()]|\([^()]*\))*\))")

Nodes = Annotated[int, typer.Option("--n", help="Rows: the nodes that answer a round.")]
Faults = Annotated[int, typer.Option("--f", help="How many of them may be arbitrary.")]
Dim = Annotated[float, typer.Option(help="Coordinates of the model, such as 1e6.")]
Plugins = Annotated[
    str, typer.Option(help="Modules or files of your own, with commas, that register more.")
]


@dataclass(frozen=True)
class _Choice:
    """One rule of the table: ``order`` sorts the ones that are best to take first."""

    order: tuple[int, float, str]
    name: str
    need: str
    most: int | None
    value: float | None
    kappa: float | None
    cost: str
    seconds: float | None


@app.command()
def rules(
    n: Nodes, f: Faults, dim: Dim = 1e6, plugins: Plugins = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each rule computes, in place of numbers.")
    ] = False,
) -> None:
    """Compare all rules for n rows of which f may be arbitrary, the best proven first."""
    try:
        load_plugins(plugins)
        if explain:
            _explain()
            return
        d = _whole("dim", dim)
        floor = lower_bound(n, f)
        choices = sorted(
            (_choice(rule, n, f, d) for rule in AGGREGATORS.values()),
            key=lambda choice: choice.order,
        )
    except (ValueError, TypeError) as error:
        raise _fail(error) from None
    table = Table(
        Column("rule", no_wrap=True), "needs", Column("lambda", no_wrap=True),
        Column("kappa", no_wrap=True), "cost", Column("seconds", no_wrap=True),
    )
    for choice in choices:
        # One argument a line, so that names are whole in a narrow terminal.
        name = choice.name.replace("(", "(\n").replace(", ", ",\n")
        lambda_ = _number(choice.value)
        if choice.order[0] == 3:
            lambda_ = "no f" if choice.most is None else f"f <= {choice.most}"
        table.add_row(
            escape(name), escape(choice.need), lambda_, _number(choice.kappa), choice.cost,
            _duration(choice.seconds), style="dim" if choice.order[0] > 1 else None,
        )
    console = Console()
    console.print(table)
    if 2 * f >= n:
        console.print("No rule tolerates f >= n / 2: ask more nodes, or lower f.")
        return
    console.print(
        f"No rule has a lambda below f / (n - f) = {floor:.3g}, or a kappa below "
        f"f / (n - 2f) = {lower_bound(n, f, 'kappa'):.3g}. Put in front of a rule, as in "
        f"`nnm | cwtm`: {', '.join(PREAGGREGATORS)}."
    )
    console.print(
        f"With `nnm` in front lambda is {2 * f / (n - f):.3g} (1 + lambda), "
        f"kappa {8 * f / (n - f):.3g} (1 + kappa), or less. "
        "-: nothing is proven; none: no bound exists. "
        "Seconds are estimates, from the cost and a short calibration here. `--explain` says what "
        "each rule computes."
    )


@app.command()
def audit(
    rule: Annotated[str, typer.Argument(help="A rule or chain, such as 'nnm | cwtm'.")],
    n: Nodes,
    f: Faults,
    dim: Annotated[
        float | None, typer.Option(
            help="Coordinates of the rows, n by default. Few are best: the rule is evaluated "
            "thousands of times."
        )
    ] = None,
    trials: Annotated[int, typer.Option(help="How often to evaluate the rule.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    plugins: Plugins = "",
    criterion: Annotated[
        Criterion, typer.Option(help="How far a rule is bent by the honest rows' diameter, or by "
                                "their mean squared distance from their mean.")
    ] = "lambda",
) -> None:
    """Search for the rows on which a rule is worst: observed, proven and least lambda or kappa.

    RULE is a rule or chain by name, such as 'nnm | cwtm'.
    """
    try:
        d = coordinates(max(1, n)) if dim is None else _whole("dim", dim)
        if seed < 0:
            raise requirement("seed", "be at least 0", f"seed = {seed}", "Give 0 or more")
        load_plugins(plugins)
        parsed = parse_rule(rule)
        proven = resilience_coefficient(parsed, n, f, d, criterion)
        floor = lower_bound(n, f, criterion)
        check_size("dim", n, d)
        with _progress_bar() as progress:
            task = progress.add_task("searching", total=trials)
            found = search(
                parsed, n, f, d, trials=trials, seed=seed, criterion=criterion,
                on_trial=lambda: progress.advance(task),
            )
    except (ValueError, TypeError) as error:
        raise _fail(error) from None
    table = Table("rule", "n", "f", "d", "observed", "proven", "no rule below", title=criterion)
    observed = f"{found.ratio:.4g}"
    table.add_row(
        escape(str(parsed)), str(n), str(f), str(d), observed, _number(proven), f"{floor:.4g}"
    )
    Console().print(table)
    if found.ratio == float("inf"):
        Console(stderr=True).print("[bold red]Error[/]: of finite rows came a vector that is not.")
        raise typer.Exit(1)
    if proven is not None and found.ratio > proven * (1.0 + 1e-6) + 1e-9:
        Console(stderr=True).print("[bold red]Error[/]: observed more than is proven.")
        raise typer.Exit(1)


@app.command()
def sample(
    nodes: Annotated[int, typer.Option(help="N: how many nodes there are.")],
    byzantine: Annotated[int, typer.Option(help="How many of them may lie.")],
    rounds: Annotated[int, typer.Option(help="How many rounds, each with a sample of its own.")],
    failure: Annotated[
        float, typer.Option(help="How probable it may be that in some round more than f lie.")
    ] = 1e-3,
    rule: Annotated[str, typer.Option(help="The rule, which says what n and f must be.")] = "mda",
    n: Annotated[int, typer.Option("--n", help="Look at this size of a sample.")] = 0,
    f: Annotated[int, typer.Option("--f", help="With --n: how probable more than f are.")] = -1,
) -> None:
    """How many nodes to ask in a round so that the liars among them stay within f in all rounds."""
    try:
        if f >= 0:
            chance = sampling_failure(nodes, byzantine, n, f, rounds)
            Console().print(
                f"Asking {n} of {nodes} nodes, {byzantine} of them Byzantine: more than {f} lie in "
                f"some of {rounds} rounds with probability {chance:.4g}."
            )
            return
        least = least_sample(nodes, byzantine, rounds, failure, parse_rule(rule).admits)
        sizes = sorted({min(nodes, size * least.n) for size in (1, 2, 4, 8)} | {nodes})
        found = [
            least_f(nodes, byzantine, size, rounds, failure) for size in ([n] if n else sizes)
        ]
    except (ValueError, TypeError) as error:
        raise _fail(error) from None
    table = Table("n asked", "f", "f / n", "no rule below", "fails with probability")
    for each in found:
        floor = f"{each.floor:.3g}" if 2 * each.f < each.n else "no rule: f >= n / 2"
        table.add_row(
            str(each.n), str(each.f), f"{each.f / each.n:.2f}", floor, f"{each.failure:.2g}"
        )
    console = Console()
    console.print(table)
    console.print(
        f"{byzantine / nodes:.2f} of the nodes are Byzantine; what f / n is above that is the cost "
        f"of asking few. The fewest that `{escape(rule)}` admits: Resam({least.f}, "
        f"fraction_train={least.n / nodes:.3g}, min_train_nodes={least.n}, "
        f"min_available_nodes={nodes})."
    )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The `output_dir` of a run.")],
    html: Annotated[
        Path | None, typer.Option(help="Write the page of `watch` to this file, too.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> None:
    """Show what each node did in a run, those to look at first, as a table and a picture.

    FOLDER is the `output_dir` of a run. The exit code is 3 where a node needs a look, else 0.
    """
    try:
        if html is not None or json:
            seen = view(folder)
            if not seen.nodes:  # `watch` shows a run to come; here it is a wrong folder
                raise no_rounds(folder)
            if html is not None:
                html.write_text(page(seen), encoding="utf-8")
                Console(stderr=True).print(f"Page {html}", markup=False, soft_wrap=True)
        if json:
            typer.echo(as_json(seen))
            suspects = bool(seen.suspects)
        else:
            suspects = any(row.remarks for row in write_report(folder))
    except (ValueError, ImportError, OSError) as error:
        raise _fail(error) from None
    if suspects:
        raise typer.Exit(_LOOK)


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The `output_dir` of a run, also one to come.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On the loopback interface; 0 is any.")
    ] = 8765,
) -> None:
    """Show a run in the browser while it goes on: metrics, nodes by round, whom to look at.

    FOLDER is the `output_dir` of a run. Numbers for Prometheus are under /metrics.
    """
    try:
        from .watch.server import serve

        serve(folder, port, lambda address: Console().print(
            f"Watching {folder} at {address} (Ctrl-C ends it)", markup=False, soft_wrap=True
        ))
    except (ValueError, ImportError, OSError) as error:
        raise _fail(error) from None


@app.command()
def attacks(plugins: Plugins = "") -> None:
    """List the attacks of `AdversarialGrid`, and what it takes to do each."""
    try:
        load_plugins(plugins)
    except ValueError as error:
        raise _fail(error) from None
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


@app.command()
def doctor() -> None:
    """Print what a bug report needs: versions, processor, GPU, ports in use, the clock."""
    found = list(findings())
    width = max(len(name) for name, _ in found)
    for name, value in found:
        typer.echo(f"{name:{width}}  {value}")


def _explain() -> None:
    table = Table("rule", "its result")
    for rule in (*AGGREGATORS.values(), *PREAGGREGATORS.values()):
        table.add_row(escape(usage(rule)), escape(_first_sentence(rule)))
    Console().print(table)


def _choice(rule: type[Aggregator], n: int, f: int, d: int) -> _Choice:
    found = _COST.search(inspect.getdoc(rule) or "")
    cost = " ".join(found[1].split()) if found else "-"
    name = rule.name
    try:
        name = usage(rule)
        return _compared(rule, name, cost, n, f, d)
    except Exception:  # a user's own, of which 1 is no argument, say; the others are compared
        return _Choice((1, 0.0, name), name, str(rule.need), None, None, None, cost, None)


def _compared(
    rule: type[Aggregator], name: str, cost: str, n: int, f: int, d: int
) -> _Choice:
    # What a rule can't do without does not bear on its needs and its lambda.
    example = rule(**dict.fromkeys(required(rule), 1))
    estimate = _seconds(cost, n, f, d, example)
    slowness = float("inf") if estimate is None else estimate
    most = largest_f(example, n)
    if not example.admits(n, f):
        return _Choice((3, 0.0, name), name, example.need, most, None, None, cost, None)
    value, kappa = example.coefficient(n, f, d), example.kappa(n, f, d)
    group = 1 if value is None else 2 if value == float("inf") else 0
    rank = slowness if value is None or group == 2 else value
    return _Choice((group, rank, name), name, example.need, most, value, kappa, cost, estimate)


def _seconds(cost: str, n: int, f: int, d: int, rule: Aggregator) -> float | None:
    if f > n or cost == "-":
        return None
    try:
        return seconds(cost, n, f, d, vars(rule))
    except (ValueError, OverflowError):  # a user's own terms
        return None


def _duration(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 1e-3 else f"{value:.2g}"


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
