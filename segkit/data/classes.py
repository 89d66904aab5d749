"""What labels on disk stand for: ids and colours of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.tensors import IGNORE

Color = tuple[int, int, int]  # RGB, 0..255


@dataclass(frozen=True)
class Classes:
    """What labels on disk stand for.

    Attributes:
        names: of class 0..K-1.
        palette: uint8 [K, 3], RGB, one colour per class.
        ids: id on disk -> class id, or 255 for ignored; 255 on disk is ignored unless it is here.
        colors: colour in RGB masks -> class id, or 255.
    """

    names: tuple[str, ...]
    palette: np.ndarray
    ids: Mapping[int, int]
    colors: tuple[tuple[Color, int], ...]


def plain_classes(
    names: Sequence[str], palette: np.ndarray, *, void: int | None = None, void_color: Color | None = None
) -> Classes:
    """Classes that are on disk under their own ids and colours.

    Args:
        void: id on disk that means "ignored" besides 255, or None.
        void_color: colour that means "ignored" in RGB masks, or None.
    """
    ids = {index: index for index in range(len(names))} | ({} if void is None else {void: IGNORE})
    colors = [((red, green, blue), index) for index, (red, green, blue) in enumerate(palette.tolist())]
    return Classes(tuple(names), palette, ids, tuple(colors if void_color is None else [*colors, (void_color, IGNORE)]))
