"""All nodes in this process, one after the other or in threads: no Ray, no polling, no pickling."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..errors import requirement
from ..wire.exchange import Deadline
from ..wire.flower import SUPERLINK_NODE_ID, become_server, number_message, received
from ..wire.records import copied

_CLIENT_APP_RAISED = 1
_RUN_ID = 1


class InProcessGrid(Grid):
    """Run a ClientApp for ``num_nodes`` nodes in the calling process.

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
    threads : int
        How many nodes answer at a time. With more than one, nothing that the ClientApp changes
        may be shared by its nodes, and what it draws must not come from a generator that they
        share. Replies keep the order of the messages.

    Raises
    ------
    ValueError
        If ``num_nodes`` or ``threads`` is below 1.

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
        self, client_app: ClientApp, num_nodes: int, run_config: dict[str, Any] | None = None,
        *, threads: int = 1,
    ) -> None:
        if num_nodes < 1:
            raise requirement("num_nodes", "be at least 1", num_nodes, "Give the number of nodes")
        if threads < 1:
            raise requirement("threads", "be at least 1", threads, "Use 1, or the cores you have")
        become_server(_RUN_ID)
        self._client_app = client_app
        # Threads stay, for a new one begins with nothing in its caches.
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
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
        """Let the nodes answer, and return the replies in the order of the messages."""
        return list(self.stream(messages, Deadline(timeout)))

    def stream(self, messages: Iterable[Message], deadline: Deadline) -> Iterator[Message]:
        """Let the nodes answer, one after the other or in threads, in the order of the messages.

        A node that takes longer by itself than the deadline's seconds is late: its reply is lost.
        """
        asked, seconds = list(messages), deadline.seconds

        def answer(message: Message) -> list[Message]:
            started = time.monotonic()
            replies = list(self.pull_messages(self.push_messages([message])))
            return [] if time.monotonic() - started > seconds else replies

        # Two messages to one node are for its one Context, in the order in which they were sent.
        nodes = {message.metadata.dst_node_id for message in asked}
        pool = self._pool if len(nodes) == len(asked) else None
        answers = map(answer, asked) if pool is None else pool.map(answer, asked)
        for replies in answers:
            while replies:  # what has been handed out is not held here any longer
                yield replies.pop(0)

    @property
    def memory(self) -> dict[int, RecordDict]:
        """The state of each node, by node id: what a checkpoint needs."""
        return {node: context.state for node, context in self.contexts.items()}

    def recall(self, memory: dict[int, RecordDict]) -> bool:
        """Give the nodes the states of a `memory`."""
        if set(memory) != set(self.contexts):
            raise requirement(
                "grid", "have the nodes of the checkpoint",
                f"{len(self.contexts)} nodes, {len(memory)} in the checkpoint",
                "Resume with the `num_nodes` that the run began with",
            )
        for node, state in memory.items():
            self.contexts[node].state = state
        return True

    def _answer(self, message: Message) -> Message:
        context = self.contexts[message.metadata.dst_node_id]
        state = copied(context.state)
        try:
            reply = self._client_app(received(message), context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp returned {type(reply).__name__}, not a Message")
        except (Exception, SystemExit) as error:
            reason = "".join(traceback.format_exception_only(error)).strip()
            reply = Message(Error(_CLIENT_APP_RAISED, reason), reply_to=message)
            context.state = state  # as Flower's engine, which drops what an app that raised left
        number_message(reply)
        return reply
