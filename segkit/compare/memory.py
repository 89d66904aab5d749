"""Memory that a piece of work adds to a process or a device, at its peak."""

import ctypes
import gc
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from os import getpid
from pathlib import Path
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
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


def in_child(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result | None:
    """Call a function of a module in a fresh process and return its result; None if the process dies.

    The child imports the main module: a script needs `if __name__ == "__main__":`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_return_freed_memory) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            return None


def added_memory(work: Work, device_type: str) -> int | None:
    """Bytes that the work, done twice, adds to the peak memory; None where this cannot be measured.

    The work is done once before: what libraries load or compile the first time is not counted. On CUDA this is memory
    of torch's tensors; on the CPU the resident memory of this process, so it is exact only in a process of its own
    (`in_child`). Where a system cannot reset the peak of a process (macOS), the work is not done before, and the peak
    is known only if it is a new one.

    Args:
        device_type: cpu, cuda, or another, whose memory is not known.
    """

    def twice() -> None:
        work.run()  # the second time an optimizer has its state
        work.run()

    if device_type == "cpu" and not _CLEAR.exists():
        largest = _largest_resident()
        before = 1024 * int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(getpid())], text=True))
        twice()
        return _largest_resident() - before if _largest_resident() > largest else None
    if device_type not in ("cpu", "cuda"):
        return None
    work.run()
    work.forget()
    gc.collect()
    if device_type == "cpu":
        _CLEAR.write_text("5")  # the peak starts from here
        before = _status("VmHWM")
        twice()
        return _status("VmHWM") - before
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    twice()
    return torch.cuda.max_memory_allocated() - before


def _status(key: str) -> int:
    """Bytes that the kernel lists under a key, such as VmHWM; 0 if it lists none."""
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)


def _largest_resident() -> int:
    """Bytes of the process at its largest; Linux's ru_maxrss would include the parent's."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _return_freed_memory() -> None:
    """Make glibc return freed tensors to the system at once; memory that it keeps would distort the peak."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 65536)
