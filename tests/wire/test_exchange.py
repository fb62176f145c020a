"""Replies over the network: when they come in, whom one waits for, and until when."""

import errno
import threading

import numpy as np
import pytest
from flwr.app import (
    ConfigRecord,
    Message,
    RecordDict,
)
from flwr.proto.runtime_pb2 import (
    PullAppMessagesResponse,
)

from flwr_resam import QuorumLostError, Resam
from flwr_resam.aggregators import Mean
from flwr_resam.scratch import Scratch, ScratchError, Stored
from flwr_resam.server import gate, intake
from flwr_resam.wire.exchange import Deadline, answered, exchange, memory_of, recall
from flwr_resam.wire.flower import become_server
from flwr_resam.wire.unguessable import seal
from tests.support import record
from tests.wire.superlink import (
    SuperLink,
    federation,
    messages_for,
    start,
)


def test_what_comes_in_lies_in_the_file_until_it_is_whole(tmp_path, monkeypatch):
    kept = []
    append = Stored.append
    monkeypatch.setattr(
        Stored, "append", lambda self, data: kept.append(data) or append(self, data)
    )
    start(federation(SuperLink(5)), spill=tmp_path)
    assert sum(bytes(each).startswith(b"ArrayChunk ") for each in kept) == 5
    kept.clear()
    start(federation(SuperLink(5)))
    assert kept == []


def test_a_disk_that_fills_while_a_reply_comes_in_ends_the_run(tmp_path, monkeypatch):
    def full(self, place, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Scratch, "_write", full)
    with pytest.raises(ScratchError, match="No space left"):
        start(federation(SuperLink(5)), spill=tmp_path)


def test_while_the_gate_is_at_one_reply_others_come_in(monkeypatch):
    class Slow(SuperLink):
        """Hands the last node's objects out only once the gate is at work."""

        def PullObject(self, request):
            if request.object_id in self.last:
                assert gating.wait(20.0)
                came.set()
            return super().PullObject(request)

        def _reply(self, number, node):
            before = set(self.objects)
            made = super()._reply(number, node)
            if node == 6:
                self.last = set(self.objects) - before
            return made

    gating, came, waited = threading.Event(), threading.Event(), []

    def read(*arguments):
        gating.set()
        waited.append(came.wait(20.0))
        return gate.read_reply(*arguments)

    monkeypatch.setattr(intake, "read_reply", read)
    link = Slow(5)
    link.last = set()
    assert start(federation(link)).train_metrics_clientapp[1]["n-valid"] == 5
    assert waited == [True] * 5


def test_a_superlink_that_is_gone_ends_the_run():
    link = SuperLink(5, 4)
    grid = federation(link)
    asked = messages_for(grid)
    link.up = False
    with pytest.raises(ConnectionError, match="no SuperLink"):
        list(exchange(grid, asked, Deadline(5.0)))


def test_nobody_is_waited_for_longer_than_the_timeout():
    link = SuperLink(5)
    link.PullMessages = lambda request: PullAppMessagesResponse()
    with pytest.raises(QuorumLostError):
        start(federation(link), aggregator=Mean(), num_malicious_nodes=0, timeout=0.2)


def test_nobody_can_guess_the_id_of_anothers_message():
    """The id is a hash of the message's own fields: two that are alike but for the secret differ."""

    def sent():
        link = SuperLink(5)
        strategy = Resam(1, min_available_nodes=5)
        grid = federation(link)
        asked = strategy.configure_train(1, record(w=np.zeros(3)), ConfigRecord(), grid)
        for message in asked:
            message.metadata.created_at = 1.8e9
        list(exchange(grid, asked, Deadline(5.0)))
        return asked

    first, second = sent(), sent()
    groups = [message.metadata.group_id for message in [*first, *second]]
    assert len(set(groups)) == 10
    assert min(map(len, groups)) >= 32
    assert not {m.metadata.message_id for m in first} & {m.metadata.message_id for m in second}


def test_a_group_id_of_the_users_own_stays_readable():
    become_server(1)
    message = Message(RecordDict(), 2, "query", group_id="mine")
    seal(message)
    sealed = message.metadata.group_id
    assert sealed.endswith("-mine")
    seal(message)
    assert message.metadata.group_id == sealed


def test_what_a_grid_gives_back_is_known():
    class Remembers:
        def __init__(self):
            self.memory = {"x": 1}

        def recall(self, memory):
            return memory == self.memory

    assert (memory_of(object()), memory_of(Remembers())) == (None, {"x": 1})
    assert not recall(object(), {"x": 1})
    assert not recall(Remembers(), None)
    assert not recall(Remembers(), {"x": 2})
    assert recall(Remembers(), {"x": 1})


def test_a_deadline_is_only_ever_brought_forward():
    deadline = Deadline(5.0)
    deadline.within(9.0)
    assert deadline.seconds == 5.0
    deadline.within(3.0)
    assert deadline.seconds == 3.0
    assert 2.0 < deadline.left <= 3.0
    assert 0.0 <= deadline.spent < 1.0


def test_another_grid_is_asked_for_all_replies_at_once():
    class Plain:
        def send_and_receive(self, messages, *, timeout):
            self.timeout = timeout
            return ["all"]

    become_server()
    for seconds in (None, float("inf"), 7.0):
        grid = Plain()
        assert answered(grid, [Message(RecordDict(), 2, "train")], seconds) == ["all"]
        assert grid.timeout == (7.0 if seconds == 7.0 else None)
