"""Processor seconds and megabytes that an import costs in a fresh process, beside Flower's own.

    python -m benchmarks.imports

A SuperNode starts a process for each message. Writes ``benchmarks/results/import.json``: medians
over processes that take turns; "above" is against `flwr.clientapp` and NumPy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks.machine import RESULTS, describe

FLOWER = "flwr.clientapp"
STATEMENTS = {
    FLOWER: "import numpy; from flwr.clientapp import ClientApp",
    "momentum_mod": "from flwr_resam import momentum_mod",
    "Resam": "from flwr_resam import Resam",
    "all names": "from flwr_resam import *",
}
_MEASURED = """
import resource, time
start = time.process_time()
{statement}
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure(statement: str) -> tuple[float, float]:
    """Processor seconds of a statement in a fresh process, and the peak MiB of that process."""
    code = _MEASURED.format(statement=statement)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes = run.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def main() -> None:
    """Measure all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    machine = describe()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STATEMENTS}
    for _ in range(repeats):
        for name, statement in STATEMENTS.items():
            found[name].append(measure(statement))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True))
        for name, runs in found.items()
    }
    base = medians[FLOWER]
    results = {
        name: {
            "seconds": round(seconds, 3), "peak-MiB": round(peak, 1),
            "seconds-above": round(seconds - base[0], 3), "MiB-above": round(peak - base[1], 1),
        }
        for name, (seconds, peak) in medians.items()
    }
    text = json.dumps({"machine": machine, "repeats": repeats, "imports": results}, indent=1)
    (RESULTS / "import.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
