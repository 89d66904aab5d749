"""Where the pixels of a training sample lie in its resized image. Numbers alone; a backend moves the pixels.

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
    """A window onto an image that was turned about its middle; what it shows may be flipped then.

    Attributes:
        size: (height, width) of the image.
        window: what is shown.
        angle: degrees, counter-clockwise.
        flip: exchange left and right.
    """

    size: Size
    window: Box
    angle: float = 0.0
    flip: bool = False

    @cached_property
    def visible(self) -> Box:
        """The part of the window where an upright image is."""
        top, left, height, width = self.window
        bottom, right = min(top + height, self.size[0]), min(left + width, self.size[1])
        return Box(max(top, 0), max(left, 0), bottom - max(top, 0), right - max(left, 0))

    @cached_property
    def sides(self) -> tuple[int, int, int, int]:
        """Pixels of the window left of, above, right of and below the visible part, after the flip; 0 around a turned
        image."""
        if self.angle:
            return 0, 0, 0, 0
        top, left = self.visible.top - self.window.top, self.visible.left - self.window.left
        bottom, right = self.window.height - self.visible.height - top, self.window.width - self.visible.width - left
        return (right, top, left, bottom) if self.flip else (left, top, right, bottom)

    @property
    def has_outside(self) -> bool:
        """Whether the window may show what is not in the image."""
        return self.angle != 0 or any(self.sides)

    def matrix(self, size: Size) -> np.ndarray:
        """[2, 3]: from (x, y, 1) in the window, before a flip, to (x, y) in the image as it is at another size: on
        disk, for instance."""
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        back = np.array([[cosine, -sine], [sine, cosine]])  # y points down
        first, middle = np.array([self.window.left, self.window.top]), np.array(self.size[::-1]) / 2
        ratio = np.array(size[::-1]) / np.array(self.size[::-1])
        return ratio[:, None] * np.column_stack([back, back @ (first - middle) + middle])


def random_window(draw: random.Random, size: Size, crop: Size | None) -> Box:
    """A crop at any place within the image, or with the image at any place within it where that is smaller; None: the
    image.

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
    """Pixels that a Gaussian needs: to three standard deviations, and no further than the image is mirrored at its
    borders."""
    return 2 * min(math.ceil(3 * sigma), size[0] - 1, size[1] - 1) + 1
