"""One confusion matrix under the conventions of published systems."""

import math

import numpy as np
import pytest

from segkit.metrics.confusion import scores
from segkit.metrics.conventions import CONVENTIONS, convention_scores, explain

# 'sky' is right 3 of 4 times, 'road' always; 'car' is only predicted, once; 'pole' occurs nowhere.
NAMES = ("sky", "road", "car", "pole")
MATRIX = np.array([[3, 0, 1, 0], [0, 6, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
SKY, ROAD = 3 / 4, 6 / 6  # IoU, and accuracy

HAND_WORKED = {
    "fcn": ((SKY + ROAD) / 2, (SKY + ROAD + 0) / 3, 3),
    "segnet": ((SKY + ROAD) / 4, (SKY + ROAD) / 4, 4),
    "voc": (math.nan, math.nan, 4),
    "detectron2": ((SKY + ROAD) / 2, (SKY + ROAD) / 2, 2),
    "paddleseg": (math.nan, (SKY + ROAD + 0 + 1) / 4, 4),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_classes_that_the_labels_lack_count_as_in_that_system(name):
    class_average, mean_iou, averaged = HAND_WORKED[name]
    found = convention_scores(MATRIX, CONVENTIONS[name])
    assert found.global_accuracy == 0.9
    assert found.class_average_accuracy == pytest.approx(class_average, nan_ok=True)
    assert found.mean_iou == pytest.approx(mean_iou, nan_ok=True)
    assert found.classes_averaged == averaged


@pytest.mark.parametrize("name", CONVENTIONS)
def test_where_every_class_is_labelled_all_conventions_agree(name):
    matrix = np.random.default_rng(0).integers(1, 100, (5, 5))
    found, ours = convention_scores(matrix, CONVENTIONS[name]), scores(matrix)
    assert found.mean_iou == pytest.approx(ours.mean_iou)
    assert found.global_accuracy == pytest.approx(ours.global_accuracy)
    assert found.classes_averaged == 5
    if CONVENTIONS[name].has_class_average:
        assert found.class_average_accuracy == pytest.approx(ours.class_average_accuracy)
    assert explain(matrix, "abcde") == ["Every class is in the labels: all conventions agree."]


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_split_of_void_alone_has_no_global_accuracy(name):
    found = convention_scores(np.zeros((2, 2), np.int64), CONVENTIONS[name])
    assert math.isnan(found.global_accuracy)
    expected = {"fcn": math.nan, "segnet": 0.0, "voc": math.nan, "detectron2": math.nan, "paddleseg": 1.0}[name]
    assert found.mean_iou == pytest.approx(expected, nan_ok=True)


def test_the_explanation_names_each_class_that_the_labels_lack_and_who_does_what():
    assert explain(MATRIX, NAMES) == [
        "'car' is only predicted: fcn, segnet, voc, paddleseg: counts IoU 0; detectron2: leaves it out.",
        "'pole' is in neither labels nor predictions: fcn, detectron2: leaves it out; segnet: counts IoU 0; "
        "voc: has no mean; paddleseg: counts IoU 1.",
    ]
