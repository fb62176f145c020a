"""What local training changed, and what is no trained model."""

import numpy as np
import pytest
from flwr.app import Array

from flwr_resam.wire.update import update_of


def arrays(**values):
    return {name: Array(np.asarray(value)) for name, value in values.items()}


def changed(sent, local):
    return update_of(arrays(w=sent), arrays(w=local))["w"]


def test_an_update_is_what_was_sent_minus_what_came_back():
    found = changed(np.array([3.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(found, [2.0, -1.0])
    assert found.dtype == np.float32


def test_float64_of_a_float32_model_goes_back_to_it_and_the_other_way_round():
    assert changed(np.ones(2, np.float32), np.zeros(2)).dtype == np.float32
    assert changed(np.ones(2), np.zeros(2, np.float16)).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_what_is_no_float_is_the_workers(dtype):
    np.testing.assert_array_equal(changed(np.zeros(2, dtype), np.ones(2, dtype)), np.ones(2, dtype))


def test_what_is_no_number_stays_and_the_rest_of_its_array_is_trained():
    sent = np.array([0.0, -np.inf, np.nan], np.float32)
    for local, update in ((sent, 0.0), (np.array([1.0, np.nan, 2.0], np.float32), -1.0)):
        found = changed(sent, local)
        np.testing.assert_array_equal(found, [update, 0.0, 0.0])
        assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("sent", "local", "found"),
    [
        (np.ones(3), np.ones(4), r"`reply` must keep the shapes .* Found \(4,\) for \(3,\) in `w`"),
        (np.ones((1, 3)), np.ones(3), r"Found \(3,\) for \(1, 3\) in `w`"),
        (np.ones(3), np.ones(3, np.int64), "Found int64 for float64 in `w`. Return it as float64"),
        (np.ones(3, np.int64), np.ones(3), "Found float64 for int64 in `w`. Return it as int64"),
        (np.ones(3, np.int64), np.ones(3, np.int32), "Found int32 for int64 in `w`"),
        (np.ones(3), np.ones(3, complex), "Found complex128 for float64 in `w`"),
    ],
)
def test_another_shape_or_dtype_is_named(sent, local, found):
    with pytest.raises(ValueError, match=found):
        changed(sent, local)


@pytest.mark.parametrize(
    ("sent", "local", "found"),
    [
        ("ab", "a", r"no \['b'\]"),
        ("a", "ab", r"\['b'\] besides"),
        ("ab", "ac", r"no \['b'\] and \['c'\] besides"),
        ("abcde", "a", r"no \['b', 'c', 'd'\]"),
        ("a", "abcde", r"\['b', 'c', 'd'\] besides"),
        (["a", "b"], ["module.a", "module.b"], "each name with the prefix `module.`, which"),
        (["a"], ["_orig_mod.a"], "each name with the prefix `_orig_mod.`"),
        (["module.a"], ["a"], "each name without the prefix `module.`"),
        (["a", "b"], ["module.a", "b"], r"no \['a'\] and \['module.a'\] besides"),
    ],
)
def test_other_names_are_named(sent, local, found):
    one, other = (arrays(**dict.fromkeys(names, 1.0)) for names in (sent, local))
    with pytest.raises(ValueError, match=rf"`reply` must hold the arrays .* Found {found}"):
        update_of(one, other)
