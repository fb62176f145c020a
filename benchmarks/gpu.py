"""Rules on CUDA tensors, beside reading them once from the device's memory.

    python -m benchmarks.gpu --n 25 --d 10000000 --f 5

Where torch finds no GPU, it says so and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, describe
from flwr_resam import parse_rule

RULES = ["mean", "cwmed", "cwtm", "meamed", "krum", "mda", "gm", "caf", "nnm | gm", "nnm | cwtm"]


def milliseconds(torch: Any, call: Callable[[], object], repeats: int) -> float:
    """Median time of a call on the device."""
    call()
    taken: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end))
    return statistics.median(taken)


def main() -> None:
    """Measure and write, where there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--d", type=int, default=10_000_000)
    parser.add_argument("--f", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing to measure")
        return
    if not torch.cuda.is_available():
        print("torch finds no GPU here: nothing to measure")
        return
    n, d, f = arguments.n, arguments.d, arguments.f
    rows = torch.randn((n, d), device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    floor = milliseconds(torch, rows.max, arguments.repeats)
    part = rows[:, :50_000].cpu().numpy()
    found: dict[str, float] = {}
    for text in RULES:
        rule = parse_rule(text)
        if not rule.admits(n, f):
            continue
        small = rule(rows[:, :50_000], f=f).cpu().numpy()
        np.testing.assert_allclose(small, rule(part, f=f), rtol=1e-4, atol=1e-5)
        found[text] = milliseconds(torch, partial(rule, rows, f=f), arguments.repeats)
        print(f"{text}: {found[text]:.1f} ms, {found[text] / floor:.1f} x floor", flush=True)
    RESULTS.mkdir(exist_ok=True)
    name = torch.cuda.get_device_name()
    data = {**vars(arguments), "device": name, "machine": describe(), "floor": floor, "ms": found}
    (RESULTS / "gpu.json").write_text(json.dumps(data, indent=1) + "\n")
    lines = [
        f"# Rules on one {name}", "",
        f"n = {n}, d = {d:,}, f = {f}; floor (reading the input once): {floor:.2f} ms. Written by "
        "`python -m benchmarks.gpu`.", "", "| rule | ms | x floor |", "|---|---|---|",
    ]
    lines += [
        f"| `{text.replace('|', chr(92) + '|')}` | {value:.1f} | {value / floor:.1f} |"
        for text, value in found.items()
    ]
    (RESULTS / "gpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
