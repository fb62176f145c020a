"""Replies on Flower's simulation engine, which are looked for again and again."""

import time

from flwr.app import Message, RecordDict
from flwr.superlink.grid.inmemory_grid import InMemoryGrid

from flwr_resam.wire.exchange import Deadline, exchange
from flwr_resam.wire.flower import become_server


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
