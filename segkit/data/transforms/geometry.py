"""Geometry of a training sample, as numbers only; a backend moves the pixels.

Coordinates are pixels of the resized image; pixel i covers i to i + 1.
"""

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from segkit.tensors import Size


class Box(NamedTuple):
    """A box of whole pixels: first row and column, and size; as a window, it may begin outside the image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class View:
    """A window of an image that is rotated about its centre; the window may then be flipped.

    Attributes:
        size: (height, width) of the image.
        window: the visible part.
        angle: degrees, counter-clockwise.
        flip: flip left and right.
    """

    size: Size
    window: Box
    angle: float = 0.0
    flip: bool = False

    @cached_property
    def visible(self) -> Box:
        """Part of the window that an unrotated image fills."""
        top, left, height, width = self.window
        bottom, right = min(top + height, self.size[0]), min(left + width, self.size[1])
        return Box(max(top, 0), max(left, 0), bottom - max(top, 0), right - max(left, 0))

    @cached_property
    def padding(self) -> tuple[int, int, int, int]:
        """Padding of the visible part (left, top, right, bottom) after the flip; 0 for a rotated image.

        A rotated image is warped into the whole window.
        """
        if self.angle:
            return 0, 0, 0, 0
        top, left = self.visible.top - self.window.top, self.visible.left - self.window.left
        bottom, right = self.window.height - self.visible.height - top, self.window.width - self.visible.width - left
        return (right, top, left, bottom) if self.flip else (left, top, right, bottom)

    @property
    def has_outside(self) -> bool:
        """True if the window may show more than the image."""
        return self.angle != 0 or any(self.padding)

    def matrix(self, size: Size) -> np.ndarray:
        """Return the affine map [2, 3] from (x, y, 1) in the window, before a flip, to (x, y) in the image at `size`.

        `size` may differ from the resized image, such as the size on disk.
        """
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        back = np.array([[cosine, -sine], [sine, cosine]])  # y points down
        first, middle = np.array([self.window.left, self.window.top]), np.array(self.size[::-1]) / 2
        ratio = np.array(size[::-1]) / np.array(self.size[::-1])
        return ratio[:, None] * np.column_stack([back, back @ (first - middle) + middle])


def random_window(draw: random.Random, size: Size, crop: Size | None) -> Box:
    """Draw a random crop window, inside which a smaller image is placed at random; without a crop, take the image.

    The numbers are drawn as albumentations' RandomCrop (pad_position="random") draws them, so equal states give equal
    crops.
    """
    if crop is None:
        return Box(0, 0, *size)
    missing = [max(0, c - s) for c, s in zip(crop, size, strict=True)]
    before = [draw.randint(0, pixels) for pixels in missing] if any(missing) else (0, 0)
    top, left = (
        int((s + pixels - c + 1) * draw.random()) - first
        for s, c, pixels, first in zip(size, crop, missing, before, strict=True)
    )
    return Box(top, left, *crop)


def blur_kernel_size(sigma: float, size: Size) -> int:
    """Return the odd kernel size of a Gaussian: three sigma on either side, but no more than the image can mirror."""
    return 2 * min(math.ceil(3 * sigma), size[0] - 1, size[1] - 1) + 1
