"""The end of the range: float64 rows of 1e140 and float32 rows of 3.4e38 are rows as any."""

import numpy as np
import pytest

from flwr_resam import parse_rule
from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.errors import LARGEST
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rule import Round
from tests import oracles, oracles_memory
from tests.oracles import ORACLES
from tests.rules import ARGUMENTS, CHOSEN

N, F = 11, 2  # the least n that every rule admits with two faults
END = {np.float32: float(np.finfo(np.float32).max), np.float64: LARGEST}
SCALES = set(AGGREGATORS) - {"cc", "byzantine-sgd", "signmajority"}
"""Aggregators of which a multiple of the rows gives that multiple of the result."""


def text(name):
    arguments = {**ARGUMENTS, **CHOSEN, "bucketing": "s=2"}.get(name)
    return f"{name}({arguments})" if arguments else name


def rows_at_the_end(dtype, d, kind, n=N):
    """Rows whose largest entry is the end of the range of their dtype."""
    generator = np.random.default_rng([n, d])
    rows = generator.uniform(-1.0, 1.0, (n, d))
    if kind == "signs":
        rows = np.sign(rows)
    if kind == "giants":  # beside ordinary rows
        rows[F:] = (1.0 + 1e-2 * rows[F:]) / END[dtype]
    return (rows / np.abs(rows).max() * END[dtype]).astype(dtype)


def run(rule, rows):
    """Three rounds of the same rows."""
    state, vectors = rule.start(), []
    for number in (1, 2, 3):
        model = np.full(rows.shape[1], (-1.0) ** number, rows.dtype) * rows.max()
        done = rule.step(
            rows, f=F, state=state,
            at=Round(number, tuple(range(len(rows))), model=lambda model=model: model),
        )
        state = done.state
        vectors.append(done.vector)
    return vectors


@pytest.mark.parametrize("kind", ["spread", "signs", "giants"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", sorted(AGGREGATORS))
@pytest.mark.parametrize("before", ["", *sorted(PREAGGREGATORS)])
def test_every_rule_gives_a_finite_vector_round_after_round(before, last, dtype, kind):
    if before == "bucketing" and AGGREGATORS[last].follows_nodes:
        pytest.skip("it follows nodes")
    rule = parse_rule(f"{text(before)} | {text(last)}" if before else text(last))
    n = next(n for n in range(N, 40) if rule.admits(n, F))
    rows = rows_at_the_end(dtype, 3, kind, n)
    for vector in run(rule, rows):
        assert vector.dtype == dtype
        assert np.isfinite(vector).all()
        if {last} <= SCALES:
            top = np.abs(rows.astype(np.float64)).max()
            assert np.abs(vector.astype(np.float64)).max() <= top * (1.0 + 1e-6)


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", sorted(set(ORACLES) & SCALES))
@pytest.mark.parametrize("before", ["", "nnm", "arc"])
def test_rules_are_their_oracles_on_rows_scaled_down(before, last, dtype, d):
    if (before, last) == ("arc", "cge"):
        pytest.skip("rounding decides in the oracle among the rows of equal norm that arc leaves")
    rows = rows_at_the_end(dtype, d, "spread")
    small = rows.astype(np.float64) / END[dtype]
    expected = ORACLES[last](getattr(oracles, before)(small, F) if before else small, F)
    rule = parse_rule(f"{before} | {text(last)}" if before else text(last))
    found = rule(rows, f=F).astype(np.float64) / END[dtype]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_safeguard_is_its_oracle_on_rows_scaled_down(dtype):
    rows = rows_at_the_end(dtype, 4, "spread")
    small = rows.astype(np.float64) / END[dtype]
    expected = oracles_memory.safeguard([dict(enumerate(small))] * 3, F)
    found = np.array(run(parse_rule("safeguard"), rows)).astype(np.float64) / END[dtype]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", sorted(SCALES))
@pytest.mark.parametrize("before", ["", "nnm", "arc", "bucketing(s=1)"])
def test_wide_rows_at_the_end_are_narrower_ones_scaled(before, last, dtype):
    if before.startswith("bucketing") and AGGREGATORS[last].follows_nodes:
        pytest.skip("it follows nodes")
    rule = parse_rule(f"{before} | {text(last)}" if before else text(last))
    rows = rows_at_the_end(dtype, 8_000, "spread")
    small = rows * dtype(2.0 ** (-120 if dtype == np.float32 else -460))
    size = float(np.abs(small).max())
    found = rule(rows, f=F).astype(np.float64) * 2.0 ** (-120 if dtype == np.float32 else -460)
    np.testing.assert_allclose(found, rule(small, f=F), rtol=1e-6, atol=1e-6 * size)


@pytest.mark.parametrize("value", [1.01e140, -2e140, 1e154, -1.7e308])
@pytest.mark.parametrize("name", [*sorted(AGGREGATORS), *(f"{p} | mda" for p in PREAGGREGATORS)])
def test_a_float64_row_beyond_the_range_is_refused_like_a_nan(name, value):
    parts = [text(part.strip()) for part in name.split("|")]
    rule = parse_rule(" | ".join(parts))
    rows = np.random.default_rng(0).normal(size=(N, 3))
    rows[4, 1] = value
    with pytest.raises(ValueError, match=(
        r"^`updates` must be finite, and at most 1e140 in float64\. "
        rf"Found {abs(value):.3g} in row 4\. Leave such rows out: ".replace("+", r"\+")
    )):
        rule(rows, f=F)


def test_the_refusal_counts_rows_and_names_what_the_first_one_holds():
    rows = np.ones((5, 300_000))
    rows[1, 7], rows[1, 299_999], rows[3, 0] = 1e141, 5e150, np.nan
    with pytest.raises(ValueError, match=r"Found 5e\+150 in row 1 and 1 more\."):
        parse_rule("cwmed")(rows, f=0)
    rows[0, 123_456] = np.nan
    with pytest.raises(ValueError, match=r"Found a NaN or an infinity in row 0 and 2 more\."):
        parse_rule("cwmed")(rows, f=0)


def test_tensors_are_refused_beyond_the_range_too():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"Found 1e\+200 in row 1\."):
        parse_rule("mean")(torch.tensor([[1.0], [1e200]], dtype=torch.float64), f=0)
