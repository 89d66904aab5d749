"""One confusion matrix per split, and the scores that follow from it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit.tensors import IGNORE


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return int64 [K, K], rows = label, columns = prediction; pixels labelled 255 are not counted.

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
    if any(ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < num_classes for ids in (rows, columns)):
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
    """Return the scores of an int64 confusion matrix [K, K] (rows = label); all NaN if no pixel was counted.

    Source: FCN's score.py: a class in neither labels nor predictions is left out; one that is only predicted has IoU 0.
    """
    matrix = np.asarray(matrix).astype(np.float64)
    correct, labelled = matrix.diagonal(), matrix.sum(1)
    iou = class_iou(*intersection_and_union(matrix))
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy, share = correct / labelled, labelled / labelled.sum()
    seen = ~np.isnan(iou)
    return Scores(
        global_accuracy=float(global_accuracy(matrix)),
        class_average_accuracy=float(mean_over_classes(accuracy)),
        mean_iou=float(mean_over_classes(iou)),
        frequency_weighted_iou=float((share[labelled > 0] * iou[labelled > 0]).sum()) if seen.any() else float("nan"),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
        classes_averaged=int(seen.sum()),
    )


def global_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Return float64 [...]: correct / counted pixels of confusion matrices [..., K, K]; NaN without counted pixels."""
    with np.errstate(invalid="ignore"):
        return np.asarray(matrices.diagonal(axis1=-2, axis2=-1).sum(-1) / matrices.sum((-2, -1)))


def mean_iou(matrices: np.ndarray) -> np.ndarray:
    """Return float64 [...]: the mean IoU that `scores` has, of confusion matrices [..., K, K] (rows = label)."""
    return mean_over_classes(class_iou(*intersection_and_union(matrices)))


def intersection_and_union(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two float64 [..., K]: pixels of each class in both labels and prediction, and in either."""
    intersection = matrices.diagonal(axis1=-2, axis2=-1).astype(np.float64)
    return intersection, matrices.sum(-1) + matrices.sum(-2) - intersection


def class_iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return float64 [..., K]: IoU of each class; NaN where it is in neither labels nor predictions."""
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Return float64 [...]: mean over the last axis of [..., K] without NaN; NaN where all values are NaN."""
    rows = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    means = rows.mean(1)
    for index in np.flatnonzero(np.isnan(means)):
        seen = rows[index][~np.isnan(rows[index])]
        means[index] = seen.mean() if len(seen) else np.nan
    return means.reshape(values.shape[:-1])
