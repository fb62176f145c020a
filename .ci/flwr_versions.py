"""Test against the oldest and the newest flwr that pyproject.toml allows, and tonight's build.

The version that is installed was tested with everything else. Another is laid over this
environment, so that torch and Ray need not be installed anew, and the tests that touch Flower are
run with it. Where the registry has no set of packages that the version can be installed with, it
is said which ones are missing, the tests run all the same with what is there, and their result is
reported without failing the build: nobody can install that version from this registry. What fails
with the nightly build, `flwr-nightly`, is a warning: there is time until it is a version.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    "tests/dropin", "tests/examples", "tests/grids", "tests/server", "tests/wire",
    "tests/test_strategy.py",
    "tests/clients/test_byzantine_clients.py", "tests/simulations/test_deployment_files.py",
]
NIGHTLY = ["tests/wire"]  # what is private in flwr, and what stands on it
ENGINES = [
    "tests/simulations/test_attacks_on_ray.py",
    "tests/simulations/test_deployment.py::test_six_supernodes_train_and_every_process_is_gone",
]


def main() -> None:
    """Find the versions, and run the tests with those that are not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = next(r for r in map(Requirement, project["dependencies"]) if r.name == "flwr")
    known = sorted(v for v in _on_registry() if allowed.specifier.contains(v))
    if not known:
        raise SystemExit(f"The registry has no {allowed}.")
    print(f"{allowed}: {known[0]} to {known[-1]} on the registry, {version('flwr')} installed")
    passed = [
        _test(str(other)) for other in dict.fromkeys([known[0], known[-1]])
        if other != Version(version("flwr"))
    ]
    if not _test("", "flwr-nightly"):
        print("Warning: Flower's nightly build is another than this package knows; see above.")
    if not all(passed):
        raise SystemExit(1)


def _on_registry() -> list[Version]:
    said = _pip(sys.executable, "index", "versions", "flwr").stdout
    line = next(line for line in said.splitlines() if line.startswith("Available versions:"))
    return [Version(text) for text in line.split(":")[1].split(",")]


def _test(number: str, package: str = "flwr") -> bool:
    """Run the tests with another flwr; True where there is nothing to hold against the build."""
    exact = f"=={number}" if number else ""
    pre = [] if number else ["--pre"]  # the nightly's versions are all of development
    with tempfile.TemporaryDirectory(prefix="flwr-") as name:
        python = _overlay(Path(name))
        wanted = f"{package}[simulation]{exact}"
        tried = _pip(python, "install", "--dry-run", "--quiet", *pre, wanted)
        installable = tried.returncode == 0
        if not installable:
            wrong = [line for line in tried.stderr.splitlines() if line.startswith("ERROR")]
            print(f"{package} {number} can't be installed from this registry: {wrong[-1]}")
        alone = [] if installable else ["--no-deps"]
        got = _pip(python, "install", "--quiet", *pre, *alone, f"{package}{exact}")
        if got.returncode:
            print(f"{package} {number} is not there at all: {got.stderr}")
            return not installable
        how = "with" if installable else "without"
        print(f"{package} {number} {how} its requirements:", flush=True)
        tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        chosen = [TESTS, ["-m", "slow", *ENGINES]] if number else [NIGHTLY]
        done = [subprocess.run([*tests, *each], cwd=ROOT, check=False) for each in chosen]
        good = not any(each.returncode for each in done)
    print(f"{package} {number}: {'passed' if good else 'FAILED'}", flush=True)
    return good or not installable


def _overlay(folder: Path) -> str:
    """Make an environment that sees all packages of this one behind its own."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    paths = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", vars=paths))
    behind = sysconfig.get_path("purelib")
    (own / "behind.pth").write_text(f"import site; site.addsitedir({behind!r})\n")
    return python


def _pip(python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "pip", *arguments], capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    main()
