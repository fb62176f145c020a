"""A user's own code, by file, by module and by the entry points of a package, wherever it is to run."""

import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from torch import nn
from typer.testing import CliRunner

from clients import data, models
from clients.byzantine import CONDUCTS
from clients.partitions import PARTITIONS
from flwr_resam import parse_rule, plugins
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.attacks import ATTACKS
from flwr_resam.cli import app
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.testing import check_attack, check_rule
from simulations.engine import run_on_flower
from simulations.experiment import PROJECT, Experiment
from simulations.in_process import run_in_process
from simulations.results import read_summary
from simulations.sweep.grid import key_of, read_grid
from simulations.sweep.runner import sweep

OWN = PROJECT / "examples" / "your-own" / "wine.py"
SETTINGS = {
    "plugins": str(OWN), "dataset": "wine", "partition": "by-turns", "attack": "backwards",
    "aggregator": "halfway | winsorized(extra=1)", "num-nodes": 7, "num-malicious-nodes": 2,
    "num-rounds": 3,
}


@pytest.fixture(autouse=True)
def _only_in_this_test(monkeypatch):
    before = set(sys.modules)
    registries = (AGGREGATORS, PREAGGREGATORS, ATTACKS, PARTITIONS, CONDUCTS, data.DATASETS, models.MODELS)
    for registry in registries:
        monkeypatch.setattr(registry, "_own", dict(registry))
    yield
    for name in ("wine", "my_rules", "broken"):
        if name not in before:
            sys.modules.pop(name, None)


def test_the_file_of_the_examples_runs_in_process_and_its_attack_is_felt():
    experiment = Experiment.default({**SETTINGS, "num-rounds": 40, "evaluate-every": 40})
    assert run_in_process(experiment).evaluations[-1].accuracy > 0.8
    mean = Experiment.default({**SETTINGS, "num-rounds": 40, "aggregator": "mean", "attack": "backwards(size=9)"})
    assert run_in_process(mean).evaluations[-1].accuracy < 0.5


def test_what_the_file_registers_passes_the_checks_of_the_registry():
    plugins.load(str(OWN))
    check_rule(parse_rule("winsorized(extra=1)"))
    check_rule(parse_rule("halfway | winsorized"), lacks=["bounded"])  # the mean lets one row in
    check_rule(PREAGGREGATORS["halfway"]())
    check_attack(ATTACKS["backwards"]())


def test_each_command_line_takes_plugins(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    for command, written in (
        (["rules", "--n", "9", "--f", "2"], "winsorized"),
        (["attacks"], "backwards(size=3.0)"),
        (["audit", "winsorized", "--n", "7", "--f", "2", "--trials", "50"], "winsorized"),
    ):
        done = CliRunner().invoke(
            app, [*command, "--plugins", "examples/your-own/wine.py"], env={"COLUMNS": "200"}
        )
        assert done.exit_code == 0, done.output
        assert written in done.stdout
    done = CliRunner().invoke(app, ["rules", "--n", "9", "--f", "2", "--plugins", "no_such_module"])
    assert done.exit_code == 2
    assert "Found no module `no_such_module`" in done.output


def test_a_sweep_on_ray_runs_it_in_its_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    experiments = read_grid(OWN.with_name("grid.toml"), {"num-rounds": 2, "aggregator": "winsorized"})
    assert [e.plugins for e in experiments] == [str(OWN)]
    runs = []
    sweep(experiments, tmp_path, on_run=runs.append)
    assert [run.error for run in runs] == [None]
    assert runs[0].model_sha256 == run_in_process(experiments[0], batched=True).digest


def test_a_worker_that_lacks_the_file_gets_its_text(tmp_path):
    code = (
        "import sys, json\nfrom flwr_resam.plugins import load\n"
        "from flwr_resam.aggregators import AGGREGATORS\n"
        "load('/nowhere/wine.py', {'/nowhere/wine.py': open(sys.argv[1]).read()})\n"
        "print(AGGREGATORS['winsorized'].__module__)"
    )
    assert python(code, str(OWN)) == "wine"


@pytest.mark.slow
def test_flowers_engine_gives_the_model_of_one_process(tmp_path):
    run_on_flower(Experiment.default({**SETTINGS, "output-dir": str(tmp_path)}), lambda _: None)
    digest = read_summary(tmp_path)["model-sha256"]
    assert digest == run_in_process(Experiment.default(SETTINGS)).digest


def test_a_model_that_takes_the_name_of_another_is_the_one_trained(monkeypatch):
    """As a cell that is run again registers it."""
    plugins.load(str(OWN))
    experiment = Experiment.default({**SETTINGS, "num-rounds": 1})
    run_in_process(experiment)
    monkeypatch.setitem(
        models.MODELS, "wine-linear", models.Model(lambda: nn.Sequential(nn.Linear(13, 3)), (13,))
    )
    assert run_in_process(experiment).arrays.keys() == {"0.weight", "0.bias"}


def test_where_the_file_lies_makes_no_other_run():
    config = Experiment.default(SETTINGS).run_config()
    assert key_of(config) == key_of({**config, "plugins": "/elsewhere/wine.py"})


def test_a_module_of_one_file_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text("SEEN = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = str(tmp_path / "my_rules.py")
    assert plugins.located("my_rules, clients.data, json, numpy") == f"{path}, clients.data, json, numpy"
    plugins.load("my_rules")
    first = sys.modules["my_rules"]
    plugins.load(path)  # the same module, by its file
    assert [m for m in sys.modules.values() if getattr(m, "__file__", "") == path] == [first]
    assert plugins.located("") == ""
    assert plugins.sources(f"{path}, numpy") == {path: "SEEN = True\n"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_either", "ModuleNotFoundError in `.*': ?.*|ModuleNotFoundError in"),
        ("1 / 0", r"ZeroDivisionError in `.*broken.py`: division by zero\. Mend that module"),
        ("open('/no/file')", "FileNotFoundError in"),
        ("raise SystemExit(7)", r"SystemExit in `.*broken.py`: 7\. Mend that module"),
    ],
)
def test_a_module_that_fails_is_told_apart_from_one_that_is_not_there(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        plugins.load(str(path))
    assert "broken" not in sys.modules
    with pytest.raises(ValueError, match=r"Found no file /nowhere/mine\.py"):
        Experiment.default({"plugins": "/nowhere/mine.py"})
    with pytest.raises(ValueError, match=r"Found no module `not.there`"):
        plugins.load("not.there")


def package(folder, groups, body):
    """An installed package, as pip leaves it: a module and its entry points."""
    (folder / "my_package.py").write_text(textwrap.dedent(body))
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [f"[{group}]\n{entry}\n" for group, entry in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


BODY = '''
    from dataclasses import dataclass
    from typing import ClassVar
    from torch import nn
    from clients.data.digits import Digits
    from clients.models import Model
    from flwr_resam import Attack, CoordinateRule, MemorylessAttack

    @dataclass(frozen=True)
    class First(CoordinateRule):
        name: ClassVar[str] = "first"
        def columns(self, block, f):
            return block[0]

    @dataclass(frozen=True)
    class Again(CoordinateRule):
        name: ClassVar[str] = "mda"
        def columns(self, block, f):
            return block[0]

    @dataclass(frozen=True)
    class Ones(MemorylessAttack):
        name: ClassVar[str] = "ones"
        def rows(self, honest, count, at):
            return 0 * honest[:1] + 1

    DIGITS = Digits(model="tiny")
    TINY = Model(lambda: nn.Linear(64, 10), (64,))
'''
GROUPS = {
    "flwr_resam.rules": "first = my_package:First\nmda = my_package:Again\ngone = my_package:Gone",
    "flwr_resam.attacks": "ones = my_package:Ones", "flwr_resam.models": "tiny = my_package:TINY",
    "flwr_resam.datasets": "other-digits = my_package:DIGITS",
}


def python(code, *arguments, path=""):
    root = os.pathsep.join(filter(None, [str(PROJECT), str(path)]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", "-c", code, *arguments], text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": root}, cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_installed_package_adds_to_every_registry(tmp_path):
    package(tmp_path, GROUPS, BODY)
    code = """
import json, sys, warnings
import flwr_resam
from flwr_resam import parse_rule, parse_attack
from flwr_resam.aggregators import AGGREGATORS, MDA
from flwr_resam.parse import RULES
from clients.byzantine import ALL_ATTACKS
from clients import data, models
assert AGGREGATORS["mda"] is MDA and "cwtm" in RULES
parse_rule("nnm | cwtm")
early = "my_package" in sys.modules
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    names = [str(parse_rule("nnm | first")), str(parse_attack("ones"))]
    assert AGGREGATORS["mda"] is MDA and "first" in RULES and "ones" in ALL_ATTACKS
    assert "first" in list(RULES) and models.chosen("", "other-digits") == "tiny"
print(json.dumps([early, names, [str(each.message) for each in said]]))
"""
    early, names, said = json.loads(python(code, path=tmp_path))
    assert not early  # what is not asked for is not loaded
    assert names == ["nnm | first", "ones"]
    assert len(said) == 2
    assert "The entry point `mda` of the group flwr_resam.rules is passed over: ValueError" in said[0]
    assert "`gone`" in said[1]
    assert "AttributeError" in said[1]
    shown = python(
        "from flwr_resam.cli import app; app(['rules', '--n', '9', '--f', '2'])", path=tmp_path
    )
    assert "first" in shown


WRONG = '''
    from dataclasses import dataclass
    from typing import ClassVar
    from clients.data.digits import Digits
    from flwr_resam import CoordinateRule

    @dataclass(frozen=True)
    class First(CoordinateRule):
        name: ClassVar[str] = "first"
        need: ClassVar[str] = "n > 2f [/x]"
        def columns(self, block, f):
            return block[0]

    @dataclass(frozen=True)
    class Worded(First):
        mode: str
        name: ClassVar[str] = "worded"
        def __post_init__(self):
            self.mode.lower()

    @dataclass(frozen=True)
    class Unbounded(First):
        name: ClassVar[str] = "unbounded"
        def coefficient(self, n, f, d):
            return 1 / 0

    DIGITS = Digits(model="tiny")
    def function(): ...
'''


def test_a_package_that_is_wrong_ends_no_command_and_no_run(tmp_path):
    package(tmp_path, {
        "flwr_resam.rules": "first = my_package:First\nworded = my_package:Worded\n"
        "unbounded = my_package:Unbounded\nleaves = leaving:First",
        "flwr_resam.datasets": "digits = my_package:DIGITS\nclass = my_package:Digits\n"
        "odd = my_package:function", "flwr_resam.models": "odd = my_package:function",
    }, WRONG)
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)")
    shown = python(
        "from flwr_resam.cli import app; app(['rules', '--n', '9', '--f', '2'])", path=tmp_path
    )
    assert re.search(r"│ first +│ n > 2f \[/x\] +│ - ", shown)
    assert re.search(r"│ worded\( +│ n > 2f \[/x\] +│ - ", shown)
    assert re.search(r"│ unbounded +│ n > 2f \[/x\] +│ - ", shown)
    code = """
import json, warnings
from clients import data, models
from flwr_resam.aggregators import AGGREGATORS
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    names = [*AGGREGATORS, *data.DATASETS, *models.MODELS]
assert data.DATASETS["digits"].model != "tiny"
print(json.dumps([names, [str(each.message).split(" is passed over: ") for each in said]]))
"""
    names, said = json.loads(python(code, path=tmp_path))
    assert not {"odd", "class", "leaves"} & set(names)
    found = dict(said)
    assert len(said) == len(found) == 5
    whose = "The entry point `{}` of the group flwr_resam.{}".format
    assert found[whose("leaves", "rules")] == "SystemExit: 0"
    assert "TypeError: `odd` must be a model" in found[whose("odd", "models")]
    assert "no `make`, no `shape`" in found[whose("odd", "models")]
    assert "TypeError: `odd` must be a data set" in found[whose("odd", "datasets")]
    assert "Name the object, not its class" in found[whose("class", "datasets")]
    assert "Found that of a built-in" in found[whose("digits", "datasets")]


def npz(path, seed, classes=3, **changes):
    draw = np.random.default_rng(seed)
    y = draw.integers(classes, size=120)
    x = draw.normal(size=(120, 4)) + 5 * np.eye(4)[y]
    np.savez(path, **{"train_x": x[:90], "train_y": y[:90], "test_x": x[90:], "test_y": y[90:], **changes})
    return str(path)


def test_an_experiment_learns_from_a_file_of_ones_own(tmp_path):
    path = npz(tmp_path / "mine.npz", 0)
    settings = {
        "dataset": path, "partition": "iid", "num-nodes": 6, "num-malicious-nodes": 1,
        "attack": "sign-flip", "num-rounds": 60, "evaluate-every": 60,
    }
    assert models.chosen("", path) == "mlp(inputs=4, classes=3)"
    assert run_in_process(Experiment.default(settings)).evaluations[-1].accuracy > 0.9
    linear = Experiment.default({**settings, "model": "linear(inputs=4, classes=3)"})
    assert run_in_process(linear).evaluations[-1].accuracy > 0.8
    with pytest.raises(ValueError, match=r"which takes \(5,\). Use mlp\(inputs=4, classes="):
        Experiment.default({**settings, "model": "linear(inputs=5, classes=3)"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_y": np.zeros(3, int)}, "have one label for each example of train"),
        ({"train_y": np.zeros(90)}, "hold finite numbers and labels 0, 1"),
        ({"train_x": np.full((90, 4), np.nan)}, "hold finite numbers"),
        ({"test_x": np.zeros((30, 5))}, "have one label for each example of test"),
        ({"train_x": np.array([{}])}, "without pickled objects"),
    ],
)
def test_a_file_that_can_not_be_learnt_from_is_told_why(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        data.check(npz(tmp_path / "mine.npz", 0, **changes))
    with pytest.raises(ValueError, match="be a file that is there"):
        data.check(str(tmp_path / "other.npz"))
    with pytest.raises(ValueError, match="be a file by its whole path"):
        data.check("mine.npz")


def test_each_device_trains_on_its_own_file(tmp_path):
    """What a SuperNode is given by --node-config reaches the client in its context."""
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

    from clients.app import app as client
    from flwr_resam.wire.flower import become_server

    become_server()
    server = npz(tmp_path / "server.npz", 0)
    draw = np.random.default_rng(5)
    own = tmp_path / "device.npz"
    np.savez(own, train_x=draw.normal(size=(8, 4)), train_y=np.ones(8, int))  # one class, no tests

    def answer(node_config, model="mlp(inputs=4, classes=3)"):
        run = Experiment.default({"dataset": server, "model": model, "attack": "none"}).run_config()
        arrays = ArrayRecord(models.build("mlp(inputs=4, classes=3)", 0).state_dict())
        message = Message(
            RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": 1})}), 7, "train"
        )
        message.metadata.__dict__["_message_id"] = "1"
        context = Context(1, 7, {"partition-id": 0, "num-partitions": 15, **node_config}, RecordDict(), run)
        return client(message, context).content

    (bias,) = [v.numpy() for k, v in answer({"data-path": str(own)})["momentum"].items() if k == "3.bias"]
    (shared,) = [v.numpy() for k, v in answer({})["momentum"].items() if k == "3.bias"]
    assert bias[1] < 0 < min(bias[0], bias[2])  # towards the one class that this device has
    assert not np.allclose(bias, shared)
    with pytest.raises(ValueError, match="`model` must be named in the run-config"):
        answer({"data-path": str(own)}, model="")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # datasets'
def test_flwr_datasets_reads_a_data_set_by_its_name(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for split, count in (("train", 80), ("test", 20)):
        labels = draw.integers(2, size=count)
        lines = ["a,b,label", *(f"{3.0 * y},{-1.5 * y + draw.normal()},{y}" for y in labels)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    name = f"hub:{folder}"
    found = data.load(name)
    assert (found.train_x.shape, found.test_x.shape, found.classes) == ((80, 2), (20, 2), 2)
    experiment = Experiment.default({
        "dataset": name, "partition": "iid", "num-nodes": 5, "num-malicious-nodes": 1,
        "attack": "sign-flip", "num-rounds": 20, "evaluate-every": 20,
    })
    assert run_in_process(experiment).evaluations[-1].accuracy > 0.9


def test_pictures_of_flwr_datasets_are_grey_levels_with_the_channels_first(tmp_path):
    from datasets import ClassLabel, Features, Image
    from datasets import Dataset as Table

    from clients.data.hub import _examples, _label_of

    pictures = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    features = Features({"img": Image(), "kind": ClassLabel(names=["cat", "dog"])})
    table = Table.from_dict({"img": list(pictures), "kind": [0, 1]}, features=features)
    assert _label_of(table.features, "x") == "kind"
    np.testing.assert_array_equal(_examples(table, "kind", "x"), np.moveaxis(pictures, -1, 1))
