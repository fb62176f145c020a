"""Data sets and models: what is read, from where, and what is said where there is nothing."""

import gzip
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from torch import nn

from clients import data, models
from clients.data import __main__ as download
from clients.data.idx import read_idx
from clients.settings import ClientSettings
from clients.training import train
from simulations.experiment import Experiment
from tests.support import idx


def there(name):
    try:
        data.check(name)
    except (ValueError, ImportError) as error:
        return str(error)
    return ""


def needs(name):
    return pytest.mark.skipif(bool(there(name)), reason=there(name))


def test_mnist_is_read_from_data_dir_or_the_environment(small_mnist, monkeypatch):
    given = data.load("mnist", str(small_mnist))
    assert given.train_x.shape == (20, 1, 28, 28)
    assert given.test_y.tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setenv("RESAM_DATA", str(small_mnist))
    assert data.load("mnist") is given
    pixels = given.test_x.astype(np.float64) / 255
    np.testing.assert_allclose(given.test_inputs, (pixels - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)
    assert given.test_inputs.dtype == np.float32


def test_unpacked_files_are_read_as_torchvision_leaves_them(small_mnist):
    packed = small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    plain = small_mnist / "images"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    np.testing.assert_array_equal(read_idx(plain), read_idx(packed))


@pytest.mark.parametrize(
    "content", [b"", b"<html>", idx(np.zeros((3, 2)))[:-1], idx(np.zeros(4)) + b"x"]
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_file_is_named(content, packed, tmp_path):
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=f"be whole: {path}"):
        read_idx(path)
    path.write_bytes(gzip.compress(b"0" * 1000)[:-10] if packed else content)
    with pytest.raises(ValueError, match=f"be whole: {path}"):
        read_idx(path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar10-jpeg"])
def test_a_data_set_that_is_not_there_is_said_before_training(name, tmp_path, monkeypatch):
    for changes in ({"data-dir": str(tmp_path)}, {}):
        monkeypatch.setenv("RESAM_DATA", str(tmp_path))
        with pytest.raises(ValueError, match=rf"`{name}`.*{tmp_path}.*RESAM_DATA"):
            Experiment.default({"dataset": name, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data-dir": "here"}, "absolute path"),
        ({"model": "mnist-mpl"}, "Did you mean `mnist-mlp`"),
        ({"model": "mnist-cnn"}, "Use digits-mlp"),
        ({"learning-rate-decay": -1}, "at least 0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment.default(changes)


def test_without_torchvision_cifar_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "batches.meta").touch()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="pip install torchvision"):
        data.check("cifar10", str(tmp_path))


def test_download_asks_torchvision_for_what_is_missing(small_mnist, tmp_path_factory, monkeypatch):
    asked = []

    def mnist(root, download):
        asked.append((root, download))
        (root / "MNIST").symlink_to(small_mnist / "MNIST")

    datasets = SimpleNamespace(MNIST=mnist)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    root = tmp_path_factory.mktemp("root")
    for _ in range(2):
        assert download.main(["mnist", "--data-dir", str(root)]) == 0
    assert asked == [(root, True)]


@pytest.mark.parametrize(("name", "message"), [("mnst", "Did you mean"), ("cifar10-jpeg", "nobody")])
def test_what_can_not_be_downloaded_is_said(name, message, tmp_path, capsys):
    assert download.main([name, "--data-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("digits-mlp", 2_410), ("mnist-mlp", 79_510), ("mnist-cnn", 431_080), ("cifar-cnn", 1_310_922)],
)
def test_models_have_the_papers_sizes(name, parameters):
    model = models.build(name, seed=0)
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert model(torch.zeros(2, *models.MODELS[name].shape)).shape == (2, 10)


@pytest.mark.parametrize("dataset", data.DATASETS)
def test_each_data_set_has_a_model_that_takes_it(dataset):
    assert models.chosen("", dataset) == data.named(dataset).model


def test_every_random_choice_of_training_is_by_seed_round_and_partition(small_mnist, monkeypatch):
    dropping = models.Model(
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10)), (1, 28, 28)
    )
    monkeypatch.setitem(models.MODELS, "mnist-mlp", dropping)
    config = Experiment.default(
        {"dataset": "mnist", "model": "mnist-mlp", "data-dir": str(small_mnist)}
    ).run_config()
    settings = ClientSettings.read(config)
    arrays = ArrayRecord(models.build("mnist-mlp", 0).state_dict())
    state = torch.random.get_rng_state()

    def update(**place):
        return train(arrays, settings, **place).update["2.weight"].tobytes()

    places = [(1, 0), (1, 1), (2, 0)]
    found = [update(server_round=t, partition=i) for t, i in places]
    torch.manual_seed(123)
    again = [update(server_round=t, partition=i) for t, i in places]
    assert found == again
    assert len(set(found)) == 3
    torch.random.set_rng_state(state)
    update(server_round=1, partition=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_learning_rate_falls_as_the_paper_says():
    falling = Experiment.default({"learning-rate-decay": 50})
    for t in (0, 49, 50, 99, 100, 799):
        assert falling.rate(t + 1) == 0.75 / (1 + t // 50)
    assert Experiment.default().rate(800) == 0.75


@needs("mnist")
def test_mnist_is_the_published_one():
    mnist = data.load("mnist")
    assert (mnist.train_x.shape, mnist.test_x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert np.bincount(mnist.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    some = mnist.inputs(mnist.train_x[:10000])
    assert abs(some.mean()) < 0.02
    assert abs(some.std() - 1) < 0.02


@needs("fashion-mnist")
def test_fashion_mnist_has_as_many_of_each_class():
    fashion = data.load("fashion-mnist")
    assert np.bincount(fashion.train_y).tolist() == [6000] * 10
    assert abs(fashion.test_inputs.mean()) < 0.02


@needs("cifar10-jpeg")
@pytest.mark.slow
def test_cifar_has_as_many_of_each_class():
    cifar = data.load("cifar10-jpeg")
    assert cifar.train_x.shape == (50000, 3, 32, 32)
    assert np.bincount(cifar.train_y).tolist() == [5000] * 10
    assert np.abs(cifar.inputs(cifar.train_x[:10000]).mean(axis=(0, 2, 3))).max() < 0.05


def test_what_is_held_out_is_trained_on_by_none_and_the_same_for_every_seed():
    whole = data.load("digits")
    test, validation = (
        data.load("digits", "", 0.25, validate=validate) for validate in (False, True)
    )
    assert data.load("digits", "", 0.25) is test
    np.testing.assert_array_equal(test.test_x, whole.test_x)
    np.testing.assert_array_equal(test.train_x, validation.train_x)
    assert len(validation.test_y) == round(0.25 * len(whole.train_y))
    both = np.concatenate([validation.train_x, validation.test_x])
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole.train_x))


def test_a_run_is_evaluated_on_held_out_examples_only_where_it_says_so():
    from simulations.in_process import run_in_process

    held = Experiment.default({"validation-share": 0.2, "num-rounds": 1, "attack": "none"})
    chosen = Experiment.default({
        "validation-share": 0.2, "num-rounds": 1, "attack": "none", "evaluate-on": "validation",
    })
    ends = [run_in_process(each) for each in (held, chosen)]
    assert ends[0].digest == ends[1].digest  # trained on the same
    assert ends[0].evaluations[-1].loss != ends[1].evaluations[-1].loss
    counts = [len(data.load("digits").test_y), round(0.2 * len(data.load("digits").train_y))]
    for end, count in zip(ends, counts, strict=True):
        assert end.evaluations[-1].accuracy * count == pytest.approx(
            round(end.evaluations[-1].accuracy * count)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation-share": 1.0}, "`validation-share` must be below 1"),
        ({"evaluate-on": "train"}, "`evaluate-on` must be `test` or `validation`"),
        ({"evaluate-on": "validation"}, "`validation-share` must be above 0"),
    ],
)
def test_what_can_t_be_held_out_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment.default(changes)
