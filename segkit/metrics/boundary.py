"""Measures of how well boundaries are placed: BF, Boundary IoU, and confusion near boundaries (trimap).

Each measure reduces one image to a small array of counts, and scores are functions of the stacked counts of N images.
`predicted` and `labels` are uint8 [H, W] with ids 0..K-1; label 255 is void. Void pixels are never scored, and a
prediction there may be any id. Distances are Euclidean, in pixels, between pixel centres. Maps of another form, or with
ids out of range, raise ValueError.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from segkit.tensors import IGNORE

TRIMAP_WIDTHS = (1, 2, 4, 8, 16)  # pixels on each side of a boundary, where scores near boundaries are shown

Matching = Literal["one_to_one", "distance"]
Void = Literal["dropped", "predicted"]
Variant = Literal["code", "paper"]


# --- BF ---


def bf_counts(
    predicted: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int,
    tolerance: float = 0.0075,
    matching: Matching = "one_to_one",
    void: Void = "dropped",
) -> np.ndarray:
    """Return int64 [K, 4] of one image: per class, predicted boundary pixels, matched ones, and the same of the labels.

    Pixel (i, j) is on the boundary of a class if the block (i..i+1, j..j+1) is partly inside the class and partly
    outside. In the last row and column, only the two pixels of the block inside the image count. The image border is
    not a boundary.

    Args:
        tolerance: largest distance between two matched pixels, as a share of the image diagonal: 0.0075 is 4.5 pixels
            at 360x480.
        matching: `one_to_one`: as many pairs of a predicted and a label boundary pixel as possible, each pixel in at
            most one pair. `distance`: a pixel is matched if the other boundary has a pixel within the tolerance;
            faster, and never lower.
        void: `dropped`: in void, neither prediction nor label belongs to any class; the contour of void bounds the
            classes around it in both maps, and matches for free where they are predicted (SegNet's
            compute_test_results.m zeroes both before it counts a pixel). `predicted`: boundaries that are predicted in
            void are wrong, and the contour of void is a boundary of the labels only (SegNet's computeBFmeasure.m has no
            rule for void).
    Source: SegNet (arXiv:1511.00561), and its computeBFmeasure.m with seg2bdry(mask, 'imageSize') and BSDS
        correspondPixels. The paper uses F1 with a tolerance of 0.75% of the diagonal, after Csurka et al. (BMVC 2013),
        who match by `distance`. The code uses the same tolerance and matches one to one. Ours is the largest matching.
        Theirs also minimises distance (100 tolerances per unmatched pixel), so it can drop a pair that would lengthen
        many others, or that its random outlier edges exclude.
    """
    _check(predicted, labels, num_classes)
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}: expected a share of the diagonal, 0 or more")
    radius = tolerance * math.hypot(*labels.shape)
    if void == "dropped":
        predicted = _without_void(predicted, labels)
    boundaries = [_boundaries(ids, num_classes, margin=int(radius)) for ids in (predicted, labels)]
    counts = np.zeros((num_classes, 4), np.int64)
    for count, of_predicted, of_labels in zip(counts, *boundaries, strict=True):
        count[0::2] = len(of_predicted), len(of_labels)
        if len(of_predicted) and len(of_labels):
            count[1::2] = _matched(_neighbours(of_predicted, of_labels, labels.shape, radius), len(of_labels), matching)
    return counts


def bf_of_images(counts: np.ndarray, *, variant: Variant = "code") -> np.ndarray:
    """Return float64 [N]: the mean over classes of F1 = 2PR / (P + R) in each image.

    P is the matched share of the predicted boundary, R that of the label boundary. F1 is 0 where P + R is 0, or where P
    or R is 0/0.

    Args:
        counts: [N, K, 4] of `bf_counts`.
        variant: `code`: average the classes with a boundary in labels or prediction, so a class predicted by mistake
            scores 0, and an image without boundaries scores 0. `paper`: average the classes with a boundary in the
            labels; an image without any is NaN, to be left out. The paper says "classes present in the ground truth".
            A class that fills the image is present too, but has no boundary: even a perfect prediction would score 0.
    Source: `code`: computeBFmeasure.m; its comment repeats the paper's rule, its sums do not follow it. `paper`:
        SegNet, arXiv:1511.00561.
    """
    predicted, matched_predicted, labelled, matched_labelled = np.moveaxis(counts, 2, 0)
    precision, recall = _ratio(matched_predicted, predicted, 0.0), _ratio(matched_labelled, labelled, 0.0)
    f1 = _ratio(2 * precision * recall, precision + recall, 0.0)
    averaged = labelled > 0 if variant == "paper" else (labelled > 0) | (predicted > 0)
    return _ratio((f1 * averaged).sum(1), averaged.sum(1), np.nan if variant == "paper" else 0.0)


def bf(counts: np.ndarray, *, variant: Variant = "code") -> float:
    """Return the BF of a split in 0..1: the mean of `bf_of_images` over images that are not NaN; NaN without any."""
    return _mean(bf_of_images(counts, variant=variant))


# --- Boundary IoU ---


def band_counts(predicted: np.ndarray, labels: np.ndarray, *, num_classes: int, width: float = 0.02) -> np.ndarray:
    """Return int64 [K, 2] of one image: per class, pixels in both inner bands (prediction and labels), and in either.

    The inner band of a class holds its pixels that have a pixel outside the class at most d rows and d columns away.
    Void and everything beyond the image are outside every class, in prediction and labels alike, so there are bands
    along them too.

    Args:
        width: d as a share of the image diagonal, rounded to pixels (halves to even), and at least 1: 0.02 is 12 pixels
            at 360x480.
    Source: Cheng et al. 2021 (arXiv:2103.16562), mask_to_boundary of their boundary-iou-api: d erosions by 3x3 of the
        mask in a frame of zeros, width 0.02 (0.005 for Cityscapes in their tools). Like their code, d counts rows and
        columns; the paper leaves the distance open. Theirs compares two masks of instances, ours two masks of a class,
        without void.
    """
    _check(predicted, labels, num_classes)
    distance = max(1, round(width * math.hypot(*labels.shape)))
    of_predicted, of_labels = _inner_bands(_without_void(predicted, labels), distance), _inner_bands(labels, distance)
    both = _pixels(of_labels[of_labels == of_predicted], num_classes)
    return np.stack([both, _pixels(of_labels, num_classes) + _pixels(of_predicted, num_classes) - both], axis=1)


def boundary_iou_of_classes(counts: np.ndarray) -> np.ndarray:
    """Return float64 [K] in 0..1 of `band_counts` [N, K, 2] summed over images; NaN for classes that occur nowhere."""
    both, either = counts.sum(0).T
    return _ratio(both, either, np.nan)


def boundary_iou(counts: np.ndarray) -> float:
    """Return the Boundary IoU in 0..1 of `band_counts` [N, K, 2]: the mean over classes in labels or predictions.

    NaN if there is no such class. As in `scores` of a confusion matrix, a class that is predicted but never labelled
    scores 0.
    """
    return _mean(boundary_iou_of_classes(counts))


# --- trimap ---


def trimap_matrices(
    predictions: Sequence[np.ndarray], labels: np.ndarray, *, num_classes: int, widths: Sequence[int]
) -> np.ndarray:
    """Return int64 [P, len(widths), K, K] of one image and P predictions: confusion (rows = label) near boundaries.

    A boundary runs between two labelled pixels of different classes that share a side. A border to void or the image
    border is not a boundary. A pixel is near if it is less than `width` pixels away from a pixel at a boundary,
    whatever is between them. So a straight boundary has a band of `width` pixels on either side, and width 1 keeps the
    pixels that touch it. `segkit.metrics.confusion.scores` of a matrix, summed over images, gives accuracy and mean
    IoU.

    Args:
        widths: pixels on one side of a boundary, each at least 1.
    Source: Kohli et al. 2009 (IJCV 82), Krähenbühl and Koltun 2011 (arXiv:1210.5644) and Csurka et al. (BMVC 2013)
        score the pixels in a band around object boundaries. DeepLab (arXiv:1606.00915) puts its band around void
        instead, because VOC draws void along boundaries.
    """
    for predicted in predictions:
        _check(predicted, labels, num_classes)
    if any(width < 1 for width in widths):
        raise ValueError(f"widths are {tuple(widths)}: expected pixels, 1 or more")
    boundary = np.zeros(labels.shape, bool)
    for marks, ids in ((boundary, labels), (boundary.T, labels.T)):
        different = (ids[1:] != ids[:-1]) & (ids[1:] != IGNORE) & (ids[:-1] != IGNORE)
        marks[1:] |= different
        marks[:-1] |= different
    counted = labels != IGNORE
    rows = labels[counted].astype(np.int64) * num_classes
    away = np.asarray(distance_transform_edt(~boundary))[counted] if boundary.any() else np.full(len(rows), np.inf)
    pairs = [rows + predicted[counted] for predicted in predictions]
    matrices = [np.bincount(each[away < width], minlength=num_classes**2) for each in pairs for width in widths]
    return np.array(matrices, np.int64).reshape(len(pairs), len(widths), num_classes, num_classes)


# --- parts ---


def _check(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    if not 1 <= num_classes <= IGNORE:
        raise ValueError(f"num_classes is {num_classes}: expected 1..{IGNORE}")
    for name, ids in (("predictions", predicted), ("labels", labels)):
        if ids.ndim != 2 or ids.dtype != np.uint8 or not ids.size:
            raise ValueError(f"{name} are {ids.dtype} {ids.shape}: expected uint8 [height, width]")
    if predicted.shape != labels.shape:
        raise ValueError(f"predictions are {predicted.shape}, labels {labels.shape}: expected equal shapes")
    counted = labels != IGNORE
    if (labels[counted] >= num_classes).any() or (predicted[counted] >= num_classes).any():
        raise ValueError(f"class ids outside 0..{num_classes - 1}, where the label is not {IGNORE}")


def _without_void(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(labels == IGNORE, np.uint8(IGNORE), predicted)


def _boundaries(ids: np.ndarray, num_classes: int, *, margin: int) -> list[np.ndarray]:
    """Return K arrays int64: the boundary pixels of each class, as flat indices into the image with a margin."""
    padded = np.pad(ids, (0, 1), mode="edge")
    block = np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]])
    mixed = (block != block[0]).any(0)
    rows, columns = np.nonzero(mixed)
    places, block = (rows + margin) * (ids.shape[1] + 2 * margin) + columns + margin, block[:, mixed]
    insides = (block == k for k in range(num_classes))
    return [places[inside.any(0) & ~inside.all(0)] for inside in insides]


def _neighbours(of_predicted: np.ndarray, of_labels: np.ndarray, shape: tuple[int, int], radius: float) -> np.ndarray:
    """Return int32 [predicted pixels, D]: rank of the label boundary pixel at each offset within the radius, or -1."""
    margin = int(radius)
    rows, columns = np.mgrid[-margin : margin + 1, -margin : margin + 1]
    stride = shape[1] + 2 * margin
    offsets = (rows * stride + columns)[rows**2 + columns**2 <= radius**2]
    ranks = np.full((shape[0] + 2 * margin) * stride, -1, np.int32)
    ranks[of_labels] = np.arange(len(of_labels))
    return ranks[of_predicted[:, None] + offsets]


def _matched(neighbours: np.ndarray, label_pixels: int, matching: Matching) -> tuple[int, int]:
    """Return the numbers of matched predicted pixels and matched label pixels."""
    near = neighbours >= 0
    if matching == "distance":
        return int(near.any(1).sum()), int((np.bincount(neighbours[near]) > 0).sum())
    pairs = _most_pairs(near.sum(1), neighbours[near], label_pixels)
    return pairs, pairs


def _most_pairs(degrees: np.ndarray, partners: np.ndarray, label_pixels: int) -> int:
    """Return the size of the largest one-to-one matching.

    It is the largest flow from a source through predicted and label pixels to a sink. scipy's
    maximum_bipartite_matching finds the same number, but may take exponential time (scipy issue 26147): minutes for one
    boundary.

    Args:
        degrees: [predicted pixels], number of label pixels that each may be paired with.
        partners: ranks of these label pixels, one predicted pixel after the other.
    """
    pixels = len(degrees)
    sink = pixels + label_pixels + 1  # the source is 0, predicted pixels 1.., label pixels pixels + 1..
    heads = np.concatenate([np.arange(1, pixels + 1), partners + pixels + 1, np.full(label_pixels, sink)])
    pointers = np.concatenate([[0, pixels], degrees, np.ones(label_pixels, int), [0]]).cumsum()
    graph = csr_array((np.ones(len(heads), np.int32), heads, pointers), shape=(sink + 1, sink + 1))
    return int(maximum_flow(graph, 0, sink, method="dinic").flow_value)


def _inner_bands(ids: np.ndarray, distance: int) -> np.ndarray:
    """Return uint8 [H, W]: the id, or 255 if all pixels up to `distance` rows and columns away exist and share it."""
    size = 2 * distance + 1
    inner = np.zeros(ids.shape, bool)
    within = np.s_[distance:-distance, distance:-distance]
    inner[within] = (minimum_filter(ids, size) == maximum_filter(ids, size))[within]
    return np.where(inner, np.uint8(IGNORE), ids)


def _pixels(ids: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(ids.ravel(), minlength=IGNORE + 1)[:num_classes]


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    return np.divide(above, below, out=np.full(below.shape, otherwise), where=below > 0)


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
