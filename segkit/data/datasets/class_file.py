"""Reader and writer of class files: names, colours and ids of the classes of a user's labels."""

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

MAX_CLASSES = 254
IGNORED = "ignored"
_BYTE = re.compile("0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5]")
_EXPECTED = f"expected a YAML list of 1 to {MAX_CLASSES} class names"
_FORMS = "a name, {name: [red, green, blue]} or {name: id on disk}, with 0..255"


def read_classes(path: Path) -> Classes:
    """Read the classes of a class file, a YAML list with an entry per class.

    An entry is a name, `name: [red, green, blue]` (its colour in RGB masks and figures) or `name: id` (its id on disk,
    if it is not the position in the list). `ignored: ...` is not a class: pixels of that colour or id are ignored.
    Names are read as plain text, so `no` is a name.

    Raises:
        InputError: if the file is missing or malformed, names or ids repeat, or only some classes have an id.
    """
    found = _entries(path)
    if not isinstance(found, list) or not found:
        raise InputError(f"{path}: {_EXPECTED}. Write one name per line: '- road'.")
    entries = [_entry(path, number, entry) for number, entry in enumerate(found)]
    classes, ignored = [e for e in entries if e[0] != IGNORED], [e for e in entries if e[0] == IGNORED]
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise InputError(f"{path}: {len(classes)} classes; {_EXPECTED}.")
    names = tuple(name for name, _, _ in classes)
    without = [name for name, id, _ in classes if id is None]
    if 0 < len(without) < len(names):
        expected = "expected an id for every class, or for none"
        raise InputError(f"{path}: '{without[0]}' has no id and others have one; {expected}.")
    ids = [(index if id is None else id, index) for index, (_, id, _) in enumerate(classes)]
    ids += [(id, IGNORE) for _, id, _ in ignored if id is not None]
    for values, how in ((names, "named"), ([f"id {id}" for id, _ in ids], "given")):
        if twice := [value for value in values if values.count(value) > 1]:
            raise InputError(f"{path}: '{twice[0]}' is {how} twice; expected it once.")
    palette = np.array([color or voc_color(index + 1) for index, (_, _, color) in enumerate(classes)], np.uint8)
    colors = [((red, green, blue), index) for index, (red, green, blue) in enumerate(palette.tolist())]
    return Classes(names, palette, dict(ids), (*colors, *((color, IGNORE) for _, _, color in ignored if color)))


def classes_text(class_names: Sequence[str], palette: np.ndarray) -> str:
    """Return the text of a class file that `read_classes` can read."""
    entries = [{name: color.tolist()} for name, color in zip(class_names, palette, strict=True)]
    return yaml.safe_dump(entries, default_flow_style=None, sort_keys=False, allow_unicode=True)


def _entry(path: Path, number: int, entry: Any) -> tuple[str, int | None, Color | None]:
    """Return name, id on disk and colour of an entry."""
    name, value = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
    if isinstance(entry, str) and entry not in ("", IGNORED):
        return entry, None, None
    if isinstance(entry, dict) and isinstance(name, str) and name:
        numbers: list[Any] = value if isinstance(value, list) else [value]
        if all(isinstance(number, str) and _BYTE.fullmatch(number) for number in numbers):
            if not isinstance(value, list):
                return name, int(numbers[0]), None
            if len(numbers) == 3:
                red, green, blue = map(int, numbers)
                return name, None, (red, green, blue)
    shown = str(entry).replace("'", "")
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise InputError(f"{path}: entry {number} is {shown}; expected {_FORMS}.")


def _entries(path: Path) -> Any:
    """Return the content of a class file with all scalars as text; YAML would read 010 as 8 and no as false."""
    try:
        return yaml.load(path.read_bytes().decode("utf-8-sig"), yaml.BaseLoader)
    except FileNotFoundError:
        expected = "expected a YAML list of class names. Write one name per line: '- road'"
        raise InputError(f"{path} does not exist; {expected}.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: not UTF-8, an impossible path
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            reason = f"line {error.problem_mark.line + 1}: {error.problem}"
    raise InputError(f"{path} cannot be read ({reason}); expected a YAML list of class names.")
