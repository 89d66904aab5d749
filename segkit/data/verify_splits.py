"""What the samples of splits show together: classes, void, and copies."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from segkit.data import verify_kinds as kinds
from segkit.data.classes import Classes
from segkit.data.dataset import Pair
from segkit.data.near_copies import near_copies
from segkit.data.verify_kinds import Fault
from segkit.data.verify_sample import Seen
from segkit.tensors import IGNORE

MUCH = 0.5  # of a split's pixels, or label maps
Splits = Mapping[str, Sequence[Seen]]


@dataclass(frozen=True)
class Contents:
    """What is in a split.

    Attributes:
        images: samples that were looked at.
        sizes: `HEIGHTxWIDTH` -> images.
        pixels: [K + 1] of each class and last void, of the labels that could be read.
        labels: label maps that hold the class, [K + 1].
    """

    images: int
    sizes: dict[str, int]
    pixels: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def void(self) -> float:
        """Share of the pixels."""
        return self.pixels[-1] / max(1, sum(self.pixels))


def contents(samples: Sequence[Seen], classes: Classes) -> Contents:
    """What is in a split."""
    sizes = Counter(f"{seen.image.height}x{seen.image.width}" for seen in samples if seen.image)
    read = np.array([seen.pixels for seen in samples if seen.pixels], np.int64).reshape(-1, len(classes.names) + 1)
    return Contents(len(samples), dict(sizes.most_common()), tuple(read.sum(0).tolist()), tuple((read > 0).sum(0).tolist()))


def see_ids(splits: Splits, classes: Classes) -> dict[str, list[Seen]]:
    """The same samples, but what all labels together say of their ids stands in place of what each said alone."""
    everything = [seen for samples in splits.values() for seen in samples]
    wrong = set().union(*(seen.wrong_ids for seen in everything)) - {IGNORE}
    from_one = (
        wrong - set(classes.ids) == {max(classes.ids) + 1}
        and 0 not in wrong
        and not any(seen.pixels and seen.pixels[0] for seen in everything)
    )
    found = {}
    for split, samples in splits.items():
        binary = sum(fault.kind is kinds.PERHAPS_ZERO_255 for seen in samples for fault in seen.faults)
        changed = {kinds.UNKNOWN_IDS: kinds.OFF_BY_ONE} if from_one else {}
        if binary > MUCH * sum(bool(seen.pixels) for seen in samples):
            changed[kinds.PERHAPS_ZERO_255] = kinds.ZERO_255
        found[split] = [
            replace(seen, faults=tuple(replace(fault, kind=changed.get(fault.kind, fault.kind)) for fault in seen.faults))
            for seen in samples
        ]
    return found


def see_classes(found: Mapping[str, Contents], classes: Classes) -> Iterator[Fault]:
    """Classes that are absent, and too much void."""
    for split, each in found.items():
        if not any(each.pixels):
            continue
        present = sum(map(bool, each.pixels[:-1]))
        if not present:
            yield Fault(kinds.ALL_VOID, split, f"all {each.images} label maps are void")
            continue
        if each.void > MUCH:
            yield Fault(kinds.MUCH_VOID, split, f"{each.void:.1%} of its pixels")
        absent = [name for name, pixels in zip(classes.names, each.pixels, strict=False) if not pixels]
        if present == 1 and len(classes.names) > 1:
            (only,) = set(classes.names) - set(absent)
            yield Fault(kinds.ONE_CLASS if split == "train" else kinds.ONE_CLASS_SCORED, split, only)
        elif absent:
            yield Fault(kinds.ABSENT_TRAINING if split == "train" else kinds.ABSENT_SCORED, split, ", ".join(absent))


def see_copies(splits: Splits, same: Callable[[Pair], str]) -> Iterator[Fault]:
    """Equal images, equal labels, and images that are nearly equal.

    Args:
        same: what two samples have in common that are one by the lists, which is said there.
    """
    images, labels = defaultdict[bytes, list[tuple[str, Seen]]](list), defaultdict[bytes, list[tuple[str, Seen]]](list)
    known = set()
    for split, samples in splits.items():
        for seen in samples:
            if same(seen.pair) in known:
                continue
            known.add(same(seen.pair))
            if seen.image_digest:
                images[seen.image_digest].append((split, seen))
            if seen.labels_digest:
                labels[seen.labels_digest].append((split, seen))
    for group in images.values():
        first_split, first = group[0]
        for split, seen in group[1:]:
            kind = kinds.COPIES if split == first_split else kinds.LEAKED_COPIES
            yield Fault(kind, str(seen.pair.image), f"as {first.pair.image}")
            if first.pixels and seen.pixels and (first.labels_digest, first.pixels) != (seen.labels_digest, seen.pixels):
                yield Fault(kinds.CONFLICT, str(seen.pair.labels), f"unlike {first.pair.labels}")
    for group in labels.values():
        first_split, first = group[0]
        for split, seen in group[1:]:
            if seen.image_digest != first.image_digest:
                kind = kinds.LABEL_TWICE if split == first_split else kinds.LABEL_IN_SPLITS
                yield Fault(kind, str(seen.pair.labels), f"as {first.pair.labels}")
    yield from _near(splits)


def _near(splits: Splits) -> Iterator[Fault]:
    looks = {split: [seen for seen in samples if seen.appearance is not None] for split, samples in splits.items()}
    hashes = {split: [seen.appearance or 0 for seen in samples] for split, samples in looks.items()}
    for one, other in combinations(splits, 2):
        for nearest, index, bits in near_copies(hashes[one], hashes[other]):
            near, seen = looks[one][nearest], looks[other][index]
            if near.image_digest != seen.image_digest:
                yield Fault(kinds.NEAR_COPIES, str(seen.pair.image), f"{bits} of 64 bits unlike {near.pair.image}")
