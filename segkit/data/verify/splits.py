"""What the samples of splits show together: classes, void, and copies."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from segkit.data.classes import Classes
from segkit.data.dataset import Pair
from segkit.data.verify import kinds
from segkit.data.verify.kinds import Fault
from segkit.data.verify.near_copies import near_copies
from segkit.data.verify.sample import Seen
from segkit.tensors import IGNORE

MUCH = 0.5  # of a split's pixels
Splits = Mapping[str, Sequence[Seen]]


@dataclass(frozen=True)
class Contents:
    """What is in a split.

    Attributes:
        images: samples that were looked at.
        sizes: `HEIGHTxWIDTH` -> images, as samples have it.
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


def contents(samples: Sequence[Seen], classes: Classes, reduction: int) -> Contents:
    """What is in a split.

    Args:
        reduction: file pixels per pixel of a sample, along each side.
    """
    sizes = Counter(
        f"{seen.image.height // reduction}x{seen.image.width // reduction}" for seen in samples if seen.image
    )
    read = np.array([seen.pixels for seen in samples if seen.pixels], np.int64).reshape(-1, len(classes.names) + 1)
    return Contents(
        len(samples), dict(sizes.most_common()), tuple(read.sum(0).tolist()), tuple((read > 0).sum(0).tolist())
    )


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
        changed = {kinds.UNKNOWN_IDS: kinds.OFF_BY_ONE} if from_one else {}
        if split == "train" and not any(map(_holds_more_than_0_and_255, samples)):
            changed[kinds.PERHAPS_ZERO_255] = kinds.ZERO_255
        found[split] = [
            replace(
                seen, faults=tuple(replace(fault, kind=changed.get(fault.kind, fault.kind)) for fault in seen.faults)
            )
            for seen in samples
        ]
    return found


def _holds_more_than_0_and_255(seen: Seen) -> bool:
    """Whether a label has another id, as far as it is known."""
    if not seen.pixels or any(fault.kind is kinds.PERHAPS_ZERO_255 for fault in seen.faults):
        return bool(seen.wrong_ids)
    return any(seen.pixels[1:-1]) or all((seen.pixels[0], seen.pixels[-1]))  # both, so void is another id than 255


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
            yield Fault(kind, str(seen.pair.image), "as", str(first.pair.image))
            if (
                first.pixels
                and seen.pixels
                and (first.labels_digest, first.pixels) != (seen.labels_digest, seen.pixels)
            ):
                yield Fault(kinds.CONFLICT, str(seen.pair.labels), "unlike", str(first.pair.labels))
    for group in labels.values():
        first_split, first = group[0]
        for split, seen in group[1:]:
            if seen.image_digest != first.image_digest:
                kind = kinds.LABEL_TWICE if split == first_split else kinds.LABEL_IN_SPLITS
                if seen.pair.labels == first.pair.labels:
                    yield Fault(kind, str(seen.pair.labels), "the label of two samples, one is", str(seen.pair.image))
                else:
                    yield Fault(kind, str(seen.pair.labels), "as", str(first.pair.labels))
    yield from _near(splits)


def _near(splits: Splits) -> Iterator[Fault]:
    looks = {split: [seen for seen in samples if seen.appearance is not None] for split, samples in splits.items()}
    hashes = {split: [seen.appearance or 0 for seen in samples] for split, samples in looks.items()}
    for one, other in combinations(splits, 2):
        for nearest, index, bits in near_copies(hashes[one], hashes[other]):
            near, seen = looks[one][nearest], looks[other][index]
            if near.image_digest != seen.image_digest:
                yield Fault(kinds.NEAR_COPIES, str(seen.pair.image), f"{bits} of 64 bits unlike", str(near.pair.image))
