"""Processes that load data: they end when the main one wants it or is gone, and what fails in them is one message
there."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from types import FrameType, TracebackType
from typing import TypeVar

from torch import Tensor
from torch.utils.data import get_worker_info

from segkit.errors import InputError, RunError
from segkit.system import machine

Made = TypeVar("Made")

_CAN_WAIT = hasattr(signal, "sigtimedwait")  # macOS cannot: there, anybody's SIGTERM ends a worker
FEWER = "Set training.workers=0, or fewer"
_torch_on_child_death: Callable[[int, FrameType | None], object] | None = None  # torch's handler of SIGCHLD


@contextmanager
def starting() -> Iterator[None]:
    """Around the start of workers. All their threads inherit that SIGTERM is blocked, so that it reaches `_end_with`
    alone.

    What torch does with SIGCHLD is kept for `_deaths_raised`, and undone: it would raise wherever the main process is,
    such as in a tracker or a checkpoint.
    """
    global _torch_on_child_death
    handler = signal.getsignal(signal.SIGCHLD) if _hears_of_children() else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) if _CAN_WAIT else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if _hears_of_children():
            installed = signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
            if _torch_on_child_death is None and callable(installed):  # torch installs it once in a process
                _torch_on_child_death = installed


def start_worker(_: int) -> None:
    """Makes a worker deaf to signals that go to all processes of a run: the main one decides, and ends its workers by
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
    """Shows an error, unless the main process was interrupted while it took a tensor over: it tells that itself."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _end_with(parent: int, main: int | None) -> None:
    """Ends this process when it has lost its parent, or the main process sends SIGTERM."""
    while os.getppid() == parent:
        if not _CAN_WAIT:
            time.sleep(1)
        elif (received := signal.sigtimedwait({signal.SIGTERM}, 1)) and received.si_pid == main:
            break
    os._exit(0)


def shared(tensors: list[Tensor]) -> None:
    """Moves tensors of a worker into shared memory; torch would do so in a thread of its own, and only print that there
    was no room."""
    if get_worker_info() is not None:
        for tensor in tensors:
            tensor.share_memory_()


@contextmanager
def sample_named(sample: str) -> Iterator[None]:
    """Errors inside say which sample it was; an InputError names the file itself."""
    try:
        yield
    except Exception as error:
        error.add_note(f"sample {sample}")
        raise


def attempt(make: Callable[[], Made]) -> Made | Exception:
    """What `make` gives. In a worker its error is a value for `from_workers`: torch would bury it in that worker's
    traceback."""
    try:
        return make()
    except Exception as error:
        if get_worker_info() is None:
            raise
        return _explained(error)


def _explained(error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return MemoryError(text)
    if "shared memory" in text:
        return _no_room(f"a data worker found no room in shared memory ({text})")
    found = f"{', '.join([*getattr(error, '__notes__', []), type(error).__name__])}: {text}".removesuffix(".")
    return RunError(
        f"{found}. It happened in a data worker; repeat the command with training.workers=0 to see where in the code."
    )


def from_workers(batches: Iterator[Made | Exception]) -> Iterator[Made]:
    """The batches that workers give; the workers end with the last one, or with an error.

    Raises:
        InputError: that a worker raised.
        MemoryError: that a worker raised.
        RunError: if a worker is gone, or raised anything else.
    """
    try:
        while True:
            batch = _next(batches)
            if batch is None:
                return
            yield batch
    finally:
        del batches  # the workers end now, not when an error that holds this frame is forgotten


def _next(batches: Iterator[Made | Exception]) -> Made | None:
    try:
        with _deaths_raised():
            batch = next(batches, None)
    except RuntimeError as error:
        raise _lost(error) from None
    except ConnectionError as error:  # it died while it handed a batch over
        raise _gone(f"a data worker is gone ({error.strerror})") from None
    if isinstance(batch, Exception):
        try:
            raise batch
        finally:
            del (
                batch,
                batches,
            )  # nor when the cycle of an error and its own frame is found, perhaps by a thread that must send their end
    return batch


@contextmanager
def _deaths_raised() -> Iterator[None]:
    """RuntimeError if a worker has died or dies inside, even while the main process reads what that worker half
    wrote."""
    if not _hears_of_children() or _torch_on_child_death is None:
        yield
        return
    before = signal.signal(signal.SIGCHLD, _torch_on_child_death)
    try:
        _torch_on_child_death(signal.SIGCHLD, None)
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _hears_of_children() -> bool:
    return hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()


def _lost(error: RuntimeError) -> Exception:
    """What torch's RuntimeError about its workers means; any other one as it is."""
    text = str(error)
    if "Too many open files" in text:
        return RunError(
            f"too many files are open, as tensors of data workers are. {FEWER}, or raise the limit: ulimit -n 4096."
        )
    found = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is )?([^.]*)", text)
    if found is None:
        return error
    how = found[2].replace("killed by signal: ", "was killed by a signal: ")
    if "Bus error" in how:
        return _no_room(f"data worker {found[1]} {how}")
    return _gone(f"data worker (process {found[1]}) {how}")


def _gone(what: str) -> RunError:
    return RunError(
        f"{what}. Most likely memory or shared memory ran out; {machine.state()}. "
        f"{FEWER}, or give the machine or container more (docker run --memory, --shm-size). Checkpoints are kept."
    )


def _no_room(what: str) -> RunError:
    return RunError(
        f"{what}; {machine.state()}. {FEWER}, or a larger shared memory (docker run --shm-size=8g). Checkpoints are kept."
    )
