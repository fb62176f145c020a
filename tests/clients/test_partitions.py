"""What each worker holds: all examples once, as unlike as was asked, the same in every process."""

import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from clients import data
from clients.data import Dataset
from clients.partitions import PARTITIONS, parse_partition, share_of
from clients.settings import ClientSettings
from clients.training import batch
from simulations.experiment import Experiment
from simulations.in_process import run_in_process

ALL = ["iid", "dirichlet(alpha=0.5)", "shards(per_worker=2)", "sorted", "gamma(similarity=0.5)"]


@pytest.fixture(scope="module")
def dataset():
    labels = np.random.default_rng(0).integers(10, size=2000)
    values = np.arange(2000, dtype=np.float32)[:, None]
    return Dataset(values, labels, values, labels, classes=10)


def settings_of(**changes):
    config = Experiment.default({key.replace("_", "-"): value for key, value in changes.items()})
    return ClientSettings.read(config.run_config())


def shares(dataset, text, **changes):
    settings = settings_of(partition=text, **changes)
    return [share_of(dataset, settings, worker) for worker in range(10)]


def classes_held(dataset, share):
    """How many classes it takes to make up 95 % of a share."""
    counts = np.sort(np.bincount(dataset.train_y[share], minlength=10))[::-1]
    return int(np.searchsorted(np.cumsum(counts), 0.95 * len(share))) + 1


def test_every_partition_is_tried_here():
    assert {parse_partition(text).name for text in ALL} == PARTITIONS.keys() - {"homogeneous"}


@pytest.mark.parametrize("text", ALL)
def test_honest_workers_hold_every_example_once_and_byzantine_ones_none(dataset, text):
    held = shares(dataset, text)
    assert sorted(np.concatenate(held)) == list(range(2000))
    settings = settings_of(partition=text)
    assert share_of(dataset, settings, 10) is None
    if "dirichlet" not in text:
        assert {len(share) for share in held} == {200}


@pytest.mark.parametrize("text", ALL)
def test_the_seed_decides(dataset, text):
    first = np.concatenate(shares(dataset, text))
    other = np.concatenate(shares(dataset, text, seed=1))
    again = np.concatenate(shares(replace(dataset), text))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_how_unlike_the_shares_are(dataset):
    def held(text):
        return np.mean([classes_held(dataset, share) for share in shares(dataset, text)])

    assert held("iid") == held("gamma(similarity=1)") == 10
    assert held("sorted") == held("gamma(similarity=0)") <= 2
    assert held("shards(per_worker=2)") <= 4
    assert held("dirichlet(alpha=0.1)") < held("dirichlet(alpha=1.0)") < held("dirichlet(alpha=100)")
    for share in shares(dataset, "gamma(similarity=0.5)"):
        counts = np.sort(np.bincount(dataset.train_y[share], minlength=10))
        assert 0.5 <= counts[-2:].sum() / len(share) < 0.75
        assert counts[0] > 0


def test_everybody_is_honest_where_nobody_attacks(dataset):
    settings = settings_of(partition="iid", attack="none")
    held = [share_of(dataset, settings, worker) for worker in range(15)]
    assert sorted(np.concatenate(held)) == list(range(2000))


def test_batches_come_from_the_share(dataset):
    settings = settings_of(partition="sorted", batch_size=500)
    for worker in (0, 9, 12):
        share = share_of(dataset, settings, worker)
        inputs, _ = batch(dataset, settings, worker, np.random.default_rng(0), None)
        drawn = set(inputs[:, 0].int().tolist())
        assert drawn <= set(range(2000) if share is None else share.tolist())
        assert len(drawn) > 150
    assert share_of(dataset, settings_of(), 0) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dirichelt", "Did you mean `dirichlet`"),
        ("dirichlet(alpha=0)", "above 0"),
        ("gamma(similarity=1.5)", r"in \[0, 1\]"),
        ("shards(per_worker=0)", "at least 1"),
        ("iid(alpha=1)", "no argument `alpha`"),
    ],
)
def test_a_wrong_partition_is_one_sentence(text, message):
    with pytest.raises(ValueError, match=message):
        Experiment.default({"partition": text})


def test_too_few_examples_for_the_workers_are_said_before_training():
    few = data.load("digits")
    settings = settings_of(partition="sorted", num_nodes=2001, attack="none", aggregator="mean")
    with pytest.raises(ValueError, match="give each of 2001 workers an example"):
        share_of(few, settings, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "shards(per_worker=201)",
            "`partition` must cut 2000 examples into at most 2000 shards. Found 2010 for 10 workers "
            "in `shards(per_worker=201)`. Lower per_worker, or ask fewer nodes.",
        ),
        (
            "dirichlet(alpha=1e-320)",
            "`partition` must share 2000 examples out to 10 workers. Found some without any in "
            "`dirichlet(alpha=1e-320)`. Ask fewer nodes, or share out more evenly.",
        ),
    ],
)
def test_what_a_partition_cannot_do_is_one_sentence_and_no_warning(dataset, text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        shares(dataset, text)


def test_as_many_shards_as_examples_are_dealt_out_without_a_warning(dataset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = shares(replace(dataset), "shards(per_worker=200)")
    assert sorted(np.concatenate(held)) == list(range(2000))


def test_another_process_shares_out_the_same(dataset):
    code = (
        "import numpy as np; from clients import data; from clients.partitions import share_of\n"
        "from clients.settings import ClientSettings as S\n"
        "from simulations.experiment import Experiment as E\n"
        "s = S.read(E.default({'partition': 'dirichlet(alpha=0.5)'}).run_config())\n"
        "print(share_of(data.load('digits'), s, 3).tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = settings_of(partition="dirichlet(alpha=0.5)")
    assert out.stdout.strip() == str(share_of(data.load("digits"), settings, 3).tolist())


def test_unlike_shares_make_the_mean_learn_less_in_a_round_batched_or_not():
    common = {"attack": "none", "aggregator": "mean", "num-rounds": 5, "seed": 3}
    runs = {
        text: run_in_process(Experiment.default({**common, "partition": text}))
        for text in ("homogeneous", "iid", "sorted")
    }
    assert len({run.digest for run in runs.values()}) == 3
    batched = run_in_process(Experiment.default({**common, "partition": "sorted"}), batched=True)
    for name, value in runs["sorted"].arrays.items():
        np.testing.assert_allclose(batched.arrays[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-5)
