"""What rules take for many rows: no rule's memory grows faster than the table of distances."""

import tracemalloc

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from flwr_resam.aggregators import AGGREGATORS, Mean
from flwr_resam.preaggregators import PREAGGREGATORS
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Round
from tests.rules import make

D = 1000
LISTED = {"smea"}  # lists subsets, and refuses so many rows
MOST = 12.0
"""Of the rows' bytes at 800 x 1000 in float32: a table is 1.6, and a block is all of the rows."""


def rows_of(n):
    rows = np.random.default_rng(n).standard_normal((n, D)).astype(np.float32)
    rows[: n // 5] += np.float32(0.5)
    return rows


def peak_of(action):
    """The most bytes that Python and NumPy allocate while this runs."""
    tracemalloc.start()
    try:
        with threadpool_limits(1, user_api="blas"):  # a decomposition's threads wait for cores
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak(name, n):
    """What a round takes, the second for rules that remember one, in times the rows' bytes."""
    rule, rows, f = make(name), rows_of(n), n // 5
    rule = rule | Mean() if name in PREAGGREGATORS else rule
    state, at = rule.start(), Round(2, model=lambda: np.zeros(D, np.float32))
    if state is not None:
        state = rule.step(rows, f=f, state=state, at=at).state
    return peak_of(lambda: rule.step(rows, f=f, state=state, at=at)) / rows.nbytes


def table(n):
    """The same for the table of distances alone."""
    rows = rows_of(n)
    return peak_of(lambda: Updates(rows).geometry().gram) / rows.nbytes


@pytest.fixture(scope="module")
def tables():
    return {n: table(n) for n in (400, 800)}


@pytest.mark.parametrize("name", sorted({*AGGREGATORS, *PREAGGREGATORS} - LISTED))
def test_no_rule_takes_more_than_a_few_tables(name, tables):
    few, many = peak(name, 400), peak(name, 800)
    assert many <= max(MOST, tables[800] + 4.0)
    # Times the rows: 1 for what is read once, 2 for a table; a cube would be 4.
    assert many <= max(2.5 * few, MOST / 4.0)


def test_a_rule_that_explodes_is_seen():
    rows = rows_of(200)[:, :50]
    cube = peak_of(lambda: np.subtract(rows[:, None, :], rows[None, :, :])) / rows.nbytes
    assert cube > MOST
