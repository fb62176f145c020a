"""The table of attacks is drawn from what was measured, and none of them takes this version over."""

import json

from tests.redteam.__main__ import PATH, THIS, table
from tests.redteam.attacks import ATTACKS

RESULTS = json.loads(PATH.read_text(encoding="utf-8"))


def test_the_table_is_of_the_results():
    assert PATH.with_suffix(".md").read_text(encoding="utf-8") == table(RESULTS)


def test_every_attack_has_a_row_and_its_control():
    """Some took the version before over, or ended it: else they show nothing."""
    assert set(RESULTS[THIS]) == set(ATTACKS)
    assert any(
        cell["distance"] > 1e3 for label in RESULTS if label != THIS
        for cell in RESULTS[label].values()
    )


def test_no_attack_ends_or_bends_this_version():
    for cell in RESULTS[THIS].values():
        assert cell["end"] == "completed"
        assert min(cell["valid"]) >= 3
        assert cell["distance"] < 0.1
