"""Labels as palette images."""

import numpy as np
from PIL import Image

from segkit.tensors import IGNORE, RawImage, RawLabels


def palette_image(labels: RawLabels, palette: np.ndarray) -> Image.Image:
    """Return an 8-bit palette image of labels uint8 [H, W] in colours uint8 [K, 3], RGB; an id without one is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    image = Image.fromarray(labels)
    image.putpalette(table.tobytes())  # changes mode L to P
    return image


def colorize(labels: RawLabels, palette: np.ndarray) -> RawImage:
    """Return the colours, uint8 [H, W, 3], of labels [H, W]; 255 is black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE] = 0
    return table[labels]
