"""PASCAL VOC 2012 segmentation: images of any size, 21 classes, borders ignored."""

from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.dataset import Pair, PairDataset
from segkit.errors import InputError

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

    Args:
        split: train, val or test; the labels of the official test set are secret, so `test` is `val` unless told otherwise.
        root: the folder VOC2012, or VOCdevkit above it.
        train: list of the train split: ROOT/ImageSets/Segmentation/NAME.txt; likewise `val` and `test`.
    Raises:
        InputError: if the folder, a list or a file is missing.
    Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012.
    """
    if not root.is_dir():
        raise InputError(f"data.root = '{root}' is no folder; expected VOCdevkit, or VOC2012 in it. Set data.root=PATH.")
    if (root / "VOC2012").is_dir():
        root = root / "VOC2012"
    lists = {"train": train, "val": val, "test": test}
    listing = root / "ImageSets" / "Segmentation" / f"{lists[split]}.txt"
    if not (root / "JPEGImages").is_dir():
        raise InputError(f"data.root = '{root}' holds no JPEGImages; expected the folder VOC2012 of VOCdevkit. Set data.root=PATH.")
    try:
        ids = listing.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{listing} cannot be read ({error}); expected one image id a line. Restore the list or set data.{split}."
        ) from None
    if not ids:
        raise InputError(f"{listing} is empty; expected one image id a line. Restore the list.")
    pairs = [Pair(id, root / "JPEGImages" / f"{id}.jpg", root / "SegmentationClass" / f"{id}.png") for id in ids]
    missing = [path for pair in pairs for path in (pair.image, pair.labels) if not path.is_file()]
    if missing:
        raise InputError(f"{listing} names {len(missing)} missing files, the first is {missing[0]}. Copy the dataset again.")
    return PairDataset(pairs, class_names=CLASS_NAMES, palette=PALETTE)
