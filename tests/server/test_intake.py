"""The gate: whatever a reply holds, it gives a finite row of the layout or a reason, cheaply."""

import io
import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, Error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clients.bad_replies.npy_bytes import npy
from clients.bad_replies.reply import forced
from flwr_resam.rows.source import Segments
from flwr_resam.server.gate import Rejection, read_reply
from flwr_resam.wire.layout import Layout
from tests.support import content, record

MODEL = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros(2),
    "n": np.array(3),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(1.5, np.float32),
}
LAYOUT = Layout.of(record(**MODEL))
SENT = LAYOUT.views(record(**MODEL))


def read(reply):
    return read_reply(reply, 7, LAYOUT, SENT)


def row_of(reply):
    row = read(reply)
    assert isinstance(row, Segments), row
    out = np.empty(row.size)
    row.read(0, row.size, out)
    return out


def with_data(name, data, key="momentum", dtype="float32", shape=(2, 3)):
    """An otherwise good reply whose array holds this, whatever it is."""
    reply = content(record(**MODEL), key=key)
    array = Array(dtype, shape, "numpy.ndarray", b"")
    array.__dict__["data"] = data
    forced(reply.array_records[key], name, array)
    return reply


# ------------------------------------------------------------------ what is let through


def test_a_good_reply_is_read_without_a_copy():
    reply = content(record(**MODEL), key="momentum")
    expected = np.concatenate([MODEL["w"].ravel(), MODEL["b"], [MODEL["scalar"]]])
    np.testing.assert_array_equal(row_of(reply), expected)
    np.testing.assert_array_equal(row_of(content(record(**MODEL))), 0.0)  # sent minus local


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr':'<f4','fortran_order':False,'shape':(2,3)}",
        b'{"shape": (2, 3,), "fortran_order": False, "descr": "<f4"}   \n',
        b"{ 'descr' : '<f4', 'fortran_order': False, 'shape': (2L, 3L), }" + b" " * 70 + b"\n",
    ],
)
@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00"])
def test_other_writers_headers_mean_the_same(header, version):
    data = npy(header, MODEL["w"].tobytes(), version)
    np.testing.assert_array_equal(row_of(with_data("w", data))[:6], MODEL["w"].ravel())


def test_fortran_order_is_read_as_what_it_means():
    data = io.BytesIO()
    np.save(data, np.asfortranarray(MODEL["w"]))
    np.testing.assert_array_equal(row_of(with_data("w", data.getvalue()))[:6], MODEL["w"].ravel())


def test_what_an_array_claims_of_itself_is_not_read():
    data = Array(MODEL["w"]).data
    reply = with_data("w", data, dtype="string", shape=(1 << 40, -1))
    np.testing.assert_array_equal(row_of(reply)[:6], MODEL["w"].ravel())


# ------------------------------------------------------------------ what is not
# (each bad reply that has a name: tests/server/test_bad_replies.py)


def test_an_update_that_overflows_is_as_bad_as_an_infinity():
    model = {"w": np.full(2, 3e38, np.float32)}
    layout = Layout.of(record(**model))
    sent = layout.views(record(**model))
    opposite = content(record(w=np.full(2, -3e38, np.float32)))
    assert "infinity in the update of `w`" in read_reply(opposite, 1, layout, sent).reason


@pytest.mark.parametrize(
    ("model", "reply", "key", "reason"),
    [
        (0.0, 1e140, "momentum", None),
        (0.0, -1.01e140, "momentum", "a number beyond 1e140 in `w`"),
        (0.0, 1.7e308, "momentum", "a number beyond 1e140 in `w`"),
        (0.0, np.nan, "momentum", "a NaN or an infinity in `w`"),
        (0.0, 1e140, "arrays", None),
        (0.0, 1e200, "arrays", "a number beyond 1e140 in `w`"),
        (1e140, 1e140, "arrays", None),
        (1e140, -1.0, "arrays", None),
        (1e140, -1e69, "arrays", None),
        (1e140, -1e125, "arrays", "a number beyond 1e140 in the update of `w`"),
        (-1e140, 1e140, "arrays", "a number beyond 1e140 in the update of `w`"),
    ],
)
def test_float64_beyond_the_range_is_proof_of_a_fault(model, reply, key, reason):
    sent = {"w": np.full(300_000, model)}
    layout = Layout.of(record(**sent))
    values = np.full(300_000, model)
    values[299_999] = reply
    found = read_reply(content(record(w=values), key=key), 1, layout, layout.views(record(**sent)))
    if reason is None:
        row = np.empty(layout.size)
        found.read(0, layout.size, row)
        assert np.abs(row).max() <= 1e140
    else:
        assert found == Rejection(1, reason, proven=True)


def test_an_exception_in_a_client_app_proves_nothing():
    rejection = read(Error(2, "out of memory\n" * 1000))
    assert not rejection.proven
    assert rejection.reason.startswith("error reply: out of memory")


# ------------------------------------------------------------------ what it costs


def test_a_rejected_reply_costs_microseconds_and_no_memory():
    d = 2_000_000
    layout = Layout.of(record(w=np.zeros(d, np.float32)))
    sent = layout.views(record(w=np.zeros(d, np.float32)))
    wrong = content(record(w=np.zeros((d // 2, 2), np.float32)), key="momentum")
    named = content(record(v=np.zeros(d, np.float32)), key="momentum")
    for reply in (wrong, named):
        assert isinstance(read_reply(reply, 1, layout, sent), Rejection)
        best = float("inf")
        for _ in range(20):
            start = time.perf_counter()
            read_reply(reply, 1, layout, sent)
            best = min(best, time.perf_counter() - start)
        assert best < 200e-6
    good = content(record(w=np.ones(d, np.float32)))
    tracemalloc.start()
    read_reply(wrong, 1, layout, sent)
    rejected = tracemalloc.get_traced_memory()[1]
    row = read_reply(good, 1, layout, sent)
    accepted = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(row, Segments)
    assert rejected < 100_000
    assert accepted < 4 * d / 2  # blocks of it, never the row


# ------------------------------------------------------------------ anything at all

W = MODEL["w"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=300),
    st.sampled_from([np.nan, W, Array(W).data, Array(W * np.nan).data, Array(W.astype(float)).data]),
)


@st.composite
def mutated(draw):
    """A good reply, with bytes changed, and maybe records and arrays replaced."""
    name = draw(st.sampled_from(sorted(MODEL)))
    data = bytearray(Array(MODEL[name]).data)
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(data)))
        if draw(st.booleans()):
            data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
        elif place < len(data):
            data[place] = draw(st.integers(0, 255))
    reply = with_data(name, bytes(data), key=draw(st.sampled_from(["momentum", "arrays"])))
    target = draw(st.sampled_from([None, "record", "array", "data"]))
    if target == "record":
        forced(reply, draw(st.text()), draw(VALUES))
    elif target == "array":
        arrays = next(iter(reply.array_records.values()))
        forced(arrays, draw(st.sampled_from([name, "more"])), draw(VALUES))
    elif target == "data":
        return with_data(name, draw(VALUES))
    return reply


@given(mutated())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mutated_reply_gives_a_finite_row_or_a_reason(reply):
    row = read(reply)
    if isinstance(row, Segments):
        out = np.empty(LAYOUT.size)
        row.read(0, LAYOUT.size, out)
        assert row.size == LAYOUT.size
        assert np.isfinite(out).all()
    else:
        assert isinstance(row, Rejection)
        assert row.reason
