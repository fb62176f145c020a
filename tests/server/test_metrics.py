"""Metrics of nodes, some of which lie: at most an honest extreme, and nothing ends."""

import numpy as np
import pytest
from flwr.app import Error, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from flwr_resam.server.metrics import evaluations, reported, robust_metrics
from flwr_resam.wire.flower import become_server, number_message


def reply(**metrics):
    return RecordDict({"m": MetricRecord(metrics)})


def forced(**metrics):
    record = MetricRecord()
    record.__dict__["_data"] = metrics
    return RecordDict({"m": record})


LIES = [
    1e300, -1e300, 0, -1, float("nan"), float("inf"), 10**5000, True, None, "text", b"x",
    [1.0], [1.0, float("nan")], [], ["a", "b"], [1e300, -1e300], np.float64(7.0), {}, object(),
]
number = st.one_of(st.floats(allow_nan=True), st.integers(), st.sampled_from(LIES))


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=9), st.lists(number, max_size=4),
    st.randoms(),
)
def test_no_lie_leaves_the_honest_range(honest, lies, random):
    f = len(lies)
    contents = [reply(x=value, pair=[value, -value]) for value in honest]
    contents += [forced(x=lie, pair=[lie, lie], extra=lie) for lie in lies]
    random.shuffle(contents)
    result = robust_metrics(contents, f)
    if f:
        assert "extra" not in result
    if len(honest) > 2 * f:
        assert min(honest) <= result["x"] <= max(honest)
        assert min(honest) <= result["pair"][0] <= max(honest)
        assert -max(honest) <= result["pair"][1] <= -min(honest)


@pytest.mark.parametrize("lie", range(len(LIES)))
def test_any_value_in_any_place_ends_nothing(lie):
    honest = [reply(loss=float(i), curve=[1.0 * i, 2.0 * i]) for i in range(5)]
    for liar in (
        forced(loss=LIES[lie], curve=LIES[lie]), forced(**{"x" * 100_000: LIES[lie]}), LIES[lie],
        RecordDict(), RecordDict({"a": MetricRecord({"loss": 1e9}), "b": MetricRecord()}),
    ):
        result = robust_metrics([*honest, liar], 1)
        assert 1.0 <= result["loss"] <= 3.0
        assert 1.0 <= result["curve"][0] <= 3.0
        assert 2.0 <= result["curve"][1] <= 6.0
        assert set(result) == {"loss", "curve"}


def test_lists_of_another_length_do_not_count():
    honest = [reply(curve=[1, 2, 3])] * 3
    assert robust_metrics([*honest, reply(curve=[9, 9])], 1) == {"curve": [1.0, 2.0, 3.0]}
    assert robust_metrics([*honest[:2], reply(curve=[9, 9])], 1) == {}


def test_whole_numbers_stay_whole_and_numpys_count():
    assert robust_metrics([reply(n=3), reply(n=5), reply(n=4)], 1) == {"n": 4}
    result = robust_metrics([reply(x=np.float64(2.0))] * 3, 1)
    assert type(result["x"]) is float


@pytest.mark.parametrize(("f", "count", "counts"), [(0, 1, True), (1, 2, False), (1, 3, True),
                                                      (2, 4, False), (2, 5, True)])
def test_a_metric_counts_where_more_than_twice_f_nodes_report_it(f, count, counts):
    contents = [reply(loss=float(i), curve=[float(i)]) for i in range(count)]
    contents += [reply(other=1.0)] * 9
    found = robust_metrics(contents, f)
    assert ("loss" in found) == ("curve" in found) == counts
    if counts:
        assert found["loss"] == found["curve"][0] == (count - 1) // 2


def test_of_lists_those_with_a_number_that_is_none_do_not_count():
    honest = [reply(curve=[1.0, 2.0])] * 2
    spoilt = [forced(curve=[float("nan"), 2.0]), forced(curve=[1.0, "x"])]
    assert robust_metrics([*honest, *spoilt], 1) == {}
    assert robust_metrics([*honest, reply(curve=[1.0, 2.0]), *spoilt], 1) == {"curve": [1.0, 2.0]}


def test_the_median_of_two_is_the_lower():
    assert robust_metrics([reply(loss=1.0), reply(loss=3.0)], 0) == {"loss": 1.0}


def asked(*nodes):
    become_server()
    messages = [Message(RecordDict(), dst_node_id=node, message_type="evaluate") for node in nodes]
    for message in messages:
        number_message(message)
    return messages


def test_evaluations_stand_in_the_order_of_the_questions_and_who_answers_twice_has_none(caplog):
    questions = asked(2, 3, 4, 5)
    answers = [Message(reply(x=m.metadata.dst_node_id), reply_to=m) for m in questions]
    answers[2] = Message(Error(2, "no data\nhere"), reply_to=questions[2])
    counted = []
    found = evaluations(
        questions, [answers[3], answers[2], answers[1], answers[1], answers[0]], counted.append
    )
    assert found == ([2, 5], [reply(x=2), reply(x=5)])
    assert counted == [1, 1, 2, 2, 3]
    assert "No evaluation by node 4: no data here" in caplog.text


def test_a_flood_of_metrics_is_an_evaluation_without_any():
    (question,) = asked(2)
    flood = reply(**{str(number): 0 for number in range(1001)})
    assert evaluations([question], [Message(flood, reply_to=question)], int) == ([2], [RecordDict()])


def test_a_users_function_gets_the_key_and_what_it_raises_is_one_line(caplog):
    assert reported(lambda contents, key: {key: len(contents)}, [reply()] * 3, "n") == {"n": 3}

    def raises(contents, key):
        raise KeyError("of\nmine")

    assert reported(raises, [reply()], "n") == {}
    assert "raised KeyError: 'of\\nmine'" in caplog.text
