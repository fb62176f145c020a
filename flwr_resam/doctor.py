"""What a bug report needs to say of the machine that the bug was met on."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .plugins import groups
from .rows.jit import compiled
from .rows.threads import cores

PACKAGES = (
    "flwr-resam", "flwr", "flwr-nightly", "numpy", "ray", "torch", "flwr-datasets", "numba",
    "array-api-compat", "safetensors", "threadpoolctl", "filelock", "grpcio", "protobuf",
)
PORTS = {
    8000: "a SuperLink's", 39091: "the SuperLink that `flwr run` starts", 8443: "the proxy's",
    6379: "a Ray cluster's",
}
VARIABLES = ("FLWR_HOME", "OMP_NUM_THREADS", "RAY_ADDRESS", "RESAM_DATA", "CUDA_VISIBLE_DEVICES")


def findings() -> Iterator[tuple[str, str]]:
    """What is looked at, and what was found; nothing secret, and nothing is started."""
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "system", f"{platform.platform()}, {platform.machine()}"
    yield "cores", f"{cores()} of {os.cpu_count()}"
    yield "memory", _memory()
    for name in PACKAGES:
        found = _version(name)
        if found:
            yield name, found
    yield "compiled loops", "yes" if compiled() else "no: pip install 'flwr-resam[speed]'"
    yield "GPU", _gpu()
    yield "plugins", ", ".join(groups()) or "none installed"
    for name in VARIABLES:
        if name in os.environ:
            yield name, os.environ[name] if "=" not in os.environ[name] else "set"
    for port, whose in PORTS.items():
        yield f"port {port}", f"{whose}: {'something listens' if _listens(port) else 'free'}"
    yield "clock", _clock()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return "unknown"
    return f"{total / 2**30:.1f} GiB"


def _gpu() -> str:
    """As torch sees it, for that is what trains."""
    if not _version("torch"):
        return "torch is not installed"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"torch can't be imported: {error}"
    if not torch.cuda.is_available():
        return f"none that torch {torch.__version__} can use"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{', '.join(names)} (CUDA {torch.version.cuda})"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _clock() -> str:
    """Now, in UTC, beside the clock of the file system: TLS and node keys go by it."""
    seconds = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    mark = Path(sys.prefix) / "pyvenv.cfg"
    ahead = mark.exists() and mark.stat().st_mtime > seconds + 60
    return f"{text}, which is before this environment was made" if ahead else text
