"""What every pre-aggregator does: properties that hold for any rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from ..rule import PreAggregator, Round
from ._rows import Rows, draw


def _mixed(rule: PreAggregator, rows: Rows, f: int) -> Rows:
    return np.asarray(rule(rows, f=f, at=Round(generator=np.random.default_rng(0))))


def check_mixed_form(rule: PreAggregator, n: int, f: int) -> None:
    """As many rows as `rows_out` says, in the dtype of those that came, which stay."""
    for d in (0, 1, 5):
        rows = draw(n, d, dtype=np.float32)
        rows.flags.writeable = False
        kept = rows.copy()
        out = rule(rows, f=f)
        assert out.shape == (rule.rows_out(n, f), d), f"shape {out.shape}"
        assert out.dtype == np.float32, f"{out.dtype} of float32"
        assert_array_equal(rows, kept)


def check_mixed_permutation(rule: PreAggregator, n: int, f: int) -> None:
    """Rows that come in another order leave in that order."""
    rows, order = draw(n, 3), np.random.default_rng(0).permutation(n)
    assert_allclose(_mixed(rule, rows[order], f), _mixed(rule, rows, f)[order], atol=1e-12)


def check_mixed_translation(rule: PreAggregator, n: int, f: int) -> None:
    """Rows that move together leave moved as far."""
    rows = draw(n, 3)
    assert_allclose(_mixed(rule, rows + 7.0, f), _mixed(rule, rows, f) + 7.0, rtol=1e-7)


def check_mixed_scale(rule: PreAggregator, n: int, f: int) -> None:
    """The unit of the rows does not matter."""
    rows = draw(n, 3)
    assert_allclose(_mixed(rule, rows * 1e9, f), _mixed(rule, rows, f) * 1e9, rtol=1e-7)


def check_mixed_identical(rule: PreAggregator, n: int, f: int) -> None:
    """Identical rows stay."""
    rows = np.tile([3.0, -1.0, 1e5], (n, 1))
    out = _mixed(rule, rows, f)
    assert_allclose(out, rows[: len(out)], rtol=1e-12)


PREAGGREGATOR_PROPERTIES: Mapping[str, Callable[[PreAggregator, int, int], None]] = {
    "form": check_mixed_form,
    "permutation": check_mixed_permutation,
    "translation": check_mixed_translation,
    "scale": check_mixed_scale,
    "identical": check_mixed_identical,
}
