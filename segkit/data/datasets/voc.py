"""PASCAL VOC 2012 segmentation: images of any size, 21 classes, borders ignored."""

import os
import re
from importlib.resources import files
from pathlib import Path

import numpy as np

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.layout import Layout, Listed, listed, require_root
from segkit.errors import InputError
from segkit.tensors import IGNORE

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_color(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of a class id: the bits of the id, spread over the three channels.

    Source: VOCdevkit's VOClabelcolormap.m.
    """
    red, green, blue, rest = 0, 0, 0, index
    for bit in range(7, -1, -1):
        red, green, blue = red | (rest & 1) << bit, green | (rest >> 1 & 1) << bit, blue | (rest >> 2 & 1) << bit
        rest >>= 3
    return red, green, blue


PALETTE = np.array([voc_color(index) for index in range(len(CLASS_NAMES))], np.uint8)
CLASSES = plain_classes(CLASS_NAMES, PALETTE, void_color=voc_color(IGNORE))
SIZES = {  # number of images in the published splits
    "train": 1464, "val": 1449, "trainval": 2913, "trainaug": 10582, "seg11valid": 736, "sbd/train": 8498,
    "sbd/val": 2857, "sbd/train_noval": 5623,
}  # fmt: skip
EXPECTED = "one image id, such as 2007_000032"


def voc(
    *, root: Path, sbd: Path | None = None, train: str = "train", val: str = "val", test: str | None = None
) -> Layout:
    """Return VOC2012: ROOT/JPEGImages/ID.jpg with ROOT/SegmentationClass/ID.png; label 255 (borders) is ignored.

    Label 255 marks borders and difficult objects. RGB masks in VOC's colours are read too. A split is the name of a
    list in ROOT/ImageSets/Segmentation, with or without the prefix `voc2012/`, or one of these:

    - `sbd/train`, `sbd/val`, `sbd/train_noval`: a list of SBD, with its own images and labels, which have no ignored
      borders.
    - `trainaug`: VOC's `train`, then all images of SBD that are in neither `train` nor `val`. Without `sbd`, the list
      trainaug.txt beside the others, with the converted labels of ROOT/SegmentationClassAug.
    - `seg11valid`: VOC2011's val without the images of SBD's train, on which FCN is scored.

    Args:
        root: the folder VOC2012, or VOCdevkit above it.
        sbd: SBD's folder with img, cls and its lists, or one that holds it as `dataset` or `benchmark_RELEASE/dataset`.
        train: name of the train split.
        val: name of the val split.
        test: name of the test split; null: the same as `val`, because the labels of the official test set are secret.
    Raises:
        InputError: if there is no such folder.
    Source: Everingham et al., The PASCAL Visual Object Classes Challenge 2012; Hariharan et al. 2011 (SBD); seg11valid
        as in shelhamer/fcn.berkeleyvision.org data/pascal.
    """
    require_root(root, "VOCdevkit, or VOC2012 in it")
    if (root / "VOC2012").is_dir():
        root = root / "VOC2012"
    if not (root / "JPEGImages").is_dir():
        raise InputError(
            f"data.root = '{root}' holds no JPEGImages; expected the folder VOC2012 of VOCdevkit. Set data.root=PATH."
        )
    names = {
        split: name.removeprefix("voc2012/") for split, name in (("train", train), ("val", val), ("test", test or val))
    }
    sources = _Sources(root, sbd)
    sizes = {split: SIZES[name] for split, name in names.items() if name in SIZES}
    return Layout(CLASSES, {split: sources.split(name) for split, name in names.items()}, global_ids=True, sizes=sizes)


class _Sources:
    """Images and labels of splits, by name.

    Args:
        root: the folder VOC2012.
        sbd: the folder with img and cls, or one above it, or None.
    """

    def __init__(self, root: Path, sbd: Path | None):
        above = [] if sbd is None else [sbd, sbd / "dataset", sbd / "benchmark_RELEASE" / "dataset"]
        self.sbd = next((folder for folder in above if (folder / "cls").is_dir()), sbd)
        self.root, self.lists = root, root / "ImageSets" / "Segmentation"

    def split(self, name: str) -> Listed:
        if name == "seg11valid":
            ids = (files("segkit.data") / "lists" / "voc_seg11valid.txt").read_text(encoding="utf-8").split()
            return Listed(self.root / "SegmentationClass", tuple(self.voc(id) for id in ids))
        path = self.lists / f"{name}.txt"
        if name == "trainaug" and (self.sbd is not None or not path.is_file()):
            return self.trainaug()
        if name.startswith("sbd/"):
            return self.sbd_list(name)
        if not os.path.lexists(path):
            known = ", ".join(name for name in SIZES if "/" in name or name.startswith(("trainaug", "seg")))
            expected = f"expected a list there, or one of {known}. Choose one."
            return Listed(path, problems=(f"there is no split '{name}': {path} does not exist; {expected}",))
        labels = "SegmentationClassAug" if name == "trainaug" else "SegmentationClass"
        return listed(path, EXPECTED, lambda line: [self.voc(line, labels)] if _is_id(line) else [])

    def voc(self, id: str, labels: str = "SegmentationClass") -> Pair:
        return Pair(id, self.root / "JPEGImages" / f"{id}.jpg", self.root / labels / f"{id}.png")

    def sbd_list(self, name: str) -> Listed:
        sbd = self.sbd
        if sbd is None or not (sbd / "cls").is_dir():
            found = "no data.sbd" if sbd is None else f"data.sbd = '{sbd}', which holds no cls"
            problem = f"the split '{name}' needs SBD, and there is {found}; expected its folder with img, cls and lists"
            return Listed(self.root, problems=(f"{problem}. Set data.sbd=PATH.",))

        def pairs(id: str) -> list[Pair]:
            return [Pair(id, sbd / "img" / f"{id}.jpg", sbd / "cls" / f"{id}.mat")] if _is_id(id) else []

        return listed(sbd / f"{name.removeprefix('sbd/')}.txt", EXPECTED, pairs)

    def trainaug(self) -> Listed:
        parts = [self.split("train"), self.split("val"), self.sbd_list("sbd/train"), self.sbd_list("sbd/val")]
        problems = tuple(dict.fromkeys(problem for part in parts for problem in part.problems))
        own = {pair.id for part in parts[:2] for pair in part.pairs}
        more = {pair.id: pair for part in parts[2:] for pair in part.pairs if pair.id not in own}
        return Listed(self.root if self.sbd is None else self.sbd, (*parts[0].pairs, *more.values()), problems=problems)


def _is_id(line: str) -> bool:
    """Return True for an id, False for a path or several words."""
    return re.fullmatch(r"[\w.-]+", line) is not None and not line.startswith(".")
