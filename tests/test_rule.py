"""What a user's own rule gives is looked at, and what it is given it can't spoil."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from flwr_resam.aggregators import Krum, Mean, Median
from flwr_resam.rows.updates import Updates
from flwr_resam.rule import Aggregate, Aggregator, CoordinateRule, PreAggregator, WeightRule
from tests.rules import draw

ROWS = draw(7, 5)
WIDE = draw(7, 70_000, dtype=np.float32)  # what compiled loops take


@dataclass(frozen=True)
class Weighing(WeightRule):
    given: Any
    name: ClassVar[str] = "weighing"

    def weights(self, geometry, f):
        return self.given


@dataclass(frozen=True)
class Mixing(PreAggregator):
    given: Any
    leave: int = 7
    name: ClassVar[str] = "mixing"

    def mixing(self, geometry, f, at):
        return self.given

    def rows_out(self, n, f):
        return self.leave


@dataclass(frozen=True)
class Columns(CoordinateRule):
    function: Any
    name: ClassVar[str] = "columns"

    def columns(self, block, f):
        return self.function(block)


@dataclass(frozen=True)
class Step(Aggregator):
    function: Any
    name: ClassVar[str] = "step"

    def _step(self, updates, f, state, at):
        return self.function(updates)


@pytest.mark.parametrize("rows", [ROWS, WIDE])
@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (np.full(8, 0.125), r"float64 of shape \(8,\)"),
        (np.full(6, 1 / 6), r"float64 of shape \(6,\)"),
        (np.full((7, 1), 1 / 7), r"float64 of shape \(7, 1\)"),
        (np.full(7, 1j), r"complex128 of shape \(7,\)"),
        ([[0.5], [0.5, 0.5]], "list"),
        (None, "NoneType"),
    ],
)
def test_weights_are_one_number_a_row(rows, weights, found):
    with pytest.raises(TypeError, match=rf"`weights` .* shape \(7,\) in (?s:`weighing.*) Found {found}"):
        Weighing(weights)(rows, f=1)
    with pytest.raises(TypeError, match=rf"`weights` must .* shape \(7,\)\. Found {found}"):
        Updates(rows).combine(weights)


@pytest.mark.parametrize("rows", [ROWS, WIDE])
@pytest.mark.parametrize("last", [Median(), Krum(), Mean()])
@pytest.mark.parametrize(
    "matrix", [np.full((7, 8), 0.125), np.eye(7)[:, :6], np.eye(6, 7), np.eye(7) * 1j, None]
)
def test_a_mixing_is_as_wide_as_there_are_rows_and_as_high_as_it_says(rows, last, matrix):
    expected = r"`mixing` must be real numbers of shape \(7, 7\) in `mixing"
    with pytest.raises(TypeError, match=expected):
        (Mixing(matrix) | last)(rows, f=1)
    with pytest.raises(TypeError, match=expected):
        Mixing(matrix)(rows, f=1)


@pytest.mark.parametrize("width", [6, 8])
def test_rows_are_mixed_by_a_matrix_of_their_number(width):
    with pytest.raises(TypeError, match=r"`mixing` must be real numbers of shape \(7, 7\)\."):
        Updates(ROWS).mix(np.ones((7, width)))


def test_lists_are_numbers_too():
    halves = [0.5, 0.5, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(Weighing(halves)(ROWS, f=1), ROWS[:2].mean(axis=0))
    mixed = Mixing([halves, halves[::-1]], leave=2)
    np.testing.assert_allclose((mixed | Mean())(ROWS, f=0), ROWS[[0, 1, 5, 6]].mean(axis=0))
    done = Step(lambda rows: Aggregate(rows.combine(halves), halves)).step(ROWS, f=1)
    np.testing.assert_array_equal(done.weights, halves)


@pytest.mark.parametrize("rows", [ROWS, ROWS.astype(np.float32), torch.tensor(ROWS)])
@pytest.mark.parametrize(
    "function",
    [
        lambda block: block.mean(),
        lambda block: block[0, :1],
        lambda block: block[:1],
        lambda block: block[0] * (1 + 1j),
        lambda block: block[0] > 0,
        lambda block: None,
        lambda block: block[0].tolist(),
        lambda block: np.ones(5) if isinstance(block, torch.Tensor) else torch.ones(5),
    ],
)
def test_a_coordinate_rule_gives_each_column_a_real_number(rows, function):
    with pytest.raises(TypeError, match=r"`columns` must return real numbers of shape \(5,\) in `"):
        Columns(function)(rows, f=1)


def test_a_need_is_that_of_the_admits_beside_it():
    @dataclass(frozen=True)
    class Many(Median):
        name: ClassVar[str] = "many"

        def admits(self, n, f):
            return n >= 4 * f + 3

    @dataclass(frozen=True)
    class Same(Many):
        name: ClassVar[str] = "same"

    for rule in (Many(), Same()):
        with pytest.raises(ValueError, match=rf"`f` must satisfy its `admits\(n, f\)` for `{rule}`"):
            rule(np.ones((6, 2)), f=1)
    assert Median().need == "n > 2f"


def test_whole_numbers_are_real_numbers():
    votes = Columns(lambda block: (block > 0).sum(axis=0))(ROWS, f=1)
    np.testing.assert_array_equal(votes, (ROWS > 0).sum(axis=0))
    assert votes.dtype == np.float64


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda rows: np.zeros(rows.d), "`_step` must return an Aggregate in `step.* Found ndarray"),
        (lambda rows: (np.zeros(rows.d), None), "`_step` must return an Aggregate .* Found tuple"),
        (lambda rows: Aggregate(np.zeros(1)), r"`vector` must be an array of shape \(5,\) in `step"),
        (lambda rows: Aggregate(np.zeros((1, rows.d))), r"Found float64 of shape \(1, 5\)"),
        (lambda rows: Aggregate(None), "Found NoneType"),
        (
            lambda rows: Aggregate(np.zeros(rows.d), np.ones(3)),
            r"`weights` must be real numbers of shape \(7,\) in `step.* Found float64 of shape \(3,\)",
        ),
    ],
)
def test_an_aggregate_fits_the_rows(function, message):
    for rule in (Step(function), Mixing(np.eye(7)) | Step(function)):
        with pytest.raises(TypeError, match=message):
            rule.step(ROWS, f=1)


@pytest.mark.parametrize("table", ["gram", "rows", "squared_distances", "squared_norms"])
@pytest.mark.parametrize("mixed", [False, True])
def test_what_a_stage_measures_is_what_the_next_one_measures(table, mixed):
    updates = Updates(ROWS).mix(np.eye(7)) if mixed else Updates(ROWS)
    with pytest.raises(ValueError, match="read-only"):
        getattr(updates.geometry(), table)[...] = 1.0
    np.testing.assert_array_equal(Krum()(updates, f=2), Krum()(ROWS, f=2))


@pytest.mark.parametrize("read", [Columns(lambda block: block.sort(axis=0)), Step(
    lambda updates: updates.visit(lambda start, stop, block: block.fill(0.0))
)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_block_of_the_callers_rows_is_not_written_to(read, dtype):
    rows = ROWS.astype(dtype)
    kept = rows.copy()
    with pytest.raises(ValueError, match="read-only"):
        read(rows, f=1)
    np.testing.assert_array_equal(rows, kept)
    assert rows.flags.writeable
