"""Mutation tests: which small faults in a module its own tests would not see.

    pip install cosmic-ray
    python -m fuzz.mutants --sample 200

Draws places in the code anew each time, changes a comparison, an operator or a constant at each,
and runs the tests that lie where the module lies, `tests/wire` for `flwr_resam/wire/npy.py` and
`tests/test_momentum.py` for `flwr_resam/momentum.py`, with the module's own examples. All of this
is done to a copy of the files that git tracks. What the tests let through is printed at the end;
a mutant that no test can see, since it changes nothing but speed or a message, is to be named so.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome

ROOT = Path(__file__).parents[1]
MODULES = ("server", "wire", "grids", "momentum.py", "resilience.py")
OPERATORS = (
    "ReplaceComparisonOperator", "ReplaceBinaryOperator", "ReplaceUnaryOperator",
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "NumberReplacer", "AddNot",
)
GOAL = 0.9

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


def tests_of(file: Path) -> str:
    """The tests of a module: those of its folder, or its own file of them, and its examples."""
    inner = file.relative_to("flwr_resam")
    own = Path("tests") / (inner.parts[0] if len(inner.parts) > 1 else f"test_{inner.stem}.py")
    return f"{own} {file}"


def command(file: Path) -> str:
    """What runs a module's tests, up to the first that fails."""
    return f"{sys.executable} -m pytest -q -x -p no:cacheprovider {tests_of(file)}"


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
    outcome, output = run_tests(command(file), limit)
    if outcome is not TestOutcome.SURVIVED:
        raise SystemExit(f"Without a change, {command(file)} fails:\n{output[-3000:]}")
    return time.monotonic() - start


def changed_lines(diff: str) -> list[str]:
    """The lines of a diff that were taken out and put in."""
    return [
        line for line in diff.splitlines()
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    ]


def main() -> None:
    """Draw, change, test, and report what lives."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("modules", nargs="*", default=MODULES, help="such as wire or momentum.py")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a mutant's tests")
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copied(Path(folder))
        os.chdir(folder)
        places = list(mutations(files_of(chosen.modules)))
        drawn = draw.sample(places, min(chosen.sample, len(places)))
        print(f"seed {chosen.seed}: {len(drawn)} of {len(places)} places", flush=True)
        alone: dict[str, float] = {}
        alive = []
        for index, changes in enumerate(drawn):
            mutation = draw.choice(changes)
            file = Path(mutation.module_path)
            if tests_of(file) not in alone:
                alone[tests_of(file)] = seconds_alone(file, chosen.limit)
            limit = min(chosen.limit, 10.0 + 5.0 * alone[tests_of(file)])
            result = mutate_and_test([mutation], command(file), limit)
            lives = result.test_outcome is TestOutcome.SURVIVED
            what = f"{file}:{mutation.start_pos[0]} {mutation.operator_name.split('/')[-1]}"
            print(f"{index + 1}/{len(drawn)} {'LIVES' if lives else 'killed'} {what}", flush=True)
            if lives:
                alive.append("\n".join([what, *changed_lines(result.diff or "")]))
        os.chdir(ROOT)
    killed = 1.0 - len(alive) / max(1, len(drawn))
    print(f"\n{killed:.1%} of {len(drawn)} killed (seed {chosen.seed}); alive:\n")
    print("\n\n".join(alive))
    raise SystemExit(0 if killed >= GOAL else 1)


if __name__ == "__main__":
    main()
