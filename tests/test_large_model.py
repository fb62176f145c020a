"""The app by which `benchmarks.deployment` measures large models, here with a small one."""

import json
import runpy

import pytest
from flwr.app import Context, RecordDict

from benchmarks.deployment import APP, PHASES, _sentence
from flwr_resam import InProcessGrid


def test_the_phases_of_a_round_are_the_round_and_the_sentence_begins_with_the_longest(tmp_path):
    app = runpy.run_path(str(APP / "large_app.py"))
    config = {"megabytes": 1, "rounds": 2, "nodes": 4, "output": str(tmp_path / "times.json"), "spill": ""}
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config)
    app["server_app"](InProcessGrid(app["client_app"], 4, config), context)
    times = json.loads((tmp_path / "times.json").read_text())
    assert len(times) == 2
    for one in times:
        assert sum(one[phase] for phase in PHASES) == pytest.approx(one["seconds"], abs=1e-6)
        assert one["aggregating"] > 0
    longest = max(PHASES, key=lambda phase: times[0][phase])
    assert PHASES[longest] in _sentence(times[:1]).split(",")[0]
