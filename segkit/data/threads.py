"""Files read by several threads: decoding does not hold Python's lock."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from segkit.system.machine import cores

Found = TypeVar("Found")


def in_threads(read: Callable[[int], Found], count: int, workers: int | None = None) -> Iterator[Found]:
    """`read(0)`, `read(1)`, ... in order. After the first error, reads that have not begun are left out.

    Args:
        workers: threads; None: one per core.
    """
    # one filter for all, as `images` wants it: threads share filters, and would undo one another's
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers or cores()) as threads:
        yield from threads.map(read, range(count))
