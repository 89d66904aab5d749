"""Scores of one confusion matrix as published systems compute them: they differ in classes without labelled pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segkit.metrics.confusion import Scores, scores

NAN = float("nan")


@dataclass(frozen=True)
class Convention:
    """Values of a class without labelled pixels; None leaves it out of the mean, NaN makes the mean undefined.

    Attributes:
        iou_nowhere: IoU of a class in neither labels nor predictions.
        iou_only_predicted: IoU of a class in the predictions, but not in the labels.
        accuracy_unlabelled: accuracy of a class without labelled pixels, predicted or not.
        has_class_average: False if the system does not report class average accuracy.
        source: the code that the rule comes from.
    """

    iou_nowhere: float | None
    iou_only_predicted: float | None
    accuracy_unlabelled: float | None
    has_class_average: bool
    source: str


CONVENTIONS: Mapping[str, Convention] = {
    "fcn": Convention(None, 0.0, None, True, "shelhamer/fcn.berkeleyvision.org score.py"),
    "segnet": Convention(0.0, 0.0, 0.0, True, "alexgkendall/SegNet-Tutorial Scripts/compute_test_results.m"),
    "voc": Convention(NAN, 0.0, None, False, "VOCdevkit VOCcode/VOCevalseg.m (its 'average accuracy' is the mean IoU)"),
    "detectron2": Convention(None, None, None, True, "facebookresearch/detectron2 evaluation/sem_seg_evaluation.py"),
    "paddleseg": Convention(1.0, 0.0, None, False, "PaddlePaddle/PaddleSeg paddleseg/utils/metrics.py, mean_iou"),
}


def convention_scores(matrix: np.ndarray, convention: Convention) -> Scores:
    """Return the scores of an int64 confusion matrix [K, K] (rows = label, no void) with the means of one system.

    A mean is NaN where the system reports none, or where it is undefined.
    """
    ours, labelled, predicted = scores(matrix), matrix.sum(1) > 0, matrix.sum(0) > 0
    iou = [
        value if in_labels else convention.iou_only_predicted if in_predictions else convention.iou_nowhere
        for value, in_labels, in_predictions in zip(ours.iou, labelled, predicted, strict=True)
    ]
    accuracy = [
        value if in_labels else convention.accuracy_unlabelled
        for value, in_labels in zip(ours.accuracy, labelled, strict=True)
    ]
    averaged = [value for value in iou if value is not None]
    class_average = _mean([a for a in accuracy if a is not None]) if convention.has_class_average else NAN
    return replace(ours, class_average_accuracy=class_average, mean_iou=_mean(averaged), classes_averaged=len(averaged))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else NAN


def explain(matrix: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Explain the conventions' differences on an int64 confusion matrix [K, K]: a sentence per class without labels."""
    labelled, predicted = matrix.sum(1) > 0, matrix.sum(0) > 0
    sentences = []
    for index, name in enumerate(class_names):
        if labelled[index]:
            continue
        kind = "only predicted" if predicted[index] else "in neither labels nor predictions"
        groups: dict[str, list[str]] = {}
        for system, convention in CONVENTIONS.items():
            value = convention.iou_only_predicted if predicted[index] else convention.iou_nowhere
            treatment = (
                "leaves it out" if value is None else "has no mean" if value != value else f"counts IoU {value:g}"
            )
            groups.setdefault(treatment, []).append(system)
        treatments = "; ".join(f"{', '.join(systems)}: {treatment}" for treatment, systems in groups.items())
        sentences.append(f"'{name}' is {kind}: {treatments}.")
    return sentences or ["Every class is in the labels: all conventions agree."]
