"""What one registered node did to a run, and tries to do still: each an attack for `attacked`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message import make_message
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_all_nested_objects,
    get_object_tree,
)

from tests.redteam.harness import Attack, Campaign, RawNode, row

_GUESSES = 300  # microseconds before and after its own message was made
_LIE = 1e6


def answers_for_others(node: RawNode, campaign: Campaign) -> None:
    """Guess the ids of the instructions to the other nodes, and answer in their names first."""
    nearest_first = sorted(range(-_GUESSES, _GUESSES + 1), key=abs)
    for asked, tree in node.asked():
        content = node.content(asked, tree)
        made = round(asked.metadata.created_at * 1e6)
        others = [other for other in campaign.nodes if other is not node]
        for apart in nearest_first:
            for other in list(others):
                metadata = copy.copy(asked.metadata)
                metadata.dst_node_id, metadata.delivered_at = other.id, ""
                metadata.created_at = (made + apart) / 1e6
                guess = make_message(metadata, content=content).object_id
                lie = node.reply(asked, row(_LIE), source=other.id, reply_to=guess)
                if node.announce(lie).objects_to_push:  # the SuperLink knows such a message
                    node.push(lie)
                    others.remove(other)
        node.push(node.reply(asked, row(_LIE)))


def frames_others(node: RawNode, campaign: Campaign) -> None:
    """Send malformed replies in the names of honest nodes, to the instruction it was given."""
    for asked, _ in node.asked():
        for other in campaign.nodes:
            node.push(node.reply(asked, RecordDict(), source=other.id))


def announces_only(node: RawNode, campaign: Campaign) -> None:
    """Announce a reply at once, and upload nothing of it."""
    for asked, _ in node.asked():
        node.announce(node.reply(asked, row(_LIE)))


def uploads_drop_by_drop(node: RawNode, campaign: Campaign) -> None:
    """Announce a reply of a hundred objects, and upload one every two seconds."""
    for asked, _ in node.asked():
        arrays = ArrayRecord({f"{i}": Array(np.full(3, i, np.float32)) for i in range(100)})
        reply = node.reply(asked, RecordDict({"momentum": arrays}))
        answer, nested = node.announce(reply), get_all_nested_objects(reply)
        for object_id in answer.objects_to_push:
            node.push_object(reply, answer.session_id, nested[object_id])
            if node.stop.wait(2.0):
                return


def announces_a_tree(node: RawNode, campaign: Campaign) -> None:
    """Announce 3 kB of objects that list each other 2^14 times, and upload nothing."""
    for asked, _ in node.asked():
        reply = node.reply(asked, row(_LIE))
        tree = get_object_tree(reply)
        leaf = tree.children[0]
        for level in range(14):
            leaf = ObjectTree(object_id=f"{level:064x}", children=[leaf, leaf])
        node.announce_tree(reply, ObjectTree(object_id=tree.object_id, children=[leaf]))


def nests_deeply(node: RawNode, campaign: Campaign) -> None:
    """Announce a hundred objects each of which holds the one before, which protobuf can't read."""
    for asked, _ in node.asked():
        reply = node.reply(asked, row(_LIE))
        tree = ObjectTree(object_id=get_object_tree(reply).object_id)
        below: list[ObjectTree] = []
        for level in range(100):  # a flat list, which the SuperLink joins to a tree of 100 levels
            own = ObjectTree(object_id=_invented(reply.object_id, level), children=below)
            tree.children.append(own)
            below = [ObjectTree(object_id=own.object_id)]
        node.announce_tree(reply, tree)


def poisons_replies(node: RawNode, campaign: Campaign) -> None:
    """Announce that a record which honest nodes send as well has a part, and never upload that."""
    for asked, _ in node.asked():
        _poison(node, asked, [row(1.0)["metrics"]])


def poisons_instructions(node: RawNode, campaign: Campaign) -> None:
    """Announce the same of the records that the server will send with the next round's model."""
    for asked, tree in node.asked():
        records = node.content(asked, tree).config_records.values()
        number = max(int(str(record.get("server-round", 0))) for record in records)
        _poison(node, asked, [
            ConfigRecord({**record, **({"server-round": later} if "server-round" in record else {})})
            for record in records for later in range(number + 1, number + 4)
        ])


def names_another_inside(node: RawNode, campaign: Campaign) -> None:
    """Announce a reply as its own, and upload one in the name of an honest node."""
    for asked, _ in node.asked():
        lie = node.reply(asked, row(_LIE), source=campaign.nodes[0].id)
        node.push(lie, sender=node.id)


def only_heartbeats(node: RawNode, campaign: Campaign) -> None:
    """Say that it lives, and never ask for an instruction."""
    node.stop.wait()


def floods(node: RawNode, campaign: Campaign) -> None:
    """Send a valid reply with 40 MB in a record that nobody asked for."""
    for asked, _ in node.asked():
        extra = ArrayRecord({"x": Array(np.random.default_rng(0).normal(size=5_000_000))})
        node.push(node.reply(asked, _with(row(_LIE), extra)))


def floods_with_metrics(node: RawNode, campaign: Campaign) -> None:
    """Send a valid reply with as many metrics as fit under any bound on bytes."""
    for asked, _ in node.asked():
        names = {f"metric {index}": 1.0 for index in range(20_000)}
        node.push(node.reply(asked, row(_LIE, flood=MetricRecord(names))))


def multiplies_a_chunk(node: RawNode, campaign: Campaign) -> None:
    """Send an array that lists its one chunk of 4 MB a thousand times."""
    for asked, _ in node.asked():
        extra = ArrayRecord({"x": Array(np.zeros(500_000))})
        (chunk,) = extra["x"].slice_array()
        extra["x"].__dict__["_chunks"] = [chunk] * 1000
        node.push(node.reply(asked, _with(row(_LIE), extra)))


def _poison(node: RawNode, asked: Message, records: Iterable[InflatableObject]) -> None:
    """Announce a reply of these records, each with a part that is nowhere."""
    reply = node.reply(asked, row(_LIE))
    parts = [ObjectTree(object_id=_invented(reply.object_id, 0))]
    node.announce_tree(reply, ObjectTree(object_id=reply.object_id, children=[
        ObjectTree(object_id=record.object_id, children=parts) for record in records
    ]))


def _invented(reply: str, number: int) -> str:
    return hashlib.sha256(f"{reply}{number}".encode()).hexdigest()


def _with(content: RecordDict, extra: ArrayRecord) -> RecordDict:
    return RecordDict({**content, "extra": extra, "why": ConfigRecord({"because": "it can"})})


ATTACKS: dict[str, Attack] = {
    each.__name__.replace("_", "-"): each
    for each in (
        answers_for_others, frames_others, announces_only, uploads_drop_by_drop, announces_a_tree,
        nests_deeply, poisons_replies, poisons_instructions, names_another_inside, only_heartbeats, floods, floods_with_metrics, multiplies_a_chunk,
    )
}
