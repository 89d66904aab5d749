"""Caffe's stochastic gradient descent: its update, and its rates for biases and batch norm."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from segkit.config.ranges import NotNegative, Positive, Probability


class CaffeSGD(Optimizer):
    """v <- momentum x v + lr x (gradient + weight_decay x w); w <- w - v.

    Args:
        params: tensors or groups.
        lr: learning rate; it is part of the velocity, so a change of it takes effect over 1 / (1 - momentum) steps.
    Source: BVLC Caffe src/caffe/solvers/sgd_solver.cpp. torch's SGD multiplies the velocity by lr instead: the same
        trajectory only while lr is constant.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, weight_decay: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["velocity"] = torch.zeros_like(parameter)
                velocity = state["velocity"]
                change = parameter.grad.add(parameter, alpha=group["weight_decay"])
                velocity.mul_(group["momentum"]).add_(change, alpha=group["lr"])
                parameter.sub_(velocity)


def caffe_sgd(
    model: nn.Module,
    pretrained: frozenset[str],
    *,
    lr: Positive,
    momentum: Probability = 0.9,
    weight_decay: NotNegative = 0.0005,
    bias_lr_scale: NotNegative = 2.0,
    bias_weight_decay_scale: NotNegative = 0.0,
    biases: Literal["all", "scores"] = "all",
    shift_weight_decay_scale: NotNegative = 0.0,
    pretrained_lr_scale: NotNegative = 1.0,
) -> Optimizer:
    """Caffe's SGD with the multipliers that FCN's and SegNet's prototxts give to biases.

    The shift of batch norm is not a bias here, as in those files; for `sgd` and `adamw` it is.

    Args:
        pretrained: names of parameters that came with weights.
        bias_lr_scale: lr_mult of a convolution's bias over that of its weight.
        bias_weight_decay_scale: decay_mult of a convolution's bias.
        biases: which biases the two scales apply to: `all`, or only those of score layers (`scores`), as in
            FCN-AlexNet; the others then use 1.
        shift_weight_decay_scale: decay_mult of the shift of batch norm (SegNet 0, SegNet-Basic 1); its lr_mult is 1.
        pretrained_lr_scale: learning rate of pretrained layers over that of new ones.
    Source: the train prototxts of shelhamer/fcn.berkeleyvision.org and alexgkendall/SegNet-Tutorial.
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}  # scales of rate and decay -> parameters
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        module, _, kind = name.rpartition(".")
        rate, decay = 1.0, 1.0
        if kind == "bias" and module in norms:
            decay = shift_weight_decay_scale
        elif kind == "bias" and (biases == "all" or "score" in module.rpartition(".")[2]):
            rate, decay = bias_lr_scale, bias_weight_decay_scale
        rate *= pretrained_lr_scale if name in pretrained else 1.0
        groups.setdefault((rate, decay), []).append(parameter)
    listed = [
        {"params": parameters, "lr": lr * rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    return CaffeSGD(listed, lr=lr, momentum=momentum, weight_decay=weight_decay)
