"""What the lists of a dataset show before a file is opened."""

import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from segkit.data import verify_kinds as kinds
from segkit.data.dataset import Pair
from segkit.data.layout import Layout
from segkit.data.verify_kinds import Fault

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST = 0.9  # of the pairs: what they have in common is how the dataset is


def see_lists(layout: Layout) -> Iterator[Fault]:
    """What is wrong with the lists and folders of the splits, alone and together."""
    for split, listed in layout.splits.items():
        for problem in listed.problems:
            yield Fault(kinds.LIST, split, problem)
        first: dict[str, int] = {}
        for line, pair in zip(listed.lines, listed.pairs, strict=False):  # no lines: a folder
            if pair.id in first:
                yield Fault(kinds.NAMED_TWICE, f"{listed.place}:{line}", f"'{pair.id}' is on line {first[pair.id]} too")
            first.setdefault(pair.id, line)
        expected = layout.sizes.get(split)
        if expected is not None and listed.pairs and len(listed.pairs) != expected:
            yield Fault(kinds.OTHER_SIZE, split, f"{len(listed.pairs)} images, expected {expected}")
    yield from _shared(layout)
    yield from _other_names([pair for listed in layout.splits.values() for pair in listed.pairs])


def _shared(layout: Layout) -> Iterator[Fault]:
    """Images that two splits name."""
    same = layout.same
    named = {split: {same(pair): pair for pair in listed.pairs} for split, listed in layout.splits.items()}
    for one, other in combinations(layout.distinct, 2):
        for key in sorted(named[one].keys() & named[other].keys()):
            yield Fault(kinds.IN_TWO_SPLITS, str(named[other][key].image), f"in {one} and {other}")


def _other_names(pairs: Sequence[Pair]) -> Iterator[Fault]:
    other = [pair for pair in pairs if pair.image.stem != pair.labels.stem]
    if len(other) <= (1 - MOST) * len(pairs):
        for pair in dict.fromkeys(other):
            yield Fault(kinds.OTHER_NAME, str(pair.image), pair.labels.name)


def see_unlisted(layout: Layout) -> Iterator[Fault]:
    """Image files beside those of the samples that are no part of any."""
    pairs = [pair for listed in layout.splits.values() for pair in listed.pairs]
    used = {str(path) for pair in pairs for path in (pair.image, pair.labels)}
    for folder in sorted({os.path.dirname(path) for path in used}):
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # its files are missing, which is said of each
            continue
        for name in names:
            path = os.path.join(folder, name)
            if name.lower().endswith(SUFFIXES) and path not in used and not Path(path).is_dir():
                yield Fault(kinds.UNLISTED, path)
