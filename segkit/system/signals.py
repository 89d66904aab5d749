"""Signals stop a run at a point from which it can be resumed."""

import os
import signal
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

Item = TypeVar("Item")
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Ctrl-C; kill; the terminal is gone; a cluster needs the machine
TOGETHER_SECONDS = 1.0  # a second signal this soon is a duplicate: the cluster and the launcher both send it
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Request to stop this process, made by the signal of this number."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """`Ctrl-C`, or the signal's name."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """Exit code of a run that can be resumed: 130 for Ctrl-C, else 143."""
        return 130 if self.number == signal.SIGINT else 143


class Stop:
    """Handler that raises `Interrupted` for signals: at once or, in a `deferred` block, where `check` is called.

    A second signal ends the process.

    Args:
        quiet: print nothing on the first signal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.number: int | None = None
        self.received = 0.0
        self.quiet = quiet
        self._deferred = False

    def _handle(self, number: int, _: object) -> None:
        if self.number is not None:
            if time.monotonic() - self.received > TOGETHER_SECONDS:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.number, self.received = number, time.monotonic()
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
        if not self._deferred:
            self.check()
        if not self.quiet:
            name = Interrupted(number).name
            line = f"\nsegkit: {name}: stopping after this step, then saving; a second signal leaves at once.\n"
            with suppress(OSError):  # its reader may be gone
                os.write(2, line.encode())  # print is not safe in a handler

    def check(self) -> None:
        """Raise Interrupted if there was a signal."""
        if self.number is not None:
            raise Interrupted(self.number)

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, with a `check` before each and after the last."""
        self.check()
        for item in items:
            yield item
            self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let only `check` raise inside the block; a signal that was not checked for raises at the end of the block.

        After an error inside the block, signals stay deferred: the run ends, and nothing interrupts its end.
        """
        self._deferred = True
        yield
        self._deferred = False
        self.check()


def _leave_terminal() -> None:
    """Discard all further output: the terminal is closed, and every print would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        if stat.S_ISCHR(os.fstat(output).st_mode):
            os.dup2(nowhere, output)
    os.close(nowhere)


@contextmanager
def stoppable(*, quiet: bool = False) -> Iterator[Stop]:
    """Raise `Interrupted` for signals inside the block.

    Signals that this process ignores (nohup) stay ignored. Outside the main thread nothing changes, as Python allows no
    handlers there.
    """
    stop = Stop(quiet=quiet)
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop._handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
