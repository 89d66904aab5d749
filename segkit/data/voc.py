"""PASCAL VOC 2012 segmentation: images of any size, 21 classes, borders ignored."""

import os
import re
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.dataset import Pair, PairDataset
from segkit.data.splits import read_list, require_disjoint, require_files, require_once
from segkit.errors import InputError
from segkit.tensors import IGNORE

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_color(index: int) -> tuple[int, int, int]:
    """RGB of a class id: the bits of the id, spread over the three channels.

    Source: VOCdevkit's VOClabelcolormap.m.
    """
    red, green, blue, rest = 0, 0, 0, index
    for bit in range(7, -1, -1):
        red, green, blue = red | (rest & 1) << bit, green | (rest >> 1 & 1) << bit, blue | (rest >> 2 & 1) << bit
        rest >>= 3
    return red, green, blue


PALETTE = np.array([voc_color(index) for index in range(len(CLASS_NAMES))], np.uint8)


def voc(split: Literal["train", "val", "test"], *, root: Path, train: str = "train", val: str = "val", test: str = "val") -> PairDataset:
    """One split of VOC2012: ROOT/JPEGImages/ID.jpg with ROOT/SegmentationClass/ID.png; 255 (borders, difficult objects) is ignored.

    RGB masks in VOC's colours are read too.

    Args:
        split: train, val or test; the labels of the official test set are secret, so `test` is `val` unless told otherwise.
        root: the folder VOC2012, or VOCdevkit above it.
        train: list of the train split: ROOT/ImageSets/Segmentation/NAME.txt; likewise `val` and `test`.
    Raises:
        InputError: if the folder, a list or a file is missing, a list is malformed or names an image twice, or splits share an image.
    Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012.
    """
    if not os.path.isdir(root):
        raise InputError(f"data.root = '{root}' is no folder; expected VOCdevkit, or VOC2012 in it. Set data.root=PATH.")
    if (root / "VOC2012").is_dir():
        root = root / "VOC2012"
    lists = {"train": train, "val": val, "test": test}
    listing = root / "ImageSets" / "Segmentation" / f"{lists[split]}.txt"
    if not (root / "JPEGImages").is_dir():
        raise InputError(f"data.root = '{root}' holds no JPEGImages; expected the folder VOC2012 of VOCdevkit. Set data.root=PATH.")
    names = _ids(listing, split)
    if not names:
        raise InputError(f"{listing} is empty; expected one image id a line. Restore the list.")
    require_once(listing, names)
    pairs = [Pair(id, root / "JPEGImages" / f"{id}.jpg", root / "SegmentationClass" / f"{id}.png") for _, id in names]
    require_files(listing, [path for pair in pairs for path in (pair.image, pair.labels)])
    others = {name: listing.with_name(f"{value}.txt") for name, value in lists.items()}
    require_disjoint({name: (path, [id for _, id in _ids(path, name)]) for name, path in others.items() if os.path.isfile(path)})
    return PairDataset(pairs, class_names=CLASS_NAMES, palette=PALETTE, void_color=voc_color(IGNORE))


def _ids(listing: Path, split: str) -> list[tuple[int, str]]:
    """Line number and id of each line of a list."""
    found = read_list(listing, f"one image id a line (or set data.{split})")
    for number, id in found:
        if not re.fullmatch(r"[\w.-]+", id) or id.startswith("."):
            raise InputError(f"{listing}:{number}: '{id[:80]}': expected one image id, such as 2007_000032. Restore the list.")
    return found
