"""One reply: the looks for it, the objects pulled, and how much there is room for."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, RecordDict

from flwr_resam.wire import _fetch
from flwr_resam.wire.flower import become_server

FIRST_PAUSE = _fetch._FIRST_PAUSE  # as it is before the tests shorten it


def test_the_pauses_between_looks_double_up_to_the_longest(monkeypatch):
    become_server()
    clock, pauses = [0.0], []
    monkeypatch.setattr(_fetch, "_FIRST_PAUSE", FIRST_PAUSE)
    monkeypatch.setattr(_fetch, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    network = SimpleNamespace(announced=lambda number: None)
    look = _fetch.Look(network, "a", Message(RecordDict(), 2, "train"), None)
    for _ in range(8):
        assert not look(threading.Event())
        pauses.append(look.due - clock[0])
        clock[0] = look.due
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])


def room(arrays=2, sent=1000):
    return _fetch._Room(arrays, sent)


def test_a_reply_has_room_for_twice_what_was_sent_and_four_mebibytes():
    rest = 4 * 2**20
    assert room().of_arrays == 2 * 1000 + rest
    assert room().objects == 4 * 2 + 4096
    assert room(sent=3 * 2**20).objects == 4 * 2 + 4096 + 3  # one more a chunk


@pytest.mark.parametrize(
    ("kind", "size"),
    [(b"ArrayChunk ", 2 * 1000 + 4 * 2**20), (b"MetricRecord ", 4 * 2**20 + 2 * 512)],
)
def test_there_is_room_up_to_the_last_byte(kind, size):
    half = kind.ljust(size // 2, b"x")
    other = kind.ljust(size - len(half), b"x")
    full = room()
    assert full.take(half)
    assert full.take(other)
    assert full.take(b"ArrayChunk " if kind == b"MetricRecord " else b"MetricRecord ")
    over = room()
    assert over.take(half)
    assert not over.take(other + b"x")
    assert not over.take(b"")


def test_the_room_of_a_reply_goes_by_what_was_sent():
    become_server()
    sent = ArrayRecord({"w": Array(np.ones(300)), "b": Array(np.ones(2))})
    size = sum(len(array.data) for array in sent.values())
    found = _fetch._Room.for_reply_to(Message(RecordDict({"a": sent}), 2, "train"))
    assert found.of_arrays == 2 * size + 4 * 2**20
    assert found.objects == 4 * 2 + 4096
    assert _fetch._Room.for_reply_to(Message(RecordDict(), 2, "query")).objects == 4096


class OneReply:
    """A network on which one reply is announced at the third look, and is there piece by piece."""

    def __init__(self, contents, missing=0):
        self.contents, self.missing = contents, missing
        self.looks, self.confirmed, self.pulled, self.whole, self.sender = 0, [], [], [], 6

    def announced(self, number):
        self.looks += 1
        return "r" if self.looks >= 3 else None

    def content(self, object_id):
        self.pulled.append(object_id)
        if self.missing:
            self.missing -= 1
            return None
        return self.contents[object_id]

    def confirm(self, message_id):
        self.confirmed.append(message_id)

    def message(self, message_id, contents):
        self.whole = sorted(contents)
        return answer(self.sender)


def looking(network):
    become_server()
    return _fetch.Look(
        network, "q", Message(RecordDict(), 6, "train"), SimpleNamespace(get_node_ids=list)
    )


def reply_of(look):
    assert look(threading.Event())
    return look.reply()


def answer(sender, answered="q", error=None):
    """A reply as it comes out of its objects; anything may stand in it."""
    asked = Message(RecordDict(), sender, "train")
    asked.metadata.__dict__["_message_id"] = answered
    return Message(RecordDict() if error is None else error, reply_to=asked)


def whole(*names):
    """A reply of these objects, with nothing in them."""
    return {"r": b"Message %s 0\0" % ",".join(names).encode()} | dict.fromkeys(names, b"MetricRecord  0\0")


def test_each_object_is_pulled_once_and_then_the_reply_confirmed():
    network = OneReply(whole("a", "a"), missing=2)
    look, going = looking(network), threading.Event()
    assert [look(going) for _ in range(5)] == [False] * 4 + [True]
    assert look.reply().has_content()
    assert network.whole == ["a", "r"]
    assert network.looks == 3
    assert sorted(network.pulled) == ["a", "r", "r", "r"]
    assert network.confirmed == ["r"]


def test_nothing_more_is_pulled_once_the_round_is_over():
    network, over = OneReply(whole()), threading.Event()
    network.looks = 2
    over.set()
    assert not looking(network)(over)
    assert network.pulled == []


@pytest.mark.parametrize(("count", "room"), [(4095, True), (4096, False)])
def test_a_reply_has_no_more_objects_than_there_is_room_for(count, room):
    names = [str(number) for number in range(count)]  # and the reply itself
    network = OneReply(whole(*names))
    network.looks = 2
    found = reply_of(looking(network))
    assert found.has_content() == room
    assert network.whole == (sorted(["r", *names]) if room else [])
    if not room:
        assert found.error.reason == "the reply holds too many objects"
        assert found.metadata.src_node_id == 6
        assert network.confirmed == ["r"]


def test_an_object_that_will_never_be_there_is_an_error_reply_and_confirmed(caplog):
    network = OneReply({})
    network.looks = 2
    found = reply_of(looking(network))
    assert (found.error.code, found.error.reason) == (1, "the reply can't be read (KeyError)")
    assert found.metadata.message_id
    assert network.confirmed == ["r"]

    def fails(message_id):
        raise ConnectionError

    network.confirm = fails
    assert reply_of(looking(network)).has_error()
    assert "It is left at the SuperLink: ConnectionError" in caplog.text


def test_what_is_no_object_is_an_error_reply():
    network = OneReply({"r": b"Message without a head"})
    network.looks = 2
    assert reply_of(looking(network)).error.reason == "the reply can't be read (ValueError)"


@pytest.mark.parametrize(
    ("says", "own"),
    [
        ((6,), True), ((7,), False), ((6, "another"), False), ((1,), False),
        ((1, "q", Error(3)), True),  # the SuperLink's word that the node is gone
        ((7, "q", Error(3)), False),
    ],
)
def test_a_reply_in_anothers_name_is_an_error_of_the_node_that_was_asked(says, own):
    network = OneReply(whole())
    become_server()
    found = answer(*says)
    network.looks, network.message = 2, lambda message_id, contents: found
    reply = reply_of(looking(network))
    assert (reply is found) == own
    if not own:
        assert reply.metadata.src_node_id == 6
        assert "names another sender" in reply.error.reason
