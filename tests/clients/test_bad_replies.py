"""The catalogue of bad replies: whole, the only one, and true about what crosses the network."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    validate_object_content,
)

import clients.bad_replies as catalogue
from clients.bad_replies import BAD_REPLIES, Level, Verdict
from clients.byzantine.malformed import KINDS
from flwr_resam.parse import parse_plans
from flwr_resam.server.gate import Rejection, read_reply
from flwr_resam.wire.flower import become_server, number_message
from flwr_resam.wire.layout import Layout
from simulations.robustness import MEASURED, TABLED
from tests.support import content, record

ROOT = Path(__file__).parents[2]
MODEL = {"w": np.ones((2, 3), np.float32), "b": np.zeros(2, np.float32)}
LAYOUT = Layout.of(record(**MODEL))
SENT = LAYOUT.views(record(**MODEL))
CONTENTS = [kind for kind, bad in BAD_REPLIES.items() if bad.level is not Level.MESSAGE]


def honest(arrays=MODEL, key="momentum", **metrics):
    become_server()
    asked = Message(RecordDict(), dst_node_id=7, message_type="train")
    number_message(asked)
    return Message(content(record(**arrays), key=key, **metrics), reply_to=asked)


def carried(message):
    """The message as Flower hands it out after it was sent over a network."""
    objects = {key: each.deflate() for key, each in get_all_nested_objects(message).items()}
    for data in objects.values():
        validate_object_content(data)
    return inflate_object_from_contents(message.object_id, objects)


def verdict(content):
    found = read_reply(content, 7, LAYOUT, SENT)
    if not isinstance(found, Rejection):
        return Verdict.ROW
    return Verdict.FAULT if found.proven else Verdict.UNPROVEN


def test_each_is_in_the_catalogue_once_and_says_what_it_is():
    lists = [
        value for name in ("arrays", "messages", "npy_bytes", "objects", "records")
        for value in vars(getattr(catalogue, name)).values() if isinstance(value, list)
    ]
    assert sum(map(len, lists)) == len(BAD_REPLIES)
    for name, bad in BAD_REPLIES.items():
        assert bad.name == name == name.strip()
        assert bad.what[0].isupper()
        assert bad.what.endswith(".")
        assert (bad.content is None) != (bad.messages is None)


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_network_carries_what_a_device_can_send_and_nothing_else(kind):
    bad = BAD_REPLIES[kind]
    assert bad.from_device == (bad.level in (Level.BYTES, Level.RECORD))
    (sent,) = bad.arriving(honest())
    if bad.from_device:
        assert verdict(carried(sent).content) is bad.verdict
        return
    try:
        arrived = carried(sent).content
    except BaseException:  # SystemExit among them
        return
    for arrays in arrived.array_records.values():  # and so nothing of the sender's is left
        assert {type(name) for name in arrays} == {str}
        assert {type(array.data) for array in arrays.values()} == {bytes}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_honest_reply_stays_as_it_was(kind):
    message = honest(loss=1.0)
    before = honest(loss=1.0).content
    BAD_REPLIES[kind].arriving(message)
    assert message.content == before


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("key", ["momentum", "arrays"])
def test_a_model_of_another_order_and_dtype_is_spoilt_too(kind, key):
    model = {"n": np.array(3), "b": np.zeros(4), "w": np.ones((3, 3), np.float16)}
    layout = Layout.of(record(**model))
    made = BAD_REPLIES[kind].content(honest(model, key).content)
    found = read_reply(made, 7, layout, layout.views(record(**model)))
    if kind == "array missing":  # the first one, a counter here, of which the server keeps its own
        assert not isinstance(found, Rejection)
    elif kind not in ("array added", "float16"):
        assert isinstance(found, Rejection) == (BAD_REPLIES[kind].verdict is not Verdict.ROW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_config_can_name_what_a_device_can_send(kind):
    ((plan,)) = parse_plans(f"1 malformed(kind={kind}) when(start=2)", {"malformed": _malformed()})
    assert plan.what.kind == kind


def _malformed():
    from clients.byzantine.malformed import Malformed

    return Malformed


def test_the_published_table_is_of_kinds_of_the_catalogue():
    published = json.loads((ROOT / "docs/robustness/robustness.json").read_text())["cells"]
    kinds = list(dict.fromkeys(cell["kind"] for cell in published if cell["kind"] != "honest"))
    assert kinds == TABLED
    assert set(TABLED) < set(MEASURED) == set(KINDS) - {"silence"}


def test_there_is_no_second_list():
    """No dictionary elsewhere has three names of the catalogue as its keys."""
    for folder in ("clients", "simulations", "fuzz", "tests", "flwr_resam", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Dict):
                    keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                    assert len(keys & set(BAD_REPLIES)) < 3, f"{path}:{node.lineno}"
