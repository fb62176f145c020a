"""What a run says in Flower's log of its settings, its rounds and its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from logging import ERROR, INFO, WARNING

from flwr.app import ArrayRecord
from flwr.serverapp import Grid

from ..sampling_odds import most_byzantine
from ..wire.flower import logger, on_engine
from ..wire.layout import Layout
from ..wire.replies import Stray
from .descent import sunk
from .gate import Rejection
from .intake import Intake
from .quorum import QuorumLostError, silent_faults_assumed
from .settings import Settings

_LINES = 20  # of the same kind in a round
_FAILURE = 1e-3  # of the sampling, for which a run is told what it can stand
_ENOUGH = 10  # times its memory a node is to be asked in a run
_LONGEST = 2000  # characters of a line with what nodes report


def log_start(name: str, done: int, rounds: int) -> None:
    """Log which rounds a strategy goes on with, or that a checkpoint is of the last or later."""
    if 0 < done >= rounds:
        logger.log(
            INFO, "The checkpoint is of round %d, and num_rounds = %d: nothing is left to do",
            done, rounds,
        )
    else:
        logger.log(INFO, "Starting %s: rounds %d to %d", name, done + 1, rounds)


def log_settings(settings: Settings, arrayrecord_key: str, configrecord_key: str) -> None:
    """Log the settings as Flower's strategies log theirs."""
    rate = settings.learning_rate
    for line in (
        "\t├──> Resilient averaging of momentums:",
        f"\t│\t├── Aggregator: {settings.aggregator}",
        f"\t│\t├── Malicious nodes tolerated: {settings.num_malicious_nodes}",
        f"\t│\t├── Learning rate: {'scheduled' if callable(rate) else rate}",
        f"\t│\t├── Optimizer: {settings.optimizer}",
        f"\t│\t├── Weight decay: {settings.weight_decay}",
        f"\t│\t├── Output folder: {settings.output_dir or 'none'}",
        f"\t│\t└── Device: {settings.device or 'NumPy'}",
        "\t├──> Sampling:",
        f"\t│\t├── Fraction: train ({settings.fraction_train:.2f}) | "
        f"evaluate ({settings.fraction_evaluate:.2f})",
        f"\t│\t├── Minimum nodes: train ({settings.min_train_nodes}) | "
        f"evaluate ({settings.min_evaluate_nodes})",
        f"\t│\t└── Minimum available nodes: {settings.min_available_nodes}",
        "\t└──> Keys in records:",
        "\t\t├── Weighted by: nothing that a node reports",
        f"\t\t├── ArrayRecord key: '{arrayrecord_key}'",
        f"\t\t└── ConfigRecord key: '{configrecord_key}'",
    ):
        logger.log(INFO, "%s", line)


def log_limits(settings: Settings, grid: Grid, *, ours: bool) -> None:
    """Warn of what a run can't have, and what it would take."""
    if not ours:
        logger.log(
            WARNING, "Another loop than that of `Resam.start` runs this strategy: nodes are not "
            "asked for momentum, and no checkpoint is written"
        )
    if settings.optimizer.inertia:
        logger.log(
            WARNING, "%s adds momentum at the server to that of the nodes: a model that swings "
            "needs less of it, or momentum_mod(beta=0)", settings.optimizer,
        )
    if settings.seed is not None and settings.fraction_train < 1.0 and on_engine(grid):
        logger.log(
            WARNING, "Flower's engine draws new node ids in every run, so that the seed does not "
            "choose the same nodes again: start on PartitionedGrid(grid, num_nodes), to which the "
            "nodes' momentum_mod says which partition they hold"
        )


def log_sample(settings: Settings, *, nodes: int, asked: int, rounds: int) -> None:
    """Say how many Byzantine nodes a sampled run can stand, and how rarely a node is asked.

    Parameters
    ----------
    nodes, asked : int
        How many are connected, and how many of these a round asks.
    rounds : int
        Of the run; 0 where another's loop runs it, and nobody knows.
    """
    f = settings.num_malicious_nodes
    if not 0 < asked < nodes or not f:
        return
    most = most_byzantine(nodes, asked, f, max(1, rounds), _FAILURE)
    logger.log(
        WARNING, "Each round asks %d of %d nodes: the liars among them stay within f = %d in %s "
        "with probability %g if at most %d of all nodes are Byzantine (flwr-resam sample)",
        asked, nodes, f, f"all {rounds} rounds" if rounds else "one round", 1 - _FAILURE, most,
    )


def log_beta(beta: float | None, *, share: float, rounds: int) -> None:
    """Warn where momentum can't be what it is meant to be: too few rounds, or asked too rarely.

    Parameters
    ----------
    beta : float or None
        What the nodes say; None where they say nothing.
    share : float
        Which part of the nodes a round asks.
    rounds : int
        Of the run.
    """
    if not beta or not rounds:
        return
    memory = 1.0 / (1.0 - beta)
    if rounds < memory:
        logger.log(
            WARNING, "\t> num_rounds = %d is below 1 / (1 - beta) = %.0f: momentum of beta = %g "
            "does not come into its own in so few; use less", rounds, memory, beta,
        )
    elif share < 1.0 and share * rounds < _ENOUGH * memory:
        logger.log(
            WARNING, "\t> Each node is asked in about %.3g of %d rounds, and beta = %g averages "
            "its last %.0f updates, which are of old models: momentum may help little. Try "
            "beta = 0, several local steps and `nnm | cwtm` (docs/choosing.md)",
            share * rounds, rounds, beta, memory,
        )


def log_round(intake: Intake, expected: int, f: int | None, settings: Settings) -> None:
    """Log what came of the nodes, and what is wrong with what came."""
    valid, rejections = intake.valid, intake.rejections
    rule, most = settings.aggregator, settings.num_malicious_nodes
    logger.log(
        INFO, "aggregate_train: %d valid, %d rejected, %d silent of %d nodes; %s",
        valid, len(rejections), expected - valid - len(rejections), expected,
        "no quorum" if f is None else f"f = {f}",
    )
    if intake.momentums < valid:
        logger.log(
            INFO, "\t> %d of the replies hold weights, and no momentum: is momentum_mod in the "
            "ClientApp's mods?", valid - intake.momentums,
        )
    _log_each(rejections, "\t> Rejected node %d: %s")
    _log_each(intake.strays, "\t> Ignored a message of node %d: %s")
    if intake.proven > most:
        logger.log(
            ERROR, "\t> %d malformed replies, more than num_malicious_nodes = %d: %s; "
            "where nodes fail alike, mend their ClientApp",
            intake.proven, most,
            "raise it" if rule.admits(expected, intake.proven) else "no rule stands so many",
        )
    log_assumed(f, intake.proven, settings)
    if f is None:
        logger.log(ERROR, "\t> `%s` can't tolerate %d faults with what came", rule, most)


def _log_each(messages: Sequence[Rejection | Stray], text: str) -> None:
    """A line for each of the first; the ledger has all."""
    for each in messages[:_LINES]:
        logger.log(WARNING, text, each.node, each.reason)
    if len(messages) > _LINES:
        logger.log(WARNING, "\t> and %d more", len(messages) - _LINES)


def log_assumed(f: int | None, malformed: int, settings: Settings) -> None:
    """Warn where the f of a round is right only if silent nodes are faulty."""
    most = settings.num_malicious_nodes
    liars = 0 if f is None else silent_faults_assumed(f, malformed=malformed, f=most)
    if liars:
        logger.log(
            WARNING, "\t> f = %d, not %d, is safe only if at least %d of the nodes that are silent "
            "or failed are faulty: if honest ones are slow, raise `timeout` or ask more",
            f, most, liars,
        )


def log_constants(layout: Layout) -> None:
    """Log which arrays are kept as they are."""
    if layout.constants:
        logger.log(
            WARNING, "Kept as they are, since they hold an infinity: %s",
            ", ".join(layout.constants[:20]),
        )


def log_sunk(layout: Layout, before: ArrayRecord, after: ArrayRecord, said: set[str]) -> None:
    """Warn, once a run for each, of arrays that went below zero as variances never do."""
    for name in sunk(layout, before, after):
        if name not in said:
            said.add(name)
            logger.log(
                WARNING, "\t> `%s` was positive and is below zero now. If it is a running "
                "variance, name it at the server and the workers: buffers=[...]", name,
            )


def log_metrics(what: str, metrics: object) -> None:
    """Log what a round reports, in a line of bounded length."""
    line = str(metrics)
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]}... ({len(line)} characters)"
    logger.log(INFO, "\t└──> %s: %s", what, line)


def quorum_lost(
    skipped: int, rejections: list[Rejection], settings: Settings, *,
    asked: int, missing: int, valid: int, no_result: bool = False,
) -> QuorumLostError:
    """The error that ends a run after so many rounds in a row without a quorum.

    Parameters
    ----------
    asked, missing, valid : int
        Of the last round: the nodes that were asked, how many fewer were connected than have to be
        asked, and the replies that gave a row.
    no_result : bool
        Whether these were enough, and the rule raised or found no finite vector.
    """
    silent = asked - valid - len(rejections)
    came = f"{asked} nodes were asked"
    if missing:
        came = f"{asked} of the {asked + missing} nodes that have to be asked were connected"
    reason = "".join(f" (node {each.node}: {each.reason})" for each in rejections[:1])
    last = (
        f"In the last round {came}; {valid} gave a row, {len(rejections)} were rejected{reason}, "
        f"{silent} were silent. "
    ) if asked + missing else ""  # a resumed run may have no round left
    if no_result:
        return QuorumLostError(
            f"{skipped} round(s) in a row gave no model: it is the one of the last good round. "
            f"{last}That is enough for `{settings.aggregator}`, which found no result, for the "
            "reason in the log above; mend the rule or take another.",
            rejections,
        )
    cures = []
    if rejections:
        cures.append("mend the ClientApp of the nodes that were rejected")
    if missing:
        cures.append("start the nodes that are gone, and look at their network")
    if silent:
        cures.append("look at the silent nodes and their network, and at `timeout`")
    return QuorumLostError(
        f"{skipped} round(s) in a row had too few valid replies for `{settings.aggregator}` with "
        f"num_malicious_nodes = {settings.num_malicious_nodes}. The model is the one of the last "
        f"good round. {last}See the log above; {', or '.join([*cures, 'ask more nodes'])}.",
        rejections,
    )
