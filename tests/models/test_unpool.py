"""Unpooling gives the bits of torch's max_unpool2d, forwards and backwards, in every layout and type."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from segkit.models.layers import unpool

LAYOUTS = (torch.contiguous_format, torch.channels_last)
TYPES = (torch.float32, torch.bfloat16, torch.float64)


def pooled_map(size, *, batch=2, channels=3, dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    """A pooled map that asks for a gradient, and where its values came from."""
    image = torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    values, indices = F.max_pool2d(image.contiguous(memory_format=layout), 2, 2, ceil_mode=True, return_indices=True)
    return values.requires_grad_(), indices


def assert_as_torch_does(values, indices, size):
    expected = F.max_unpool2d(values, indices, [2, 2], [2, 2], output_size=list(size))
    found = unpool(values, indices, size)
    assert found.dtype == values.dtype
    assert torch.equal(found, expected)
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).to(values.dtype)
    ours, theirs = (torch.autograd.grad(output, values, pull)[0] for output in (found, expected))
    assert ours.any()
    assert torch.equal(ours, theirs)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    dtype=st.sampled_from(TYPES),
    layout=st.sampled_from(LAYOUTS),
)
def test_values_and_gradients_are_those_of_max_unpool2d(size, batch, channels, dtype, layout):
    assert_as_torch_does(*pooled_map(size, batch=batch, channels=channels, dtype=dtype, layout=layout), size)


def test_a_map_in_neither_layout_is_put_back_too():
    values, indices = pooled_map((7, 10), channels=6)
    part, places = values[:, ::2], indices[:, ::2]
    assert not any(part.is_contiguous(memory_format=layout) for layout in LAYOUTS)
    assert_as_torch_does(part.detach().requires_grad_(), places, (7, 10))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_map_is_kept(layout):
    values, indices = pooled_map((7, 10), layout=layout)
    found = unpool(values, indices, (7, 10))
    assert found.is_contiguous(memory_format=layout)
    assert torch.autograd.grad(found.sum(), values)[0].is_contiguous(memory_format=layout)


def test_under_autocast_the_type_of_the_map_is_kept():
    values, indices = pooled_map((6, 8), dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert_as_torch_does(values, indices, (6, 8))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_place_outside_the_plane_is_refused(layout):
    values, indices = pooled_map((6, 8), layout=layout)
    with pytest.raises(RuntimeError, match="out of bounds"):
        unpool(values, indices, (5, 8))
