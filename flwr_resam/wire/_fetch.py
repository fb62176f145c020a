"""One reply over the network, fetched object by object, within bounds, and without waiting."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from logging import WARNING
from typing import cast

from flwr.app import Error, Message
from flwr.serverapp import Grid

from ..scratch import Scratch, ScratchError, Stored
from .flower import SUPERLINK_NODE_ID, Network, UnknownFlowerError, logger, number_message
from .objects import Content, array_bytes, children_of, is_chunk

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0  # seconds between two looks for a reply
_MARGIN = 4 << 20  # bytes of a reply beside its arrays, which may be twice those that were sent
_OBJECTS = 4096  # of a reply beside four times those that were sent
_TOO_LARGE = "is larger than the model that was sent twice over, and 4 MiB"
_UNREADABLE = 1  # code of the error reply in place of what is no reply


class Look:
    """The way to one reply: called again and again, it says whether the reply is all there.

    Never waits for a node: where something is not there yet, it returns False and says in ``due``
    when to look again. What has come is kept in the file, where there is one.
    """

    def __init__(
        self, network: Network, number: str, asked: Message, grid: Grid,
        scratch: Scratch | None = None,
    ) -> None:
        self.due = 0.0
        self._network, self._number, self._grid = network, number, grid
        self._asked = asked
        self._room = _Room.for_reply_to(asked)
        self._pause = _FIRST_PAUSE
        self._reply: str | None = None
        self._missing: deque[str] = deque()
        self._known: set[str] = set()
        self._contents: dict[str, Content] = {}
        self._chunks = None if scratch is None else Stored(scratch)
        self._error: Message | None = None

    def __call__(self, stop: threading.Event) -> bool:
        """Go on as far as one can now."""
        try:
            return self._go_on(stop)
        except (ScratchError, UnknownFlowerError):
            raise
        except Exception as error:
            if stop.is_set():  # the round is over, and with it the file
                return False
            self._refuse_for(error)
            return True

    def reply(self) -> Message:
        """The reply that is all there, put together; an error in the node's name for what is none.

        Called once, and for one reply at a time, so that no other is in memory as a whole.
        """
        if self._error is None:
            try:
                found = self._network.message(cast(str, self._reply), self._contents)
                if self._is_its_own(found):
                    return found
                self._refuse("names another sender, or answers another message")
            except (ScratchError, UnknownFlowerError):
                raise
            except Exception as error:
                self._refuse_for(error)
            finally:
                self._forget()
        return cast(Message, self._error)

    def _is_its_own(self, reply: Message) -> bool:
        """Whether a reply is in the name of the node that was asked, or the SuperLink's word on it.

        The SuperLink looks at the sender of what is announced, not at the one inside.
        """
        metadata = reply.metadata
        senders = {self._asked.metadata.dst_node_id}
        if reply.has_error():
            senders.add(SUPERLINK_NODE_ID)
        return (
            metadata.src_node_id in senders and metadata.reply_to_message_id == self._number
        )

    def _go_on(self, stop: threading.Event) -> bool:
        if self._reply is None and not self._begin():
            return False
        while self._missing:
            if stop.is_set():
                return False
            found = self._network.content(self._missing[0])
            if found is None:
                self._later()
                return False
            self._pause = _FIRST_PAUSE
            self._keep(self._missing.popleft(), found)
            if not self._room.take(found):
                return self._refuse(_TOO_LARGE)
            if not is_chunk(found) and not self._await(children_of(found)):
                return self._refuse("holds too many objects")
        if array_bytes(self._contents) > self._room.of_arrays:
            return self._refuse(_TOO_LARGE)
        self._network.confirm(cast(str, self._reply))
        return True

    def _keep(self, object_id: str, content: bytes) -> None:
        chunks = self._chunks if is_chunk(content) else None
        if chunks is None:
            self._contents[object_id] = content
        else:
            start = len(chunks)
            chunks.append(content)
            self._contents[object_id] = chunks.part(start, len(chunks))

    def _begin(self) -> bool:
        """Find the reply; False while there is none."""
        self._reply = self._network.announced(self._number)
        if self._reply is None:
            self._later()
            return False
        self.due = 0.0
        return self._await([self._reply])

    def _await(self, objects: list[str]) -> bool:
        """Have these fetched, each once; False where there is no room for so many.

        What belongs to a reply is what its objects themselves name.
        """
        new = [each for each in dict.fromkeys(objects) if each not in self._known]
        if len(self._known) + len(new) > self._room.objects:
            return False
        self._known.update(new)
        self._missing.extend(new)
        return True

    def _later(self) -> None:
        self.due = time.monotonic() + self._pause
        self._pause = min(2.0 * self._pause, _LONGEST_PAUSE)

    def _forget(self) -> None:
        self._contents.clear()
        if self._chunks is not None:
            self._chunks.drop()
        give_memory_back()

    def _refuse_for(self, error: Exception) -> None:
        self._grid.get_node_ids()  # raises where it was the SuperLink
        self._refuse(f"can't be read ({type(error).__name__})")

    def _refuse(self, why: str) -> bool:
        """Make an error reply in the node's name, in place of what it sent; that is all of it."""
        self._forget()
        node = self._asked.metadata.dst_node_id
        logger.log(WARNING, "The reply of node %d %s", node, why)
        if self._reply is not None:
            try:
                self._network.confirm(self._reply)
            except UnknownFlowerError:
                raise
            except Exception as error:  # its objects stay at the SuperLink till the run ends
                logger.log(WARNING, "It is left at the SuperLink: %s", type(error).__name__)
        reply = Message(Error(_UNREADABLE, f"the reply {why}"), reply_to=self._asked)
        number_message(reply)
        self._error = reply
        return True


def give_memory_back() -> None:
    """Let the system have what was freed, where the C library keeps it (glibc).

    The chunks of many replies come in at the same time, each a block of 5 MB among others: what
    is freed of them would stay with this process, as much again as the rows that they became.
    """
    if (trim := _trim()) is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    try:
        return cast(Callable[[int], int], ctypes.CDLL(None).malloc_trim)
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return None


class _Room:
    """How much the reply to a message may bring.

    Arrays may have twice the bytes that were sent, so that a program which answers in float64 is
    told so by name; the rest of a reply becomes many small objects of Python, and may have 4 MiB.
    """

    def __init__(self, arrays: int, sent: int) -> None:
        self.objects = 4 * arrays + _OBJECTS + sent // (1 << 20)
        self.of_arrays = 2 * sent + _MARGIN
        self._chunks, self._rest = self.of_arrays, _MARGIN + 512 * arrays

    @classmethod
    def for_reply_to(cls, asked: Message) -> _Room:
        records = asked.content.array_records.values() if asked.has_content() else ()
        arrays = [array for record in records for array in record.values()]
        return cls(len(arrays), sum(len(array.data) for array in arrays))

    def take(self, content: bytes) -> bool:
        """Whether there was room for one more object."""
        if is_chunk(content):
            self._chunks -= len(content)
        else:
            self._rest -= len(content)
        return self._chunks >= 0 and self._rest >= 0
