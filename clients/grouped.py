"""The gradients of batches at one model, layer by layer: of one, or of several in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional

State = Mapping[str, torch.Tensor]
Gradients = dict[str, torch.Tensor]

_PLAIN = (nn.ReLU, nn.MaxPool2d, nn.Flatten)


def can_group(model: nn.Module) -> bool:
    """Whether each example goes through the model by itself, in layers known here.

    Batch norm mixes the examples of a batch and dropout draws for each; both need one pass a
    batch.
    """
    return isinstance(model, nn.Sequential) and all(
        isinstance(layer, (nn.Linear, *_PLAIN))
        or (
            isinstance(layer, nn.Conv2d) and layer.groups == 1
            and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        )
        for layer in model
    )


def gains_by_company(model: nn.Module) -> bool:
    """Whether several batches in one pass take less time than one after the other.

    What a convolution makes of one batch fills a cache already.
    """
    return can_group(model) and not any(isinstance(layer, nn.Conv2d) for layer in model.children())


def grouped_gradients(
    model: nn.Sequential, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[Gradients, torch.Tensor]:
    """Return the gradient of the mean cross-entropy of each batch, and that mean.

    One forward and one backward pass over the c b examples find the gradients at the outputs of
    the layers with parameters; each batch's gradient of a layer's weights is the product of
    these with the layer's inputs, over the b examples of that batch.

    Parameters
    ----------
    model : Sequential
        That `can_group`. Its own parameters are not looked at, so that threads can share it.
    state : mapping of tensors
        The parameters, by name.
    inputs : (c, b, ...) float tensor
        c batches of b examples.
    labels : (c, b) int64 tensor

    Returns
    -------
    gradients : dict of (c, ...) tensors
        By parameter name.
    losses : (c,) tensor
    """
    count, size = labels.shape
    values = inputs.flatten(0, 1)
    passed: list[tuple[str, nn.Module, torch.Tensor, torch.Tensor]] = []
    for name, layer in _pooling_first(model):
        before = values
        if isinstance(layer, _PLAIN):
            values = layer(values)
            continue
        weight = state[f"{name}.weight"].detach().requires_grad_()
        bias = state.get(f"{name}.bias")
        if isinstance(layer, nn.Conv2d):
            values = functional.conv2d(
                values, weight, bias, layer.stride, layer.padding, layer.dilation
            )
        else:
            values = functional.linear(values, weight, bias)
        passed.append((name, layer, before.detach(), values))
    losses = functional.cross_entropy(values, labels.flatten(), reduction="none")
    losses = losses.view(count, size).mean(dim=1)
    slopes = torch.autograd.grad(losses.sum(), [after for *_, after in passed])
    gradients: Gradients = {}
    for (name, layer, before, _), slope in zip(passed, slopes, strict=True):
        x, g = before.unflatten(0, (count, size)), slope.unflatten(0, (count, size))
        if isinstance(layer, nn.Conv2d):
            gradients[f"{name}.weight"] = torch.stack([
                _weight_gradient(layer, one, slope) for one, slope in zip(x, g, strict=True)
            ]).contiguous()
        else:
            gradients[f"{name}.weight"] = torch.bmm(g.transpose(1, 2), x)
        if layer.bias is not None:
            gradients[f"{name}.bias"] = g.sum(dim=(1, *range(3, g.dim())))
    return gradients, losses.detach()


def _pooling_first(model: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """The layers, with a max pooling before the ReLU that it follows: that gives the same."""
    layers = list(model.named_children())
    for index, ((_, first), (_, second)) in enumerate(pairwise(layers)):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
            layers[index : index + 2] = layers[index + 1], layers[index]
    return layers


def _weight_gradient(layer: nn.Conv2d, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """The gradient of a convolution's weights over the examples of one batch.

    It is the product of the slopes with the patches of the input that each of them saw. What
    one row of the kernel saw is cut out for all of its rows at once, with the rows of the images
    outermost: the next row of the kernel saw the same, one row of the images further on.
    """
    (down, right), (pad_down, pad_right) = layer.dilation, cast(tuple[int, int], layer.padding)
    (stride, step), (height, width) = layer.stride, layer.kernel_size
    rows, columns = slope.shape[2:]
    images = functional.pad(x, (pad_right, pad_right, pad_down, pad_down)).permute(2, 0, 3, 1)
    row, image, pixel, channel = images.stride()
    if layer.in_channels == 1:  # pieces of a row of the image are longer than those of a patch
        patches = images.as_strided(
            (height, width, len(x), rows, columns),
            (row * down, pixel * right, image, row * stride, pixel * step),
        )
        products = patches.flatten(2).flatten(0, 1) @ slope.permute(0, 2, 3, 1).flatten(0, 2)
        return products.t().unflatten(1, (1, height, width))
    seen = images.as_strided(
        (len(images), len(x), columns, width, layer.in_channels),
        (row, image, pixel * step, pixel * right, channel),
    ).flatten(3)
    slopes = slope.permute(1, 2, 0, 3).flatten(1)
    products = torch.stack([
        slopes @ seen[first : first + (rows - 1) * stride + 1 : stride].flatten(0, 2)
        for first in range(0, height * down, down)
    ])
    return products.unflatten(2, (width, -1)).permute(1, 3, 0, 2)


def regularise_and_clip(
    gradients: Gradients, state: State, l2: float, clip_norm: float
) -> None:
    """Add ``l2 theta`` to each batch's gradient, then clip it as `clip_grad_norm_` does."""
    if l2:
        for name, gradient in gradients.items():
            gradient.add_(state[name], alpha=l2)
    if clip_norm:
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients.values():
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
