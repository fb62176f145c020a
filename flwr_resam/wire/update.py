"""What local training changed: the model that was sent minus the one that came back, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from ..errors import requirement
from .layout import is_kept
from .npy import unpack


def update_of(
    sent: Mapping[str, Array], local: Mapping[str, Array]
) -> dict[str, NDArray[Any]]:
    """``theta_sent - theta_local`` by name; integer arrays are those of the worker.

    Where the model that was sent holds an infinity or a NaN, as an attention mask does, the update
    is 0: the server keeps that value.

    Raises
    ------
    ValueError
        If what came back is not the model that was sent, trained: other names, shapes or dtypes.
    """
    # Apps leave counters out, such as `num_batches_tracked`.
    kept = {name for name in sent if name not in local and is_kept(sent[name])}
    if set(local) | kept != set(sent):
        raise requirement(
            "reply", "hold the arrays that were sent", _names_apart(set(sent), set(local)),
            "Return the whole state of the model that came in, under the same names",
        )
    return {name: _difference(name, sent[name], local[name]) for name in sent if name in local}


def _names_apart(sent: set[str], local: set[str]) -> str:
    """What is wrong with the names of a reply."""
    for prefix in ("_orig_mod.", "module."):
        if {prefix + name for name in sent} == local:
            return f"each name with the prefix `{prefix}`, which torch.compile or a wrapper adds"
        if {prefix + name for name in local} == sent:
            return f"each name without the prefix `{prefix}`"
    missing, extra = sorted(sent - local)[:3], sorted(local - sent)[:3]
    parts = [f"no {missing}"] * bool(missing) + [f"{extra} besides"] * bool(extra)
    return " and ".join(parts)


def _difference(name: str, sent: Array, local: Array) -> NDArray[Any]:
    before, after = unpack(sent), unpack(local)
    if before.shape != after.shape:
        raise requirement(
            "reply", "keep the shapes that were sent",
            f"{after.shape} for {before.shape} in `{name}`", "Return the model that came in, "
            "trained",
        )
    kind = before.dtype.kind
    # NumPy easily makes float64 of float32, and that is no other number.
    if after.dtype != before.dtype and not (kind == "f" and after.dtype.kind == "f"):
        raise requirement(
            "reply", "keep the dtypes that were sent",
            f"{local.dtype} for {before.dtype} in `{name}`", f"Return it as {before.dtype}",
        )
    if kind != "f":
        return after
    finite = np.isfinite(before)
    if not finite.all():
        with np.errstate(invalid="ignore"):
            return np.where(finite, before - after, 0).astype(before.dtype, copy=False)
    return np.asarray(before - after, dtype=before.dtype)
