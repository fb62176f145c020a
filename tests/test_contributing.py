"""The examples of CONTRIBUTING.md do what it says of them."""

import doctest
import re
import subprocess
import sys
import textwrap
from types import ModuleType

import numpy as np
import pytest
import torch

import tests.attacks.test_attacks as attack_tests
from clients import data, models
from clients.bad_replies import BAD_REPLIES, Verdict, arrays
from clients.byzantine import malformed
from flwr_resam import parse_attack, parse_rule
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.attacks import ATTACKS
from flwr_resam.server.gate import Rejection, read_reply
from flwr_resam.wire.layout import Layout
from simulations.experiment import PROJECT, Experiment
from simulations.in_process import run_in_process
from tests import oracles
from tests.rules import draw
from tests.support import content, record

TEXT = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(found[1]) for found in re.finditer(r"^ *```python\n(.*?)^ *```", TEXT, re.S | re.M)
]
EXAMPLES = dict(block.removeprefix("# ").split("\n", 1) for block in BLOCKS)


@pytest.fixture
def module(monkeypatch):
    """Make the module that an example is the whole of."""

    def make(path):
        assert not (PROJECT / path).exists()
        name = path.removesuffix(".py").replace("/", ".")
        made = ModuleType(name)
        made.__package__ = name.rpartition(".")[0]
        monkeypatch.setitem(sys.modules, name, made)
        exec(EXAMPLES[path], made.__dict__)
        return made

    return make


def defined(path, names):
    """What an example adds to a file that there is."""
    assert (PROJECT / path).exists()
    before = set(names)
    exec(EXAMPLES[path], names)
    (name,) = set(names) - before - {"__builtins__"}
    return names[name]


def entry(path, names):
    """The one entry that an example adds to a dict."""
    assert (PROJECT / path).exists()
    ((name, value),) = eval("{" + EXAMPLES[path] + "}", dict(names)).items()
    return name, value


def check_docstrings(module):
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(module):
        runner.run(test)
    assert runner.tries
    assert not runner.failures


def test_every_example_is_tried_here():
    assert len(EXAMPLES) == len(BLOCKS) == 8


@pytest.mark.parametrize("path", [path for path in EXAMPLES if not (PROJECT / path).exists()])
def test_a_file_passes_the_check_of_style_as_it_is_typed(path):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", path, "-"],
        input=f"# {path}\n{EXAMPLES[path]}", text=True, capture_output=True, check=False, cwd=PROJECT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rule_agrees_with_its_oracle(module, monkeypatch):
    made = module("flwr_resam/aggregators/midpoint.py")
    check_docstrings(made)
    monkeypatch.setattr(AGGREGATORS, "_own", dict(AGGREGATORS))
    AGGREGATORS.register(made.Midpoint)
    rule, oracle = parse_rule("midpoint"), defined("tests/oracles.py", dict(vars(oracles)))
    for n, f in ((5, 0), (7, 2), (9, 4)):
        rows = draw(n, 6)
        np.testing.assert_allclose(rule(rows, f=f), oracle(rows, f), rtol=1e-12)
        np.testing.assert_allclose(rule(torch.tensor(rows), f=f), oracle(rows, f), rtol=1e-12)


def test_the_attack_passes_its_test(module, monkeypatch):
    made = module("flwr_resam/attacks/shrink.py")
    check_docstrings(made)
    monkeypatch.setattr(ATTACKS, "_own", dict(ATTACKS))
    ATTACKS.register(made.Shrink)
    defined("tests/attacks/test_attacks.py", dict(vars(attack_tests)))()
    with pytest.raises(ValueError, match="`factor` must be finite"):
        parse_attack("shrink(factor=nan)")


def test_the_data_set_trains(module, monkeypatch):
    made = module("clients/data/wine.py")
    monkeypatch.setitem(models.MODELS, *entry("clients/models.py", vars(models)))
    monkeypatch.setitem(data.DATASETS, "wine", made.Wine())
    defined("tests/clients/test_data.py", {"data": data, "np": np})()
    experiment = Experiment.default({"dataset": "wine", "attack": "none", "num-rounds": 20})
    assert run_in_process(experiment).evaluations[-1].accuracy > 0.9


def test_the_bad_reply_is_rejected(monkeypatch):
    line = EXAMPLES["clients/bad_replies/arrays.py"].strip().removesuffix(",")
    bad = eval(line, dict(vars(arrays)))
    assert bad.name not in BAD_REPLIES
    monkeypatch.setitem(malformed.KINDS, bad.name, bad)
    assert malformed.Malformed(kind=bad.name).kind == "stacked"
    model = record(w=np.ones((2, 3), np.float32))
    layout, reply = Layout.of(model), content(model, key="momentum")
    assert not isinstance(read_reply(reply, 2, layout, layout.views(model)), Rejection)
    found = read_reply(bad.content(reply), 2, layout, layout.views(model))
    assert found.proven == (bad.verdict is Verdict.FAULT)
