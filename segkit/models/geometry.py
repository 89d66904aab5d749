"""Exact coordinates: where a pixel of one map lies in another, what it sees, and how large maps are.

Every layer maps positions affinely, `out = scale * in + shift`; composing layers composes the maps, in fractions, so
that strides, crop offsets, receptive fields and minimum sizes are results and never literals.

Source: BVLC Caffe python/caffe/coord_map.py.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from math import prod


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


@dataclass(frozen=True)
class Layer:
    """A window that slides over a map, along one axis; `convolution`, `pooling` and `deconvolution` make one."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil: bool = False
    transposed: bool = False
    padding_after: int | None = None  # at the right and bottom; None: as at the left and top

    @property
    def extent(self) -> int:
        """Pixels from the first to the last that the window touches."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def coordinates(self) -> CoordinateMap:
        """From positions in its input to positions in its output."""
        half = Fraction(self.extent - 1, 2)
        if self.transposed:
            return CoordinateMap(Fraction(self.stride), half - self.padding)
        return CoordinateMap(Fraction(1, self.stride), (self.padding - half) / self.stride)

    def size(self, pixels: int) -> int:
        """Pixels of its output; below 1 if the window does not fit."""
        if self.transposed:
            return (pixels - 1) * self.stride + self.extent - 2 * self.padding
        room = (
            pixels + self.padding + (self.padding if self.padding_after is None else self.padding_after) - self.extent
        )
        if not self.ceil:
            return room // self.stride + 1
        rounded_up = -(-room // self.stride) + 1
        return (
            rounded_up - 1 if (rounded_up - 1) * self.stride >= pixels + self.padding else rounded_up
        )  # none starts beyond the map

    def sees(self, first: int, last: int) -> tuple[int, int]:
        """First and last pixel of its input that pixels `first` to `last` of its output depend on."""
        if self.transposed:
            return -(-(first + self.padding - self.extent + 1) // self.stride), (last + self.padding) // self.stride
        return first * self.stride - self.padding, last * self.stride - self.padding + self.extent - 1


def convolution(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Layer:
    """A convolution, or a pooling that rounds sizes down."""
    return Layer(kernel, stride, padding, dilation)


def pooling(kernel: int, stride: int, padding: int = 0) -> Layer:
    """A pooling that rounds sizes up, as Caffe does."""
    return Layer(kernel, stride, padding, ceil=True)


def deconvolution(kernel: int, stride: int = 1, padding: int = 0) -> Layer:
    """A transposed convolution."""
    return Layer(kernel, stride, padding, transposed=True)


def sampling(stride: int, position: Fraction) -> Layer:
    """A map of ceil(n / stride) pixels for n of the image; its pixel i lies at `stride` x i + `position` there, a
    multiple of 1/2.

    It stands for layers of which only this is known, so its window says nothing of what they see.
    """
    kernel = int(2 * position) + 1
    return Layer(kernel, stride, padding_after=kernel - 1)


def crop(offset: int) -> CoordinateMap:
    """Map of cutting `offset` pixels off the top and left."""
    return CoordinateMap(shift=Fraction(-offset))


@dataclass(frozen=True)
class Path:
    """The layers between the image and a map; of parallel branches, the one that sees most."""

    layers: tuple[Layer, ...] = ()

    def then(self, *layers: Layer) -> "Path":
        """This path and more layers."""
        return Path(self.layers + layers)

    @cached_property
    def coordinates(self) -> CoordinateMap:
        """From positions in the image to positions in the map."""
        return reduce(CoordinateMap.then, (layer.coordinates for layer in self.layers), CoordinateMap())

    def size(self, pixels: int) -> int:
        """Pixels of the map for an image of `pixels`; 0 if some layer does not fit."""
        for layer in self.layers:
            pixels = layer.size(pixels)
            if pixels < 1:
                return 0
        return pixels

    def sees(self, position: int) -> tuple[int, int]:
        """First and last pixel of the image that a pixel of the map depends on; the padding counts as image.

        The last comes before the first if it depends on none: a transposed convolution whose stride exceeds its kernel
        leaves gaps.
        """
        first = last = position
        for layer in reversed(self.layers):
            first, last = layer.sees(first, last)
            if last < first:
                break
        return first, last

    @cached_property
    def receptive_field(self) -> int:
        """Pixels of the image that a pixel of the map depends on; the most, where its position matters."""
        seen = [
            self.sees(position) for position in range(prod(layer.stride for layer in self.layers if layer.transposed))
        ]
        return max(last - first + 1 for first, last in seen)

    @cached_property
    def minimum_size(self) -> int:
        """Pixels of the smallest image on which every layer fits."""
        pixels = 1
        while not self.size(pixels):
            pixels += 1
        return pixels


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


def aligning_kernel(position: CoordinateMap, factor: int, target: CoordinateMap) -> int:
    """Kernel of the bilinear enlargement by `factor` whose pixels fall on those of `target`: 2 x factor, or one less.

    An even kernel moves the map by half a pixel more than an odd one, so just one of the two fits.

    Raises:
        ValueError: if none does.
    """
    for kernel in (2 * factor, 2 * factor - 1):
        between = target.inverse().then(position.then(deconvolution(kernel, factor).coordinates))
        if between.scale == 1 and between.shift.denominator == 1:
            return kernel
    raise ValueError(f"no enlargement by {factor} brings {position} onto {target}")
