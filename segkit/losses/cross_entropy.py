"""Weighted cross-entropy with an explicit normalizer."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.tensors import IGNORE, AuxiliaryLogits, Labels, Logits

Normalizer = Literal["valid_pixels", "weight_sum", "batch", "image_means"]


class CrossEntropy(nn.Module):
    """Sum over valid pixels of weight[label] x -log softmax(logits)[label], divided by a normalizer.

    Pixels labelled 255 count nowhere. A batch without a valid pixel has loss 0.

    Args:
        class_weights: [K] or None for 1.
        normalizer: `valid_pixels`: number of valid pixels; `weight_sum`: sum of their weights; `batch`: number of
            images;
            `image_means`: each image by its own valid pixels, then by the number of images.
    Source: `valid_pixels` is caffe-segnet's SoftmaxWithLoss; `weight_sum` is torch's CrossEntropyLoss; `batch` is
        FCN-VGG16's; `image_means` is FCN-AlexNet's, which averages the losses of 20 images (`iter_size`). The default
        is `valid_pixels`: its divisor does not depend on which classes a batch happens to hold, so each class keeps its
        weight; with median-frequency weights on CamVid it is about half of `weight_sum`. Differs: Caffe shows at most
        87.3 per pixel; the gradients are the same.
    """

    def __init__(self, class_weights: Tensor | None, *, normalizer: Normalizer = "valid_pixels"):
        super().__init__()
        self.kind = normalizer
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Weighted sum over valid pixels (`image_means`: of means), a scalar, float32; auxiliary logits count by their
        weight."""
        if isinstance(logits, AuxiliaryLogits):
            extra = torch.stack([self.total(each, labels) for each in logits.auxiliary]).sum()
            return self.total(logits.logits, labels) + logits.weight * extra
        with torch.autocast(logits.device.type, enabled=False):
            pixels = F.cross_entropy(
                logits.float(), labels, weight=self.class_weights, ignore_index=IGNORE, reduction="none"
            )
        if self.kind == "image_means":
            return (pixels.sum((1, 2)) / (labels != IGNORE).sum((1, 2)).clamp(min=1)).sum()
        return pixels.sum()

    def normalizer(self, labels: Labels) -> Tensor:
        """What `total` is divided by, a scalar > 0: the smallest positive float where no pixel is valid."""
        valid = labels != IGNORE
        if self.kind in ("batch", "image_means"):
            return torch.tensor(float(len(labels)), device=labels.device)
        if self.kind == "weight_sum" and self.class_weights is not None:
            weight = self.class_weights[labels[valid]].sum()
        else:
            weight = valid.sum().float()
        return weight.clamp(min=torch.finfo(torch.float32).tiny)

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Loss of one batch, a scalar."""
        return self.total(logits, labels) / self.normalizer(labels)
