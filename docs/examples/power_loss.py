"""A loss from outside: cross-entropy in which pixels that are right already count less.

Use it:  segkit train configs/streets/fcn8s.yaml plugins=docs/examples/power_loss.py loss.function=power
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.config.ranges import NotNegative
from segkit.tensors import IGNORE, AuxiliaryLogits, Labels, Logits


class PowerLoss(nn.Module):
    """Mean over labelled pixels of weight[label] x (1 - p[label])^power x -log p[label], where p is the softmax.

    A loss says two things: `total`, a sum over pixels, and `normalizer`, what it is divided by, which depends on the
    labels alone. So a batch can be cut into micro-batches, or shared out over processes, and the loss stays the same.

    Args:
        class_weights: [K], or None for 1.
        power: 0 is cross-entropy.
    Source: Lin, Goyal, Girshick, He and Dollar 2017 (arXiv:1708.02002), eq. 4, for softmax.
    """

    exact = True  # cutting a batch changes nothing

    def __init__(self, class_weights: Tensor | None, *, power: NotNegative = 2.0):
        super().__init__()
        self.power = power
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the weighted sum over labelled pixels, a float32 scalar."""
        if isinstance(logits, AuxiliaryLogits):  # of a decoder with auxiliary classifiers, in training
            extra = torch.stack([self.total(each, labels) for each in logits.auxiliary]).sum()
            return self.total(logits.logits, labels) + logits.weight * extra
        with torch.autocast(logits.device.type, enabled=False):
            logarithms = logits.float().log_softmax(1)
            surprise = F.nll_loss(logarithms, labels, ignore_index=IGNORE, reduction="none")
            weighted = F.nll_loss(logarithms, labels, self.class_weights, ignore_index=IGNORE, reduction="none")
        return ((1 - (-surprise).exp()).clamp(min=1e-6) ** self.power * weighted).sum()

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the number of labelled pixels, at least 1."""
        return (labels != IGNORE).sum().float().clamp(min=1)

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return self.total(logits, labels) / self.normalizer(labels)


LOSSES = {"power": PowerLoss}
