"""Focal loss: cross-entropy that fades at pixels that the network is already sure of."""

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.config.ranges import NotNegative
from segkit.losses.loss import TINY, WeightedLoss, pixel_weights
from segkit.tensors import IGNORE, Labels, Logits


class Focal(WeightedLoss):
    """Mean over valid pixels of weight[label] x (1 - p) ^ gamma x -log p, where p is the label's softmax probability.

    Args:
        class_weights: [K] or None for 1; the paper's alpha. They do not enter the divisor.
        gamma: 0 is cross-entropy; the larger gamma is, the less easy pixels count.
    Source: Lin et al. 2017 (arXiv:1708.02002), eq. 5, for K classes by softmax instead of 2 by sigmoid, and divided by
        valid pixels instead of boxes. smp.losses.FocalLoss differs: it takes K sigmoids, one class against the rest, of
        logits that are scored by softmax, and is NaN if no pixel is labelled.
    """

    exact = True

    def __init__(self, class_weights: Tensor | None, *, gamma: NotNegative = 2.0):
        super().__init__(class_weights)
        self.gamma = gamma

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the weighted sum over valid pixels, a scalar."""
        log_loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        doubt = -torch.expm1(-log_loss)  # 1 - p, also where p is almost 1
        focus = doubt.clamp(min=TINY) ** self.gamma  # the slope of 0 ^ gamma is infinite for gamma < 1
        return (focus * log_loss * pixel_weights(labels, self.class_weights)).sum()
