"""Losses of the overlap between a predicted and a labelled class: soft Dice and Lovász-softmax."""

import torch
from torch import Tensor

from segkit.losses.loss import TINY, WeightedLoss, one_hot
from segkit.tensors import IGNORE, Labels, Logits


class OverlapLoss(WeightedLoss):
    """A loss of each labelled class: its mean over classes, then over images or micro-batches with a labelled pixel.

    A subclass gives the losses [N, K] of probabilities and a mask of each class's pixels, both [N, K, P], in
    `of_classes`. There are N images of P pixels each; N is 1 if the pixels of all images are taken together.

    Args:
        class_weights: [K] or None for 1, for a weighted mean over classes.
        per_image: compute the loss of each image separately, which makes it independent of `accumulation`.
    """

    def __init__(self, class_weights: Tensor | None, *, per_image: bool = False):
        super().__init__(class_weights)
        self.exact = self.per_image = per_image

    def of_classes(self, p: Tensor, truth: Tensor) -> Tensor:
        """Return losses [N, K]; those of classes without a labelled pixel are left out later."""
        raise NotImplementedError

    def total_of(self, logits: Logits, labels: Labels) -> Tensor:
        """Return the loss of the micro-batch, or the sum over images, a scalar."""
        maps = [logits.softmax(1) * (labels != IGNORE)[:, None], one_hot(labels, logits.shape[1])]
        if not self.per_image:
            maps = [x.movedim(0, 1)[None] for x in maps]  # all images as one
        p, truth = (x.flatten(2) for x in maps)
        losses = self.of_classes(p, truth)
        weights = truth.any(2).to(losses.dtype) * (1 if self.class_weights is None else self.class_weights)
        divisor = weights.sum(1)
        return ((losses * weights).sum(1) / divisor.where(divisor > 0, 1)).sum()

    def normalizer(self, labels: Labels) -> Tensor:
        """Return the number of images with a labelled pixel, or 1 for all images together; tiny instead of 0."""
        labelled = (labels != IGNORE).flatten(1).any(1)
        return (labelled.sum() if self.per_image else labelled.any()).float().clamp(min=TINY)


class Dice(OverlapLoss):
    """1 - 2 sum(p g) / (sum(p) + sum(g)) of each labelled class, where p is its probability and g is 1 at its pixels.

    Args:
        class_weights, per_image: see `OverlapLoss`.
        squared: use sum(p^2) instead of sum(p), as in the paper; most toolkits leave the squares out.
    Source: Milletari, Navab and Ahmadi 2016 (arXiv:1606.04797), eq. 3, for K classes by softmax. smp.losses.DiceLoss
        differs: it counts absent classes as 0 and divides by K, so that its scale depends on what a batch holds.
    """

    def __init__(self, class_weights: Tensor | None, *, squared: bool = False, per_image: bool = False):
        super().__init__(class_weights, per_image=per_image)
        self.squared = squared

    def of_classes(self, p: Tensor, truth: Tensor) -> Tensor:
        """Return losses [N, K]."""
        sizes = (p.square() if self.squared else p).sum(2) + truth.sum(2)
        return 1 - 2 * (p * truth).sum(2) / sizes.clamp(min=1)  # below 1 only for absent classes


class Lovasz(OverlapLoss):
    """Lovász extension of 1 - IoU of each labelled class, at the errors |g - p| of its probability p.

    Args:
        class_weights, per_image: see `OverlapLoss`.
    Source: Berman, Triki and Blaschko 2018 (arXiv:1705.08790), eq. 9 and algorithm 1. Differs from their code, which is
        smp.losses.LovaszLoss: there are class weights; each step of 1 - IoU is computed directly instead of as a
        difference of two almost equal numbers; float64 is possible; a batch without a labelled pixel has loss 0.
    """

    def of_classes(self, p: Tensor, truth: Tensor) -> Tensor:
        """Return losses [N, K]."""
        errors, order = (truth.to(p.dtype) - p).abs().sort(dim=2, descending=True)
        is_class = truth.gather(2, order)
        size = is_class.sum(2, keepdim=True)
        intersection, union = size - is_class.cumsum(2), size + (~is_class).cumsum(2)
        # One pixel more is wrong: IoU falls from (I + 1) / U to I / U if it is of the class, else from I / (U - 1).
        numerator = torch.where(is_class, 1, intersection).to(p.dtype)
        steps = numerator / torch.where(is_class, union, union * (union - 1)).clamp(min=1)
        return (errors * steps).sum(2)
