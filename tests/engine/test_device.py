"""Deterministic mode: what it sets, that it leaves nothing behind, and what it refuses."""

import os

import pytest
import torch
from torch.nn import functional as F

from segkit.engine.device import CUBLAS, deterministic
from segkit.errors import InputError


def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(CUBLAS),
    )


@pytest.fixture(params=[None, ":16:8", ":0:0"])
def workspace(request, monkeypatch):
    """What the environment says of cuBLAS before."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.delenv(CUBLAS, raising=False)
    if request.param is not None:
        monkeypatch.setenv(CUBLAS, request.param)
    return request.param


def test_torch_is_held_to_deterministic_algorithms_and_afterwards_all_is_as_before(workspace):
    before = settings()
    with deterministic(True):
        assert settings() == (True, False, False, ":16:8" if workspace == ":16:8" else ":4096:8")
        with deterministic(True):
            assert settings()[0]
        assert settings()[0]
    assert settings() == before == (False, False, True, workspace)
    with pytest.raises(KeyError), deterministic(True):
        raise KeyError
    assert settings() == before
    with deterministic(False):
        assert settings() == before


def test_a_layer_without_a_deterministic_algorithm_is_refused_by_name():
    values, indices = F.max_pool2d(torch.randn(1, 1, 4, 4), 2, return_indices=True)
    before = settings()
    with pytest.raises(InputError) as refused, deterministic(True):
        F.max_unpool2d(values, indices, 2)
    assert str(refused.value) == (
        "training.deterministic = true: the model needs torch's max_unpooling2d_forward_out, which does not have a "
        "deterministic implementation on this device. Set training.deterministic=false, or train on another device."
    )
    assert settings() == before


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="cannot be multiplied"), deterministic(True):
        torch.ones(2, 3) @ torch.ones(2, 3)
