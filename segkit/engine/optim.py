"""Optimizers and learning-rate schedules: torch's own, with Caffe's rules for biases and a rate of its own for
pretrained layers."""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)

from segkit.config.ranges import Count, NotNegative, Positive, Probability, Share
from segkit.errors import InputError


def parameter_groups(
    model: nn.Module,
    pretrained: frozenset[str],
    *,
    lr: float,
    weight_decay: float,
    bias_lr_scale: float,
    bias_weight_decay_scale: float,
    pretrained_lr_scale: float,
) -> list[dict[str, Any]]:
    """Up to four groups (pretrained or not, bias or not), in a fixed order; every trainable parameter is in exactly
    one.

    Args:
        pretrained: names of parameters that came with weights.
        bias_lr_scale: Caffe's lr_mult of biases over that of weights (FCN, SegNet: 2).
        bias_weight_decay_scale: Caffe's decay_mult of biases (FCN, SegNet: 0).
        pretrained_lr_scale: learning rate of pretrained layers over that of new ones.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in pretrained, name.endswith(".bias")), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * (pretrained_lr_scale if is_pretrained else 1) * (bias_lr_scale if is_bias else 1),
            "weight_decay": weight_decay * (bias_weight_decay_scale if is_bias else 1),
        }
        for (is_pretrained, is_bias), parameters in sorted(groups.items())
    ]


def sgd(
    model: nn.Module,
    pretrained: frozenset[str],
    *,
    lr: Positive,
    momentum: Probability = 0.9,
    nesterov: bool = False,
    weight_decay: NotNegative = 0.0005,
    bias_lr_scale: NotNegative = 1.0,
    bias_weight_decay_scale: NotNegative = 1.0,
    pretrained_lr_scale: NotNegative = 1.0,
) -> Optimizer:
    """Stochastic gradient descent with momentum.

    Raises:
        InputError: for `nesterov` without momentum.

    Source: torch.optim.SGD; Caffe's update has the learning rate inside the velocity: the same trajectory while the
        rate is constant.
    """
    groups = parameter_groups(
        model,
        pretrained,
        lr=lr,
        weight_decay=weight_decay,
        bias_lr_scale=bias_lr_scale,
        bias_weight_decay_scale=bias_weight_decay_scale,
        pretrained_lr_scale=pretrained_lr_scale,
    )
    if nesterov and not momentum:
        raise InputError(
            "optimizer.nesterov = true needs momentum, which is 0. Set optimizer.momentum=0.9, or nesterov to false."
        )
    return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=True)


def adamw(
    model: nn.Module,
    pretrained: frozenset[str],
    *,
    lr: Positive,
    betas: tuple[Probability, Probability] = (0.9, 0.999),
    weight_decay: NotNegative = 0.01,
    bias_lr_scale: NotNegative = 1.0,
    bias_weight_decay_scale: NotNegative = 1.0,
    pretrained_lr_scale: NotNegative = 1.0,
) -> Optimizer:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter 2017 (arXiv:1711.05101), as torch.optim.AdamW has it.
    """
    groups = parameter_groups(
        model,
        pretrained,
        lr=lr,
        weight_decay=weight_decay,
        bias_lr_scale=bias_lr_scale,
        bias_weight_decay_scale=bias_weight_decay_scale,
        pretrained_lr_scale=pretrained_lr_scale,
    )
    return AdamW(groups, lr=lr, betas=betas, fused=True)


class Schedule(Protocol):
    """What the training loop asks of a schedule."""

    def after_step(self) -> None: ...

    def after_validation(self, mean_iou: float) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class PerStep:
    """A schedule that is a function of the step."""

    scheduler: LRScheduler

    def after_step(self) -> None:
        """Moves on by one step."""
        with warnings.catch_warnings(action="ignore"):  # torch comments on a first step that was left out
            self.scheduler.step()

    def after_validation(self, mean_iou: float) -> None:
        """Nothing: validation does not matter here."""

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.scheduler.load_state_dict(state)


@dataclass
class PerValidation(PerStep):
    """A schedule that follows the validation score."""

    scheduler: ReduceLROnPlateau

    def after_step(self) -> None:
        """Nothing: only validation matters here."""

    def after_validation(self, mean_iou: float) -> None:
        """Looks at the new score."""
        self.scheduler.step(mean_iou)


def constant(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> Schedule:
    """The learning rate stays."""
    return PerStep(LambdaLR(optimizer, lambda step: 1.0))


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, every_epochs: Count, factor: Positive = 0.1
) -> Schedule:
    """The learning rate is multiplied by `factor` every `every_epochs` epochs."""
    return PerStep(StepLR(optimizer, every_epochs * steps_per_epoch, factor))


def poly(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, power: Positive = 0.9) -> Schedule:
    """lr x (1 - step / total_steps) ^ power.

    Source: DeepLab (Chen et al. 2016, arXiv:1606.00915), power 0.9.
    """
    return PerStep(PolynomialLR(optimizer, total_steps, power))


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    rise: Share = 0.3,
    start_divisor: Positive = 25.0,
    end_divisor: Positive = 10000.0,
) -> Schedule:
    """From lr / start_divisor up to lr in the first `rise` of all steps, then down to lr / (start_divisor x
    end_divisor), by cosines.

    Momentum (or Adam's first beta) moves between 0.95 and 0.85 the other way round.

    Source: Smith and Topin 2017 (arXiv:1708.07120), as torch's OneCycleLR has it.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    if rise * (total_steps + 1) == 1:
        rise *= 1 + 1e-6  # torch would divide by zero
    return PerStep(
        OneCycleLR(
            optimizer,
            peaks,
            total_steps=total_steps + 1,
            pct_start=rise,
            div_factor=start_divisor,
            final_div_factor=end_divisor,
        )
    )


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    factor: Positive = 0.1,
    patience: Count = 5,
    threshold: NotNegative = 0.001,
) -> Schedule:
    """Times `factor` when more than `patience` validations in a row did not raise the best mean IoU by `threshold`."""
    return PerValidation(
        ReduceLROnPlateau(
            optimizer, mode="max", factor=factor, patience=patience, threshold=threshold, threshold_mode="abs"
        )
    )


def learning_rate(optimizer: Optimizer) -> float:
    """The highest learning rate of all groups."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def gradient_norm(model: nn.Module) -> torch.Tensor:
    """L2 norm over all gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
