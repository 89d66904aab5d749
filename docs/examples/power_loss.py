"""A loss from outside: cross-entropy in which pixels that are right already count less.

Use it:  segkit train configs/streets/fcn8s.yaml plugins=docs/examples/power_loss.py loss.function=power
"""

from torch import Tensor
from torch.nn import functional as F

from segkit.config.ranges import NotNegative
from segkit.losses.loss import WeightedLoss
from segkit.tensors import IGNORE, Labels, Logits


class PowerLoss(WeightedLoss):
    """Mean over labelled pixels of weight[label] x (1 - p[label])^power x -log p[label], where p is the softmax.

    Args:
        class_weights: [K], or None for 1.
        power: 0 is cross-entropy.
    Source: Lin, Goyal, Girshick, He and Dollar 2017 (arXiv:1708.02002), eq. 4, for softmax.
    """

    exact = True  # a sum over pixels: cutting a batch changes nothing

    def __init__(self, class_weights: Tensor | None, *, power: NotNegative = 2.0):
        super().__init__(class_weights)
        self.power = power

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the weighted sum over labelled pixels, a scalar; `WeightedLoss` divides it by their number."""
        logarithms = logits.log_softmax(1)
        surprise = F.nll_loss(logarithms, labels, ignore_index=IGNORE, reduction="none")
        weighted = F.nll_loss(logarithms, labels, self.class_weights, ignore_index=IGNORE, reduction="none")
        return ((1 - (-surprise).exp()).clamp(min=1e-6) ** self.power * weighted).sum()


LOSSES = {"power": PowerLoss}
