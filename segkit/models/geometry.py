"""Exact coordinates: where a pixel of one map lies in another.

Every layer maps positions affinely, `out = scale * in + shift`; composing layers composes the maps, in fractions, so that
strides and crop offsets are results and never literals.

Source: BVLC Caffe python/caffe/coord_map.py.
"""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class CoordinateMap:
    """`out = scale * in + shift`, in pixels."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)

    def then(self, outer: "CoordinateMap") -> "CoordinateMap":
        """This map followed by `outer`."""
        return CoordinateMap(outer.scale * self.scale, outer.scale * self.shift + outer.shift)

    def inverse(self) -> "CoordinateMap":
        """The map back."""
        return CoordinateMap(1 / self.scale, -self.shift / self.scale)

    @property
    def stride(self) -> Fraction:
        """Input pixels per output pixel."""
        return 1 / self.scale


def convolution(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> CoordinateMap:
    """Map of a convolution or pooling layer."""
    extent = (kernel - 1) * dilation + 1
    return CoordinateMap(Fraction(1, stride), (padding - Fraction(extent - 1, 2)) / stride)


def deconvolution(kernel: int, stride: int = 1, padding: int = 0) -> CoordinateMap:
    """Map of a transposed convolution."""
    return CoordinateMap(Fraction(stride), Fraction(kernel - 1, 2) - padding)


def crop(offset: int) -> CoordinateMap:
    """Map of cutting `offset` pixels off the top and left."""
    return CoordinateMap(shift=Fraction(-offset))


def crop_offsets(first: CoordinateMap, second: CoordinateMap) -> tuple[int, int]:
    """Pixels to cut off the top and left of each of two maps so that they lie on one another; one of the two is 0.

    Both maps start from the image.

    Raises:
        ValueError: if the two differ in stride or lie a fraction of a pixel apart: no crop aligns them.
    """
    between = second.inverse().then(first)
    if between.scale != 1 or between.shift.denominator != 1:
        raise ValueError(f"no crop aligns {first} with {second}: position in the first is {between} of the second")
    return max(int(between.shift), 0), max(-int(between.shift), 0)
