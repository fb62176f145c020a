"""docs/architecture.md and CONTRIBUTING.md say what is true of the tree."""

import argparse
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

import flwr_resam
from flwr_resam import InProcessGrid, Resam, momentum_mod
from flwr_resam.aggregators import AGGREGATORS, TrimmedMean
from flwr_resam.attacks import ATTACKS
from flwr_resam.preaggregators import PREAGGREGATORS
from simulations.experiment import PROJECT

PACKAGE = PROJECT / "flwr_resam"
ARCHITECTURE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title):
    return re.split(rf"^## {title}$", ARCHITECTURE, flags=re.M)[1].split("\n## ")[0]


def block(text):
    return re.search(r"```text\n(.*?)```", text, re.S)[1]


def tree():
    """What the tree names: paths from the root, by what is said of each."""
    found, above = {}, []
    for line in block(section("The tree")).splitlines():
        indent, name, what = re.fullmatch(r"( *)(\S+)\s+(.+)", line).groups()
        above = [*above[: len(indent) // 4], name.rstrip("/")]
        found["/".join(above)] = what
    return found


def test_the_tree_names_every_folder_and_module_of_the_package():
    named = set(tree())
    there = {
        path.relative_to(PROJECT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    one_a_file = {
        f"{cls.__module__.replace('.', '/')}.py"
        for registry in (AGGREGATORS, PREAGGREGATORS, ATTACKS) for cls in registry.values()
    }
    faces = {name for name in there if name.endswith("/__init__.py")}
    assert there - named - one_a_file - faces == set()
    assert {name for name in named if not (PROJECT / name).exists()} == set()


def test_the_floors_are_those_that_imports_are_held_to():
    config = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = config["tool"]["importlinter"]["contracts"][0]
    assert contract["containers"] == ["flwr_resam"]
    assert block(section("Which way imports run")).splitlines() == contract["layers"]


@pytest.mark.parametrize("text", [ARCHITECTURE, CONTRIBUTING], ids=["architecture", "contributing"])
def test_every_path_that_is_named_exists(text):
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    paths = [
        span for span in spans
        if re.fullmatch(r"[\w./-]+", span) and ("/" in span or span.endswith((".py", ".md", ".toml")))
    ]
    assert len(paths) > 10
    for path in paths:
        assert (PROJECT / path).exists() or (PACKAGE / path).exists(), path


PAGES = [
    PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md")),
    PROJECT / "simulations" / "deployment" / "README.md", *sorted((PROJECT / "examples").rglob("README.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8").replace("\n", " ")
    for link, place in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        other = page.parent / link.strip() if link else page
        assert other.exists(), link
        if place:
            titles = re.findall(r"^#+ (.+)$", other.read_text(encoding="utf-8"), re.M)
            assert place in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in titles}


def test_the_walk_names_every_file_that_a_round_enters():
    app = ClientApp(mods=[momentum_mod(beta=0.9)])

    @app.train()
    def train(message, context):
        weights = message.content["arrays"]["w"].numpy()
        content = {"arrays": ArrayRecord({"w": Array(weights - np.float32(0.5))}),
                   "metrics": MetricRecord({"loss": 1.0})}
        return Message(RecordDict(content), reply_to=message)

    entered, root = set(), f"{Path(flwr_resam.__file__).parent}/"

    def note(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            entered.add(frame.f_code.co_filename.removeprefix(root))

    strategy = Resam(num_malicious_nodes=2, aggregator=TrimmedMean(), fraction_evaluate=0.0)
    grid = InProcessGrid(app, 7)
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        strategy.start(grid, ArrayRecord({"w": Array(np.zeros(12, np.float32))}), num_rounds=1)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    walk = section("One round")
    assert len(entered) > 25
    assert sorted(name for name in entered if f"`{name}`" not in walk) == []


def security_commands():
    """The pytest commands of the page on security: as written, and taken apart."""
    parser = argparse.ArgumentParser(prog="pytest")
    parser.add_argument("-m", default="not slow")
    parser.add_argument("-k", default="")
    parser.add_argument("paths", nargs="+")
    text = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    general = re.search(r"^(pytest .*) -k NAME$", text, re.M)[1]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    return {
        span: parser.parse_args(shlex.split(f"{general} {span}" if span.startswith("-k ") else span)[1:])
        for span in spans if span.startswith(("-k ", "pytest "))
    }


COLLECT = """
import sys
import pytest

class Lister:
    def pytest_collection_finish(self, session):
        for item in session.items:
            print("found", "slow" if item.get_closest_marker("slow") else "not slow", item.nodeid, sep="|")

sys.exit(pytest.main(["--collect-only", "-q", "-m", "slow or not slow", *sys.argv[1:]], plugins=[Lister()]))
"""


def test_every_command_of_the_page_on_security_selects_a_test():
    commands = security_commands()
    assert len(commands) > 15
    paths = sorted({path for command in commands.values() for path in command.paths})
    listed = subprocess.run(
        [sys.executable, "-c", COLLECT, *paths], cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout
    tests = [line.split("|", 2)[1:] for line in listed.splitlines() if line.startswith("found|")]
    for span, command in commands.items():
        names = [
            test[len(path):].lower() for speed, test in tests for path in command.paths
            if test.startswith(path) and speed in command.m.split(" or ")
        ]
        for word in command.k.split(" or "):
            assert any(word in name for name in names), f"`{word}` of `{span}`"


def test_every_name_is_spelt_out():
    words = (PROJECT / "docs" / "words.md").read_text(encoding="utf-8")
    said = set(re.findall(r"`([^`]+)`", words))
    assert [name for all_ in (AGGREGATORS, PREAGGREGATORS, ATTACKS) for name in all_ if name not in said] == []
