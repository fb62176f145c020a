"""The apps of examples/, in this process: as committed, or as they were before the two lines.

    python -m benchmarks.examples quickstart-numpy --attack "foe(epsilon=2.5)"
    python -m benchmarks.examples quickstart-numpy --attack "foe(epsilon=2.5)" --before

Prints what the server evaluates, a JSON object a round.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid

from flwr_resam import AdversarialGrid, InProcessGrid, parse_attack

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MOMENTUM = "momentum_mod(beta=0.0)"
"""What all of them write."""


@dataclass(frozen=True)
class App:
    """An app's modules and its run-config."""

    client: ModuleType
    server: ModuleType
    task: ModuleType
    config: Mapping[str, Any]


def names() -> list[str]:
    """The apps, by folder."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))


def load(name: str, *, before: bool = False, changes: Mapping[str, str] | None = None) -> App:
    """Import an app anew, so that apps and versions of them can be run side by side.

    Parameters
    ----------
    name : str
        The folder's name.
    before : bool
        Take the two lines back: the app under FedAvg. What to take back is the diff in its README.
    changes : mapping of str to str
        Text of the client or the server, each of which is there once, and what to put in its place.
    """
    project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text(encoding="utf-8"))
    flower = project["tool"]["flwr"]["app"]
    package = flower["components"]["serverapp"].partition(".")[0]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True)
        if before:
            take_back(Path(folder))
        files = [Path(folder) / package / f"{end}_app.py" for end in ("client", "server")]
        for old, new in (changes or {}).items():
            texts = [file.read_text(encoding="utf-8") for file in files]
            if sum(text.count(old) for text in texts) != 1:
                raise ValueError(f"{name}: `{old}` must be there once")
            for file, text in zip(files, texts, strict=True):
                file.write_text(text.replace(old, new), encoding="utf-8")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            client, server, task = (
                importlib.import_module(f"{package}.{module}")
                for module in ("client_app", "server_app", "task")
            )
        finally:
            sys.path.remove(folder)
            for module in [key for key in sys.modules if key.split(".")[0] == package]:
                del sys.modules[module]
    return App(client, server, task, flower["config"])


def take_back(folder: Path) -> None:
    """Apply the diff of an app's README backwards."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    ((diff,),) = (re.findall(r"```diff\n(.*?)```", readme, re.S),)
    for part in re.split(r"^--- ", diff, flags=re.M)[1:]:
        head, *hunks = re.split(r"^@@\n", part, flags=re.M)
        file = folder / head.splitlines()[0]
        text = file.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old, new = (
                "".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +")
            )
            if text.count(new) != 1:
                raise ValueError(f"{file.name} must hold once what the diff adds:\n{new}")
            text = text.replace(new, old)
        file.write_text(text, encoding="utf-8")


def run(
    app: App, *, num_nodes: int = 9, attack: str = "none", byzantine: int = 3, **config: Any
) -> list[dict[str, Any]]:
    """Run the ServerApp against the ClientApp; return what it evaluates, from round 0 on.

    The last ``byzantine`` nodes are the attack's. ``config`` overrides the run-config, with
    underscores for hyphens.
    """
    settings = {**app.config, **{key.replace("_", "-"): value for key, value in config.items()}}
    grid: Grid = InProcessGrid(app.client.app, num_nodes, settings)
    if attack != "none":
        liars = range(num_nodes - byzantine, num_nodes)
        grid = AdversarialGrid(grid, parse_attack(attack), partitions=liars)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=settings)
    found = []
    evaluate = app.server.central_evaluate

    def record(server_round: int, arrays: Any) -> Any:
        metrics = evaluate(server_round, arrays)
        found.append(dict(metrics))
        return metrics

    app.server.central_evaluate = record  # type: ignore[attr-defined]
    try:
        app.server.app(grid, context)
    finally:
        app.server.central_evaluate = evaluate  # type: ignore[attr-defined]
    return found


def main() -> None:
    """Run one app."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=names())
    parser.add_argument("--before", action="store_true", help="with FedAvg, without the two lines")
    parser.add_argument("--attack", default="none", help="of the last three of nine nodes")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    app = load(arguments.name, before=arguments.before)
    for metrics in run(app, attack=arguments.attack, num_server_rounds=arguments.rounds):
        print(json.dumps(metrics), flush=True)


if __name__ == "__main__":
    main()
