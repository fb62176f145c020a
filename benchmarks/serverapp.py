"""The memory of a ServerApp in one round of a real federation, with rows in memory and in a file.

    python -m benchmarks.serverapp --n 6 --megabytes 100

Flower's own grid for ServerApps speaks to a SuperLink that is a stand-in in this process: it makes
each object of a reply as it is pulled, and keeps none. So what is measured is the ServerApp, but
for the buffers of its HTTP client. Each case has a process of its own; the highest resident memory
is noted, and what it was before the round.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import ObjectTree, PullObjectResponse, PushObjectResponse
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import (
    GetNodesResponse,
    PullAppMessagesResponse,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.superlink.grid.http_grid import HttpGrid

from benchmarks.machine import RESULTS, describe
from flwr_resam import Resam
from flwr_resam.wire.flower import become_server
from flwr_resam.wire.layout import MOMENTUM_KEY
from flwr_resam.wire.npy import write_header

LAYERS = 10
CHUNK = 5 * 1024 * 1024  # as Flower cuts arrays


class SuperLink:
    """What a ServerApp calls; each of n nodes answers with a momentum of noise."""

    def __init__(self, n: int, size: int) -> None:
        self._nodes = range(2, 2 + n)
        self._asked: dict[str, int] = {}
        self._objects: dict[str, bytes] = {}
        self._header = write_header(np.dtype(np.float32), (size // LAYERS,), False)
        self._bytes = len(self._header) + size // LAYERS * 4

    def GetNodes(self, request: Any) -> GetNodesResponse:
        """List the nodes."""
        return GetNodesResponse(nodes=[NodeInfo(node_id=node) for node in self._nodes])

    def PushMessages(self, request: Any) -> PushAppMessagesResponse:
        """Note who is asked what."""
        for message in request.messages_list:
            self._asked[message.metadata.message_id] = message.metadata.dst_node_id
        return PushAppMessagesResponse(
            message_ids=[message.metadata.message_id for message in request.messages_list]
        )

    def PushObject(self, request: Any) -> PushObjectResponse:
        """Take an object, and forget it."""
        return PushObjectResponse(stored=True)

    def PullMessages(self, request: Any) -> PullAppMessagesResponse:
        """Announce the replies."""
        found = PullAppMessagesResponse()
        for number in request.message_ids:
            message, tree = self._reply(number, self._asked[number])
            found.messages_list.append(message_to_proto(remove_content_from_message(message)))
            found.message_object_trees.append(tree)
        return found

    def PullObject(self, request: Any) -> PullObjectResponse:
        """Hand out an object; a chunk is made now."""
        name = request.object_id
        content = self._objects[name] if name in self._objects else self._chunk(name)
        return PullObjectResponse(
            object_found=True, object_available=True, object_content=content
        )

    def ConfirmMessageReceived(self, request: Any) -> None:
        """Keep nothing, as ever."""

    def _reply(self, number: str, node: int) -> tuple[Message, ObjectTree]:
        """A reply whose arrays are large, though nobody has them: their chunks are drawn later."""
        small = ArrayRecord({f"w{i}": Array(np.array([node, i])) for i in range(LAYERS)})
        message = make_message(
            Metadata(
                run_id=1, message_id="", src_node_id=node, dst_node_id=1, group_id="",
                reply_to_message_id=number, created_at=time.time(), ttl=3600.0,
                message_type="train",
            ),
            content=RecordDict({MOMENTUM_KEY: small}),
        )
        message.metadata.__dict__["_message_id"] = message.object_id
        objects = {key: each.deflate() for key, each in get_all_nested_objects(message).items()}
        children = [key for key, content in objects.items() if not content.startswith(b"ArrayC")]
        count = -(-self._bytes // CHUNK)
        for layer, array in enumerate(small.values()):
            names = [f"{node}-{layer}-{index}" for index in range(count)]
            said = json.dumps({
                "dtype": "float32", "shape": [(self._bytes - len(self._header)) // 4],
                "stype": "numpy.ndarray", "arraychunk_ids": list(range(count)),
            })
            objects[array.object_id] = f"Array {','.join(names)} {len(said)}\0{said}".encode()
            children += names
        self._objects |= {key: objects[key] for key in children if key in objects}
        return message, ObjectTree(
            object_id=message.object_id,
            children=[ObjectTree(object_id=key) for key in children if key != message.object_id],
        )

    def _chunk(self, name: str) -> bytes:
        node, layer, index = map(int, name.split("-"))
        size = min(CHUNK, self._bytes - index * CHUNK)
        head = self._header if index == 0 else b""
        random = np.random.default_rng([node, layer, index])
        values = random.random((size - len(head)) // 4, dtype=np.float32)
        # Values lie on multiples of four bytes from the header's end, in every chunk.
        return b"".join((f"ArrayChunk  {size}\0".encode(), head, values.tobytes()))


def measure(n: int, size: int, folder: str | None) -> dict[str, float]:
    """One round; the memory of this process."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    become_server(1)
    grid: Any = HttpGrid(token="none")
    grid._client, grid._run = SuperLink(n, size), SimpleNamespace(run_id=1)
    strategy = Resam(
        num_malicious_nodes=1, min_available_nodes=n, fraction_evaluate=0.0, spill=folder
    )
    before = _highest()
    random = np.random.default_rng(0)
    model = ArrayRecord({
        f"w{i}": Array(random.random(size // LAYERS, dtype=np.float32)) for i in range(LAYERS)
    })
    began = time.perf_counter()
    result = strategy.start(grid, model, num_rounds=1)
    models = size * 4
    return {
        "rows": float(str(result.train_metrics_clientapp[1]["n-valid"])),
        "seconds": round(time.perf_counter() - began, 1),
        "mib-before": before >> 20,
        "mib-at-peak": _highest() >> 20,
        "models-at-peak": round(_highest() / models, 2),
        "models-above-before": round((_highest() - before) / models, 2),
        "models-a-row-above-before": round((_highest() - before) / models / n, 2),
    }


def _highest() -> int:
    import resource  # not everywhere

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _in_a_process(queue: Any, *arguments: Any) -> None:
    queue.put(measure(*arguments))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="for the file; else a temporary one")
    arguments = parser.parse_args()
    n, megabytes = arguments.n, arguments.megabytes
    data: dict[str, Any] = {"n": n, "megabytes": megabytes, "machine": describe()}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = str(arguments.folder or temporary)
        for case, place in (("rows in memory", None), ("rows in a file", folder)):
            queue = context.Queue()
            process = context.Process(
                target=_in_a_process, args=(queue, n, megabytes * 250_000, place)
            )
            process.start()
            data[case] = queue.get()
            process.join()
            print(case, data[case], flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"serverapp-n{n}-{megabytes}MB.json"
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
