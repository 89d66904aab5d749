"""Datasets of a user's own images and masks in folders."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segkit.data.dataset import Pair
from segkit.data.datasets.class_file import read_classes
from segkit.data.layout import SPLITS, Layout, Listed, listed, require_root

SUFFIXES = (".png", ".jpg", ".jpeg")


def folder(*, root: Path, classes: Path | None = None) -> Layout:
    """Return a dataset of images and masks in a folder per split, or in common folders with a list per split.

    A split's files are `ROOT/SPLIT/images/NAME.png|jpg` and `ROOT/SPLIT/labels/NAME.png`, at any depth. If there is a
    list `ROOT/SPLIT.txt`, it names images in `ROOT/images` instead, one per line, with or without their suffix; their
    labels are in `ROOT/labels`. Labels hold class ids (one 8-bit channel, palette or grey), 255 = ignored, or the exact
    RGB colours of the classes.

    Args:
        root: folder that holds the splits.
        classes: class file, see `read_classes`; null: `ROOT/classes.yaml`.
    Raises:
        InputError: if the folder is missing, or the class file is missing or malformed.
    """
    require_root(root, "a folder with classes.yaml, images and labels")
    splits, expected = {}, "the name of an image, below 'images'"
    for split in SPLITS:
        by_list = os.path.lexists(root / f"{split}.txt")
        splits[split] = (
            listed(root / f"{split}.txt", expected, partial(_pairs, root)) if by_list else _by_folder(root / split)
        )
    return Layout(read_classes(classes or root / "classes.yaml"), splits)


def _pairs(root: Path, line: str) -> list[Pair]:
    """Return the sample that a line of a list names; none if the line is malformed."""
    name = Path(line)
    if not name.name or name.is_absolute() or ".." in name.parts:
        return []
    has_ending = name.suffix.lower() in SUFFIXES
    endings = [ending for suffix in SUFFIXES for ending in (suffix, suffix.upper())]
    images = [root / "images" / name.with_name(name.name + ending) for ending in ([""] if has_ending else endings)]
    stem = name.with_suffix("") if has_ending else name
    image = next((each for each in images if os.path.isfile(each)), images[0])
    return [Pair(stem.as_posix(), image, root / "labels" / f"{stem}.png")]


def _by_folder(folder: Path) -> Listed:
    """Return the images of ROOT/SPLIT/images, at any depth, with the labels that they should have."""
    images, labels = folder / "images", folder / "labels"
    for path in (images, labels):
        if not os.path.isdir(path):
            expected = f"expected the images and labels of a split, or a list {folder}.txt"
            return Listed(images, problems=(f"{path} does not exist; {expected}. Create it, or set data.root.",))
    try:
        found = images_below(images)
    except OSError as error:
        reason = f"{images} cannot be read: {error.strerror}; expected a folder of images. Change its rights."
        return Listed(images, problems=(reason,))
    problem = named_twice(images, found)
    if not found:
        problem = f"{images} holds no image; expected files ending in {', '.join(SUFFIXES)}. Add them or set data.root."
    stems = [path.with_suffix("") for path in found]
    pairs = [
        Pair(stem.as_posix(), images / path, labels / f"{stem}.png") for path, stem in zip(found, stems, strict=True)
    ]
    return Listed(images, tuple(pairs), problems=(problem,) if problem else ())


def named_twice(images: Path, found: Sequence[Path]) -> str:
    """Return a message about two images that differ only in their suffix; empty if there are none."""
    twice = [stem for stem, count in Counter(path.with_suffix("") for path in found).items() if count > 1]
    if not twice:
        return ""
    return f"{images} holds '{twice[0]}' with two endings; expected one image per name. Remove one."


def images_below(folder: Path) -> list[Path]:
    """Return images below a folder, at any depth, relative to it, without hidden files such as macOS adds.

    Raises:
        OSError: if it cannot be read.
    """
    os.scandir(folder).close()  # rglob would silently skip an unreadable folder
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))
