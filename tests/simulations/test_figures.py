"""Curves that a person can tell apart."""

from matplotlib.figure import Figure

from simulations.figures import Curve, accuracy_over_rounds
from simulations.results import Evaluation


def curve(role, values):
    return Curve(role, role, [Evaluation(number, value, 0.0, 0.0) for number, value in enumerate(values)])


def test_a_line_that_others_cover_is_wider_than_they(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: shown.append(self))
    up = [0.1, 0.5, 0.9]
    lines = [curve("reference", up), curve("baseline", [0.1, 0.1, 0.1]), curve("rule", up), curve("resam", up)]
    accuracy_over_rounds(lines, "title", tmp_path / "curves.png")
    (axes,) = shown[0].axes
    reference, baseline, rule, resam = (line.get_linewidth() for line in axes.lines)
    assert reference > rule > resam == baseline
    assert all(tick == int(tick) for tick in axes.get_xticks() if 0 <= tick <= 2)
