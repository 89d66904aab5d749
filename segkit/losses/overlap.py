"""Losses of the overlap between a predicted and a labelled class: soft Dice and Lovász-softmax."""

import torch
from torch import Tensor, nn

from segkit.losses.loss import TINY, batch_loss, one_hot, with_auxiliary
from segkit.tensors import IGNORE, AuxiliaryLogits, Labels, Logits


class Dice(nn.Module):
    """1 - 2 sum(p g) / (sum(p) + sum(g)) of each labelled class, where p is its probability and g is 1 at its pixels.

    This is averaged over the classes that occur in the labels of a micro-batch (or image), then over the micro-batches
    (or images) that hold a labelled pixel.

    Args:
        class_weights: [K] or None for 1, for a weighted mean over classes.
        squared: use sum(p^2) instead of sum(p), as in the paper; most toolkits leave the squares out.
        per_image: compute the loss of each image separately, which makes it independent of `accumulation`.
    Source: Milletari, Navab and Ahmadi 2016 (arXiv:1606.04797), eq. 3, for K classes by softmax. smp.losses.DiceLoss
        differs: it counts absent classes as 0 and divides by K, so that its scale depends on what a batch holds.
    """

    def __init__(self, class_weights: Tensor | None, *, squared: bool = False, per_image: bool = False):
        super().__init__()
        self.squared, self.per_image = squared, per_image
        self.exact = per_image
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of the micro-batch, or the sum over images, a scalar, float32."""

        def of_classes(logits: Logits) -> Tensor:
            p, truth = masked_probabilities(logits, labels, per_image=self.per_image)
            sizes = (p.square() if self.squared else p).sum(2) + truth.sum(2)
            losses = 1 - 2 * (p * truth).sum(2) / sizes.clamp(min=1)  # below 1 only for absent classes
            return mean_over_present(losses, truth, self.class_weights).sum()

        return with_auxiliary(of_classes, logits)

    def normalizer(self, labels: Labels) -> Tensor:
        """Return 1, or the number of images; those without a labelled pixel do not count."""
        return count_compared(labels, per_image=self.per_image)

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return batch_loss(self, logits, labels)


class Lovasz(nn.Module):
    """Lovász extension of 1 - IoU of each labelled class, at the errors |g - p| of its probability p.

    This is averaged over the classes that occur in the labels of a micro-batch (or image), then over the micro-batches
    (or images) that hold a labelled pixel.

    Args:
        class_weights: [K] or None for 1, for a weighted mean over classes.
        per_image: compute the loss of each image separately, which makes it independent of `accumulation`.
    Source: Berman, Triki and Blaschko 2018 (arXiv:1705.08790), eq. 9 and algorithm 1. Differs from their code, which is
        smp.losses.LovaszLoss: there are class weights; each step of 1 - IoU is computed directly instead of as a
        difference of two almost equal numbers; float64 is possible; a batch without a labelled pixel has loss 0.
    """

    def __init__(self, class_weights: Tensor | None, *, per_image: bool = False):
        super().__init__()
        self.per_image = per_image
        self.exact = per_image
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of the micro-batch, or the sum over images, a scalar, float32."""

        def of_classes(logits: Logits) -> Tensor:
            p, truth = masked_probabilities(logits, labels, per_image=self.per_image)
            errors, order = (truth.to(p.dtype) - p).abs().sort(dim=2, descending=True)
            is_class = truth.gather(2, order)
            size = is_class.sum(2, keepdim=True)
            intersection, union = size - is_class.cumsum(2), size + (~is_class).cumsum(2)
            # One pixel more is wrong: IoU falls from (I + 1) / U to I / U if it is of the class, else from I / (U - 1).
            numerator = torch.where(is_class, 1, intersection).to(p.dtype)
            steps = numerator / torch.where(is_class, union, union * (union - 1)).clamp(min=1)
            return mean_over_present((errors * steps).sum(2), truth, self.class_weights).sum()

        return with_auxiliary(of_classes, logits)

    def normalizer(self, labels: Labels) -> Tensor:
        """Return 1, or the number of images; those without a labelled pixel do not count."""
        return count_compared(labels, per_image=self.per_image)

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return batch_loss(self, logits, labels)


def masked_probabilities(logits: Logits, labels: Labels, *, per_image: bool) -> tuple[Tensor, Tensor]:
    """Return probabilities and a mask of each class's pixels, both [N, K, P]; 0 and False at ignored pixels.

    There are N images of P pixels each; N is 1 if the pixels of all images are taken together.
    """
    probabilities = logits.softmax(1) * (labels != IGNORE)[:, None]
    both = (probabilities.flatten(2), one_hot(labels, logits.shape[1]).flatten(2))
    return both if per_image else (both[0].movedim(0, 1).flatten(1)[None], both[1].movedim(0, 1).flatten(1)[None])


def mean_over_present(losses: Tensor, truth: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return [N]: the weighted mean of [N, K] over classes that have a pixel in `truth` [N, K, P]; 0 without any."""
    weights = truth.any(2).to(losses.dtype) * (1 if class_weights is None else class_weights)
    divisor = weights.sum(1)
    return (losses * weights).sum(1) / divisor.where(divisor > 0, 1)


def count_compared(labels: Labels, *, per_image: bool) -> Tensor:
    """Return the number of images with a labelled pixel, or 1 for all images together; tiny instead of 0."""
    labelled = (labels != IGNORE).flatten(1).any(1)
    return (labelled.sum() if per_image else labelled.any()).float().clamp(min=TINY)
