"""What a benchmark ran on, and alternating measurements."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Versions, hardware and how busy the machine was."""
    packages = ("flwr-resam", "numpy", "numba", "flwr", "torch", "byzfl", "byzpy", "krum", "ray")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load-before": round(os.getloadavg()[0], 1),
        "when": time.strftime("%Y-%m-%d"),
    }


def alternate(
    candidates: dict[str, Callable[[], object]], repeats: int, seconds: float
) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each candidate, and of its CPU time, in turn and in reverse turn.

    Candidates that are slow are run less often: at least twice, at most for ``seconds``.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    work: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(repeats):
        order = list(candidates) if repeat % 2 == 0 else list(candidates)[::-1]
        for name in order:
            if len(times[name]) >= 2 and sum(times[name]) > seconds:
                continue
            start, before = time.perf_counter(), time.process_time()
            candidates[name]()
            times[name].append(time.perf_counter() - start)
            work[name].append(time.process_time() - before)
    return {
        name: (1e3 * statistics.median(times[name]), 1e3 * statistics.median(work[name]))
        for name in candidates
    }


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def resident() -> int:
    """The memory of this process in bytes, now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096


def version(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
