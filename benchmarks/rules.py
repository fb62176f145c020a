"""Every rule against its peers and the floor, on one input, in turn.

    python -m benchmarks.rules --n 25 --d 1000000 --f 5
    python -m benchmarks.rules --n 25 --d 1000000 --f 5 --rules cwtm gm

The floor is what it takes to read the (n, d) float32 input once (the largest value, one thread).
Results go to benchmarks/results/, where a table is drawn of all that is there.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.machine import RESULTS, alternate, describe
from benchmarks.peers import missing, peers_of
from flwr_resam import parse_rule

RULES = [
    "mean", "cwmed", "cwtm", "meamed", "phocas", "signmajority", "bulyan", "krum", "krum*",
    "multikrum", "mda", "gm", "gmom", "cge", "cc(radius=10.0, steps=3)", "monna(trusted=0)",
    "sever", "rge", "caf", "arc | mean", "clipping(radius=10.0) | mean", "bucketing | mean",
    "nnm | mean", "nnm | gm", "nnm | cwtm",
]
OURS, PLAIN, FLOOR = "flwr-resam", "flwr-resam, NumPy alone", "floor"


def measure(text: str, rows: Any, f: int, repeats: int, seconds: float) -> dict[str, Any] | None:
    """The times of one rule in milliseconds, or None where n and f do not admit it."""
    rule = parse_rule(text)
    if not rule.admits(len(rows), f):
        return None

    def plain() -> Any:
        with patch("flwr_resam.rows.jit._kernels", lambda: None):
            return rule(rows, f=f)

    peers = peers_of(text, len(rows), f)
    result = rule(rows, f=f)
    assert np.abs(plain() - result).max(initial=0.0) <= 1e-5 * np.abs(result).max()
    differs: dict[str, float] = {}
    candidates: dict[str, Any] = {
        FLOOR: rows.max, OURS: lambda: rule(rows, f=f), PLAIN: plain,
    }
    failed: list[str] = []
    for name, call, same in peers:
        start = time.perf_counter()
        try:
            found = np.asarray(call(rows))
        except (MemoryError, RuntimeError) as error:  # torch's are RuntimeErrors
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            failed.append(name)
            continue
        if same:
            off = np.abs(found - result) > 1e-5 * np.abs(result).max()
            differs[name] = float(off.mean())  # not 0: of two values as far out, one goes
            if differs[name] > 1e-4:
                raise SystemExit(f"{text}: {name} differs in {differs[name]:.2g} of coordinates")
        if time.perf_counter() - start < 4 * seconds:
            candidates[name] = lambda call=call: call(rows)
    times = alternate(candidates, repeats, seconds)
    same_names = [name for name, _, same in peers if same]
    return {
        "ms": {name: round(wall, 2) for name, (wall, _) in times.items()},
        "cpu-ms": {name: round(work, 2) for name, (_, work) in times.items()},
        "same": same_names, "share-that-differs": differs, "out-of-memory": failed,
    }


def write_table() -> None:
    """Draw all results as one Markdown file."""
    lines = ["# Rules against their peers", "", (
        "Milliseconds, medians of alternating runs on one input; `x floor` is how many times as "
        "long as reading the input once. CPU is the processor time of all threads, which other "
        "load on the machine stretches less. Peers: milliseconds, how many times as long, and how "
        "many times the CPU time; those in italics compute another definition, so that only "
        "their time is comparable. Written by `python -m benchmarks.rules`."
    ), ""]
    for path in sorted(RESULTS.glob("rules-*.json")):
        data = json.loads(path.read_text())
        machine = data["machine"]
        lines += [
            f"## n = {data['n']}, d = {data['d']:,}, f = {data['f']}", "",
            f"{machine['processor']}, {machine['cores']} cores, {_software(data)}; load average "
            f"before: {machine['load-before']}.", "",
            "| rule | floor | flwr-resam | x floor | CPU | NumPy alone | x floor | CPU | peers |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for rule, entry in data["rules"].items():
            ms, work = entry["ms"], entry["cpu-ms"]
            floor, ours, plain = ms[FLOOR], ms[OURS], ms[PLAIN]
            peers = "; ".join(
                f"{name if name in entry['same'] else f'*{name}*'} {value:.0f} "
                f"({value / ours:.1f}x, {work[name] / work[OURS]:.1f}x)"
                for name, value in ms.items() if name not in (FLOOR, OURS, PLAIN)
            )
            peers += "".join(f"; {name}: out of memory" for name in entry.get("out-of-memory", ()))
            peers = peers.removeprefix("; ")
            name = rule.replace("|", "\\|")
            lines.append(
                f"| `{name}` | {floor:.1f} | {ours:.1f} | {ours / floor:.1f} | "
                f"{work[OURS]:.1f} | {plain:.1f} | {plain / floor:.1f} | {work[PLAIN]:.1f} | "
                f"{peers} |"
            )
        lines.append("")
    (RESULTS / "rules.md").write_text("\n".join(lines))


def _software(data: dict[str, Any]) -> str:
    """What the entries ran on; krum needs a newer Python than this project does."""
    found: dict[str, list[str]] = {}
    for rule, entry in data["rules"].items():
        own = entry.get("machine", data["machine"])
        words = (
            f"Python {own['python']}, NumPy {own['numpy']}, Numba {own['numba']}, {own['when']}"
        )
        found.setdefault(words, []).append(f"`{rule}`".replace("|", "\\|"))
    first, *others = sorted(found, key=lambda words: -len(found[words]))
    return "; ".join([first, *(f"{', '.join(found[words])}: {words}" for words in others)])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--d", type=int, default=1_000_000)
    parser.add_argument("--f", type=int, default=5)
    parser.add_argument("--rules", nargs="*", default=RULES)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each candidate")
    arguments = parser.parse_args()
    for what in missing():
        print(f"left out: {what}")
    n, d, f = arguments.n, arguments.d, arguments.f
    rows = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    rows[:f] += np.float32(0.5)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"rules-n{n}-d{d}-f{f}.json"
    data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rules": {}}
    here = describe()
    for entry in data["rules"].values():
        entry.setdefault("machine", data["machine"])
    data |= {"n": n, "d": d, "f": f, "machine": here}
    for text in arguments.rules:
        entry = measure(text, rows, f, arguments.repeats, arguments.seconds)
        if entry is None:
            continue
        print(text, entry["ms"], entry["cpu-ms"], flush=True)
        data["rules"][text] = {**entry, "machine": here}
        data["rules"] = {r: data["rules"][r] for r in RULES if r in data["rules"]}
        path.write_text(json.dumps(data, indent=1) + "\n")
        write_table()


if __name__ == "__main__":
    main()
