"""Verdicts: how often they are right on methods that never were, their words, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from made_up_methods import compare, make_methods

from segkit.compare.significance import PairComparison, compare_methods
from segkit.errors import InputError
from segkit.metrics.confusion import scores

FIRST_LIGHT = Path(__file__).parents[2] / "experiments" / "first_light" / "results"
same = pytest.approx


def pairs(repeats, images, skills, resamples=1000, **noise):
    """Comparisons of two methods, each time with other images, other runs and other noise."""
    made = (make_methods(np.random.default_rng([images, repeat]), images, skills, **noise) for repeat in range(repeats))
    return [compare(methods, resamples).pairs[0] for methods in made]


# --- how often verdicts are right ---


@pytest.mark.parametrize("noise", [{}, {"runs": 3, "training_noise": 0.05}, {"runs": 3, "training_noise": 0.3}])
def test_equal_methods_are_not_distinguishable(noise):
    assert sum(pair.distinguishable for pair in pairs(50, 100, [0, 0], **noise)) <= 5


def test_one_seed_of_a_noisy_training_says_nothing_about_the_next():
    found = pairs(50, 100, [0, 0], training_noise=0.3)
    assert sum(pair.distinguishable for pair in found) > 25  # these two networks do differ; their methods do not
    assert {pair.rests_on for pair in found} == {"images only: one seed each"}


@pytest.mark.parametrize("noise", [{"runs": 1}, {"runs": 5, "training_noise": 0.05}])
def test_a_difference_of_3_points_is_found(noise):
    many = make_methods(np.random.default_rng(0), 20_000, [0, 0.15])
    worse, better = (scores(each[0].sum(axis=0)).mean_iou for each in many)
    assert 0.027 < better - worse < 0.033
    assert sum(pair.verdict.startswith("B > A (+") for pair in pairs(50, 100, [0, 0.15], **noise)) >= 45


def test_the_interval_covers_the_difference_of_the_population():
    population = make_methods(np.random.default_rng(0), 3000, [0, 0.1])
    first, second = (scores(each[0].sum(axis=0)).mean_iou for each in population)
    covered = []
    for repeat in range(400):
        drawn = np.random.default_rng([1, repeat]).integers(0, 3000, 80)
        low, high = compare([each[:, drawn] for each in population], 400).pairs[0].interval
        covered.append(low <= first - second <= high)
    assert 0.90 <= np.mean(covered) <= 0.98


# --- what a verdict follows from ---


def test_a_difference_has_to_hold_for_other_images_and_for_other_seeds():
    noisy = compare(make_methods(np.random.default_rng(5), 200, [0, 0.1], runs=3, training_noise=0.2)).pairs[0]
    assert noisy.p_images < 0.05 < noisy.p_seeds
    assert (noisy.p, noisy.distinguishable) == (noisy.p_seeds, False)
    few = compare(make_methods(np.random.default_rng(0), 4, [0, 0.4], runs=5)).pairs[0]
    assert few.p_seeds < 0.05 < few.p_images
    assert (few.p, few.distinguishable) == (few.p_images, False)


def test_p_is_corrected_over_all_pairs():
    found = compare(make_methods(np.random.default_rng(2), 100, [0, 0.02, 0.06, 0.5])).pairs
    assert [pair.first + pair.second for pair in found] == ["AB", "AC", "AD", "BC", "BD", "CD"]
    lowest = 2 / 1001
    for pair in (found[2], found[4], found[5]):
        assert (pair.p, pair.p_corrected, pair.distinguishable) == (lowest, same(6 * lowest), True)
    others = sorted((found[0], found[1], found[3]), key=lambda pair: pair.p)
    assert others[0].p_corrected == same(min(1, 3 * others[0].p))
    assert others[2].p_corrected >= others[1].p_corrected >= others[0].p_corrected


# --- words ---


def images_of(rights):
    """A method [1, N, 2, 2]: of every 1000 pixels of class 0, so many are right; class 1 is perfect."""
    return np.array([[[[right, 1000 - right], [0, 10**9]] for right in rights]])


def test_the_better_method_is_named_first_with_points_of_mean_iou():
    better, worse = images_of([800] * 10), images_of([760] * 10)
    words = "(+2.0 [2.0, 2.0])"
    assert compare([better, worse]).pairs[0].verdict == f"A > B {words}"
    assert compare([worse, better]).pairs[0].verdict == f"B > A {words}"
    assert compare([worse[:, :5], better[:, :5]]).pairs[0].verdict == f"B, A: not distinguishable {words}"
    assert compare([worse, worse]).pairs[0].verdict == "A, B: not distinguishable (+0.0 [0.0, 0.0])"


def test_an_interval_turns_with_the_methods():
    mixed, even = images_of([900, 900, 700, 700, 900]), images_of([800] * 5)
    pair = compare([even, mixed], 20_000).pairs[0]
    assert pair.interval == same((-0.05, 0.03))
    assert pair.verdict == "B, A: not distinguishable (+1.0 [-3.0, 5.0])"


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([0], [0], "images only: one seed each"),
        ([0], [5], "images only: one seed each"),
        ([0], [0, 1], "images only: 1 seed in common"),
        ([0, 1, 2], [3, 4, 5], "images only: no seed in common"),
        ([0, 1, 2], [1, 2, 3], "images only: 2 seeds in common"),
        ([0, 1, 2], [0, 1, 2], "images and 3 seeds"),
        ([0, 1, 2, 3], [3, 2, 1, 0, 9], "images and 4 seeds"),
    ],
)
def test_it_is_said_what_a_verdict_rests_on(first, second, words):
    (runs,) = make_methods(np.random.default_rng(0), 6, [0], runs=5)
    pair = compare([runs[: len(first)], runs[: len(second)]], seeds={"A": first, "B": second}).pairs[0]
    assert pair.rests_on == words
    assert (pair.p_seeds is None) == words.startswith("images only")


def test_one_method_has_an_interval_and_no_pair():
    found = compare(make_methods(np.random.default_rng(0), 6, [0]))
    assert (found.images, list(found.intervals), found.pairs) == (6, ["A"], ())


@pytest.mark.parametrize(
    ("p_images", "p_seeds", "corrected", "reason"),
    [
        (0.2, 0.5, 0.5, ""),
        (0.001, 0.01, 0.02, ""),
        (0.001, 0.13, 0.13, ": significant over images but not over seeds (p 0.13)"),
        (0.001, 0.02, 0.12, ": significant by itself (p 0.020), but not after Holm's correction (0.120)"),
        (0.03, None, 0.09, ": significant by itself (p 0.030), but not after Holm's correction (0.090)"),
    ],
)
def test_a_verdict_that_its_interval_seems_to_contradict_is_explained(p_images, p_seeds, corrected, reason):
    p = max(p_images, p_seeds or 0)
    pair = PairComparison("a", "b", 0.1, (0.05, 0.15), p_images, p_seeds, p, corrected, "images only")
    assert pair.sentence == f"{pair.verdict}; images only{reason}"


def first_light():
    """Confusion matrices of the two runs that the repository keeps, [1, N, K, K] each."""
    files = {name: FIRST_LIGHT / name / "confusion_test.npz" for name in ("segnet", "fcn8s")}
    return {name: np.load(file)["matrices"][None] for name, file in files.items()}


def test_first_light_has_a_verdict_and_frames_that_are_drawn_together_widen_its_interval():
    """Frames of a drive resemble one another: drawn one by one they would count as more than they are."""
    matrices, seeds = first_light(), {"fcn8s": [0], "segnet": [0]}
    one, ten = (compare_methods(matrices, seeds, block=block).pairs[0] for block in (1, 10))
    assert one.verdict == "fcn8s > segnet (+3.0 [2.4, 3.6])"
    assert one.difference == ten.difference
    assert 1.2 < np.ptp(ten.interval) / np.ptp(one.interval) < 1.7
    summed = {name: np.add.reduceat(each, range(0, each.shape[1], 10), axis=1) for name, each in matrices.items()}
    assert compare_methods(summed, seeds).pairs[0].interval == ten.interval


# --- refusals ---

METHOD = np.array([[[[3, 1], [0, 2]], [[2, 0], [1, 1]]]])  # 1 run, 2 images, 2 classes


@pytest.mark.parametrize(
    ("other", "shape"),
    [
        (METHOD[:, :1], "1 images of 2 classes"),
        (METHOD[:, :, :1, :1], "2 images of 1 classes"),
        (METHOD[:, ::-1], "2 images of 2 classes"),
    ],
    ids=["fewer images", "fewer classes", "another order"],
)
def test_methods_on_different_labels_are_refused(other, shape):
    with pytest.raises(InputError) as refused:
        compare_methods({"A": METHOD, "B": other}, {"A": [0], "B": [0]})
    assert str(refused.value).startswith(f"B and A have different labels ({shape} and 2 images of 2 classes): expected")


def test_labels_that_are_all_void_are_refused():
    with pytest.raises(InputError, match="A: no image has a labelled pixel"):
        compare_methods({"A": METHOD * 0}, {"A": [0]})


def test_too_few_resamples_for_any_verdict_are_refused():
    methods = make_methods(np.random.default_rng(0), 100, [0, 1, 2, 3])
    assert all(pair.distinguishable for pair in compare(methods, 240).pairs)
    with pytest.raises(InputError, match="resamples: 239 are too few to distinguish 4 methods. Expected at least 240"):
        compare(methods, 239)
