"""Where the pixels of a training sample lie in its resized image. Numbers alone; a backend moves the pixels.

Coordinates are network pixels of the resized image: pixel i covers i to i + 1.
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

    def mirrored(self, width: int) -> "Box":
        """Where the same pixels lie after left and right of an image of that width are exchanged."""
        return self._replace(left=width - self.left - self.width)


@dataclass(frozen=True)
class View:
    """A window onto an image that was turned about its middle.

    Attributes:
        size: (height, width) of the image.
        window: what is shown.
        angle: degrees, counter-clockwise.
    """

    size: Size
    window: Box
    angle: float = 0.0

    @cached_property
    def source(self) -> Box:
        """The part of the image that the window can show: one pixel at least, and one more on each side where it is turned."""
        top, left, height, width = self.window
        corners = np.array([[left, top], [left + width, top], [left, top + height], [left + width, top + height]])
        if self.angle:
            corners = (corners - self._middle) @ self._turn.T + self._middle
            corners = np.concatenate([np.floor(corners) - 1, np.ceil(corners) + 1])
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        (top, height), (left, width) = (_within(*ends) for ends in ((top, bottom, self.size[0]), (left, right, self.size[1])))
        return Box(top, left, height, width)

    @cached_property
    def matrix(self) -> np.ndarray:
        """[2, 3]: from (x, y, 1) of a pixel of the window to (x, y) in `source`."""
        first, origin = (np.array([box.left, box.top]) + 0.5 for box in (self.window, self.source))
        return np.column_stack([self._turn, self._turn @ (first - self._middle) + self._middle - origin])

    @property
    def _middle(self) -> np.ndarray:
        return np.array([self.size[1], self.size[0]]) / 2

    @property
    def _turn(self) -> np.ndarray:
        """[2, 2]: from (x, y) after the turn to (x, y) before it; y points down."""
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        return np.array([[cosine, -sine], [sine, cosine]])


def _within(start: float, stop: float, length: int) -> tuple[int, int]:
    """First pixel of 0..length from `start` to `stop`, and how many; the nearest one where there is none."""
    first = min(max(int(start), 0), length - 1)
    return first, max(min(int(stop), length) - first, 1)


def random_window(draw: random.Random, size: Size, crop: Size | None) -> Box:
    """A crop at any place within the image, or with the image at any place within it where that is smaller; None: the image.

    The numbers are drawn as albumentations' RandomCrop (pad_position="random") draws them, so equal states give equal crops.
    """
    if crop is None:
        return Box(0, 0, *size)
    missing = [max(0, c - s) for c, s in zip(crop, size, strict=True)]
    before = [draw.randint(0, pixels) for pixels in missing] if any(missing) else (0, 0)
    top, left = (
        int((s + pixels - c + 1) * draw.random()) - first for s, c, pixels, first in zip(size, crop, missing, before, strict=True)
    )
    return Box(top, left, *crop)
