"""One process at a time in a run folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from segkit.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process.

    The system releases the lock when the process ends, however it ends. The lock file is `.NAME.lock` beside the folder
    and says who holds it; a lock file that a killed process left behind is taken over.

    Raises:
        InputError: if another process holds the folder.
    """
    path = _lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write_holder(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        holder = f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M}"
        os.write(descriptor, holder.encode())

    lock = FileLock(path, blocking=False, on_acquired=write_holder)
    try:
        lock.acquire()
    except Timeout:
        holder = ""
        with suppress(OSError):  # a locked file cannot be read on Windows
            holder = path.read_text(encoding="utf-8")
        raise InputError(
            f"{folder} is in use by {holder or 'another process'}. Wait for it, or end it and repeat the command."
        ) from None
    try:
        yield
    finally:
        with suppress(PermissionError):  # an open file cannot be removed on Windows
            path.unlink(missing_ok=True)
        lock.release()


def in_use(folder: Path) -> bool:
    """Return True if a process holds a run folder."""
    path = _lock_file(folder)
    if not path.is_file():
        return False
    try:
        with FileLock(path, blocking=False):
            return False
    except OSError:  # held, or owned by another user
        return True


def _lock_file(folder: Path) -> Path:
    folder = folder.resolve()  # so that a folder has one lock under all its names
    return folder.parent / f".{folder.name}.lock"
