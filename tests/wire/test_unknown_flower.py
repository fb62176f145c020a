"""A Flower that fetches replies otherwise is named, and is no node's fault."""

from types import SimpleNamespace

import pytest

from flwr_resam import QuorumLostError
from flwr_resam.wire.flower import Network, UnknownFlowerError
from tests.wire.superlink import SuperLink, federation, start


def other_field(network):
    network._pull = lambda **_: (_ for _ in ()).throw(ValueError('no "message_ids" field'))
    network._pull.DESCRIPTOR = SimpleNamespace(fields_by_name={})


def other_response(network):
    network._calls = (lambda request: SimpleNamespace(replies=[]), *network._calls[1:])


def other_object(network):
    network._calls = (
        network._calls[0],
        lambda request: SimpleNamespace(found=True),
        network._calls[2],
    )


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
