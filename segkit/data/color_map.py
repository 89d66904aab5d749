"""From the colours of an RGB mask to class ids."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.errors import InputError
from segkit.tensors import IGNORE, RawImage, RawLabels

Color = tuple[int, int, int]  # RGB, 0..255


class ColorMap:
    """Class ids by colour: exact colours only, as the nearest one would hide that a mask was scaled or compressed.

    Args:
        class_names: names of class 0..K-1.
        palette: uint8 [K, 3], RGB, one colour per class.
        void: colour of ignored pixels, or None.
    """

    def __init__(self, class_names: Sequence[str], palette: np.ndarray, *, void: Color | None = None):
        names, colors = [*class_names], [tuple(color) for color in palette.tolist()]
        ids = [*range(len(names))]
        if void is not None:
            names, colors, ids = [*names, "ignored"], [*colors, tuple(void)], [*ids, IGNORE]
        self._shared = [
            (color, [n for n, c in zip(names, colors, strict=True) if c == color]) for color, k in Counter(colors).items() if k > 1
        ]
        codes = _codes(np.array(colors, np.uint8))
        order = np.argsort(codes)
        self._codes, self._ids = codes[order], np.array(ids, np.uint8)[order]

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
        codes = _codes(colors)
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


def _codes(colors: np.ndarray) -> np.ndarray:
    """int32 [...] of uint8 [..., 3]: one number per colour."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _color(code: int) -> list[int]:
    return [code >> bits & 255 for bits in (16, 8, 0)]


def _show(color: Sequence[int]) -> str:
    return f"[{', '.join(map(str, color))}]"
