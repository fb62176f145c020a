"""The gate: whatever a reply holds, it gives a finite row of the layout or a reason, cheaply."""

import io
import time
import tracemalloc

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flwr_resam.rows.source import Segments
from flwr_resam.server.gate import Rejection, read_reply
from flwr_resam.wire.layout import Layout
from flwr_resam.wire.npy import read_header, write_header
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
    _forced(reply.array_records[key], name, array)
    return reply


def npy(array, **changes):
    """An npy file with parts of its header replaced."""
    array = np.asarray(array)
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **changes}
    return raw_npy(str(header).encode(), array.tobytes())


def raw_npy(header, payload, version=b"\x01\x00", size=None):
    length = (len(header) if size is None else size).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + header + payload


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
    data = raw_npy(header, MODEL["w"].tobytes(), version)
    np.testing.assert_array_equal(row_of(with_data("w", data))[:6], MODEL["w"].ravel())


def test_fortran_order_is_read_as_what_it_means():
    data = io.BytesIO()
    np.save(data, np.asfortranarray(MODEL["w"]))
    np.testing.assert_array_equal(row_of(with_data("w", data.getvalue()))[:6], MODEL["w"].ravel())


def test_what_an_array_claims_of_itself_is_not_read():
    data = Array(MODEL["w"]).data
    reply = with_data("w", data, dtype="string", shape=(1 << 40, -1))
    np.testing.assert_array_equal(row_of(reply)[:6], MODEL["w"].ravel())


@given(st.integers(0, 4), st.lists(st.integers(0, 5), max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_header_grammar_agrees_with_numpy(kind, shape, fortran):
    dtype = np.dtype(["<f4", ">f8", "|b1", "<i8", "<f2"][kind])
    array = np.zeros(shape, dtype, order="F" if fortran else "C")
    data = io.BytesIO()
    np.save(data, array)
    header = read_header(data.getvalue())
    assert (header.descr, header.shape) == (dtype.str, array.shape)
    assert len(data.getvalue()) - header.start == array.nbytes


# ------------------------------------------------------------------ what is not

W = MODEL["w"]
DATA = {
    "no bytes": None,
    "text": "x" * 152,
    "bytearray": bytearray(Array(W).data),
    "memoryview": memoryview(Array(W).data),
    "an array": W,
    "subclass of bytes": type("Bytes", (bytes,), {"startswith": lambda *a: 1 / 0})(Array(W).data),
    "nothing": b"",
    "magic only": b"\x93NUMPY",
    "magic and version": b"\x93NUMPY\x01\x00",
    "truncated header": Array(W).data[:40],
    "truncated payload": Array(W).data[:-1],
    "more payload": Array(W).data + b"\0",
    "version 9": raw_npy(b"{}", b"", b"\x09\x00"),
    "header of 4 GB": raw_npy(b"{}", b"", b"\x02\x00", size=(1 << 32) - 1),
    "header past the end": raw_npy(b"{}", b"", size=60000),
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x04N.",
    "empty dictionary": raw_npy(b"{}", W.tobytes()),
    "a key twice": raw_npy(b"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False}", b""),
    "a key missing": raw_npy(b"{'descr': '<f4', 'shape': (2, 3), }", W.tobytes()),
    "a key more": raw_npy(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1, }", W.tobytes()
    ),
    "code in the header": raw_npy(b"{'descr': __import__('os'), }", W.tobytes()),
    "deep brackets": raw_npy(b"{'shape': " + b"(" * 4000 + b"}", b""),
    "wrong kinds": raw_npy(b"{'descr': (2,), 'fortran_order': '<f4', 'shape': True}", b""),
    "shape is no tuple": raw_npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (6)}", b""),
    "huge shape": npy(W, shape=(1 << 40, 1 << 40)),
    "negative shape": npy(W, shape=(-1, 3)),
    "transposed": npy(W, shape=(3, 2)),
    "flat": npy(W, shape=(6,)),
    "0-d": npy(np.float32(1.0)),
    "zero-size": npy(np.zeros((0, 3), np.float32)),
    "float64": npy(W.astype(np.float64)),
    "float16": npy(W.astype(np.float16)),
    "big-endian": npy(W.astype(">f4")),
    "integers": npy(W.astype(np.int32)),
    "complex": npy(W.astype(np.complex64)),
    "text dtype": npy(np.full((2, 3), "abc")),
    "dates": npy(np.zeros((2, 3), "<M8[s]")),
    "structured": raw_npy(
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3), }", W.tobytes()
    ),
    "objects": npy(W, descr="|O"),
    "NaN": npy(np.full((2, 3), np.nan, np.float32)),
    "one infinity": npy(np.array([[0, 0, 0], [0, 0, -np.inf]], np.float32)),
}


@pytest.mark.parametrize("kind", sorted(DATA))
@pytest.mark.parametrize("key", ["momentum", "arrays"])
def test_bad_bytes_are_rejected_as_proof_of_a_fault(kind, key):
    rejection = read(with_data("w", DATA[kind], key=key))
    assert isinstance(rejection, Rejection)
    assert rejection.proven
    assert rejection.node == 7
    assert len(rejection.reason) <= 200


def test_an_update_that_overflows_is_as_bad_as_an_infinity():
    model = {"w": np.full(2, 3e38, np.float32)}
    layout = Layout.of(record(**model))
    sent = layout.views(record(**model))
    opposite = content(record(w=np.full(2, -3e38, np.float32)))
    assert "infinity in the update of `w`" in read_reply(opposite, 1, layout, sent).reason


class Hostile:
    """Raises whatever is done with it, and is not an Exception's business."""

    def __getattribute__(self, name):
        raise SystemExit(name)

    def _raise(self, *arguments):
        raise SystemExit("called")

    __hash__ = __eq__ = __iter__ = __len__ = __str__ = __repr__ = __bool__ = _raise
    __getitem__ = __contains__ = __call__ = __index__ = __float__ = __format__ = _raise


class HostileText(str):
    """Text that can be put into a dict while it is not armed."""

    __slots__ = ()
    armed = False
    __eq__ = __str__ = __format__ = split = strip = Hostile._raise

    def __hash__(self):
        if HostileText.armed:
            raise SystemExit("hash")
        return str.__hash__("w")


class HostileRecord(ArrayRecord):
    items = keys = values = __iter__ = __len__ = __getitem__ = Hostile._raise

    @property
    def __dict__(self):
        raise SystemExit("dict")


def _forced(record, key, value):
    record.__dict__["_data"][key] = value
    return record


def _bare(cls, **attributes):
    made = object.__new__(cls)
    if attributes:
        made.__dict__.update(attributes)
    return made


OBJECTS = {
    "none": lambda: None,
    "a number": lambda: 3,
    "hostile content": Hostile,
    "no record": RecordDict,
    "an array record and no more": lambda: record(**MODEL),
    "hostile record": lambda: _forced(RecordDict(), "a", Hostile()),
    "subclass of a record": lambda: _forced(RecordDict(), "a", _bare(HostileRecord)),
    "hostile key": lambda: _forced(RecordDict(), HostileText("a"), record(**MODEL)),
    "unset record": lambda: _bare(RecordDict),
    "hostile items": lambda: _bare(RecordDict, _data=Hostile()),
    "hostile array": lambda: content(_forced(record(**MODEL), "w", Hostile())),
    "hostile array name": lambda: content(_forced(record(n=1), HostileText("x"), Array(W))),
    "hostile bytes": lambda: with_data("w", Hostile()),
    "unset array": lambda: content(_forced(record(**MODEL), "w", _bare(Array))),
    "shadowed methods": lambda: content(_bare(ArrayRecord, items=Hostile(), _data=Hostile())),
    "hostile reason": lambda: _bare(Error, _code=Hostile(), _reason=Hostile()),
    "no reason": lambda: _bare(Error),
    "two array records": lambda: RecordDict({"a": record(**MODEL), "b": record(**MODEL)}),
    "only metrics": lambda: RecordDict({"m": MetricRecord({"w": 1.0})}),
    "only config": lambda: RecordDict({"c": ConfigRecord({"w": b"x"})}),
    "other names": lambda: content(record(**{f"{name}.x": v for name, v in MODEL.items()})),
    "one name less": lambda: content(record(**{k: v for k, v in MODEL.items() if k != "b"})),
    "one name more": lambda: content(record(**MODEL, more=W)),
    "huge name": lambda: content(record(**{**MODEL, "x" * 1_000_000: W})),
    "an integer array of another shape": lambda: content(record(**{**MODEL, "n": np.zeros(4)})),
}


@pytest.mark.parametrize("kind", sorted(OBJECTS))
def test_nothing_that_a_sender_made_is_run(kind, monkeypatch):
    reply = OBJECTS[kind]()
    monkeypatch.setattr(HostileText, "armed", True)
    rejection = read(reply)
    assert isinstance(rejection, Rejection)
    assert len(rejection.reason) <= 200
    assert rejection.reason.isprintable()


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

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=300),
    st.sampled_from([np.nan, W, DATA["NaN"], DATA["float64"], Array(W).data]),
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
        _forced(reply, draw(st.text()), draw(VALUES))
    elif target == "array":
        arrays = next(iter(reply.array_records.values()))
        _forced(arrays, draw(st.sampled_from([name, "more"])), draw(VALUES))
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


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_header_or_a_value_error(tail):
    for data in (tail, b"\x93NUMPY\x01\x00" + tail, raw_npy(b"{" + tail + b"}", b"")):
        try:
            header = read_header(data)
        except ValueError:
            continue
        assert header.start <= len(data)


def test_the_written_header_is_read_back():
    for fortran in (False, True):
        header = read_header(write_header(np.dtype("<f4"), (2, 3), fortran))
        assert header[:3] == ("<f4", fortran, (2, 3))
