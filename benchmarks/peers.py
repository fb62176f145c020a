"""The same rules elsewhere: ByzFL, Flower's built-in strategies, ByzPy, krum. All are optional.

A peer is ``(name, call, same)``: how it is called on an (n, d) NumPy array, and whether it
computes the definition that flwr-resam does, so that the results can be compared. Where one does
not (ByzFL's geometric median stops after three steps, its CAF takes one step of a power
iteration), only the time is.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from copy import deepcopy
from math import comb
from typing import Any

import numpy as np

Peer = tuple[str, Callable[[Any], Any], bool]
_SUBSETS = 60_000  # what a rule that lists subsets may have to list


def peers_of(rule: str, n: int, f: int) -> list[Peer]:
    """The peers of a rule for these numbers; those that are not installed are left out."""
    return [*_byzfl(rule, n, f), *_flower(rule, n, f), *_byzpy(rule, n, f), *_krum(rule, n, f)]


def missing() -> list[str]:
    """What to install for a full table."""
    lacking = []
    if _byzfl_modules() is None:
        lacking.append("ByzFL (pip install --no-deps byzfl; needs torch and scipy)")
    if importlib.util.find_spec("byzpy") is None:
        lacking.append("ByzPy (pip install --no-deps byzpy; needs torch)")
    if importlib.util.find_spec("krum") is None:
        lacking.append("krum (pip install --no-deps krum; needs torch and Python 3.12)")
    return lacking


def _byzfl_modules() -> Any:
    """ByzFL's rules alone: its top level imports torchvision."""
    if "byzfl" not in sys.modules and any(
        importlib.util.find_spec(name) is None for name in ("byzfl", "torch", "scipy")
    ):
        return None
    if "byzfl" not in sys.modules:
        spec = importlib.util.find_spec("byzfl")
        package = types.ModuleType("byzfl")
        package.__path__ = list(spec.submodule_search_locations)  # type: ignore
        sys.modules["byzfl"] = package
    from byzfl.aggregators import aggregators, preaggregators

    return aggregators, preaggregators


def _byzfl(rule: str, n: int, f: int) -> list[Peer]:
    modules = _byzfl_modules()
    if modules is None:
        return []
    rules, before = modules
    listed = comb(n, f) <= _SUBSETS
    made: dict[str, tuple[Callable[[], Any], bool]] = {
        "mean": (rules.Average, True),
        "cwmed": (rules.Median, n % 2 == 1),
        "cwtm": (lambda: rules.TrMean(f), True),
        "meamed": (lambda: rules.Meamed(f), n % 2 == 1),
        "krum*": (lambda: rules.Krum(f), True),
        "multikrum": (lambda: rules.MultiKrum(f), False),
        "gm": (rules.GeometricMedian, False),
        "caf": (lambda: rules.CAF(f), False),
        "monna(trusted=0)": (lambda: rules.MoNNA(f, 0), True),
        "cc(radius=10.0, steps=3)": (lambda: rules.CenteredClipping(None, 3, 10.0), True),
        # These two write into what they are given.
        "arc | mean": (lambda: lambda x: rules.Average()(before.ARC(f)(deepcopy(x))), True),
        "clipping(radius=10.0) | mean": (  # by norms in float32
            lambda: lambda x: rules.Average()(before.Clipping(10.0)(deepcopy(x))), False,
        ),
        "bucketing | mean": (  # of buckets that it draws
            lambda: lambda x: rules.Average()(before.Bucketing(max(1, n // (2 * f)))(x)), False,
        ),
        "nnm | mean": (lambda: lambda x: rules.Average()(before.NNM(f)(x)), True),
        "nnm | cwtm": (lambda: lambda x: rules.TrMean(f)(before.NNM(f)(x)), True),
        "nnm | gm": (lambda: lambda x: rules.GeometricMedian()(before.NNM(f)(x)), False),
    }
    if listed:
        made["mda"] = (lambda: rules.MDA(f), True)
    if rule not in made:
        return []
    make, same = made[rule]
    import torch

    call = make()
    found: list[Peer] = [("ByzFL, NumPy", call, same)]
    if not rule.startswith("cc"):  # it starts from a NumPy zero
        found.append(("ByzFL, torch", lambda rows: call(torch.from_numpy(rows)).numpy(), same))
    return found


def _flower(rule: str, n: int, f: int) -> list[Peer]:
    """What Flower's strategies compute, on arrays; Krum on the records that it takes."""
    from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
    from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
    from flwr.serverapp.strategy.multikrum import select_multikrum

    contents: dict[int, Any] = {}

    def select(rows: Any, m: int) -> list[Any]:
        if id(rows) not in contents:
            contents.clear()
            contents[id(rows)] = _records(rows)
        return select_multikrum(contents[id(rows)], f, m)

    def krum(rows: Any) -> Any:
        return select(rows, 1)[0]["arrays"].to_numpy_ndarrays()[0]

    def bulyan(rows: Any) -> Any:
        chosen = [content["arrays"].to_numpy_ndarrays() for content in select(rows, n - 2 * f)]
        middle = [np.median(layers, axis=0) for layers in zip(*chosen, strict=True)]
        return aggregate_n_closest_weights(middle, chosen, n - 4 * f)[0]

    made: dict[str, Peer] = {
        "cwmed": ("Flower FedMedian", lambda rows: np.median(np.stack(list(rows)), axis=0), True),
        "cwtm": (
            "Flower FedTrimmedAvg",
            lambda rows: trim_mean(np.stack(list(rows)), (f + 0.25) / n), True,
        ),
        "krum": ("Flower Krum", krum, True),
        "bulyan": ("Flower Bulyan", bulyan, False),
    }
    return [made[rule]] if rule in made else []


def _records(rows: Any) -> list[Any]:
    from flwr.app import Array, ArrayRecord, RecordDict

    return [RecordDict({"arrays": ArrayRecord({"w": Array(row)})}) for row in rows]


def _byzpy(rule: str, n: int, f: int) -> list[Peer]:
    if importlib.util.find_spec("byzpy") is None or importlib.util.find_spec("torch") is None:
        return []
    import torch
    from byzpy.aggregators import coordinate_wise as by_coordinate
    from byzpy.aggregators.geometric_wise import krum, minimum_diameter_average, monna
    from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
    from byzpy.aggregators.norm_wise import caf
    from byzpy.aggregators.norm_wise import comparative_gradient_elimination as elimination

    made: dict[str, tuple[Callable[[], Any], bool]] = {
        "cwmed": (by_coordinate.CoordinateWiseMedian, n % 2 == 1),
        "cwtm": (lambda: by_coordinate.CoordinateWiseTrimmedMean(f), True),
        "krum": (lambda: krum.Krum(f), False),
        "gm": (GeometricMedian, False),
        "caf": (lambda: caf.CAF(f), False),
        "cge": (lambda: elimination.ComparativeGradientElimination(f), True),
        "monna(trusted=0)": (lambda: monna.MoNNA(f), True),
    }
    if comb(n, f) <= _SUBSETS:
        made["mda"] = (lambda: minimum_diameter_average.MinimumDiameterAveraging(f), True)
    if rule not in made:
        return []
    make, same = made[rule]
    call = make()
    return [("ByzPy", lambda rows: call.aggregate(list(torch.from_numpy(rows))).numpy(), same)]


def _krum(rule: str, n: int, f: int) -> list[Peer]:
    if importlib.util.find_spec("krum") is None or importlib.util.find_spec("torch") is None:
        return []
    import torch
    from krum.primitives import aggregators

    kinds: dict[str, tuple[str, dict[str, int], bool]] = {
        "mean": ("average.Average", {}, True),
        "cwmed": ("median.Median", {}, n % 2 == 1),
        "cwtm": ("trimmed_mean.TrimmedMean", {"f": f}, True),
        "krum": ("krum.Krum", {"n": n, "f": f}, True),
        "multikrum": ("multikrum.MultiKrum", {"n": n, "f": f, "m": n - f - 2}, True),
        "bulyan": ("bulyan.Bulyan", {"n": n, "f": f}, False),
        "gm": ("geometric_median.GeometricMedian", {"n": n, "f": f}, False),
    }
    if comb(n, f) <= _SUBSETS:
        kinds["mda"] = ("brute.Brute", {"n": n, "f": f}, True)
    if rule not in kinds:
        return []
    place, numbers, same = kinds[rule]
    module, _, name = place.partition(".")
    kind = getattr(importlib.import_module(f"{aggregators.__name__}.{module}"), name)

    def call(rows: Any) -> Any:
        return kind.aggregate(torch.from_numpy(rows), **numbers).numpy()

    return [("krum", call, same)]
