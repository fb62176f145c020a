"""What an import brings along, and that the lazy face is the face that type checkers see."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import flwr_resam

SERVER_ONLY = [
    "flwr.serverapp.strategy", "flwr.superlink", "sqlalchemy", "safetensors", "torch", "numba",
    "array_api_compat", "threadpoolctl", "filelock", "flwr_resam.strategy", "flwr_resam.server",
    "flwr_resam.aggregators", "flwr_resam.rule", "flwr_resam.rows", "flwr_resam.grids",
    "flwr_resam.attacks",
]


def modules_after(statement):
    """The modules that a fresh process has after a statement."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    root = Path(flwr_resam.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def flowers():
    """What every ClientApp loads; with flwr 1.42 the strategies are among it."""
    return modules_after("import numpy\nfrom flwr.clientapp import ClientApp")


@pytest.mark.parametrize("name", ["momentum_mod", "WorkerMomentum"])
def test_a_worker_loads_its_own_half_beside_what_flower_loads(name, flowers):
    more = modules_after(f"from flwr_resam import {name}") - flowers
    assert "flwr_resam.momentum" in more
    assert more.isdisjoint(SERVER_ONLY)
    foreign = {each for each in more if each.partition(".")[0] != "flwr_resam"}
    assert foreign <= {"hmac", "secrets"}  # for `seal`


def test_the_server_loads_what_it_needs():
    there = modules_after("from flwr_resam import Resam")
    assert {"flwr.serverapp.strategy", "flwr_resam.aggregators"} <= there
    assert "torch" not in there


def imported_for_type_checkers():
    """Names by the modules that the TYPE_CHECKING block takes them from."""
    body = ast.parse(Path(flwr_resam.__file__).read_text(encoding="utf-8")).body
    (block,) = (
        each for each in body
        if isinstance(each, ast.If) and getattr(each.test, "id", "") == "TYPE_CHECKING"
    )
    return {alias.name: each.module for each in block.body for alias in each.names}


def test_what_runs_is_what_type_checkers_see():
    assert imported_for_type_checkers() == flwr_resam._HOMES
    assert sorted(flwr_resam._HOMES) == sorted(flwr_resam.__all__)


def test_every_name_is_there():
    names = {}
    exec("from flwr_resam import *", names)
    assert set(flwr_resam.__all__) <= set(names)
    assert set(flwr_resam.__all__) <= set(dir(flwr_resam))
    for name in flwr_resam.__all__:
        assert getattr(flwr_resam, name) is names[name]
    assert flwr_resam.aggregators.MDA().name == "mda"


def test_another_name_is_an_error():
    with pytest.raises(AttributeError, match="'flwr_resam' has no attribute 'Resma'"):
        flwr_resam.Resma  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Resma'"):
        from flwr_resam import Resma  # noqa: F401


def test_folders_are_found_after_import_of_the_package_alone():
    assert "flwr_resam.aggregators" in modules_after(
        "import flwr_resam\nflwr_resam.aggregators.MDA()"
    )
