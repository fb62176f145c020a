"""Every registry entry has every property, but for the exceptions that `EXCEPTIONS` lists."""

from itertools import combinations

import numpy as np
import pytest
import torch

from flwr_resam.aggregators import AGGREGATORS
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rule import Round
from tests.rules import cases, diameter, draw, make, smallest

EXCEPTIONS = {
    ("gmom", "permutation"): "groups are runs of neighbouring rows",
    ("monna", "permutation"): "the trusted row is given by its place",
    ("cge", "translation"): "norms are taken about the origin",
    ("cc", "translation"): "the first round starts at the origin",
    ("cc", "scale"): "the radius is a length",
    ("cc", "identical"): "steps are clipped to the radius",
    ("byzantine-sgd", "scale"): "the deviation is a length",
    ("signmajority", "translation"): "signs are taken about the origin",
    ("signmajority", "scale"): "signs have no size",
    ("signmajority", "identical"): "signs have no size",
    ("mean", "bounded"): "one row moves it anywhere",
    ("bucketing", "permutation"): "the shuffle is drawn, not taken from the rows",
    ("arc", "translation"): "norms are taken about the origin",
    ("clipping", "translation"): "norms are taken about the origin",
    ("clipping", "scale"): "the radius is a length",
    ("clipping", "identical"): "rows are clipped to the radius",
}

TIES = {
    "mda": "several subsets have the least diameter where one far pair sets it",
    "bulyan": "of the last few rows some are each other's nearest",
    "krum*": "of three rows the two nearest have equal scores",
    "byzantine-sgd": "of three rows the two nearest are both the median point",
    "safeguard": "of three rows the two nearest are both the median point",
}
"""Ties that no noise breaks, and that the order of rows does: small n only, but for mda."""

ALL_CASES = cases()


def the(claim, entries=ALL_CASES):
    """The cases of all rules but those that an exception or a tie names."""
    kept = [case for case in entries if (case[0], claim) not in EXCEPTIONS]
    if claim == "permutation" and entries is ALL_CASES:
        tied = {case for case in kept if case[0] in TIES and case[2] > 0}
        kept = [c for c in kept if c not in tied or (c[1] > 3 and c[0] not in {"mda", "bulyan"})]
    return kept


def test_exceptions_name_rules_and_properties_that_there_are():
    known = {"permutation", "translation", "scale", "identical", "bounded"}
    for (name, claim), reason in EXCEPTIONS.items():
        assert name in {**AGGREGATORS, **PREAGGREGATORS}
        assert claim in known
        assert reason


@pytest.mark.parametrize(("name", "claim"), EXCEPTIONS)
def test_exceptions_are_exceptions(name, claim):
    """A rule that has the property after all must leave the list."""
    assert any(breaks(name, claim, draw(9, 3, seed) + 2.0, f=2) for seed in range(20))


@pytest.mark.parametrize(("name", "n"), [("krum*", 3), ("safeguard", 3)])
def test_ties_are_broken_by_the_order_of_rows(name, n):
    assert any(breaks(name, "permutation", draw(n, 3, seed), f=1) for seed in range(20))


def breaks(name, claim, rows, f):
    rule = make(name)

    def apply(x):
        if name in AGGREGATORS:
            return rule(x, f=f)
        return rule(x, f=f, at=Round(generator=np.random.default_rng(1)))

    if claim == "permutation":
        expected, got = apply(rows), apply(rows[::-1])
    elif claim == "translation":
        expected, got = apply(rows) - 5.0, apply(rows - 5.0)
    elif claim == "scale":
        expected, got = apply(rows) * 100.0, apply(rows * 100.0)
    elif claim == "identical":
        expected = np.array([2.0, 3.0, 9.0])
        got = apply(np.tile(expected, (len(rows), 1)))
    else:
        rows[0] = 1e30
        return np.linalg.norm(apply(rows)) > 1e20
    return not np.allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("name", "n", "f"), ALL_CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_dtype_and_input_untouched(name, n, f, dtype):
    for d in (0, 1, 5):
        rows = draw(n, d, dtype=dtype)
        rows.flags.writeable = False
        kept = rows.copy()
        out = make(name)(rows, f=f)
        assert out.shape == (d,)
        assert out.dtype == dtype
        assert np.isfinite(out).all()
        np.testing.assert_array_equal(rows, kept)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_half_precision_integers_and_strides_are_taken(name):
    n = smallest(name, 1)
    rows = draw(n, 4, dtype=np.float16)
    out = make(name)(rows, f=1)
    assert out.dtype == np.float32
    single = make(name)(rows.astype(np.float32), f=1)
    np.testing.assert_allclose(out, single, rtol=1e-5, atol=1e-6)
    wide = np.zeros((2 * n, 8), dtype=np.float32)
    wide[::2, ::2] = rows
    np.testing.assert_allclose(make(name)(wide[::2, ::2], f=1), single, rtol=1e-5, atol=1e-6)
    whole = np.arange(n * 3).reshape(n, 3) ** 2 % 17
    np.testing.assert_allclose(
        make(name)(whole, f=1), make(name)(whole.astype(np.float64), f=1), rtol=1e-12
    )


@pytest.mark.parametrize(("name", "n", "f"), [case for case in ALL_CASES if case[1] > 6])
def test_torch_gives_the_same_as_numpy(name, n, f):
    rows = draw(n, 5, dtype=np.float32)
    tensor = torch.from_numpy(rows)
    rule = make(name)
    out = rule(tensor, f=f)
    assert isinstance(out, torch.Tensor)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out.numpy(), rule(rows, f=f), rtol=1e-5, atol=1e-6)
    state = mine = rule.start()
    for _ in range(3):
        done = rule.step(tensor, f=f, state=state, at=Round(model=lambda: torch.ones(5)))
        other = rule.step(rows, f=f, state=mine, at=Round(model=lambda: np.ones(5)))
        state, mine = done.state, other.state
        np.testing.assert_allclose(done.vector.numpy(), other.vector, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "n", "f"), the("permutation"))
def test_the_order_of_rows_does_not_matter(name, n, f):
    rows = draw(n, 4)
    order = np.random.default_rng(n).permutation(n)
    np.testing.assert_allclose(
        make(name)(rows[order], f=f), make(name)(rows, f=f), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize(("name", "n", "f"), the("translation"))
def test_rows_that_move_together_move_the_result(name, n, f):
    rows, shift = draw(n, 4), np.array([5.0, -3.0, 100.0, 0.0])
    np.testing.assert_allclose(
        make(name)(rows + shift, f=f), make(name)(rows, f=f) + shift, rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize(("name", "n", "f"), the("scale"))
def test_the_unit_of_the_rows_does_not_matter(name, n, f):
    rows = draw(n, 4)
    for scale in (1e-20, -3.0, 1e15):
        np.testing.assert_allclose(
            make(name)(rows * scale, f=f), make(name)(rows, f=f) * scale,
            rtol=1e-7, atol=1e-9 * abs(scale),
        )


@pytest.mark.parametrize(("name", "n", "f"), the("identical"))
def test_identical_rows_give_that_row(name, n, f):
    row = np.array([1e3, -2.0, 0.0, 1e-9], dtype=np.float32)
    np.testing.assert_allclose(make(name)(np.tile(row, (n, 1)), f=f), row, rtol=1e-6)


def attacks(honest, f, generator):
    """Rows that f faulty nodes might send: alone and in concert, near and far."""
    d = honest.shape[1]
    mean, deviation = honest.mean(axis=0), honest.std(axis=0) + 0.1
    for size in (0.5, 3.0, 1e3, 1e8, 1e30):
        yield generator.normal(size=(f, d)) * size
        yield np.tile(mean + size * deviation, (f, 1))
        yield np.tile(-size * mean, (f, 1))
        yield mean + size * deviation * np.arange(1, f + 1)[:, None]
    yield np.tile(honest[0], (f, 1))
    yield np.zeros((f, d))


@pytest.mark.parametrize(("name", "n", "f"), [case for case in the("bounded") if case[2] > 0])
def test_faulty_rows_can_not_move_the_result_far(name, n, f):
    """The faulty rows come last, so that the row that `monna` trusts is honest."""
    generator = np.random.default_rng(n)
    honest = draw(n - f, 3) + 1.0
    reach = diameter(honest) + float(np.linalg.norm(honest, axis=1).max()) + 4.0
    for faulty in attacks(honest, f, generator):
        out = make(name)(np.concatenate([honest, faulty]), f=f)
        assert np.isfinite(out).all()
        assert np.linalg.norm(out - honest.mean(axis=0)) <= 4.0 * reach


def sets_of(name, n, f):
    """The sets S of n - f rows for which lambda must hold."""
    sets = list(combinations(range(n), n - f))
    return [s for s in sets if 0 in s] if name == "monna" else sets


def proven(name, n, f, d):
    if name == "monna":  # for the sets that hold the trusted row
        return 2 * f / (n - f)
    return make(name).coefficient(n, f, d)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize(
    ("name", "n", "f"),
    [case for case in ALL_CASES if case[1] < 9 and proven(*case, 1) not in {None, float("inf")}],
)
def test_lambda_holds_for_every_set(name, n, f, d):
    bound = proven(name, n, f, d)
    generator = np.random.default_rng(n)
    sets = np.array(sets_of(name, n, f))
    for trial in range(2):
        honest = draw(n - f, d, trial)
        for faulty in attacks(honest, f, generator):
            rows = np.concatenate([honest, faulty])
            out = make(name)(rows, f=f)
            apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
            sizes = apart[sets[:, :, None], sets[:, None, :]].max(axis=(1, 2))
            errors = np.linalg.norm(out - rows[sets].mean(axis=1), axis=-1)
            assert (errors <= bound * sizes * (1 + 1e-6) + 1e-9).all()


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("mean", [0.0, 0.0, 1e9]),
        ("cge", [1.0, 1.0, 0.0]),
        ("cc", [9.0, 9.0, 9.0]),
        ("byzantine-sgd", [0.0, 0.0, 3.0]),
        ("signmajority", [9.0, 9.0, 9.0]),
        ("monna", [5.0, 0.0, 0.0]),
    ],
)
def test_infinite_lambda_means_that_none_exists(name, rows):
    rule, rows = make(name), np.array(rows)[:, None]
    assert rule.coefficient(3, 1, 1) == rule.kappa(3, 1, 1) == float("inf")
    values = rows.ravel()
    twice = max(values, key=lambda value: (values == value).sum())
    assert abs(rule(rows, f=1)[0] - twice) > 0.1


@pytest.mark.parametrize("name", AGGREGATORS)
def test_coefficients_are_numbers_or_none(name):
    for n in range(1, 40):
        for f in range(n):
            if make(name).admits(n, f):
                value, kappa = make(name).coefficient(n, f, 10), make(name).kappa(n, f, 10)
                assert value is None or value >= f / (n - f) - 1e-12
                assert kappa is None or 2 * f >= n or kappa >= f / (n - 2 * f) - 1e-12
                assert (value is None) == (kappa is None)


@pytest.mark.parametrize("name", PREAGGREGATORS)
def test_preaggregators_keep_shape_dtype_and_input(name):
    for d in (0, 1, 5):
        rows = draw(7, d, dtype=np.float32)
        rows.flags.writeable = False
        out = make(name)(rows, f=2)
        assert out.shape == (make(name).rows_out(7, 2), d)
        assert out.dtype == np.float32


def matching(name, rows):
    return make(name)(rows, f=2, at=Round(generator=np.random.default_rng(0)))


@pytest.mark.parametrize("name", [c[0] for c in the("permutation", [(p,) for p in PREAGGREGATORS])])
def test_preaggregated_rows_follow_the_order_of_rows(name):
    rows, order = draw(7, 3), np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(matching(name, rows[order]), matching(name, rows)[order])


@pytest.mark.parametrize("name", [c[0] for c in the("translation", [(p,) for p in PREAGGREGATORS])])
def test_preaggregated_rows_move_together(name):
    rows = draw(7, 3)
    np.testing.assert_allclose(matching(name, rows + 7.0), matching(name, rows) + 7.0, rtol=1e-7)


@pytest.mark.parametrize("name", [c[0] for c in the("scale", [(p,) for p in PREAGGREGATORS])])
def test_preaggregated_rows_have_no_unit(name):
    rows = draw(7, 3)
    np.testing.assert_allclose(matching(name, rows * 1e9), matching(name, rows) * 1e9, rtol=1e-7)


@pytest.mark.parametrize("name", [c[0] for c in the("identical", [(p,) for p in PREAGGREGATORS])])
def test_preaggregated_identical_rows_stay(name):
    rows = np.tile([3.0, -1.0, 1e5], (7, 1))
    out = matching(name, rows)
    np.testing.assert_allclose(out, rows[: len(out)], rtol=1e-12)
