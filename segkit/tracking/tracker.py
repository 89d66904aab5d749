"""Trackers, which log a run elsewhere, and a guard that keeps their failures away from training."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.errors import InputError
from segkit.tensors import RawImage, RawLabels


@dataclass(frozen=True)
class Picture:
    """One image as on disk, with its labels and prediction (255 = void)."""

    name: str
    image: RawImage
    labels: RawLabels
    predicted: RawLabels
    composed: RawImage  # uint8 [H, 3W, 3]: the three side by side in the dataset's colours


class Tracker:
    """One session of a run, logged nowhere; subclasses log it. Resuming the run begins a new session.

    `place` is the address at which the run can be seen, or None. `write` logs a record of metrics.jsonl, `conclude` the
    outcome of a finished run with predictions on the validation split, and `close` ends the session (exit code 0: the
    run is complete).
    """

    place: str | None = None

    def write(self, kind: str, record: dict[str, Any]) -> None: ...

    def conclude(self, pictures: Callable[[], Sequence[Picture]]) -> None: ...

    def close(self, exit_code: int) -> None: ...


class Guarded(Tracker):
    """A tracker that never raises: the first failure is one line on standard error, and nothing is logged after it.

    Args:
        start: builds the tracker.
        again: end of that line, which says how to log the run later.
    """

    def __init__(self, start: Callable[[], Tracker], *, again: str):
        self.again = again
        self.failed = False
        self.tracker = Tracker()
        self._attempt(lambda: setattr(self, "tracker", start()))
        self.place = self.tracker.place

    def write(self, kind: str, record: dict[str, Any]) -> None:
        if not self.failed:
            self._attempt(lambda: self.tracker.write(kind, record))

    def conclude(self, pictures: Callable[[], Sequence[Picture]]) -> None:
        """Log the outcome; an error while predicting counts as a failure of the tracker."""
        if not self.failed:
            self._attempt(lambda: self.tracker.conclude(pictures))

    def close(self, exit_code: int) -> None:
        """Close the tracker; after a failure, with a code that marks its copy of the run as incomplete."""
        self._attempt(lambda: self.tracker.close(exit_code or int(self.failed)))

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # of any kind: a tracker must never stop a run
            if not self.failed:
                print(f"segkit: W&B is off for the rest of this run: {reason(error)}. {self.again}", file=sys.stderr)
            self.failed = True


def reason(error: Exception) -> str:
    """Return an error as one line of at most 300 characters."""
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, InputError):
        return text
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."
