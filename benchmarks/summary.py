"""The few lines of the rules' benchmark that the README shows.

    python -m benchmarks.summary

Reads what `python -m benchmarks.rules --n 25 --d 1000000 --f 5` wrote.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.rules import FLOOR, OURS, PLAIN

SOURCE = RESULTS / "rules-n25-d1000000-f5.json"
SHOWN = ("cwmed", "cwtm", "meamed", "krum", "krum*", "mda", "gm", "caf", "nnm | mean")


def summary(data: dict[str, Any]) -> str:
    """A row a rule: its time, and that of the fastest peer, in italics if defined otherwise."""
    lines = [
        f"| n = {data['n']}, d = {data['d']:,}, f = {data['f']} | ms | with NumPy alone "
        "| reading the rows once | the fastest peer | times as long |",
        "|---|---|---|---|---|---|",
    ]
    for rule in SHOWN:
        entry = data["rules"][rule]
        ms = entry["ms"]
        peers = {name: time for name, time in ms.items() if name not in (FLOOR, OURS, PLAIN)}
        same = {name: time for name, time in peers.items() if name in entry["same"]}
        name = min(same or peers, key=(same or peers).__getitem__)
        shown = name if same else f"*{name}*"
        text = rule.replace("|", "\\|")
        lines.append(
            f"| `{text}` | {ms[OURS]:.0f} | {ms[PLAIN]:.0f} | {ms[FLOOR]:.0f} "
            f"| {shown}: {peers[name]:.0f} | {peers[name] / ms[OURS]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    text = summary(json.loads(SOURCE.read_text(encoding="utf-8")))
    (RESULTS / "summary.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
