"""Caffe's update and the multipliers of the released prototxts."""

import pytest
import torch
from torch import nn

from segkit.engine.caffe_sgd import CaffeSGD, caffe_sgd

MOMENTUM, DECAY = 0.9, 0.1


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"conv1": nn.Conv2d(3, 4, 3), "conv1_bn": nn.BatchNorm2d(4), "score_fr": nn.Conv2d(4, 2, 1)})


def rules(model, optimizer):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}


def test_the_learning_rate_is_part_of_the_velocity():
    """Five steps by hand, with a rate that falls after the second: torch's SGD would fall at once, Caffe's glides."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = CaffeSGD([weight], lr=0.5, momentum=MOMENTUM, weight_decay=DECAY)
    expected, velocity = weight.detach().clone().double(), torch.zeros(2, dtype=torch.float64)
    for step in range(5):
        rate = 0.5 if step < 2 else 0.05
        optimizer.param_groups[0]["lr"] = rate
        gradient = torch.tensor([0.3, -0.1]) * (step + 1)
        weight.grad = gradient
        optimizer.step()
        velocity = MOMENTUM * velocity + rate * (gradient.double() + DECAY * expected)
        expected = expected - velocity
        torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-6, atol=1e-6)


def test_at_a_constant_rate_it_is_torchs_sgd():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        CaffeSGD(ours.parameters(), lr=0.1, momentum=MOMENTUM, weight_decay=DECAY),
        torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=MOMENTUM, weight_decay=DECAY),
    ]
    for _ in range(10):
        x = torch.randn(4, 5)
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_biases_learn_twice_as_fast_without_decay_and_shifts_like_weights_without_decay(model):
    weight, bias = (1.0, DECAY), (2.0, 0.0)
    assert rules(model, caffe_sgd(model, frozenset(), lr=1.0, weight_decay=DECAY)) == {
        "conv1.weight": weight, "conv1.bias": bias, "conv1_bn.weight": weight, "conv1_bn.bias": (1.0, 0.0),
        "score_fr.weight": weight, "score_fr.bias": bias,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"biases": "scores"}, {"conv1.bias": (1.0, DECAY), "score_fr.bias": (2.0, 0.0)}),  # FCN-AlexNet
        ({"shift_weight_decay_scale": 1.0}, {"conv1_bn.bias": (1.0, DECAY)}),  # SegNet-Basic
        (
            {"pretrained_lr_scale": 0.1},
            {"conv1.weight": (0.1, DECAY), "conv1.bias": (0.2, 0.0), "score_fr.bias": (2, 0)},
        ),
    ],
    ids=["scores", "shifts", "pretrained"],
)
def test_scales_apply_to_the_parameters_that_they_name(model, options, expected):
    pretrained = frozenset({"conv1.weight", "conv1.bias"})
    found = rules(model, caffe_sgd(model, pretrained, lr=1.0, weight_decay=DECAY, **options))
    assert expected.items() <= found.items()
