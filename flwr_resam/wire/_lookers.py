"""The few threads that look for replies, while whoever takes them is at work on another."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from ._fetch import Look

_LONGEST_WAIT = 3.0  # seconds, after which a deadline is looked at again


class Ends(Protocol):
    """What says how long to wait still, as `Deadline` does."""

    @property
    def left(self) -> float:
        """Seconds."""


class Lookers:
    """Threads that go on with each look when it is due, and hand out those that are whole.

    Parameters
    ----------
    looks : sequence of Look
    threads : int
    """

    def __init__(self, looks: Sequence[Look], threads: int) -> None:
        self._due = [(look.due, number, look) for number, look in enumerate(looks)]
        self._open = len(looks)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._whole: SimpleQueue[Look | BaseException] = SimpleQueue()
        for number in range(min(threads, len(looks))):
            threading.Thread(
                target=self._work, name=f"resam-replies_{number}", daemon=True
            ).start()

    def next_whole(self, deadline: Ends) -> Look | None:
        """The next look whose reply is all there; None where the time is up.

        Raises
        ------
        Exception
            What a look raised, for it was no node's doing.
        """
        while left := deadline.left:
            try:
                found = self._whole.get(timeout=min(left, _LONGEST_WAIT))
            except Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            return found
        return None

    def stop(self) -> None:
        """Leave the rest. A call in flight ends by itself, and no node can make it longer."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (taken := self._take()) is not None:
                number, look = taken
                whole = look(self._stop)
                with self._changed:
                    if whole:
                        self._open -= 1
                        self._whole.put(look)
                    else:
                        heapq.heappush(self._due, (look.due, number, look))
                    self._changed.notify_all()
                del taken, look  # whoever takes it lets go of what it holds
        except BaseException as error:  # it is the caller's, who raises it
            self._whole.put(error)

    def _take(self) -> tuple[int, Look] | None:
        """A look that is due, as soon as there is one; None once there is nothing left to do."""
        with self._changed:
            while self._open and not self._stop.is_set():
                pause = None
                if self._due:
                    due, number, look = self._due[0]
                    if (pause := due - time.monotonic()) <= 0:
                        heapq.heappop(self._due)
                        return number, look
                self._changed.wait(pause)
        return None
