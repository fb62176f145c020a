"""What fills a geometry, when a rule asks: passes over the rows, in float64.

Norms and the distances from one point are a pass that is linear in n. The table is a pass about
a centre among the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from numpy.typing import NDArray

from .exact import exact_products
from .geometry import Geometry, majority_reach, squared_distances, strips, symmetric
from .jit import flat_rows, kernels_for
from .lengths import RUN, squared_lengths
from .mixing import Mixing
from .order import lower_median
from .source import Array, Matrix
from .threads import one_blas_thread

TALL = 400  # rows from which BLAS is faster than the compiled loop; it is given runs of columns
_SAMPLE_COLUMNS = 2048
_GOOD_ENOUGH = 64.0  # how much farther from its majority the centre may lie than the best row


class Measured(Geometry):
    """The geometry of rows that lie in a source: of it only what is asked for is computed.

    Norms, and distances to one point, are O(n d) where the rows are as they lie, scaled or means
    of buckets. Where every row is a mean of many (`NNM`), they come from the table, which was
    filled to choose them. The answers do not depend on what was asked before.

    Parameters
    ----------
    source : Matrix
    mixing : Mixing, optional
        From the source's rows to these.
    table : callable, optional
        Fills the table of mixed rows.
    """

    def __init__(
        self,
        source: Matrix,
        mixing: Mixing | None = None,
        table: Callable[[], NDArray[np.float64]] | None = None,
    ) -> None:
        self._gram = None
        self.reproducible = source.reproducible
        self._source, self._mixing = source, mixing
        self._fill = table or (lambda: measure(source))

    def _table(self) -> NDArray[np.float64]:
        return self._fill()

    @property
    def n(self) -> int:
        """The number of rows."""
        return self._source.n if self._mixing is None else self._mixing.height

    @cached_property
    def _norms(self) -> NDArray[np.float64]:
        if self._mixing is None or self._mixing.is_light:
            norms = squared_lengths(self._source, np.zeros(self.n), self._mixing)
            norms.setflags(write=False)  # it is kept
            return norms
        return super().squared_norms

    @property
    def squared_norms(self) -> NDArray[np.float64]:
        """``||x_i||**2``, shape (n,)."""
        return self._norms

    def squared_distances_to(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """``||x_i - sum_j w_j x_j||**2``, shape (n,)."""
        if self._mixing is None or self._mixing.is_light:
            return squared_lengths(self._source, weights, self._mixing)
        return super().squared_distances_to(weights)

    def mixed(self, stage: NDArray[np.float64], together: Mixing) -> Measured:
        """The geometry of ``stage @ rows``, which is ``together`` of the source's rows."""
        return Measured(self._source, together, lambda: self.mix(stage).gram)


def measure(source: Matrix) -> NDArray[np.float64]:
    """Measure the rows of ``source``: one pass, and a second where the first guess was bad.

    The first pass is about a row, chosen on a sample of the columns. It is kept when no row
    turns out to lie far closer to its majority. Else the second pass is about the
    coordinate-wise median, which no minority can move out of the range of the others.
    Byzantine rows can cost that pass so, never a digit of the honest differences.
    """
    if not source.single:
        source.check()
    sample = source.sample(_SAMPLE_COLUMNS)
    # Float32 rows are yet to be checked. Several threads of BLAS would add up in another order.
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread:
        sampled = source.to_numpy(_products(source, sample, _middle(sample)))[:-1, :-1]
        row = int(np.argmin(majority_reach(squared_distances(sampled))))
    gram = _gram_about(source, lambda block: block[row : row + 1, :])
    source.check(seen=bool(np.isfinite(gram).all()))
    return gram if _is_resolved(gram, row) else _gram_about(source, _middle)


def _is_resolved(gram: NDArray[np.float64], centre: int) -> bool:
    """Whether the table about this row holds every digit that matters of the majority."""
    gram = gram[:-1, :-1]
    # What is left of a difference of large numbers is noise; here it counts as that much.
    diagonal = np.diagonal(gram)
    squared = squared_distances(gram)
    for rows in strips(len(gram)):
        noise = 1e-13 * (diagonal[rows, None] + diagonal[None, :])
        np.maximum(squared[rows], noise, out=squared[rows])
    np.fill_diagonal(squared, 0.0)
    reach = majority_reach(squared)
    return bool(reach[centre] <= _GOOD_ENOUGH**2 * reach.min())


def _gram_about(source: Matrix, centre: Callable[[Array], Array]) -> NDArray[np.float64]:
    def products(start: int, stop: int, block: Array) -> NDArray[np.float64]:  # noqa: ARG001
        with np.errstate(over="ignore", invalid="ignore"):
            return source.to_numpy(_products(source, block, centre(block)))

    whole_runs = source.n >= TALL or source.reproducible
    total = np.zeros((source.n + 1, source.n + 1))
    for found in source.blocks(products, None, RUN if whole_runs else 1):
        total += found
    return symmetric(total)


def _middle(block: Array) -> Array:
    """The lower median of every column, shape (1, width)."""
    return lower_median(block)[None, :]


def _products(source: Matrix, block: Array, centre: Array) -> Array:
    if source.reproducible:
        return exact_products(about(block, centre))
    return inner_products(block, centre)


def inner_products(block: Any, centre: Any) -> Any:
    """``<p_i - c, p_j - c>`` of the n rows and the origin, the last point.

    Parameters
    ----------
    block : (n, width) array
    centre : (1, width) array

    Returns
    -------
    (n + 1, n + 1) float64 array
    """
    kernels = None if len(block) >= TALL else kernels_for(block, double=True)
    if kernels is not None:
        count = len(block) + 1
        table = np.empty((kernels.padded(count), kernels.padded(count)))
        line, step = flat_rows(block)
        middle = np.array(centre[0])  # a view of the rows can't be written to: of another type
        kernels.inner_products(line, step, len(block), middle, table)
        lower = np.tril(table[:count, :count])
        return lower + np.tril(lower, -1).T
    points = about(block, centre)
    return points @ points.T


def about(block: Any, centre: Any) -> Any:
    """The rows and the origin, seen from the centre, in float64."""
    xp = array_namespace(block)
    centre = xp.astype(centre, xp.float64)
    if not is_numpy_array(block):
        return xp.concat([xp.astype(block, xp.float64) - centre, -centre], axis=0)
    points = np.empty((len(block) + 1, block.shape[1]))
    points[:-1] = block
    points[:-1] -= centre
    np.negative(centre, out=points[-1:])
    return points
