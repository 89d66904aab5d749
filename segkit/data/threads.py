"""Reading files with several threads, which works because decoding releases Python's lock."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from segkit.system.machine import cores

Found = TypeVar("Found")


def in_threads(read: Callable[[int], Found], count: int, workers: int | None = None) -> Iterator[Found]:
    """Yield `read(0)`, `read(1)`, ... in order, read by so many threads (None: one per core).

    After the first error, reads that have not begun are cancelled.
    """
    # one warning filter for all threads, as in `images`: threads share filters and would undo each other's
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers or cores()) as threads:
        yield from threads.map(read, range(count))
