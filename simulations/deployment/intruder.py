"""What nobody but the operator may do, tried with what a device or a stranger holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    PullMessagesRequest,
    RegisterNodeFleetRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.runtime.runtime_http_client import RuntimeHttpClient
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor


@dataclass(frozen=True)
class Attempt:
    """One call that has to be refused; ``answer`` is how it was answered."""

    what: str
    held: bool
    answer: str


def as_operator(door: str, ca: Path, key: Path, node: int, run_id: int) -> list[Attempt]:
    """Try what the operator and the ServerApp do: list, register, start, stop, take a task.

    Each is held where the proxy refuses it. An answer of the SuperLink, even one that says no,
    means that the call has come through, and what it does then is up to the caller.

    Parameters
    ----------
    door : str
        Address and port that devices connect to.
    ca : path
        The certificate of the authority, which every device holds.
    key : path
        The device's own private key; its signature goes with every call.
    node : int
        The id of another node, to unregister.
    run_id : int
        The run to stop.
    """
    own = _load(key)
    sign = [NodeAuthHttpInterceptor(own, own.public_key())]
    control = ControlHttpClient.from_server_address(door, False, ca.read_bytes(), sign)
    runtime = RuntimeHttpClient.from_server_address(door, False, ca.read_bytes(), sign)
    new = public_key_to_bytes(ec.generate_private_key(ec.SECP384R1()).public_key())
    with control, runtime:
        return [_attempt(what, call, _by_proxy) for what, call in {
            "list the runs": lambda: control.ListRuns(ListRunsRequest()),
            "list the nodes": lambda: control.ListNodes(ListNodesRequest()),
            "register a node": lambda: control.RegisterNode(
                RegisterNodeRequest(public_key=new)
            ),
            "unregister another node": lambda: control.UnregisterNode(
                UnregisterNodeRequest(node_id=node)
            ),
            "start a run": lambda: control.StartRun(StartRunRequest()),
            "stop the run": lambda: control.StopRun(StopRunRequest(run_id=run_id)),
            "take the ServerApp's task": lambda: runtime.AcquireTask(AcquireTaskRequest()),
        }.items()]


def as_another(door: str, ca: Path, key: Path, node: int) -> list[Attempt]:
    """Try to join without a key that is registered, and to be another node with one's own.

    Each is held where it is refused, by the proxy or by the SuperLink.

    Parameters
    ----------
    door, ca, key, node
        As for `as_operator`.
    """
    stranger, own = ec.generate_private_key(ec.SECP384R1()), _load(key)
    public = public_key_to_bytes(stranger.public_key())
    nobody = FleetHttpClient.from_server_address(
        door, False, ca.read_bytes(), [NodeAuthHttpInterceptor(stranger, stranger.public_key())]
    )
    device = FleetHttpClient.from_server_address(
        door, False, ca.read_bytes(), [NodeAuthHttpInterceptor(own, own.public_key())]
    )
    with nobody, device:
        return [_attempt(what, call, lambda _: True) for what, call in {
            "register itself without a key": lambda: nobody.RegisterNode(
                RegisterNodeFleetRequest(public_key=public)
            ),
            "join without a key": lambda: nobody.ActivateNode(
                ActivateNodeRequest(public_key=public, heartbeat_interval=30.0)
            ),
            "read another node's instructions": lambda: device.PullMessages(
                PullMessagesRequest(node=Node(node_id=node))
            ),
        }.items()]


def _attempt(
    what: str, call: Callable[[], object], held: Callable[[httpx.Response], bool]
) -> Attempt:
    try:
        call()
    except httpx.HTTPStatusError as error:
        answer = error.response
        return Attempt(what, held(answer), f"{answer.status_code} {answer.reason_phrase}")
    return Attempt(what, False, "done")


def _by_proxy(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and FlowerError.from_json(answer.text) is None


def _load(key: Path) -> ec.EllipticCurvePrivateKey:
    loaded = load_ssh_private_key(key.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded
