"""Cross-entropy against its formula in double precision, for each normalizer."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segkit.losses.cross_entropy import CrossEntropy
from segkit.tensors import IGNORE

K = 4
NORMALIZERS = ("valid_pixels", "weight_sum", "batch", "image_means")
WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 7.0])


def example(void=0.3, seed=0, batch=3):
    """logits [B, K, 5, 6] and labels [B, 5, 6] of which a share is void."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (batch, 5, 6), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < void] = IGNORE
    return 3 * torch.randn(batch, K, 5, 6, generator=generator), labels


def formula(logits, labels, weights, normalizer):
    """Loss and gradient in float64: sum of w[y] (-log p[y]) over a divisor; w[y] (p - 1[y]) over the same."""
    if normalizer == "image_means":
        each = [formula(logits[b : b + 1], labels[b : b + 1], weights, "valid_pixels") for b in range(len(labels))]
        return sum(value for value, _ in each) / len(each), np.concatenate([gradient for _, gradient in each]) / len(
            each
        )
    z = logits.double().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    w = np.ones(K) if weights is None else weights.double().numpy()
    gradient, total, pixels, weight_sum = np.zeros_like(z), 0.0, 0, 0.0
    for b, i, j in np.ndindex(labels.shape):
        y = int(labels[b, i, j])
        if y == IGNORE:
            continue
        total += w[y] * -np.log(p[b, y, i, j])
        gradient[b, :, i, j] = w[y] * (p[b, :, i, j] - np.eye(K)[y])
        pixels, weight_sum = pixels + 1, weight_sum + w[y]
    divisor = {"valid_pixels": pixels, "weight_sum": weight_sum, "batch": len(labels)}[normalizer]
    return total / divisor, gradient / divisor


@pytest.fixture(params=NORMALIZERS)
def normalizer(request):
    return request.param


@pytest.fixture(params=[None, WEIGHTS], ids=["unweighted", "weighted"])
def weights(request):
    return request.param


def test_loss_and_gradient_are_those_of_the_formula(normalizer, weights):
    logits, labels = example()
    value, gradient = formula(logits, labels, weights, normalizer)
    logits.requires_grad_()
    loss = CrossEntropy(weights, normalizer=normalizer)(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-4, atol=1e-7)


def test_a_pixel_by_hand():
    logits = torch.tensor([[[[0.0]], [[np.log(3.0)]]]]).float()  # probabilities 1/4 and 3/4
    labels = torch.zeros(1, 1, 1, dtype=torch.int64)
    assert CrossEntropy(torch.tensor([2.0, 1.0]))(logits, labels).item() == pytest.approx(2 * np.log(4))
    assert CrossEntropy(torch.tensor([2.0, 1.0]), normalizer="weight_sum")(logits, labels).item() == pytest.approx(
        np.log(4)
    )


def test_valid_pixels_is_the_default():
    logits, labels = example()
    assert CrossEntropy(WEIGHTS)(logits, labels) == CrossEntropy(WEIGHTS, normalizer="valid_pixels")(logits, labels)


def test_weight_sum_is_torchs_weighted_mean(weights):
    logits, labels = example()
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(CrossEntropy(weights, normalizer="weight_sum")(logits, labels), expected)
