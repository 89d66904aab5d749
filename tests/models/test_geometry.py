"""Coordinates: offsets, receptive fields and sizes of the released nets are results of the arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import InputError
from segkit.models.decoders.fcn import FCN8s, FCN16s, FCN32s
from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.geometry import IMAGE, CoordinateMap, LayerPath, align, convolution, deconvolution, sampling
from segkit.models.segmenter import Segmenter

THIN = 1 / 64  # width: no number here depends on channels


def linear(stride, shift):
    """The map (x + shift) / stride, as it is usually written."""
    return CoordinateMap(Fraction(1, stride), Fraction(shift) / stride)


def crops(decoder):
    """Pixels cut off each skip, and off the logits."""
    skips = [getattr(decoder, name) for name in ("to_pool4", "to_pool3") if hasattr(decoder, name)]
    assert all(skip.crop == 0 for skip in skips)
    return *(skip.target_crop for skip in skips), decoder.to_image.crop


def receptive_field(path):
    """Pixels of the image that a pixel of the map depends on."""
    field, step = 1, 1
    for layer in path.layers:
        field += (layer.extent - 1) * step
        step *= layer.stride
    return field


def original(build, encoder):
    return build(encoder.stages, 2, head_width=4, head_padding="none")


def test_a_deconvolution_undoes_a_convolution_of_the_same_geometry():
    assert LayerPath((convolution(5, stride=2, padding=1), deconvolution(5, 2, padding=1))).coordinates == IMAGE


def test_the_maps_of_the_released_vgg_are_those_of_coord_map():
    paths = VGG16(width=THIN, padding=100).stages.paths
    assert paths[4].coordinates == linear(32, Fraction(167, 2))
    assert paths[3].coordinates == linear(16, Fraction(183, 2))
    assert paths[2].coordinates == linear(8, Fraction(191, 2))
    assert paths[4].then(convolution(7)).coordinates == linear(32, Fraction(-25, 2))


@pytest.mark.parametrize(("build", "offsets"), [(FCN32s, (19,)), (FCN16s, (5, 27)), (FCN8s, (5, 9, 31))])
def test_the_crops_of_fcn_on_vgg_are_those_of_the_released_nets(build, offsets):
    decoder = original(build, VGG16(width=THIN, padding=100))
    assert crops(decoder) == offsets
    assert decoder.minimum_size == 1  # with a padding of 100 and ceil pooling every size works


@pytest.mark.parametrize(("padding", "minimum"), [(81, 33), (90, 15), (100, 1), (150, 1)])
def test_the_offset_of_fcn32s_is_its_padding_less_81(padding, minimum):
    decoder = original(FCN32s, VGG16(width=THIN, padding=padding))
    assert crops(decoder) == (padding - 81,)
    assert decoder.minimum_size == minimum


def test_fcn_alexnet_crops_18_with_a_kernel_of_63_since_64_lies_half_a_pixel_off():
    encoder = AlexNet(width=THIN)
    decoder = original(FCN32s, encoder)
    fc6 = encoder.stages.paths[-1].then(convolution(6))
    assert fc6.coordinates == linear(32, -13)
    assert decoder.upscore.weight.shape[-1] == 63
    assert crops(decoder) == (18,)
    with pytest.raises(ValueError, match="no upsampling by 32 aligns"):
        align(fc6.coordinates, IMAGE, kernel=64)


@pytest.mark.parametrize(("padding", "offset", "minimum"), [(3, 1, 31), (100, 98, 1)])
def test_fcn_googlenet_needs_an_odd_kernel_too(padding, offset, minimum):
    decoder = original(FCN32s, GoogLeNet(width=THIN, padding=padding))
    assert decoder.upscore.weight.shape[-1] == 63
    assert crops(decoder) == (offset,)
    assert decoder.minimum_size == minimum


def test_receptive_fields_are_those_of_the_papers():
    vgg, alexnet, googlenet, basic = (
        e(width=THIN).stages.paths[-1] for e in (VGG16, AlexNet, GoogLeNet, SegNetBasicEncoder)
    )
    assert receptive_field(vgg.then(convolution(7))) == 404
    assert receptive_field(alexnet.then(convolution(6))) == 355
    assert receptive_field(googlenet) == 715
    assert receptive_field(googlenet.then(convolution(7))) == 907  # with the average pooling that the paper discards
    assert receptive_field(basic) == 106


def test_an_unpadded_head_is_refused_on_an_encoder_that_does_not_pad():
    with pytest.raises(InputError, match=r"head_padding = 'none'.*head_padding=same, or raise the encoder's padding"):
        original(FCN32s, VGG16(width=THIN))


def test_an_image_too_small_for_the_net_is_refused():
    encoder = GoogLeNet(width=THIN)
    model = Segmenter(encoder, original(FCN32s, encoder))
    with pytest.raises(InputError, match=r"an image of 30x64 pixels \(height x width\) is too small.*at least 31"):
        model(torch.zeros(1, 3, 30, 64))
    assert model(torch.zeros(1, 3, 31, 64)).shape == (1, 2, 31, 64)


@given(st.integers(0, 5), st.integers(0, 62), st.integers(1, 300))
def test_a_sampled_map_has_the_size_and_coordinates_that_it_was_given(power, halves, pixels):
    stride, first = 2**power, Fraction(halves, 2)
    layer = sampling(stride, first)
    assert layer.size(pixels) == -(-pixels // stride)
    back = layer.coordinates.inverse()
    assert [back.scale * i + back.shift for i in (0, 7)] == [first, 7 * stride + first]


def test_no_upsampling_aligns_maps_a_quarter_pixel_apart():
    with pytest.raises(ValueError, match="no upsampling by 2"):
        align(CoordinateMap(Fraction(1, 2), Fraction(1, 8)), IMAGE)
