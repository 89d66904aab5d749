"""What every loss of the table promises to the training loop, and the example that the contract shows to outsiders."""

import inspect
import textwrap

import pytest
import torch
from torch import nn

from segkit.build import LOSSES
from segkit.losses import loss as contract
from segkit.losses.loss import Loss, batch_loss
from segkit.tensors import IGNORE, AuxiliaryLogits
from segkit.testing import check_loss

K = 4
WEIGHTS = torch.tensor([0.3, 1.0, 2.5, 7.0], dtype=torch.float64)
SUM = {"terms": {"cross_entropy": {"weight": 2.0, "normalizer": "batch"}, "dice": {"weight": 0.5}}}
EXACT_SUM = {
    "terms": {"focal": {"weight": 2.0}, "weighted_sum": {"weight": 1.0, "terms": {"cross_entropy": {"weight": 3.0}}}}
}
VARIANTS = {  # each row of the table as it is, and with these options
    "cross_entropy": [{"normalizer": kind} for kind in ("weight_sum", "batch", "image_means")],
    "focal": [{"gamma": 0.5}, {"gamma": 0.0}],
    "ohem_cross_entropy": [{"fraction": 0.5}],
    "dice": [{"squared": True}, {"per_image": True}],
    "lovasz": [{"per_image": True}],
    "weighted_sum": [EXACT_SUM],
}
REQUIRED = {"weighted_sum": SUM}
CASES = [(LOSSES[name], options) for name in LOSSES for options in [REQUIRED.get(name, {}), *VARIANTS.get(name, [])]]


def outsiders_loss():
    """The class that the docstring of `Loss` shows."""
    text = inspect.cleandoc(Loss.__doc__)
    code = textwrap.dedent(text[text.index("    class Brier") : text.index("Ignored pixels")])
    names = {"nn": nn, "Tensor": torch.Tensor, **vars(contract)}
    exec(code, names)
    return names["Brier"]


CASES.append((outsiders_loss(), {}))


@pytest.fixture(params=CASES, ids=lambda case: " ".join([case[0].__name__, *map(str, case[1].values())]))
def build(request):
    """Class weights -> a loss."""
    constructor, options = request.param
    return lambda class_weights: constructor(class_weights, **options)


@pytest.fixture
def loss(build):
    """A loss in float64, with class weights."""
    return build(WEIGHTS)


def example(void=0.3, batch=3, size=(5, 6), scale=3.0):
    """float64 logits [B, K, *size] and labels [B, *size], of which a share is ignored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(K, (batch, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < void] = IGNORE
    logits = scale * torch.randn(batch, K, *size, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), labels


def value_and_gradient(loss, logits, labels):
    value = batch_loss(loss, logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient


def test_it_keeps_the_contract_that_outsiders_are_checked_by_and_saves_no_state(build):
    loss = build(WEIGHTS.float())
    check_loss(loss, num_classes=K)
    assert isinstance(loss, Loss)
    assert loss.state_dict() == {}


def test_ignored_pixels_count_like_absent_ones(loss):
    logits, labels = example(void=0)
    masked = labels.clone()
    masked[:, 3:] = IGNORE
    without = batch_loss(loss, logits[:, :, :3].contiguous(), labels[:, :3])
    torch.testing.assert_close(batch_loss(loss, logits, masked), without)


@pytest.mark.parametrize("only", [IGNORE, 2])
def test_a_batch_without_a_labelled_pixel_or_of_a_class_that_weighs_0_has_loss_0_and_gradient_0(build, only):
    logits, labels = example()
    labels[labels != IGNORE] = only
    value, gradient = value_and_gradient(build(torch.tensor([1.0, 1, 0, 1])), logits.float(), labels)
    assert value == 0
    assert not gradient.any()


def test_bfloat16_logits_under_autocast_give_float32(loss):
    logits, labels = example()
    loss = loss.float()
    with torch.autocast("cpu", torch.bfloat16):
        total = loss.total(logits.bfloat16(), labels)
    assert total.dtype == torch.float32
    assert torch.equal(total, loss.total(logits.bfloat16().float(), labels))


def test_its_gradient_is_that_of_finite_differences(loss):
    logits, labels = example(batch=2, size=(2, 3), scale=1.0)
    assert torch.autograd.gradcheck(lambda logits: loss.total(logits, labels), logits, fast_mode=True)


def test_equal_and_huge_logits_give_finite_values_and_gradients(loss):
    for scale in (0.0, 1e4):
        logits, labels = example(scale=scale)
        value, gradient = value_and_gradient(loss.float(), logits.float(), labels)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_sure_and_right_is_0_and_sure_and_wrong_is_more(loss):
    _, labels = example()
    right = 100.0 * contract.one_hot(labels, K)
    assert float(batch_loss(loss, right.double(), labels)) == pytest.approx(0, abs=1e-12)
    assert float(batch_loss(loss, right.double().roll(1, dims=1), labels)) > 0.5


def test_class_weights_of_1_are_none(build):
    logits, labels = example()
    ones = batch_loss(build(torch.ones(K, dtype=torch.float64)), logits, labels)
    torch.testing.assert_close(ones, batch_loss(build(None), logits, labels))


def test_auxiliary_logits_count_by_their_weight(loss):
    (logits, labels), extra = example(), [torch.randn(3, K, 5, 6).double() for _ in range(2)]
    together = loss.total(AuxiliaryLogits(logits, tuple(extra), 0.3), labels)
    expected = loss.total(logits, labels) + 0.3 * sum(loss.total(each, labels) for each in extra)
    torch.testing.assert_close(together, expected)


@pytest.mark.parametrize("pieces", [2, 4])
def test_a_cut_batch_has_the_loss_of_the_whole_or_the_mean_over_its_pieces(loss, pieces):
    logits, labels = example(batch=4)
    labels[0] = IGNORE  # with 4 pieces, one of them has no labelled pixel
    cut = list(zip(logits.chunk(pieces), labels.chunk(pieces), strict=True))
    totals = torch.stack([loss.total(*piece) for piece in cut]).sum(0)
    value = (totals / torch.stack([loss.normalizer(piece) for _, piece in cut]).sum(0)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    if loss.exact:
        whole, whole_gradient = value_and_gradient(loss, logits, labels)
        torch.testing.assert_close(value, whole)
        torch.testing.assert_close(gradient, whole_gradient)
    elif loss.normalizer(labels).dim() == 0:
        labelled = [piece for piece in cut if (piece[1] != IGNORE).any()]
        mean = sum(batch_loss(loss, *piece) for piece in labelled) / len(labelled)
        torch.testing.assert_close(value, mean)
