"""Weighted cross-entropy with an explicit normalizer."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.losses.loss import TINY, WeightedLoss
from segkit.tensors import IGNORE, Labels, Logits

Normalizer = Literal["valid_pixels", "weight_sum", "batch", "image_means"]


class CrossEntropy(WeightedLoss):
    """Sum over valid pixels of weight[label] x -log softmax(logits)[label], divided by a normalizer.

    Args:
        class_weights: [K] or None for 1.
        normalizer: `valid_pixels`: number of valid pixels; `weight_sum`: sum of their weights; `batch`: number of
            images; `image_means`: each image's number of valid pixels, then the number of images.
    Source: `valid_pixels` is caffe-segnet's SoftmaxWithLoss; `weight_sum` is torch's CrossEntropyLoss; `batch` is
        FCN-VGG16's; `image_means` is FCN-AlexNet's, which averages the losses of 20 images (`iter_size`). The default
        is `valid_pixels`: its divisor does not depend on which classes a batch happens to hold, so each class keeps its
        weight; with median-frequency weights on CamVid it is about half of `weight_sum`. Differs: Caffe clips the loss
        at 87.3 per pixel; the gradients are the same.
    """

    exact = True

    def __init__(self, class_weights: Tensor | None, *, normalizer: Normalizer = "valid_pixels"):
        super().__init__(class_weights)
        self.kind = normalizer

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the weighted sum over valid pixels (`image_means`: over image means), a scalar."""
        pixels = F.cross_entropy(logits, labels, weight=self.class_weights, ignore_index=IGNORE, reduction="none")
        if self.kind == "image_means":
            return (pixels.sum((1, 2)) / (labels != IGNORE).sum((1, 2)).clamp(min=1)).sum()
        return pixels.sum()

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the divisor of `total`, a scalar > 0."""
        if self.kind in ("batch", "image_means"):
            return torch.tensor(float(len(labels)), device=labels.device)
        if self.kind == "weight_sum" and self.class_weights is not None:
            return self.class_weights[labels[labels != IGNORE]].sum().clamp(min=TINY)
        return super().normalizer(labels)
