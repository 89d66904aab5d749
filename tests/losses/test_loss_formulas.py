"""Each loss against its formula in numpy, and against torch and smp.losses where these say the same."""

import numpy as np
import pytest
import torch
from segmentation_models_pytorch import losses as smp

from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.focal import Focal
from segkit.losses.loss import batch_loss
from segkit.losses.ohem_cross_entropy import OhemCrossEntropy
from segkit.losses.overlap import Dice, Lovasz
from segkit.losses.weighted_sum import WeightedSum
from segkit.tensors import IGNORE

K = 5
WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 7.0, 1.5], dtype=torch.float64)
close = pytest.approx


@pytest.fixture(params=[None, WEIGHTS], ids=["unweighted", "weighted"])
def weights(request):
    return request.param


@pytest.fixture
def sample():
    """float64 logits [3, 5, 6, 7] and labels [3, 6, 7] with ignored pixels and without class 4."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(K - 1, (3, 6, 7), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.3] = IGNORE
    return 2 * torch.randn(3, K, 6, 7, generator=generator, dtype=torch.float64), labels


def pixels(logits, labels):
    """Probabilities [N, K] and labels [N] of all valid pixels, and class weights of 1 as an example of None."""
    z = logits.numpy()
    p = np.moveaxis(np.exp(z) / np.exp(z).sum(1, keepdims=True), 1, -1)
    valid = labels.numpy() != IGNORE
    return p[valid], labels.numpy()[valid]


def weights_of(weights):
    return np.ones(K) if weights is None else weights.numpy()


def cross_entropy_by_formula(logits, labels, weights, normalizer):
    if normalizer == "image_means":
        each = zip(logits.split(1), labels.split(1), strict=True)
        return np.mean([cross_entropy_by_formula(*image, weights, "valid_pixels") for image in each])
    p, y = pixels(logits, labels)
    w = weights_of(weights)[y]
    divisor = {"valid_pixels": len(y), "weight_sum": w.sum(), "batch": len(labels)}[normalizer]
    return (w * -np.log(p[np.arange(len(y)), y])).sum() / divisor


@pytest.mark.parametrize("normalizer", ["valid_pixels", "weight_sum", "batch", "image_means"])
def test_cross_entropy(sample, weights, normalizer):
    expected = cross_entropy_by_formula(*sample, weights, normalizer)
    assert float(CrossEntropy(weights, normalizer=normalizer)(*sample)) == close(expected, rel=1e-9)


def test_cross_entropy_divides_by_valid_pixels_unless_told_to_be_torchs_weighted_mean(sample, weights):
    expected = cross_entropy_by_formula(*sample, weights, "valid_pixels")
    assert float(CrossEntropy(weights)(*sample)) == close(expected, rel=1e-9)
    torchs = torch.nn.functional.cross_entropy(*sample, weight=weights, ignore_index=IGNORE)
    torch.testing.assert_close(CrossEntropy(weights, normalizer="weight_sum")(*sample), torchs)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(sample, weights, gamma):
    p, y = pixels(*sample)
    own = p[np.arange(len(y)), y]
    expected = (weights_of(weights)[y] * (1 - own) ** gamma * -np.log(own)).mean()
    assert float(Focal(weights, gamma=gamma)(*sample)) == close(expected, rel=1e-9)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_ohem_cross_entropy(sample, weights, fraction):
    total, count = 0.0, 0
    for logits, labels in zip(*sample, strict=True):
        p, y = pixels(logits[None], labels[None])
        losses = np.sort(weights_of(weights)[y] * -np.log(p[np.arange(len(y)), y]))[::-1]
        kept = max(1, round(fraction * len(y)))
        total, count = total + losses[:kept].sum(), count + kept
    assert float(OhemCrossEntropy(weights, fraction=fraction)(*sample)) == close(total / count, rel=1e-6)


def overlap_by_formula(of_class, sample, weights, per_image):
    """The weighted mean over labelled classes of `of_class(probabilities [N], is the class [N])`."""
    images = list(zip(*(each.split(1) for each in sample), strict=True)) if per_image else [sample]
    values = []
    for image in images:
        p, y = pixels(*image)
        present = np.unique(y)
        losses = [of_class(p[:, k], y == k) for k in present]
        values.append(np.average(losses, weights=weights_of(weights)[present]))
    return np.mean(values)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("squared", [False, True])
def test_dice(sample, weights, squared, per_image):
    def of_class(p, truth):
        return 1 - 2 * (p * truth).sum() / ((p**2 if squared else p).sum() + truth.sum())

    loss = Dice(weights, squared=squared, per_image=per_image)
    assert float(loss(*sample)) == close(overlap_by_formula(of_class, sample, weights, per_image), rel=1e-6)


def test_dice_is_that_of_smp_but_for_the_mean_over_labelled_classes(sample):
    theirs = smp.DiceLoss("multiclass", ignore_index=IGNORE)(*sample)  # class 4 counts as 0 there
    assert float(Dice(None)(*sample)) == close(float(theirs) * K / (K - 1), rel=1e-6)


def iou_loss(wrong, truth):
    """1 - IoU of a class if the pixels `wrong` are on the wrong side."""
    return 1 - (truth & ~wrong).sum() / (truth | wrong).sum()


@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz(sample, weights, per_image):
    def of_class(p, truth):
        """The Lovász extension by its definition: errors, largest first, times what each adds to the loss."""
        errors = np.abs(truth - p)
        order = np.argsort(-errors)
        value, wrong = 0.0, np.zeros(len(p), bool)
        for pixel in order:
            before = iou_loss(wrong, truth)
            wrong[pixel] = True
            value += errors[pixel] * (iou_loss(wrong, truth) - before)
        return value

    loss = Lovasz(weights, per_image=per_image)
    assert float(loss(*sample)) == close(overlap_by_formula(of_class, sample, weights, per_image), rel=1e-6)


def test_lovasz_is_that_of_smp(sample):
    logits, labels = sample[0].float(), sample[1]
    theirs = smp.LovaszLoss("multiclass", ignore_index=IGNORE)(logits, labels)
    assert float(Lovasz(None)(logits, labels)) == close(float(theirs), rel=1e-5)


def test_a_weighted_sum_divides_each_term_by_its_own_normalizer(sample, weights):
    terms = [(2.0, CrossEntropy(weights, normalizer="batch")), (0.5, Dice(weights))]
    expected = sum(weight * float(batch_loss(loss, *sample)) for weight, loss in terms)
    assert float(WeightedSum(terms)(*sample)) == close(expected, rel=1e-9)
    assert WeightedSum(terms).normalizer(sample[1]).shape == (2,)


def test_a_weighted_sum_is_exact_if_all_terms_are():
    assert WeightedSum([(1.0, CrossEntropy(None)), (1.0, Dice(None, per_image=True))]).exact
    assert not WeightedSum([(1.0, CrossEntropy(None)), (1.0, Dice(None))]).exact
