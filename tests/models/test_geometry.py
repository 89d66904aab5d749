"""Coordinates: the offsets of the released nets fall out of composing maps, and our own crops put scores where they were seen."""

from fractions import Fraction
from functools import reduce

import pytest
import torch
from torch.nn import functional as F

from segkit.models.decoders.fcn import fcn8s, fcn16s, fcn32s
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Features, Needs
from segkit.models.geometry import CoordinateMap, convolution, crop, crop_offsets, deconvolution

IMAGE = CoordinateMap()


def chain(*layers, start=IMAGE):
    return reduce(CoordinateMap.then, layers, start)


def linear(stride, shift):
    """The map (x + shift) / stride, as fidelity.md writes it."""
    return CoordinateMap(Fraction(1, stride), Fraction(shift) / stride)


def original_vgg(padding=100):
    """Pooled maps of the released VGG16 trunk, whose first convolution has a padding of 100, and fc6 on the last."""
    same, pool = convolution(3, padding=1), convolution(2, stride=2)
    pools = [chain(convolution(3, padding=padding), same, pool)]
    for count in (2, 3, 3, 3):
        pools.append(chain(*[same] * count, pool, start=pools[-1]))
    return pools, chain(convolution(7), start=pools[-1])


def original_alexnet():
    """fc6 of the released FCN-AlexNet."""
    pool, thin = convolution(3, stride=2), convolution(3, padding=1)
    return chain(convolution(11, stride=4, padding=100), pool, convolution(5, padding=2), pool, *[thin] * 3, pool, convolution(6))


# --- the arithmetic of maps ---


def test_a_layer_maps_positions_as_caffes_coord_map_does():
    assert convolution(3, padding=1) == IMAGE
    assert convolution(2, stride=2) == linear(2, Fraction(-1, 2))
    assert convolution(7) == linear(1, -3)
    assert convolution(3, dilation=4) == linear(1, -4)
    assert deconvolution(4, 2) == CoordinateMap(Fraction(2), Fraction(3, 2))
    assert deconvolution(4, 2, padding=1) == CoordinateMap(Fraction(2), Fraction(1, 2))
    assert crop(5) == linear(1, -5)
    assert convolution(2, stride=2).stride == 2


def test_the_inverse_of_a_map_undoes_it():
    there = chain(convolution(11, stride=4, padding=2), convolution(3, stride=2))
    assert there.then(there.inverse()) == IMAGE
    assert there.inverse().then(there) == IMAGE


def test_a_deconvolution_undoes_a_convolution_of_the_same_geometry():
    assert convolution(5, stride=2, padding=1).then(deconvolution(5, 2, padding=1)) == IMAGE


# --- the released nets ---


def test_the_maps_of_the_released_vgg_are_those_of_coord_map():
    pools, fc6 = original_vgg()
    halves = [Fraction(n, 2) for n in (167, 183, 191)]
    assert pools[4] == linear(32, halves[0])
    assert pools[3] == linear(16, halves[1])
    assert pools[2] == linear(8, halves[2])
    assert fc6 == linear(32, Fraction(-25, 2))


def test_fcn32s_crops_19():
    _, fc6 = original_vgg()
    assert crop_offsets(fc6.then(deconvolution(64, 32)), IMAGE) == (19, 0)


def test_fcn16s_crops_5_of_the_skip_and_27_of_the_score():
    pools, fc6 = original_vgg()
    upscore2 = fc6.then(deconvolution(4, 2))
    assert upscore2 == linear(16, Fraction(23, 2))
    assert crop_offsets(upscore2, pools[3]) == (0, 5)
    assert crop_offsets(upscore2.then(deconvolution(32, 16)), IMAGE) == (27, 0)


def test_fcn8s_crops_5_and_9_of_the_skips_and_31_of_the_score():
    pools, fc6 = original_vgg()
    upscore2 = fc6.then(deconvolution(4, 2))
    upscore_pool4 = upscore2.then(deconvolution(4, 2))
    assert upscore_pool4 == linear(8, Fraction(47, 2))
    assert crop_offsets(upscore2, pools[3]) == (0, 5)
    assert crop_offsets(upscore_pool4, pools[2]) == (0, 9)
    assert crop_offsets(upscore_pool4.then(deconvolution(16, 8)), IMAGE) == (31, 0)


def test_a_skip_cut_by_its_offset_lies_on_the_upsampled_map():
    pools, fc6 = original_vgg()
    assert pools[3].then(crop(5)) == fc6.then(deconvolution(4, 2))


@pytest.mark.parametrize("padding", [81, 90, 100, 150])
def test_the_offset_of_fcn32s_is_its_padding_less_81(padding):
    _, fc6 = original_vgg(padding)
    assert crop_offsets(fc6.then(deconvolution(64, 32)), IMAGE) == (padding - 81, 0)


def test_alexnet_crops_18_with_its_kernel_of_63():
    assert original_alexnet() == linear(32, -13)
    assert crop_offsets(original_alexnet().then(deconvolution(63, 32)), IMAGE) == (18, 0)


def test_alexnet_with_a_kernel_of_64_is_refused_as_it_lies_half_a_pixel_off():
    with pytest.raises(ValueError, match="no crop aligns"):
        crop_offsets(original_alexnet().then(deconvolution(64, 32)), IMAGE)


def test_maps_of_different_stride_are_refused():
    pools, fc6 = original_vgg()
    with pytest.raises(ValueError, match="no crop aligns"):
        crop_offsets(fc6, pools[3])


# --- our own nets, by brute force: nothing below uses coordinate maps to get its expectation ---


@pytest.fixture(scope="module")
def encoder():
    return VGG16(width=1 / 16)


def centre_of_mass(plane):
    """(row, column) of [H, W]."""
    plane = plane.double()
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in plane.shape)
    return float(plane.sum(1) @ rows / plane.sum()), float(plane.sum(0) @ columns / plane.sum())


def seen_centre(monkeypatch, stage, position, size):
    """Centre of what one pixel of a pooled map sees of the image: of its gradient, with equal weights and averages for maxima."""
    encoder = VGG16(width=1 / 64).double()
    for name, parameter in encoder.named_parameters():
        torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1 / parameter[0].numel())
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    with monkeypatch.context() as patch:
        patch.setattr(F, "max_pool2d", F.avg_pool2d)
        pooled = encoder(image, Needs(pooled=frozenset({stage}))).pooled[stage]
    pooled[0, 0, *position].backward()
    seen = image.grad[0].sum(0)
    assert not any(edge.any() for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1])), "the whole receptive field lies in the image"
    return centre_of_mass(seen)


def enlarged_impulse(decoder, encoder, score, position, size):
    """Logits where one score layer gives 1 at one position and every other score is 0."""

    def impulse(module, arguments, output):
        output = torch.zeros_like(output)
        output[0, 0, *position] = 1
        return output

    handle = decoder.get_submodule(score).register_forward_hook(impulse)
    with torch.inference_mode():
        logits = decoder(encoder(torch.zeros(1, 3, *size), decoder.needs))
    handle.remove()
    return logits[0, 0]


@pytest.mark.parametrize("upsampling", ["fixed", "learned"])
@pytest.mark.parametrize(
    ("build", "score", "stage"),
    [
        (fcn32s, "score_fr", 4),
        (fcn16s, "score_fr", 4),
        (fcn16s, "score_pool4", 3),
        (fcn8s, "score_fr", 4),
        (fcn8s, "score_pool4", 3),
        (fcn8s, "score_pool3", 2),
    ],
)
def test_a_score_is_enlarged_around_the_centre_of_what_it_saw(monkeypatch, encoder, build, score, stage, upsampling):
    size, position = (270, 279), {4: (4, 3), 3: (8, 9), 2: (14, 19)}[stage]
    decoder = build(encoder.stages, 1, head_width=4, upsampling=upsampling).eval()
    plane = enlarged_impulse(decoder, encoder, score, position, size)
    assert float(plane.sum()) == pytest.approx(4 ** (stage + 1))  # a pixel of stride s is worth s x s pixels
    assert centre_of_mass(plane) == pytest.approx(seen_centre(monkeypatch, stage, position, size), abs=1e-4)


@pytest.mark.parametrize("build", [fcn32s, fcn16s, fcn8s])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 64), (65, 97), (127, 200)])
def test_the_last_enlargement_reaches_every_image_size(encoder, build, size):
    decoder = build(encoder.stages, 2, head_width=4).eval()
    torch.nn.init.ones_(decoder.score_fr.bias)
    with torch.inference_mode():
        logits = decoder(encoder(torch.zeros(1, 3, *size), decoder.needs))
    assert logits.shape[-2:] == size
    assert float(logits.min()) > 0  # the constant score covers the image up to its edges


def test_where_heights_differ_the_common_part_of_two_maps_is_added(encoder):
    decoder = fcn8s(encoder.stages, 1, head_width=4).eval()
    channels = encoder.stages.channels
    pooled = {stage: torch.zeros(1, channels[stage], *size) for stage, size in {4: (2, 3), 3: (3, 5), 2: (6, 9)}.items()}
    assert decoder(Features(image_size=(48, 72), pooled=pooled)).shape == (1, 1, 48, 72)
