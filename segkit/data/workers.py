"""Processes that load data.

They end when the main process ends or tells them to, and their failures become one message in the main process.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

from torch import Tensor
from torch.utils.data import get_worker_info

from segkit.errors import InputError, RunError
from segkit.system import machine

Made = TypeVar("Made")

_CAN_WAIT = hasattr(signal, "sigtimedwait")  # not on macOS, where a SIGTERM from any process ends a worker
FEWER = "Set training.workers=0, or fewer"


def started(start: Callable[[], Iterator[Made]]) -> tuple[Iterator[Made], list[BaseProcess]]:
    """Call `start`, which starts workers, and return its iterator and these workers.

    The threads of the workers inherit a mask that blocks SIGTERM, so that only `_end_with` receives it. torch's handler
    of SIGCHLD is removed: it would raise anywhere in the main process, such as in a tracker or a checkpoint.
    """
    handler = signal.getsignal(signal.SIGCHLD) if _can_handle_sigchld() else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if _CAN_WAIT else None
    before = active_children()
    try:
        return start(), [child for child in active_children() if child not in before]
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if _can_handle_sigchld():
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def start_worker(_: int) -> None:
    """Make a worker ignore signals that go to all processes of a run; the main process ends its workers by SIGTERM.

    torch's own watchdog does not end a worker that waits to hand over data to a main process that was killed.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.excepthook = _report
    main = parent_process()
    threading.Thread(target=_end_with, args=(os.getppid(), main.pid if main else None), daemon=True).start()


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error, unless the main process was interrupted while it received a tensor, which it reports itself."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _end_with(parent: int, main: int | None) -> None:
    """End this process when its parent is gone or the main process sends SIGTERM."""
    while os.getppid() == parent:
        if not _CAN_WAIT:
            time.sleep(1)
        elif (received := signal.sigtimedwait({signal.SIGTERM}, 1)) and received.si_pid == main:
            break
    os._exit(0)


def shared(tensors: list[Tensor]) -> None:
    """Move a worker's tensors to shared memory; torch would do it in a thread and only print errors about its size."""
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()


@contextmanager
def sample_named(sample: str) -> Iterator[None]:
    """Add the sample's name as a note to errors inside the block."""
    try:
        yield
    except Exception as error:
        error.add_note(f"sample {sample}")
        raise


def attempt(make: Callable[[], Made]) -> Made | Exception:
    """Return the result of `make` or, in a worker, its error for `from_workers`; torch would bury it in a traceback."""
    try:
        return make()
    except Exception as error:
        if get_worker_info() is None:
            raise
        if isinstance(error, InputError):
            return error
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "can't allocate memory" in text:
            return MemoryError(text)
        if "shared memory" in text:
            return _no_room(f"a data worker found no room in shared memory ({text})")
        found = f"{', '.join([*getattr(error, '__notes__', []), type(error).__name__])}: {text}".removesuffix(".")
        where = "It happened in a data worker; repeat the command with training.workers=0 to see where in the code."
        return RunError(f"{found}. {where}")


def from_workers(batches: Iterator[Made | Exception], workers: Sequence[BaseProcess]) -> Iterator[Made]:
    """Yield the batches of workers; the workers end after the last batch or an error.

    Raises:
        InputError: if a worker raised it.
        MemoryError: if a worker raised it.
        RunError: if a worker died, or raised any other error.
    """
    try:
        while True:
            batch = _next(batches, workers)
            if batch is None:
                return
            yield batch
    finally:
        del batches  # so that the workers end now, not when an error that refers to this frame is deleted


def _next(batches: Iterator[Made | Exception], workers: Sequence[BaseProcess]) -> Made | None:
    try:
        with _deaths_raised(workers):
            batch = next(batches, None)
    except RuntimeError as error:
        if "Too many open files" in str(error):
            tensors = "too many files are open, as tensors of data workers are"
            raise RunError(f"{tensors}. {FEWER}, or raise the limit: ulimit -n 4096.") from None
        raise _death(workers) or error from None
    except ConnectionError as error:  # the worker died while it handed over a batch
        raise _death(workers) or _gone(f"a data worker is gone ({error.strerror})") from None
    if isinstance(batch, Exception):
        try:
            raise batch
        finally:
            # and not when the cycle of the error and its frame is collected, perhaps by a thread that must end them
            del batch, batches
    return batch


@contextmanager
def _deaths_raised(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Raise RunError if a worker has died or dies inside the block, even while the main process reads from it."""
    if not _can_handle_sigchld():
        yield
        return

    def check(*_: object) -> None:
        if death := _death(workers):
            raise death

    before = signal.signal(signal.SIGCHLD, check)
    try:
        check()
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _can_handle_sigchld() -> bool:
    return hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()


def _death(workers: Sequence[BaseProcess]) -> RunError | None:
    """Return the error for a worker that died by itself; None if there is none."""
    for worker in workers:
        code = worker.exitcode
        if code and code > 0:
            return _gone(f"data worker (process {worker.pid}) exited with code {code}")
        if code:
            how = f"data worker (process {worker.pid}) was killed by a signal: {signal.strsignal(-code)}"
            return _no_room(how) if -code == getattr(signal, "SIGBUS", 0) else _gone(how)
    return None


def _gone(what: str) -> RunError:
    return RunError(
        f"{what}. Most likely memory or shared memory ran out; {machine.state()}. "
        f"{FEWER}, or give the machine or container more (docker run --memory, --shm-size). Checkpoints are kept."
    )


def _no_room(what: str) -> RunError:
    more = "or a larger shared memory (docker run --shm-size=8g)"
    return RunError(f"{what}; {machine.state()}. {FEWER}, {more}. Checkpoints are kept.")
