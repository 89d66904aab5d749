"""Intervals and p values against loops, formulas and scipy, and what they may not depend on."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made_up_methods import compare, make_methods

from segkit.compare.significance import holm, images_p, resampled_mean_iou, seeds_p
from segkit.metrics.confusion import scores

same = pytest.approx


def mean_iou(matrices):
    """Of matrices [S, N, K, K]: one score for each run, then their mean."""
    return np.mean([scores(run.sum(axis=0)).mean_iou for run in matrices])


@pytest.fixture(scope="module")
def two():
    """Two methods of 40 images, 1 run each, a little apart."""
    return make_methods(np.random.default_rng(3), 40, [0, 0.05])


@st.composite
def any_methods(draw):
    """Two methods [S, N, K, K] on the same labels, with classes and images that may be empty."""
    images, classes = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    first, second = (
        draw(arrays.arrays(np.int64, (runs, images, classes, classes), elements=st.integers(0, 3))) for runs in (1, 2)
    )
    labelled = np.maximum(first.sum(axis=3).max(axis=0), second.sum(axis=3).max(axis=0))
    assume(labelled.any())
    for each in (first, second):  # pixels that are missing from a row were taken for class 0
        each[..., 0] += labelled - each.sum(axis=3)
    return first, second


# --- scores ---


@given(any_methods(), st.integers(0, 9))
def test_a_resample_has_the_score_of_its_summed_matrices(methods, seed):
    methods = [each[:, methods[0].sum(axis=(0, 2, 3)) > 0] for each in methods]
    images = methods[0].shape[1]
    drawn = np.random.default_rng(seed).multinomial(images, [1 / images] * images, size=20)
    found = resampled_mean_iou(dict(zip("AB", methods, strict=True)), 20, seed)
    for title, matrices in zip("AB", methods, strict=True):
        weighted = [mean_iou(weights[:, None, None] * matrices) for weights in drawn]
        assert found[title] == same(weighted, abs=1e-12)


def test_resamples_do_not_depend_on_how_many_there_are(two):
    few, many = (resampled_mean_iou({"A": two[0]}, count, 5)["A"] for count in (700, 1100))
    assert (few == many[:700]).all()
    assert len(np.unique(many)) > 1000


# --- bootstrap over images ---


def test_p_and_intervals_are_those_of_a_loop_over_resamples(two):
    generator = np.random.default_rng(7)
    draws = [generator.integers(0, 40, 40) for _ in range(1000)]
    first, second = np.array([[mean_iou(each[:, images]) for images in draws] for each in two])
    found = compare(two, 20_000)
    pair = found.pairs[0]
    assert pair.difference == mean_iou(two[0]) - mean_iou(two[1]) < 0
    assert 0.02 < pair.p_images < 0.5
    assert pair.p_images == same(2 * np.mean(first >= second), abs=0.03)
    for interval, values in ((pair.interval, first - second), (found.intervals["A"], first)):
        assert interval == same(tuple(np.percentile(values, [2.5, 97.5])), abs=0.06 * np.ptp(interval))


def test_p_counts_resamples_that_change_their_sign_plus_one():
    assert images_p(0.5, np.array([0.1, 0.2, 0.0, -0.1, *[0.3] * 95]), 100) == same(2 * 3 / 100)
    assert images_p(-0.5, np.array([0.1, 0.2, *[-0.3] * 97]), 100) == same(2 * 3 / 100)
    assert images_p(0.5, np.full(99, 0.5), 100) == same(2 / 100)
    assert images_p(0.1, np.full(99, -0.1), 100) == 1


def test_p_of_a_method_against_itself_is_exactly_1(two):
    pair = compare([two[0], two[0].copy()]).pairs[0]
    assert (pair.difference, pair.interval, pair.p, pair.distinguishable) == (0, (0, 0), 1, False)


def test_rounding_is_no_difference():
    generator, order = np.random.default_rng(0), [2, 0, 1]
    ours = generator.multinomial(10, [0.5, 0.3, 0.2], (1, 30, 3))
    theirs = ours[:, :, order][..., order]  # the same IoUs, of other classes: means differ in the last digits alone
    pair = compare([ours, theirs]).pairs[0]
    assert 0 < np.abs(pair.interval).max() < 1e-15
    assert pair.p_images == 1


@pytest.mark.parametrize(("images", "p"), [(1, 1), (2, 1 / 2), (5, 1 / 16)])
def test_five_images_or_fewer_tell_nothing_however_alike_they_are(two, images, p):
    right = np.einsum("snij,ik->snik", two[0], np.eye(5, dtype=int))  # every pixel is right
    pair = compare([right[:, :images], two[0][:, :images]]).pairs[0]
    assert pair.interval[0] > 0.1
    assert (pair.p_images, pair.distinguishable) == (p, False)
    assert images > 1 or pair.interval == same((pair.difference, pair.difference))  # a point


# --- t test over seeds ---


def test_p_over_three_seeds_in_common_is_students_and_other_seeds_are_left_out():
    first, second = {1: 0.52, 2: 0.55, 4: 0.51}, {1: 0.50, 2: 0.54, 4: 0.48}
    d = np.array([0.02, 0.01, 0.03])
    t = d.mean() / (np.sqrt(((d - d.mean()) ** 2).sum() / 2) / np.sqrt(3))
    p = same(1 - t / np.sqrt(2 + t**2))  # the distribution for 2 degrees of freedom, in closed form
    assert seeds_p(first, second) == seeds_p(second, first) == p
    assert seeds_p({0: 0.53, **first, 7: 0.55}, {3: 0.40, **second}) == p
    assert seeds_p({1: 0.52, 2: 0.55, 0: 0.5}, second) is None  # two in common


def test_equal_differences_have_p_0_or_if_they_are_0_p_1():
    scores = {0: 0.1, 1: 0.2, 2: 0.4}
    assert seeds_p(scores, {seed: value - 0.1 for seed, value in scores.items()}) == 0
    assert seeds_p(scores, dict(scores)) == 1
    assert seeds_p(scores, {seed: value - 1e-16 for seed, value in scores.items()}) == 1


def test_common_seeds_that_contradict_all_runs_have_p_1():
    assert seeds_p({0: 0.5, 1: 0.51, 2: 0.5, 3: 0.1}, {0: 0.4, 1: 0.4, 2: 0.41}) == 1


# --- Holm ---


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p):
    """A hypothesis is rejected if Bonferroni rejects every set of hypotheses that it is in."""
    for i, corrected in enumerate(holm(p)):
        sets = [chosen for size in range(1, len(p) + 1) for chosen in combinations(range(len(p)), size) if i in chosen]
        assert corrected == same(max(min(1, len(chosen) * min(p[j] for j in chosen)) for chosen in sets))
    assert len(holm(p)) == len(p)


# --- what a result may not depend on ---


def test_the_other_order_of_methods_changes_the_sign_and_nothing_else(two):
    ours, theirs = compare(two).pairs[0], compare(two[::-1]).pairs[0]
    assert theirs.difference == -ours.difference
    assert theirs.interval == same((-ours.interval[1], -ours.interval[0]))
    assert (theirs.p_images, theirs.p) == (ours.p_images, ours.p)


def test_a_third_method_changes_a_pair_only_through_holm(two):
    constant = np.zeros_like(two[0])
    constant[..., 0] = two[0].sum(axis=3)  # everything is class 0
    alone, among = compare(two).pairs[0], compare([*two, constant]).pairs[0]
    assert (among.interval, among.p) == (alone.interval, alone.p)
    assert (alone.p_corrected, among.p_corrected) == (alone.p, same(alone.p))  # the largest of three is multiplied by 1
    assert compare([*two, constant]).pairs[1].p_corrected == same(3 * 2 / 1001)


def test_the_same_seed_gives_the_same_result(two):
    assert compare(two, seed=4) == compare(two, seed=4)
    assert compare(two, seed=4).pairs[0].interval != compare(two, seed=5).pairs[0].interval


def test_images_without_labelled_pixels_change_nothing(two):
    empty = [np.concatenate([each, np.zeros_like(each[:, :9])], axis=1) for each in two]
    assert compare(empty) == compare(two)
    assert compare(empty).images == 40
