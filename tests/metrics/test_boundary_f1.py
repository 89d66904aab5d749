"""BF against work by hand, and against brute force over all pairs of pixels."""

import math

import boundary_reference as reference
import numpy as np
import pytest
from boundary_reference import K, blobs, disturbed, edge, full_maps, label_maps, seeds
from hypothesis import given
from hypothesis import strategies as st

from segkit.metrics.boundary import band_counts, bf, bf_counts, bf_of_images, trimap_matrices
from segkit.tensors import IGNORE

same = pytest.approx
MAP = np.zeros((4, 5), np.uint8)
MATCHINGS = ("one_to_one", "distance")
VOIDS = ("dropped", "predicted")
FOUR_AND_A_HALF = 0.045  # of the diagonal of 60x80, which is 100 pixels

tolerances = st.sampled_from([0.0, 0.09, 0.13, 0.25, 0.4])  # 0, 1.03, 1.48, 2.85 and 4.56 pixels at 7x9


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize("matching", MATCHINGS)
@given(predicted=full_maps, labels=label_maps, tolerance=tolerances)
def test_counts_are_those_of_all_pairs_of_pixels(predicted, labels, tolerance, matching, void):
    counts = bf_counts(predicted, labels, num_classes=K, tolerance=tolerance, matching=matching, void=void)
    assert counts.dtype == np.int64
    assert counts.tolist() == reference.naive_counts(predicted, labels, tolerance, matching, void, reference.most_pairs)


@seeds
@pytest.mark.parametrize("void", VOIDS)
def test_the_authors_matching_at_least_cost_has_as_many_pairs(seed, void):
    labels = blobs(seed)
    predicted = disturbed(labels, seed)
    counts = bf_counts(predicted, labels, num_classes=K, tolerance=0.07, void=void)  # 1.59 pixels
    assert counts.tolist() == reference.naive_counts(
        predicted, labels, 0.07, "one_to_one", void, reference.pairs_at_least_cost
    )
    # some have no partner because of where they are, not because of their number
    assert (counts[:, 1] < counts[:, [0, 2]].min(1)).any()


# --- a class alone, or void, by hand ---


def test_a_class_that_fills_the_image_has_no_boundary_and_its_image_scores_0_in_the_code_and_is_left_out_in_the_paper():
    filled = bf_counts(edge(80), edge(80), num_classes=2, tolerance=FOUR_AND_A_HALF)
    assert filled.tolist() == [[0] * 4] * 2
    half_wrong = bf_counts(edge(40), edge(80), num_classes=2, tolerance=FOUR_AND_A_HALF)
    assert half_wrong.tolist() == [[60, 0, 0, 0]] * 2
    right = bf_counts(edge(40), edge(40), num_classes=2, tolerance=FOUR_AND_A_HALF)
    counts = np.stack([filled, half_wrong, right])
    assert bf_of_images(counts, variant="code").tolist() == [0, 0, 1]
    assert bf_of_images(counts, variant="paper").tolist() == same([math.nan, math.nan, 1], nan_ok=True)
    assert (bf(counts, variant="code"), bf(counts, variant="paper")) == (same(1 / 3), 1)


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize(("void", "predicted_pixels"), [("dropped", 0), ("predicted", 60)])
def test_an_image_of_void_only_scores_0_in_the_code_and_is_left_out_in_the_paper(void, predicted_pixels, matching):
    counts = bf_counts(edge(40), np.full((60, 80), IGNORE, np.uint8), num_classes=2, matching=matching, void=void)
    assert counts.tolist() == [[predicted_pixels, 0, 0, 0]] * 2
    assert bf_of_images(counts[None], variant="code").tolist() == [0]
    assert np.isnan(bf_of_images(counts[None], variant="paper")).all()


# --- where the boundary is ---


@pytest.mark.parametrize("void", VOIDS)
@pytest.mark.parametrize(
    ("labels", "pixels"),
    [
        ([[0, 0, 0], [0, 0, 0], [0, 0, 1]], [3, 3]),  # blocks that start at (1, 1), (1, 2) and (2, 1)
        ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [1, 1]),  # only the block that starts there
        # block at (0, 0): both classes. At (0, 1) and (1, 0): a pixel of void and one of class 1. At (1, 1): one pixel
        ([[0, IGNORE], [IGNORE, 1]], [1, 3]),
    ],
)
def test_a_pixel_is_on_the_boundary_of_classes_that_its_block_is_partly_of(labels, pixels, void):
    labels = np.array(labels, np.uint8)
    counts = bf_counts(labels, labels, num_classes=2, tolerance=0.0, void=void)
    assert counts.tolist() == [[count] * 4 for count in pixels]


# --- BF of images by hand ---


@pytest.mark.parametrize(
    ("height", "width", "shift", "score"),
    [
        (360, 480, 4, 1),  # the tolerance is 4.5 pixels
        (360, 480, 5, 0),
        (240, 320, 3, 1),  # 3 pixels: a distance equal to the tolerance is within
        (300, 400, 4, 0),  # 3.75 pixels
    ],
)
def test_the_default_tolerance_is_three_quarters_of_a_percent_of_the_diagonal(height, width, shift, score):
    assert bf(bf_counts(edge(100 + shift, height, width), edge(100, height, width), num_classes=2)[None]) == score


def test_one_to_one_a_label_pixel_excuses_one_predicted_pixel():
    predicted = edge(40)
    predicted[:, 38] = 1
    # boundaries 37|38, 38|39 and 39|40: three columns of 60 pixels, against one column in the labels, 2 pixels away at
    # most
    counts = bf_counts(predicted, edge(40), num_classes=2, tolerance=FOUR_AND_A_HALF)
    assert counts.tolist() == [[180, 60, 60, 60]] * 2
    assert bf(counts[None]) == same(2 * (1 / 3) / (1 + 1 / 3))
    counts = bf_counts(predicted, edge(40), num_classes=2, tolerance=FOUR_AND_A_HALF, matching="distance")
    assert counts.tolist() == [[180, 180, 60, 60]] * 2
    assert bf(counts[None]) == 1


def test_scores_of_images_by_hand():
    counts = np.array(
        [
            # P 5/10, R 10/20: F1 1/2; predicted by mistake: 0; nowhere
            [[10, 5, 20, 10], [4, 0, 0, 0], [0, 0, 0, 0]],
            # P 1, R 1/4: F1 2/5; missed: 0; P 1, R 1: F1 1
            [[5, 5, 20, 5], [0, 0, 7, 0], [3, 3, 3, 3]],
            # no boundary anywhere
            [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
            # only by mistake
            [[0, 0, 0, 0], [9, 0, 0, 0], [0, 0, 0, 0]],
        ]
    )
    assert bf_of_images(counts).tolist() == same([1 / 4, 7 / 15, 0, 0])
    assert bf(counts) == same((1 / 4 + 7 / 15) / 4)
    assert bf_of_images(counts, variant="paper").tolist() == same([1 / 2, 7 / 15, math.nan, math.nan], nan_ok=True)
    assert bf(counts, variant="paper") == same((1 / 2 + 7 / 15) / 2)


# --- BF in general ---


@pytest.mark.parametrize("matching", MATCHINGS)
@given(labels=label_maps, elsewhere=full_maps, tolerance=tolerances)
def test_a_prediction_that_is_right_where_labelled_scores_1(labels, elsewhere, tolerance, matching):
    predicted = np.where(labels == IGNORE, elsewhere, labels)
    counts = bf_counts(predicted, labels, num_classes=K, tolerance=tolerance, matching=matching)[None]
    some = (counts > 0).any()
    assert bf(counts, variant="code") == float(some)
    assert bf(counts, variant="paper") == same(1 if some else math.nan, nan_ok=True)


@given(predicted=full_maps, labels=label_maps, elsewhere=full_maps)
def test_a_prediction_in_void_does_not_matter_where_void_is_dropped(predicted, labels, elsewhere):
    other = np.where(labels == IGNORE, elsewhere + 7, predicted).astype(np.uint8)  # even of no class
    options = {"num_classes": K, "tolerance": 0.2}
    assert (bf_counts(other, labels, **options) == bf_counts(predicted, labels, **options)).all()


# --- what is refused ---


MEASURES = (
    bf_counts,
    band_counts,
    lambda one, other, num_classes: trimap_matrices([one], other, num_classes=num_classes, widths=(1,)),
)


@pytest.mark.parametrize("measure", MEASURES, ids=["bf", "band", "trimap"])
@pytest.mark.parametrize(
    ("predicted", "labels", "classes", "message"),
    [
        (MAP, MAP.T, K, r"predictions are \(4, 5\), labels \(5, 4\): expected equal shapes"),
        (MAP[None], MAP[None], K, r"predictions are uint8 \(1, 4, 5\): expected uint8 \[height, width\]"),
        (MAP.astype(np.int64), MAP, K, r"predictions are int64 \(4, 5\)"),
        (MAP, MAP.astype(np.int64), K, r"labels are int64 \(4, 5\)"),
        (MAP[:0], MAP[:0], K, r"predictions are uint8 \(0, 5\)"),
        (MAP + np.uint8(3), MAP, K, r"class ids outside 0\.\.2"),
        (MAP, MAP + np.uint8(3), K, r"class ids outside 0\.\.2"),
        (MAP + np.uint8(IGNORE), MAP, K, r"class ids outside 0\.\.2"),
        (MAP, MAP, 0, r"expected 1\.\.255"),
        (MAP, MAP, 256, r"expected 1\.\.255"),
    ],
)
def test_maps_of_a_wrong_form_are_refused(measure, predicted, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        measure(predicted, labels, num_classes=classes)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance is -0.1"):
        bf_counts(MAP, MAP, num_classes=1, tolerance=-0.1)
