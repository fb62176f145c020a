"""Gradients of one batch, and of several in one pass, are autograd's."""

import pytest
import torch
from torch import nn

from clients import gradients, models

ODD = nn.Sequential(
    nn.Conv2d(1, 4, (5, 3), stride=2, padding=(2, 1), bias=False), nn.MaxPool2d(2), nn.ReLU(),
    nn.Conv2d(4, 6, 3, dilation=2, padding="same"), nn.Conv2d(6, 6, 3, groups=2), nn.Flatten(),
    nn.Linear(150, 10, bias=False),
)  # fmt: skip
UNBIASED = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 10))


@pytest.fixture(autouse=True)
def _the_same_parameters():
    """Whatever was drawn before this file was imported."""
    torch.manual_seed(0)
    for model in (ODD, UNBIASED):
        for layer in model:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()


def named(model):
    """A model and the shape of its examples."""
    if isinstance(model, str):
        return models.build(model, seed=0), models.MODELS[model].shape
    return model, (1, 28, 28) if model is ODD else (5,)


def batches(count, shape):
    torch.manual_seed(0)
    return torch.randn(count, 7, *shape), torch.randint(10, (count, 7))


def gradients_of(model, inputs, labels):
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    return {name: value.grad for name, value in model.named_parameters()}, loss.detach()


@pytest.mark.parametrize("model", ["digits-mlp", "mnist-mlp", UNBIASED])
def test_the_gradient_of_each_batch_is_that_of_the_batch_alone(model):
    module, shape = named(model)
    inputs, labels = batches(3, shape)
    assert gradients.is_dense(module)
    together, losses = gradients.grouped_gradients(module, module.state_dict(), inputs, labels)
    for index in range(3):
        alone, loss = gradients_of(module, inputs[index], labels[index])
        assert alone.keys() == together.keys()
        torch.testing.assert_close(losses[index], loss)
        for name, gradient in alone.items():
            torch.testing.assert_close(together[name][index], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", ["digits-mlp", "mnist-mlp", "mnist-cnn", ODD])
def test_forward_is_the_model_with_the_parameters_that_are_given(model):
    module, shape = named(model)
    inputs, _ = batches(1, shape)
    assert gradients.is_plain(module)
    before = module(inputs[0])
    other = {name: value + 0.5 for name, value in module.state_dict().items()}
    found = gradients.forward(module, other, inputs[0])
    assert torch.equal(module(inputs[0]), before)
    assert torch.equal(found, torch.func.functional_call(module, other, (inputs[0],)))
    assert not torch.equal(found, before)


def test_pooling_before_the_relu_gives_the_bits_of_pooling_after_it():
    pooling_first = models.empty("mnist-cnn")
    layers = list(pooling_first)
    for index in (1, 4):
        assert isinstance(layers[index], nn.MaxPool2d)
        layers[index : index + 2] = layers[index + 1], layers[index]
    pooling_last = nn.Sequential(*layers)
    inputs, labels = batches(1, (1, 28, 28))
    first, loss = gradients_of(pooling_first, inputs[0], labels[0])
    first = {name: value.clone() for name, value in first.items()}
    last, other = gradients_of(pooling_last, inputs[0], labels[0])
    assert torch.equal(loss, other)
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], last[name]) for name in first)


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        models.empty("cifar-cnn"),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")),
        nn.Sequential(nn.Sequential(nn.Linear(2, 2))),
    ],
)
def test_a_model_of_other_layers_is_left_to_pytorch(model):
    assert not gradients.is_plain(model)
    assert not gradients.is_dense(model)


def test_convolutions_are_not_grouped():
    assert not gradients.is_dense(models.empty("mnist-cnn"))


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_regularisation_is_that_of_the_norm_or_of_its_square_before_the_clip(clip):
    module, shape = named(UNBIASED)
    inputs, labels = batches(1, shape)
    module.zero_grad()
    theta = list(module.parameters())
    size = torch.cat([value.detach().flatten() for value in theta]).norm()
    loss = nn.functional.cross_entropy(module(inputs[0]), labels[0])
    norm = torch.cat([value.flatten() for value in theta]).norm()
    (loss + 0.3 * norm + 0.1 * norm**2 / 2).backward()
    if clip:
        assert torch.nn.utils.clip_grad_norm_(theta, clip) > clip
    state = module.state_dict()
    found, _ = gradients.grouped_gradients(module, state, inputs, labels)
    gradients.regularise_and_clip(found, state, 0.1, 0.3, clip)
    assert size > 0.5
    for name, value in module.named_parameters():
        torch.testing.assert_close(found[name][0], value.grad, rtol=1e-4, atol=1e-6)


def test_a_model_at_the_origin_has_no_norm_to_go_down():
    found = {"w": torch.ones(1, 3)}
    gradients.regularise_and_clip(found, {"w": torch.zeros(3)}, 0.0, 1.0, 0.0)
    assert torch.equal(found["w"], torch.ones(1, 3))
