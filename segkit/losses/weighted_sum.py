"""Sum of several losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segkit.losses.loss import Loss, batch_loss
from segkit.tensors import AuxiliaryLogits, Labels, Logits


class WeightedSum(nn.Module):
    """Sum of losses, each divided by its own normalizer and multiplied by its weight.

    The sum is exact if every loss in it is.

    Args:
        terms: weight and loss of each.
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]]):
        super().__init__()
        self.terms = list(terms)
        self.losses = nn.ModuleList([loss for _, loss in terms])  # pyright: ignore[reportArgumentType]  # moved by `to`
        self.exact = all(loss.exact for _, loss in terms)

    def total(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return [T], float32: the weighted total of each term."""
        return torch.cat([weight * loss.total(logits, labels).reshape(-1) for weight, loss in self.terms])

    def normalizer(self, labels: Labels) -> Tensor:
        """Return [T]: the normalizer of each term."""
        return torch.cat([loss.normalizer(labels).reshape(-1) for _, loss in self.terms])

    def forward(self, logits: Logits | AuxiliaryLogits, labels: Labels) -> Tensor:
        """Return the loss of one batch, a scalar."""
        return batch_loss(self, logits, labels)
