"""From a folder of images and masks to one that can be trained on: a class file and three lists."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.data.color_map import color_codes
from segkit.data.datasets.class_file import MAX_CLASSES
from segkit.data.datasets.folder import images_below
from segkit.data.files.images import read_mask
from segkit.data.layout import SPLITS
from segkit.errors import InputError
from segkit.system.files import write_text
from segkit.tensors import IGNORE

HEAD = "# Change the names as you like; the order is that of the class ids. An entry 'ignored: ...' is no class.\n"
MANY, RARE = (
    12,
    0.001,
)  # so many values in masks, most of them in less than that share of pixels, come from scaling or compression


@dataclass(frozen=True)
class Started:
    """What was found and written.

    Attributes:
        classes: the class file, or None: there was one.
        entries: of the class file.
        sizes: images of each split; none: there were lists.
        unlabelled: images without a mask, which are in no list.
        white: share of the pixels with id 255, which counts as void and is in no entry.
    """

    classes: Path | None
    entries: tuple[str, ...]
    sizes: dict[str, int]
    unlabelled: int
    white: float


def start(root: Path, *, val: float, test: float, seed: int, progress: Callable[[int], None] | None = None) -> Started:
    """Writes ROOT/classes.yaml with what the masks of ROOT/labels hold, and train.txt, val.txt, test.txt; keeps those
    that are there.

    Args:
        val, test: shares of the images, drawn at random; each split gets one at least.
        seed: of the draw.
        progress: called with 1 for each mask.
    Raises:
        InputError: if there are no images with masks, names are no good, there are some lists but not all, or a mask is
            bad.
    """
    found = _images(root)
    names = [path for path in found if (root / "labels" / path.with_suffix(".png")).is_file()]
    if len(names) < len(SPLITS):
        raise InputError(
            f"{root}: {len(names)} of {len(found)} images have a mask; expected 3 at least. {_expected(root, found)}"
        )
    lists = [root / f"{split}.txt" for split in SPLITS]
    there = [path.name for path in lists if os.path.lexists(path)]
    if there and len(there) < len(lists):
        raise InputError(
            f"{root} holds {', '.join(there)}; expected train.txt, val.txt and test.txt, or none. Delete it."
        )
    parts = {} if there else dict(zip(lists, _drawn(names, val, test, seed), strict=True))
    path, entries, white = root / "classes.yaml", [], 0.0
    if not os.path.lexists(path):
        entries, white = _entries([root / "labels" / name.with_suffix(".png") for name in names], progress)
        write_text(path, "".join([HEAD, *(f"- {entry}\n" for entry in entries)]))
    for each, part in parts.items():
        write_text(each, "".join(f"{name.as_posix()}\n" for name in part))
    sizes = {each.stem: len(part) for each, part in parts.items()}
    return Started(path if entries else None, tuple(entries), sizes, len(found) - len(names), white)


def _images(root: Path) -> list[Path]:
    """Paths of the images below ROOT/images."""
    for folder in (root / "images", root / "labels"):
        if not os.path.isdir(folder):
            raise InputError(
                f"{folder} does not exist; expected the folders images and labels in {root}. Rename the folder that it is."
            )
    found = images_below(root / "images")
    twice = [name for name, count in Counter(path.with_suffix("") for path in found).items() if count > 1]
    if twice:
        raise InputError(
            f"{root / 'images'} holds '{twice[0]}' with two endings; expected one image per name. Remove one."
        )
    blank = [path for path in found if path.as_posix() != path.as_posix().strip() or "\n" in path.name]
    if blank:
        raise InputError(
            f"{root / 'images'} holds {str(blank[0])!r}; expected no blank at the ends of a name. Rename it."
        )
    return found


def _expected(root: Path, images: Sequence[Path]) -> str:
    """What is there instead of masks."""
    others = sorted(path.name for path in (root / "labels").rglob("*") if path.is_file())[:2]
    wanted = images[0].with_suffix(".png").name if images else "NAME.png of each images/NAME.png or .jpg"
    return f"'{root / 'labels'}' holds {', '.join(others) or 'nothing'}; expected {wanted}. Rename or convert them."


def _entries(masks: Sequence[Path], progress: Callable[[int], None] | None) -> tuple[list[str], float]:
    """Lines of a class file for what masks hold, and the share of white where that is void."""
    ids, colors = Counter[int](), Counter[int]()  # pixels; a colour is one number
    for path in masks:
        mask = read_mask(path)
        values, pixels = np.unique(mask if mask.ndim == 2 else color_codes(mask), return_counts=True)
        (ids if mask.ndim == 2 else colors).update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
        if len(colors) > IGNORE:
            break
        if progress is not None:
            progress(1)
    folder = masks[0].parent
    if ids and colors:
        raise InputError(f"{folder} holds masks of ids and masks of colours; expected one kind. Convert one of them.")
    if colors:
        return _of_colors(folder, colors), 0.0
    known = sorted(
        ids if ids.keys() <= {0, IGNORE} else ids.keys() - {IGNORE}
    )  # 0 and 255 alone: a class and its background
    in_order = known == [*range(len(known))]
    if len(known) > MAX_CLASSES or not in_order:
        _refuse_blends(folder, ids, "ids")
    white = 0.0 if IGNORE in known else ids[IGNORE] / ids.total()
    if in_order:
        return [f"class {id}{_color(masks[0], id)}" for id in known], white
    return [f"class {id}: {id}" for id in known] + ([f"ignored: {IGNORE}"] if white else []), white


def _of_colors(folder: Path, colors: Counter[int]) -> list[str]:
    _refuse_blends(folder, colors, "colours")
    parts = [(code >> 16, code >> 8 & 255, code & 255) for code in sorted(colors)]
    if len(parts) > 1 and all(
        red == green == blue and red in {*range(len(parts)), IGNORE} for red, green, blue in parts
    ):
        raise InputError(
            f"{folder} holds ids in three equal channels; expected one. Save the first: Image.fromarray(mask[..., 0])."
        )
    return [f"class {number}: [{red}, {green}, {blue}]" for number, (red, green, blue) in enumerate(parts)]


def _refuse_blends(folder: Path, pixels: Counter[int], what: str) -> None:
    rare = sum(count < RARE * pixels.total() for count in pixels.values())
    if len(pixels) > MAX_CLASSES or (len(pixels) >= MANY and rare > len(pixels) / 2):
        raise InputError(
            f"{folder}: the masks hold {len(pixels)} {what} or more, most of them rare; expected one a class. "
            "They were scaled with interpolation, or saved as JPEG: make them again, or write classes.yaml by hand."
        )


def _color(mask: Path, id: int) -> str:
    """The colour that a palette mask gives a class, for the class file; nothing for a grey one."""
    with Image.open(mask) as image:
        palette = image.getpalette() if image.mode == "P" else None
    color = (palette or [])[3 * id : 3 * id + 3]
    return f": [{', '.join(map(str, color))}]" if len(color) == 3 else ""


def _drawn(names: Sequence[Path], val: float, test: float, seed: int) -> list[list[Path]]:
    """Names of the train, val and test split, each sorted."""
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    held_out = [max(1, round(share * len(names))) for share in (val, test)]
    if sum(held_out) >= len(names):
        raise InputError(
            f"--val {val} and --test {test} leave no image for training; expected shares that add up to less than 1."
        )
    ends = [0, len(names) - sum(held_out), len(names) - held_out[1], len(names)]
    return [[names[index] for index in sorted(order[first:last])] for first, last in zip(ends, ends[1:], strict=False)]
