"""Confusion matrices of a model over a split, at label resolution."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from segkit.data.dataset import Sample
from segkit.engine.inference import labels_at, predict_logits
from segkit.errors import InputError
from segkit.metrics.confusion import confusion_matrix

Observer = Callable[[str, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class Evaluation:
    """`matrices` int64 [N, K, K], one confusion matrix per image (rows = label); `ids` of the N images."""

    ids: tuple[str, ...]
    matrices: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """int64 [K, K], summed over images."""
        return self.matrices.sum(0)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[list[tuple[Tensor, Sample]]],
    *,
    num_classes: int,
    device: torch.device,
    precision: torch.dtype,
    progress: Callable[[int], None] | None = None,
    observe: Observer | None = None,
) -> Evaluation:
    """Score every image once; predictions are upsampled to the size of the labels, labels are never resized.

    The model is in evaluation mode during the call; its mode is restored afterwards.

    Args:
        batches: lists of (normalized image [3, H, W], sample as on disk).
        progress: called with the number of images after each batch.
        observe: called with the id, and the predicted and the true class ids of each image, uint8 [H, W].
    Raises:
        InputError: naming an image that is too small for the model.
    """
    was_training = model.training
    model.eval()
    ids, matrices = [], []
    try:
        for batch in batches:
            for _, items in groupby(batch, key=lambda item: tuple(item[0].shape)):
                images, samples = zip(*items, strict=True)
                try:
                    logits = predict_logits(model, torch.stack(images), device=device, precision=precision)
                except InputError as error:
                    raise InputError(f"image '{samples[0].id}': {error}") from None
                for one, sample in zip(logits.split(1), samples, strict=True):
                    predicted = labels_at(one, sample.labels.shape)[0]
                    labels = torch.from_numpy(sample.labels).to(device)
                    matrices.append(confusion_matrix(predicted, labels, num_classes).cpu().numpy())
                    ids.append(sample.id)
                    if observe is not None:
                        observe(sample.id, predicted.cpu().numpy(), sample.labels)
            if progress is not None:
                progress(len(batch))
    finally:
        model.train(was_training)
    return Evaluation(tuple(ids), np.array(matrices, np.int64).reshape(-1, num_classes, num_classes))
