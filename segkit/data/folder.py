"""A user's own images and masks in folders."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from annotated_types import Ge, Le

from segkit.data.classes import plain_classes
from segkit.data.dataset import Pair
from segkit.data.layout import SPLITS, Layout, Listed
from segkit.data.voc import voc_color
from segkit.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_TEXT = 100_000  # characters of a class file
Byte = Annotated[int, Ge(0), Le(255)]
_BYTE = re.compile("0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5]")


def folder(
    *,
    root: Path,
    classes: Path | None = None,
    void_color: tuple[Byte, Byte, Byte] | None = None,
) -> Layout:
    """A folder: `ROOT/SPLIT/images/NAME.png|jpg` with `ROOT/SPLIT/labels/NAME.png`.

    Labels hold class ids (one 8-bit channel, palette or grey), 255 = ignored; or, as RGB, the classes' exact colours. The class file is a
    YAML list in the order of the ids, each entry a name or `{name: [red, green, blue]}`.

    Args:
        root: folder that holds the splits.
        classes: class file; null: `ROOT/classes.yaml`.
        void_color: colour of ignored pixels in RGB masks; null: none is ignored.
    Raises:
        InputError: if the class file is missing or malformed.
    """
    class_names, palette = read_classes(classes or root / "classes.yaml")
    return Layout(plain_classes(class_names, palette, void_color=void_color), {split: _split(root / split) for split in SPLITS})


def _split(folder: Path) -> Listed:
    """The images of ROOT/SPLIT/images and the labels that they should have."""
    images, labels = folder / "images", folder / "labels"
    for path in (images, labels):
        if not os.path.isdir(path):
            problem = f"{path} does not exist; expected the images and labels of a split. Create it or set data.root."
            return Listed(images, problems=(problem,))
    try:
        found = sorted(path for path in images.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        return Listed(images, problems=(f"{images} cannot be read: {error.strerror}; expected a folder of images. Change its rights.",))
    twice = [stem for stem, count in Counter(path.stem for path in found).items() if count > 1]
    problems = [f"{images} holds '{stem}' with two endings; expected one image per name. Remove one." for stem in twice]
    return Listed(images, tuple(Pair(path.stem, path, labels / f"{path.stem}.png") for path in found), problems=tuple(problems))


def read_classes(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and palette (uint8 [K, 3]) of a class file. Names are text as written: `no` is a name.

    Raises:
        InputError: if the file is missing or malformed, or names repeat.
    """
    entries = _entries(path)
    if not isinstance(entries, list) or not 1 <= len(entries) <= 254:
        raise InputError(f"{path}: expected a YAML list of 1 to 254 class names. Write one name per line: '- road'.")
    names, colors = [], []
    for index, entry in enumerate(entries):
        name, color = (
            next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, [*map(str, voc_color(index + 1))])
        )
        valid = isinstance(color, list) and len(color) == 3 and all(isinstance(c, str) and _BYTE.fullmatch(c) for c in color)
        if not isinstance(name, str) or not name or not valid:
            shown = str(entry).replace("'", "")
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            raise InputError(f"{path}: entry {index} is {shown}; expected a name, or {{name: [red, green, blue]}} with 0..255.")
        names.append(name)
        colors.append([int(channel) for channel in color])
    if len(set(names)) < len(names):
        raise InputError(f"{path}: '{next(n for n in names if names.count(n) > 1)}' is named twice; expected different names.")
    return tuple(names), np.array(colors, np.uint8)


def _entries(path: Path) -> Any:
    """What a class file holds, every scalar as text: YAML's rules would make 8 of 010 and false of no."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if len(text) > MAX_TEXT:
            raise ValueError(f"{len(text)} characters")
        depth = 0
        for event in yaml.parse(text, yaml.BaseLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 5 or isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise ValueError("it is nested deeply, or has tags or aliases")
        return yaml.load(text, yaml.BaseLoader)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected a YAML list of class names. Write one name per line: '- road'.") from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or a path that no file can have
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    raise InputError(f"{path} cannot be read ({reason}); expected a YAML list of class names.")


def classes_text(class_names: tuple[str, ...], palette: np.ndarray) -> str:
    """The text of a class file that `read_classes` reads back."""
    entries = [{name: color.tolist()} for name, color in zip(class_names, palette, strict=True)]
    return yaml.safe_dump(entries, default_flow_style=None, sort_keys=False, allow_unicode=True)
