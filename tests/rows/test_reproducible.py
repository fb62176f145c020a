"""The same bits on every processor: BLAS kernels, instruction sets, Numba or not, any threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

from flwr_resam import parse_rule
from flwr_resam.rows import measure, source
from flwr_resam.rows.exact import exact_products, ordered_product
from flwr_resam.rows.lengths import RUN
from flwr_resam.rows.measure import inner_products
from flwr_resam.rows.updates import Updates

RULES = [
    "mean", "cwtm", "cwmed", "meamed", "phocas", "krum", "krum*", "multikrum", "bulyan", "mda", "cge",
    "cc(radius=100.0)", "monna(trusted=0)", "nnm | cwtm", "nnm | mda", "nnm | krum*", "arc | cwmed",
    "bucketing(s=2) | cwtm", "clipping(radius=100.0) | mean", "nnm | arc | cc(radius=50.0)",
    "arc | nnm | cwmed", "gm", "gmom", "gmom(k=12)", "nnm | gm",
]
PLAIN = "nnm | cwtm"
"""What differs between these kernels unless it is asked not to: the control of this test."""

SCRIPT = f"""
import hashlib, sys
import numpy as np
from flwr_resam import parse_rule
from flwr_resam.rows import jit
from flwr_resam.rows.updates import Updates
if "numpy" in sys.argv:
    jit._kernels = lambda: None
rows = np.random.default_rng(0).standard_normal((17, 20_001), dtype=np.float32)
rows[:2] *= 1e6
many = np.random.default_rng(1).standard_normal((90, 300), dtype=np.float32)
many[:20] = many[0]
def show(text, rows=rows, **how):
    print(text, hashlib.sha256(parse_rule(text)(rows, f=3, **how).tobytes()).hexdigest())
for text in {RULES!r}:
    show(text, reproducible=True)
for text in ("gm", "gmom(k=70)"):
    show(text, many, reproducible=True)
wide = np.random.default_rng(2).standard_normal((5, 250_000), dtype=np.float32)  # in wider blocks
wide[2] = np.random.default_rng(3).permutation(wide[1])  # as far out, but for rounding
for text in ("gm", "krum"):
    weights = parse_rule(text).step(Updates(wide, reproducible=True), f=1).weights
    print("weights of", text, hashlib.sha256(weights.tobytes()).hexdigest())
show({PLAIN!r})
"""

MACHINES = [
    ({"OPENBLAS_CORETYPE": "Prescott"}, []),
    ({"OPENBLAS_CORETYPE": "Sandybridge"}, []),
    ({"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "1"}, []),
    ({"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}, ["numpy"]),
    ({"OPENBLAS_CORETYPE": "SkylakeX"}, []),
]


def has_avx512():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return "avx512f" in file.read()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the names of cores are those of x86 on Linux")
def test_every_kernel_gives_the_same_bits():
    found = []
    for settings, arguments in MACHINES:
        if settings["OPENBLAS_CORETYPE"] == "SkylakeX" and not has_avx512():
            continue
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, *arguments], capture_output=True,
            text=True, check=True, env={**os.environ, **settings},
        )
        found.append(done.stdout.splitlines())
    for lines in found:
        assert len(lines) == len(RULES) + 5
        assert lines[:-1] == found[0][:-1]
    if "openblas" in str(np.show_config(mode="dicts")).lower():
        assert len({lines[-1] for lines in found}) > 1


def test_products_are_exact_in_whatever_order_they_are_added():
    points = np.random.default_rng(1).standard_normal((9, RUN))
    shuffled = points[:, np.random.default_rng(2).permutation(RUN)]
    np.testing.assert_array_equal(exact_products(points), exact_products(shuffled))
    assert (points @ points.T != shuffled @ shuffled.T).any()


@pytest.mark.parametrize("size", [1.0, 1e140, 1e-140, 1e-160, 0.0])
def test_products_are_those_of_more_digits(size):
    points = size * np.random.default_rng(3).standard_normal((9, 2 * RUN + 5))
    points[3] = points[4]
    points[5] *= 1e-9
    wide = points.astype(np.longdouble)
    lengths = np.sqrt((wide**2).sum(axis=1))
    found = exact_products(points)
    error = np.abs(found - wide @ wide.T)
    assert (error <= 1e-12 * lengths[:, None] * lengths[None, :] + 1e-300).all()
    np.testing.assert_array_equal(found, found.T)
    assert found[3, 3] == found[4, 4] == found[3, 4]


def test_an_ordered_product_is_a_product():
    left, right = np.random.default_rng(4).standard_normal((2, 7, 7))
    np.testing.assert_allclose(ordered_product(left, right), left @ right, rtol=1e-12, atol=1e-12)


def test_a_reproducible_table_is_the_table():
    rows = 1000.0 + np.random.default_rng(5).standard_normal((9, 5000)).astype(np.float32)
    rows[:3] = 1e30 * np.sign(rows[:3] - 1000.0)
    found = Updates(rows, reproducible=True).geometry().squared_distances
    np.testing.assert_allclose(found, Updates(rows).geometry().squared_distances, rtol=1e-9)


@pytest.mark.parametrize("text", ["krum", "nnm | cwtm", "nnm | mda"])
def test_reproducible_bits_do_not_depend_on_the_number_of_threads(monkeypatch, text):
    rows = np.random.default_rng(6).standard_normal((11, 200_000)).astype(np.float32)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(source, "cores", lambda count=count: count)
        found.append(parse_rule(text)(rows, f=2, reproducible=True))
    np.testing.assert_array_equal(found[0], found[1])


def test_it_is_not_the_plain_table_that_a_reproducible_rule_sees(monkeypatch):
    def refuse(*_):
        raise AssertionError("a plain product")

    assert measure.inner_products is inner_products
    monkeypatch.setattr(measure, "inner_products", refuse)
    rows = np.random.default_rng(7).standard_normal((11, 100))
    parse_rule("nnm | krum")(rows, f=2, reproducible=True)
    with pytest.raises(AssertionError, match="plain"):
        parse_rule("nnm | krum")(rows, f=2)
