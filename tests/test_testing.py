"""The checks that outside authors call pass what keeps the contract, and name what breaks it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.models.encoders.alexnet import AlexNet
from segkit.models.encoders.googlenet import GoogLeNet
from segkit.models.encoders.segnet_basic import SegNetBasicEncoder
from segkit.models.encoders.vgg import VGG16
from segkit.models.features import Needs
from segkit.models.smp.encoder import smp_encoder
from segkit.tensors import IGNORE
from segkit.testing import check_decoder, check_encoder, check_loss


class Plain(nn.Module):
    """Scores of two pooled maps, interpolated; `fault` names what is wrong with it."""

    minimum_size = 1

    def __init__(self, stages, num_classes, *, fault: str = ""):
        super().__init__()
        self.fault = fault
        stages_read = {"reads more": {3}, "needs more": {2, 3, 4}}.get(fault, {3, 4})
        self.needs = Needs(pooled=frozenset(stages_read))
        self.deep = nn.Conv2d(stages.channels[4], num_classes, 1)
        self.skip = nn.Conv2d(stages.channels[3], num_classes, 1)
        if fault == "unused parameter":
            self.spare = nn.Conv2d(1, 1, 1)
        if fault == "no needs":
            del self.needs
        self.factor = torch.randn(()) if fault == "hidden state" else 1.0

    def forward(self, features):
        deep, skip = self.deep(features.pooled[4]), self.skip(features.pooled[3])
        if self.fault == "no gradient":
            skip = skip.detach() + 0 * skip
        if self.fault == "batch statistics":
            deep = deep - deep.mean(0, keepdim=True)
        x = F.interpolate(deep, skip.shape[-2:], mode="bilinear") * self.factor + skip
        size = x.shape[-2:] if self.fault == "small logits" else features.image_size
        x = F.interpolate(x, size, mode="bilinear")
        x = x / 0 if self.fault == "infinite" else x
        return x.bfloat16() if self.fault == "half precision" else x.float()


def test_a_decoder_that_keeps_the_contract_passes_and_no_random_number_is_drawn():
    state = torch.get_rng_state()
    check_decoder(Plain)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no needs", "Plain has no attribute needs of type Needs"),
        ("reads more", r"Plain reads features\[4\], which its `needs` do not list"),
        ("needs more", r"lists stage 2 in needs.pooled and does not use it"),
        (
            "small logits",
            r"gives torch.float32 \[2, 5, 4, 6\] for an image .*; expected logits float32 \[2, 5, 64, 96\]",
        ),
        ("half precision", r"gives torch.bfloat16 \[2, 5, 64, 96\]"),
        ("infinite", "logits of Plain for images of 64x96: NaN or Inf"),
        ("batch statistics", "scores an image of 64x96 differently in a batch of 2 and alone"),
        ("unused parameter", "parameter spare.weight of Plain receives no gradient"),
        ("no gradient", "the gradient of parameter skip.weight of Plain is 0 everywhere"),
        ("hidden state", "a second Plain with the state dict of the first gives another output"),
    ],
)
def test_a_breach_is_named(fault, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_decoder(Plain, options={"fault": fault})


def with_positional_option(stages, num_classes, width=8):
    return Plain(stages, num_classes)


def with_untyped_option(stages, num_classes, *, width=8):
    return Plain(stages, num_classes)


def with_hidden_options(stages, num_classes, **options):
    return Plain(stages, num_classes)


@pytest.mark.parametrize(
    ("constructor", "sentence"),
    [
        (with_positional_option, r"takes \(stages, num_classes, width\) before its options"),
        (with_untyped_option, "option 'width' has no type"),
        (with_hidden_options, r"takes \*\*options"),
    ],
)
def test_options_that_a_config_cannot_set_are_named(constructor, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_decoder(constructor)


@pytest.mark.parametrize(
    ("constructor", "options"),
    [
        (VGG16, {"width": 1 / 16, "batch_norm": True}),
        (VGG16, {"width": 1 / 16, "padding": 100}),
        (AlexNet, {"width": 1 / 16}),
        (GoogLeNet, {"width": 1 / 16}),
        (SegNetBasicEncoder, {"width": 1 / 16}),
        (smp_encoder, {"encoder": "tu-test_efficientnet"}),
    ],
)
def test_our_encoders_keep_their_contract(constructor, options):
    check_encoder(constructor, options=options)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.pooled.pop(2), r"gives pooled maps of stages \[0, 1, 3, 4\] where stages \[0, 1, 2, 3, 4\] are"),
        (lambda f: f.pooled.update({2: f.pooled[2][..., 1:]}), r"gives a map .* as pooled\[2\] for images of 64x96"),
        (lambda f: f.indices.update({1: f.indices[1] + 10**6}), r"gives indices\[1\] outside of int64"),
    ],
)
def test_a_breach_of_an_encoder_is_named(change, sentence):
    def encoder(restore: bool = False):
        built = VGG16(restore, width=1 / 16)

        def hook(module, arguments, features):
            change(features)

        built.register_forward_hook(hook)
        return built

    with pytest.raises(AssertionError, match=sentence):
        check_encoder(encoder)


class Brier(nn.Module):
    """Squared error of probabilities; `fault` names what is wrong with it."""

    def __init__(self, fault="", exact=True):
        super().__init__()
        self.fault, self.exact = fault, exact

    def total(self, logits, labels):
        valid = labels != IGNORE
        target = F.one_hot(labels.where(valid, 0), logits.shape[1]).movedim(-1, 1)
        errors = (logits.float().softmax(1) - target).square().sum(1)
        errors = errors if self.fault == "ignored" else errors.where(valid, 0)
        return errors.mean() if self.fault == "mean" else errors.sum(0) if self.fault == "shape" else errors.sum()

    def normalizer(self, labels):
        valid = (labels != IGNORE).sum()
        return valid if self.fault == "empty" else valid.clamp(min=1)


def test_a_loss_that_keeps_the_contract_passes():
    check_loss(Brier())
    check_loss(Brier("mean", exact=False))


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Brier(exact=None), "Brier has no attribute exact of type bool"),
        (Brier("ignored"), "depends on logits where the label is 255"),
        (Brier("shape"), r"Brier.total has shape \[9, 11\] and normalizer \[\]"),
        (Brier("empty"), "Brier.normalizer is 0; expected it above 0"),
        (Brier("mean"), "Brier is exact, yet a batch cut into micro-batches has the value"),
    ],
)
def test_a_breach_of_a_loss_is_named(loss, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_loss(loss)
