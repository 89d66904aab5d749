"""Checks across samples and splits: lists, classes, void, and copies."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from segkit.data import faults
from segkit.data.classes import Classes
from segkit.data.dataset import Pair
from segkit.data.datasets.folder import SUFFIXES
from segkit.data.faults import Fault
from segkit.data.layout import Layout
from segkit.data.verify.sample import Look, only_first_and_void
from segkit.tensors import IGNORE

# Of 64. CamVid's 143,000 pairs of images across splits differ in 8 bits or more; video frames 1/15 s apart in 0..6.
NEAR_BITS = 6
MUCH_VOID = 0.5  # share of a split's pixels
MOST_NAMES = 0.9  # share of pairs with equal names, from which other names are suspicious
Looks = Mapping[str, Sequence[Look]]


@dataclass(frozen=True)
class Contents:
    """Contents of a split.

    Attributes:
        images: number of checked samples.
        sizes: `HEIGHTxWIDTH` of samples -> number of images.
        pixels: [K + 1], pixels of each class, then void, in the labels that could be read.
        labels: [K + 1], label maps that hold the class.
    """

    images: int
    sizes: dict[str, int]
    pixels: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def void(self) -> float:
        """Share of void pixels."""
        return self.pixels[-1] / max(1, sum(self.pixels))


def contents(looks: Sequence[Look], classes: Classes, reduction: int) -> Contents:
    """Sum up the contents of a split; `reduction` is file pixels per pixel of a sample, along each side."""
    sizes = Counter(f"{look.size[0] // reduction}x{look.size[1] // reduction}" for look in looks if look.size)
    read = np.array([look.pixels for look in looks if look.pixels], np.int64).reshape(-1, len(classes.names) + 1)
    present = (read > 0).sum(0)
    return Contents(len(looks), dict(sizes.most_common()), tuple(read.sum(0).tolist()), tuple(present.tolist()))


def list_faults(layout: Layout) -> Iterator[Fault]:
    """Yield faults of the lists and folders of the splits, separately and together."""
    for split, listed in layout.splits.items():
        yield from listed.faults(split)
        expected = layout.sizes.get(split)
        if expected is not None and not listed.problems and len(listed.pairs) != expected:
            yield Fault(faults.OTHER_SIZE, split, f"{len(listed.pairs)} images, expected {expected}")
    if "test" not in layout.distinct:
        yield Fault(faults.TEST_IS_VAL, "test")
    yield from layout.shared()
    pairs = [pair for listed in layout.splits.values() for pair in listed.pairs]
    other = [pair for pair in pairs if pair.image.stem != pair.labels.stem]
    if len(other) <= (1 - MOST_NAMES) * len(pairs):
        for pair in dict.fromkeys(other):
            yield Fault(faults.OTHER_NAME, str(pair.image), pair.labels.name)


def unlisted_faults(layout: Layout) -> Iterator[Fault]:
    """Yield folders of samples that also hold image files of no sample."""
    pairs = [pair for listed in layout.splits.values() for pair in listed.pairs]
    used = {str(path) for pair in pairs for path in (pair.image, pair.labels)}
    for folder in sorted({os.path.dirname(path) for path in used}):
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # each of its files is reported as missing
            continue
        paths = {name: os.path.join(folder, name) for name in names if name.lower().endswith(SUFFIXES)}
        unlisted = [name for name, path in paths.items() if path not in used and not os.path.isdir(path)]
        if unlisted:
            count = "1 file:" if len(unlisted) == 1 else f"{len(unlisted)} files, the first is"
            yield Fault(faults.UNLISTED, folder, count, unlisted[0])


def sample_faults(looks: Looks, classes: Classes) -> list[Fault]:
    """Return faults of single samples, each once.

    If all labels together show that ids begin at 1, or that all training labels are 0/255 masks, their faults are
    replaced by that.
    """
    every = [look for samples in looks.values() for look in samples]
    wrong = set().union(*(look.wrong_ids for look in every)) - {IGNORE}
    one_too_high = wrong - set(classes.ids) == {max(classes.ids) + 1}
    found: dict[Fault, None] = {}
    for split, samples in looks.items():
        others = {}
        if one_too_high and 0 not in wrong and not any(look.pixels and look.pixels[0] for look in every):
            others[faults.UNKNOWN_IDS] = faults.OFF_BY_ONE
        if split == "train" and all(map(_may_be_0_255, samples)):
            others[faults.PERHAPS_ZERO_255] = faults.ZERO_255
        for look in samples:
            found.update({replace(fault, kind=others.get(fault.kind, fault.kind)): None for fault in look.faults})
    return list(found)


def _may_be_0_255(look: Look) -> bool:
    """Return False if a label is known to hold ids other than 0 and 255."""
    if not look.pixels or any(fault.kind == faults.PERHAPS_ZERO_255 for fault in look.faults):
        return not look.wrong_ids
    return not any(look.pixels[1:-1]) and not only_first_and_void(look.pixels)  # void has another id than 255


def class_faults(found: Mapping[str, Contents], classes: Classes) -> Iterator[Fault]:
    """Yield splits that are all void or hold one class, absent classes, and splits with much void."""
    for split, each in found.items():
        if not any(each.pixels):
            continue
        absent = [name for name, pixels in zip(classes.names, each.pixels, strict=False) if not pixels]
        if len(absent) == len(classes.names):
            yield Fault(faults.ALL_VOID, split, f"all {each.images} label maps are void")
            continue
        if each.void > MUCH_VOID:
            yield Fault(faults.MUCH_VOID, split, f"{each.void:.1%} of its pixels")
        if len(absent) == len(classes.names) - 1 > 0:
            (only,) = set(classes.names) - set(absent)
            yield Fault(faults.ONE_CLASS if split == "train" else faults.ONE_CLASS_SCORED, split, only)
        elif absent:
            yield Fault(faults.ABSENT_TRAINING if split == "train" else faults.ABSENT_SCORED, split, ", ".join(absent))


def copy_faults(looks: Looks, image_key: Callable[[Pair], str]) -> Iterator[Fault]:
    """Yield equal images, equal labels, and nearly equal images.

    Pairs with equal `image_key` are already reported by the checks of lists.
    """
    images, labels = defaultdict[bytes, list[tuple[str, Look]]](list), defaultdict[bytes, list[tuple[str, Look]]](list)
    known = set()
    for split, samples in looks.items():
        for look in samples:
            if image_key(look.pair) in known:
                continue
            known.add(image_key(look.pair))
            if look.image_digest:
                images[look.image_digest].append((split, look))
            if look.labels_digest:
                labels[look.labels_digest].append((split, look))
    for (first_split, first), *copies in images.values():
        for split, look in copies:
            kind = faults.COPIES if split == first_split else faults.LEAKED_COPIES
            yield Fault(kind, str(look.pair.image), "as", str(first.pair.image))
            same = (first.labels_digest, first.pixels) == (look.labels_digest, look.pixels)
            if first.pixels and look.pixels and not same:
                yield Fault(faults.CONFLICT, str(look.pair.labels), "unlike", str(first.pair.labels))
    for (first_split, first), *copies in labels.values():
        for split, look in copies:
            if look.image_digest == first.image_digest:
                continue
            kind = faults.LABEL_TWICE if split == first_split else faults.LABEL_IN_SPLITS
            if look.pair.labels == first.pair.labels:
                yield Fault(kind, str(look.pair.labels), "the label of two samples, one is", str(look.pair.image))
            else:
                yield Fault(kind, str(look.pair.labels), "as", str(first.pair.labels))
    decoded = {split: [look for look in samples if look.appearance is not None] for split, samples in looks.items()}
    for one, other in combinations(looks, 2):
        ours, theirs = ([look.appearance or 0 for look in decoded[split]] for split in (one, other))
        for nearest, index, bits in near_copies(ours, theirs):
            near, look = decoded[one][nearest], decoded[other][index]
            if near.image_digest != look.image_digest:
                detail = f"{bits} of 64 bits unlike"
                yield Fault(faults.NEAR_COPIES, str(look.pair.image), detail, str(near.pair.image))


def near_copies(ones: Sequence[int], others: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (index of the nearest hash in `ones`, index in `others`, differing bits) for each near pair of hashes."""
    if not ones:
        return
    table = np.array(ones, np.uint64)
    for index, bits in enumerate(others):
        distances = np.bitwise_count(table ^ np.uint64(bits))
        nearest = int(distances.argmin())
        if distances[nearest] <= NEAR_BITS:
            yield nearest, index, int(distances[nearest])
