"""What is packed is what Flower packs, byte for byte, and is read back whole; headers are read."""

import io

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.bad_replies.npy_bytes import npy
from flwr_resam.wire.npy import pack, read_header, record_of, unpack, write_header

VALUES = [
    np.float32(1.5) * np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6.0).reshape(2, 3).T,
    np.arange(12.0).reshape(3, 4)[:, ::2],
    np.array(7), np.array(2.5, np.float16), np.array([True, False]), np.zeros((0, 3)),
    np.arange(3, dtype=">f4"), np.array([1 + 2j]), np.zeros((2, 1, 3), np.uint8),
]  # fmt: skip


@pytest.mark.parametrize("values", VALUES, ids=lambda v: f"{v.dtype}-{v.shape}")
def test_packing_gives_flowers_bytes_and_unpacking_the_values(values):
    packed = pack(values)
    assert packed == Array(values)
    for array in (packed, Array(values)):
        found = unpack(array)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


def test_what_is_unpacked_can_not_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack(np.zeros(3)))[0] = 1.0


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\x00v\x00{", pack(np.zeros(3)).data[:-1]])
def test_what_flower_can_not_read_raises_as_flower_does(data):
    array = Array("float64", (3,), "numpy.ndarray", data)
    with pytest.raises((ValueError, EOFError)):
        unpack(array)


def test_a_record_holds_the_very_arrays():
    array = pack(np.zeros(3))
    assert record_of({"w": array})["w"] is array


# ------------------------------------------------------------------ headers

HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


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


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_header_or_a_value_error(tail):
    for data in (tail, b"\x93NUMPY\x01\x00" + tail, npy(b"{" + tail + b"}", b"")):
        try:
            header = read_header(data)
        except ValueError:
            continue
        assert header.start <= len(data)


def test_the_written_header_is_read_back():
    for fortran in (False, True):
        header = read_header(write_header(np.dtype("<f4"), (2, 3), fortran))
        assert header[:3] == ("<f4", fortran, (2, 3))


@pytest.mark.parametrize("version", [b"\x01\x00", b"\x02\x00", b"\x03\x00"])
@pytest.mark.parametrize("pad", [b"", b"\n", b" " * 70 + b"\n"])
def test_a_header_says_what_it_says_and_where_the_payload_starts(version, pad):
    data = npy(HEADER + pad, b"payload", version)
    assert read_header(data) == ("<f4", False, (2, 3), len(data) - len(b"payload"))


@pytest.mark.parametrize(
    ("shape", "sizes"), [("()", ()), ("(7,)", (7,)), ("(2L, 3L)", (2, 3)), ("( 2 ,3, )", (2, 3))]
)
def test_a_shape_is_a_tuple_of_any_length(shape, sizes):
    data = npy(HEADER.replace(b"(2, 3)", shape.encode()), b"")
    assert read_header(data).shape == sizes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no npy file"),
        (b"\x93NUMPZ\x01\x00", "no npy file"),
        (b"\x93NUMPY", "an npy version"),
        (b"\x93NUMPY\x01\x00\x00", "an npy version"),  # of the two bytes of a length, one
        (b"\x93NUMPY\x02\x00\x00\x00\x00", "an npy version"),
        (npy(b"", b""), "that is no dictionary"),  # they are there, and say that nothing follows
        (npy(b"{}", b"", b"\x04\x00"), "an npy version"),
        (npy(HEADER, b"", size=len(HEADER) + 1), "longer than the file"),
        (npy(HEADER.ljust(4086), b""), None),  # 4096 bytes with what stands before
        (npy(HEADER.ljust(4087), b""), "longer than the file or than 4096 bytes"),
        (npy(b"{" + HEADER, b""), "of no plain array"),
        (npy(HEADER[1:], b""), "that is no dictionary"),
        (npy(HEADER[:-1], b""), "that is no dictionary"),
        (npy(HEADER.replace(b"False", b"'<f4'"), b""), "of no plain array"),
        (npy(HEADER.replace(b"'shape'", b"'descr'"), b""), "of no plain array"),
        (npy(b"{'descr': '<f4', 'shape': (2, 3), }", b""), "without dtype, order or shape"),
        (npy(HEADER.replace(b"(2, 3)", b"(6)"), b""), "whose shape is no tuple"),
    ],
)
def test_what_is_no_header_is_named(data, reason):
    if reason is None:
        assert read_header(data).start == 4096
        return
    with pytest.raises(ValueError, match=reason):
        read_header(data)
