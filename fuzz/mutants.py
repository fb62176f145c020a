"""Mutation tests: which small faults in a module its own tests would not see.

    pip install cosmic-ray
    python -m fuzz.mutants --sample 200

Draws places in the code anew each time, changes a comparison, an operator or a constant at each,
and runs the tests that lie where the module lies, `tests/wire` for `flwr_resam/wire/npy.py` and
`tests/test_momentum.py` for `flwr_resam/momentum.py`, with the module's own examples. All of this
is done to a copy of the files that git tracks. What the tests let through is printed at the end,
and written to a file by `--output`; a mutant that no test can see, since it changes nothing but
speed or a message, is to be named so. Each run of the tests is a fork of a process that has
imported the libraries.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).parents[1]
MODULES = ("server", "wire", "grids", "momentum.py", "resilience.py", "search.py")
OPERATORS = (
    "ReplaceComparisonOperator", "ReplaceBinaryOperator", "ReplaceUnaryOperator",
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "NumberReplacer", "AddNot",
)
OPTIONS = [
    "-q", "-x", "-p", "no:cacheprovider",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # of what is imported before
]
GOAL = 0.9
_STAMPS = itertools.count(1)

Position = tuple[int, int]  # line and column


def copied(target: Path) -> None:
    """Copy what git tracks, and new files that it does not ignore, as they are now."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def files_of(modules: Iterable[str]) -> list[Path]:
    """The Python files of modules and packages of `flwr_resam`, from the root."""
    paths = [Path("flwr_resam") / name for name in modules]
    for path in paths:
        if not path.exists():
            raise SystemExit(f"There is no {path}. Name a file or folder of flwr_resam.")
    return sorted({
        file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])
    })


def tests_of(file: Path) -> tuple[list[str], list[str]]:
    """The tests that name a module, with its examples, and the others of its folder."""
    inner = file.relative_to("flwr_resam")
    if len(inner.parts) == 1:
        return [str(file), str(Path("tests") / f"test_{inner.stem}.py")], []
    named = re.compile(rf"^(from|import) .*\b{inner.stem}\b", re.MULTILINE)
    first, others = [str(file)], []
    for path in sorted((Path("tests") / inner.parts[0]).glob("test_*.py")):
        (first if named.search(path.read_text(encoding="utf-8")) else others).append(str(path))
    return first, others


def import_libraries(modules: Iterable[Path]) -> None:
    """Import what the tests import, but for the code itself: forks need not do so again."""
    listing = Path("imported.txt")
    code = "import sys, pytest; pytest.main(sys.argv[1:]); print('\\n'.join(sys.modules))"
    tests = sorted({test for file in modules for tests in tests_of(file) for test in tests})
    with listing.open("w") as output:
        subprocess.run(
            [sys.executable, "-c", code, "-qq", "--collect-only", *tests], stdout=output,
            stderr=subprocess.DEVNULL, check=False,
        )
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()}
    for name in listing.read_text().splitlines():
        head = name.partition(".")[0]
        if head.isidentifier() and head not in ours and "pytest" not in head:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)


def passes(file: Path, limit: float) -> bool:
    """Whether a module's tests pass, within ``limit`` seconds each half; the likely ones first."""
    return all(_pass(tests, limit) for tests in tests_of(file) if tests)


def _pass(tests: list[str], limit: float) -> bool:
    """Whether tests pass within ``limit`` seconds, tried up to the first that fails."""
    child = os.fork()
    if child == 0:
        os.setsid()  # so that what the tests start can be ended with them
        nothing = os.open("tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        sys.path[:] = [path for path in sys.path if Path(path).resolve() != ROOT]
        status = 1
        try:
            status = int(pytest.main([*OPTIONS, *tests]))
            if status == pytest.ExitCode.NO_TESTS_COLLECTED:  # a module without an example
                status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        status = -1
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status == -1:
        os.waitpid(child, 0)
    return status == 0


def mutations(files: Sequence[Path]) -> Iterator[list[MutationSpec]]:
    """For each place that can be changed, the changes; annotations are no such place."""
    with tempfile.TemporaryDirectory() as folder:
        database = WorkDB(Path(folder) / "session.sqlite", WorkDB.Mode.create)
        init(files, database, {})
        found = [item.mutations[0] for item in database.work_items]
        database.close()
    unread = {file: list(_annotations(file)) for file in files}
    places: dict[tuple[str, Position], list[MutationSpec]] = {}
    for each in sorted(found, key=lambda each: (str(each.module_path), each.operator_name,
                                                each.occurrence)):
        inside = any(start <= each.start_pos < end for start, end in unread[Path(each.module_path)])
        if each.operator_name.split("/")[-1].startswith(OPERATORS) and not inside:
            places.setdefault((str(each.module_path), each.start_pos), []).append(each)
    yield from places.values()


def _annotations(file: Path) -> Iterator[tuple[Position, Position]]:
    """Where annotations of arguments, results and names lie, which nothing evaluates."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if isinstance(annotation, ast.expr):
            end = annotation.end_lineno or 0, annotation.end_col_offset or 0
            yield (annotation.lineno, annotation.col_offset), end


def seconds_alone(file: Path, limit: float) -> float:
    """How long the tests take where nothing is changed."""
    start = time.monotonic()
    if not passes(file, limit):
        raise SystemExit(
            f"Without a change, the tests of {file} fail:\n{Path('tests.log').read_text()[-3000:]}"
        )
    return time.monotonic() - start


def made(changes: Sequence[MutationSpec], draw: random.Random) -> tuple[MutationSpec, str] | None:
    """One of the changes of a place and what it makes of the file; None where none is Python.

    The star of a signature is taken for a product, say.
    """
    for mutation in draw.sample(changes, len(changes)):
        operator = get_operator(mutation.operator_name)(**(mutation.operator_args or {}))
        source = Path(mutation.module_path).read_text(encoding="utf-8")
        changed = mutate_code(source, operator, mutation.occurrence)
        with contextlib.suppress(SyntaxError), warnings.catch_warnings(action="ignore"):
            if changed is not None:
                compile(changed, str(mutation.module_path), "exec")
                return mutation, changed
    return None


def lives(file: Path, changed: str, limit: float) -> list[str]:
    """The lines that a change takes out and puts in, where the tests let it through; else none."""
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(changed, encoding="utf-8")
        # Bytecode goes by the second and the size of its source, and these may be the last one's.
        os.utime(file, (stamp := next(_STAMPS), stamp))
        if not passes(file, limit):
            return []
    finally:
        file.write_text(before, encoding="utf-8")
        os.utime(file, (stamp := next(_STAMPS), stamp))
    return [
        line for line in difflib.unified_diff(before.split("\n"), changed.split("\n"), n=0)
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    ]


def main() -> None:
    """Draw, change, test, and report what lives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("modules", nargs="*", default=MODULES, help="such as wire or momentum.py")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a mutant's tests")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="none begins later")
    parser.add_argument("--output", type=Path, help="a JSON file for what came of it")
    chosen = parser.parse_args()
    output = chosen.output and chosen.output.resolve()
    draw, started = random.Random(chosen.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copied(Path(folder))
        os.chdir(folder)
        files = files_of(chosen.modules)
        places = list(mutations(files))
        drawn: list[tuple[MutationSpec, str]] = []
        for changes in draw.sample(places, len(places)):
            found = made(changes, draw) if len(drawn) < chosen.sample else None
            drawn += [found] if found else []
        print(f"seed {chosen.seed}: {len(drawn)} of {len(places)} places", flush=True)
        import_libraries(files)
        alone: dict[Path, float] = {}
        alive, tried = [], 0
        for mutation, changed in drawn:
            if time.monotonic() - started > 60.0 * chosen.minutes:
                break
            tried += 1
            file = Path(mutation.module_path)
            if file.parent not in alone:
                alone[file.parent] = seconds_alone(file, chosen.limit)
            lines = lives(file, changed, min(chosen.limit, 15.0 + 2.0 * alone[file.parent]))
            what = f"{file}:{mutation.start_pos[0]} {mutation.operator_name.split('/')[-1]}"
            print(f"{tried}/{len(drawn)} {'LIVES' if lines else 'killed'} {what}", flush=True)
            if lines:
                alive.append("\n".join([what, *lines]))
                print("\n".join(lines), flush=True)
        os.chdir(ROOT)
    killed = 1.0 - len(alive) / max(1, tried)
    print(f"\n{killed:.1%} of {tried} killed (seed {chosen.seed}); alive:\n")
    print("\n\n".join(alive))
    if output:
        results = {
            "modules": list(chosen.modules), "seed": chosen.seed, "sample": tried,
            "places": len(places), "killed": tried - len(alive), "alive": alive,
        }
        text = json.dumps(results, indent=1, ensure_ascii=False)
        output.write_text(f"{text}\n", encoding="utf-8")
    raise SystemExit(0 if killed >= GOAL else 1)


if __name__ == "__main__":
    main()
