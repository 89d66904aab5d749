"""Losses and gradients that are NaN or Inf."""

import math
from pathlib import Path
from typing import Any

from torch import nn


class NonFinite(FloatingPointError):
    """The loss or gradient of a step, counted from 1, is NaN or Inf.

    Args:
        term: the first place that shows it.
        ids: of the samples of the step.
    """

    def __init__(self, step: int, loss: float, norm: float, term: str, ids: tuple[str, ...]):
        super().__init__(step, loss, norm, term, ids)
        self.about: dict[str, Any] = {"loss": loss, "gradient_norm": norm, "term": term, "ids": list(ids)}
        self.step = step
        self.kept: Path | None = None  # file of the batch

    def __str__(self) -> str:
        about = self.about
        numbers = f"loss {about['loss']}, gradient norm {about['gradient_norm']}"
        kept = "" if self.kept is None else f", kept in {self.kept}"
        return f"step {self.step}: {about['term']} is not finite ({numbers}), samples {', '.join(about['ids'])}{kept}"


def term(model: nn.Module, loss: float) -> str:
    """Name the first that is not finite: a weight, the loss, the gradient of a weight, or the norm of all gradients."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return name  # caused by an earlier step
    if not math.isfinite(loss):
        return "the loss"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of {name}"
    return "the norm of the gradients"
