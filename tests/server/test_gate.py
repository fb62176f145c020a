"""What of a reply's text and metrics is kept, and where each bound lies."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, MetricRecord, RecordDict

from clients.bad_replies.reply import forced
from flwr_resam.server.gate import Rejection, kept_metrics, printable, read_reply
from flwr_resam.wire.layout import Layout
from tests.support import content, record


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\tb\n c", "a b c"),
        ("\x1b[31mred", " [31mred"),
        ("a" * 160, "a" * 160),
        ("a" * 161, "a" * 157 + "..."),
        ("a" * 5000, "a" * 157 + "..."),
        (f"{'a' * 200}\nKeyError: 'x'\n\n", "KeyError: 'x'"),  # the end of a traceback
        (f"{'a' * 100}\nKeyError: 'x'", f"{'a' * 100} KeyError: 'x'"),  # which is short
        (f"\n\n{'a' * 200}", "a" * 157 + "..."),
        (3, "no reason given"),
        (None, "no reason given"),
    ],
)
def test_a_reason_is_one_printable_line_of_160_characters(text, line):
    assert printable(text) == line


@pytest.mark.parametrize(
    ("reason", "added"), [("KeyError: 'fitins'", True), ("KeyError: 'x'", False), ("fitins", False)]
)
def test_a_client_of_the_legacy_api_is_told_what_to_write(reason, added):
    found = read_reply(Error(2, reason), 3, Layout.of(record(w=np.ones(2))), [])
    told = " (a client of Flower's legacy API: write @app.train())"
    assert found == Rejection(3, f"error reply: {reason}{told * added}", proven=False)


def metrics(**more):
    return RecordDict({"m": MetricRecord(more)})


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (metrics(**{str(number): 0 for number in range(1000)}), True),
        (metrics(**{str(number): 0 for number in range(1001)}), False),
        (metrics(x=[0] * 100_000), True),
        (metrics(x=[0] * 100_001), False),
        (metrics(x=[0] * 99_999, y=0), True),
        (metrics(x=[0] * 99_999, y=0, z=0), False),
        (RecordDict({k: MetricRecord({f"{k}{i}": 0 for i in range(500)}) for k in "ab"}), True),
        (RecordDict({k: MetricRecord({f"{k}{i}": 0 for i in range(501)}) for k in "ab"}), False),
    ],
)
def test_a_thousand_metrics_of_a_hundred_thousand_numbers_are_no_flood(content, kept):
    found = kept_metrics(content)
    assert (found == content) if kept else (found is None)


def test_names_have_two_hundred_characters_at_most():
    given = RecordDict({
        "m" * 200: MetricRecord({"k" * 200: 1, "k" * 201: 2}), "m" * 201: MetricRecord({"x": 3}),
    })
    assert kept_metrics(given) == RecordDict({"m" * 200: MetricRecord({"k" * 200: 1})})


def test_a_record_that_is_no_metrics_hides_none_that_follows():
    given = RecordDict({"c": ConfigRecord({"x": 1}), "m": MetricRecord({"x": 1})})
    assert kept_metrics(given) == metrics(x=1)
    assert kept_metrics("no reply") == RecordDict()


def test_what_is_kept_is_of_pythons_own_types():
    class Number(float):
        pass

    given = metrics()
    for name, value in {
        "whole": 3, "real": 0.5, "numpys": np.float64(2.0), "list": [1, np.float64(2.0)],
        "bool": True, "text": "x", "own": Number(1.0), "nested": [[1.0]], "mixed": [1.0, "x"],
        "empty": [],
    }.items():
        forced(given["m"], name, value)
    found = dict(kept_metrics(given)["m"])
    assert found == {"whole": 3, "real": 0.5, "numpys": 2.0, "list": [1, 2.0], "empty": []}
    assert type(found["numpys"]) is type(found["list"][1]) is float


def test_more_arrays_than_the_model_has_are_counted_and_not_read():
    layout = Layout.of(record(w=np.ones(2)))
    found = read_reply(content(record(w=np.ones(2), v=np.ones(2))), 3, layout, [])
    assert found == Rejection(3, "2 arrays instead of 1")
    found = read_reply(content(record(v=np.ones(2))), 3, layout, [])
    assert found == Rejection(3, "no array `w`")


@pytest.mark.parametrize("key", ["momentum", "arrays"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 262_143, 262_144, 299_999])
def test_a_nan_is_found_wherever_it_is(key, dtype, place):
    """The values are looked at in parts of 2^18."""
    sent = record(w=np.zeros(300_000, dtype))
    layout, values = Layout.of(sent), np.zeros(300_000, dtype)
    assert not isinstance(read_reply(content(record(w=values), key=key), 3, layout,
                                     layout.views(sent)), Rejection)
    values[place] = np.nan
    found = read_reply(content(record(w=values), key=key), 3, layout, layout.views(sent))
    assert found == Rejection(3, "a NaN or an infinity in `w`")


def test_the_update_of_a_small_dtype_is_made_in_a_larger_one():
    """60000 - (-60000) is no number of float16, and one of the row."""
    sent = record(w=np.full(2, 60000, np.float16))
    layout = Layout.of(sent)
    opposite = content(record(w=np.full(2, -60000, np.float16)))
    row = read_reply(opposite, 3, layout, layout.views(sent))
    assert not isinstance(row, Rejection)
