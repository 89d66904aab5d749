"""Torch's optimizers, with separate rates for biases and pretrained layers, and learning-rate schedules."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, PolynomialLR, ReduceLROnPlateau, StepLR

from segkit.config.ranges import Count, NotNegative, Positive, Probability, Share
from segkit.errors import InputError


def parameter_groups(
    model: nn.Module,
    pretrained: frozenset[str],
    lr: float,
    weight_decay: float,
    bias_lr_scale: float,
    bias_weight_decay_scale: float,
    pretrained_lr_scale: float,
) -> list[dict[str, Any]]:
    """Return up to four groups (pretrained or not, bias or not), in the fixed order in which checkpoints store them.

    The shift of batch norm is a bias here, but not for `caffe_sgd`.

    Args:
        pretrained: names of parameters that came with weights.
        bias_lr_scale, bias_weight_decay_scale: of biases over that of weights.
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
    """Stochastic gradient descent with momentum. Every parameter named `bias` is a bias, batch norm's shift too.

    Source: torch.optim.SGD; Caffe's update has the learning rate inside the velocity: the same trajectory while the
        rate is constant.
    """
    groups = parameter_groups(
        model, pretrained, lr, weight_decay, bias_lr_scale, bias_weight_decay_scale, pretrained_lr_scale
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
    """Adam with decoupled weight decay. Every parameter named `bias` is a bias, batch norm's shift too.

    Source: Loshchilov and Hutter 2017 (arXiv:1711.05101), as torch.optim.AdamW has it.
    """
    groups = parameter_groups(
        model, pretrained, lr, weight_decay, bias_lr_scale, bias_weight_decay_scale, pretrained_lr_scale
    )
    return AdamW(groups, lr=lr, betas=betas, fused=True)


@dataclass(frozen=True)
class Schedule:
    """A scheduler of torch, stepped by the training loop after each step or (plateau) after each validation."""

    scheduler: LRScheduler

    def after_step(self) -> None:
        """Advance by one step, unless the schedule depends on validation."""
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            with warnings.catch_warnings(action="ignore"):  # torch warns if the first optimizer step was skipped
                self.scheduler.step()

    def after_validation(self, mean_iou: float) -> None:
        """Advance by the new score, if the schedule depends on validation."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(mean_iou)


def constant(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Keep the learning rate."""
    return Schedule(LambdaLR(optimizer, lambda step: 1.0))


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, every_epochs: Count, factor: Positive = 0.1
) -> Schedule:
    """Multiply the learning rate by `factor` every `every_epochs` epochs."""
    return Schedule(StepLR(optimizer, every_epochs * steps_per_epoch, factor))


def poly(optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, power: Positive = 0.9) -> Schedule:
    """Lower the learning rate to 0 as lr x (1 - step / total_steps) ^ power.

    Source: DeepLab (Chen et al. 2016, arXiv:1606.00915), power 0.9.
    """
    return Schedule(PolynomialLR(optimizer, total_steps, power))


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    pct_start: Share = 0.3,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 10000.0,
) -> Schedule:
    """Raise the learning rate from lr / div_factor to lr, then lower it to lr / (div_factor x final_div_factor).

    Both by cosines. Momentum (or Adam's first beta) moves between 0.95 and 0.85 the other way round.

    Args:
        pct_start: share of the steps, 0 to 1, in which it rises.
    Source: Smith and Topin 2017 (arXiv:1708.07120), as torch's OneCycleLR has it.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    if pct_start * (total_steps + 1) == 1:
        pct_start *= 1 + 1e-6  # torch would divide by zero
    scheduler = OneCycleLR(
        optimizer, peaks, total_steps + 1, pct_start=pct_start, div_factor=div_factor, final_div_factor=final_div_factor
    )
    return Schedule(scheduler)


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    *,
    factor: Positive = 0.1,
    patience: Count = 5,
    threshold: NotNegative = 0.001,
) -> Schedule:
    """Multiply the learning rate by `factor` when the best mean IoU stops rising.

    Args:
        patience: consecutive validations that may fail to raise it.
        threshold: smallest rise that counts, with mean IoU from 0 to 1.
    """
    scheduler = ReduceLROnPlateau(optimizer, "max", factor, patience, threshold, threshold_mode="abs")
    return Schedule(scheduler)


def learning_rate(optimizer: Optimizer) -> float:
    """Return the highest learning rate of all groups."""
    return max(float(group["lr"]) for group in optimizer.param_groups)


def gradient_norm(model: nn.Module) -> torch.Tensor:
    """Return the L2 norm over all gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
