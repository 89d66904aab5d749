"""From the colours of an RGB mask to class ids."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.data.classes import Classes
from segkit.errors import InputError
from segkit.tensors import IGNORE, RawImage, RawLabels


class ColorMap:
    """Class ids by colour: exact colours only, as the nearest one would hide that a mask was scaled or compressed."""

    def __init__(self, classes: Classes):
        counts = Counter(color for color, _ in classes.colors)
        self._shared = [
            (color, [_name(classes, id) for c, id in classes.colors if c == color])
            for color, n in counts.items()
            if n > 1
        ]
        codes = color_codes(np.array([color for color, _ in classes.colors], np.uint8))
        order = np.argsort(codes)
        self._codes, self._ids = codes[order], np.array([id for _, id in classes.colors], np.uint8)[order]

    def ids(self, colors: RawImage, path: Path) -> RawLabels:
        """uint8 [H, W], 255 = ignored, of `colors` [H, W, 3], which were read from `path`.

        Raises:
            InputError: if a colour stands for no class, or one stands for two.
        """
        if self._shared:
            color, names = self._shared[0]
            raise InputError(
                f"{path} is an RGB mask, and {_show(color)} is the colour of {' and '.join(map(repr, names))}; expected a colour for each. "
                "Change one of them, or save masks as class ids."
            )
        codes = color_codes(colors)
        places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[places] != codes
        if unknown.any():
            found, counts = np.unique(codes[unknown], return_counts=True)
            most = np.argsort(-counts, kind="stable")[:5]
            listed = ", ".join(f"{_show(_color(int(found[i])))} ({counts[i]} pixels)" for i in most)
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise InputError(
                f"{path} holds colours that no class has: {listed}{more}; expected the exact colours of the classes. "
                "Fix the file, or name every class of the dataset with its colour."
            )
        return self._ids[places]


def color_codes(colors: np.ndarray) -> np.ndarray:
    """int32 [...] of uint8 [..., 3]: one number per colour."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _color(code: int) -> list[int]:
    return [code >> bits & 255 for bits in (16, 8, 0)]


def _show(color: Sequence[int]) -> str:
    return f"[{', '.join(map(str, color))}]"


def _name(classes: Classes, id: int) -> str:
    return "ignored" if id == IGNORE else classes.names[id]
