"""Labels over the image."""

import numpy as np

from segkit.tensors import IGNORE, RawImage, RawLabels
from segkit.viz.palette import colorize


def overlay(image: RawImage, labels: RawLabels, palette: np.ndarray, *, opacity: float = 0.55) -> RawImage:
    """Return the image uint8 [H, W, 3] blended with the colours of its labels; ignored pixels stay as they are."""
    mixed = (1 - opacity) * image + opacity * colorize(labels, palette)
    return np.where((labels == IGNORE)[..., None], image, np.rint(mixed).astype(np.uint8))
