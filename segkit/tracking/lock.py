"""One process at a time in a run folder."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segkit.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Holds a run folder for this process, by a lock that the system drops when the process ends, however it ends.

    The lock file lies beside the folder; what is given is the earlier holder that left it there, killed, or "". Where
    the system has no such locks (Windows), nothing is held.

    Raises:
        InputError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield ""
        return
    path = _lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise InputError(
                    f"{folder} is in use by {holder}. Wait for it, or end it and repeat the command."
                ) from None
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                continue  # its holder removed it while it was opened here
            file.seek(0)
            stale = file.read().strip()
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            try:
                yield stale
            finally:
                path.unlink(missing_ok=True)
            return


def in_use(folder: Path) -> bool:
    """Whether a process holds a run folder."""
    try:
        import fcntl

        with _lock_file(folder).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except (ImportError, FileNotFoundError):
        return False
    except BlockingIOError:
        return True


def _lock_file(folder: Path) -> Path:
    folder = folder.resolve()  # whatever it is called
    return folder.parent / f".{folder.name}.lock"
