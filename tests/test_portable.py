"""What no Windows has, and what macOS lacks, is imported where it is used alone, if at all."""

import ast
import json
import subprocess
import sys

import pytest

from simulations.experiment import PROJECT

PACKAGES = ("flwr_resam", "clients", "simulations", "benchmarks")
POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def test_every_module_is_imported_without_the_modules_of_posix():
    """Others' are loaded before, since theirs have guards of their own."""
    code = f"""
import importlib, json, os, pkgutil, sys
for name in ("filelock", "flwr.serverapp.strategy", "flwr.clientapp", "flwr.cli.app", "psutil",
             "flwr.superlink.grid.http_grid", "torch", "matplotlib.figure", "typer", "rich.progress"):
    importlib.import_module(name)
for name in {sorted(POSIX)!r}:
    sys.modules[name] = None
for name in ("sched_getaffinity", "getuid", "geteuid", "fork", "O_DIRECTORY"):
    vars(os).pop(name, None)
seen = []
for package in {PACKAGES!r}:
    for found in pkgutil.walk_packages([package], package + "."):
        if not found.name.endswith("__main__") or package != "benchmarks":
            importlib.import_module(found.name)
            seen.append(found.name)
from flwr_resam.rows.threads import cores
assert cores() >= 1
print(json.dumps(seen))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {"flwr_resam.cli", "simulations.sweep.store", "simulations.deployment.proxy"} <= set(seen)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_asks_for_them_at_the_top(package):
    for path in (PROJECT / package).rglob("*.py"):
        for each in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in each.names] if isinstance(each, ast.Import) else []
            names += [each.module] if isinstance(each, ast.ImportFrom) else []
            assert not POSIX & set(names), path
