"""All nodes in this process, one after the other: no Ray, no polling, no pickling."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..errors import requirement
from ..flower import SUPERLINK_NODE_ID, become_server, number_message, received

_CLIENT_APP_RAISED = 1
_RUN_ID = 1


class InProcessGrid(Grid):
    """Run a ClientApp for ``num_nodes`` nodes in the calling process, in the order asked.

    The nodes keep their `Context` from message to message, as on Flower's engines, and an
    exception in the ClientApp becomes an error reply. For tests and sweeps; with the same seeds
    it gives the same model as Flower's simulation engine.

    Parameters
    ----------
    client_app : ClientApp
        What each node runs.
    num_nodes : int
        How many nodes there are. Node i holds partition i of ``num_nodes``.
    run_config : dict, optional
        What the nodes find in ``context.run_config``.

    Examples
    --------
    >>> app = ClientApp()
    >>> @app.query()
    ... def answer(message, context):
    ...     return Message(message.content, reply_to=message)
    >>> grid = InProcessGrid(app, num_nodes=3)
    >>> messages = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    >>> len(grid.send_and_receive(messages))
    3
    """

    def __init__(
        self, client_app: ClientApp, num_nodes: int, run_config: dict[str, Any] | None = None
    ) -> None:
        if num_nodes < 1:
            raise requirement("num_nodes", "be at least 1", num_nodes, "Give the number of nodes")
        become_server(_RUN_ID)
        self._client_app = client_app
        self._replies: dict[str, Message] = {}
        first = SUPERLINK_NODE_ID + 1
        self.contexts = {
            first + i: Context(
                run_id=_RUN_ID,
                node_id=first + i,
                node_config={"partition-id": i, "num-partitions": num_nodes},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for i in range(num_nodes)
        }

    def set_run(self, run: Any) -> None:
        """Do nothing: there is one run."""

    @property
    def run(self) -> Any:
        """There is no run record in process."""
        raise NotImplementedError("InProcessGrid holds no run record")

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create an instruction."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    @property
    def partitions(self) -> dict[int, int]:
        """The node that holds each partition, by partition id."""
        return dict(enumerate(self.contexts))

    def get_node_ids(self) -> Iterable[int]:
        """List the nodes, in the order of their partitions."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the nodes answer at once; `pull_messages` hands the replies out."""
        numbers = []
        for message in messages:
            number = number_message(message)
            self._replies[number] = self._answer(message)
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Hand out the replies to these messages, each once."""
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Let the nodes answer, one after the other, in the order of the messages.

        A node that takes longer than ``timeout`` seconds by itself is late: its reply is lost.
        """
        replies: list[Message] = []
        for message in messages:
            started = time.monotonic()
            answer = list(self.pull_messages(self.push_messages([message])))
            if timeout is None or time.monotonic() - started <= timeout:
                replies += answer
        return replies

    def _answer(self, message: Message) -> Message:
        context = self.contexts[message.metadata.dst_node_id]
        try:
            reply = self._client_app(received(message), context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp returned {type(reply).__name__}, not a Message")
        except Exception as error:
            reason = "".join(traceback.format_exception_only(error)).strip()
            reply = Message(Error(_CLIENT_APP_RAISED, reason), reply_to=message)
        number_message(reply)
        return reply
