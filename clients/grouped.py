"""The gradients of several batches at one model, in one pass over all of them together."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

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


def at_once(model: nn.Module) -> int:
    """How many examples to pass through together: of convolutions, what a cache has room for."""
    return 64 if any(isinstance(layer, nn.Conv2d) for layer in model.children()) else 1 << 20


def grouped_gradients(
    model: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[Gradients, torch.Tensor]:
    """Return the gradient of the mean cross-entropy of each batch, and that mean.

    One forward and one backward pass over the c b examples find the gradients at the outputs of
    the layers with parameters; each batch's gradient of a layer's weights is the product of
    these with the layer's inputs, over the b examples of that batch.

    Parameters
    ----------
    model : Sequential
        That `can_group`.
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
    for name, layer in model.named_children():
        before, values = values, layer(values)
        if not isinstance(layer, _PLAIN):
            passed.append((name, layer, before.detach(), values))
    losses = nn.functional.cross_entropy(values, labels.flatten(), reduction="none")
    losses = losses.view(count, size).mean(dim=1)
    slopes = torch.autograd.grad(losses.sum(), [after for *_, after in passed])
    gradients: Gradients = {}
    for (name, layer, before, _), slope in zip(passed, slopes, strict=True):
        x, g = before.unflatten(0, (count, size)), slope.unflatten(0, (count, size))
        if isinstance(layer, nn.Conv2d):
            gradients[f"{name}.weight"] = torch.stack([
                _weight_gradient(layer, one, slope) for one, slope in zip(x, g, strict=True)
            ]).contiguous()
            bias = g.sum(dim=(1, 3, 4))
        else:
            gradients[f"{name}.weight"] = torch.bmm(g.transpose(1, 2), x)
            bias = g.sum(dim=1)
        if layer.bias is not None:
            gradients[f"{name}.bias"] = bias
    return gradients, losses.detach()


def _weight_gradient(layer: nn.Conv2d, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """The gradient of a convolution's weights over the examples of one batch.

    It is the product of the slopes with the patches of the input that each of them saw, which
    takes two thirds of `torch.nn.grad.conv2d_weight`'s time, and a third for one channel.
    """
    (down, right), (pad_down, pad_right) = layer.dilation, cast(tuple[int, int], layer.padding)
    padded = nn.functional.pad(x, (pad_right, pad_right, pad_down, pad_down))
    channels, (height, width) = layer.in_channels, layer.kernel_size
    images = padded.permute(0, 2, 3, 1).contiguous()
    image, row, pixel, _ = images.stride()
    patches = images.as_strided(
        (len(x), *slope.shape[2:], height, width, channels),
        (image, row * layer.stride[0], pixel * layer.stride[1], row * down, pixel * right, 1),
    )
    slopes = slope.permute(0, 2, 3, 1).flatten(0, 2)
    if channels > 1:
        products = slopes.t() @ patches.flatten(3).flatten(0, 2)
    else:  # Rows of the image are longer pieces to copy than rows of a patch.
        products = slopes.t() @ patches.permute(3, 4, 5, 0, 1, 2).flatten(3).flatten(0, 2).t()
    return products.view(-1, height, width, channels).permute(0, 3, 1, 2)


def regularise_and_clip(
    gradients: Gradients, model: nn.Module, l2: float, clip_norm: float
) -> None:
    """Add ``l2 theta`` to each batch's gradient, then clip it as `clip_grad_norm_` does."""
    if l2:
        for name, value in model.named_parameters():
            gradients[name].add_(value.detach(), alpha=l2)
    if clip_norm:
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients.values():
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
