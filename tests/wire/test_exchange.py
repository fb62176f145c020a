"""Replies over the network: what a node uploads that is no reply costs its own reply only."""

import errno
import hashlib
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    Metadata,
    MetricRecord,
    RecordDict,
)
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import (
    GetNodesResponse,
    PullAppMessagesResponse,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from flwr.superlink.grid.http_grid import HttpGrid

from flwr_resam import QuorumLostError, Resam
from flwr_resam.aggregators import Mean, TrimmedMean
from flwr_resam.grids._wrapper import GridWrapper
from flwr_resam.scratch import Scratch, ScratchError, Stored
from flwr_resam.server import gate, intake
from flwr_resam.wire import _fetch
from flwr_resam.wire.exchange import Deadline, answered, exchange, memory_of, recall
from flwr_resam.wire.flower import (
    Announced,
    Network,
    UnknownFlowerError,
    become_server,
    object_ids,
    seal,
)
from tests.support import asked_of, record

FIRST_PAUSE = _fetch._FIRST_PAUSE


class SuperLink:
    """What `HttpGrid` speaks to, with nodes that answer at the second call."""

    def __init__(self, count, forger=None, up=True):
        self.nodes = range(2, 2 + count)
        self.forger = forger
        self.up = up
        self.asked, self.objects, self.polls = {}, {}, {}

    def GetNodes(self, request):
        if not self.up:
            raise ConnectionError("no SuperLink")
        return GetNodesResponse(nodes=[NodeInfo(node_id=node) for node in self.nodes])

    def PushMessages(self, request):
        for message in request.messages_list:
            self.asked[message.metadata.message_id] = message.metadata.dst_node_id
        return PushAppMessagesResponse(
            message_ids=[message.metadata.message_id for message in request.messages_list]
        )

    def PullMessages(self, request):
        found = PullAppMessagesResponse()
        for number in asked_of(request):
            self.polls[number] = self.polls.get(number, 0) + 1
            if self.polls[number] == 2:
                proto, tree = self._reply(number, self.asked[number])
                found.messages_list.append(proto)
                found.message_object_trees.append(tree)
        return found

    def PullObject(self, request):
        return PullObjectResponse(
            object_found=True, object_available=True,
            object_content=self.objects[request.object_id],
        )

    def PushObject(self, request):
        return PushObjectResponse(stored=True)

    def ConfirmMessageReceived(self, request):
        pass

    def _reply(self, number, node):
        content = RecordDict({
            "momentum": ArrayRecord({"w": Array(np.ones(3))}),
            "metrics": MetricRecord({"loss": 1.0}),
        })
        message = make_message(
            Metadata(
                run_id=1, message_id="", src_node_id=node, dst_node_id=1,
                reply_to_message_id=number, group_id="", created_at=1.8e9, ttl=3600.0,
                message_type="train",
            ),
            content=content,
        )
        message.metadata.__dict__["_message_id"] = message.object_id
        own = {key: each.deflate() for key, each in get_all_nested_objects(message).items()}
        proto = message_to_proto(remove_content_from_message(message))
        tree = get_object_tree(message)
        if node == self.forger:
            names = self._forge(own, proto.metadata.message_id)
            proto.metadata.message_id = names[proto.metadata.message_id]
            return proto, renamed(tree, names)
        self.objects |= own
        return proto, tree

    def _forge(self, own, root):
        """Make the metrics no protobuf; every hash is right, so that Flower takes the upload."""
        metrics = next(key for key, value in own.items() if value.startswith(b"MetricRecord"))
        head, body = own[metrics].split(b"\x00", 1)
        own[metrics] = head + b"\x00" + b"\xff" * len(body)
        names = {}

        def add(key):
            value = own[key]
            for child in value.split(b"\x00", 1)[0].decode().split(" ")[1].split(","):
                if child:
                    value = value.replace(child.encode(), add(child).encode())
            validate_object_content(value)
            names[key] = hashlib.sha256(value).hexdigest()
            self.objects[names[key]] = value
            return names[key]

        add(root)
        return names


def renamed(tree, names):
    return ObjectTree(
        object_id=names[tree.object_id], children=[renamed(child, names) for child in tree.children]
    )


def federation(link):
    become_server(1)
    grid = HttpGrid(token="x")
    grid._client, grid._run = link, SimpleNamespace(run_id=1)
    return grid


def start(grid, **changes):
    arguments = {
        "num_malicious_nodes": 1, "aggregator": TrimmedMean(), "min_available_nodes": 5,
        "fraction_evaluate": 0.0,
    }
    strategy = Resam(**{**arguments, **changes})
    return strategy.start(grid, record(w=np.zeros(3)), num_rounds=1)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(_fetch, "_FIRST_PAUSE", 1e-3)


@pytest.mark.parametrize("wrap", [lambda grid: grid, GridWrapper])
@pytest.mark.parametrize("spilled", [False, True])
@pytest.mark.parametrize("forger", [None, 2, 6])
def test_an_upload_that_is_no_reply_costs_its_own_node_only(
    wrap, spilled, forger, caplog, tmp_path
):
    result = start(wrap(federation(SuperLink(5, forger))), spill=tmp_path if spilled else None)
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-rejected"]) == ((5, 0) if forger is None else (4, 1))
    assert metrics["f-effective"] == 1  # nothing is proven: who uploads half a reply may be honest
    np.testing.assert_allclose(result.arrays["w"].numpy(), -1.0)
    if forger is not None:
        assert f"The reply of node {forger} can't be read (DecodeError)" in caplog.text


def test_what_comes_in_lies_in_the_file_until_it_is_whole(tmp_path, monkeypatch):
    kept = []
    append = Stored.append
    monkeypatch.setattr(Stored, "append", lambda self, data: kept.append(data) or append(self, data))
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


def test_flower_itself_ends_there():
    """Else the above shows nothing."""
    grid = federation(SuperLink(5, 4))
    with pytest.raises(Exception, match="Error parsing message"):
        list(grid.send_and_receive(messages_for(grid), timeout=30.0))


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


def messages_for(grid):
    strategy = Resam(0, min_available_nodes=5, fraction_evaluate=0.0)
    return list(strategy.configure_train(1, record(w=np.zeros(3)), ConfigRecord(), grid))


# ------------------------------------------------------------------ one node is the enemy

class Hostile(SuperLink):
    """A SuperLink of which some nodes announce a reply that never comes, or never ends."""

    def __init__(self, count, hostile, attack):
        super().__init__(count)
        self.hostile, self.attack, self.pulled, self.confirmed = set(hostile), attack, {}, []
        self.held = set()
        self.began = time.monotonic()

    def _reply(self, number, node):
        if node not in self.hostile:
            return super()._reply(number, node)
        contents, root = CONTENTS.get(self.attack, its_own)(number, node)
        self.objects |= contents
        tree = get_object_tree(root)
        if self.attack == "tree":  # 3 kB of objects that are listed 2^14 times
            for _ in range(14):
                tree = ObjectTree(object_id=tree.object_id, children=[tree, tree])
        if self.attack in ("stall", "drip"):
            self.held |= set(object_ids(tree))
        return message_to_proto(remove_content_from_message(root)), tree

    def PullObject(self, request):
        self.pulled[request.object_id] = self.pulled.get(request.object_id, 0) + 1
        if request.object_id in self.held:
            late = self.attack == "drip" and self.pulled[request.object_id] > 3
            if not late:
                return PullObjectResponse(object_found=True, object_available=False)
        return super().PullObject(request)

    def ConfirmMessageReceived(self, request):
        self.confirmed.append(request.message_object_id)


def answering(number, node, content):
    message = make_message(
        Metadata(
            run_id=1, message_id="", src_node_id=node, dst_node_id=1, reply_to_message_id=number,
            group_id="", created_at=1.8e9, ttl=3600.0, message_type="train",
        ),
        content=content,
    )
    message.metadata.__dict__["_message_id"] = message.object_id
    return {key: each.deflate() for key, each in get_all_nested_objects(message).items()}, message


def momentum(**more):
    return RecordDict({"momentum": ArrayRecord({"w": Array(np.ones(3))}), **more})


def its_own(number, node):
    own = RecordDict({"momentum": ArrayRecord({"w": Array(np.ones(3) + 1e-9 * node)})})
    return answering(number, node, own)


def flood(number, node):
    big = ArrayRecord({"x": Array(np.zeros(1_500_000))})  # 12 MB that nobody asked for
    return answering(number, node, momentum(extra=big))


def text(number, node):
    return answering(number, node, momentum(extra=ConfigRecord({"x": 5_000_000 * "a"})))


def chunk_bomb(number, node):
    """An array that lists its one chunk a million times: 3 MB on the wire, terabytes in memory."""
    contents, message = answering(number, node, momentum(extra=ArrayRecord(
        {"x": Array(np.zeros(500_000))}
    )))
    key = next(k for k, v in contents.items() if v.startswith(b"Array ") and b"500000" in v)
    head, body = contents[key].split(b"\0", 1)
    listed = json.loads(body)
    listed["arraychunk_ids"] = [0] * 1_000_000
    body = json.dumps(listed).encode()
    kind, children, _ = head.split(b" ")
    contents[key] = b" ".join([kind, children, str(len(body)).encode()]) + b"\0" + body
    return contents, message


CONTENTS = {"flood": flood, "text": text, "chunks": chunk_bomb}


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("flood", "is larger than the model"), ("text", "is larger than the model"),
        ("chunks", "is larger than the model"), ("tree", "holds too many objects"),
    ],
)
def test_a_flood_is_cut_off_and_costs_its_own_reply_only(attack, said, caplog):
    link = Hostile(5, [6], attack)
    result = start(federation(link))
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["n-valid"], metrics["n-rejected"], metrics["n-silent"]) == (4, 1, 0)
    np.testing.assert_allclose(result.arrays["w"].numpy(), -1.0)
    assert f"The reply of node 6 {said}" in caplog.text
    assert len(link.confirmed) == 5  # the SuperLink may drop the flood, too


@pytest.mark.parametrize("count", [5, 100])
@pytest.mark.parametrize("attack", ["stall", "drip"])
def test_who_stalls_holds_up_its_own_reply_only(attack, count):
    hostile = list(range(2, 2 + (count - 1) // 4))
    link = Hostile(count, hostile, attack)
    changes = {"num_malicious_nodes": len(hostile), "min_available_nodes": count, "timeout": 3.0}
    result = start(federation(link), **changes)
    metrics = result.train_metrics_clientapp[1]
    assert metrics["n-valid"] == (count if attack == "drip" else count - len(hostile))
    assert metrics["f-effective"] == len(hostile)
    assert time.monotonic() - link.began < 10.0


def test_no_thread_is_left_of_a_run():
    start(federation(Hostile(5, [6], "stall")), timeout=0.5)
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and any(
        each.name.startswith("resam-replies") for each in threading.enumerate()
    ):
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("resam-replies")]


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


def test_a_silent_node_is_not_waited_for_once_the_rest_bears_all_faults(monkeypatch):
    monkeypatch.setattr("flwr_resam.server.loop._LEAST_PATIENCE", 0.3)
    link = Hostile(5, [6], "stall")
    result = start(federation(link), timeout=60.0)
    assert time.monotonic() - link.began < 20.0
    assert result.train_metrics_clientapp[1]["n-silent"] == 1


def test_a_quorum_that_would_lose_an_f_waits_for_the_timeout(monkeypatch):
    """Four of five answer, f = 2: without the fifth the rows bear one fault only."""
    monkeypatch.setattr("flwr_resam.server.loop._LEAST_PATIENCE", 0.1)
    link = Hostile(5, [6], "stall")
    start(federation(link), num_malicious_nodes=2, timeout=3.0)
    assert time.monotonic() - link.began >= 3.0


def other_field(network):
    network._pull = lambda **_: (_ for _ in ()).throw(ValueError('no "message_ids" field'))
    network._pull.DESCRIPTOR = SimpleNamespace(fields_by_name={})


def other_response(network):
    network._calls = (lambda request: SimpleNamespace(replies=[]), *network._calls[1:])


def other_object(network):
    network._calls = (network._calls[0], lambda request: SimpleNamespace(found=True), network._calls[2])


def other_signature(network):
    network._calls = (*network._calls[:2], lambda request, more: None)


@pytest.mark.parametrize("change", [other_field, other_response, other_object, other_signature])
def test_a_call_that_flwr_has_changed_is_no_nodes_fault(change, monkeypatch, caplog):
    """Of each call that a reply takes, however late in the run it is made."""
    made = Network.__init__

    def changed(self, grid):
        made(self, grid)
        change(self)

    monkeypatch.setattr(Network, "__init__", changed)
    with pytest.raises(UnknownFlowerError, match=r"flwr \d.* fetches replies in a way that this"):
        start(federation(SuperLink(5)))
    assert "The reply of node" not in caplog.text


def test_what_puts_a_reply_together_is_looked_at_before_a_node_is_asked(monkeypatch):
    link = SuperLink(5)
    monkeypatch.setattr(
        "flwr.supercore.inflatable.inflatable_utils.inflate_object_from_contents", lambda one: one
    )
    with pytest.raises(UnknownFlowerError, match="TypeError: too many positional arguments"):
        start(federation(link))
    assert link.asked == {}


@pytest.mark.parametrize("error", [AttributeError, TypeError, ImportError, ValueError])
def test_the_same_errors_of_what_a_node_sent_are_its_own(error, monkeypatch, caplog):
    def broken(self, message_id, contents):
        raise error("of what was sent")

    monkeypatch.setattr(Network, "message", broken)
    with pytest.raises(QuorumLostError):
        start(federation(SuperLink(5)))
    assert f"can't be read ({error.__name__})" in caplog.text


def test_another_flwr_is_named_and_taken_for_no_bad_node():
    grid = federation(SuperLink(5))
    grid._client = SimpleNamespace(GetNodes=grid._client.GetNodes)
    with pytest.raises(RuntimeError, match=r"flwr .* fetches replies in a way"):
        start(grid)


# ------------------------------------------------------------------ how much there is room for


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

    def __init__(self, contents, tree, missing=0):
        self.contents, self.tree, self.missing = contents, tree, missing
        self.looks, self.confirmed, self.pulled = 0, [], []

    def announced(self, number):
        self.looks += 1
        return Announced("r", self.tree) if self.looks >= 3 else None

    def content(self, object_id):
        self.pulled.append(object_id)
        if self.missing:
            self.missing -= 1
            return None
        return self.contents[object_id]

    def confirm(self, message_id):
        self.confirmed.append(message_id)

    def message(self, message_id, contents):
        return sorted(contents)


def looking(network):
    become_server()
    return _fetch.Look(network, "q", Message(RecordDict(), 6, "train"), SimpleNamespace(
        get_node_ids=list
    ))


def reply_of(look):
    assert look(threading.Event())
    return look.reply()


def leaves(*names):
    return ObjectTree(object_id="r", children=[ObjectTree(object_id=name) for name in names])


def test_each_object_is_pulled_once_and_then_the_reply_confirmed():
    network = OneReply({"r": b"Message ", "a": b"x"}, leaves("a", "a"), missing=2)
    look, going = looking(network), threading.Event()
    assert [look(going) for _ in range(5)] == [False] * 4 + [True]
    assert look.reply() == ["a", "r"]
    assert network.looks == 3
    assert sorted(network.pulled) == ["a", "r", "r", "r"]
    assert network.confirmed == ["r"]


def test_nothing_more_is_pulled_once_the_round_is_over():
    network, over = OneReply({"r": b"Message "}, leaves()), threading.Event()
    network.looks = 2
    over.set()
    assert not looking(network)(over)
    assert network.pulled == []


@pytest.mark.parametrize(("count", "room"), [(4095, True), (4096, False)])
def test_a_reply_has_no_more_objects_than_there_is_room_for(count, room):
    names = [str(number) for number in range(count)]  # and the reply itself
    network = OneReply(dict.fromkeys(["r", *names], b"x"), leaves(*names))
    network.looks = 2
    found = reply_of(looking(network))
    assert (found == sorted(["r", *names])) == room
    if not room:
        assert found.error.reason == "the reply holds too many objects"
        assert found.metadata.src_node_id == 6
        assert network.confirmed == ["r"]


def test_an_object_that_will_never_be_there_is_an_error_reply_and_confirmed(caplog):
    network = OneReply({}, leaves())
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
