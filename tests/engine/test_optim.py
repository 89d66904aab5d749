"""Parameter groups with the rates of the papers, and schedules with the values that their formulas give."""

import math

import pytest
import torch
from torch import nn

from segkit.build import SCHEDULES
from segkit.engine.optim import adamw, gradient_norm, learning_rate, sgd

LR = 0.1
STEPS = 100
close = pytest.approx


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


@pytest.fixture
def optimizer(model):
    return sgd(model, frozenset(), lr=LR)


PRETRAINED = frozenset({"0.weight", "0.bias"})
SCALES = {"bias_lr_scale": 2, "bias_weight_decay_scale": 0, "pretrained_lr_scale": 0.1}


# --- groups ---


@pytest.mark.parametrize("build", [sgd, adamw])
def test_biases_learn_twice_as_fast_without_decay_and_pretrained_layers_at_their_own_rate(model, build):
    model[0].weight.requires_grad_(False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build(model, PRETRAINED, lr=LR, weight_decay=0.01, **SCALES).param_groups
    found = [(names[p], group["lr"], group["weight_decay"]) for group in groups for p in group["params"]]
    weight, bias = (close(0.1), 0.01), (close(0.2), 0)
    assert sorted(found) == [
        ("0.bias", close(0.02), 0), ("1.bias", *bias), ("1.weight", *weight), ("2.bias", *bias), ("2.weight", *weight),
    ]  # fmt: skip


@pytest.mark.parametrize("build", [sgd, adamw])
def test_all_parameters_are_treated_alike_unless_told_otherwise(model, build):
    assert len({(group["lr"], group["weight_decay"]) for group in build(model, PRETRAINED, lr=LR).param_groups}) == 1


def test_options_reach_the_optimizer(model):
    assert sgd(model, frozenset(), lr=LR, momentum=0.99, nesterov=True).defaults["momentum"] == 0.99
    assert sgd(model, frozenset(), lr=LR, nesterov=True).param_groups[0]["nesterov"] is True
    assert adamw(model, frozenset(), lr=LR, betas=[0.8, 0.9]).param_groups[0]["betas"] == (0.8, 0.9)


def test_the_gradient_norm_is_that_of_all_gradients_together(model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert float(gradient_norm(model)) == close(math.sqrt(sum(p.numel() for p in model.parameters())))


# --- schedules ---


class Scheduled:
    """A schedule of STEPS steps in epochs of 10, and its optimizer."""

    def __init__(self, name, optimizer, **options):
        options = {"every_epochs": 3, **options} if name == "step" else options
        self.optimizer, self.schedule = optimizer, SCHEDULES[name](optimizer, STEPS, 10, **options)

    def steps(self, count=STEPS):
        """Learning rate of each step, and after the last."""
        found = [learning_rate(self.optimizer)]
        for _ in range(count):
            self.optimizer.step()
            self.schedule.after_step()
            found.append(learning_rate(self.optimizer))
        return found

    def validations(self, scores):
        """Learning rate after each validation."""
        found = []
        for score in scores:
            self.schedule.after_validation(score)
            found.append(learning_rate(self.optimizer))
        return found


def test_constant_stays(optimizer):
    assert set(Scheduled("constant", optimizer).steps()) == {LR}


def test_step_falls_every_so_many_epochs(optimizer):
    values = Scheduled("step", optimizer, factor=0.5).steps()
    assert values == [close(LR * 0.5 ** (i // 30)) for i in range(STEPS + 1)]


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_poly_falls_to_0_by_its_formula(optimizer, power):
    values = Scheduled("poly", optimizer, power=power).steps()
    assert values == [close(LR * (1 - i / STEPS) ** power, abs=1e-12) for i in range(STEPS + 1)]
    assert (values[0], values[-1]) == (LR, 0)


def test_one_cycle_rises_to_the_rate_and_falls_to_almost_nothing(optimizer):
    values = Scheduled("one_cycle", optimizer, pct_start=0.3, div_factor=25, final_div_factor=100).steps()
    top = values.index(max(values))
    assert top in (29, 30)
    assert [values[i] for i in (0, top, -1)] == [close(LR / 25), close(LR, rel=1e-3), close(LR / 25 / 100)]
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    middle = top + (STEPS - top) / 2  # half-way down a cosine
    assert (values[math.floor(middle)] + values[math.ceil(middle)]) / 2 == close(LR / 2, rel=0.03)


def test_one_cycle_moves_momentum_the_other_way_round(optimizer):
    one_cycle, momenta = Scheduled("one_cycle", optimizer), [optimizer.param_groups[0]["momentum"]]
    for _ in range(STEPS):
        one_cycle.steps(1)
        momenta.append(optimizer.param_groups[0]["momentum"])
    assert (momenta[0], min(momenta), momenta[-1]) == (close(0.95), close(0.85, abs=1e-3), close(0.95))


def test_plateau_divides_by_10_when_patience_is_over(optimizer):
    plateau = Scheduled("plateau", optimizer, patience=2)
    assert plateau.steps() == [LR] * (STEPS + 1)  # steps do not matter
    assert plateau.validations([0.5, 0.5, 0.4, 0.5, 0.5, 0.5]) == [close(LR)] * 3 + [close(LR / 10)] * 3


@pytest.mark.parametrize(("rise", "last"), [(0.01, LR), (0.001, LR / 10)])
def test_plateau_waits_while_the_score_rises_by_more_than_the_threshold(optimizer, rise, last):
    plateau = Scheduled("plateau", optimizer, patience=1, threshold=0.005)
    assert plateau.validations([0.1 + rise * i for i in range(4)])[-1] == close(last)


@pytest.mark.parametrize("name", ["constant", "step", "poly", "one_cycle"])
def test_validation_does_not_move_other_schedules(optimizer, name):
    assert len(set(Scheduled(name, optimizer).validations([0.5] * 20))) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_groups_keep_their_order_and_their_ratio_under_every_schedule(model, name):
    optimizer = sgd(model, PRETRAINED, lr=LR, **SCALES)
    scheduled = Scheduled(name, optimizer)
    scheduled.steps(40)
    scheduled.validations([0.5] * 9)
    values = [group["lr"] for group in optimizer.param_groups]
    assert [value / values[0] for value in values] == [1, close(2), close(0.1), close(0.2)]
