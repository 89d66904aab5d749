"""Geometry of a training sample in its resized image. Numbers alone; a backend moves the pixels.

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
    """Whole pixels: the first row and column, and how many; a window may begin before the image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class View:
    """A window onto an image that is rotated about its centre; then it may be flipped.

    Attributes:
        size: (height, width) of the image.
        window: the part that is shown.
        angle: degrees, counter-clockwise.
        flip: exchange left and right.
    """

    size: Size
    window: Box
    angle: float = 0.0
    flip: bool = False

    @cached_property
    def visible(self) -> Box:
        """The part of the window that an unrotated image fills."""
        top, left, height, width = self.window
        bottom, right = min(top + height, self.size[0]), min(left + width, self.size[1])
        return Box(max(top, 0), max(left, 0), bottom - max(top, 0), right - max(left, 0))

    @cached_property
    def padding(self) -> tuple[int, int, int, int]:
        """Pixels of the window left of, above, right of and below the visible part, after the flip; 0 around a rotated
        image, which is warped into the whole window."""
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
        """Affine map [2, 3] from (x, y, 1) in the window, before a flip, to (x, y) in the image at another size, such
        as that on disk."""
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        back = np.array([[cosine, -sine], [sine, cosine]])  # y points down
        first, middle = np.array([self.window.left, self.window.top]), np.array(self.size[::-1]) / 2
        ratio = np.array(size[::-1]) / np.array(self.size[::-1])
        return ratio[:, None] * np.column_stack([back, back @ (first - middle) + middle])


def random_window(draw: random.Random, size: Size, crop: Size | None) -> Box:
    """A random crop window; an image smaller than the crop is placed at random inside it. Without a crop, the image.

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
    """Odd number of pixels that a Gaussian needs: three sigma to either side, but no more than the image can mirror."""
    return 2 * min(math.ceil(3 * sigma), size[0] - 1, size[1] - 1) + 1
