"""How far honest nodes differ since their data do: G and B along one run.

Theorems on different data take ``mean_i ||grad_i - grad||^2 <= G^2 + B^2 ||grad||^2`` over the
honest nodes, at all models. Who holds all the data can look at some models. A server can't.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from flwr.app import ArrayRecord
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from clients import data, models
from clients.data import Dataset
from clients.gradients import regularise_and_clip
from clients.partitions import Indices, share_of
from clients.training import one_thread, state_dict
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.results import Evaluation

RESULTS = "heterogeneity.json"
_EXAMPLES = 1000  # in one pass
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Spread:
    """The gradients of the honest nodes' whole losses at one model.

    Attributes
    ----------
    round : int
        After which the model was this.
    gradient : float
        ``||grad||^2``, grad being the mean of the honest nodes' gradients.
    difference : float
        ``mean_i ||grad_i - grad||^2``.
    """

    round: int
    gradient: float
    difference: float


@dataclass(frozen=True, order=True)
class Bound:
    """``difference <= G^2 + B^2 gradient`` at each of some models.

    Attributes
    ----------
    g_squared, b_squared : float
        G^2, in squared units of the gradient, and B^2, which has none.
    """

    g_squared: float
    b_squared: float

    def floor(self, n: int, f: int) -> float:
        """``f / (n - 2f) G^2``: of this order is what robust methods leave of the gradient."""
        return f / (n - 2 * f) * self.g_squared

    @property
    def breakdown(self) -> float:
        """``1 / (2 + B^2)``: the share f / n from which on this pair promises nothing."""
        return 1.0 / (2.0 + self.b_squared)


def measure(
    experiment: Experiment, points: int, on_evaluation: Callable[[Evaluation], None]
) -> list[Spread]:
    """Run the experiment in process, and take full gradients at about so many of its models.

    They are of the loss and its regularisation on everything that a partition holds, unclipped,
    with dropout off. Written to ``heterogeneity.json`` in the output folder, with the bounds.

    Raises
    ------
    ValueError
        As `run_in_process` does.
    """
    every = max(1, experiment.num_rounds // max(1, points - 1))
    experiment = replace(experiment, evaluate_every=every)
    dataset = data.load(experiment.dataset, experiment.data_dir, experiment.validation_share)
    shares = honest_shares(experiment, dataset)
    found: list[Spread] = []

    def look(server_round: int, arrays: ArrayRecord) -> None:
        gradients = [full_gradient(arrays, experiment, dataset, share) for share in shares]
        found.append(spread(server_round, gradients))

    run_in_process(experiment, on_evaluation, on_model=look)
    result = {
        "models": [asdict(each) for each in found],
        "bounds": [asdict(each) for each in bounds(found)],
    }
    path = Path(experiment.output_dir) / RESULTS
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return found


def honest_shares(experiment: Experiment, dataset: Dataset) -> list[Indices | None]:
    """What each honest node holds; None, once, where all draw from everything."""
    byzantine = 0 if experiment.attack == "none" else experiment.num_malicious_nodes
    shares = [
        share_of(dataset, experiment, partition)
        for partition in range(experiment.num_nodes - byzantine)
    ]
    return [None] if shares[0] is None else shares


def full_gradient(
    arrays: ArrayRecord, experiment: Experiment, dataset: Dataset, share: Indices | None
) -> NDArray[np.float64]:
    """The gradient of the mean loss on a share of the training examples, (d,) float64."""
    device = experiment.device or "cpu"
    model = models.empty(models.chosen(experiment.model, experiment.dataset)).to(device).eval()
    state = state_dict(arrays, device)
    parameters = {name: state[name].requires_grad_() for name, _ in model.named_parameters()}
    total = {
        name: torch.zeros_like(value, dtype=torch.float64) for name, value in parameters.items()
    }
    examples = np.arange(len(dataset.train_y)) if share is None else share
    with one_thread():
        for start in range(0, len(examples), _EXAMPLES):
            some = examples[start : start + _EXAMPLES]
            inputs = torch.from_numpy(dataset.inputs(dataset.train_x[some])).to(device)
            labels = torch.from_numpy(dataset.train_y[some]).to(device)
            scores = functional_call(model, state | parameters, (inputs,))
            loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
            found = torch.autograd.grad(loss, list(parameters.values()))
            for value, part in zip(total.values(), found, strict=True):
                value += part
        mean = {name: (value / len(examples))[None] for name, value in total.items()}
        held = {name: value.detach().double() for name, value in parameters.items()}
        regularise_and_clip(mean, held, experiment.l2, experiment.norm_penalty, 0.0)
    return np.concatenate([value.numpy(force=True).ravel() for value in mean.values()])


def spread(server_round: int, gradients: Sequence[NDArray[np.float64]]) -> Spread:
    """How far these gradients lie from their mean.

    Examples
    --------
    >>> spread(3, [np.array([1.0, 2.0]), np.array([3.0, 2.0])])
    Spread(round=3, gradient=8.0, difference=1.0)
    """
    mean = np.mean(gradients, axis=0)
    apart = fmean(float(np.sum((each - mean) ** 2)) for each in gradients)
    return Spread(server_round, float(np.sum(mean**2)), apart)


def bounds(spreads: Sequence[Spread]) -> list[Bound]:
    """The pairs of G^2 and B^2 that hold at all of these models and of which neither can be less.

    The first has B = 0 and the largest difference for G^2. Each further line is higher nowhere
    that matters for one point, and lower for others: a larger B allows a smaller G. They go
    through two of the points, or through one and the origin, and what lies between two of them
    holds, too.

    Examples
    --------
    >>> bounds([Spread(0, 4.0, 9.0), Spread(1, 2.0, 3.0), Spread(2, 0.0, 1.0)])
    [Bound(g_squared=9.0, b_squared=0.0), Bound(g_squared=1.0, b_squared=2.0)]
    """
    points = [(each.gradient, each.difference) for each in spreads]
    lines = {(max(y for _, y in points), 0.0)}
    if all(x > 0.0 or y == 0.0 for x, y in points):
        lines.add((0.0, max((y / x for x, y in points if x > 0.0), default=0.0)))
    for (x, y), (x2, y2) in combinations(points, 2):
        if x != x2:
            slope = (y2 - y) / (x2 - x)
            lines.add((y - slope * x, slope))
    holding = sorted(
        Bound(a, b) for a, b in lines
        if a >= 0.0 and b >= 0.0 and all(y <= (a + b * x) * (1.0 + _ROUNDING) for x, y in points)
    )
    least: list[Bound] = []
    for line in holding:  # G^2 grows
        if not least or line.b_squared < least[-1].b_squared:
            least.append(line)
    return least[::-1]
