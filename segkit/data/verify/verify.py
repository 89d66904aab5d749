"""Whether a dataset can be trained on: everything looked at, or, before training, what can be told within a second."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import perf_counter

import numpy as np

from segkit.data.classes import Classes
from segkit.data.dataset import PairDataset
from segkit.data.layout import Layout
from segkit.data.statistics import in_threads
from segkit.data.verify import kinds
from segkit.data.verify.kinds import Fault, Kind
from segkit.data.verify.lists import see_lists, see_unlisted
from segkit.data.verify.sample import Seen, see, see_headers, see_labels, see_sizes
from segkit.data.verify.splits import Contents, contents, see_classes, see_copies, see_ids
from segkit.errors import InputError

LEVELS = ("problem", "warning", "note")
LABELS = 16  # of a split that are decoded before training


@dataclass(frozen=True)
class Entry:
    """All findings of one kind."""

    kind: Kind
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Report:
    """What was found in a dataset.

    Attributes:
        entries: problems, then warnings, then notes.
        splits: what is in each that has samples.
        classes: what labels were expected to hold.
        images: that were looked at.
        seconds: that it took.
    """

    entries: tuple[Entry, ...]
    splits: Mapping[str, Contents]
    classes: Classes
    images: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether training would be."""
        return not any(entry.kind.level == "problem" for entry in self.entries)


def verify(layout: Layout, *, workers: int, progress: Callable[[int], None]) -> Report:
    """Decodes every image and label, and says all that is wrong, suspicious or worth knowing.

    Of each sample about two kilobytes are kept.

    Args:
        workers: threads; decoding and hashing let one another run.
        progress: called with 1 for every sample.
    """
    started = perf_counter()
    looks = {}
    for split in layout.distinct:
        dataset, looks[split] = layout.unchecked(split), []
        for seen in in_threads(partial(see, dataset), len(dataset), workers):
            looks[split].append(seen)
            progress(1)
    looks = see_ids(looks, layout.classes)
    found = {split: contents(samples, layout.classes, layout.reduction) for split, samples in looks.items() if samples}
    together = chain(
        see_classes(found, layout.classes),
        see_copies(looks, layout.same),
        _editions(layout, looks),
        see_unlisted(layout),
    )
    faults = chain(see_lists(layout), _of_samples(looks), together)
    images = sum(map(len, looks.values()))
    return Report(_entries(faults), found, layout.classes, images, perf_counter() - started)


def require_sound(layout: Layout) -> None:
    """Raises InputError for what the headers of all files and a few labels of each split already show.

    The lists are taken as checked. No image is decoded, and nothing is random. Where a few labels of train look like
    0/255 masks, all of train are decoded.
    """
    looks = {split: _glance(layout.unchecked(split)) for split in layout.distinct}
    problems = _problems(looks, layout)
    if any(entry.kind is kinds.ZERO_255 for entry in problems):  # a few labels do not show that no other holds a class
        decode = partial(_decoded, layout.unchecked("train"), looks["train"])
        looks["train"] = [*in_threads(decode, len(looks["train"]))]
        problems = _problems(looks, layout)
    if not problems:
        return
    kind, first, count = problems[0].kind, problems[0].faults[0], len(problems[0].faults)
    detail = f": {first.detail}" if first.detail else ""
    others = f" So it is with {count - 1} more." if count > 1 else ""
    kinds_more = f" {len(problems) - 1} more kinds of problem were found." if len(problems) > 1 else ""
    raise InputError(
        f"{first.place}: {kind.title}{detail}. {kind.advice}{others}{kinds_more} 'segkit data verify CONFIG' shows everything."
    )


def _problems(looks: Mapping[str, Sequence[Seen]], layout: Layout) -> list[Entry]:
    return [entry for entry in _entries(_of_samples(see_ids(looks, layout.classes))) if entry.kind.level == "problem"]


def _editions(layout: Layout, splits: Iterable[str]) -> Iterator[Fault]:
    for split in splits:
        with suppress(OSError):  # of a file that is missing, which is said of it
            if edition := layout.edition(split):
                yield Fault(kinds.EDITION, split, edition)


def _glance(dataset: PairDataset) -> list[Seen]:
    """All headers, and some labels, evenly spread."""
    looks = [see_sizes(see_headers(pair)) for pair in dataset.pairs]
    for index in {*np.linspace(0, len(looks) - 1, min(LABELS, len(looks))).round().astype(int).tolist()}:
        looks[index] = see_labels(looks[index], dataset, index)
    return looks


def _decoded(dataset: PairDataset, looks: Sequence[Seen], index: int) -> Seen:
    """With what the labels show, unless that is known."""
    return looks[index] if looks[index].pixels else see_labels(looks[index], dataset, index)


def _of_samples(looks: Mapping[str, Sequence[Seen]]) -> Iterable[Fault]:
    """What was found in files, each file's once."""
    return dict.fromkeys(fault for samples in looks.values() for seen in samples for fault in seen.faults)


_ORDER = {kind: index for index, kind in enumerate(kind for kind in vars(kinds).values() if isinstance(kind, Kind))}


def _entries(faults: Iterable[Fault]) -> tuple[Entry, ...]:
    grouped: dict[Kind, list[Fault]] = defaultdict(list)
    for fault in faults:
        grouped[fault.kind].append(fault)
    order = sorted(grouped, key=lambda kind: (LEVELS.index(kind.level), _ORDER[kind]))
    return tuple(Entry(kind, tuple(grouped[kind])) for kind in order)
