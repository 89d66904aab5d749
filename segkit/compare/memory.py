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

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MMAP_THRESHOLD = -3  # glibc's malloc.h, M_MMAP_THRESHOLD


@dataclass(frozen=True)
class Work:
    """What can be done again and again.

    Attributes:
        run: does it, and returns when the device has done it.
        forget: gives back what runs leave behind, so that the next run is like the first.
    """

    run: Callable[[], object]
    forget: Callable[[], object]


def in_child(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result | None:
    """What a function of a module gives in a fresh process, whose memory nothing else has touched; None if the process dies.

    The child imports the main module: a script needs `if __name__ == "__main__":`.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_give_back_what_is_freed) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            return None


def added_memory(work: Work, device: torch.device) -> int | None:
    """Bytes by which the work, done twice in a row, raises the peak over what is there before; None where this cannot be measured.

    The work is done once before: what libraries load or compile the first time is not counted. On CUDA this is memory of torch's
    tensors; on the CPU the resident memory of this process, so that only a process of its own (`in_child`) gives it exactly.
    """
    work.run()
    work.forget()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _twice(work)
        return torch.cuda.max_memory_allocated(device) - before
    return _added_resident(work) if device.type == "cpu" else None


def _twice(work: Work) -> None:
    work.run()  # the second time an optimizer has its state
    work.run()


def _added_resident(work: Work) -> int | None:
    try:
        _CLEAR.write_text("5")  # the peak starts from here
        before = _status("VmHWM")
    except (OSError, StopIteration):
        return _raised_peak(work)
    _twice(work)
    return _status("VmHWM") - before


def _raised_peak(work: Work) -> int | None:
    """The same where the peak cannot be set back; None if the process was larger before."""
    largest = _largest_resident()
    before = 1024 * int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(getpid())], text=True))
    _twice(work)
    return _largest_resident() - before if _largest_resident() > largest else None


def _status(key: str) -> int:
    """Bytes that the kernel notes under a key, such as VmRSS."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


def _largest_resident() -> int:
    """Bytes of the process at its largest."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _give_back_what_is_freed() -> None:
    """Makes glibc return freed tensors to the system at once: what it would keep for later hides or feigns what work adds."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, 65536)
