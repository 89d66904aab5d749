"""Processes that load data: they end when the main one wants it or is gone, and a failure in them is one message
there."""

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

_CAN_WAIT = hasattr(signal, "sigtimedwait")  # macOS cannot: there, anybody's SIGTERM ends a worker
FEWER = "Set training.workers=0, or fewer"


def started(start: Callable[[], Iterator[Made]]) -> tuple[Iterator[Made], list[BaseProcess]]:
    """The batches of an iterator that starts workers, and these. All their threads inherit that SIGTERM is blocked, so
    that it reaches `_end_with` alone.

    torch's handler of SIGCHLD is undone: it would raise wherever the main process is, such as in a tracker or a
    checkpoint.
    """
    handler = signal.getsignal(signal.SIGCHLD) if _hears_of_children() else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if _CAN_WAIT else None
    before = active_children()
    try:
        return start(), [child for child in active_children() if child not in before]
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if _hears_of_children():
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def start_worker(_: int) -> None:
    """Make a worker deaf to signals that go to all processes of a run: the main one decides, and ends its workers by
    SIGTERM.

    torch's own watchdog does not end a worker that waits to hand over data, which nobody takes when the main process
    was killed.
    """
    for name in ("SIGINT", "SIGUSR1", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sys.excepthook = _report
    main = parent_process()
    threading.Thread(target=_end_with, args=(os.getppid(), main.pid if main else None), daemon=True).start()


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error, unless the main process was interrupted while it took a tensor over, which it reports itself."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _end_with(parent: int, main: int | None) -> None:
    """End this process when it has lost its parent, or the main process sends SIGTERM."""
    while os.getppid() == parent:
        if not _CAN_WAIT:
            time.sleep(1)
        elif (received := signal.sigtimedwait({signal.SIGTERM}, 1)) and received.si_pid == main:
            break
    os._exit(0)


def shared(tensors: list[Tensor]) -> None:
    """Move tensors of a worker into shared memory; torch would do so in a thread of its own, and only print that there
    was no room."""
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()


@contextmanager
def sample_named(sample: str) -> Iterator[None]:
    """Errors inside are noted with the sample; an InputError names the file itself."""
    try:
        yield
    except Exception as error:
        error.add_note(f"sample {sample}")
        raise


def attempt(make: Callable[[], Made]) -> Made | Exception:
    """The result of `make`. In a worker its error is a value for `from_workers`: torch would bury it in that worker's
    traceback."""
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
    """The batches that workers give; the workers end with the last one, or with an error.

    Raises:
        InputError: that a worker raised.
        MemoryError: that a worker raised.
        RunError: if a worker is gone, or raised anything else.
    """
    try:
        while True:
            batch = _next(batches, workers)
            if batch is None:
                return
            yield batch
    finally:
        del batches  # the workers end now, not when an error that holds this frame is forgotten


def _next(batches: Iterator[Made | Exception], workers: Sequence[BaseProcess]) -> Made | None:
    try:
        with _deaths_raised(workers):
            batch = next(batches, None)
    except RuntimeError as error:
        if "Too many open files" in str(error):
            tensors = "too many files are open, as tensors of data workers are"
            raise RunError(f"{tensors}. {FEWER}, or raise the limit: ulimit -n 4096.") from None
        raise _death(workers) or error from None
    except ConnectionError as error:  # it died while it handed a batch over
        raise _death(workers) or _gone(f"a data worker is gone ({error.strerror})") from None
    if isinstance(batch, Exception):
        try:
            raise batch
        finally:
            # nor when the cycle of an error and its own frame is found, perhaps by a thread that must send their end
            del batch, batches
    return batch


@contextmanager
def _deaths_raised(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """RunError if a worker has died or dies inside, even while the main process reads what that worker half wrote."""
    if not _hears_of_children():
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


def _hears_of_children() -> bool:
    return hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()


def _death(workers: Sequence[BaseProcess]) -> RunError | None:
    """The end of a worker that neither finished nor was told to end."""
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
