"""The lines of the rules' benchmark that a reader wants first, and where a peer is faster.

    python -m benchmarks.summary

Reads what `python -m benchmarks.rules` wrote, for each size that it was run at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.rules import FLOOR, OURS, PLAIN

MAIN = "rules-n25-d1000000-f5.json"
Data = dict[str, Any]


def summary(found: dict[str, Data]) -> str:
    """Two tables, of the results by file name: one size beside its peers, and all lost races."""
    data = found[MAIN]
    lines = [
        f"| n = {data['n']}, d = {data['d']:,}, f = {data['f']} | ms | with NumPy alone "
        "| reading the rows once | the fastest peer | times as long |",
        "|---|---|---|---|---|---|",
    ]
    for rule, ms, name, same in raced(data):
        lines.append(
            f"| {_code(rule)} | {ms[OURS]:.0f} | {ms[PLAIN]:.0f} | {ms[FLOOR]:.0f} "
            f"| {name if same else f'*{name}*'}: {ms[name]:.0f} | {ms[name] / ms[OURS]:.1f} |"
        )
    lines += [
        "", "A peer in italics computes another definition. Peers add up in float32, flwr-resam in "
        "float64 and in one order. All sizes: [rules.md](rules.md).",
    ]
    for which, label in ((OURS, "with Numba"), (PLAIN, "with NumPy alone")):
        lines += [
            "", f"Where a peer is faster by more than a tenth, {label}:", "",
            "| n | d | f | rule | flwr-resam, ms | the fastest peer, ms |",
            "|---|---|---|---|---|---|",
        ]
        for data in found.values():
            for rule, ms, name, same in raced(data):
                if ms[name] < 0.9 * ms[which]:
                    lines.append(
                        f"| {data['n']} | {data['d']:,} | {data['f']} | {_code(rule)} "
                        f"| {ms[which]:.1f} | {name if same else f'*{name}*'}: {ms[name]:.1f} |"
                    )
    return "\n".join(lines) + "\n"


def raced(data: Data) -> Iterator[tuple[str, dict[str, float], str, bool]]:
    """Each rule that has a peer: all times, the fastest peer, and whether it is defined alike.

    Peers that compute another definition count where there is no other.
    """
    for rule, entry in data["rules"].items():
        ms = entry["ms"]
        peers = [name for name in ms if name not in (FLOOR, OURS, PLAIN)]
        same = [name for name in peers if name in entry["same"]]
        if peers:
            yield rule, ms, min(same or peers, key=ms.__getitem__), bool(same)


def read() -> dict[str, Data]:
    """All results, by file name, small ones first."""
    paths = RESULTS.glob("rules-n*.json")
    found: dict[str, Data] = {path.name: json.loads(path.read_text("utf-8")) for path in paths}
    return dict(sorted(found.items(), key=lambda each: [each[1][key] for key in "ndf"]))


def _code(rule: str) -> str:
    return "`" + rule.replace("|", "\\|") + "`"


def main() -> None:
    """Write the tables."""
    text = summary(read())
    (RESULTS / "summary.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
