"""The gradient of a batch at a model, and of several clients' batches at a dense one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

State = Mapping[str, torch.Tensor]
Gradients = dict[str, torch.Tensor]

_DENSE = (nn.Linear, nn.ReLU, nn.Flatten)
_PLAIN = (*_DENSE, nn.Conv2d, nn.MaxPool2d)


def is_plain(model: nn.Module) -> bool:
    """Whether `forward` knows all layers of the model; it has no batch norm and no dropout."""
    return isinstance(model, nn.Sequential) and all(
        isinstance(layer, _PLAIN) and getattr(layer, "padding_mode", "zeros") == "zeros"
        for layer in model
    )


def is_dense(model: nn.Module) -> bool:
    """Whether `grouped_gradients` takes the model: it has dense layers and ReLUs only.

    There several batches in one pass take half the time of one after the other. What a
    convolution makes of one batch fills a cache already.
    """
    return isinstance(model, nn.Sequential) and all(isinstance(layer, _DENSE) for layer in model)


def forward(model: nn.Module, state: State, inputs: torch.Tensor) -> torch.Tensor:
    """Return what a model that `is_plain` makes of the inputs with the parameters of ``state``.

    As `torch.func.functional_call` does, without putting them into the model's layers for a
    while: threads can share these.
    """
    values = inputs
    for name, layer in model.named_children():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            values = layer(values)
            continue
        weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
        if isinstance(layer, nn.Conv2d):
            values = functional.conv2d(
                values, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
            )
        else:
            values = functional.linear(values, weight, bias)
    return values


def grouped_gradients(
    model: nn.Module, state: State, inputs: torch.Tensor, labels: torch.Tensor
) -> tuple[Gradients, torch.Tensor]:
    """Return the gradient of the mean cross-entropy of each batch, and that mean.

    One forward and one backward pass over the c b examples find the gradients at the outputs of
    the dense layers; each batch's gradient of a layer's weights is the product of these with the
    layer's inputs, over the b examples of that batch.

    Parameters
    ----------
    model : Sequential
        That `is_dense`. Its own parameters are not looked at, so that threads can share it.
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
    before: dict[str, torch.Tensor] = {}
    after: dict[str, torch.Tensor] = {}
    for name, layer in model.named_children():
        if not isinstance(layer, nn.Linear):
            values = layer(values)
            continue
        before[name] = values.detach()
        weight = state[f"{name}.weight"].detach().requires_grad_()
        values = after[name] = functional.linear(values, weight, state.get(f"{name}.bias"))
    losses = functional.cross_entropy(values, labels.flatten(), reduction="none")
    losses = losses.view(count, size).mean(dim=1)
    slopes = torch.autograd.grad(losses.sum(), list(after.values()))
    gradients: Gradients = {}
    for name, slope in zip(after, slopes, strict=True):
        x, g = (each.view(count, size, -1) for each in (before[name], slope))
        gradients[f"{name}.weight"] = torch.bmm(g.transpose(1, 2), x)
        if f"{name}.bias" in state:
            gradients[f"{name}.bias"] = g.sum(dim=1)
    return gradients, losses.detach()


def regularise_and_clip(
    gradients: Gradients, state: State, l2: float, norm_penalty: float, clip_norm: float
) -> None:
    """Add the regularisation to each batch's gradient, then clip it as `clip_grad_norm_` does.

    ``l2 theta`` is the gradient of ``l2 ||theta||^2 / 2``, and ``norm_penalty theta / ||theta||``
    that of ``norm_penalty ||theta||``, which RESAM's own experiments call their L2. theta is all
    parameters; at 0 the second adds nothing.
    """
    pull = l2
    if norm_penalty:
        size = torch.stack([state[name].norm() for name in gradients]).norm().item()
        pull += norm_penalty / size if size else 0.0
    if pull:
        for name, gradient in gradients.items():
            gradient.add_(state[name], alpha=pull)
    if clip_norm:
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients.values():
            gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
