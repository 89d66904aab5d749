"""Exact coordinates of map pixels in the image, and sizes of maps.

Every layer maps coordinates affinely, `out = scale * in + shift`; composing layers composes the maps, in fractions. So
strides, kernels of upsampling, crop offsets and minimum sizes are computed and never written as literals.

Source: BVLC Caffe python/caffe/coord_map.py.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from itertools import count


@dataclass(frozen=True)
class CoordinateMap:
    """`out = scale * in + shift`, in pixels."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)

    def then(self, outer: "CoordinateMap") -> "CoordinateMap":
        """Return this map followed by `outer`."""
        return CoordinateMap(outer.scale * self.scale, outer.scale * self.shift + outer.shift)

    def inverse(self) -> "CoordinateMap":
        """Return the inverse map."""
        return CoordinateMap(1 / self.scale, -self.shift / self.scale)

    @property
    def stride(self) -> Fraction:
        """Input pixels per output pixel."""
        return 1 / self.scale


IMAGE = CoordinateMap()


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
        """Map from coordinates in the input to coordinates in the output."""
        half = Fraction(self.extent - 1, 2)
        if self.transposed:
            return CoordinateMap(Fraction(self.stride), half - self.padding)
        return CoordinateMap(Fraction(1, self.stride), (self.padding - half) / self.stride)

    def size(self, pixels: int) -> int:
        """Pixels of the output; below 1 if the window does not fit."""
        if self.transposed:
            return (pixels - 1) * self.stride + self.extent - 2 * self.padding
        padding_after = self.padding if self.padding_after is None else self.padding_after
        room = pixels + self.padding + padding_after - self.extent
        if not self.ceil:
            return room // self.stride + 1
        rounded_up = -(-room // self.stride) + 1
        starts_beyond = (rounded_up - 1) * self.stride >= pixels + self.padding  # torch and Caffe drop such a window
        return rounded_up - 1 if starts_beyond else rounded_up


def convolution(kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Layer:
    """A convolution, or a pooling that rounds sizes down."""
    return Layer(kernel, stride, padding, dilation)


def pooling(kernel: int, stride: int, padding: int = 0) -> Layer:
    """A pooling that rounds sizes up, as Caffe does."""
    return Layer(kernel, stride, padding, ceil=True)


def deconvolution(kernel: int, stride: int = 1, padding: int = 0) -> Layer:
    """A transposed convolution."""
    return Layer(kernel, stride, padding, transposed=True)


def sampling(stride: int, first: Fraction) -> Layer:
    """A map of ceil(n / stride) pixels for n of the image, with pixel i at image coordinate `stride` x i + `first`.

    Stands for layers about which nothing else is known. `first` is a multiple of 1/2.
    """
    kernel = int(2 * first) + 1
    return Layer(kernel, stride, padding_after=kernel - 1)


@dataclass(frozen=True)
class LayerPath:
    """The layers between the image and a map; of parallel branches, the one with the largest windows."""

    layers: tuple[Layer, ...] = ()

    def then(self, *layers: Layer) -> "LayerPath":
        """Return this path with more layers."""
        return LayerPath(self.layers + layers)

    @cached_property
    def coordinates(self) -> CoordinateMap:
        """Map from coordinates in the image to coordinates in the map."""
        return reduce(CoordinateMap.then, (layer.coordinates for layer in self.layers), IMAGE)

    def size(self, pixels: int) -> int:
        """Pixels of the map for an image of `pixels`; 0 if some layer does not fit."""
        for layer in self.layers:
            pixels = layer.size(pixels)
            if pixels < 1:
                return 0
        return pixels

    @cached_property
    def minimum_size(self) -> int:
        """Pixels of the smallest image on which every layer fits."""
        return next(pixels for pixels in count(1) if self.size(pixels))


@dataclass(frozen=True)
class Alignment:
    """Kernel and crops that upsample a map onto the pixels of a finer one.

    Attributes:
        factor: stride of the transposed convolution.
        kernel: its kernel.
        crop: pixels to cut off the top and left of the upsampled map.
        target_crop: pixels to cut off the top and left of the finer map; `crop` or this is 0.
        coordinates: from the image to the upsampled and cropped map.
    """

    factor: int
    kernel: int
    crop: int
    target_crop: int
    coordinates: CoordinateMap

    def size(self, pixels: int, target_pixels: int) -> int:
        """Pixels that the finer map and the map upsampled from `pixels` have in common, after the crops."""
        upsampled = deconvolution(self.kernel, self.factor).size(pixels) if pixels > 0 else 0
        return min(upsampled - self.crop, target_pixels - self.target_crop)


def align(coordinates: CoordinateMap, target: CoordinateMap, *, kernel: int | None = None) -> Alignment:
    """Kernel and crops of the upsampling from a map onto a finer one, so that their pixels coincide.

    Args:
        coordinates, target: from the image to the map and to the finer one.
        kernel: None: that of bilinear upsampling, 2 x factor or one less. An even kernel offsets the map by half a pixel
            more than an odd one, so just one of the two fits.
    Raises:
        ValueError: if no crop aligns the two, as they are offset by a fraction of a pixel.
    """
    factor = int(coordinates.stride / target.stride)
    for size in (kernel,) if kernel else (2 * factor, 2 * factor - 1):
        upsampled = coordinates.then(deconvolution(size, factor).coordinates)
        between = target.inverse().then(upsampled)
        if between.scale == 1 and between.shift.denominator == 1:
            crop, target_crop = max(int(between.shift), 0), max(-int(between.shift), 0)
            return Alignment(factor, size, crop, target_crop, upsampled.then(CoordinateMap(shift=Fraction(-crop))))
    raise ValueError(f"no upsampling by {factor} aligns {coordinates} with {target}")
