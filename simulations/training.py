"""One experiment from the initial model to the last evaluation, on whatever grid it is given."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid

from clients import data, models
from clients.byzantine.poisoning import Poisoning
from clients.partitions import share_of
from clients.settings import ClientSettings
from clients.training import accuracy, success
from flwr_resam import AdversarialGrid, PartitionedGrid, Resam, parse_rule
from simulations.experiment import Experiment
from simulations.results import Evaluation, Recorder


@dataclass(frozen=True)
class Outcome:
    """What an experiment gave.

    Attributes
    ----------
    evaluations : list of Evaluation
        On the test set, from round 0 on.
    arrays : ArrayRecord
        The final model.
    """

    evaluations: list[Evaluation]
    arrays: ArrayRecord

    @property
    def digest(self) -> str:
        """A hash of every bit of the final model."""
        total = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            total.update(name.encode() + array.numpy().tobytes())
        return total.hexdigest()


def run(
    experiment: Experiment,
    grid: Grid,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
    on_model: Callable[[int, ArrayRecord], None] = lambda _round, _arrays: None,
) -> Outcome:
    """Run one experiment and, where it names an output folder, record it there.

    Each model that is evaluated is shown to ``on_model``, with its round.
    """
    recorder = Recorder(experiment)  # or raise, before a node is waited for
    strategy = Resam(
        num_malicious_nodes=experiment.num_malicious_nodes,
        aggregator=parse_rule(experiment.aggregator),
        learning_rate=(
            experiment.rate if experiment.learning_rate_decay else experiment.learning_rate
        ),
        weight_decay=experiment.weight_decay,
        device=experiment.device or None,
        seed=experiment.seed,
        min_available_nodes=experiment.num_nodes,
        fraction_evaluate=0.0,
        output_dir=experiment.output_dir or None,
        spill=experiment.spill or None,
        on_round=experiment.tracker(),
        checkpoint_every=experiment.checkpoint_every,
    )
    nodes = PartitionedGrid(
        grid, experiment.num_nodes, experiment.connect_timeout,
        # A device that is gone for good must not keep a run from going on.
        least=strategy.settings.least_quorum if recorder.resumes else None,
    )
    model = models.build(models.chosen(experiment.model, experiment.dataset), experiment.seed)
    dataset = data.load(
        experiment.dataset, experiment.data_dir, experiment.validation_share,
        validate=experiment.evaluate_on == "validation",
    )
    share_of(dataset, ClientSettings.read(experiment.run_config()), 0)  # or raise, before a node
    conducts = [plan.what for plan, _ in experiment.plans()]
    poisons = [conduct.poison for conduct in conducts if isinstance(conduct, Poisoning)]
    for poison in poisons:
        poison.check(dataset)
    goals = [goal for goal in (poison.goal(dataset) for poison in poisons) if goal is not None]
    recorder.begin()
    started = time.monotonic() - recorder.seconds
    final = max(experiment.num_rounds, recorder.done)

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if server_round % experiment.evaluate_every and server_round != final:
            return None
        score, loss = accuracy(arrays, model, dataset, experiment.device)
        reached = [success(arrays, model, goal, experiment.device) for goal in goals]
        rate = max(reached, default=None)
        evaluation = Evaluation(server_round, score, loss, time.monotonic() - started, rate)
        recorder.add(evaluation)
        on_evaluation(evaluation)
        on_model(server_round, arrays)
        metrics = MetricRecord({"accuracy": score, "loss": loss})
        if rate is not None:
            metrics["attack-success-rate"] = rate
        return metrics

    result = strategy.start(
        grid=_adversarial(nodes, experiment),
        initial_arrays=ArrayRecord(model.state_dict()),
        num_rounds=experiment.num_rounds,
        timeout=experiment.round_timeout,
        evaluate_fn=evaluate,
        resume=experiment.resume,
    )
    if final not in {evaluation.round for evaluation in recorder.evaluations}:
        evaluate(final, result.arrays)  # resumed with no round left to do
    outcome = Outcome(recorder.evaluations, result.arrays)
    recorder.finish(outcome.digest)
    return outcome


def _adversarial(nodes: PartitionedGrid, experiment: Experiment) -> Grid:
    """Put the adversaries before the last f partitions, where the experiment has any."""
    adversaries = experiment.adversaries()
    return AdversarialGrid(nodes, adversaries, seed=experiment.seed) if adversaries else nodes
