"""Which differences between methods are real: paired bootstrap over images, paired t test over seeds, Holm's correction
over pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import ttest_rel

from segkit.compare.comparable import require_comparable
from segkit.errors import InputError
from segkit.metrics.confusion import Scores, scores

LEVEL = 0.05  # of the corrected p values; 1 - LEVEL is that of the intervals
LEAST_SEEDS = 3  # in common, for a test over seeds
LEAST_DRAWS = 10  # blocks of images
ROUNDING = 1e-12  # mean IoUs that are nearer than this are equal
CHUNK = 500  # resamples at a time: bounds memory


@dataclass(frozen=True)
class MethodSummary:
    """Scores of one method in 0..1: mean over its runs, and standard deviation over its seeds (None for one seed).

    Attributes:
        method: its title.
        runs: how many runs, one per seed.
        mean_iou_interval: 95 % percentile interval of the mean IoU over resampled images; the runs stay as they are.
    """

    method: str
    runs: int
    global_accuracy: float
    global_accuracy_deviation: float | None
    class_average_accuracy: float
    class_average_accuracy_deviation: float | None
    mean_iou: float
    mean_iou_deviation: float | None
    mean_iou_interval: tuple[float, float]


@dataclass(frozen=True)
class PairComparison:
    """Two methods. Differences are mean IoU of `first` minus that of `second`, in -1..1.

    Attributes:
        difference: of the means over runs.
        interval: its 95 % percentile interval over resampled images. It is not corrected for the number of pairs, and
            knows nothing of
            seeds: it may leave out 0 where the verdict is "not distinguishable".
        p_images: two-sided, paired bootstrap over images.
        p_seeds: two-sided, paired t test over the seeds in common; None if these are fewer than 3.
        p: the larger of the two: a difference has to hold for other images and for other seeds (an intersection-union
            test).
        p_corrected: Holm's, over all pairs.
        distinguishable: whether `p_corrected` is below 0.05.
        verdict: in words, the better method first, in points of mean IoU (per cent).
        rests_on: what the verdict rests on. "images only": training again with another seed may change more.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    p_images: float
    p_seeds: float | None
    p: float
    p_corrected: float
    distinguishable: bool
    verdict: str
    rests_on: str


@dataclass(frozen=True)
class Statistics:
    """A comparison: methods in the order given, and every pair of them."""

    summaries: tuple[MethodSummary, ...]
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
    """Summary of every method and comparison of every pair.

    Images count as independent draws, which frames of one drive are not; `block` draws so many neighbours together.
    Images without a labelled pixel are left out. All methods and pairs meet the same resamples.

    Args:
        matrices: title -> confusion matrices [S, N, K, K] of S runs on N images, rows = label. S may differ; the images
            and their order may not.
        seeds: title -> the S different seeds of its runs.
        block: images in a row that are drawn together; the last block may be shorter.
        resamples: of the images.
        seed: of the resamples.
    Raises:
        InputError: if matrices and seeds do not fit together, there are too few resamples for any verdict but "not
            distinguishable", or few blocks.
    """
    counted = require_comparable(matrices, seeds).sum(axis=1) > 0
    least = least_resamples(len(matrices))
    if resamples < least:
        raise InputError(
            f"resamples: {resamples} are too few to tell {len(matrices)} methods apart. Expected at least {least}."
        )
    draws = -(-int(counted.sum()) // block)
    if block > 1 and draws < LEAST_DRAWS:
        raise InputError(
            f"block = {block} makes {draws} of {int(counted.sum())} images; expected at least {LEAST_DRAWS} to draw. Lower it."
        )
    kept = {title: _blocks(each[:, counted], block) for title, each in matrices.items()}
    found = {title: [scores(run) for run in each.sum(axis=1)] for title, each in kept.items()}
    by_seed = {
        title: {s: run.mean_iou for s, run in zip(seeds[title], runs, strict=True)} for title, runs in found.items()
    }
    resampled = resampled_mean_iou(kept, resamples, seed)
    summaries = tuple(_summary(title, runs, resampled[title]) for title, runs in found.items())
    return Statistics(summaries, _compare_pairs(by_seed, resampled, draws), int(counted.sum()), block, resamples, seed)


def resampled_mean_iou(matrices: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Mean IoU of every method in every resample of the images, mean over its runs: float64 [R].

    IoU is that of the resampled, summed matrices, never a mean over images. A class that a resample lacks is left out
    there.

    Args:
        matrices: title -> [S, N, K, K], with labelled pixels in every image.
    """
    counts = {title: _intersection_and_union(each) for title, each in matrices.items()}
    images = next(iter(matrices.values())).shape[1]
    found = {title: np.empty(resamples) for title in matrices}
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        part = slice(start, min(start + CHUNK, resamples))
        drawn = generator.multinomial(images, np.full(images, 1 / images), size=part.stop - start).astype(
            np.float64
        )  # [R, N]
        for title, each in counts.items():
            intersection, union = np.tensordot(drawn, each, axes=(1, 0)).transpose(
                1, 0, 2, 3
            )  # [R, S, K]; exact below 2**53 pixels
            iou = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
            found[title][part] = (iou.sum(axis=2) / (union > 0).sum(axis=2)).mean(axis=1)
    return found


def images_p(observed: float, resampled: np.ndarray, images: int) -> float:
    """Two-sided p of a difference over images: twice the share of resamples in which it vanishes or turns round, each
    count plus one.

    It fits the percentile interval. Never below 2 / 2**N, the least that an exact sign test gives for N images: 5
    images or fewer tell nothing, however alike they are. With few more it is too sure: methods of equal skill
    (tests/compare/made_up_methods.py) were told apart in 11 % of trials with 10 images, 8 % with 20, 6 % with 50, 5 %
    with 100 or 233.

    Args:
        observed: the difference on all images.
        resampled: [R], the difference in every resample.
        images: N.
    """
    against = np.count_nonzero(np.sign(observed) * resampled <= ROUNDING)
    return min(1.0, max(2 * (against + 1) / (len(resampled) + 1), 2.0 ** (1 - images)))


def seeds_p(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Two-sided p of the paired t test over the seeds that two methods have in common; None for fewer than 3.

    Not the sign-flip permutation test: its smallest p for n seeds is 2 / 2**n, 0.25 for 3, so it could never find
    anything. The t test assumes normal differences instead, which 3 of them cannot show. Where all differences are
    equal, p is its limit: 0, or 1 if they are 0. Where the common seeds point against the difference of all runs, p is
    1.

    Args:
        first, second: seed -> mean IoU.
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
    """Holm's correction: the smallest of m values times m, the next times m - 1, ...; never below the one before, never
    above 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p)
    steps = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(steps).clip(max=1)
    return corrected.tolist()


def _blocks(matrices: np.ndarray, block: int) -> np.ndarray:
    """Matrices [S, N, K, K], summed over each `block` images in a row."""
    return np.add.reduceat(matrices, range(0, matrices.shape[1], block), axis=1, dtype=np.int64)


def _intersection_and_union(matrices: np.ndarray) -> np.ndarray:
    """Pixels of every image, float64 [N, 2, S, K], of matrices [S, N, K, K]."""
    intersection = matrices.diagonal(axis1=2, axis2=3)
    union = matrices.sum(axis=2) + matrices.sum(axis=3) - intersection
    return np.stack([intersection, union]).transpose(2, 0, 1, 3).astype(np.float64)


def _summary(title: str, runs: Sequence[Scores], resampled: np.ndarray) -> MethodSummary:
    global_accuracy = [run.global_accuracy for run in runs]
    class_average_accuracy = [run.class_average_accuracy for run in runs]
    mean_iou = [run.mean_iou for run in runs]
    return MethodSummary(
        method=title,
        runs=len(runs),
        global_accuracy=float(np.mean(global_accuracy)),
        global_accuracy_deviation=_deviation(global_accuracy),
        class_average_accuracy=float(np.mean(class_average_accuracy)),
        class_average_accuracy_deviation=_deviation(class_average_accuracy),
        mean_iou=float(np.mean(mean_iou)),
        mean_iou_deviation=_deviation(mean_iou),
        mean_iou_interval=_interval(resampled),
    )


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _compare_pairs(
    by_seed: Mapping[str, Mapping[int, float]], resampled: Mapping[str, np.ndarray], images: int
) -> tuple[PairComparison, ...]:
    names = list(combinations(by_seed, 2))
    observed = [_mean(by_seed[a]) - _mean(by_seed[b]) for a, b in names]
    differences = [resampled[a] - resampled[b] for a, b in names]
    over_images = [images_p(value, each, images) for value, each in zip(observed, differences, strict=True)]
    over_seeds = [seeds_p(by_seed[a], by_seed[b]) for a, b in names]
    larger = [max(p, q or 0.0) for p, q in zip(over_images, over_seeds, strict=True)]
    return tuple(
        PairComparison(
            first=a,
            second=b,
            difference=observed[i],
            interval=_interval(differences[i]),
            p_images=over_images[i],
            p_seeds=over_seeds[i],
            p=larger[i],
            p_corrected=corrected,
            distinguishable=corrected < LEVEL,
            verdict=_verdict(a, b, observed[i], _interval(differences[i]), corrected < LEVEL),
            rests_on=_rests_on(by_seed[a], by_seed[b]),
        )
        for i, ((a, b), corrected) in enumerate(zip(names, holm(larger), strict=True))
    )


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return low, high


def _mean(by_seed: Mapping[int, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _verdict(first: str, second: str, difference: float, interval: tuple[float, float], distinguishable: bool) -> str:
    low, high = interval
    if difference < 0:
        first, second, difference, low, high = second, first, -difference, -high, -low
    points = f"({100 * difference:+z.1f} [{100 * low:z.1f}, {100 * high:z.1f}])"
    return f"{first} > {second} {points}" if distinguishable else f"{first}, {second}: not distinguishable {points}"


def _rests_on(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    common = len(first.keys() & second.keys())
    if common >= LEAST_SEEDS:
        return f"images and {common} seeds"
    if len(first) == len(second) == 1:
        return "images only: one seed each"
    return f"images only: {common or 'no'} {'seed' if common < 2 else 'seeds'} in common"


def least_resamples(methods: int) -> int:
    """Resamples below which even a difference that never turns round has a corrected p of 0.05."""
    return round(2 * max(methods * (methods - 1) // 2, 1) / LEVEL)
