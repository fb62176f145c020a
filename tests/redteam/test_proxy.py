"""What a device can do at the proxy, beside what it could do at the SuperLink's own port."""

import logging
import socket
import ssl
import time
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import httpx
import psutil
import pytest
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

from flwr_resam.server.ledger import read_ledger
from simulations.deployment import federation as federation_module
from simulations.deployment.__main__ import DEFAULTS
from simulations.deployment.drill import _intrude
from simulations.deployment.intruder import as_another, as_operator
from simulations.deployment.proxy import LOG, find_nginx
from simulations.deployment.run import run_deployed
from simulations.experiment import Experiment
from simulations.flwr_cli import RunFailed
from tests.redteam.harness import RawNode, WithoutSuperNodes, attacked, honest, row

pytestmark = pytest.mark.slow
needs_nginx = pytest.mark.skipif(
    find_nginx() is None, reason="nginx is not installed (apt-get install nginx)"
)

OF_A_NODE = {
    f"/v1/fleet/{name}" for name in (
        "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages",
        "pull-object", "push-object", "confirm-message-received", "get-run", "get-fab",
    )
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    """Two keys are registered, no node is started."""
    with WithoutSuperNodes(2, {}, True, tmp_path_factory.mktemp("federation")) as started:
        yield started


@pytest.fixture
def devices(federation):
    """The proxy's and the SuperLink's own address, for calls as a device spells them."""
    tls = ssl.create_default_context(cafile=federation.keys.ca)

    def ask(address, method, path, **rest):
        return httpx.request(method, f"https://{address}{path}", verify=tls, timeout=20, **rest)

    return ask


def of_nginx(answer):
    """Whether nginx has answered by itself, and not the SuperLink."""
    return "<center>nginx</center>" in answer.text


@needs_nginx
def test_the_operators_calls_succeed_at_the_superlink_and_are_refused_at_the_proxy(federation):
    keys = federation.keys
    before = federation.flwr.nodes()
    node = max(before)
    tried = as_operator(federation.door, keys.ca, keys.node(0), node, 1)
    assert {attempt.answer for attempt in tried} == {"403 Forbidden"}
    assert all(attempt.held for attempt in tried)
    assert federation.flwr.nodes() == before
    refused = (federation._folder / LOG).read_text()
    assert refused.count("access forbidden by rule, client: 127.0.0.1") == len(tried) == 7
    # The control: one port further, the same device with the same files does it all.
    tried = as_operator(federation.superlink_address, keys.ca, keys.node(0), 0, 1)
    assert not any(attempt.held for attempt in tried)
    assert {"list the runs", "list the nodes", "register a node", "take the ServerApp's task"} <= {
        attempt.what for attempt in tried if attempt.answer == "done"
    }
    assert len(federation.flwr.nodes()) == len(before) + 1


def test_a_drill_ends_with_an_error_where_a_device_is_let_in(federation):
    said = []
    open_door = SimpleNamespace(
        keys=federation.keys, node_id=lambda _: 0, door=federation.superlink_address, proxied=True
    )
    with pytest.raises(RunFailed, match=r"A device can list the runs at .* \(answer: done\)"):
        _intrude(open_door, 0, 1, 1, said.append)
    assert len(said) == 3


def test_a_device_is_nobody_else(federation):
    keys = federation.keys
    with RawNode(federation, 0) as node:
        own = as_another(federation.door, keys.ca, keys.node(0), node.id)
        other = as_another(federation.door, keys.ca, keys.node(1), node.id)
    # The control: with the key of that node its instructions can be read.
    assert [attempt.held for attempt in own] == [True, True, False]
    assert all(attempt.held for attempt in other)


@needs_nginx
def test_every_call_of_flowers_that_is_not_a_nodes_is_refused(federation, devices):
    paths = {path for _, path in PROTOBUF_REQUEST_TYPES}
    assert paths > OF_A_NODE
    form = {"content-type": "application/protobuf"}
    for path in sorted(paths | {"/", "/health", "/docs", "/openapi.json", "/v1/runtime/responses"}):
        through = devices(federation.door, "POST", path, headers=form)
        direct = devices(federation.superlink_address, "POST", path, headers=form)
        assert not of_nginx(direct), path
        assert of_nginx(through) == (path not in OF_A_NODE), path
        assert path in OF_A_NODE or through.status_code == 403, path


@needs_nginx
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_node_posts_and_does_nothing_else(federation, devices, method):
    assert devices(federation.door, method, "/v1/fleet/pull-messages").status_code == 403


SPELLINGS = [
    "/v1/fleet/../control/list-nodes",
    "/v1/fleet/pull-messages/../../control/list-nodes",
    "/v1/control/list-nodes?x=/v1/fleet/pull-messages",
    "/v1/control/list-nodes#/v1/fleet/pull-messages",
    "/v1/control/list-nodes/../../fleet/pull-messages",
    "/v1/control/list-nodes%3f/../../fleet/pull-messages",
    "/v1/control/list-nodes%23/../../fleet/pull-messages",
    "/v1/control/list-nodes;/../../fleet/pull-messages",
    "/v1/fleet/pull-messages%00/../../control/list-nodes",
    "/v1/fleet/pull-messages%0a",
    "//v1/control/list-nodes",
    "/v1/fleet/%2e%2e/control/list-nodes",
    "/V1/CONTROL/LIST-NODES",
    "http://127.0.0.1/v1/control/list-nodes",
]


def raw(address, ca, request):
    """Send bytes as they are and return the status code, as httpx would mend the spelling."""
    host, port = address.split(":")
    tls = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((host, int(port)), timeout=20) as plain,
        tls.wrap_socket(plain, server_hostname=host) as secured,
    ):
        secured.sendall(request)
        return int(secured.recv(4096).split()[1])


@needs_nginx
@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_a_path_comes_through(federation, path):
    """The SuperLink answers an operator's call with 200; a node's call without its key with 401."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n"
        "Content-Type: application/protobuf\r\n\r\n"
    ).encode()
    assert raw(federation.door, federation.keys.ca, request) in {400, 401, 403}
    plain = request.replace(path.encode(), b"/v1/control/list-nodes")
    assert raw(federation.superlink_address, federation.keys.ca, plain) == 200


@needs_nginx
def test_two_requests_in_one_are_two_requests(federation):
    """What is hidden in a body stays a body, whichever length counts."""
    hidden = b"POST /v1/control/list-nodes HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    for lengths in (
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (len(hidden) + 5),
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(hidden),
    ):
        request = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\n" + lengths
        assert raw(federation.door, federation.keys.ca, request + b"\r\n0\r\n\r\n" + hidden) == 400


@needs_nginx
def test_a_call_larger_than_flowers_largest_does_not_reach_the_superlink(federation, devices):
    for path, size, code in (
        ("/v1/fleet/push-object", 9 << 20, 413),
        ("/v1/fleet/push-messages", 9 << 20, 413),
        ("/v1/fleet/pull-messages", 1 << 20, 413),
        ("/v1/fleet/push-object", 6 << 20, 401),  # an object has 5 MiB; it fails for want of a key
    ):
        form = {"content-type": "application/protobuf"}
        # Field 15 of bytes: a message that Flower parses and does not know.
        body = b"\x7a" + _varint(size) + bytes(size)
        answer = devices(federation.door, "POST", path, headers=form, content=body)
        assert answer.status_code == code, path


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@contextmanager
def slow_calls(address, ca, count):
    """Clients that have each sent the head of an upload and the first bytes of its body."""
    host, port = address.split(":")
    tls = ssl.create_default_context(cafile=ca)
    head = (
        b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Type: application/protobuf\r\n"
        b"Content-Length: 1000\r\n\r\n"
    )
    with ExitStack() as stack:
        slow = []
        for _ in range(count):
            plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            slow.append(stack.enter_context(tls.wrap_socket(plain, server_hostname=host)))
            slow[-1].sendall(head)
        yield slow


@needs_nginx
def test_clients_of_one_byte_a_second_do_not_reach_the_superlink(federation, devices):
    """It hears of a call when the call is complete, and one address has 32 at the same time."""

    def connections():
        superlink = psutil.Process(federation.superlink.pid)
        return sum(c.status == "ESTABLISHED" for c in superlink.net_connections("tcp"))

    time.sleep(6)  # those kept from earlier calls are closed after five
    idle = connections()
    with slow_calls(federation.door, federation.keys.ca, 40) as slow:
        for _ in range(3):
            for one in slow:
                one.send(b"x")
            time.sleep(1)
        assert connections() <= idle + 1
        turned_away = 0
        for one in slow:
            one.settimeout(0.2)
            with suppress(TimeoutError):
                turned_away += b" 503 " in one.recv(100)
        assert turned_away == 8
    # The control: at the SuperLink's own port all forty hold a connection.
    with slow_calls(federation.superlink_address, federation.keys.ca, 40) as slow:
        for one in slow:
            one.send(b"x")
        assert connections() >= idle + 40


@needs_nginx
def test_models_of_many_objects_pass(tmp_path):
    """12 MB in three pieces down and up again, for four nodes."""
    found = attacked(
        lambda node, _: honest(node, 3_000_000), folder=tmp_path, rounds=2, size=3_000_000
    )
    assert found.end == "completed", found.log[-20:]
    assert found.failures == []
    assert [found.metrics[number]["n-valid"] for number in "12"] == [4, 4]
    assert found.models[-1] == pytest.approx([-2.03] * 8)
    assert "forbidden" not in (tmp_path / LOG).read_text()


def test_the_harness_shows_what_an_attack_does(tmp_path):
    """One lie in four, against the mean and against the trimmed mean."""

    def lie(node, _):
        for asked, _ in node.asked():
            node.push(node.reply(asked, row(-100.0)))

    models = {}
    for rule in ("mean", "cwtm"):
        folder = tmp_path / rule
        folder.mkdir()
        found = attacked(lie, folder=folder, rounds=1, aggregator=rule)
        assert (found.end, found.failures) == ("completed", [])
        models[rule] = found.models[-1]
    assert models["cwtm"] == pytest.approx([-1.005] * 6, abs=0.02)
    assert models["mean"] == pytest.approx([(100 - 3.03) / 4] * 6, abs=0.02)


@needs_nginx
def test_supernodes_train_through_the_proxy_and_it_ends_with_them(tmp_path):
    experiment = Experiment.default({
        **DEFAULTS, "num-nodes": 2, "num-malicious-nodes": 0, "num-rounds": 1,
        "output-dir": str(tmp_path),
    })
    doors, nginx = [], []

    def started(federation):
        doors.append(federation.door != federation.superlink_address)
        for node in federation._nodes.values():
            doors.append(federation.door in node.args)
        nginx.append(psutil.Process(federation._proxy.pid))
        nginx.extend(nginx[0].children())

    nodes = run_deployed(experiment, byzantine={}, secure=True, on_start=started)
    assert doors == [True, True, True]
    assert {node.status for node in nodes} == {"online"}
    assert [line.status for line in read_ledger(tmp_path)] == ["valid"] * 2
    assert (tmp_path / LOG).read_text() == ""
    assert len(nginx) >= 2
    assert not any(process.is_running() for process in nginx)


def test_without_nginx_a_line_says_what_is_missing_and_nodes_connect_all_the_same(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(federation_module, "find_nginx", lambda: None)
    with caplog.at_level(logging.WARNING), WithoutSuperNodes(1, {}, True, tmp_path) as started:
        assert started.door == started.superlink_address
        with RawNode(started, 0) as node:
            assert node.pull() is None
    (said,) = [r.getMessage() for r in caplog.records if r.name == federation_module.__name__]
    assert "apt-get install nginx" in said
