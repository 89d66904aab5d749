"""Scores against five lines of numpy, against work by hand, and against another library."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segkit.metrics.confusion import confusion_matrix, global_accuracy, mean_iou, scores
from segkit.tensors import IGNORE

K = 5
same = pytest.approx


def naive(predicted, labels):
    """Mean IoU, and IoU of each class, from sets of pixels. Not from a matrix."""
    valid = labels != IGNORE
    either = [((predicted == k) | (labels == k)) & valid for k in range(K)]
    both = [((predicted == k) & (labels == k)) & valid for k in range(K)]
    iou = [b.sum() / e.sum() if e.any() else math.nan for b, e in zip(both, either, strict=True)]
    return (np.nanmean(iou) if valid.any() else math.nan), iou


def matrix_of(predicted, labels, num_classes=K):
    return confusion_matrix(torch.as_tensor(predicted), torch.as_tensor(labels), num_classes).numpy()


label_maps = arrays.arrays(np.uint8, (4, 5), elements=st.sampled_from([*range(K), IGNORE]))
predictions = arrays.arrays(np.uint8, (4, 5), elements=st.integers(0, K - 1))


# --- the matrix ---


@given(predictions, label_maps)
def test_the_matrix_counts_pairs_of_label_and_prediction(predicted, labels):
    pairs = Counter((int(y), int(p)) for y, p in zip(labels.flat, predicted.flat, strict=True) if y != IGNORE)
    matrix = matrix_of(predicted, labels)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[pairs[y, p] for p in range(K)] for y in range(K)]


@pytest.mark.parametrize(
    ("predicted", "labels"),
    [([0, K], [0, 1]), ([0, 1], [0, K]), ([-1, 0], [0, 0]), ([0, 0], [-1, 0]), ([0, IGNORE], [0, 0])],
)
def test_ids_out_of_range_are_refused(predicted, labels):
    with pytest.raises(ValueError, match=r"class ids outside 0\.\.4 and 255"):
        matrix_of(predicted, labels)


def test_a_prediction_out_of_range_does_not_matter_where_the_label_is_ignored():
    assert matrix_of([0, IGNORE], [0, IGNORE]).sum() == 1


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="expected equal shapes"):
        matrix_of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


# --- scores ---


@given(predictions, label_maps)
def test_iou_is_that_of_pixel_sets(predicted, labels):
    mean, iou = naive(predicted, labels)
    result = scores(matrix_of(predicted, labels))
    assert result.mean_iou == same(mean, nan_ok=True)
    assert list(result.iou) == same(iou, nan_ok=True)
    assert result.classes_averaged == np.sum(~np.isnan(iou))


def test_three_classes_by_hand():
    #       predicted 0  1  2
    matrix = np.array([[3, 1, 0], [0, 2, 2], [1, 0, 1]])
    result = scores(matrix)
    assert result.iou == same((3 / 5, 2 / 5, 1 / 4))
    assert result.accuracy == same((3 / 4, 2 / 4, 1 / 2))
    assert result.global_accuracy == same(6 / 10)
    assert result.class_average_accuracy == same((3 / 4 + 2 / 4 + 1 / 2) / 3)
    assert result.mean_iou == same((3 / 5 + 2 / 5 + 1 / 4) / 3)
    assert result.frequency_weighted_iou == same(0.4 * 3 / 5 + 0.4 * 2 / 5 + 0.2 * 1 / 4)
    assert result.classes_averaged == 3


def test_a_class_that_is_only_predicted_has_iou_0_and_no_accuracy():
    result = scores(np.array([[3, 0, 1], [0, 4, 0], [0, 0, 0]]))
    assert result.iou == same((3 / 4, 1, 0))
    assert result.mean_iou == same((3 / 4 + 1) / 3)
    assert result.classes_averaged == 3
    assert math.isnan(result.accuracy[2])
    assert result.class_average_accuracy == same((3 / 4 + 1) / 2)
    assert result.frequency_weighted_iou == same((3 / 4 + 1) / 2)


def test_without_a_counted_pixel_every_score_is_nan():
    result = scores(matrix_of(np.zeros((2, 2), np.uint8), np.full((2, 2), IGNORE, np.uint8)))
    means = (result.global_accuracy, result.class_average_accuracy, result.mean_iou, result.frequency_weighted_iou)
    assert all(math.isnan(v) for v in (*means, *result.iou, *result.accuracy))
    assert result.classes_averaged == 0


@given(
    arrays.arrays(
        np.int64, st.tuples(st.integers(1, 3), st.integers(1, 3), st.just(9), st.just(9)), elements=st.integers(0, 2)
    ),
    st.data(),
)
def test_scores_of_many_matrices_are_those_of_each_to_the_last_bit(matrices, data):
    nowhere = data.draw(st.lists(st.integers(0, 8)))
    matrices[0][..., nowhere], matrices[0][..., nowhere, :] = 0, 0
    each = [[scores(matrix) for matrix in row] for row in matrices]
    np.testing.assert_array_equal(mean_iou(matrices), [[one.mean_iou for one in row] for row in each])
    np.testing.assert_array_equal(global_accuracy(matrices), [[one.global_accuracy for one in row] for row in each])
