"""Labels over the image."""

import numpy as np

from segkit.tensors import IGNORE, RawImage, RawLabels
from segkit.viz.palette import colorize


def overlay(image: RawImage, labels: RawLabels, palette: np.ndarray, *, opacity: float = 0.55) -> RawImage:
    """uint8 [H, W, 3]: the image under the colours of its labels; ignored pixels show the image alone."""
    mixed = (1 - opacity) * image + opacity * colorize(labels, palette)
    return np.where((labels == IGNORE)[..., None], image, np.rint(mixed).astype(np.uint8))
