"""What a sweep shows: the files that `python -m simulations figures` makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simulations.sweep.heatmap import heat_map
from simulations.sweep.panels import panels
from simulations.sweep.store import Run
from simulations.sweep.summary import Setting, by_setting, compares_momentum, rules_in_order
from simulations.sweep.table import markdown

_SHOWN = ("mda", "cwtm", "gm")


def draw(runs: Sequence[Run], folder: Path, rules: Sequence[str] = ()) -> list[Path]:
    """Draw figures and write tables of the runs, in files of their own for each setting.

    Parameters
    ----------
    runs : sequence of Run
        Failed ones are left out.
    folder : Path
        Where the files go.
    rules : sequence of str
        Whose curves to draw; some of the main rules where none are named.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        If there is no run of such a rule.
    """
    known = {str(run.config["aggregator"]) for run in runs}
    for rule in rules:
        if rule not in known:
            raise ValueError(
                f"`--rule` must be one of the sweep. Found `{rule}`. Choose among: "
                f"{', '.join(sorted(known))}."
            )
    chosen = list(rules) or _main_rules(runs, rules_in_order(known))
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for setting, own in by_setting(runs):
        for kind, make in _files(setting, own, chosen).items():
            path = folder / f"{setting.slug}-{kind}"
            make(path)
            made.append(path)
    return made


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
