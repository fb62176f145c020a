"""The layout of a model: what an array's bytes must be, and how a row is cut."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from clients.bad_replies.npy_bytes import npy
from flwr_resam.wire.layout import Entry, Layout, fitting
from tests.support import record

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def entry(value=W):
    return Layout.of(record(w=value)).entries[0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (Array(W).data[:-1], "`w` holds 23 bytes, not 24"),
        (Array(W).data + b"\0", "`w` holds 25 bytes, not 24"),
        (Array(W.T.copy()).data, r"`w` is <f4 \(3, 2\) instead of <f4 \(2, 3\)"),
        (Array(W.astype(">f4")).data, r"`w` is >f4 \(2, 3\) instead of <f4 \(2, 3\)"),
        (Array(W.reshape((1,) * 6 + (2, 3))).data, r"`w` is <f4 \(1, 1, 1, 1, 1, 1, 2, 3\) instead"),
        (Array(W.reshape((1,) * 7 + (2, 3))).data, "`w` is <f4 of 9 dimensions instead"),
        (b"x", "`w` is no npy file"),
    ],
)
def test_bytes_of_another_array_are_named(data, reason):
    for look in (entry().locate, entry().view):
        with pytest.raises(ValueError, match=reason):
            look(data)


def test_a_view_is_in_c_order_and_shares_the_bytes_where_it_can():
    data = Array(W).data
    found = entry().view(data)
    np.testing.assert_array_equal(found, W.ravel())
    assert np.shares_memory(found, np.frombuffer(data, np.uint8))
    numpys = Array(np.asfortranarray(W)).data
    assert entry().locate(numpys) == (len(numpys) - 24, True)
    np.testing.assert_array_equal(entry().view(numpys), W.ravel())
    turned = npy(b"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", W.tobytes("F"))
    assert entry().locate(turned) == (len(turned) - 24, True)
    np.testing.assert_array_equal(entry().view(turned), W.ravel())
    empty = np.zeros((0, 4))
    assert Layout.of(record(w=W, e=empty)).entries[1].view(Array(empty).data).size == 0


def test_a_row_holds_what_can_be_learnt_and_a_record_is_cut_from_it():
    model = record(n=np.array(7), a=np.float64(1.5), mask=np.array([True]), b=W)
    layout = Layout.of(model)
    assert [each.offset for each in layout.entries] == [None, 0, None, 1]
    assert (layout.size, layout.learnt, layout.dtype) == (7, 7, np.float64)
    np.testing.assert_array_equal(layout.flat(model), [1.5, *W.ravel()])
    cut = layout.record(np.arange(7.0), model)
    assert cut["a"].numpy() == 0.0
    np.testing.assert_array_equal(cut["b"].numpy(), [[1, 2, 3], [4, 5, 6]])
    assert cut["n"] == model["n"]
    # Of checkpoints, which are read again.
    assert layout.fingerprint == "4 arrays, 7 parameters, 536005d1a520"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n": np.array(3), "e": np.zeros((0, 2))}, "none floating-point with elements"),
        ({"w": np.array([1 + 2j])}, "hold real or integer arrays"),
        ({"w": np.array(["a"])}, "hold NumPy arrays|hold real or integer arrays"),
    ],
)
def test_a_model_that_can_not_be_learnt_is_refused(values, reason):
    with pytest.raises(ValueError, match=reason):
        Layout.of(record(**values))


def test_a_model_that_is_not_numpys_is_refused():
    with pytest.raises(ValueError, match="hold NumPy arrays as Flower's"):
        Layout.of(ArrayRecord({"w": Array("float32", (1,), "numpy.ndarray", b"\x80\x04N.")}))


@pytest.mark.parametrize("bad", [np.nan, 1.1e140])
def test_a_model_that_is_not_finite_is_refused(bad):
    model = record(w=np.array([0.0, bad]))
    with pytest.raises(ValueError, match=r"a NaN or an infinity in `w`|a number beyond 1e140 in `w`"):
        Layout.of(model).check_finite(model)
    Layout.of(model).check_finite(record(w=np.zeros(2)))


def test_what_does_not_fit_is_the_largest_that_does():
    found = fitting(np.array([1e300, -1e300, 0.5]), np.dtype(np.float32))
    limit = np.finfo(np.float32).max
    np.testing.assert_array_equal(found, np.array([limit, -limit, 0.5], np.float32))
    assert found.dtype == np.float32
    assert fitting(found, np.dtype(np.float64)).dtype == np.float64
    assert fitting(found, found.dtype) is found


@pytest.mark.parametrize(
    ("values", "learnt"),
    [
        ([np.inf, 1.0], False), ([-np.inf, 1.0], False), ([-np.inf, np.inf], False),
        ([np.nan, 1.0], True), ([-np.inf, np.nan], True), ([-5.0, -1.0], True), ([5.0, 1.0], True),
    ],
)
def test_an_infinity_makes_a_constant_and_a_broken_array_none(values, learnt):
    layout = Layout.of(record(w=np.ones(2), v=np.array(values)))
    assert (layout.constants == []) == learnt


def test_an_array_is_learnt_unless_it_is_said_to_be_a_buffer():
    entries = Entry("w", (2,), np.dtype("<f4"), 0), Entry("v", (3,), np.dtype("<f4"), 2, buffer=True)
    layout = Layout(entries)
    assert (layout.learnt, layout.size) == (2, 5)
