"""Atomic writes of files, and the errors to report when they fail."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from segkit.errors import RunError

_FREE = "Free some space, then repeat the command."


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary path with `write`, then rename: `path` is always the old file or the complete new one."""
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
    """Write a text file in UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partials(folder: Path) -> None:
    """Remove the temporary files of killed processes; no other process may be writing into the folder."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def require_space(folder: Path, size: int) -> None:
    """Check that a folder exists and its disk has `size` free bytes.

    Raises:
        RunError: if not.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is gone: it or its disk was removed. Bring it back, then repeat the command.")
    free = shutil.disk_usage(folder).free
    if free < size:
        raise RunError(f"disk full: {megabytes(size)} needed, {megabytes(free)} free at {folder}. {_FREE}")


def write_failure(path: Path, size: int, error: Exception) -> RunError:
    """Return the error to raise for a file of `size` bytes that could not be written.

    Args:
        error: an OSError, or torch's RuntimeError, which does not name the cause.
    """
    try:
        require_space(path.parent, size)
    except RunError as found:
        return found
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"disk full: {megabytes(size)} needed at {path.parent} ({error.strerror}). {_FREE}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return RunError(
        f"{path} cannot be written ({reason}). Check the disk and the folder's rights, then repeat the command."
    )


def cache_folder() -> Path:
    """The folder of what is kept between runs: $SEGKIT_CACHE, else $XDG_CACHE_HOME/segkit, else ~/.cache/segkit."""
    if named := os.environ.get("SEGKIT_CACHE"):
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segkit"
    except RuntimeError:  # no home folder, as for a user id that only a container has: keep nothing
        return Path(os.devnull)


def megabytes(size: int) -> str:
    """Format bytes as `1,234.5 MB`."""
    return f"{size / 1e6:,.1f} MB"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
