"""Rules whose result is the same bits with any BLAS kernels, with and without compiled loops."""

import os
import platform
import subprocess
import sys

import pytest

KERNELS = ["Prescott", "Sandybridge", "Haswell", "SkylakeX"]
SCRIPT = """
import hashlib, sys
import numpy as np
from flwr_resam.parse import parse_rule
from flwr_resam.rows import jit
if sys.argv[1] == "plain":
    jit._kernels = lambda: None
generator = np.random.default_rng(0)
for shape in ((11, 100_003), (150, 9_000)):
    for dtype in (np.float32, np.float64):
        rows = generator.normal(size=shape).astype(dtype)
        rows *= np.linspace(1.0, 2.0, len(rows), dtype=dtype)[:, None]
        for text in sys.argv[2:]:
            found = parse_rule(text)(rows, f=2)
            print(text, shape, np.dtype(dtype), hashlib.sha256(found.tobytes()).hexdigest())
"""
RULES = [
    "mean", "cwmed", "cwtm", "meamed", "phocas", "signmajority", "cge", "monna(trusted=0)",
    "krum", "krum*", "multikrum", "mda", "clipping(radius=300.0) | mean", "arc | mean",
    "arc | cge", "bucketing(s=2) | mean",
]


def hashes(kernels, loops, threads):
    environment = {
        **os.environ, "OPENBLAS_CORETYPE": kernels, "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, loops, *RULES], env=environment, capture_output=True,
        text=True, check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels of x86")
def test_the_bits_do_not_depend_on_the_kernels_of_blas_or_on_compiled_loops():
    first = hashes("Haswell", "compiled", "1")
    assert len(first.splitlines()) == 4 * len(RULES)
    for kernels in KERNELS:
        for loops, threads in (("compiled", "2"), ("plain", "1")):
            assert hashes(kernels, loops, threads) == first, (kernels, loops, threads)
