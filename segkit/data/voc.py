"""PASCAL VOC 2012 segmentation: images of any size, 21 classes, borders ignored."""

import re
from pathlib import Path

import numpy as np

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.layout import Layout, listed, require_root
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


def voc(*, root: Path, train: str = "train", val: str = "val", test: str = "val") -> Layout:
    """VOC2012: ROOT/JPEGImages/ID.jpg with ROOT/SegmentationClass/ID.png; 255 (borders, difficult objects) is ignored.

    RGB masks in VOC's colours are read too.

    Args:
        root: the folder VOC2012, or VOCdevkit above it.
        train: list of the train split: ROOT/ImageSets/Segmentation/NAME.txt; likewise `val` and `test`. The labels of the official test
            set are secret, so `test` is `val` unless told otherwise.
    Raises:
        InputError: if there is no such folder.
    Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012.
    """
    require_root(root, "VOCdevkit, or VOC2012 in it")
    if (root / "VOC2012").is_dir():
        root = root / "VOC2012"
    if not (root / "JPEGImages").is_dir():
        raise InputError(f"data.root = '{root}' holds no JPEGImages; expected the folder VOC2012 of VOCdevkit. Set data.root=PATH.")

    def pair(line: str) -> Pair | None:
        is_id = re.fullmatch(r"[\w.-]+", line) and not line.startswith(".")
        return Pair(line, root / "JPEGImages" / f"{line}.jpg", root / "SegmentationClass" / f"{line}.png") if is_id else None

    lists = {"train": train, "val": val, "test": test}
    expected = "one image id, such as 2007_000032"
    splits = {split: listed(root / "ImageSets" / "Segmentation" / f"{name}.txt", expected, pair) for split, name in lists.items()}
    return Layout(plain_classes(CLASS_NAMES, PALETTE, void_color=voc_color(IGNORE)), splits, global_ids=True)
