"""Whether confusion matrices can be compared: the same images, classes and labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from segkit.errors import InputError


def require_comparable(matrices: Mapping[str, np.ndarray], seeds: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Labelled pixels of every image and class, [N, K]: one table for all runs of all methods.

    Args:
        matrices: title -> [S, N, K, K], rows = label.
        seeds: title -> the S seeds.
    Raises:
        InputError: if they do not fit together.
    """
    if not matrices:
        raise InputError("no method is given: expected at least one. Name finished runs.")
    if set(matrices) != set(seeds):
        raise InputError(
            f"matrices of {list(matrices)}, seeds of {list(seeds)}: expected the same methods. Give both for each."
        )
    for title, each in matrices.items():
        _require_runs(title, each, seeds[title])
    first = next(iter(matrices))
    labelled = matrices[first][0].sum(axis=2)
    for title, each in matrices.items():
        ours = each.sum(axis=3)
        if ours.shape[1:] != labelled.shape:
            shapes = ["{} images of {} classes".format(*shape) for shape in (ours.shape[1:], labelled.shape)]
            raise InputError(
                f"{title} has {shapes[0]}, {first} has {shapes[1]}: expected one test split. Compare them apart."
            )
        other = (ours != labelled).any(axis=(0, 2))
        if other.any():
            found = f"{title} and {first} have different labels in image {other.argmax()}"
            raise InputError(f"{found}: expected the same images in one order. Score them on one test split.")
    if not labelled.any():
        raise InputError(f"{first}: no image has a labelled pixel; expected some. Check the test split.")
    return labelled


def _require_runs(title: str, matrices: np.ndarray, seeds: Sequence[int]) -> None:
    shape = list(matrices.shape)
    if len(shape) != 4 or shape[2] != shape[3] or 0 in shape:
        raise InputError(
            f"{title}: confusion matrices have the shape {shape}: expected [runs, images, classes, classes]. Stack its runs."
        )
    if matrices.min() < 0:
        raise InputError(
            f"{title}: a confusion matrix holds {matrices.min()}: expected counts of pixels. Score the run again."
        )
    if len(seeds) != len(matrices) or len(set(seeds)) < len(seeds):
        raise InputError(
            f"{title}: {len(matrices)} runs have the seeds {list(seeds)}: expected a different seed for each. Correct them."
        )
