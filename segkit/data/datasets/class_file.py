"""The class file: names, colours and ids of the classes of a user's labels."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segkit.data.classes import Classes, Color
from segkit.data.datasets.voc import voc_color
from segkit.errors import InputError
from segkit.tensors import IGNORE

MAX_TEXT = 100_000  # characters of a class file
MAX_CLASSES = 254
IGNORED = "ignored"
_BYTE = re.compile("0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5]")
_FORMS = "a name, {name: [red, green, blue]} or {name: id on disk}, with 0..255"


def read_classes(path: Path) -> Classes:
    """The classes of a class file: a YAML list, an entry each.

    An entry is a name, `name: [red, green, blue]` (its colour in RGB masks and figures) or `name: id` (its id on disk,
    where that is not its place in the list). `ignored: ...` is no class: pixels of that colour or id are ignored. Names
    are text as written: `no` is a name.

    Raises:
        InputError: if the file is missing or malformed, names, ids or colours repeat, or only some classes have an id.
    """
    entries = _entries(path)
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"{path}: expected a YAML list of 1 to {MAX_CLASSES} class names. Write one name per line: '- road'."
        )
    read = [_entry(path, number, entry) for number, entry in enumerate(entries)]
    classes, ignored = [e for e in read if e[0] != IGNORED], [e for e in read if e[0] == IGNORED]
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise InputError(f"{path}: {len(classes)} classes; expected a YAML list of 1 to {MAX_CLASSES} class names.")
    names = tuple(name for name, _, _ in classes)
    _require_different(path, names, "named")
    if len({id is None for _, id, _ in classes}) > 1:
        without = next(name for name, id, _ in classes if id is None)
        raise InputError(
            f"{path}: '{without}' has no id and others have one; expected an id for every class, or for none."
        )
    ids = {index if id is None else id: index for index, (_, id, _) in enumerate(classes)}
    on_disk = [index if id is None else id for index, (_, id, _) in enumerate(classes)] + [
        id for _, id, _ in ignored if id is not None
    ]
    _require_different(path, [f"id {id}" for id in on_disk], "there")
    palette = np.array([color or voc_color(index + 1) for index, (_, _, color) in enumerate(classes)], np.uint8)
    colors = [((red, green, blue), index) for index, (red, green, blue) in enumerate(palette.tolist())]
    ids |= {id: IGNORE for _, id, _ in ignored if id is not None}
    return Classes(names, palette, ids, (*colors, *((color, IGNORE) for _, _, color in ignored if color is not None)))


def classes_text(class_names: Sequence[str], palette: np.ndarray) -> str:
    """The text of a class file that `read_classes` reads back."""
    entries = [{name: color.tolist()} for name, color in zip(class_names, palette, strict=True)]
    return yaml.safe_dump(entries, default_flow_style=None, sort_keys=False, allow_unicode=True)


def _entry(path: Path, number: int, entry: Any) -> tuple[str, int | None, Color | None]:
    """Name, id on disk and colour of an entry."""
    name, value = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
    if (
        isinstance(name, str)
        and name
        and (value is None) == (isinstance(entry, str))
        and not (name == IGNORED and value is None)
    ):
        if value is None:
            return name, None, None
        if isinstance(value, str) and _BYTE.fullmatch(value):
            return name, int(value), None
        if (
            isinstance(value, list)
            and len(value) == 3
            and all(isinstance(c, str) and _BYTE.fullmatch(c) for c in value)
        ):
            red, green, blue = map(int, value)
            return name, None, (red, green, blue)
    shown = str(entry).replace("'", "")
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise InputError(f"{path}: entry {number} is {shown}; expected {_FORMS}.")


def _require_different(path: Path, values: Sequence[str], how: str) -> None:
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: '{twice}' is {how} twice; expected it once.")


def _entries(path: Path) -> Any:
    """Content of a class file, every scalar as text: YAML's rules would make 8 of 010 and false of no."""
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
        raise InputError(
            f"{path} does not exist; expected a YAML list of class names. Write one name per line: '- road'."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or a path that no file can have
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            reason = f"line {error.problem_mark.line + 1}: {error.problem}"
    raise InputError(f"{path} cannot be read ({reason}); expected a YAML list of class names.")
