"""Significance of differences: paired bootstrap over images, paired t test over seeds, Holm's correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.stats import ttest_rel

from segkit.errors import InputError
from segkit.metrics.confusion import class_iou, intersection_and_union, mean_iou, mean_over_classes

LEVEL = 0.05  # of the corrected p values; 1 - LEVEL is that of the intervals
LEAST_SEEDS = 3  # in common, for a test over seeds
LEAST_DRAWS = 10  # blocks of images
ROUNDING = 1e-12  # mean IoUs that are nearer than this are equal
CHUNK = 500  # resamples at a time: bounds memory


@dataclass(frozen=True)
class PairComparison:
    """Two methods. Differences are mean IoU of `first` minus that of `second`, in -1..1.

    Attributes:
        difference: of the means over runs.
        interval: its 95 % percentile interval over resampled images. It is not corrected for the number of pairs and
            ignores seeds: it may leave out 0 where the methods are not distinguishable.
        p_images: two-sided, paired bootstrap over images.
        p_seeds: two-sided, paired t test over the seeds in common; None if these are fewer than 3.
        p: the larger of the two: a difference must hold over images and over seeds (intersection-union test).
        p_corrected: Holm's, over all pairs.
        rests_on: evidence of the verdict. "images only": training again with another seed may change more.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p_images: float
    p_seeds: float | None
    p: float
    p_corrected: float
    rests_on: str

    @property
    def distinguishable(self) -> bool:
        """True if the corrected p is below 0.05."""
        return self.p_corrected < LEVEL

    @property
    def verdict(self) -> str:
        """The result in words, the better method first, in points of mean IoU (per cent)."""
        names, values = self.better_first()
        found = " > ".join(names) if self.distinguishable else f"{', '.join(names)}: not distinguishable"
        return "{} ({:+z.1f} [{:z.1f}, {:z.1f}])".format(found, *values)

    @property
    def sentence(self) -> str:
        """The verdict, what it rests on, and the reason if it seems to contradict the interval."""
        reason = ""
        if not self.distinguishable and self.p_images < LEVEL:
            if self.p_seeds is not None and self.p_seeds >= LEVEL:
                reason = f": significant over images but not over seeds (p {self.p_seeds:.2f})"
            else:
                corrected = f"({self.p_corrected:.3f})"
                reason = f": significant by itself (p {self.p:.3f}), but not after Holm's correction {corrected}"
        return f"{self.verdict}; {self.rests_on}{reason}"

    def better_first(self) -> tuple[tuple[str, str], tuple[float, float, float]]:
        """Names, the better method first, and the difference and its interval in points (per cent)."""
        low, high = self.interval
        if self.difference < 0:
            return (self.second, self.first), (-100 * self.difference, -100 * high, -100 * low)
        return (self.first, self.second), (100 * self.difference, 100 * low, 100 * high)


@dataclass(frozen=True)
class Statistics:
    """A comparison of methods.

    Attributes:
        intervals: name -> 95 % percentile interval of its mean IoU (mean over runs, 0..1) over resampled images.
        images: how many have a labelled pixel; the others are left out.
    """

    intervals: dict[str, tuple[float, float]]
    pairs: tuple[PairComparison, ...]
    images: int
    block: int
    resamples: int
    seed: int


def compare_methods(
    matrices: Mapping[str, np.ndarray],
    seeds: Mapping[str, Sequence[int]],
    *,
    block: int = 1,
    resamples: int = 10_000,
    seed: int = 0,
) -> Statistics:
    """Compare every pair of some methods.

    Images count as independent draws, which frames of one drive are not; `block` draws that many neighbours together.
    Images without a labelled pixel are left out. All methods and pairs meet the same resamples.

    Args:
        matrices: name -> confusion matrices [S, N, K, K] of S runs on N images, rows = label. S may differ; the images
            and their order may not.
        seeds: name -> the S different seeds of its runs.
        block: consecutive images that are drawn together; the last block may be shorter.
        seed: of the resamples.
    Raises:
        InputError: if the labels differ or are all void, there are too few resamples for any verdict but "not
            distinguishable", or few blocks.
    """
    counted = _labelled_pixels(matrices).sum(axis=1) > 0
    least = least_resamples(len(matrices))
    if resamples < least:
        raise InputError(
            f"resamples: {resamples} are too few to distinguish {len(matrices)} methods. Expected at least {least}."
        )
    images = int(counted.sum())
    draws = -(-images // block)
    if block > 1 and draws < LEAST_DRAWS:
        raise InputError(
            f"block = {block} makes {draws} of {images} images; expected at least {LEAST_DRAWS} to draw. Lower it."
        )
    kept = {
        name: np.add.reduceat(each[:, counted], range(0, images, block), axis=1, dtype=np.int64)
        for name, each in matrices.items()
    }
    by_seed = {
        name: dict(zip(seeds[name], mean_iou(each.sum(axis=1)).tolist(), strict=True)) for name, each in kept.items()
    }
    resampled = resampled_mean_iou(kept, resamples, seed)
    intervals = {name: _interval(each) for name, each in resampled.items()}
    pairs = []
    for a, b in combinations(by_seed, 2):
        difference, differences = _mean(by_seed[a]) - _mean(by_seed[b]), resampled[a] - resampled[b]
        over_images, over_seeds = images_p(difference, differences, draws), seeds_p(by_seed[a], by_seed[b])
        p = max(over_images, over_seeds or 0.0)
        rests_on = _rests_on(by_seed[a], by_seed[b])
        pairs.append(PairComparison(a, b, difference, _interval(differences), over_images, over_seeds, p, p, rests_on))
    corrected = holm([pair.p for pair in pairs])
    pairs = tuple(replace(pair, p_corrected=p) for pair, p in zip(pairs, corrected, strict=True))
    return Statistics(intervals, pairs, images, block, resamples, seed)


def _labelled_pixels(matrices: Mapping[str, np.ndarray]) -> np.ndarray:
    """[N, K]: labelled pixels of every image and class, which are the same in all runs of all methods."""
    first = next(iter(matrices))
    labelled = matrices[first][0].sum(axis=2)
    for name, each in matrices.items():
        if any(not np.array_equal(run.sum(axis=2), labelled) for run in each):
            shapes = " and ".join("{} images of {} classes".format(*m.shape[1:3]) for m in (each, matrices[first]))
            raise InputError(
                f"{name} and {first} have different labels ({shapes}): expected the same images in one order. "
                "Score them on one test split."
            )
    if not labelled.any():
        raise InputError(f"{first}: no image has a labelled pixel; expected some. Check the test split.")
    return labelled


def resampled_mean_iou(matrices: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Mean IoU of every method in every resample of the images, mean over its runs: float64 [R].

    IoU is that of the resampled, summed matrices, never a mean over images. A class that a resample lacks is left out.

    Args:
        matrices: name -> [S, N, K, K], with labelled pixels in every image.
    """
    counts = {name: np.stack(intersection_and_union(each)).swapaxes(1, 2) for name, each in matrices.items()}
    images = next(iter(matrices.values())).shape[1]
    found = {name: np.empty(resamples) for name in matrices}
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        part = slice(start, min(start + CHUNK, resamples))
        drawn = generator.multinomial(images, np.full(images, 1 / images), size=part.stop - start).astype(np.float64)
        for name, each in counts.items():  # [2, N, S, K]
            intersection, union = (np.tensordot(drawn, pixels, axes=1) for pixels in each)  # [R, S, K], exact to 2**53
            found[name][part] = mean_over_classes(class_iou(intersection, union)).mean(axis=1)
    return found


def images_p(observed: float, resampled: np.ndarray, images: int) -> float:
    """Two-sided p over images: twice the share of resamples without the difference's sign, each count plus one.

    It fits the percentile interval. Never below 2 / 2**N, the least that an exact sign test gives for N images: 5
    images or fewer prove nothing. With few more it is too confident: methods of equal skill
    (tests/compare/made_up_methods.py) were distinguished in 11 % of trials with 10 images, 8 % with 20, 6 % with 50,
    5 % with 100 or 233.

    Args:
        observed: the difference on all N images.
        resampled: [R], the difference in every resample.
    """
    against = np.count_nonzero(np.sign(observed) * resampled <= ROUNDING)
    return min(1.0, max(2 * (against + 1) / (len(resampled) + 1), 2.0 ** (1 - images)))


def seeds_p(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Two-sided p of the paired t test over the seeds that two methods have in common; None for fewer than 3.

    Not the sign-flip permutation test: its smallest p for n seeds is 2 / 2**n, 0.25 for 3, so it could never find
    anything. The t test assumes normal differences instead, which 3 of them cannot show. Where all differences are
    equal, p is its limit: 0, or 1 if they are 0. Where the common seeds point against the difference of all runs, p
    is 1. `first` and `second`: seed -> mean IoU.
    """
    common = sorted(first.keys() & second.keys())
    if len(common) < LEAST_SEEDS:
        return None
    ours, theirs = np.array([first[seed] for seed in common]), np.array([second[seed] for seed in common])
    differences = ours - theirs
    if (_mean(first) - _mean(second)) * differences.mean() <= 0:
        return 1.0
    if np.ptp(differences) <= ROUNDING:
        return float(abs(differences.mean()) <= ROUNDING)
    return float(ttest_rel(ours, theirs).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: the smallest of m values times m, the next times m - 1, ...; non-decreasing, at most 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p)
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps).clip(max=1)
    return corrected.tolist()


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return low, high


def _mean(by_seed: Mapping[int, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _rests_on(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    common = len(first.keys() & second.keys())
    if common >= LEAST_SEEDS:
        return f"images and {common} seeds"
    if len(first) == len(second) == 1:
        return "images only: one seed each"
    return f"images only: {common or 'no'} {'seed' if common < 2 else 'seeds'} in common"


def least_resamples(methods: int) -> int:
    """Resamples below which even a difference that never changes its sign has a corrected p of 0.05."""
    return round(2 * max(methods * (methods - 1) // 2, 1) / LEVEL)
