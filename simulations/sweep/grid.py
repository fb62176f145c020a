"""A grid in a TOML file: the product of its lists, each combination one experiment."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from flwr_resam.errors import requirement
from simulations.experiment import PLACES, Experiment


def read_grid(
    path: Path, overrides: Mapping[str, Any] | None = None, *, here: bool = True
) -> list[Experiment]:
    """Read the experiments of a grid, in the order in which they run.

    The file holds run-config keys: those under ``[base]`` are for all, each ``[[grid]]`` adds its
    own, and a list stands for each of its values in turn. The first ``[[grid]]`` comes before
    the second, in each the first seed before the second, and there the runs without an attack,
    so that a sweep which is stopped has whole comparisons of the seeds that it came to, and their
    controls. ``[tune]`` is what `tune` tries, and no part of the grid.

    Parameters
    ----------
    path : Path
        The TOML file.
    overrides : mapping, optional
        Run-config keys whose values stand in place of what the file says, lists too.
    here : bool
        Whether this machine is to run them; else its device and data are not looked for.

    Returns
    -------
    list of Experiment
        Each combination once.

    Raises
    ------
    ValueError, TypeError
        One sentence on a file that can't be read, or on the first combination that can't run,
        before any does.
    """
    base, grids, _ = _tables(path)
    return _experiments(path, base, grids, overrides or {}, here)


def read_tuning(path: Path, *, here: bool = True) -> list[Experiment]:
    """Read the experiments that a grid's ``[tune]`` asks for, evaluated on held-out examples.

    Raises
    ------
    ValueError, TypeError
        As `read_grid` does, and where there is no ``[tune]``.
    """
    base, _, tune = _tables(path)
    if not tune:
        raise requirement(
            "tune", f"be a table [tune] in `{path}`", "none",
            "Write one with the learning rates and the attacks to choose by",
        )
    return _experiments(path, base, [tune], {"evaluate-on": "validation"}, here)


def _tables(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """[base], every [[grid]], and [tune]; a file that holds something else is refused."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise requirement(
            "grid", "be a file that can be read", f"`{path}`: {error.strerror}",
            "There are some in simulations/grids",
        ) from None
    except ValueError as error:  # not TOML, or not even text
        raise ValueError(f"`{path}` is no TOML file: {error}.") from None
    base, grids, tune = found.pop("base", {}), found.pop("grid", [{}]), found.pop("tune", {})
    if found:
        raise ValueError(
            f"`{path}` must hold one table [base] and tables [[grid]]. Found "
            f"{', '.join(sorted(found))}. Move run-config keys under [base]."
        )
    for name, table in (("base", base), ("tune", tune)):
        if not isinstance(table, dict):
            raise requirement(
                name, f"be one table in `{path}`", table,
                f"Write [{name}] above its run-config keys",
            )
    if not isinstance(grids, list) or not grids or not all(isinstance(g, dict) for g in grids):
        raise requirement(
            "grid", f"be tables [[grid]] in `{path}`",
            "one table [grid]" if isinstance(grids, dict) else grids,
            "Write [[grid]] above the run-config keys of each",
        )
    return base, grids, tune


def _experiments(
    path: Path, base: Mapping[str, Any], grids: list[dict[str, Any]],
    overrides: Mapping[str, Any], here: bool,
) -> list[Experiment]:
    """Each combination of the tables once, checked."""
    experiments: dict[str, Experiment] = {}
    for grid in grids:
        table = {**base, **grid, **overrides}
        for key, value in table.items():
            if value == []:
                raise requirement(
                    key, f"list at least one value in `{path}`", "[]", "Write one, or leave it out"
                )
        checked = [_checked(setting, path, here) for setting in _product(table)]
        for experiment in sorted(checked, key=lambda each: (each.seed, each.attack != "none")):
            experiments.setdefault(key_of(experiment.run_config()), experiment)
    return list(experiments.values())


def key_of(config: Mapping[str, Any]) -> str:
    """A short name for everything in a run-config that decides a run's result."""
    deciding = {key: value for key, value in config.items() if key not in PLACES}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


def _product(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of lists.

    Examples
    --------
    >>> _product({"beta": [0.0, 0.9], "seed": 1})
    [{'beta': 0.0, 'seed': 1}, {'beta': 0.9, 'seed': 1}]
    """
    values = [value if isinstance(value, list) else [value] for value in table.values()]
    return [dict(zip(table, chosen, strict=True)) for chosen in product(*values)]


def _checked(setting: Mapping[str, Any], path: Path, here: bool) -> Experiment:
    try:
        return Experiment.default(setting, here=here)
    except (ValueError, TypeError) as error:
        named = " ".join(
            f"{key}={json.dumps(value, default=str)}" for key, value in setting.items()
        )
        raise type(error)(f"{error} In `{path}`: {named}") from None
