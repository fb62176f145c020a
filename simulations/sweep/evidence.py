"""What a sweep shows: the files that `python -m simulations figures` makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from flwr_resam.errors import requirement
from simulations.sweep.heatmap import heat_map
from simulations.sweep.panels import panels
from simulations.sweep.store import Run
from simulations.sweep.summary import (
    Setting,
    by_setting,
    compares_momentum,
    failing,
    over_seeds,
    rules_in_order,
)
from simulations.sweep.table import markdown, text_of
from simulations.sweep.worst_map import is_map, worst_map, worst_table

_SHOWN = ("mean", "mda", "cwtm", "gm")


def draw(
    runs: Sequence[Run], folder: Path, rules: Sequence[str] = (), leave_out: Sequence[str] = ()
) -> list[Path]:
    """Draw figures and write tables of the runs, in files of their own for each setting.

    Where the settings are several f by several partitions, one map of the worst cases is drawn.

    Parameters
    ----------
    runs : sequence of Run
        Failed ones are left out.
    folder : Path
        Where the files go.
    rules : sequence of str
        Whose curves to draw; some of the main rules where none are named.
    leave_out : sequence of str
        Rules of which nothing is shown.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        If there is no run of such a rule, or if a rule fails without an attack: then the
        runs under attack compare nothing.
    """
    there = {str(run.config["aggregator"]) for run in runs}
    _check_known("--leave-out", leave_out, there)
    runs = [run for run in runs if run.config["aggregator"] not in leave_out]
    known = there - set(leave_out)
    if there and not known:
        raise ValueError("`--leave-out` must leave a rule to draw. Found all of the sweep.")
    _check_known("--rule", rules, known)
    chosen = list(rules) or _main_rules(runs, rules_in_order(known))
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    settings = by_setting(runs)
    if settings and is_map(settings):
        name = settings[0][0].learnt.replace(" ", "-")
        picture, table = folder / f"{name}-worst.png", folder / f"{name}-worst-table.md"
        worst_map(settings, picture)
        table.write_text(worst_table(settings), encoding="utf-8")
        return [picture, table]
    for setting, own in settings:
        _check_controls(setting, own)
    for setting, own in settings:
        for kind, make in _files(setting, own, chosen).items():
            path = folder / f"{setting.slug}-{kind}"
            make(path)
            made.append(path)
    return made


def _check_known(option: str, rules: Sequence[str], known: Set[str]) -> None:
    """Raise a ValueError for a rule that is none of these."""
    for rule in rules:
        if rule not in known:
            raise ValueError(
                f"`{option}` must be one of the sweep. Found `{rule}`. Choose among: "
                f"{', '.join(sorted(known))}."
            )


def _check_controls(setting: Setting, runs: Sequence[Run]) -> None:
    """Raise a ValueError that names the rules that fail with nobody attacking."""
    found = over_seeds(runs)
    if failed := failing(found):
        named = [
            f"`{cell.aggregator}` with beta = {cell.beta:g} ({text_of(found[cell])})"
            for cell in failed
        ]
        raise requirement(
            "attack", "be what a comparison measures: each rule must learn without one, to half "
            "of the best accuracy at least", f"{', '.join(named)} in {setting.title}",
            "Mend the settings of the grid (learning-rate, clip-norm), or draw without the rule: "
            "--leave-out RULE",
        )


def _main_rules(runs: Sequence[Run], rules: list[str]) -> list[str]:
    """Some rules where each has a curve without momentum too, else all."""
    if not compares_momentum(runs):
        return rules
    return [rule for rule in _SHOWN if rule in rules] or rules[:3]


def _files(
    setting: Setting, runs: Sequence[Run], rules: Sequence[str]
) -> dict[str, Callable[[Path], object]]:
    return {
        "accuracy.png": lambda path: panels(setting, runs, rules, path),
        "heatmap.png": lambda path: heat_map(setting, runs, path),
        "table.md": lambda path: path.write_text(markdown(setting, runs), encoding="utf-8"),
    }
