"""CamVid as published: 701 images of 720x960 with 32 classes, which SegNet's authors grouped into 11 and void."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.data.classes import Classes, Color
from segkit.data.dataset import Pair
from segkit.data.datasets import road_classes
from segkit.data.datasets.camvid import SIZES
from segkit.data.layout import SPLITS, Layout, Listed, require_root
from segkit.tensors import IGNORE

VOID = "Void"
# Name -> colour, and the class among the 11 that it belongs to. Ids on disk are the positions in this alphabetical
# order. Source: colours from the dataset (Brostow, Fauqueur and Cipolla 2008). SegNet's authors released no table of
# their grouping; this one is given by MathWorks' SegNet example and other users of their labels. The 32nd class, Void,
# is ignored.
ORIGINAL: dict[str, tuple[Color, str]] = {
    "Animal": ((64, 128, 64), "pedestrian"),
    "Archway": ((192, 0, 128), "building"),
    "Bicyclist": ((0, 128, 192), "bicyclist"),
    "Bridge": ((0, 128, 64), "building"),
    "Building": ((128, 0, 0), "building"),
    "Car": ((64, 0, 128), "car"),
    "CartLuggagePram": ((64, 0, 192), "pedestrian"),
    "Child": ((192, 128, 64), "pedestrian"),
    "Column_Pole": ((192, 192, 128), "pole"),
    "Fence": ((64, 64, 128), "fence"),
    "LaneMkgsDriv": ((128, 0, 192), "road"),
    "LaneMkgsNonDriv": ((192, 0, 64), "road"),
    "Misc_Text": ((128, 128, 64), "sign"),
    "MotorcycleScooter": ((192, 0, 192), "bicyclist"),
    "OtherMoving": ((128, 64, 64), "car"),
    "ParkingBlock": ((64, 192, 128), "pavement"),
    "Pedestrian": ((64, 64, 0), "pedestrian"),
    "Road": ((128, 64, 128), "road"),
    "RoadShoulder": ((128, 128, 192), "pavement"),
    "Sidewalk": ((0, 0, 192), "pavement"),
    "SignSymbol": ((192, 128, 128), "sign"),
    "Sky": ((128, 128, 128), "sky"),
    "SUVPickupTruck": ((64, 128, 192), "car"),
    "TrafficCone": ((0, 0, 64), "pole"),
    "TrafficLight": ((0, 64, 64), "sign"),
    "Train": ((192, 64, 128), "car"),
    "Tree": ((128, 128, 0), "tree"),
    "Truck_Bus": ((192, 128, 192), "car"),
    "Tunnel": ((64, 0, 64), "building"),
    "VegetationMisc": ((192, 192, 0), "tree"),
    VOID: ((0, 0, 0), ""),
    "Wall": ((64, 192, 0), "building"),
}
IMAGES = ("images", "701_StillsRaw_full", *SPLITS)  # folder names in the known archives
LABELS = ("labels", "LabeledApproved_full", *(f"{split}{end}" for end in ("_labels", "annot") for split in SPLITS))
ENDINGS = ("", "_L", "_P")  # after the image's name, in names of label files


def _classes(names: tuple[str, ...], class_of: Callable[[str], str]) -> Classes:
    """Group the original ids and colours on disk into classes; each class gets the colour of its first member."""
    ids = [IGNORE if name == VOID else names.index(class_of(name)) for name in ORIGINAL]
    colors = tuple(zip([color for color, _ in ORIGINAL.values()], ids, strict=True))
    first = {id: color for color, id in reversed(colors)}
    palette = np.array([first[id] for id in range(len(names))], np.uint8)
    return Classes(names, palette, dict(enumerate(ids)), colors)


CLASSES = {
    "segnet": replace(_classes(road_classes.CLASS_NAMES, lambda name: ORIGINAL[name][1]), palette=road_classes.PALETTE),
    "none": _classes(tuple(name for name in ORIGINAL if name != VOID), lambda name: name),
}


def camvid_full(*, root: Path, grouping: Literal["segnet", "none"] = "segnet", halve: bool = False) -> Layout:
    """Return CamVid at full resolution, in the splits of the SegNet tutorial.

    Images are in ROOT/images and labels in ROOT/labels, or in folders named as in any of the known archives. Labels are
    RGB, or ids in alphabetical order of the classes. An image may be in any of the folders `train`, `val` and `test`.

    Args:
        root: folder of the archive.
        grouping: `segnet`: the 11 classes of the papers; `none`: the 31 original ones. Void is ignored.
        halve: reduce to 360x480: images as means of 2x2 pixels, labels of every other pixel; scores are at this size.
    Raises:
        InputError: if there is no such folder.
    """
    require_root(root, "CamVid at full resolution, with folders of images and labels")
    images, labels = _files(root, IMAGES, ("",)), _files(root, LABELS, ENDINGS)
    splits = {}
    for split in SPLITS:
        names = (files("segkit.data") / "lists" / f"camvid_{split}.txt").read_text(encoding="utf-8").split()
        missing = {name: (root / "images" / f"{name}.png", root / "labels" / f"{name}_L.png") for name in names}
        pairs = [
            Pair(name, images.get(name, image), labels.get(name, label)) for name, (image, label) in missing.items()
        ]
        splits[split] = Listed(root, tuple(pairs))
    return Layout(CLASSES[grouping], splits, global_ids=True, sizes=SIZES, reduction=2 if halve else 1)


def _files(root: Path, folders: tuple[str, ...], endings: tuple[str, ...]) -> dict[str, Path]:
    """Return image id -> its file in the first of the folders that holds it."""
    found = {}
    for folder in folders:
        if os.path.isdir(root / folder):
            for path in sorted((root / folder).glob("*.png")):
                stem = next((path.stem.removesuffix(e) for e in endings if e and path.stem.endswith(e)), path.stem)
                found.setdefault(stem, path)
    return found
