"""What tests of boundary measures share: label maps, and references that look at every pixel and every pair of
pixels."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment

from segkit.tensors import IGNORE

K = 3

full_maps = arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, K - 1))
label_maps = arrays.arrays(np.uint8, (7, 9), elements=st.sampled_from([*range(K), IGNORE]))
seeds = pytest.mark.parametrize("seed", range(6))


def edge(column, height=60, width=80):
    """Class 0 in the columns before `column`, class 1 from there on."""
    return np.where(np.arange(width) < column, 0, 1).astype(np.uint8)[None].repeat(height, 0)


def blobs(seed, height=15, width=17):
    """Random regions of several pixels, some of void."""
    small = np.random.default_rng(seed).choice([*range(K), IGNORE], (height // 3 + 1, width // 3 + 1))
    return small.repeat(3, 0).repeat(3, 1)[:height, :width].astype(np.uint8)


def disturbed(ids, seed):
    """Moved by one row and two columns, with some pixels drawn anew. No void."""
    generator = np.random.default_rng(100 + seed)
    moved = np.roll(np.where(ids == IGNORE, 0, ids), (1, -2), (0, 1))
    return np.where(generator.random(ids.shape) < 0.03, generator.integers(0, K, ids.shape), moved).astype(np.uint8)


def without_void(predicted, labels):
    return np.where(labels == IGNORE, IGNORE, predicted).astype(np.uint8)


# --- BF ---


def naive_boundary(ids, k):
    height, width = ids.shape
    found = []
    for i in range(height):
        for j in range(width):
            block = ids[i : i + 2, j : j + 2].ravel().tolist()
            if k in block and any(v != k for v in block):
                found.append((i, j))
    return found


def naive_counts(predicted, labels, tolerance, matching, void, pairs_of):
    if void == "dropped":
        predicted = without_void(predicted, labels)
    radius = tolerance * math.sqrt(labels.shape[0] ** 2 + labels.shape[1] ** 2)
    counts = []
    for k in range(K):
        ours, theirs = (naive_boundary(ids, k) for ids in (predicted, labels))
        distance = np.array([[math.dist(a, b) for b in theirs] for a in ours]).reshape(len(ours), len(theirs))
        near = distance <= radius
        matched = (
            (near.any(1).sum(), near.any(0).sum()) if matching == "distance" else (pairs_of(distance, radius),) * 2
        )
        counts.append([len(ours), matched[0], len(theirs), matched[1]])
    return counts


def most_pairs(distance, radius):
    near = distance <= radius
    return near[linear_sum_assignment(near, maximize=True)].sum()


def pairs_at_least_cost(distance, radius):
    """The rule of correspondPixels: a pair costs its distance, a pixel that is left over 100 tolerances."""
    n, m = distance.shape
    cost = np.full((n + m, n + m), 100 * radius + 1e-9)
    cost[:n, :m] = np.where(distance <= radius, distance, 1e9)
    rows, columns = linear_sum_assignment(cost)
    return ((rows < n) & (columns < m)).sum()


# --- bands ---


def naive_band(ids, k, distance):
    """By erosions of the mask of one class in a frame of zeros, as in the paper's code."""
    mask = cv2.copyMakeBorder((ids == k).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    kept = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=distance)
    return (mask - kept)[1:-1, 1:-1].astype(bool)


def naive_trimap(predicted, labels, width):
    at_boundary = []
    places = [(i, j) for i in range(labels.shape[0]) for j in range(labels.shape[1]) if labels[i, j] != IGNORE]
    for i, j in places:
        beside = [(a, b) for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)) if (a, b) in set(places)]
        if any(labels[p] != labels[i, j] for p in beside):
            at_boundary.append((i, j))
    matrix = np.zeros((K, K), np.int64)
    for place in places:
        if any(math.dist(place, p) < width for p in at_boundary):
            matrix[labels[place], predicted[place]] += 1
    return matrix.tolist()
