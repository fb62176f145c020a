"""How far the honest nodes' gradients differ: against autograd, and against linear programs."""

import json

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from scipy.optimize import linprog
from torch import nn
from typer.testing import CliRunner

from clients import data, models
from simulations.__main__ import app
from simulations.experiment import Experiment
from simulations.heterogeneity import Spread, bounds, full_gradient, honest_shares, measure, spread

SETTINGS = {"num-nodes": 6, "num-malicious-nodes": 2, "num-rounds": 4, "attack": "none"}


def experiment(**changes):
    return Experiment.default({**SETTINGS, **{k.replace("_", "-"): v for k, v in changes.items()}})


def test_the_gradient_is_that_of_the_whole_loss():
    of = experiment(l2=0.1, norm_penalty=0.3)
    model = models.build("digits-mlp", seed=1)
    dataset = data.load("digits")
    share = np.arange(5, 1300, 3)
    found = full_gradient(ArrayRecord(model.state_dict()), of, dataset, share)
    model = model.double()
    inputs = torch.from_numpy(dataset.inputs(dataset.train_x[share])).double()
    theta = torch.cat([value.flatten() for value in model.parameters()])
    loss = nn.functional.cross_entropy(model(inputs), torch.from_numpy(dataset.train_y[share]))
    (loss + 0.05 * theta.square().sum() + 0.3 * theta.norm()).backward()
    expected = torch.cat([value.grad.flatten() for value in model.parameters()]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_of_equal_shares_the_mean_is_the_gradient_of_all():
    of = experiment(partition="sorted")
    dataset = data.load("digits")
    arrays = ArrayRecord(models.build("digits-mlp", seed=0).state_dict())
    shares = honest_shares(of, dataset)
    gradients = [full_gradient(arrays, of, dataset, share) for share in shares]
    whole = full_gradient(arrays, of, dataset, None)
    sizes = [len(share) for share in shares]
    np.testing.assert_allclose(np.average(gradients, axis=0, weights=sizes), whole, atol=1e-7)
    assert spread(0, gradients).difference > 10 * spread(0, [whole]).gradient


def test_the_byzantine_nodes_are_not_asked():
    dataset = data.load("digits")
    assert len(honest_shares(experiment(partition="iid"), dataset)) == 6
    assert len(honest_shares(experiment(partition="iid", attack="foe"), dataset)) == 4


def test_nodes_of_one_distribution_do_not_differ_and_others_do(tmp_path):
    differences = {}
    for partition in ("homogeneous", "dirichlet(alpha=10)", "sorted"):
        of = experiment(partition=partition, output_dir=str(tmp_path))
        found = measure(of, 3, lambda _: None)
        assert [each.round for each in found] == [0, 2, 4]
        differences[partition] = np.mean([each.difference for each in found])
    assert differences["homogeneous"] == 0.0
    assert 0.0 < 10 * differences["dirichlet(alpha=10)"] < differences["sorted"]
    written = json.loads((tmp_path / "heterogeneity.json").read_text())
    assert written["models"][0].keys() == {"round", "gradient", "difference"}
    assert written["bounds"]


@pytest.mark.parametrize("seed", range(20))
def test_the_pairs_are_the_corners_of_all_that_hold(seed):
    draw = np.random.default_rng(seed)
    points = draw.exponential(size=(7, 2)) * (10.0 ** draw.integers(-3, 3, 2))
    found = bounds([Spread(0, *map(float, point)) for point in points])
    for x in [0.0, *draw.exponential(size=20) * points[:, 0].max()]:
        least = linprog(
            [1.0, x], A_ub=-np.column_stack([np.ones(7), points[:, 0]]), b_ub=-points[:, 1]
        )
        assert min(p.g_squared + p.b_squared * x for p in found) == pytest.approx(least.fun, rel=1e-6)


def test_a_difference_where_the_gradient_is_zero_needs_a_g():
    (pair,) = bounds([Spread(0, 0.0, 2.0), Spread(1, 1.0, 2.0)])
    assert (pair.g_squared, pair.b_squared, pair.breakdown) == (2.0, 0.0, 0.5)
    assert pair.floor(15, 3) == pytest.approx(2 / 3)


def test_the_command_says_what_it_found(tmp_path):
    done = CliRunner().invoke(
        app,
        ["heterogeneity", "--output-dir", str(tmp_path), "--points", "3", "-c",
         "partition='sorted' num-rounds=4 attack='none' num-malicious-nodes=3"],
        env={"COLUMNS": "80"},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "1 / (2 + B^2)" in done.stdout
    assert "yes: 0.200, 0.500" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
