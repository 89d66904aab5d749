"""Memory that a piece of work adds to a process or a device, at its peak."""

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MMAP_THRESHOLD = -3  # glibc's malloc.h, M_MMAP_THRESHOLD


@dataclass(frozen=True)
class Work:
    """Work that can be repeated.

    Attributes:
        run: does the work, and returns when the device has finished it.
        forget: frees what runs leave behind, so that the next run is like the first.
    """

    run: Callable[[], object]
    forget: Callable[[], object]


def in_child(function: Callable[..., Result], *arguments: Any) -> Result | None:
    """Call a function of a module in a fresh process and return its result; None if the process dies.

    The child imports the main module: a script needs `if __name__ == "__main__":`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_return_freed_memory) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return None


def added_memory(work: Work, device_type: str) -> int | None:
    """Bytes that the work, done twice, adds to the peak memory; None where this cannot be measured.

    The work is done once before: what libraries load or compile the first time is not counted. On CUDA this is memory
    of torch's tensors; on the CPU the resident memory of this process, so it is exact only in a process of its own
    (`in_child`), and known only where the system can reset the peak of a process (Linux).

    Args:
        device_type: cpu, cuda, or another, whose memory is not known.
    """
    if device_type != "cuda" and not (device_type == "cpu" and _CLEAR.exists()):
        return None

    def twice() -> None:
        work.run()  # the second time an optimizer has its state
        work.run()

    work.run()
    work.forget()
    gc.collect()
    if device_type == "cpu":
        _CLEAR.write_text("5")  # the peak starts from here
        before = _largest_resident()
        twice()
        return _largest_resident() - before
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    twice()
    return torch.cuda.max_memory_allocated() - before


def _largest_resident() -> int:
    """Bytes of the process at its largest, as Linux lists them."""
    lines = _STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _return_freed_memory() -> None:
    """Make glibc return freed tensors to the system at once; memory that it keeps would distort the peak."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 65536)
