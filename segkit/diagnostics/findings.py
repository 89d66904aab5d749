"""Findings of `segkit doctor`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from segkit.system.failures import explain


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        level: `problem`: training would not work, or not as configured.
        topic: subject of the check.
        text: result of the check; for a problem, also the remedy.
    """

    level: Literal["ok", "note", "problem"]
    topic: str
    text: str


def looked_at(topic: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of `look`; an error that it raises becomes a problem."""
    try:
        yield from look()
    except Exception as error:  # of any kind: anything may be broken here
        explained = explain(error)
        text = explained[1] if explained else f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding("problem", topic, text)
