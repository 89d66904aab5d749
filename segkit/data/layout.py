"""The files of a dataset, as its lists and folders name them, and checks that need no file to be opened."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path

from segkit.data import faults
from segkit.data.classes import Classes
from segkit.data.dataset import Pair, PairDataset
from segkit.data.faults import DataError, Fault
from segkit.data.files.images import file_fault
from segkit.errors import InputError

SPLITS = ("train", "val", "test")
_MOST = 0.5  # share of a split; if more of its images are in another split, the lists were mixed up, not single images


@dataclass(frozen=True)
class Listed:
    """One split, as its list file or folder names it.

    Attributes:
        place: the list, or the folder.
        pairs: files of each sample.
        lines: line number of each pair in the list; empty if `place` is a folder.
        problems: a message for each error in the list; its faulty lines are not among `pairs`.
    """

    place: Path
    pairs: tuple[Pair, ...] = ()
    lines: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()

    def faults(self, split: str) -> Iterator[Fault]:
        """Yield the faults of the list itself; the files that it names are not checked."""
        for problem in self.problems:
            yield Fault(faults.LIST, split, problem)
        first: dict[str, int] = {}
        for line, pair in zip(self.lines or [0] * len(self.pairs), self.pairs, strict=True):
            if pair.id in first:
                where = f" is on line {first[pair.id]} too" if line else " is named twice"
                yield Fault(
                    faults.NAMED_TWICE, f"{self.place}:{line}" if line else str(self.place), f"'{pair.id}'{where}"
                )
            first.setdefault(pair.id, line)

    def require(self, split: str, *, labels: bool = True) -> None:
        """Check the list and that its files exist.

        Raises:
            DataError: if not.
        """
        if found := [*self.faults(split)]:
            raise DataError(*found)
        files = [path for pair in self.pairs for path in ((pair.image, pair.labels) if labels else (pair.image,))]
        if missing := [*filter(None, map(file_fault, files))]:
            raise DataError(*missing)


def listed(path: Path, expected: str, pairs: Callable[[str], Sequence[Pair]]) -> Listed:
    """Read the samples of a list file; a byte order mark, blank lines and Windows line ends are ignored.

    Args:
        expected: description of a correct line, for messages.
        pairs: returns the samples of a line, usually one; none if the line is malformed.
    """
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no plain file"
            return _unusable(path, f"is {kind}", expected)
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return _unusable(path, f"is not UTF-8 text (byte {error.start})", expected)
    except FileNotFoundError:
        return _unusable(path, "does not exist", expected, " Restore it, or set data.root=PATH.")
    except (OSError, ValueError) as error:
        return _unusable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}", expected)
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        return _unusable(path, "is empty", expected)
    read = [(number, line, () if "\0" in line else pairs(line)) for number, line in numbered]
    good = [(number, pair) for number, _, found in read for pair in found]
    bad = [f"{path}:{number}: '{line[:80]}': expected {expected}" for number, line, found in read if not found]
    return Listed(path, tuple(pair for _, pair in good), tuple(number for number, _ in good), tuple(bad))


def _unusable(path: Path, how: str, expected: str, advice: str = "") -> Listed:
    return Listed(path, problems=(f"{path} {how}; expected a text file with {expected} per line.{advice}",))


def require_root(root: Path, expected: str) -> None:
    """Reject a `root` that is not a folder; `expected` describes the right one."""
    if not os.path.isdir(root):
        raise InputError(f"data.root = '{root}' is not a folder; expected {expected}. Set data.root=PATH.")


@dataclass(frozen=True)
class Layout:
    """A dataset as its lists name it, before any other file is read.

    Attributes:
        global_ids: True if samples with the same id show the same image; otherwise, only those with the same file do.
        sizes: split -> number of images in the published split of that name.
        reduction: file pixels per pixel of a sample, along each side.
        editions: digest of the label files of a split -> description of the published edition with that digest.
    """

    classes: Classes
    splits: Mapping[str, Listed]
    global_ids: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    reduction: int = 1
    editions: Mapping[str, str] = field(default_factory=dict)

    def unchecked(self, split: str) -> PairDataset:
        """Return the samples of a split, whose files may be missing."""
        return PairDataset(self.splits[split].pairs, self.classes, reduction=self.reduction)

    def checked(self, split: str) -> PairDataset:
        """Return the samples of a split.

        Raises:
            DataError: if its list has a problem or names a sample twice, a file is missing, or splits share an image.
        """
        self.splits[split].require(split)
        if shared := [*self.shared()]:
            raise DataError(*shared)
        return self.unchecked(split)

    def shared(self) -> Iterator[Fault]:
        """Yield images that are in two splits: a model would be scored on images that it was trained or selected on."""
        for one, other in combinations(self.distinct, 2):
            ours, theirs = self._images[one], self._images[other]
            common = sorted(ours.keys() & theirs.keys())
            if len(common) > max(1, _MOST * min(len(ours), len(theirs))):
                detail = f"{len(common)} of its {len(theirs)} images are in {one} too, the first is"
                yield Fault(faults.IN_TWO_SPLITS, other, detail, str(theirs[common[0]].image))
                continue
            for key in common:
                yield Fault(faults.IN_TWO_SPLITS, str(theirs[key].image), f"in {one} and {other}")

    @cached_property
    def _images(self) -> dict[str, dict[str, Pair]]:
        """Split -> image key -> sample."""
        return {split: {self.image_key(pair): pair for pair in each.pairs} for split, each in self.splits.items()}

    @property
    def distinct(self) -> tuple[str, ...]:
        """The splits, without a test split that equals the val split, as for VOC, whose test labels are secret."""
        val, test = self._images["val"].keys(), self._images["test"].keys()
        return tuple(split for split in self.splits if split != "test" or not test or test != val)

    def image_key(self, pair: Pair) -> str:
        """Return a key that is equal for two samples of the same image."""
        return pair.id if self.global_ids else os.path.realpath(pair.image)

    def edition(self, split: str) -> str | None:
        """Read all label files of a split and return their published edition; None if it is unknown.

        Raises:
            OSError: if one cannot be read.
        """
        if not self.editions:
            return None
        digests = sorted(hashlib.sha256(pair.labels.read_bytes()).digest() for pair in self.splits[split].pairs)
        return self.editions.get(hashlib.sha256(b"".join(digests)).hexdigest())
