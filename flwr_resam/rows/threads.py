"""Work on fixed blocks, done by as many threads as there are cores, taken in order.

What comes out does not depend on the number of threads: the blocks are the same, and so is the
order in which their results are used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from threading import Condition, Lock, Thread
from typing import Any, Generic, TypeVar

from threadpoolctl import ThreadpoolController

MANY = 1 << 20  # elements from which threads are worth starting

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The cores that this process may use, at most OMP_NUM_THREADS, which Ray sets for a task."""
    available = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def threads_for(elements: int) -> int:
    """How many threads are worth starting for work on so many elements."""
    return cores() if elements >= MANY else 1


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, worked on by the caller and by helpers.

    The caller works too, so that on a busy machine it waits for nobody who has yet to be given
    a core. BLAS has one thread meanwhile: on blocks of few rows its own threads wait for each
    other longer than they work, and where other processes want the cores, a hundred times as
    long.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3], threads=2))
    [1, 2, 3]
    """
    with one_blas_thread:
        if min(threads, len(items)) < 2:
            yield from map(function, items)
            return
        team = _Team(function, items)
        helpers = [Thread(target=team.help) for _ in range(min(threads, len(items)) - 1)]
        try:
            for helper in helpers:
                helper.start()
            for index in range(len(items)):
                yield team.result(index)
        finally:
            team.stop()
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()


class _Team(Generic[Item, Result]):
    """Items that several threads take one by one, and their results."""

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._function = function
        self._items = items
        self._next = 0
        self._results: dict[int, Result] = {}
        self._error: BaseException | None = None
        self._changed = Condition()

    def help(self) -> None:
        """Work until no item is left; an error ends the work of all."""
        try:
            while self._work():
                pass
        except BaseException as error:  # it is the caller's, who raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def result(self, index: int) -> Result:
        """Work until the result of this item is there."""
        while index not in self._results and self._error is None and self._work():
            pass
        with self._changed:
            self._changed.wait_for(lambda: index in self._results or self._error is not None)
            if index not in self._results and self._error is not None:
                raise self._error
            return self._results.pop(index)

    def stop(self) -> None:
        """Leave the rest undone."""
        with self._changed:
            self._next = len(self._items)

    def _work(self) -> bool:
        with self._changed:
            index = self._next
            if index >= len(self._items):
                return False
            self._next += 1
        result = self._function(self._items[index])
        with self._changed:
            self._results[index] = result
            self._changed.notify_all()
        return True


class _BlasLimit:
    """One thread for BLAS while anybody needs it: the limit is one of the whole process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limiter = _blas().limit(limits=1, user_api="blas")
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limiter.restore_original_limits()


one_blas_thread = _BlasLimit()


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
