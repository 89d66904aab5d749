"""A user's own images and masks in folders."""

from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from segkit.data.dataset import Pair, PairDataset
from segkit.data.voc import voc_color
from segkit.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")


def folder(split: Literal["train", "val", "test"], *, root: Path, classes: Path | None = None) -> PairDataset:
    """One split of a folder: `ROOT/SPLIT/images/NAME.png|jpg` with `ROOT/SPLIT/labels/NAME.png`.

    Labels hold class ids (one 8-bit channel, palette or grey), 255 = ignored. The class file is a YAML list in the order of the ids,
    each entry a name or `{name: [red, green, blue]}`.

    Args:
        split: train, val or test.
        root: folder that holds the splits.
        classes: class file; null: `ROOT/classes.yaml`.
    Raises:
        InputError: if a folder or the class file is missing or malformed, or an image has no label.
    """
    class_names, palette = read_classes(classes or root / "classes.yaml")
    images, labels = root / split / "images", root / split / "labels"
    for path in (images, labels):
        if not path.is_dir():
            raise InputError(f"{path} does not exist; expected the folder of '{split}' images and labels. Create it or set data.root.")
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{images} holds no image; expected files ending in {', '.join(SUFFIXES)}. Add them or set data.root.")
    twice = {p.stem for p in found if sum(q.stem == p.stem for q in found) > 1} if len({p.stem for p in found}) < len(found) else set()
    if twice:
        raise InputError(f"{images} holds '{sorted(twice)[0]}' with two endings; expected one image per name. Remove one.")
    lacking = [p for p in found if not (labels / f"{p.stem}.png").is_file()]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(found)} images have no label, the first is {lacking[0]}; expected {labels / lacking[0].stem}.png. "
            "Add the label or remove the image."
        )
    pairs = [Pair(p.stem, p, labels / f"{p.stem}.png") for p in found]
    return PairDataset(pairs, class_names=class_names, palette=palette)


def read_classes(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and palette (uint8 [K, 3]) of a class file.

    Raises:
        InputError: if the file is missing or malformed, or names repeat.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a YAML list of class names. Write one name per line: '- road'.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or a date that no calendar has
        raise InputError(f"{path} cannot be read ({str(error).splitlines()[0]}); expected a YAML list of class names.") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= 254:
        raise InputError(f"{path}: expected a YAML list of 1 to 254 class names. Write one name per line: '- road'.")
    names, colors = [], []
    for index, entry in enumerate(entries):
        name, color = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, voc_color(index + 1))
        valid = isinstance(color, list | tuple) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)
        if not isinstance(name, str) or not valid:
            raise InputError(f"{path}: entry {index} is {entry!r}; expected a name, or {{name: [red, green, blue]}} with 0..255.")
        names.append(name)
        colors.append(color)
    if len(set(names)) < len(names):
        raise InputError(f"{path}: '{next(n for n in names if names.count(n) > 1)}' is named twice; expected different names.")
    return tuple(names), np.array(colors, np.uint8)


def classes_text(class_names: tuple[str, ...], palette: np.ndarray) -> str:
    """The text of a class file that `read_classes` reads back."""
    entries = [{name: color.tolist()} for name, color in zip(class_names, palette, strict=True)]
    return yaml.safe_dump(entries, default_flow_style=None, sort_keys=False, allow_unicode=True)
