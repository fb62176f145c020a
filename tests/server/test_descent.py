"""The step of the model, written straight into the bytes of the next record."""

import tracemalloc

import numpy as np
import pytest
from flwr.app import Array

from flwr_resam.server.descent import descend, size_of, sunk
from flwr_resam.wire.layout import Layout
from tests.support import record


def model(dtype=np.float32, d=200_000):
    generator = np.random.default_rng(0)
    return record(
        w=generator.normal(size=(2, d // 2)).astype(dtype), steps=np.array(7),
        b=np.array(0.5, dtype), none=np.empty((0, 3), dtype),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.dtype(">f4")])
def test_the_next_model_is_what_numpy_would_save(dtype):
    theta = model(dtype)
    layout = Layout.of(theta)
    direction = np.random.default_rng(1).normal(size=layout.size).astype(np.float32)
    moved = (1.0 - 0.5 * 0.1) * layout.flat(theta).astype(np.float64) - 0.5 * direction
    found = descend(layout, theta, direction, 0.5, 0.1)
    assert list(found) == list(theta)
    for entry in layout.parameters:
        expected = moved[entry.offset : entry.offset + entry.size].astype(dtype)
        saved = Array(expected.reshape(entry.shape))
        assert found[entry.name].data == saved.data
        assert (found[entry.name].dtype, found[entry.name].shape) == (saved.dtype, saved.shape)
    assert found["steps"].data == theta["steps"].data


def test_what_is_too_large_for_the_dtype_stops_at_its_end():
    theta = record(w=np.array([60000.0, -60000.0], np.float16))
    found = descend(Layout.of(theta), theta, np.array([-1e30, 1e30], np.float32), 1.0, 0.0)
    np.testing.assert_array_equal(found["w"].numpy(), [65504.0, -65504.0])


def test_a_float64_model_stops_at_the_end_of_the_range_of_rows():
    theta = record(w=np.array([9e139, -9e139, 1.0]), b=np.array([2.0], np.float32))
    found = descend(Layout.of(theta), theta, np.array([-1e140, 1e140, 0.5, 1e140]), 1.0, 0.0)
    np.testing.assert_array_equal(found["w"].numpy(), [1e140, -1e140, 0.5])
    assert found["b"].numpy() == -np.finfo(np.float32).max
    Layout.of(found).check_finite(found)


def test_it_takes_the_memory_of_the_new_model_and_little_more():
    theta = model(d=4_000_000)
    layout = Layout.of(theta)
    direction = np.ones(layout.size, np.float32)
    descend(layout, theta, direction, 1.0, 0.0)
    tracemalloc.start()
    try:
        descend(layout, theta, direction, 1.0, 0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.25 * 4 * layout.size


def test_the_size_of_a_vector():
    vector = np.random.default_rng(2).normal(size=1_000_000).astype(np.float32)
    assert size_of(vector) == pytest.approx(np.linalg.norm(vector.astype(float)), rel=1e-12)
    assert size_of(np.array([6e139, -8e139])) == pytest.approx(1e140)
    assert np.isnan(size_of(np.array([1e200, 1.0])))
    assert size_of(np.zeros(0)) == 0.0
    assert np.isnan(size_of(np.array([1.0, np.nan])))
    assert np.isnan(size_of(np.array([-np.inf, 1.0])))


@pytest.mark.parametrize(("value", "found"), [(1.1e140, "beyond 1e140"), (np.nan, "a NaN or an infinity")])
def test_a_model_out_of_range_is_refused_before_work_starts(value, found):
    start = record(w=np.array([1.0, value]))
    with pytest.raises(ValueError, match=f"`initial_arrays` must be finite.*{found} in `w`"):
        Layout.of(start).check_finite(start)


def test_weight_decay_spares_what_nobody_moves_and_buffers():
    theta = record(
        w=np.array([4.0, 2.0]), frozen=np.array([4.0, 2.0]), **{"bn.running_var": np.array([4.0, 2.0])}
    )
    layout = Layout.of(theta)
    direction = layout.flat(record(
        w=np.array([0.0, 1.0]), frozen=np.zeros(2), **{"bn.running_var": np.array([1.0, 0.0])}
    ))
    found = descend(layout, theta, direction, 0.5, 0.5)
    np.testing.assert_array_equal(found["w"].numpy(), [3.0, 1.0])
    np.testing.assert_array_equal(found["frozen"].numpy(), [4.0, 2.0])
    np.testing.assert_array_equal(found["bn.running_var"].numpy(), [3.0, 2.0])  # straight to it


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("v", [1.0, 2.0], [1.0, -0.1], True),
        ("v", [1.0, 2.0], [1.0, 0.0], False),
        ("v", [1.0, 2.0], [1.0, 0.1], False),
        ("v", [1.0, 0.0], [1.0, -0.1], False),  # was no variance before
        ("v", [1.0, -1.0], [1.0, -0.1], False),
        ("v", [1.0], [-0.1], False),  # a scale is one number, a variance one for each channel
        ("v", [[1.0, 2.0]], [[1.0, -0.1]], False),
        ("bn.running_var", [1.0, 2.0], [1.0, -0.1], False),  # takes no momentum
    ],
)
def test_what_sank_below_zero_is_a_vector_that_was_positive(name, before, after, told):
    one, other = (record(**{name: np.array(v), "w": np.ones(3)}) for v in (before, after))
    assert sunk(Layout.of(one), one, other) == [name] * told


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 200_000])
def test_every_coordinate_moves_whatever_part_it_is_in(size):
    theta = record(w=np.arange(size, dtype=np.float64))
    found = descend(Layout.of(theta), theta, np.full(size, 2.0), 0.5, 0.0)
    np.testing.assert_array_equal(found["w"].numpy(), np.arange(size) - 1.0)
    assert size_of(np.ones(size, np.float32)) == np.sqrt(size)
