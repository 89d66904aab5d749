"""What 'segkit doctor' finds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from segkit.system.failures import explain


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `problem`: training would not work, or not as asked.
        topic: what was looked at.
        text: what was found; of a problem, also what to do.
    """

    level: Literal["ok", "note", "problem"]
    topic: str
    text: str


def looked_at(topic: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds; its error is a problem too."""
    try:
        yield from look()
    except Exception as error:  # of any kind: what is broken is what is looked for
        explained = explain(error)
        text = explained[1] if explained else f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield Finding("problem", topic, text)
