"""One confusion matrix per split, and the scores that follow from it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit.tensors import IGNORE


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """int64 [K, K], rows = label, columns = prediction; pixels labelled 255 count nowhere.

    Args:
        predicted: integer class ids 0..K-1, any shape.
        labels: integer class ids of the same shape, 255 = ignored.
    Raises:
        ValueError: if the shapes differ, or an id is out of range.
    """
    if predicted.shape != labels.shape:
        raise ValueError(
            f"predictions are {tuple(predicted.shape)}, labels {tuple(labels.shape)}: expected equal shapes"
        )
    valid = labels != IGNORE
    rows, columns = labels[valid].long(), predicted[valid].long()
    if rows.numel() and not (
        int(columns.min()) >= 0 and max(int(rows.max()), int(columns.max())) < num_classes and int(rows.min()) >= 0
    ):
        raise ValueError(f"class ids outside 0..{num_classes - 1} and 255")
    return torch.bincount(rows * num_classes + columns, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Scores:
    """Scores in 0..1.

    Attributes:
        global_accuracy: correct pixels / valid pixels.
        class_average_accuracy: mean over the classes in the labels of correct / labelled pixels.
        mean_iou: mean IoU over the classes that occur in labels or predictions.
        frequency_weighted_iou: IoU averaged with the share of labelled pixels.
        iou: [K], NaN where a class occurs in neither.
        accuracy: [K], NaN where a class has no labelled pixel.
        classes_averaged: number of classes in `mean_iou`.
    """

    global_accuracy: float
    class_average_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    classes_averaged: int


def scores(matrix: np.ndarray) -> Scores:
    """Scores of an int64 confusion matrix [K, K] (rows = label). All NaN if no pixel was counted.

    Source: FCN's score.py: classes absent from labels and predictions are left out; a class absent from the labels but
        predicted has IoU 0.
    """
    matrix = np.asarray(matrix).astype(np.float64)
    correct, labelled, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy, iou, share = correct / labelled, correct / (labelled + predicted - correct), labelled / labelled.sum()
        total = float(correct.sum() / matrix.sum())
    seen = ~np.isnan(iou)
    return Scores(
        global_accuracy=total,
        class_average_accuracy=_mean(accuracy),
        mean_iou=_mean(iou),
        frequency_weighted_iou=float((share[labelled > 0] * iou[labelled > 0]).sum()) if seen.any() else float("nan"),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        classes_averaged=int(seen.sum()),
    )


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
