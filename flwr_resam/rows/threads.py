"""Work on fixed blocks, done by as many threads as there are cores, taken in order.

What comes out does not depend on the number of threads: the blocks are the same, and so is the
order in which their results are used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The cores that this process may use, at most OMP_NUM_THREADS, which Ray sets for a task."""
    available = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, a few ahead of what is asked for.

    BLAS has one thread meanwhile: on blocks of few rows its own threads wait for each other
    longer than they work, and where other processes want the cores, a hundred times as long.

    Examples
    --------
    >>> list(in_order(abs, [-1, 2, -3], threads=2))
    [1, 2, 3]
    """
    threads = min(threads, len(items))
    with _blas().limit(limits=1, user_api="blas"):
        if threads < 2:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting = iter(items)
            ahead = [pool.submit(function, item) for item in islice(waiting, 4 * threads)]
            try:
                while ahead:
                    result = ahead.pop(0).result()
                    ahead += [pool.submit(function, item) for item in islice(waiting, 1)]
                    yield result
            finally:
                for future in ahead:
                    future.cancel()


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
