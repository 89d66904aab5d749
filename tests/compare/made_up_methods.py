"""Confusion matrices of methods that never were: images with a difficulty that all methods share, and noise of images
and of training."""

from collections.abc import Sequence

import numpy as np

from segkit.compare.significance import Statistics, compare_methods

SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])  # of the pixels, by class
EASE = np.array([2.5, 2.0, 1.0, 0.5, 0.0])  # log odds of a correct pixel, by class
PIXELS = 20_000


def make_methods(
    generator: np.random.Generator, images: int, skills: Sequence[float], *, runs: int = 1, training_noise: float = 0.0
) -> list[np.ndarray]:
    """int64 [S, N, K, K] for each method, on the same labels.

    Log odds that a pixel is right: ease of its class + difficulty of its image (deviation 0.8, the same for all) +
    skill of its method + what this run makes of this class in this image (0.4) + what training made of this class
    (`training_noise`).
    """
    classes = len(SHARES)
    labels = generator.multinomial(PIXELS, generator.dirichlet(8 * SHARES, images))  # [N, K]
    difficulty = generator.normal(0, 0.8, (images, 1))
    others = np.tile(SHARES, (classes, 1)) * (1 - np.eye(classes))
    confused = others / others.sum(axis=1, keepdims=True)
    found = []
    for skill in skills:
        noise = generator.normal(0, 0.4, (runs, images, classes))
        noise += generator.normal(0, training_noise, (runs, 1, classes))
        correct = generator.binomial(labels, 1 / (1 + np.exp(-(EASE + difficulty + skill + noise))))
        matrices = generator.multinomial(labels - correct, confused)  # [S, N, K, K]
        matrices[..., range(classes), range(classes)] += correct
        found.append(matrices)
    return found


def compare(methods, resamples=1000, seeds=None, **options) -> Statistics:
    """The comparison of methods A, B, ... with seeds 0, 1, ..."""
    titles = dict(zip("ABCDEFGH", methods, strict=False))
    seeds = seeds or {title: range(len(each)) for title, each in titles.items()}
    return compare_methods(titles, seeds, resamples=resamples, **options)
