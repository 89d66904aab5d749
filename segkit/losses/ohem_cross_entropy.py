"""Cross-entropy of the hardest pixels (online hard example mining, or bootstrapping)."""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor
from torch.nn import functional as F

from segkit.losses.loss import TINY, WeightedLoss
from segkit.tensors import IGNORE, Labels, Logits


class OhemCrossEntropy(WeightedLoss):
    """Mean of weight[label] x -log softmax(logits)[label] over the pixels of each image where it is largest.

    Args:
        class_weights: [K] or None for 1. They also decide which pixels are hardest, but do not enter the divisor.
        fraction: share of each image's valid pixels that counts, rounded, at least one pixel; 1 is cross-entropy.
    Source: the K hardest pixels of Wu, Shen and van den Hengel 2016 (arXiv:1604.04339), where K is a share of each
        image, as in DeeperLab (Yang et al. 2019, arXiv:1902.05093: 0.15); the idea is from Shrivastava, Gupta and
        Girshick 2016 (arXiv:1604.03540). The variant that keeps all pixels with p < 0.7, and at least some number, is
        not offered: how many it keeps depends on the logits, so micro-batches could not reproduce the whole batch.
    """

    exact = True

    def __init__(self, class_weights: Tensor | None, *, fraction: Annotated[float, Gt(0), Le(1)] = 0.15):
        super().__init__(class_weights)
        self.fraction = fraction

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the weighted sum over the hardest pixels, a scalar."""
        pixels = F.cross_entropy(logits, labels, weight=self.class_weights, ignore_index=IGNORE, reduction="none")
        hardest_first = pixels.flatten(1).sort(dim=1, descending=True).values  # ignored pixels have 0 and come last
        counts = torch.arange(hardest_first.shape[1], device=labels.device) < self.kept(labels)[:, None]
        return hardest_first.where(counts, 0).sum()

    def kept(self, labels: Labels) -> Tensor:
        """Return [B]: the number of pixels of each image that count."""
        valid = (labels != IGNORE).sum((1, 2))
        return (self.fraction * valid).round().clamp(min=1).minimum(valid)

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the number of pixels that count."""
        return self.kept(labels).sum().float().clamp(min=TINY)
