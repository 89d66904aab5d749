"""What this machine, or the container that this process runs in, has left: memory, cores, folders that can be
written."""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from segkit.errors import InputError

SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps what data workers hand over


def memory(system: Path = Path("/")) -> tuple[int, int]:
    """Bytes of memory: (free, all), no more than the control group's limit leaves.

    Args:
        system: root of the file system.
    """
    now = psutil.virtual_memory()
    free, whole = now.available, now.total
    for folder in _control_groups("memory", system):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and limit < whole:
            whole = limit
        if limit is not None and used is not None:
            free = min(free, max(0, limit - used + _reclaimable(folder)))
    return free, whole


def shared_memory(folder: Path = SHARED_MEMORY) -> tuple[int, int] | None:
    """Bytes of shared memory: (free, all); None where it has no folder, and so no limit of its own."""
    if not folder.is_dir():
        return None
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def cores(system: Path = Path("/")) -> int:
    """Cores that this process may use: of its affinity, and no more than the control group's share of time."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu", system):
        quota, period = _number(folder, "cpu.max", "cpu.cfs_quota_us"), _period(folder)
        if quota is not None and quota > 0:
            count = min(count, math.ceil(quota / period))
    return count


def size(count: float) -> str:
    """Bytes as `3.2 GB` or, below one, `64 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def state() -> str:
    """How much memory there is, and how much of it is free now."""
    free, whole = memory()
    text = f"free now: {size(free)} of {size(whole)} of memory"
    shared = shared_memory()
    return (
        text if shared is None else f"{text}, {size(shared[0])} of {size(shared[1])} of shared memory ({SHARED_MEMORY})"
    )


def require_writable(folder: Path, option: str) -> None:
    """Whether files can be made in a folder, or in the nearest one above that exists; nothing stays.

    Args:
        option: what the message calls the folder, such as --out.
    Raises:
        InputError: if not.
    """
    above = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    where = f"{option} {folder}" if above == folder else f"{option} {folder}: {above}"
    if not above.is_dir():
        raise InputError(f"{where} is no folder; nothing was written. Choose another folder.")
    try:
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise InputError(
            f"{where} cannot be written ({error.strerror}). Choose another folder, or change its rights."
        ) from None


def _control_groups(controller: str, system: Path) -> Iterator[Path]:
    """Folders of Linux's control groups, version 2 or 1, that limit this process: its own and all above."""
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


def _number(folder: Path, *names: str) -> int | None:
    """The first number in the first of some files that is there; None: no limit."""
    for name in names:
        try:
            return int((folder / name).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return None


def _period(folder: Path) -> int:
    """Microseconds that a share of time refers to."""
    try:
        return int((folder / "cpu.max").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return _number(folder, "cpu.cfs_period_us") or 100_000


def _reclaimable(folder: Path) -> int:
    """Bytes of files that the control group holds in memory and would give up."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
