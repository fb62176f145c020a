"""A rule pays for what it asks of the rows: nothing for n, O(n d) for norms, a table on demand."""

import numpy as np
import pytest

from flwr_resam import parse_rule
from flwr_resam.rows import jit, lengths, measure, source
from flwr_resam.rows.lengths import RUN, squared_lengths
from flwr_resam.rows.mixing import Mixing, weigh
from flwr_resam.rows.source import Matrix
from flwr_resam.rows.updates import Updates

LINEAR = [
    "mean", "cge", "monna(trusted=1)", "cc(radius=5.0)", "arc | mean", "bucketing(s=2) | mean",
    "clipping(radius=5.0) | cge", "arc | cwtm", "arc | monna(trusted=1)", "bucketing(s=2) | cge",
    "clipping(radius=5.0) | bucketing(s=2) | cc(radius=5.0)",
]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def drawn(n, d, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(3.0, 1.0, size=(n, d)).astype(dtype)


@pytest.mark.parametrize("text", LINEAR)
def test_rules_that_need_no_table_never_fill_one(monkeypatch, text):
    def refuse(_):
        raise AssertionError("a table was filled")

    rows, rule = drawn(150, 40), parse_rule(text)
    first = rule.step(rows, f=20, state=rule.start())
    monkeypatch.setattr(measure, "measure", refuse)
    done = rule.step(rows, f=20, state=rule.start())
    np.testing.assert_array_equal(done.vector, first.vector)
    rule.step(rows, f=20, state=done.state)
    with pytest.raises(AssertionError, match="table"):
        parse_rule("krum")(rows, f=20)


@pytest.mark.parametrize(("text", "passes"), [("mean", 1), ("arc | mean", 2), ("cge", 2)])
def test_rows_are_read_no_more_often_than_that(monkeypatch, text, passes):
    rows, read = drawn(30, 5000), []
    blocks = Matrix.blocks

    def counting(self, *arguments, **settings):
        read.append(1)
        return blocks(self, *arguments, **settings)

    monkeypatch.setattr(Matrix, "blocks", counting)
    parse_rule(text)(rows, f=3)
    assert len(read) == passes


@pytest.mark.parametrize("text", ["mean", "arc | mean", "cge", "krum", "cwtm", "monna(trusted=0)"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e141])
@DTYPES
def test_what_is_out_of_range_is_refused_whatever_pass_meets_it(text, bad, dtype):
    rows = drawn(11, 3000, np.float64)
    rows[4, 2500] = bad
    with np.errstate(over="ignore"):
        rows = rows.astype(dtype)
    for repeat in range(2):
        with pytest.raises(ValueError, match="row 4"):
            parse_rule(text)(rows, f=repeat)
    rows[:] = rows[0]
    rows[4, 2500] = rows[5, 2500] = np.inf
    with pytest.raises(ValueError, match="row 4 and 1 more"):
        parse_rule(text)(rows, f=1)


@DTYPES
@pytest.mark.parametrize("d", [0, 1, 2047, 2048, 2049, 70_001])
def test_squared_lengths_are_those_of_more_digits(dtype, d):
    rows = drawn(9, d, dtype)
    weights = np.zeros(9)
    weights[[2, 5]] = 0.75, 0.5
    exact = rows.astype(np.longdouble)
    for point, chosen in ((0.0, np.zeros(9)), (exact[3], np.eye(9)[3]), (weights @ exact, weights)):
        found = squared_lengths(Matrix(rows), chosen)
        expected = ((exact - point) ** 2).sum(axis=1).astype(float)
        np.testing.assert_allclose(found, expected, rtol=1e-13)


@DTYPES
def test_lengths_have_the_same_bits_however_they_are_computed(monkeypatch, dtype):
    rows = drawn(70, 3 * RUN + 17, dtype)
    weights = np.random.default_rng(1).dirichlet(np.ones(70))
    scaled = Mixing(np.diag(np.linspace(0.1, 1.0, 70)))
    found = []
    for kernels in (jit._kernels(), None):
        monkeypatch.setattr(jit, "_kernels", lambda kernels=kernels: kernels)
        for fewest in (1 << 16, 1):
            monkeypatch.setattr(jit, "_FEWEST", fewest)
            for height in (1, 32):
                monkeypatch.setattr(lengths, "_ROWS", height)
                found.append([
                    squared_lengths(Matrix(rows), weights, mixing) for mixing in (None, scaled)
                ])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("width", [1, 500, 9000, 70_000])
def test_sums_in_row_order_have_the_same_bits_however_they_are_computed(monkeypatch, width):
    rows = drawn(11, width)
    mixing = np.random.default_rng(2).dirichlet(np.ones(11), size=4)
    mixing[mixing < 0.05] = 0.0
    exact = mixing @ rows.astype(np.longdouble)
    found = []
    for kernels in (jit._kernels(), None):
        monkeypatch.setattr(jit, "_kernels", lambda kernels=kernels: kernels)
        mixed = Mixing(mixing).rows(rows)
        np.testing.assert_allclose(mixed, exact.astype(float), rtol=1e-14)
        found += [mixed, np.stack([weigh(weights, rows) for weights in mixing])]
        for column in (0, width - 1):
            alone = [weigh(weights, rows[:, column : column + 1])[0] for weights in mixing]
            np.testing.assert_array_equal(alone, mixed[:, column])
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@DTYPES
def test_the_table_of_many_rows_is_that_of_few_for_any_number_of_threads(monkeypatch, dtype):
    rows = drawn(40, 15 * RUN + 17, dtype)
    few = Updates(rows).geometry()
    monkeypatch.setattr(measure, "TALL", 1)
    many = []
    for count in (1, 3):
        monkeypatch.setattr(source, "cores", lambda count=count: count)
        many.append(Updates(rows).geometry())
    np.testing.assert_array_equal(many[0].gram, many[1].gram)
    np.testing.assert_allclose(many[0].squared_distances, few.squared_distances, rtol=1e-12)


def test_norms_of_scaled_rows_and_of_buckets_are_theirs():
    rows = drawn(8, 300, np.float64)
    for matrix in (np.diag(np.linspace(0.0, 1.0, 8)), np.kron(np.eye(4), [[0.5, 0.5]])):
        mixed = Updates(rows).mix(matrix).geometry()
        expected = matrix @ rows
        np.testing.assert_allclose(mixed.squared_norms, (expected**2).sum(axis=1), rtol=1e-12)
        point = np.full(mixed.n, 0.1)
        apart = ((expected - point @ expected) ** 2).sum(axis=1)
        np.testing.assert_allclose(mixed.squared_distances_to(point), apart, rtol=1e-12)


def test_distances_to_a_point_from_the_table_are_those_of_a_pass():
    rows = drawn(8, 300, np.float64)
    found = Updates(rows).mix(np.full((8, 8), 0.1) + 0.1 * np.eye(8)).geometry()
    point = np.array([0.5, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0])
    mixed = (np.full((8, 8), 0.1) + 0.1 * np.eye(8)) @ rows
    apart = ((mixed - point @ mixed) ** 2).sum(axis=1)
    np.testing.assert_allclose(found.squared_distances_to(point), apart, rtol=1e-9)
