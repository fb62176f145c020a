"""Grids that lose, repeat, forge, delay and replay messages: one row a node, nobody framed."""

import logging
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from flwr.app import Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.bad_replies import BAD_REPLIES, Verdict
from clients.bad_replies.reply import altered, readdressed
from flwr_resam import InProcessGrid, QuorumLostError, Resam
from flwr_resam.aggregators import Mean
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.rule import Aggregate
from flwr_resam.server.ledger import read_ledger
from flwr_resam.wire.flower import become_server, number_message
from flwr_resam.wire.replies import Matcher, Stray
from tests.support import content, record

N = 7


class Mail(GridWrapper):
    """Does to the replies of each round what the test says; None stands for a lost reply."""

    def __init__(self, grid, tamper):
        super().__init__(grid)
        self.tamper = tamper
        self.connected = list(grid.get_node_ids())
        self.round = 0
        self.timeouts = []

    def get_node_ids(self):
        return list(self.connected)

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        self.timeouts.append(timeout)
        replies = list(self._grid.send_and_receive(messages, timeout=timeout))
        if messages and messages[0].metadata.message_type == "train":
            self.round += 1
            replies = self.tamper(self, messages, replies)
        return replies


@pytest.fixture
def mail(federation):
    def make(tamper, n=N):
        values = np.random.default_rng(3).normal(size=(n, 4))
        grid = federation(
            lambda message, i: content(record(w=values[i]), key="momentum", loss=float(i)), n
        )
        return Mail(grid, tamper)

    return make


def run(mail, rounds=1, **changes):
    arguments = {"num_malicious_nodes": 2, "min_available_nodes": N, "fraction_evaluate": 0.0}
    strategy = Resam(**{**arguments, **changes})
    return strategy.start(mail, record(w=np.zeros(4)), num_rounds=rounds)


def counts(result, number=1):
    metrics = result.train_metrics_clientapp[number]
    return tuple(metrics[key] for key in ("n-asked", "n-valid", "n-rejected", "n-silent"))


def test_only_the_superlinks_word_of_a_node_that_is_gone_is_no_stray():
    become_server()
    asked = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in (2, 3)]
    for message in asked:
        number_message(message)
    first, second = (Message(content(record(w=np.ones(4))), reply_to=each) for each in asked)
    gone, posing = (
        BAD_REPLIES[kind].arriving(second) for kind in ("node gone", "as the server")
    )
    for others, strays in ((gone, []), (posing, [Stray(1, "answered for node 3")])):
        matcher = Matcher(asked)
        answers = [matcher.take(reply) for reply in (first, *others)]
        assert [answer.node for answer in answers if answer] == [2]
        assert matcher.strays == strays


def test_a_stray_names_its_sender_where_that_is_a_number_of_64_bits():
    become_server()
    asked = Message(RecordDict(), dst_node_id=2, message_type="train")
    number_message(asked)
    reply = Message(content(record(w=np.ones(4))), reply_to=asked)
    for source, named in ((0, 0), (2**64 - 1, 2**64 - 1), (2**64, 0), (-1, 0), (True, 0)):
        matcher = Matcher([asked])
        matcher.take(readdressed(reply, src_node_id=source))
        assert matcher.strays == [Stray(named, "answered for node 2")]


@pytest.mark.parametrize("count", [999, 1000, 1001, 3000])
def test_of_a_flood_of_strays_the_first_thousand_are_kept(count):
    become_server()
    asked = Message(RecordDict(), dst_node_id=2, message_type="train")
    number_message(asked)
    matcher = Matcher([asked])
    assert all(matcher.take(number) is None for number in range(count))
    assert matcher.strays == [Stray(0, "no Flower message")] * min(count, 1000)
    answer = matcher.take(Message(content(record(w=np.ones(4))), reply_to=asked))
    assert answer.node == 2  # and nothing keeps the node's own reply from counting


def silent_run(make, **changes):
    return run(make(lambda m, asked, replies: replies[:-1]), **changes)


SILENT = [kind for kind, bad in BAD_REPLIES.items() if bad.verdict is Verdict.SILENCE]


@pytest.mark.parametrize("kind", SILENT)
def test_what_answers_nothing_is_silence_to_the_bit(mail, kind):
    bad = BAD_REPLIES[kind]
    result = run(mail(lambda m, asked, r: [*r[:-1], *bad.arriving(r[-1], r[:-1])]))
    assert counts(result) == (N, N - 1, 0, 1)
    assert result.train_metrics_clientapp[1]["f-effective"] == 2
    assert result.arrays == silent_run(mail).arrays


def test_two_replies_count_as_none_whichever_comes_first_and_prove_nothing(mail):
    def twice(m, asked, replies):
        other = altered(replies[-1], content=content(record(w=np.full(4, 1e9)), key="momentum"))
        return [other, *replies, other]

    result = run(mail(twice))
    assert counts(result) == (N, N - 1, 1, 0)
    assert result.train_metrics_clientapp[1]["f-effective"] == 2
    assert result.arrays == silent_run(mail).arrays


def test_a_client_app_that_raises_is_named_but_held_for_honest(mail, caplog):
    def raised(m, asked, replies):
        return [*replies[:-1], Message(Error(2, "out of memory"), reply_to=asked[-1])]

    with caplog.at_level(logging.WARNING, logger="flwr"):
        result = run(mail(raised))
    assert counts(result) == (N, N - 1, 1, 0)
    assert result.train_metrics_clientapp[1]["f-effective"] == 2
    assert "Rejected node 8: error reply: out of memory" in caplog.text
    assert result.arrays == silent_run(mail).arrays


def test_a_replay_of_an_earlier_round_is_told_from_an_answer(mail, caplog):
    def replay(m, asked, replies):
        m.kept = getattr(m, "kept", replies[-1])
        return replies if m.round == 1 else [*replies[:-1], m.kept]

    with caplog.at_level(logging.WARNING, logger="flwr"):
        result = run(mail(replay), rounds=3)
    assert [counts(result, t) for t in (1, 2, 3)] == [(N, N, 0, 0)] + 2 * [(N, N - 1, 0, 1)]
    assert "Ignored a message of node 8: late, replayed or unasked" in caplog.text


def test_all_may_be_silent_for_some_rounds_and_come_back(mail):
    def out(m, asked, replies):
        return [] if 2 <= m.round <= 5 else replies

    result = run(mail(out), rounds=7, max_skipped_rounds=5, aggregator=Mean())
    assert [counts(result, t)[1] for t in range(1, 8)] == [N, 0, 0, 0, 0, N, N]
    once = run(mail(lambda m, asked, replies: replies), rounds=3, aggregator=Mean())
    assert result.arrays == once.arrays  # the model stood still meanwhile
    with pytest.raises(QuorumLostError):
        run(mail(out), rounds=7, max_skipped_rounds=4)


@dataclass(frozen=True)
class Fussy(Mean):
    """A rule that fails in the way it is told, or where a row is missing."""

    failure: str = "missing"
    name: ClassVar[str] = "fussy"

    def _step(self, updates, f, state, at):
        if self.failure == "numeric":
            raise np.linalg.LinAlgError("SVD did not converge")
        if self.failure == "nan":
            return Aggregate(np.full(updates.d, np.nan), None, "spoilt")
        if updates.n < N:
            raise ValueError("a row is missing")
        if self.failure == "always":
            raise ValueError("a wrong setting")
        return super()._step(updates, f, state, at)


@pytest.mark.parametrize("failure", ["missing", "numeric", "nan"])
def test_a_rule_that_fails_on_what_came_skips_the_round(mail, failure, caplog):
    def lose_one_first(m, asked, replies):
        return replies[:-1] if m.round == 1 else replies

    if failure == "missing":
        result = run(mail(lose_one_first), rounds=2, aggregator=Fussy(failure=failure))
        assert result.train_metrics_clientapp[1].get("f-effective") is None
        assert result.arrays["w"].numpy().any()
    else:  # in the other round too
        with pytest.raises(QuorumLostError):
            run(mail(lose_one_first), rounds=2, aggregator=Fussy(failure=failure))
    assert "Round skipped" in caplog.text


def test_a_rule_that_fails_where_nothing_is_missing_tells_the_user(mail):
    with pytest.raises(ValueError, match="a wrong setting"):
        run(mail(lambda m, asked, replies: replies), aggregator=Fussy(failure="always"))


@pytest.mark.parametrize("fraction_train", [0.0, 1.0])
def test_a_run_that_learnt_nothing_is_no_success(mail, fraction_train):
    """Unless it was not to train."""
    grid = mail(lambda m, asked, replies: [])
    if fraction_train:
        with pytest.raises(QuorumLostError, match=r"2 round\(s\) in a row"):
            run(grid, rounds=2)
    else:
        result = run(grid, rounds=2, fraction_train=0.0)
        np.testing.assert_array_equal(result.arrays["w"].numpy(), np.zeros(4))


def test_a_node_that_is_gone_for_good_is_not_waited_for(mail):
    def leave(m, asked, replies):
        m.connected = m.connected[:-1]
        return replies

    started = time.monotonic()
    result = run(mail(leave), rounds=3)
    assert time.monotonic() - started < 5.0
    assert [counts(result, t) for t in (1, 2, 3)] == [
        (N, N, 0, 0), (N, N - 1, 0, 1), (N, N - 2, 0, 2),
    ]


def test_nodes_that_can_be_no_quorum_are_waited_for_as_long_as_the_timeout(mail):
    def leave(m, asked, replies):
        m.connected = []
        return replies

    started = time.monotonic()
    result = run(mail(leave), rounds=3, timeout=0.2)
    assert 0.4 <= time.monotonic() - started < 5.0
    assert counts(result, 3) == (N, 0, 0, N)


def test_a_node_under_a_new_id_is_a_new_node(federation):
    seen = []

    def reply(message, i):
        seen.append(message.metadata.dst_node_id)
        return content(record(w=np.ones(4)), key="momentum")

    grid = federation(reply, N)

    def rename(m, asked, replies):
        contexts = m.inner.contexts
        contexts[100 + m.round] = contexts.pop(m.connected[0])
        m.connected = list(contexts)
        return replies

    result = run(Mail(grid, rename), rounds=3)
    assert counts(result, 3) == (N, N, 0, 0)
    assert {101, 102} <= set(seen)


def test_the_timeout_is_the_strategys_unless_start_says_otherwise(mail):
    grid = mail(lambda m, asked, replies: replies)
    strategy = Resam(0, min_available_nodes=N, timeout=12.0, fraction_evaluate=0.0)
    strategy.start(grid, record(w=np.zeros(4)), num_rounds=1)
    assert set(grid.timeouts) == {12.0}
    grid.timeouts.clear()
    strategy.start(grid, record(w=np.zeros(4)), num_rounds=1, timeout=3.0)
    assert set(grid.timeouts) == {3.0}
    with pytest.raises(ValueError, match="`timeout` must be a number of seconds above 0"):
        Resam(0, timeout=0.0)


def test_nothing_of_an_odd_message_is_called():
    class Odd:
        def __getattribute__(self, name):
            raise SystemExit(name)

    asked = Message(RecordDict(), dst_node_id=5, message_type="train")
    asked.metadata.__dict__["_message_id"] = "a"
    good = Message(RecordDict(), reply_to=asked)
    odd = altered(good, content=Odd())
    matcher = Matcher([asked])
    answers = list(map(matcher.take, [odd, Odd(), altered(good, metadata=Odd())]))
    assert [answer and answer.node for answer in answers] == [5, None, None]
    assert len(matcher.strays) == 2


# ------------------------------------------------------------------ evaluation

def evaluating(reply, n=N):
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(content(record(w=np.ones(4)), key="momentum"), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        made = reply(context.node_config["partition-id"])
        return Message(made, reply_to=message)

    return InProcessGrid(app, n)


def accuracy(value):
    return RecordDict({"m": MetricRecord({"accuracy": value, "num-examples": 1})})


def evaluated(grid, **changes):
    strategy = Resam(**{"num_malicious_nodes": 2, "min_available_nodes": N, **changes})
    result = strategy.start(grid, record(w=np.zeros(4)), num_rounds=1)
    return result.evaluate_metrics_clientapp.get(1)


@pytest.mark.parametrize(
    "lie",
    [accuracy(1e30), accuracy(float("nan")), RecordDict(), RecordDict({"a": record(w=[1.0])})],
    ids=["huge", "nan", "empty", "arrays"],
)
def test_evaluation_is_a_median_that_no_liar_moves(lie):
    def reply(i):
        if i == 0:
            raise ZeroDivisionError
        return lie if i == 1 else accuracy(0.1 * i)

    assert 0.2 <= evaluated(evaluating(reply))["accuracy"] <= 0.6


def test_evaluation_replies_are_matched_to_questions(federation):
    class Repeating(GridWrapper):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(self._grid.send_and_receive(messages, timeout=timeout))
            if replies and replies[0].metadata.message_type == "train":
                return replies
            return [*replies, *[replies[0]] * 9]

    grid = Repeating(evaluating(lambda i: accuracy(1.0 if i == 0 else 0.5)))
    assert evaluated(grid, num_malicious_nodes=0)["accuracy"] == 0.5


def test_too_few_evaluation_replies_report_nothing(caplog):
    def reply(i):
        if i < 4:
            raise ZeroDivisionError
        return accuracy(0.5)

    assert not evaluated(evaluating(reply))
    assert "No metrics of the nodes: more than 2f must report them" in caplog.text


def test_a_users_function_that_a_liar_makes_raise_ends_nothing(mail, caplog):
    from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

    def drop_metrics(m, asked, replies):
        replies[0].content = RecordDict({"momentum": record(w=np.zeros(4))})
        return replies

    result = run(mail(drop_metrics), train_metrics_aggr_fn=aggregate_metricrecords)
    assert counts(result) == (N, N, 0, 0)
    assert "the aggregation function raised StopIteration" in caplog.text


@pytest.mark.parametrize("returned", [None, 3, RecordDict()])
def test_a_client_app_that_returns_no_message_is_a_node_that_failed(returned):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["partition-id"] == 0:
            return returned
        return Message(content(record(w=np.ones(2)), key="momentum"), reply_to=message)

    strategy = Resam(1, Mean(), min_available_nodes=5, fraction_evaluate=0.0)
    found = strategy.start(InProcessGrid(app, 5), record(w=np.zeros(2)), 1)
    assert counts(found) == (5, 4, 1, 0)


@pytest.mark.parametrize("kind", [kind for kind in BAD_REPLIES if kind.startswith("sender")])
def test_a_sender_with_an_absurd_number_is_nobody(mail, tmp_path, kind):
    def tamper(m, asked, replies):
        return [*BAD_REPLIES[kind].arriving(replies[0]), *replies[1:]]

    result = run(mail(tamper), output_dir=tmp_path)
    assert counts(result) == (N, N - 1, 0, 1)
    assert {line.node for line in read_ledger(tmp_path) if line.status == "unasked"} == {0}


def test_what_is_wrong_with_an_evaluation_is_said(caplog):
    app = ClientApp()

    @app.train()
    def train(message, context):
        return Message(content(record(w=np.ones(4))), reply_to=message)

    @app.evaluate()
    def evaluate(message, context):
        raise RuntimeError("a bug of mine")

    with caplog.at_level("INFO", logger="flwr"):
        Resam(0, min_available_nodes=3).start(InProcessGrid(app, 3), record(w=np.zeros(4)), 1)
    assert caplog.text.count("RuntimeError: a bug of mine") == 3
    assert "Weighted by: nothing that a node reports" in caplog.text


def test_nodes_that_all_fail_alike_are_not_answered_by_a_larger_f(federation, caplog):
    wide = federation(lambda message, i: content(record(w=np.ones(4, np.float32))), 5)
    with caplog.at_level("INFO", logger="flwr"), pytest.raises(QuorumLostError):
        run(wide, num_malicious_nodes=1, min_available_nodes=5)
    assert "5 malformed replies, more than num_malicious_nodes = 1: no rule" in caplog.text
    assert "0 valid, 5 rejected, 0 silent of 5 nodes; no quorum" in caplog.text
