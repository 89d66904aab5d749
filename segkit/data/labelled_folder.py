"""From a folder of images and masks to one that can be trained on: a class file and three lists."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.class_file import MAX_CLASSES
from segkit.data.folder import SUFFIXES
from segkit.data.images import read_mask
from segkit.data.layout import SPLITS
from segkit.errors import InputError
from segkit.files import write_text
from segkit.tensors import IGNORE

HEAD = "# Change the names as you like; the order is that of the class ids. An entry 'ignored: ...' is no class.\n"
MANY_COLORS = 128  # in masks: more come from scaling or compression, not from classes


@dataclass(frozen=True)
class Started:
    """What was found and written.

    Attributes:
        classes: the class file, or None: there was one.
        entries: of the class file.
        sizes: images of each split; none: there were lists.
        unlabelled: images without a mask, which are in no list.
    """

    classes: Path | None
    entries: tuple[str, ...]
    sizes: dict[str, int]
    unlabelled: int


def start(root: Path, *, val: float, test: float, seed: int, progress: Callable[[int], None] | None = None) -> Started:
    """Writes ROOT/classes.yaml with what the masks of ROOT/labels hold, and train.txt, val.txt, test.txt; keeps those that are there.

    Args:
        val, test: shares of the images, drawn at random; of 3 images and more, each split gets one at least.
        seed: of the draw.
        progress: called with 1 for each mask.
    Raises:
        InputError: if there are no images with masks, some lists but not all, a bad mask, or too many colours.
    """
    images, labels = root / "images", root / "labels"
    for folder in (images, labels):
        if not os.path.isdir(folder):
            raise InputError(f"{folder} does not exist; expected the folders images and labels in {root}. Create it.")
    found = sorted(path.relative_to(images) for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    names = [path for path in found if (labels / path.with_suffix(".png")).is_file()]
    if len(names) < len(SPLITS):
        raise InputError(f"{images} holds {len(names)} images with a mask in {labels}; expected three at least. A mask is NAME.png.")
    lists = [root / f"{split}.txt" for split in SPLITS]
    there = [path.name for path in lists if os.path.lexists(path)]
    if there and len(there) < len(lists):
        raise InputError(f"{root} holds {', '.join(there)}; expected train.txt, val.txt and test.txt, or none. Delete it.")
    parts = {} if there else dict(zip(lists, _drawn(names, val, test, seed), strict=True))
    path = root / "classes.yaml"
    entries = [] if os.path.lexists(path) else _entries([labels / name.with_suffix(".png") for name in names], progress)
    if entries:
        write_text(path, "".join([HEAD, *(f"- {entry}\n" for entry in entries)]))
    for each, part in parts.items():
        write_text(each, "".join(f"{name.as_posix()}\n" for name in part))
    sizes = {each.stem: len(part) for each, part in parts.items()}
    return Started(path if entries else None, tuple(entries), sizes, len(found) - len(names))


def _entries(masks: Sequence[Path], progress: Callable[[int], None] | None) -> list[str]:
    """Lines of a class file for what masks hold."""
    ids, colors = set(), set()  # a colour as one number
    for path in masks:
        mask = read_mask(path)
        if mask.ndim == 2:
            ids |= set(np.unique(mask).tolist())
        else:
            colors |= set(np.unique(mask @ np.array([1 << 16, 1 << 8, 1])).tolist())
        if len(colors) > MANY_COLORS:
            raise InputError(f"{path}: the masks hold more than {MANY_COLORS} colours; expected one a class. Were they scaled?")
        if progress is not None:
            progress(1)
    if ids and colors:
        raise InputError(f"{masks[0].parent} holds masks of ids and masks of colours; expected one kind. Convert one of them.")
    if colors:
        return [f"class {number}: [{code >> 16}, {code >> 8 & 255}, {code & 255}]" for number, code in enumerate(sorted(colors))]
    known = sorted(ids if ids <= {0, IGNORE} else ids - {IGNORE})  # 0 and 255 alone: a class and its background
    if len(known) > MAX_CLASSES:
        raise InputError(f"{masks[0].parent}: the masks hold {len(known)} ids; expected at most {MAX_CLASSES} classes.")
    return [f"class {id}" for id in known] if known == [*range(len(known))] else [f"class {id}: {id}" for id in known]


def _drawn(names: Sequence[Path], val: float, test: float, seed: int) -> list[list[Path]]:
    """Names of the train, val and test split, each sorted."""
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    held_out = [max(1, round(share * len(names))) for share in (val, test)]
    if sum(held_out) >= len(names):
        raise InputError(f"--val {val} and --test {test} leave no image for training; expected shares that add up to less than 1.")
    ends = [0, len(names) - sum(held_out), len(names) - held_out[1], len(names)]
    return [[names[index] for index in sorted(order[first:last])] for first, last in zip(ends, ends[1:], strict=False)]
