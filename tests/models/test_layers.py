"""Layers that more than one file uses: bilinear kernels, upsamplings, initialisation."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segkit.models.layers import Upsample, bilinear_kernel, he_convolution

FACTORS = [2, 8, 16, 32]


def filler(size):
    """Source: shelhamer/fcn.berkeleyvision.org surgery.py, upsample_filt."""
    f = math.floor((size + 1) / 2)
    c = f - 1 if size % 2 else f - 0.5
    return np.array([[(1 - abs(i - c) / f) * (1 - abs(j - c) / f) for j in range(size)] for i in range(size)])


@pytest.fixture
def scores():
    return torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 16, 32, 63, 64])
def test_the_bilinear_kernel_is_that_of_the_released_code(size):
    np.testing.assert_allclose(bilinear_kernel(size).numpy(), filler(size), atol=1e-7)
    assert bilinear_kernel(size).dtype == torch.float32


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("factor", FACTORS)
def test_an_upsampling_starts_as_the_dense_deconvolution_with_the_kernel_on_its_diagonal(scores, factor, learned):
    dense = torch.zeros(3, 3, 2 * factor, 2 * factor)
    for k in range(3):
        dense[k, k] = torch.from_numpy(filler(2 * factor))
    expected = F.conv_transpose2d(scores, dense, stride=factor)
    torch.testing.assert_close(Upsample(3, factor, learned=learned)(scores), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_fixed_upsampling_is_bilinear_interpolation_away_from_the_border(scores, factor):
    margin = factor // 2
    ours = Upsample(3, factor, learned=False)(scores)[..., margin:-margin, margin:-margin]
    theirs = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    assert ours.shape == theirs.shape
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=1e-5, atol=1e-5)


def test_a_learned_upsampling_mixes_classes_and_is_saved_and_trained_and_a_fixed_one_is_not(scores):
    fixed, learned = (Upsample(3, 2, learned=each) for each in (False, True))
    assert ([*fixed.parameters()], fixed.state_dict()) == ([], {})
    assert list(learned.state_dict()) == ["weight"]
    (learned(scores) * torch.randn(2, 3, 12, 16)).sum().backward()
    assert learned.weight.shape == (3, 3, 4, 4)
    assert torch.isfinite(learned.weight.grad).all()
    assert (learned.weight.grad != 0).all()


def test_a_he_convolution_keeps_size_and_has_the_variance_of_its_fan_in():
    torch.manual_seed(0)
    layer = he_convolution(64, 64, 7)
    assert layer.padding == (3, 3)
    assert not layer.bias.any()
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 49)), rel=0.02)
