"""Contract between a loss and the training loop, and what losses share."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from segkit.tensors import IGNORE, AuxiliaryLogits, Labels, Logits

TINY = torch.finfo(torch.float32).tiny  # divisor instead of 0


@runtime_checkable
class Loss(Protocol):
    """A loss that is computed piece by piece: an nn.Module built by `(class_weights: Tensor | None, *, OPTIONS)`.

    A batch is split into micro-batches (`training.accumulation`) and over processes. Each piece gives a total and a
    normalizer; the loss of the batch is `(sum of totals / sum of normalizers).sum()`. So a loss consists of a sum over
    pixels and a divisor that depends on the labels only:

        class Brier(WeightedLoss):
            exact = True

            def total_of(self, logits, labels):
                difference = logits.softmax(1) - one_hot(labels, logits.shape[1]).float()
                return (difference.square().sum(1) * pixel_weights(labels, self.class_weights)).sum()

    Ignored pixels (255) change neither value nor gradient; where no pixel is labelled, the total is 0.

    Attributes:
        exact: True if micro-batches add up to the loss of the whole batch, as for sums over pixels or images. False if
            the loss is a mean over micro-batches, as for the overlap of classes in a whole micro-batch: its normalizer
            is 1, and the minimized value depends on `training.accumulation` and the number of processes.
    """

    exact: bool

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the sum to minimize: float32, a scalar, or [T] if the loss has T terms with a divisor each."""
        ...

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the divisor of `total`, of the same shape; positive, and tiny if no pixel is labelled."""
        ...

    def to(self, device: torch.device) -> "Loss":
        """Move the class weights to a device; nn.Module implements it."""
        ...


class WeightedLoss(nn.Module):
    """A `Loss` with class weights, and with auxiliary logits counted; a subclass states `exact` and `total_of`.

    Args:
        class_weights: [K] or None for 1.
    """

    exact: bool

    def __init__(self, class_weights: Tensor | None):
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the sum to minimize of logits in float32 (or float64), a scalar."""
        raise NotImplementedError

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the sum to minimize, a scalar, float32."""
        return with_auxiliary(lambda each: self.total_of(each, labels), logits)

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the divisor of `total`: the number of labelled pixels; tiny instead of 0."""
        return (labels != IGNORE).sum().float().clamp(min=TINY)

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return batch_loss(self, logits, labels)


def batch_loss(loss: Loss, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
    """Return the loss of one whole batch, a scalar."""
    return (loss.total(logits, labels) / loss.normalizer(labels)).sum()


def with_auxiliary(total: Callable[[Logits], Tensor], logits: Logits | AuxiliaryLogits) -> Tensor:
    """Return `total` of the logits plus the weighted one of auxiliary logits, in float32 or more, without autocast."""
    if isinstance(logits, AuxiliaryLogits):
        extra = torch.stack([with_auxiliary(total, each) for each in logits.auxiliary]).sum(0)
        return with_auxiliary(total, logits.logits) + logits.weight * extra
    with torch.autocast(logits.device.type, enabled=False):
        return total(logits.to(torch.promote_types(logits.dtype, torch.float32)))


def one_hot(labels: Labels, classes: int) -> Tensor:
    """Return bool [B, K, H, W]; all False at ignored pixels."""
    return labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]


def pixel_weights(labels: Labels, class_weights: Tensor | None) -> Tensor:
    """Return [B, H, W]: the weight of each pixel's class; 0 at ignored pixels."""
    valid = labels != IGNORE
    return valid.float() if class_weights is None else class_weights[labels.where(valid, 0)] * valid
