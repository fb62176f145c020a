"""`python -m benchmarks.deployment`: what a large model costs on Flower's deployment engine.

A SuperLink and SuperNodes on this machine, with TLS and node keys; the nodes send back noise, so
that what is measured is transport, momentum and aggregation, without any training.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer

from benchmarks.machine import processor
from simulations.deployment.federation import Federation
from simulations.processes import exit_on_sigterm
from simulations.results import SUMMARY, versions

APP = Path(__file__).parent / "large_app"
RESULT = Path(__file__).parent / "results" / "deployment.json"
PROFILING = Path(__file__).parent / "profiling"
_PROFILE = "FLWR_RESAM_PROFILE"
ROLES = {
    "flower-superlink": "SuperLink",
    "flwr-serverapp": "ServerApp",
    "flower-supernode": "SuperNode",
    "flwr-clientapp": "ClientApp",
}
PHASES = {
    "sending": "bringing the model to the nodes",
    "clients": "the nodes' own work",
    "collecting": "bringing the momentums to the ServerApp",
    "aggregating": "the aggregation",
}


KINDS = {
    "flwr-resam and the app": {
        "flwr_resam", "wire", "rows", "server", "aggregators", "large_app.py", "momentum.py",
        "_methods.py",
    },
    "TLS, HTTP and the loops that serve it": {
        "_backends", "_core", "_sync", "asyncio", "anyio", "concurrent", "h11", "http", "httpcore",
        "httpx", "httptools", "lifespan", "loops", "middleware", "protocols", "selectors.py",
        "socket.py", "ssl.py", "starlette", "uvicorn", "_weakrefset.py", "threading.py",
    },
    "hashing, serialising and putting together": {
        "common", "inflatable", "message", "protobuf", "proto", "_format_impl.py", "npyio.py",
    },
    "keeping messages and objects": {
        "corestate", "linkstate", "object_store", "nodestate", "sqlite3", "orm", "engine", "sql",
    },
    "starting Python": {
        "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>", "typing.py",
        "<frozen abc>", "<string>", "enum.py", "dataclasses.py", "lexers", "pygments", "re",
        "inspect.py", "functools.py", "abc.py",
    },
}
"""By folder or file of a function."""
OTHER = "the rest"


def kind_of(place: str) -> str:
    """What the work of a function is, from ``folder/file:function``.

    Examples
    --------
    >>> kind_of("python3.11/ssl.py:read"), kind_of("nowhere/x.py:f")
    ('TLS, HTTP and the loops that serve it', 'the rest')
    """
    folder, _, rest = place.rpartition(":")[0].rpartition("/")
    named = {folder, rest, folder.rpartition("/")[2]}
    return next((kind for kind, names in KINDS.items() if named & names), OTHER)


class Memory:
    """The resident memory of Flower's processes by role, at its highest."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self.one: dict[str, int] = defaultdict(int)
        self.together: dict[str, int] = defaultdict(int)

    def sample(self) -> bool:
        """Look once; False, for there is always another look."""
        now: dict[str, int] = defaultdict(int)
        for process in self._federation.processes.running():
            with suppress(psutil.Error):
                words = [Path(word).name for word in process.cmdline()[:2]]
                role = next((ROLES[word] for word in words if word in ROLES), None)
                if role is not None:
                    rss = process.memory_info().rss
                    now[role] += rss
                    self.one[role] = max(self.one[role], rss)
        for role, rss in now.items():
            self.together[role] = max(self.together[role], rss)
        return False


class Cpu:
    """The CPU seconds of Flower's processes by role, and of the functions that took most of them.

    The processes of a role that are gone are in it as they were last seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Cpu:
        self._before = {name: os.environ.get(name) for name in ("PYTHONPATH", _PROFILE)}
        paths = [str(PROFILING), *filter(None, [self._before["PYTHONPATH"]])]
        os.environ |= {"PYTHONPATH": os.pathsep.join(paths), _PROFILE: str(self._folder)}
        return self

    def __exit__(self, *error: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

    def found(self, most: int = 25) -> dict[str, Any]:
        """Seconds by role: all together, and by function, the most costly first."""
        spent: dict[str, Counter[str]] = defaultdict(Counter)
        for path in self._folder.glob("*.json"):
            role = ROLES.get(path.name.rpartition("-")[0])
            if role is not None:
                spent[role].update(json.loads(path.read_text()))
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for role, functions in spent.items():
            for place, nanoseconds in functions.items():
                kinds[role][kind_of(place)] += nanoseconds
        return {
            role: {
                "seconds": round(functions.total() / 1e9, 1),
                "kinds": {
                    kind: round(nanoseconds / 1e9, 1)
                    for kind, nanoseconds in kinds[role].most_common()
                },
                "functions": {
                    place: round(nanoseconds / 1e9, 2)
                    for place, nanoseconds in functions.most_common(most)
                },
            }
            for role, functions in spent.items()
        }


def measure(
    megabytes: int, nodes: int, rounds: int, spill: bool = False, profile: bool = False
) -> dict[str, Any]:
    """Run rounds with a model of that size; return what they took."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="flwr-resam-large-") as name, ExitStack() as stack:
        folder = Path(name)
        config = {
            "megabytes": megabytes, "rounds": rounds, "nodes": nodes,
            "output": str(folder / SUMMARY), "spill": str(folder) if spill else "",
        }
        cpu = stack.enter_context(Cpu(folder)) if profile else None
        with Federation(nodes, {}, True, folder) as federation:
            memory = Memory(federation)
            run_id = federation.flwr.submit(APP, config)
            federation.flwr.follow(run_id, folder, lambda _: None, memory.sample)
        times = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        functions = {} if cpu is None else {"cpu-seconds-of-all-rounds": cpu.found()}
    where = ", rows in a file" if spill else ""
    return {
        "what": f"{nodes} SuperNodes, {megabytes} MB of float32 parameters, mda, f = 1, TLS{where}",
        "seconds-of-each-round": [
            {phase: round(seconds, 2) for phase, seconds in one.items()} for one in times
        ],
        "peak-mib-of-one-process": _mib(memory.one),
        "peak-mib-of-all-of-a-kind": _mib(memory.together),
        "says": _sentence(times),
        **functions,
        "load-average-before": round(load, 1),
        "versions": {"python": platform.python_version(), **versions()},
        "hardware": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory-gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.system(),
        },
    }


def main(
    megabytes: Annotated[int, typer.Option(min=1, help="Of float32 parameters.")] = 100,
    nodes: Annotated[int, typer.Option(min=3)] = 6,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    spill: Annotated[bool, typer.Option(help="Keep rows in a file.")] = False,
    profile: Annotated[bool, typer.Option(help="Say which functions took CPU time.")] = False,
    result: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULT,
) -> None:
    """Measure time and memory of rounds with a large model, six nodes on this machine."""
    exit_on_sigterm()
    found = measure(megabytes, nodes, rounds, spill, profile)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    typer.echo(f"{found['says']}\n{result}")


def _sentence(times: list[dict[str, float]]) -> str:
    """What dominates, from the median of each phase over the rounds."""
    whole = median(one["seconds"] for one in times)
    share = {phase: median(one[phase] for one in times) / whole for phase in PHASES}
    parts = ", ".join(
        f"{share[phase]:.0%} {PHASES[phase]}" for phase in sorted(share, key=lambda p: -share[p])
    )
    return f"A round takes {whole:.0f} s: {parts}."


def _mib(found: dict[str, int]) -> dict[str, int]:
    return {role: round(found[role] / 2**20) for role in ROLES.values()}


if __name__ == "__main__":
    typer.run(main)
