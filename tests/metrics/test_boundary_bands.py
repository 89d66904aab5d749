"""Boundary IoU and trimaps against work by hand, against erosions, and against brute force over all pairs of pixels."""

import math

import boundary_reference as reference
import numpy as np
import pytest
from boundary_reference import K, blobs, disturbed, edge, full_maps, label_maps, seeds
from hypothesis import given
from hypothesis import strategies as st

from segkit.metrics.boundary import band_counts, boundary_iou, boundary_iou_of_classes, trimap_matrices
from segkit.metrics.confusion import scores
from segkit.tensors import IGNORE

same = pytest.approx


def trimap(predicted, labels, **options):
    """Of one prediction."""
    return trimap_matrices([predicted], labels, **options)[0]


# --- Boundary IoU: classes that are absent, alone, or void, by hand; 6x8 has a diagonal of 10 and a band of 1 pixel ---


def test_an_image_of_void_only_has_no_band_and_no_boundary_iou():
    void = np.full((6, 8), IGNORE, np.uint8)
    counts = band_counts(edge(4, 6, 8), void, num_classes=2)
    assert counts.tolist() == [[0, 0]] * 2
    assert math.isnan(boundary_iou(counts[None]))


# --- Boundary IoU in general ---


@pytest.mark.parametrize(("width", "distance"), [(0.01, 1), (0.088, 2), (0.13, 3), (0.35, 8)])  # of 22.67 pixels
@seeds
def test_band_counts_are_those_of_erosions_class_by_class(seed, width, distance):
    labels = blobs(seed)
    predicted = disturbed(labels, seed)
    expected = []
    for k in range(K):
        ours, theirs = (
            reference.naive_band(reference.without_void(predicted, labels), k, distance),
            reference.naive_band(labels, k, distance),
        )
        expected.append([(ours & theirs).sum(), (ours | theirs).sum()])
    counts = band_counts(predicted, labels, num_classes=K, width=width)
    assert counts.dtype == np.int64
    assert counts.tolist() == expected


def test_bands_of_a_rectangle_by_hand():
    labels, predicted = np.zeros((2, 6, 8), np.uint8)
    labels[1:5, 1:7] = 1
    predicted[1:5, 2:8] = 1
    counts = band_counts(predicted, labels, num_classes=2, width=0.1)  # 1 pixel of a diagonal of 10
    # class 1: 4x6 without its 2x4 inside, 16 pixels in either map; both have columns 2..6 of rows 1 and 4: 10. Union 16
    # + 16 - 10 class 0: all of its 24 pixels, in either map; both have rows 0 and 5 and column 0: 16 + 4. Union 24 + 24
    # - 20
    assert counts.tolist() == [[20, 28], [10, 22]]
    assert boundary_iou_of_classes(counts[None]).tolist() == same([20 / 28, 10 / 22])
    assert boundary_iou(counts[None]) == same((20 / 28 + 10 / 22) / 2)


def test_the_default_band_is_12_pixels_wide_at_360x480_and_the_frame_has_one():
    filled = np.zeros((360, 480), np.uint8)
    assert band_counts(filled, filled, num_classes=1).tolist() == [[360 * 480 - 336 * 456] * 2]


def test_bands_are_summed_over_images_before_they_are_divided():
    counts = np.array([[[1, 2], [0, 0], [0, 0]], [[0, 8], [0, 5], [0, 0]]])
    # class 1 is in predictions or labels but in both nowhere; class 2 is nowhere
    assert boundary_iou_of_classes(counts).tolist() == same([1 / 10, 0, math.nan], nan_ok=True)
    assert boundary_iou(counts) == same(1 / 20)


@given(label_maps, full_maps, st.sampled_from([0.01, 0.2]))
def test_a_prediction_that_is_right_where_labelled_has_the_bands_of_the_labels(labels, elsewhere, width):
    counts = band_counts(np.where(labels == IGNORE, elsewhere, labels), labels, num_classes=K, width=width)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert boundary_iou(counts[None]) == same(1 if (labels != IGNORE).any() else math.nan, nan_ok=True)


# --- trimap: classes that are absent, alone, or void, by hand ---


@pytest.mark.parametrize(
    "labels", [edge(8, 6, 8), np.full((6, 8), IGNORE, np.uint8)], ids=["a class fills the image", "void only"]
)
def test_an_image_that_one_class_fills_or_of_void_only_has_no_pixel_near_a_boundary(labels):
    matrices = trimap(edge(4, 6, 8), labels, num_classes=2, widths=(1, 99))
    assert matrices.tolist() == [[[0, 0], [0, 0]]] * 2
    assert [math.isnan(scores(m).mean_iou) for m in matrices] == [True, True]


# --- trimap in general ---


@seeds
def test_trimap_matrices_are_those_of_all_pairs_of_pixels_for_each_prediction(seed):
    labels = blobs(seed, 8, 10)
    predictions = [disturbed(labels, seed), labels, disturbed(labels, seed + 1)]
    found = trimap_matrices(predictions, labels, num_classes=K, widths=(1, 2, 3))
    assert found.dtype == np.int64
    assert found.tolist() == [
        [reference.naive_trimap(each, labels, width) for width in (1, 2, 3)] for each in predictions
    ]


def test_a_band_has_its_width_in_pixels_on_either_side_of_a_straight_boundary():
    labels = np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.uint8)
    predicted = np.array([[0, 0, 1, 0, 1, 0, 1, 1]], np.uint8)
    matrices = trimap(predicted, labels, num_classes=2, widths=(1, 2, 3, 9))
    # columns 3..4, then 2..5 with both mistakes, then 1..6, then all
    assert matrices.tolist() == [[[1, 0], [0, 1]], [[1, 1], [1, 1]], [[2, 1], [1, 2]], [[3, 1], [1, 3]]]
    assert [scores(m).global_accuracy for m in matrices] == same([1, 1 / 2, 4 / 6, 6 / 8])
    assert [scores(m).mean_iou for m in matrices] == same([1, 1 / 3, 2 / 4, 3 / 5])


@given(full_maps, label_maps, full_maps)
def test_a_trimap_may_be_flipped_and_ignores_predictions_in_void(predicted, labels, elsewhere):
    other = np.where(labels == IGNORE, elsewhere + 7, predicted).astype(np.uint8)
    flipped = trimap(other[::-1, ::-1], labels[::-1, ::-1], num_classes=K, widths=(1, 2))
    assert (flipped == trimap(predicted, labels, num_classes=K, widths=(1, 2))).all()


# --- what is refused ---


def test_a_band_of_a_trimap_without_a_pixel_is_refused():
    with pytest.raises(ValueError, match=r"widths are \(2, 0\)"):
        trimap(edge(1), edge(1), num_classes=2, widths=(2, 0))
