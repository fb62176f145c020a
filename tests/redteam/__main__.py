"""What one hostile node of four does to a run over a real SuperLink: another version, and this one.

    python -m tests.redteam --code .. --label before    # a checkout of another version
    python -m tests.redteam                          # this one, and the table

Each attack of `attacks.py` gets a run of two rounds with a timeout of 20 s a round, in which honest
nodes take 2 s; each run has a SuperLink and a ServerApp of its own on the loopback interface. Writes
`docs/redteam/redteam.json` as it goes, and `redteam.md` beside it from all that is in there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from simulations.experiment import PROJECT
from tests.redteam.attacks import ATTACKS
from tests.redteam.harness import attacked

ROUNDS, TIMEOUT, DELAY, LIMIT = 2, 20.0, 2.0, 400.0
THIS = "this version"
PATH = PROJECT / "docs" / "redteam" / "redteam.json"
Cell = dict[str, Any]


def measure(name: str, code: Path) -> Cell:
    """Run one attack against the flwr_resam of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        found = attacked(
            ATTACKS[name], folder=Path(folder), rounds=ROUNDS, timeout=TIMEOUT, delay=DELAY,
            limit=LIMIT, code=code.resolve(),
        )
    last = np.array(found.models[-1])
    honest = -1.01 * (len(found.models) - 1)  # what the mean of three honest nodes moves it by
    return {
        "end": found.end.split(":")[0] or f"not over after {LIMIT:.0f} s",
        "seconds": [round(seconds, 1) for seconds in found.seconds],
        "valid": [metrics["n-valid"] for metrics in found.metrics.values()],
        "distance": float(np.linalg.norm(last - honest)),
        "longest line": max(map(len, found.log), default=0),
    }


def table(results: dict[str, dict[str, Cell]]) -> str:
    """One row an attack, with the columns of each version."""
    labels = [label for label in results if label != THIS] + [THIS]
    text = [
        "Four nodes over a real SuperLink with TLS and node keys, one of them hostile, f = 1, "
        "`cwtm`: two rounds, honest nodes take 2 s, `timeout` is 20 s. The distance is that of the "
        "model from where three honest nodes would have taken it. Written by "
        "`python -m tests.redteam`.",
        "",
        "| attack | what | " + " | ".join(labels) + " |",
        "|---|---|" + "---|" * len(labels),
    ]
    for name in ATTACKS:
        what = (ATTACKS[name].__doc__ or "").split("\n")[0].rstrip(".").replace("|", "/")
        cells = [_cell(results[label].get(name)) for label in labels]
        text.append(f"| {name} | {what} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    seconds = ", ".join(f"{each:.0f}" for each in cell["seconds"]) or "none"
    valid = ", ".join(str(each) for each in cell["valid"]) or "none"
    taken = f"**{cell['distance']:.3g}**" if cell["distance"] > 1.0 else f"{cell['distance']:.2g}"
    end = "" if cell["end"] == "completed" else f"**{cell['end']}**; "
    return f"{end}rounds of {seconds} s; valid {valid}; distance {taken}"


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--code", type=Path, default=PROJECT, help="the checkout that is attacked")
    parser.add_argument("--label", default=THIS, help="what the table calls it")
    parser.add_argument("--again", action="store_true", help="measure what has been measured, too")
    options = parser.parse_args()
    PATH.parent.mkdir(exist_ok=True)
    results = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    mine = results.setdefault(options.label, {})
    for name in ATTACKS:
        if name not in mine or options.again:
            mine[name] = measure(name, options.code)
            PATH.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(name, mine[name], flush=True)
    PATH.with_suffix(".md").write_text(table(results), encoding="utf-8")


if __name__ == "__main__":
    main()
