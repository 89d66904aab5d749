"""Files that are whole or not there."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from segkit.errors import RunError

_FREE = "Free some space, then repeat the command."


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then renames: `path` is the old file or the whole new one,
    never less."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """A text file, in UTF-8, as `write_atomically` has it."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Removes what killed processes left of files that they were writing; no other process may be writing there."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def require_space(folder: Path, size: int) -> None:
    """Whether `size` bytes can be written into a folder that is there.

    Raises:
        RunError: if not, with what is needed and what there is.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder} is gone: it was removed, or its disk is no longer there. Bring it back, then repeat the command."
        )
    free = shutil.disk_usage(folder).free
    if free < size:
        raise RunError(f"disk full: {megabytes(size)} needed, {megabytes(free)} free at {folder}. {_FREE}")


def write_failure(path: Path, size: int, error: Exception) -> RunError:
    """What to tell of a file of `size` bytes that could not be written.

    Args:
        error: an OSError, or torch's RuntimeError, which names no cause.
    """
    try:
        require_space(path.parent, size)
    except RunError as found:
        return found
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"disk full: {megabytes(size)} needed at {path.parent} ({error.strerror}). {_FREE}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return RunError(
        f"{path} cannot be written ({reason}). See to the disk and the folder's rights, then repeat the command."
    )


def megabytes(size: int) -> str:
    """`1,234.5 MB`."""
    return f"{size / 1e6:,.1f} MB"


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
