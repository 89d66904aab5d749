"""Which files make up a dataset: what its lists and folders say, before an image is opened."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from segkit.data.classes import Classes
from segkit.data.dataset import Pair, PairDataset
from segkit.data.splits import read_list, require_disjoint, require_files, require_once
from segkit.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listed:
    """One split, as its list file or folder names it.

    Attributes:
        place: the list, or the folder.
        pairs: a sample each.
        lines: number of each pair's line in the list; empty: `place` is a folder.
        problems: what is wrong with the list itself, a message each; samples that it spoils are not among `pairs`.
    """

    place: Path
    pairs: tuple[Pair, ...] = ()
    lines: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def numbered(self) -> list[tuple[int, str]]:
        """Line number, 0 if there is none, and id of each sample."""
        return list(zip(self.lines or [0] * len(self.pairs), (pair.id for pair in self.pairs), strict=True))


def listed(path: Path, expected: str, pairs: Callable[[str], Sequence[Pair]]) -> Listed:
    """What a list file names.

    Args:
        expected: what a line should hold, for messages.
        pairs: the samples of a line, mostly one; none: the line is malformed.
    """
    try:
        lines = read_list(path, f"{expected} a line")
    except InputError as error:
        return Listed(path, problems=(str(error),))
    if not lines:
        return Listed(path, problems=(f"{path} is empty; expected {expected} a line. Restore the list.",))
    read = [(number, line, () if "\0" in line else pairs(line)) for number, line in lines]
    good = [(number, pair) for number, _, found in read for pair in found]
    bad = [
        f"{path}:{number}: '{line[:80]}': expected {expected}. Restore the list."
        for number, line, found in read
        if not found
    ]
    return Listed(path, tuple(pair for _, pair in good), tuple(number for number, _ in good), tuple(bad))


def require_root(root: Path, expected: str) -> None:
    """Raises InputError unless `root` is a folder; `expected` is what it should be."""
    if not os.path.isdir(root):
        raise InputError(f"data.root = '{root}' is no folder; expected {expected}. Set data.root=PATH.")


@dataclass(frozen=True)
class Layout:
    """A dataset as its lists name it. Nothing else was looked at yet.

    Attributes:
        classes: what labels stand for.
        splits: train, val and test.
        global_ids: whether one id in two splits means one image; otherwise one file does.
        sizes: split -> images that the split of that name has where it was published.
        reduction: file pixels per pixel of a sample, along each side.
        editions: digest of the label files of a split -> what is known of labels that have it.
    """

    classes: Classes
    splits: Mapping[str, Listed]
    global_ids: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    reduction: int = 1
    editions: Mapping[str, str] = field(default_factory=dict)

    def unchecked(self, split: str) -> PairDataset:
        """The samples of a split, whether or not their files are there."""
        return PairDataset(self.splits[split].pairs, self.classes, reduction=self.reduction)

    def checked(self, split: str) -> PairDataset:
        """The samples of a split.

        Raises:
            InputError: if its list has a problem or names a sample twice, a file is missing, or another split has one
                of its images.
        """
        listed = self.splits[split]
        if listed.problems:
            raise InputError(listed.problems[0])
        require_once(listed.place, listed.numbered)
        require_files(listed.place, [path for pair in listed.pairs for path in (pair.image, pair.labels)])
        require_disjoint({name: (each.place, self._images[name]) for name, each in self.splits.items()})
        return self.unchecked(split)

    @cached_property
    def _images(self) -> dict[str, set[str]]:
        """Split -> its images, by what tells them apart."""
        same = self.same
        return {split: {same(pair) for pair in listed.pairs} for split, listed in self.splits.items()}

    @property
    def distinct(self) -> tuple[str, ...]:
        """The splits, but for a test split that is the val split, as of VOC, whose test labels are secret."""
        val, test = self._images["val"], self._images["test"]
        return tuple(split for split in self.splits if split != "test" or not test or test != val)

    def edition(self, split: str) -> str | None:
        """What is known of the labels of a split by their digest; None: nothing. Reads every label file.

        Raises:
            OSError: if one cannot be read.
        """
        if not self.editions:
            return None
        digests = sorted(hashlib.sha256(pair.labels.read_bytes()).digest() for pair in self.splits[split].pairs)
        return self.editions.get(hashlib.sha256(b"".join(digests)).hexdigest())

    @property
    def same(self) -> Callable[[Pair], str]:
        """What two samples have in common that show one image."""
        return (lambda pair: pair.id) if self.global_ids else (lambda pair: os.path.realpath(pair.image))
