"""What the audit finds in 4,000 evaluations, beside what is proven and what structure finds.

    python -m benchmarks.audit

writes `results/audit.json` and `results/audit.md`, the tables of docs/theory.md.
"""

from __future__ import annotations

import json
import math
import time
from typing import Any

from benchmarks.machine import RESULTS, describe
from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.resilience import Criterion, audit, lower_bound, resilience_coefficient
from flwr_resam.spelling import required

STRUCTURED = [
    ("cwtm", 15, 7, 10, 1.64), ("meamed", 15, 7, 10, 3.03), ("krum*", 15, 7, 10, 3.30),
    ("cwtm", 30, 1, 40, 0.131), ("cwtm", 41, 20, 60, 3.02), ("krum*", 41, 20, 60, 5.13),
    ("phocas", 15, 3, 12, 0.63),
]
"""Rule, n, f, d, and the lambda of rows of a structure that a search by hand had found."""

SIZE = (11, 2)
CHAINS = ("nnm | cwtm", "nnm | gm", "nnm | krum*")
CRITERIA: tuple[Criterion, ...] = ("lambda", "kappa")


def _found(rule: str, n: int, f: int, d: int, criterion: Criterion) -> dict[str, Any]:
    start = time.perf_counter()
    ratio = audit(rule, n, f, d, criterion=criterion).ratio
    return {
        "found": ratio, "proven": resilience_coefficient(rule, n, f, d, criterion),
        "seconds": round(time.perf_counter() - start, 1),
    }


def measure() -> dict[str, Any]:
    """Run all searches."""
    n, f = SIZE
    names = [
        name for name, rule in AGGREGATORS.items()
        if not required(rule) and parse_rule(name).coefficient(n, f, n) != math.inf
    ]
    return {
        "machine": describe(),
        "structured": [
            {"rule": rule, "n": n, "f": f, "d": d, "structure": figure,
             **_found(rule, n, f, d, "lambda")}
            for rule, n, f, d, figure in STRUCTURED
        ],
        "size": {"n": n, "f": f, "d": n},
        "rules": {
            name: {criterion: _found(name, n, f, n, criterion) for criterion in CRITERIA}
            for name in (*names, *CHAINS)
        },
    }


def tables(data: dict[str, Any]) -> str:
    """Both tables in Markdown."""
    lines = [
        "| rule | n | f | d | by hand | the audit | times as much | proven |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row['rule']}` | {row['n']} | {row['f']} | {row['d']} | {row['structure']:.3g} "
        f"| {row['found']:.3g} | {row['found'] / row['structure']:.2f} | {_bound(row['proven'])} |"
        for row in data["structured"]
    ]
    n, f, d = (data["size"][key] for key in "nfd")
    floors = [lower_bound(n, f, criterion) for criterion in CRITERIA]
    lines += [
        "",
        f"| n = {n}, f = {f}, d = {d} | lambda found | proven | kappa found | proven |",
        "|---|---|---|---|---|",
        f"| *no rule below* | | {floors[0]:.3g} | | {floors[1]:.3g} |",
    ]
    for name, both in sorted(data["rules"].items(), key=lambda item: _order(item[1])):
        cells = " | ".join(
            f"{both[criterion]['found']:.3g} | {_bound(both[criterion]['proven'])}"
            for criterion in CRITERIA
        )
        text = name.replace("|", "\\|")
        lines.append(f"| `{text}` | {cells} |")
    return "\n".join(lines) + "\n"


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _order(both: dict[str, Any]) -> tuple[bool, float]:
    proven = both["lambda"]["proven"]
    return proven is None, both["lambda"]["found"] if proven is None else proven


def main() -> None:
    """Measure, and write both files."""
    data = measure()
    (RESULTS / "audit.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    text = tables(data)
    (RESULTS / "audit.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
