"""Poisoned data, what they make of a model, and how often the attacker gets what it wants."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord

from clients import data, models
from clients.byzantine import CONDUCTS
from clients.data import Dataset
from clients.poison import FlippedLabels, Goal, Trigger
from clients.settings import ClientSettings
from clients.training import batch, batch_generator, success
from simulations.experiment import Experiment
from simulations.in_process import run_in_process
from simulations.results import read_evaluations, read_summary

DIGITS = data.load("digits")


def images():
    x = np.random.default_rng(0).integers(0, 200, (6, 2, 5, 7)).astype(np.uint8)
    y = np.array([0, 1, 2, 2, 1, 0])
    return Dataset(x, y, x, y, classes=3, mean=(0.5, 0.1), std=(0.5, 0.2))


def test_the_mark_is_a_white_corner_of_an_image_or_the_last_inputs():
    dataset = images()
    inputs = dataset.inputs(dataset.train_x)
    marked = Trigger(size=2).marked(inputs, dataset)
    assert (marked[..., 3:, 5:] == np.float32((1.0 - 0.1) / 0.2)).all()
    kept = np.ones((5, 7), bool)
    kept[3:, 5:] = False
    np.testing.assert_array_equal(marked[..., kept], inputs[..., kept])
    flat = Trigger(size=3).marked(DIGITS.train_x[:4], DIGITS)
    assert (flat[:, 61:] == 1.0).all()
    np.testing.assert_array_equal(flat[:, :61], DIGITS.train_x[:4, :61])


def test_a_share_of_the_batch_is_marked_and_the_rest_is_as_it_was():
    settings = ClientSettings.read(Experiment.default({"batch-size": 10}).run_config())

    def drawn(poison):
        return batch(DIGITS, settings, 0, batch_generator(settings, 1, 0), poison)

    honest, poisoned = drawn(None), drawn(Trigger(target=7, share=0.3))
    assert poisoned[1][:3].tolist() == [7, 7, 7]
    assert (poisoned[0][:3, 61:] == 1.0).all()
    assert torch.equal(poisoned[0][3:], honest[0][3:])
    assert torch.equal(poisoned[1][3:], honest[1][3:])
    flipped = drawn(FlippedLabels())
    assert torch.equal(flipped[0], honest[0])
    assert torch.equal(flipped[1], 9 - honest[1])


def test_goals_are_examples_of_other_classes():
    goal = Trigger(target=2).goal(DIGITS)
    assert len(goal.inputs) == (DIGITS.test_y != 2).sum()
    assert (goal.inputs[:, 61:] == 1.0).all()
    assert FlippedLabels().goal(DIGITS) is None
    turned = FlippedLabels(source=1, target=7).goal(DIGITS)
    np.testing.assert_array_equal(turned.inputs, DIGITS.test_x[DIGITS.test_y == 1])
    assert turned.target == 7


def test_success_is_the_share_taken_for_the_target():
    model = models.build("digits-mlp", 0)
    goal = Goal(DIGITS.test_x, 3)
    with torch.no_grad():
        expected = float((model(torch.from_numpy(DIGITS.test_x)).argmax(dim=1) == 3).float().mean())
    assert success(ArrayRecord(model.state_dict()), model, goal) == pytest.approx(expected)


def last(**settings):
    config = {"num-rounds": 60, "evaluate-every": 60, "aggregator": "mean"}
    experiment = Experiment.default({**config, **{k.replace("_", "-"): v for k, v in settings.items()}})
    return run_in_process(experiment, batched=True).evaluations[-1]


def test_a_backdoor_opens_the_mean_where_accuracy_does_not_show_it():
    control = last(attack="backdoor when(start=1000)")
    assert control.attack_success < 0.1
    found = last(attack="backdoor")
    assert found.attack_success > 0.8
    assert found.accuracy > control.accuracy - 0.1
    assert last(attack="none").attack_success is None
    assert last(attack="none").accuracy == control.accuracy


def test_one_class_is_turned_into_another():
    found = last(attack="label-flip(source=1, target=7, boost=3)")
    assert found.attack_success > 0.5
    assert last(attack="label-flip").attack_success is None


@pytest.mark.parametrize("attack", ["label-flip", "backdoor"])
def test_what_is_sent_is_boosted(attack):
    """Three of four boosted by a: the mean is a times theirs, but for the honest row."""
    settings = {"num-rounds": 1, "num-nodes": 4, "num-malicious-nodes": 3, "aggregator": "mean"}

    def moved(boost):
        experiment = Experiment.default({**settings, "attack": f"{attack}(boost={boost})"})
        arrays = run_in_process(experiment).arrays
        start = models.build("digits-mlp", 0).state_dict()
        return np.concatenate([
            (start[name].numpy() - array.numpy()).ravel() for name, array in arrays.items()
        ])

    one, two, three = moved(1.0), moved(2.0), moved(3.0)
    np.testing.assert_allclose(three - two, two - one, atol=1e-6)
    assert np.linalg.norm(two - one) > 0.1 * np.linalg.norm(one)


def test_the_rate_is_in_the_files_of_a_run(tmp_path):
    for attack in ("backdoor", "none"):
        folder = tmp_path / attack
        run_in_process(Experiment.default({
            "num-rounds": 2, "attack": attack, "output-dir": str(folder),
        }))
        rates = [evaluation.attack_success for evaluation in read_evaluations(folder)]
        assert all((rate is None) == (attack == "none") for rate in rates)
        assert ("attack_success" in read_summary(folder)["final"]) == (attack == "backdoor")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("backdoor(target=10)", r"`target` must be a class, 0 \.\. 9"),
        ("backdoor(size=64)", "`size` must be less than the 64 of an example"),
        ("label-flip(source=1, target=12)", r"`target` must be a class"),
    ],
)
def test_what_the_data_set_has_not_is_said_before_a_round(attack, message):
    with pytest.raises(ValueError, match=message):
        run_in_process(Experiment.default({"attack": attack}))


def test_conducts_are_read_back():
    for name in ("label-flip", "backdoor"):
        assert str(CONDUCTS[name]()) == name
