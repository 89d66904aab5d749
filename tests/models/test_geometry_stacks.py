"""Any stack of layers: sizes and coordinates are those that torch shows, by the gradient of one output pixel."""

from fractions import Fraction
from functools import reduce

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segkit.models.geometry import IMAGE, CoordinateMap, Layer, LayerPath, align, convolution, deconvolution
from segkit.models.layers import bilinear_kernel

MANY = settings(max_examples=100)
PIXELS = 3000  # so many that a pixel near the middle sees no border

CONVOLUTIONS = st.builds(convolution, st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3))
DECONVOLUTIONS = st.builds(deconvolution, st.integers(1, 5), st.integers(1, 3), st.integers(0, 2))
POOLINGS = st.integers(1, 4).flatmap(
    lambda k: st.builds(
        Layer, st.just(k), st.integers(1, 3), st.integers(0, k // 2), ceil=st.booleans()
    )  # torch pads by half at most
)
UPSAMPLINGS = st.integers(1, 3).flatmap(
    lambda f: st.builds(deconvolution, st.sampled_from([2 * f - 1, 2 * f]), st.just(f))
)
CROPS = st.integers(0, 3)


def stacks(*layers):
    return st.lists(st.one_of(*layers), min_size=1, max_size=4)


def run(layer, x, *, bilinear=False):
    """One layer, or a crop of so many pixels, on [1, 1, W]; weights are 1 unless `bilinear`, averages stand for maxima."""
    if isinstance(layer, int):
        return x[..., layer:]
    weight = torch.ones(1, 1, layer.kernel, dtype=x.dtype)
    if layer.transposed:
        weight = bilinear_kernel(layer.kernel).sum(0).to(x.dtype).reshape_as(weight) if bilinear else weight
        return F.conv_transpose1d(x, weight, stride=layer.stride, padding=layer.padding)
    if layer.dilation == 1 and layer.padding <= layer.kernel // 2:
        return F.avg_pool1d(x, layer.kernel, layer.stride, layer.padding, ceil_mode=layer.ceil)
    return F.conv1d(x, weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)


def run_all(layers, x, **options):
    return reduce(lambda x, layer: run(layer, x, **options), layers, x)


def coordinates(layers):
    maps = (CoordinateMap(shift=-Fraction(layer)) if isinstance(layer, int) else layer.coordinates for layer in layers)
    return reduce(CoordinateMap.then, maps, IMAGE)


def gradient(layers, position, **options):
    """Of the pixel so many after the middle one with respect to the image, and where that pixel lies in the output."""
    image = torch.ones(1, 1, PIXELS, dtype=torch.float64, requires_grad=True)
    output = run_all(layers, image, **options)
    position += output.shape[-1] // 2
    return torch.autograd.grad(output[0, 0, position], image)[0][0, 0], position


def seen(layers, position):
    """First and last pixel of the image that is seen, and where the pixel that sees them lies."""
    found, position = gradient(layers, position)
    pixels = found.nonzero().flatten().tolist()
    return (pixels[0], pixels[-1]), position


@MANY
@given(stacks(CONVOLUTIONS, DECONVOLUTIONS, POOLINGS), st.integers(1, 60))
def test_sizes_are_those_that_torch_gives(layers, size):
    path = LayerPath(tuple(layers))
    try:
        actual = run_all(layers, torch.ones(1, 1, size)).shape[-1]
    except RuntimeError:
        actual = 0
    assert path.size(size) == actual
    assert (actual > 0) == (size >= path.minimum_size)


@MANY
@given(stacks(CONVOLUTIONS, POOLINGS, CROPS), st.integers(0, 8))
def test_a_pixel_lies_in_the_middle_of_what_it_sees(layers, position):
    (first, last), position = seen(layers, position)
    back = coordinates(layers).inverse()
    assert back.scale * position + back.shift == Fraction(first + last, 2)


@MANY
@given(stacks(CONVOLUTIONS, POOLINGS, UPSAMPLINGS, CROPS), st.integers(0, 8))
def test_with_bilinear_upsampling_a_pixel_lies_at_the_centre_of_mass_of_what_it_sees(layers, position):
    found, position = gradient(layers, position, bilinear=True)
    back = coordinates(layers).inverse()
    centre = float(found @ torch.arange(PIXELS, dtype=torch.float64) / found.sum())
    assert abs(centre - float(back.scale * position + back.shift)) < 1e-6


@MANY
@given(stacks(CONVOLUTIONS, POOLINGS), st.data())
def test_two_maps_are_aligned_by_the_crop_that_puts_what_they_saw_on_one_another(one, data):
    windows = [
        st.builds(Layer, st.integers(1, 5), st.just(layer.stride), st.integers(0, 2))
        for layer in data.draw(st.permutations(one))
    ]
    other = data.draw(st.tuples(*windows))  # as many pixels to a pixel
    first, second = coordinates(one), coordinates(other)
    middles = []
    for layers in (one, other):
        pixels, position = seen(layers, 0)
        middles.append(Fraction(sum(pixels), 2) - position * first.stride)  # of what pixel 0 would see
    apart = (middles[1] - middles[0]) / first.stride
    if apart.denominator == 1:
        found = align(first, second, kernel=1)
        assert (found.crop, found.target_crop) == (max(int(apart), 0), max(int(-apart), 0))
        assert found.coordinates == first.then(CoordinateMap(shift=-Fraction(found.crop)))
    else:
        with pytest.raises(ValueError, match="no upsampling by 1 aligns"):
            align(first, second, kernel=1)
