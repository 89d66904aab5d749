"""Preparation of a folder of images and masks for training: a class file and three lists."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.data import faults
from segkit.data.classes import color_of, pixels_of_values
from segkit.data.datasets.class_file import MAX_CLASSES
from segkit.data.datasets.folder import images_below, named_twice
from segkit.data.faults import Kind, data_error
from segkit.data.files.images import read_labels
from segkit.data.layout import SPLITS
from segkit.errors import InputError
from segkit.system.files import write_text
from segkit.tensors import IGNORE

HEAD = "# Change the names as you like; the order is that of the class ids. An entry 'ignored: ...' is no class.\n"
# MANY values in masks, most of them with less than the share RARE of pixels, come from scaling or compression
MANY, RARE = 12, 0.001


@dataclass(frozen=True)
class Started:
    """Findings in the folder, and the files that were written.

    Attributes:
        classes: the written class file; None if there already was one.
        entries: lines of the class file.
        sizes: split -> number of images; empty if there already were lists.
        unlabelled: number of images without a mask, which are in no list.
        white: share of the pixels with id 255, which counts as void and has no entry.
    """

    classes: Path | None
    entries: tuple[str, ...]
    sizes: dict[str, int]
    unlabelled: int
    white: float


def start(
    root: Path, *, val: float, test: float, seed: int, progress: Callable[[int], object] = lambda _: None
) -> Started:
    """Write ROOT/classes.yaml for the masks in ROOT/labels, and train.txt, val.txt, test.txt; keep existing ones.

    Args:
        val, test: shares of the images, drawn at random; each split gets at least one image.
        seed: seed of the draw.
        progress: called with 1 for each mask.
    Raises:
        InputError: if there are no images with masks, names cannot be listed, only some of the lists exist, or a mask
            cannot be used.
    """
    images = _images(root)
    names = [path for path in images if (root / "labels" / path.with_suffix(".png")).is_file()]
    if len(names) < len(SPLITS):
        others = sorted(path.name for path in (root / "labels").rglob("*") if path.is_file())[:2]
        wanted = images[0].with_suffix(".png").name if images else "NAME.png of each images/NAME.png or .jpg"
        raise InputError(
            f"{root}: {len(names)} of {len(images)} images have a mask; expected 3 at least. '{root / 'labels'}' holds "
            f"{', '.join(others) or 'nothing'}; expected {wanted}. Rename or convert them."
        )
    lists = [root / f"{split}.txt" for split in SPLITS]
    there = [path.name for path in lists if os.path.lexists(path)]
    if there and len(there) < len(lists):
        held = ", ".join(there)
        raise InputError(f"{root} holds {held}; expected train.txt, val.txt and test.txt, or none. Delete it.")
    parts = {} if there else dict(zip(lists, _drawn(names, val, test, seed), strict=True))
    path, entries, white = root / "classes.yaml", [], 0.0
    if not os.path.lexists(path):
        entries, white = _entries([root / "labels" / name.with_suffix(".png") for name in names], progress)
        write_text(path, "".join([HEAD, *(f"- {entry}\n" for entry in entries)]))
    for each, part in parts.items():
        write_text(each, "".join(f"{name.as_posix()}\n" for name in part))
    sizes = {each.stem: len(part) for each, part in parts.items()}
    return Started(path if entries else None, tuple(entries), sizes, len(images) - len(names), white)


def _images(root: Path) -> list[Path]:
    """Return the paths of the images below ROOT/images."""
    for folder in (root / "images", root / "labels"):
        if not os.path.isdir(folder):
            expected = f"expected the folders images and labels in {root}. Rename your folder to that."
            raise InputError(f"{folder} does not exist; {expected}")
    found = images_below(root / "images")
    if problem := named_twice(root / "images", found):
        raise InputError(problem)
    for path in found:
        if path.as_posix() != path.as_posix().strip() or "\n" in path.name:
            name = f"{root / 'images'} holds {str(path)!r}"
            raise InputError(f"{name}; expected no blank at the ends of a name. Rename it.")
    return found


def _entries(masks: Sequence[Path], progress: Callable[[int], object]) -> tuple[list[str], float]:
    """Return lines of a class file for the values in masks, and the share of white if it means void."""
    ids, colors, folder = Counter[int](), Counter[int](), masks[0].parent  # ids and colors: value -> pixels
    for path in masks:
        mask = read_labels(path)
        (ids if mask.ndim == 2 else colors).update(pixels_of_values(mask))
        if len(colors) > IGNORE:
            break
        progress(1)
    if ids and colors:
        raise InputError(f"{folder} holds masks of ids and masks of colours; expected one kind. Convert one of them.")
    if colors:
        _refuse_blends(folder, colors, faults.BLENDED_COLORS)
        parts = [color_of(code) for code in sorted(colors)]
        grey = all(red == green == blue and red in {*range(len(parts)), IGNORE} for red, green, blue in parts)
        if grey and len(parts) > 1:
            raise data_error(faults.GREY_AS_RGB, folder)
        return [f"class {number}: {list(color)}" for number, color in enumerate(parts)], 0.0
    # if there is nothing but 0 and 255, they are background and a class
    known = sorted(ids if ids.keys() <= {0, IGNORE} else ids.keys() - {IGNORE})
    in_order = known == [*range(len(known))]
    if len(known) > MAX_CLASSES or not in_order:
        _refuse_blends(folder, ids, faults.MANY_IDS)
    white = 0.0 if IGNORE in known else ids[IGNORE] / ids.total()
    if not in_order:
        return [f"class {id}: {id}" for id in known] + ([f"ignored: {IGNORE}"] if white else []), white
    with Image.open(masks[0]) as image:
        palette = (image.getpalette() if image.mode == "P" else None) or []
    colors_of = {id: palette[3 * id : 3 * id + 3] for id in known}  # empty without a palette
    return [f"class {id}{f': {color}' if len(color) == 3 else ''}" for id, color in colors_of.items()], white


def _refuse_blends(folder: Path, pixels: Counter[int], kind: Kind) -> None:
    """Reject more values than there can be classes, or many values that are mostly rare."""
    rare = sum(count < RARE * pixels.total() for count in pixels.values())
    if len(pixels) > MAX_CLASSES or (len(pixels) >= MANY and rare > len(pixels) / 2):
        raise data_error(kind, folder, f"{len(pixels)} or more in all masks, most of them rare")


def _drawn(names: Sequence[Path], val: float, test: float, seed: int) -> list[list[Path]]:
    """Draw the names of the train, val and test split, each sorted."""
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    held_out = [max(1, round(share * len(names))) for share in (val, test)]
    if sum(held_out) >= len(names):
        raise InputError(f"--val {val} and --test {test} leave no image for training; expected a sum below 1.")
    ends = [0, len(names) - sum(held_out), len(names) - held_out[1], len(names)]
    return [[names[index] for index in sorted(order[first:last])] for first, last in zip(ends, ends[1:], strict=False)]
