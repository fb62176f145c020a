"""What is packed is what Flower packs, byte for byte, and is read back whole."""

import numpy as np
import pytest
from flwr.app import Array

from flwr_resam.wire.npy import pack, record_of, unpack

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
