"""Every registry entry on every kind of finite input: giants, near-copies, denormals, layouts.

The suite turns warnings into errors, so each test also says that none is raised.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import MISSING, fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flwr_resam.aggregators import AGGREGATORS, MDA, KrumStar, Mean, Median, TrimmedMean
from flwr_resam.errors import LARGEST
from flwr_resam.parse import parse_rule
from flwr_resam.preaggregators import NNM, PREAGGREGATORS
from flwr_resam.rows.updates import Updates
from tests.rules import CHOSEN

N, F = 11, 2  # the least n that every rule admits with two faults

# What a rule can't do without, where 1 won't do.
ARGUMENTS = {
    "byzantine-sgd": "deviation=1.0, diameter=1.0, rounds=10", "monna": "trusted=0", **CHOSEN
}

# Which entries a property does not hold for, and why.
NOT_HOMOGENEOUS = {
    "byzantine-sgd": "its thresholds are lengths",
    "cc": "its radius is a length",
    "clipping": "its bound is a length",
    "signmajority": "it returns signs, whatever the size",
}


def required(kind):
    return [
        field.name for field in fields(kind)
        if field.default is MISSING and field.default_factory is MISSING
    ]


def text(name):
    kind = {**AGGREGATORS, **PREAGGREGATORS}[name]
    arguments = ARGUMENTS.get(name) or ", ".join(f"{key}=1" for key in required(kind))
    return f"{name}({arguments})" if arguments else name


RULES = [parse_rule(text(name)) for name in sorted(AGGREGATORS)]
CHAINS = [  # each before a coordinate rule, a rule that chooses rows and one that weighs them
    parse_rule(f"{text(before)} | {last}")
    for before, last in itertools.product(sorted(PREAGGREGATORS), ("cwtm", "mda", "gm"))
]
EVERY = pytest.mark.parametrize("rule", RULES + CHAINS, ids=str)


def names(rule):
    return {stage.split("(")[0].strip() for stage in str(rule).split("|")}


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
}


@st.composite
def inputs(draw, n=N, f=F, widest=4, largest=None):
    """Rows in range of some kind, dtype and layout; the first f may be giants."""
    d = draw(st.integers(0, widest))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = 8 * dtype().itemsize
    kind = draw(st.sampled_from(["any", "giants", "close", "same", "denormal", "lattice", "cast"]))
    if kind == "any":
        bound = min(float(np.finfo(dtype).max), LARGEST) if largest is None else largest
        elements = st.floats(-bound, bound, width=bits)
        rows = draw(hnp.arrays(dtype, (n, d), elements=elements))
        if largest is not None:
            rows[np.abs(rows) < 1 / bound] = 0.0
    else:
        rows = {
            "giants": 1000.0 + 1e-3 * generator.standard_normal((n, d)),
            "close": 1000.0 + 1e-3 * generator.standard_normal((n, d)),
            "same": np.tile(generator.standard_normal(d), (n, 1)),
            "denormal": 1e-42 * generator.standard_normal((n, d)),
            "lattice": generator.integers(-2, 3, (n, d)).astype(float),
            "cast": generator.standard_normal((n, d)).astype(np.float16),
        }[kind].astype(dtype)
    if kind == "giants":
        end = 3e38 if dtype == np.float32 else LARGEST
        rows[:f] = generator.choice([-1e30, 1e30, end, 1e18, 0.0], (f, d))
    rows = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](rows)
    rows.flags.writeable = False
    return rows


@EVERY
@settings(max_examples=10, deadline=None)
@given(rows=inputs())
def test_rows_in_range_give_a_finite_vector(rule, rows):
    before = rows.copy()
    vector = rule(rows, f=F)
    assert vector.shape == rows.shape[1:]
    assert vector.dtype == rows.dtype
    assert np.isfinite(vector).all()
    np.testing.assert_array_equal(rows, before)


@EVERY
@pytest.mark.parametrize("d", [0, 1, 3])
def test_few_rows_and_no_faults(rule, d):
    n = next(n for n in range(1, 10) if rule.admits(n, 0))
    rows = np.full((n, d), 2.0)
    vector = rule(rows, f=0)
    assert vector.shape == (d,)
    assert np.isfinite(vector).all()


@EVERY
@pytest.mark.parametrize("exponent", [457, -450])
def test_any_size_of_float64_is_the_same_problem(rule, exponent):
    if names(rule) & set(NOT_HOMOGENEOUS):
        pytest.skip("; ".join(NOT_HOMOGENEOUS[name] for name in names(rule) if name in
                              NOT_HOMOGENEOUS))
    rows = np.random.default_rng(0).standard_normal((N, 5))
    rows[:F] += 100.0
    expected = rule(rows, f=F)
    vector = rule(rows * 2.0**exponent, f=F)
    np.testing.assert_allclose(vector * 2.0**-exponent, expected, rtol=1e-9, atol=1e-9)


@EVERY
@pytest.mark.parametrize("size", [1e-150, 1e-163, 1e-200, 5e-324])
def test_float64_rows_whose_squares_vanish_give_a_vector_as_small(rule, size):
    """Distances may come out as 0 then: the rows count as equal, and nothing is divided by it."""
    rows = size * np.round(4.0 * np.random.default_rng(0).standard_normal((N, 5)))
    vector = rule(rows, f=F)
    assert np.isfinite(vector).all()
    if names(rule) != {"signmajority"}:
        assert np.abs(vector).max() <= np.abs(rows).max()


@EVERY
@pytest.mark.parametrize("size", [1e30, 1e38, 1e140])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_giants_cost_no_honest_digit(rule, size, offset):
    """Where lambda is proven, the answer is as near the honest mean as it says, in 1e-3 units."""
    n, d = N, 3
    proven = rule.coefficient(n, F, d)
    if proven is None or proven == math.inf:
        # What is proven of the chain is at least what nnm does not change: one majority ball.
        if names(rule) - {"nnm"} not in ({"cwtm"}, {"cwmed"}, {"mda"}, {"krum*"}, {"gm"}):
            pytest.skip("no lambda is proven")
        proven = 8.0
    rows = offset + 1e-3 * np.random.default_rng(1).standard_normal((n, d))
    generator = np.random.default_rng(2)
    rows[:F] = size * generator.choice([-1.0, -0.5, 1e-20, 1.0], (F, d))
    for dtype in (np.float32, np.float64) if size < 3e38 else (np.float64,):
        given_rows = rows.astype(dtype)
        honest = given_rows[F:].astype(np.longdouble)
        off = np.sqrt(((rule(given_rows, f=F) - honest.mean(axis=0)) ** 2).sum())
        diameter = np.sqrt(((honest[:, None] - honest[None, :]) ** 2).sum(axis=2).max())
        assert off <= proven * diameter + 2 * math.sqrt(d) * np.finfo(dtype).eps * offset


@EVERY
@settings(max_examples=5, deadline=None)
@given(rows=inputs(widest=3, largest=2.0**100))
def test_torch_gives_what_numpy_gives(rule, rows):
    torch = pytest.importorskip("torch")
    expected = rule(rows, f=F)
    tensor = torch.from_numpy(rows.copy()).requires_grad_()
    vector = rule(tensor, f=F)
    assert vector.dtype == tensor.dtype
    scale = float(np.abs(rows).max(initial=0.0))
    np.testing.assert_allclose(vector.numpy(), expected, rtol=1e-5, atol=1e-5 * scale)


@EVERY
def test_half_precision_is_cast_up(rule):
    rows = np.random.default_rng(3).standard_normal((N, 4)).astype(np.float16)
    vector = rule(rows, f=F)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, rule(rows.astype(np.float32), f=F), rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------- exact rational oracles


def exact(rows):
    return [[Fraction(float(value)) for value in row] for row in rows]


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def assert_close(vector, expected, used):
    """Within 1e-5 relative, and 1e-12 of the values that went in where these cancel."""
    for value, oracle, column in zip(vector, expected, zip(*used, strict=True), strict=True):
        slack = Fraction(np.finfo(vector.dtype).smallest_subnormal.item())
        top = max(abs(entry) for entry in column)
        assert abs(Fraction(float(value)) - oracle) <= (
            abs(oracle) / 10**5 + top / 10**12 + slack
        )


SMALL = inputs(n=7, f=3, widest=3, largest=2.0**100)


@settings(max_examples=60, deadline=None)
@given(rows=SMALL)
def test_the_mean_is_exact(rows):
    assert_close(Mean()(rows, f=3), mean(exact(rows)), exact(rows))


@settings(max_examples=60, deadline=None)
@given(rows=inputs(n=7, f=3, widest=3))
def test_median_and_trimmed_mean_are_exact(rows):
    columns = [sorted(column) for column in zip(*exact(rows), strict=True)]
    for rule, kept in ((TrimmedMean(), slice(2, 5)), (Median(), slice(3, 4))):
        used = list(zip(*[column[kept] for column in columns], strict=True))
        assert_close(rule(rows, f=2), mean(used), used)


@settings(max_examples=60, deadline=None)
@given(rows=SMALL)
def test_krum_star_takes_a_row_of_least_exact_score(rows):
    points = exact(rows)
    scores = [sum(sorted(distance(a, b) for b in points)[:4]) for a in points]
    done = KrumStar().step(rows, f=3)
    (chosen,) = np.flatnonzero(done.weights)
    assert scores[chosen] <= min(scores) * (1 + Fraction(1, 10**9))
    np.testing.assert_array_equal(done.vector, rows[chosen])


@settings(max_examples=60, deadline=None)
@given(rows=SMALL)
def test_mda_takes_rows_of_least_exact_diameter(rows):
    points = exact(rows)

    def diameter(subset):
        return max(distance(points[i], points[j]) for i in subset for j in subset)

    done = MDA().step(rows, f=3)
    chosen = np.flatnonzero(done.weights)
    assert len(chosen) == 4
    least = min(diameter(subset) for subset in itertools.combinations(range(7), 4))
    assert diameter(chosen) <= least * (1 + Fraction(1, 10**9))
    used = [points[i] for i in chosen]
    assert_close(done.vector, mean(used), used)


@settings(max_examples=60, deadline=None)
@given(rows=SMALL)
def test_nnm_takes_the_exact_nearest_rows(rows):
    points = exact(rows)
    mixed = NNM()(rows, f=3)
    mixing = NNM().mixing(Updates(rows).geometry(), 3, None)
    for row, weights, point in zip(mixed, mixing, points, strict=True):
        chosen = np.flatnonzero(weights)
        distances = sorted(distance(point, other) for other in points)
        farthest = max(distance(point, points[i]) for i in chosen)
        assert len(chosen) == 4
        assert farthest <= distances[3] * (1 + Fraction(1, 10**9))
        used = [points[i] for i in chosen]
        assert_close(row, mean(used), used)


@settings(max_examples=60, deadline=None)
@given(rows=SMALL)
def test_mixed_rows_are_as_far_apart_as_they_are(rows):
    """The geometry of a chain, against the mixed rows computed exactly."""
    updates = Updates(rows)
    mixing = NNM().mixing(updates.geometry(), 3, None)
    points = exact(rows)
    mixed = [
        mean([points[i] for i in np.flatnonzero(weights)]) for weights in mixing
    ]
    geometry = updates.mix(mixing).geometry()
    table = [[distance(a, b) for b in mixed] for a in mixed]
    reach = min(sorted(row)[3] for row in table)
    assume(reach > 0)
    centre = next(i for i, row in enumerate(table) if sorted(row)[3] == reach)
    for i, j in itertools.combinations(range(7), 2):
        found = Fraction(float(geometry.squared_distances[i, j]))
        size = table[i][centre] + table[j][centre] + reach
        assert abs(found - table[i][j]) <= table[i][j] / 10**5 + size / 10**8


def test_a_ladder_of_far_rows_hides_no_digit():
    """Each far row would be the centre that hides the next; all lie outside the sample."""
    rows = 1000.0 + 1e-3 * np.random.default_rng(4).standard_normal((11, 20_000))
    for i in range(5):
        rows[i] = rows[5]
        rows[i, 11_000] = 10.0 ** (6 * i + 3)
    squared = Updates(rows).geometry().squared_distances[5:, 5:]
    honest = rows[5:].astype(np.longdouble)
    expected = np.stack([((honest - row) ** 2).sum(axis=1) for row in honest])
    np.testing.assert_allclose(squared, expected.astype(float), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_takes_one_pass_and_under_attack_a_bounded_number(dtype):
    class Counted(Updates):
        passes = 0

        def __init__(self, rows):
            super().__init__(rows)
            blocks = self._source.blocks

            def counting(*chosen):
                self.passes += 1
                return blocks(*chosen)

            self._source.blocks = counting

    rows = np.random.default_rng(5).standard_normal((11, 9000)).astype(dtype)
    calm = Counted(rows)
    assert calm.geometry().gram.shape == (12, 12)
    ranged = int(dtype == np.float64)  # a pass for their range, which the table does not show
    assert calm.passes == 1 + ranged
    rows[:5, 4000] = 1e30
    rows[5:] += 1e-9 * np.arange(6)[:, None].astype(dtype)
    attacked = Counted(rows)
    assert attacked.geometry().gram.shape == (12, 12)
    assert attacked.passes == 2 + ranged


def test_mixed_rows_are_measured():
    rows = np.array([[0.0], [2.0], [4.0]])
    pairs = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    assert Updates(rows).mix(pairs).geometry().squared_distances[0, 1] == 4.0


@pytest.mark.parametrize("text", ["arc | gm", "nnm | mda", "gm", "cge"])
def test_equal_rows_at_the_end_of_the_range_are_combined_as_any(text):
    rows = np.full((11, 3), LARGEST)
    np.testing.assert_allclose(parse_rule(text)(rows, f=2), rows[0], rtol=1e-12)
    rows[-2:] *= -1.0
    np.testing.assert_allclose(parse_rule(text)(rows, f=2), rows[0], rtol=1e-5)
