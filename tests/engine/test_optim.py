"""Parameter groups with the rates of the papers, and schedules with the values that their formulas give."""

import math

import pytest
import torch
from torch import nn

from segkit.build import SCHEDULES
from segkit.engine.optim import (
    adamw,
    constant,
    gradient_norm,
    learning_rate,
    one_cycle,
    parameter_groups,
    plateau,
    poly,
    sgd,
    step,
)

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


def by_name(model, groups):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: group for group in groups for p in group["params"]}


def rates(schedule, optimizer, count=STEPS):
    """Learning rate of each step, and after the last."""
    result = [learning_rate(optimizer)]
    for _ in range(count):
        optimizer.step()
        schedule.after_step()
        result.append(learning_rate(optimizer))
    return result


# --- groups ---


def test_every_trainable_parameter_is_in_exactly_one_group(model):
    model[2].bias.requires_grad_(False)
    groups = parameter_groups(model, PRETRAINED, lr=LR, weight_decay=0.01, **SCALES)
    listed = [id(p) for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("build", [sgd, adamw])
def test_biases_learn_twice_as_fast_without_decay_and_pretrained_layers_at_their_own_rate(model, build):
    groups = by_name(model, build(model, PRETRAINED, lr=LR, weight_decay=0.01, **SCALES).param_groups)
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "0.weight": (close(0.01), 0.01),
        "0.bias": (close(0.02), 0),
        "1.weight": (close(0.1), 0.01),
        "1.bias": (close(0.2), 0),
        "2.weight": (close(0.1), 0.01),
        "2.bias": (close(0.2), 0),
    }


@pytest.mark.parametrize("build", [sgd, adamw])
def test_all_parameters_are_treated_alike_unless_told_otherwise(model, build):
    groups = build(model, PRETRAINED, lr=LR).param_groups
    assert {group["lr"] for group in groups} == {LR}
    assert len({group["weight_decay"] for group in groups}) == 1


def test_groups_come_in_a_fixed_order_as_checkpoints_store_them_by_number(model):
    groups = parameter_groups(model, PRETRAINED, lr=1, weight_decay=0, **SCALES)
    assert [group["lr"] for group in groups] == [1, 2, close(0.1), close(0.2)]


def test_options_reach_the_optimizer(model):
    assert sgd(model, frozenset(), lr=LR, momentum=0.99, nesterov=True).defaults["momentum"] == 0.99
    assert sgd(model, frozenset(), lr=LR, nesterov=True).param_groups[0]["nesterov"] is True
    assert adamw(model, frozenset(), lr=LR, betas=[0.8, 0.9]).param_groups[0]["betas"] == (0.8, 0.9)


def test_one_step_is_caffes_update(model):
    optimizer = sgd(
        model, frozenset(), lr=LR, momentum=0.9, weight_decay=0.5, bias_lr_scale=2, bias_weight_decay_scale=0
    )
    weight, bias = (p.detach().clone() for p in (model[2].weight, model[2].bias))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model[2].weight.detach(), weight - LR * (1 + 0.5 * weight))
    torch.testing.assert_close(model[2].bias.detach(), bias - 2 * LR)


def test_the_gradient_norm_is_that_of_all_gradients_together(model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert float(gradient_norm(model)) == close(math.sqrt(sum(p.numel() for p in model.parameters())))


# --- schedules ---


def test_constant_stays(optimizer):
    assert set(rates(constant(optimizer, STEPS, 10), optimizer)) == {LR}


def test_step_falls_every_so_many_epochs(optimizer):
    values = rates(step(optimizer, STEPS, 10, every_epochs=3, factor=0.5), optimizer)
    assert values == [close(LR * 0.5 ** (i // 30)) for i in range(STEPS + 1)]
    assert [values[i] for i in (0, 29, 30, 59, 60, 100)] == [close(LR * f) for f in (1, 1, 0.5, 0.5, 0.25, 0.125)]


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_poly_falls_to_0_by_its_formula(optimizer, power):
    values = rates(poly(optimizer, STEPS, 10, power=power), optimizer)
    assert values == [close(LR * (1 - i / STEPS) ** power, abs=1e-12) for i in range(STEPS + 1)]
    assert values[0] == LR
    assert values[50] == close(LR * 0.5**power)
    assert values[-1] == 0


def test_one_cycle_rises_to_the_rate_and_falls_to_almost_nothing(optimizer):
    values = rates(one_cycle(optimizer, STEPS, 10, pct_start=0.3, div_factor=25, final_div_factor=100), optimizer)
    top = values.index(max(values))
    assert values[0] == close(LR / 25)
    assert values[top] == close(LR, rel=1e-3)
    assert top in (29, 30)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[-1] == close(LR / 25 / 100)
    middle = top + (STEPS - top) / 2  # half-way down a cosine
    assert (values[math.floor(middle)] + values[math.ceil(middle)]) / 2 == close(LR / 2, rel=0.03)


def test_one_cycle_moves_momentum_the_other_way_round(optimizer):
    schedule, momenta = one_cycle(optimizer, STEPS, 10), []
    for _ in range(STEPS):
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.after_step()
    assert momenta[0] == close(0.95)
    assert min(momenta) == close(0.85, abs=1e-3)
    assert optimizer.param_groups[0]["momentum"] == close(0.95)


def validated(schedule, optimizer, values):
    result = []
    for value in values:
        schedule.after_validation(value)
        result.append(learning_rate(optimizer))
    return result


def test_plateau_divides_by_10_when_patience_is_over(optimizer):
    schedule = plateau(optimizer, STEPS, 10, patience=2)
    assert rates(schedule, optimizer) == [LR] * (STEPS + 1)  # steps do not matter
    assert validated(schedule, optimizer, [0.5, 0.5, 0.4]) == [close(LR)] * 3
    assert validated(schedule, optimizer, [0.5, 0.5, 0.5]) == [close(v) for v in (LR / 10, LR / 10, LR / 10)]


def test_plateau_waits_while_the_score_rises_by_more_than_the_threshold(optimizer):
    rising = [0.1 + 0.01 * i for i in range(10)]
    assert validated(plateau(optimizer, STEPS, 10, patience=1, threshold=0.005), optimizer, rising) == [LR] * 10
    creeping = [0.1 + 0.001 * i for i in range(4)]
    assert validated(plateau(optimizer, STEPS, 10, patience=1, threshold=0.005), optimizer, creeping)[-1] == close(
        LR / 10
    )


@pytest.mark.parametrize("build", [constant, step, poly, one_cycle])
def test_validation_does_not_move_other_schedules(optimizer, build):
    schedule = build(optimizer, STEPS, 10, **({"every_epochs": 1} if build is step else {}))
    before = learning_rate(optimizer)
    assert validated(schedule, optimizer, [0.5] * 20) == [before] * 20


def test_groups_keep_their_ratio_under_every_schedule(model):
    for name, build in SCHEDULES.items():
        optimizer = sgd(model, PRETRAINED, lr=LR, **SCALES)
        schedule = build(optimizer, STEPS, 10, **({"every_epochs": 3} if name == "step" else {}))
        rates(schedule, optimizer, 40)
        validated(schedule, optimizer, [0.5] * 9)
        values = [group["lr"] for group in optimizer.param_groups]
        assert [v / values[0] for v in values] == [1, close(2), close(0.1), close(0.2)], name


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_where_its_state_was_taken(name, tmp_path):
    def make():
        optimizer = sgd(nn.Linear(2, 1), frozenset(), lr=LR)
        return optimizer, SCHEDULES[name](optimizer, STEPS, 10, **({"every_epochs": 3} if name == "step" else {}))

    def run(optimizer, schedule, steps):
        values = []
        for i in steps:
            values.append((learning_rate(optimizer), optimizer.param_groups[0]["momentum"]))
            optimizer.step()
            schedule.after_step()
            if i % 10 == 9:
                schedule.after_validation(0.5)
        return values

    whole = run(*make(), range(STEPS))
    optimizer, schedule = make()
    head = run(optimizer, schedule, range(45))
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    optimizer, schedule = make()
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    assert head + run(optimizer, schedule, range(45, STEPS)) == whole
