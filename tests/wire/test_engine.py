"""Replies on Flower's simulation engine, which are looked for again and again."""

import time

import numpy as np
from flwr.app import Message, RecordDict
from flwr.superlink.grid.inmemory_grid import InMemoryGrid

from flwr_resam import Resam
from flwr_resam.wire.exchange import Deadline, exchange
from flwr_resam.wire.flower import become_server
from tests.support import content, record


class Engine(InMemoryGrid):
    """Two nodes, of which one answers at the first look and one at the fifth, or never."""

    def __init__(self, pull_interval=0.1, last=5):
        self.pull_interval, self.looks, self.last = pull_interval, 0, last

    def push_messages(self, messages):
        self.asked = list(messages)
        return [message.metadata.message_id for message in self.asked]

    def pull_messages(self, message_ids):
        self.looks += 1
        turns = {1: self.asked[0], self.last: self.asked[1]}
        return [Message(RecordDict(), reply_to=turns[self.looks])] if self.looks in turns else []


def asked():
    become_server()
    return [Message(RecordDict(), node, "train") for node in (2, 3)]


def test_the_first_reply_is_there_before_the_last_has_come():
    grid = Engine(pull_interval=0.0)
    replies = exchange(grid, asked(), Deadline(None))
    next(replies)
    assert grid.looks == 1
    assert len(list(replies)) == 1
    assert grid.looks == 5


def test_the_grid_says_how_long_to_wait_between_two_looks(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    list(exchange(Engine(pull_interval=0.01), asked(), Deadline(None)))
    assert slept == [0.01] * 4


def test_a_node_that_never_answers_is_waited_for_until_the_deadline():
    grid = Engine(pull_interval=0.01, last=None)
    started = time.monotonic()
    assert len(list(exchange(grid, asked(), Deadline(0.2)))) == 1
    assert 0.2 <= time.monotonic() - started < 5.0


def test_who_takes_the_replies_may_bring_the_deadline_forward():
    """As a round does once the replies bear all its faults."""
    grid = Engine(pull_interval=0.01, last=None)
    started, deadline = time.monotonic(), Deadline(60.0)
    for _ in exchange(grid, asked(), deadline):
        deadline.within(0.2)
    assert 0.2 <= time.monotonic() - started < 20.0


def test_a_round_on_the_engine_waits_for_its_patience_and_not_for_the_timeout(monkeypatch):
    """Four of five nodes answer at once, which is enough for one fault."""
    class Five(Engine):
        run = None

        def get_node_ids(self):
            return range(2, 7)

        def push_messages(self, messages):
            self.answers = [
                Message(content(record(w=np.ones(2)), key="momentum"), reply_to=message)
                for message in list(messages)[:4]
            ]
            return [message.metadata.message_id for message in messages]

        def pull_messages(self, message_ids):
            found, self.answers = self.answers, []
            return found

    monkeypatch.setattr("flwr_resam.server.loop._LEAST_PATIENCE", 0.3)
    become_server()
    started = time.monotonic()
    strategy = Resam(1, min_available_nodes=5, fraction_evaluate=0.0, patience=1.0, timeout=60.0)
    result = strategy.start(Five(pull_interval=0.01), record(w=np.zeros(2)), num_rounds=1)
    assert 0.3 <= time.monotonic() - started < 20.0
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-silent"], metrics["f-effective"]) == (4, 1, 1)


def test_a_wait_between_two_looks_ends_with_the_deadline(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    deadline = Deadline(None)
    for _ in exchange(Engine(pull_interval=5.0), asked(), deadline):
        deadline.within(deadline.spent + 1.0)
    assert 0.0 < slept[0] <= 1.0
