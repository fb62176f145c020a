"""What every aggregator does: properties that hold for any rows.

Each takes a rule, n rows and f faults, and raises where the rule lacks it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from itertools import combinations
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal, assert_equal

from ..errors import requirement
from ..rule import Aggregator, Chain, PreAggregator, Round
from ..server.encoding import decode, encode
from ._report import check_all
from ._rows import SIZES, diameter, draw, faulty_rows
from .preaggregators import PREAGGREGATOR_PROPERTIES


def check_form(rule: Aggregator, n: int, f: int) -> None:
    """One finite vector, in the dtype of the rows, which stay as they were."""
    for dtype in (np.float32, np.float64):
        for d in (0, 1, 5):
            rows = draw(n, d, dtype=dtype)
            rows.flags.writeable = False
            kept = rows.copy()
            out = rule(rows, f=f)
            assert out.shape == (d,), f"shape {out.shape} of {n} rows of {d} numbers"
            assert out.dtype == dtype, f"{out.dtype} of {np.dtype(dtype)}"
            assert np.isfinite(out).all(), out
            assert_array_equal(rows, kept)


def check_kinds(rule: Aggregator, n: int, f: int) -> None:
    """Half precision, whole numbers and strided rows are taken."""
    rows = draw(n, 4, dtype=np.float16)
    out = rule(rows, f=f)
    assert out.dtype == np.float32, f"{out.dtype} of float16"
    single = rule(rows.astype(np.float32), f=f)
    assert_allclose(out, single, rtol=1e-5, atol=1e-6)
    wide = np.zeros((2 * n, 8), dtype=np.float32)
    wide[::2, ::2] = rows
    assert_allclose(rule(wide[::2, ::2], f=f), single, rtol=1e-5, atol=1e-6)
    whole = np.arange(n * 3).reshape(n, 3) ** 2 % 17
    assert_allclose(rule(whole, f=f), rule(whole.astype(np.float64), f=f), rtol=1e-12)


def check_torch(rule: Aggregator, n: int, f: int) -> None:
    """PyTorch gives what NumPy gives, over rounds too; passed over where it is not imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    rows = draw(n, 5, dtype=np.float32)
    tensor = torch.from_numpy(rows)
    out = rule(tensor, f=f)
    assert isinstance(out, torch.Tensor), f"{type(out).__name__} of tensors"
    assert out.dtype == torch.float32, f"{out.dtype} of torch.float32"
    assert_allclose(out.numpy(), rule(rows, f=f), rtol=1e-5, atol=1e-6)
    state = mine = rule.start()
    for _ in range(3):
        done = rule.step(tensor, f=f, state=state, at=Round(model=lambda: torch.ones(5)))
        other = rule.step(rows, f=f, state=mine, at=Round(model=lambda: np.ones(5)))
        state, mine = done.state, other.state
        assert_allclose(done.vector.numpy(), other.vector, rtol=1e-5, atol=1e-6)


def check_rounds(rule: Aggregator, n: int, f: int) -> None:
    """It goes on from a state that was stored, which it leaves as it was, and without one node."""
    rows, state = draw(n, 5), rule.start()
    fewer = n - 1 if n > 1 and rule.admits(n - 1, f) else n
    for number, count in enumerate((n, fewer, n), start=1):
        before = _stored(deepcopy(state))
        at = Round(number, nodes=tuple(range(count)), model=lambda: np.ones(5))
        done = rule.step(rows[:count], f=f, state=state, at=at)
        assert np.isfinite(done.vector).all(), f"{done.vector} in round {number}"
        assert_equal(_stored(state), before, f"the state of round {number - 1} is another now")
        state = decode(*_stored(done.state))


def _stored(state: object) -> tuple[Any, dict[str, Any]]:
    """A state as a checkpoint holds it."""
    arrays: dict[str, Any] = {}
    return encode(state, arrays), arrays


def check_permutation(rule: Aggregator, n: int, f: int) -> None:
    """The order of the rows does not matter."""
    rows = draw(n, 4)
    order = np.random.default_rng(n).permutation(n)
    assert_allclose(rule(rows[order], f=f), rule(rows, f=f), rtol=1e-7, atol=1e-9)


def check_translation(rule: Aggregator, n: int, f: int) -> None:
    """Rows that move together move the result."""
    rows, shift = draw(n, 4), np.array([5.0, -3.0, 100.0, 0.0])
    assert_allclose(rule(rows + shift, f=f), rule(rows, f=f) + shift, rtol=1e-7, atol=1e-7)


def check_scale(rule: Aggregator, n: int, f: int) -> None:
    """The unit of the rows does not matter."""
    rows = draw(n, 4)
    for scale in (1e-20, -3.0, 1e15):
        expected = rule(rows, f=f) * scale
        assert_allclose(rule(rows * scale, f=f), expected, rtol=1e-7, atol=1e-9 * abs(scale))


def check_identical(rule: Aggregator, n: int, f: int) -> None:
    """Identical rows give that row."""
    row = np.array([1e3, -2.0, 0.0, 1e-9], dtype=np.float32)
    assert_allclose(rule(np.tile(row, (n, 1)), f=f), row, rtol=1e-6)


def check_bounded(rule: Aggregator, n: int, f: int) -> None:
    """Faulty rows, which come last, can't move the result far from the honest ones."""
    if f == 0:
        return
    generator = np.random.default_rng(n)
    honest = draw(n - f, 3) + 1.0
    reach = diameter(honest) + float(np.linalg.norm(honest, axis=1).max()) + 4.0
    for faulty in faulty_rows(honest, f, generator):
        out = rule(np.concatenate([honest, faulty]), f=f)
        assert np.isfinite(out).all(), out
        away = float(np.linalg.norm(out - honest.mean(axis=0)))
        assert away <= 4.0 * reach, f"{away:.3g} from the mean of rows that span {reach:.3g}"


def check_coefficient(rule: Aggregator, n: int, f: int) -> None:
    """A lambda that is claimed is none below that of any rule, f / (n - f)."""
    value = rule.coefficient(n, f, 10)
    assert value is None or value >= f / (n - f), f"lambda = {value} for n = {n}, f = {f}"


def check_lambda(rule: Aggregator, n: int, f: int) -> None:
    """A lambda that is claimed holds for every set of n - f rows, up to n = 8."""
    bound = rule.coefficient(n, f, 1)
    if n < 9 and bound is not None and bound < float("inf"):
        check_bound(rule, n, f, bound, list(combinations(range(n), n - f)))


def check_bound(
    rule: Aggregator, n: int, f: int, bound: float, sets: Sequence[Sequence[int]]
) -> None:
    """Check that ``||F(x) - mean(x_S)|| <= bound diameter(x_S)`` for these sets S."""
    members = np.array(sets)
    generator = np.random.default_rng(n)
    for d, trial in ((1, 0), (1, 1), (3, 0), (3, 1)):
        honest = draw(n - f, d, trial)
        for faulty in faulty_rows(honest, f, generator):
            rows = np.concatenate([honest, faulty])
            out = rule(rows, f=f)
            apart = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
            sizes = apart[members[:, :, None], members[:, None, :]].max(axis=(1, 2))
            errors = np.linalg.norm(out - rows[members].mean(axis=1), axis=-1)
            kept = errors <= bound * sizes * (1 + 1e-6) + 1e-9
            assert kept.all(), f"more than lambda = {bound:.4g} on the rows {rows.tolist()}"


RULE_PROPERTIES: Mapping[str, Callable[[Aggregator, int, int], None]] = {
    "form": check_form,
    "kinds": check_kinds,
    "torch": check_torch,
    "rounds": check_rounds,
    "permutation": check_permutation,
    "translation": check_translation,
    "scale": check_scale,
    "identical": check_identical,
    "bounded": check_bounded,
    "coefficient": check_coefficient,
    "lambda": check_lambda,
}


def check_rule(rule: Aggregator | PreAggregator, *, lacks: Collection[str] = ()) -> None:
    """Check that a rule has the properties that this library's own rules have.

    Each is tried on the sizes of `SIZES` that the rule admits; where none has one or two faults,
    on the least that it admits with so many.

    Parameters
    ----------
    rule : Aggregator, Chain or PreAggregator
        Needs no registration.
    lacks : collection of str
        Properties that it lacks by its nature, as the mean lacks ``bounded``: keys of
        `RULE_PROPERTIES`, of a pre-aggregator `PREAGGREGATOR_PROPERTIES`.

    Raises
    ------
    PropertyError
        For the first property that it lacks otherwise; an AssertionError.
    TypeError
        For what is no rule, such as the class of one.

    Examples
    --------
    >>> from flwr_resam.aggregators import Mean, Median
    >>> check_rule(Median())
    >>> check_rule(Mean())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    flwr_resam.testing._report.PropertyError: `mean` lacks the property `bounded` with n = 3, ...
    >>> check_rule(Mean(), lacks=["bounded"])
    """
    unfinished = isinstance(rule, Chain) and isinstance(rule.last, PreAggregator)
    if not isinstance(rule, Aggregator | PreAggregator) or unfinished:
        raise requirement(
            "rule", "be an Aggregator, or one PreAggregator", repr(rule),
            "Give one made with its arguments, such as MDA()", error=TypeError,
        )
    sizes = _sizes(rule)
    # Without a fault no rule is unbounded.
    faults = not isinstance(rule, PreAggregator) and "bounded" not in lacks
    if not [size for size in sizes if size[1] or not faults]:
        raise requirement(
            "rule", "admit n <= 8f + 64 rows of which f = 1 or 2 are faulty", "none",
            "Let `admits` take them" + ", or say that it lacks `bounded`" * faults,
        )
    if isinstance(rule, PreAggregator):
        check_all(rule, PREAGGREGATOR_PROPERTIES, lacks, sizes)
    else:
        check_all(rule, RULE_PROPERTIES, lacks, sizes)


def _sizes(rule: Aggregator | PreAggregator) -> list[tuple[int, int]]:
    """The n and f to try a rule with."""
    sizes = [size for size in SIZES if rule.admits(*size)]
    for f in {1, 2} - {faults for _, faults in sizes}:
        least = next((n for n in range(f + 1, 8 * f + 65) if rule.admits(n, f)), None)
        sizes += [] if least is None else [(least, f)]
    return sizes
