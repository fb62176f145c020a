"""The same numbers as ByzFL 0.0.11, wherever the two mean the same rule.

Needs ``pip install --no-deps byzfl``: with its dependencies it pulls in a torch of its own.

| here | ByzFL | compared |
|---|---|---|
| mean, cwtm | Average, TrMean | yes |
| cwmed | Median | with NumPy; its torch median of even n is the lower middle value |
| meamed | Meamed | with NumPy, for the same reason |
| krum* | Krum | yes: ByzFL's Krum counts n - f - 1 others, the RESAM form |
| krum | - | ByzFL has no Krum of 2017 (n - f - 2 others, n >= 2f + 3) |
| multikrum | MultiKrum | no: ByzFL counts n - f - 1 others and averages n - f rows |
| mda | MDA | yes; ByzFL lists subsets, so n is small here, and n - f >= 2 |
| gm | GeometricMedian | run to convergence; its default stops smoothed steps from 0 after three |
| monna | MoNNA | yes, for a trusted row given by number |
| cc | CenteredClipping | yes, memory too; ByzFL divides by 0 where a row is the last output |
| smea | SMEA | d = 1; else ByzFL compares one step of a power iteration from a random vector |
| caf | CAF | no: the same random step, and rows without weight still set the largest score |
| nnm, clipping | NNM, Clipping | yes; ByzFL clips its argument in place |
| arc | ARC | yes; ByzFL clips its argument in place |
| bucketing | Bucketing | with the same shuffle; ByzFL has no default for s |
| phocas, gmom, bulyan, cge, byzantine-sgd, safeguard, sever, rge, signmajority | - | |
"""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from flwr_resam.rule import Round
from tests.oracles import all_mda
from tests.rules import draw, make


def load():
    """ByzFL's rules alone: its top level imports torchvision for its benchmark."""
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("byzfl is not installed", allow_module_level=True)
    package = types.ModuleType("byzfl")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules.setdefault("byzfl", package)
    pytest.importorskip("scipy")
    from byzfl.aggregators import aggregators, preaggregators

    return aggregators, preaggregators


theirs, before = load()

AGREE = {
    "mean": lambda n, f: theirs.Average(),
    "cwtm": lambda n, f: theirs.TrMean(f),
    "cwmed": lambda n, f: theirs.Median(),
    "meamed": lambda n, f: theirs.Meamed(f),
    "krum*": lambda n, f: theirs.Krum(f),
    "mda": lambda n, f: theirs.MDA(f),
    "gm": lambda n, f: theirs.GeometricMedian(nu=1e-12, T=3000),
    "monna": lambda n, f: theirs.MoNNA(f, 0),
    "cc": lambda n, f: theirs.CenteredClipping(L=3, tau=1.0),
}
SIZES = [(5, 0), (5, 2), (8, 3), (9, 1), (11, 4)]


@pytest.mark.parametrize(("n", "f"), SIZES)
@pytest.mark.parametrize("name", AGREE)
def test_aggregators(name, n, f):
    rows = draw(n, 6, seed=3)
    ours, other = make(name)(rows, f=f), AGREE[name](n, f)(rows.copy())
    if name == "mda":  # ByzFL takes the first subset of least diameter
        other = min(all_mda(rows, f), key=lambda mean: np.linalg.norm(mean - ours))
        assert any(np.allclose(mean, AGREE[name](n, f)(rows)) for mean in all_mda(rows, f))
    np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["cwtm", "krum*", "monna", "cc"])
def test_aggregators_of_torch_tensors(name):
    rows = torch.from_numpy(draw(9, 6, seed=3, dtype=np.float32))
    np.testing.assert_allclose(
        make(name)(rows, f=2).numpy(), AGREE[name](9, 2)(rows.clone()).numpy(), rtol=1e-4, atol=1e-5
    )


def test_centred_clipping_over_rounds():
    rule, other = make("cc"), theirs.CenteredClipping(L=3, tau=1.0)
    state = rule.start()
    for seed in range(4):
        rows = draw(7, 5, seed)
        done = rule.step(rows, f=2, state=state)
        state = done.state
        np.testing.assert_allclose(done.vector, other(rows), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_smea_in_one_dimension(n, f):
    rows = draw(n, 1, seed=3)
    np.testing.assert_allclose(make("smea")(rows, f=f), theirs.SMEA(f)(rows), rtol=1e-9)


@pytest.mark.parametrize(("n", "f"), SIZES)
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("nnm", before.NNM),
        ("clipping", lambda f: before.Clipping(1.0)),
        ("arc", before.ARC),
    ],
)
def test_preaggregators(name, other, n, f):
    rows = draw(n, 6, seed=3)
    np.testing.assert_allclose(make(name)(rows, f=f), other(f)(rows.copy()), rtol=1e-9)


class Shuffle:
    """A generator that shuffles as the global one of NumPy did."""

    def __init__(self, order):
        self.order = order

    def permutation(self, n):
        return self.order


@pytest.mark.parametrize("s", [1, 2, 3, 7])
def test_bucketing(s, monkeypatch):
    rows = draw(9, 4)
    order = np.random.default_rng(0).permutation(9)
    monkeypatch.setattr(np.random, "permutation", lambda vectors: vectors[order])
    from flwr_resam.preaggregators import Bucketing

    ours = Bucketing(s)(rows, f=1, at=Round(generator=Shuffle(order)))
    np.testing.assert_allclose(ours, before.Bucketing(s)(rows), rtol=1e-12)
