"""Memory that is added, of work that allocates a known amount. Functions that run in a child are ones of this
module."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from segkit.compare import memory
from segkit.compare.memory import Work, added_memory, in_child

MEGABYTE = 10**6
kept: list[np.ndarray] = []


def nothing() -> None:
    pass


def touched(megabytes: int) -> np.ndarray:
    return np.ones(megabytes * MEGABYTE, np.uint8)


def retain() -> None:
    kept.append(touched(40))


def temporary_and_retained() -> tuple[int | None, int | None]:
    """40 MB that are freed again, after a first time that took 200; then 40 MB that stay after each of two runs."""
    sizes = iter([200, 40, 40])
    temporary = added_memory(Work(lambda: touched(next(sizes)), nothing), "cpu")
    return temporary, added_memory(Work(retain, kept.clear), "cpu")


@pytest.mark.skipif(not memory._CLEAR.exists(), reason="the peak of resident memory cannot be set back here")
def test_memory_counts_at_its_peak_and_from_what_was_there_before():
    temporary, retained = in_child(temporary_and_retained) or (None, None)
    assert temporary == pytest.approx(40 * MEGABYTE, abs=MEGABYTE)
    assert retained == pytest.approx(80 * MEGABYTE, abs=MEGABYTE)


def test_memory_of_a_device_or_system_that_does_not_tell_it_is_unknown(monkeypatch):
    assert added_memory(Work(nothing, nothing), "mps") is None
    monkeypatch.setattr(memory, "_CLEAR", Path("/nowhere/clear_refs"))
    assert added_memory(Work(nothing, nothing), "cpu") is None


def test_a_child_that_is_killed_gives_nothing():
    assert in_child(signal.raise_signal, signal.SIGKILL) is None


def test_an_error_in_a_child_is_an_error():
    with pytest.raises(FileNotFoundError):
        in_child(os.rmdir, "/nowhere/folder")
