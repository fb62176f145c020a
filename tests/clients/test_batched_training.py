"""Clients that compute in one pass give what they give one by one."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from torch import nn

from clients import batched_training, gradients, models, training
from clients.poison import FlippedLabels, Trigger
from clients.settings import ClientSettings
from simulations import in_process
from simulations.experiment import Experiment
from simulations.in_process import run_in_process


def settings_of(root, **changes):
    config = {"dataset": "mnist", "model": "mnist-mlp", "data-dir": str(root), "batch-size": 6}
    experiment = Experiment.default({**config, **{k.replace("_", "-"): v for k, v in changes.items()}})
    return ClientSettings.read(experiment.run_config())


@pytest.mark.parametrize("changes", [{}, {"norm_penalty": 0.1}, {"l2": 0.1}, {"clip_norm": 0.5}, {"l2": 0.1, "clip_norm": 2.0}])
@pytest.mark.parametrize("poison", [None, FlippedLabels(), FlippedLabels(1, 7), Trigger()])
def test_each_client_gets_its_own_update(changes, poison, small_mnist, monkeypatch):
    settings = settings_of(small_mnist, **changes)
    arrays = ArrayRecord(models.build("mnist-mlp", 0).state_dict())
    place = {"server_round": 3, "poison": poison}
    alone = {i: training.train(arrays, settings, partition=i, **place) for i in (0, 2, 5)}
    monkeypatch.setattr(training, "train", None)
    with batched_training.together([[0, 2, 5]]):
        for i, one in alone.items():
            found = batched_training.train(arrays, settings, partition=i, **place)
            assert found.examples == one.examples
            assert found.loss == pytest.approx(one.loss, rel=1e-5)
            assert found.update.keys() == one.update.keys()
            for name, value in one.update.items():
                assert found.update[name].dtype == value.dtype
                np.testing.assert_allclose(found.update[name], value, rtol=1e-4, atol=1e-6)


def test_a_round_is_one_pass_and_another_model_is_another(small_mnist, monkeypatch):
    settings = settings_of(small_mnist)
    passes = []
    real = gradients.grouped_gradients
    monkeypatch.setattr(
        batched_training, "grouped_gradients", lambda *given: passes.append(1) or real(*given)
    )
    first, other = (ArrayRecord(models.build("mnist-mlp", seed).state_dict()) for seed in (0, 1))
    with batched_training.together([[0, 1], [2]]):

        def loss(arrays, partition, server_round=1):
            place = {"server_round": server_round, "partition": partition}
            found = batched_training.train(arrays, settings, **place).loss
            assert found == pytest.approx(training.train(arrays, settings, **place).loss, rel=1e-5)

        loss(first, 0)
        loss(first.copy(), 1)
        assert len(passes) == 1
        loss(other, 0)
        loss(other, 1, server_round=2)
        assert len(passes) == 3
        loss(other, 2, server_round=2)
        assert len(passes) == 4
        loss(other, 1, server_round=2)  # asked twice
        loss(other, 7, server_round=2)  # in no group
        assert len(passes) == 5
    loss(first, 0)
    assert len(passes) == 5


def test_the_updates_do_not_depend_on_the_number_of_threads(small_mnist):
    settings = settings_of(small_mnist, batch_size=30)
    arrays = ArrayRecord(models.build("mnist-mlp", 0).state_dict())
    found, before = [], torch.get_num_threads()
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        with batched_training.together([range(7)]):
            each = [batched_training.train(arrays, settings, server_round=1, partition=i) for i in range(7)]
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
        found.append([one.update[name].tobytes() for one in each for name in sorted(one.update)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("model", ["mnist-cnn", "mnist-mlp"])
def test_clients_in_threads_give_the_bits_of_one_after_the_other(small_mnist, monkeypatch, model):
    experiment = Experiment.default({
        "dataset": "mnist", "model": model, "data-dir": str(small_mnist), "num-rounds": 3,
        "batch-size": 4, "attack": "2 alie(z=1.5) + 3 label-flip", "aggregator": "cwtm",
    })
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(in_process, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(in_process, "is_dense", lambda _: False)
        found.append(run_in_process(experiment).digest)
    assert found[0] == found[1] == found[2]


def test_a_model_is_built_by_one_thread_at_a_time(monkeypatch):
    """Building draws from the generator that the dropout of other threads draws from."""
    settings = ClientSettings.read(Experiment.default({}).run_config())
    arrays = ArrayRecord(models.build("digits-mlp", 0).state_dict())
    built, empty = [], models.empty

    def build(name):
        built.append(training._one_at_a_time.locked())
        return empty(name)

    monkeypatch.setattr(models, "empty", build)
    training._layers.cache_clear()
    training.train(arrays, settings, server_round=1, partition=0)
    assert built == [True]


def test_dropout_draws_the_same_in_threads(monkeypatch):
    """PyTorch has one generator for all threads."""
    settings = dataclasses.replace(
        ClientSettings.read(Experiment.default({}).run_config()), batch_size=4
    )
    layers = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.Dropout(), nn.Linear(256, 10))
    arrays = ArrayRecord(layers.state_dict())
    monkeypatch.setattr(training, "_layers", lambda _: layers)

    def update(partition):
        return training.train(arrays, settings, server_round=1, partition=partition).update

    alone = [update(partition) for partition in range(20)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(update, range(20)))
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == layers.state_dict().keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert not np.array_equal(alone[0]["0.weight"], alone[1]["0.weight"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")
@pytest.mark.parametrize("layers", [nn.Flatten(), nn.Dropout(0.0)])
def test_a_gpu_gives_the_updates_of_the_cpu(small_mnist, monkeypatch, layers):
    model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), layers, nn.Linear(2304, 10))
    monkeypatch.setattr(training, "_layers", lambda _: model)
    arrays = ArrayRecord(model.state_dict())
    place = {"server_round": 1, "partition": 0}
    settings = settings_of(small_mnist, l2=0.1, clip_norm=1.0, local_steps=2)
    here = training.train(arrays, settings, **place).update
    there = training.train(arrays, dataclasses.replace(settings, device="cuda"), **place).update
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, rtol=1e-2, atol=1e-4)


def test_several_local_steps_go_one_by_one(small_mnist):
    settings = settings_of(small_mnist, local_steps=2)
    arrays = ArrayRecord(models.build("mnist-mlp", 0).state_dict())
    assert batched_training.BatchedClients([[0]]).take(arrays, settings, 1, 0, False) is None


@pytest.mark.parametrize(
    "attack", ["none", "alie(z=1.5)", "label-flip", "2 foe when(every=2) + 1 sign-flip + label-flip"]
)
def test_a_batched_run_is_the_run_up_to_rounding(attack):
    experiment = Experiment.default({"num-rounds": 8, "attack": attack, "aggregator": "cwtm"})
    alone, batched = (run_in_process(experiment, batched=how) for how in (False, True))
    for name, value in alone.arrays.items():
        np.testing.assert_allclose(batched.arrays[name].numpy(), value.numpy(), rtol=1e-3, atol=1e-5)
    again = run_in_process(experiment, batched=True)
    assert again.digest == batched.digest
