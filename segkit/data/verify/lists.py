"""What the lists of a dataset show before a file is opened."""

import os
from collections.abc import Iterator, Sequence
from itertools import combinations

from segkit.data.dataset import Pair
from segkit.data.datasets.folder import SUFFIXES
from segkit.data.layout import Layout, Listed
from segkit.data.verify import kinds
from segkit.data.verify.kinds import Fault

MOST = 0.9  # of the pairs: what they have in common is how the dataset is
MUCH = 0.5  # of a split that another has too: not images were mixed up, but lists


def see_lists(layout: Layout) -> Iterator[Fault]:
    """What is wrong with the lists and folders of the splits, alone and together."""
    for split, listed in layout.splits.items():
        for problem in listed.problems:
            yield Fault(kinds.LIST, split, problem)
        if _doubles_images(listed):
            yield Fault(
                kinds.LIST, split, f"{listed.place}: names are relative to images/. Take 'images/' from each line."
            )
        first: dict[str, int] = {}
        for line, pair in zip(listed.lines, listed.pairs, strict=False):  # no lines: a folder
            if pair.id in first:
                yield Fault(kinds.NAMED_TWICE, f"{listed.place}:{line}", f"'{pair.id}' is on line {first[pair.id]} too")
            first.setdefault(pair.id, line)
        expected = layout.sizes.get(split)
        if expected is not None and not listed.problems and len(listed.pairs) != expected:
            yield Fault(kinds.OTHER_SIZE, split, f"{len(listed.pairs)} images, expected {expected}")
    if "test" not in layout.distinct:
        yield Fault(kinds.TEST_IS_VAL, "test")
    yield from _shared(layout)
    yield from _other_names([pair for listed in layout.splits.values() for pair in listed.pairs])


def _shared(layout: Layout) -> Iterator[Fault]:
    """Images that two splits name."""
    same = layout.same
    named = {split: {same(pair): pair for pair in listed.pairs} for split, listed in layout.splits.items()}
    for one, other in combinations(layout.distinct, 2):
        common = sorted(named[one].keys() & named[other].keys())
        if len(common) > max(1, MUCH * min(len(named[one]), len(named[other]))):
            first = str(named[other][common[0]].image)
            detail = f"{len(common)} of its {len(named[other])} images are in {one} too, the first is"
            yield Fault(kinds.IN_TWO_SPLITS, other, detail, first)
            continue
        for key in common:
            yield Fault(kinds.IN_TWO_SPLITS, str(named[other][key].image), f"in {one} and {other}")


def _doubles_images(listed: Listed) -> bool:
    """Whether no image of a list is there, and each were if `images/` did not begin its name."""
    root = listed.place.parent
    for pair in listed.pairs:
        if not pair.image.is_relative_to(root / "images" / "images") or os.path.isfile(pair.image):
            return False
        meant = root / pair.image.relative_to(root / "images")
        if not any(os.path.isfile(meant.with_suffix(suffix)) for suffix in (meant.suffix, *SUFFIXES)):
            return False
    return bool(listed.lines)


def _other_names(pairs: Sequence[Pair]) -> Iterator[Fault]:
    other = [pair for pair in pairs if pair.image.stem != pair.labels.stem]
    if len(other) <= (1 - MOST) * len(pairs):
        for pair in dict.fromkeys(other):
            yield Fault(kinds.OTHER_NAME, str(pair.image), pair.labels.name)


def see_unlisted(layout: Layout) -> Iterator[Fault]:
    """Folders with image files that are no part of any sample, beside those that are."""
    pairs = [pair for listed in layout.splits.values() for pair in listed.pairs]
    used = {str(path) for pair in pairs for path in (pair.image, pair.labels)}
    for folder in sorted({os.path.dirname(path) for path in used}):
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # its files are missing, which is said of each
            continue
        paths = {name: os.path.join(folder, name) for name in names if name.lower().endswith(SUFFIXES)}
        unlisted = [name for name, path in paths.items() if path not in used and not os.path.isdir(path)]
        if unlisted:
            count = "1 file:" if len(unlisted) == 1 else f"{len(unlisted)} files, the first is"
            yield Fault(kinds.UNLISTED, folder, count, unlisted[0])
