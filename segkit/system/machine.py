"""Memory, cores and writable folders of this machine, or of the container that this process runs in."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from segkit.errors import InputError

SHARED_MEMORY = Path("/dev/shm")  # through which data workers send batches on Linux


def memory(system: Path = Path("/")) -> tuple[int, int]:
    """Return (free, total) bytes of memory, within the limits of control groups.

    Args:
        system: root of the file system.
    """
    now = psutil.virtual_memory()
    free, whole = now.available, now.total
    for folder in _control_groups("memory", system):
        limit = _words(folder, "memory.max", "memory.limit_in_bytes")
        used = _words(folder, "memory.current", "memory.usage_in_bytes")
        if not limit or not limit[0].isdecimal():  # max: none
            continue
        whole = min(whole, int(limit[0]))
        if used:
            figures = _words(folder, "memory.stat")
            files = dict(zip(figures[::2], figures[1::2], strict=False)).get("inactive_file", 0)  # freed when needed
            free = min(free, max(0, int(limit[0]) - int(used[0]) + int(files)))
    return free, whole


def shared_memory(folder: Path = SHARED_MEMORY) -> tuple[int, int] | None:
    """Return (free, total) bytes of shared memory; None if it has no folder and therefore no limit of its own."""
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def cores(system: Path = Path("/")) -> int:
    """Return the number of cores that this process may use, given its affinity and the quotas of control groups."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu", system):
        quota = _words(folder, "cpu.max") or _words(folder, "cpu.cfs_quota_us") + _words(folder, "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0].isdecimal():  # max, -1: none
            count = min(count, math.ceil(int(quota[0]) / int(quota[1])))
    return count


def size(count: float) -> str:
    """Format bytes as `3.2 GB` or, below one, `64 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def state() -> str:
    """Return a text that says how much memory is free now."""
    free, whole = memory()
    text = f"free now: {size(free)} of {size(whole)} of memory"
    if shared := shared_memory():
        text += f", {size(shared[0])} of {size(shared[1])} of shared memory ({SHARED_MEMORY})"
    return text


def require_writable(folder: Path, option: str) -> None:
    """Check that a folder, or the nearest existing one above it, is writable, without leaving a file there.

    Args:
        option: the command-line option that named the folder, such as --out.
    Raises:
        InputError: if it is not writable.
    """
    above = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    where = f"{option} {folder}" if above == folder else f"{option} {folder}: {above}"
    if not above.is_dir():
        raise InputError(f"{where} is not a folder; nothing was written. Choose another folder.")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise InputError(
            f"{where} cannot be written ({error.strerror}). Choose another folder, or change its rights."
        ) from None


def _control_groups(controller: str, system: Path) -> Iterator[Path]:
    """Yield the control group folders (Linux, version 1 or 2) of this process: its own and all above it."""
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / (controller if controllers else "")
        own = root / group.lstrip("/")
        yield from (each for each in (own, *own.parents) if each == root or root in each.parents)


def _words(folder: Path, *names: str) -> list[str]:
    """Return the words in the first of these files that exists."""
    for name in names:
        with suppress(OSError):
            return (folder / name).read_text().split()
    return []
